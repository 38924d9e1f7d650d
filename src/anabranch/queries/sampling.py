"""How draws of a query are made: by which seed, and what a query that conditions hands on to `conditional`."""

from __future__ import annotations

from typing import TypedDict

import torch

from anabranch.checks import seed_number


class Sampling(TypedDict, total=False):
    """How a conditional that has no closed form is sampled, as `conditional` takes it.

    Attributes:
        proposals: draws of the stand-in.
        chains: how many.
        moves: sweeps to warm up, and as many that are recorded.
    """

    proposals: int
    chains: int
    moves: int


def seed_of(seed: int | None) -> int:
    """The seed itself; for None a new one, from torch's global generator."""
    return int(torch.randint(2**31, ())) if seed is None else seed_number(seed)
