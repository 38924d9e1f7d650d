"""What a query that conditions hands on to `condition`."""

from __future__ import annotations

from typing import TypedDict


class Sampling(TypedDict, total=False):
    """How a conditional that has no closed form is sampled, as `condition` takes it.

    Attributes:
        proposals: draws of the stand-in.
        chains: how many.
        moves: sweeps to warm up, and as many that are recorded.
    """

    proposals: int
    chains: int
    moves: int
