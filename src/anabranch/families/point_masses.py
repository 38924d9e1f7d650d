"""Single values that have a probability."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PointMasses(NamedTuple):
    """The values (n) of one column that have a probability of their own, None where there are none or too many to tell;
    and whether the column has no other values.
    """

    values: Tensor | None
    alone: bool
