"""The mean and the variance of a column in its unit, and what is said where draws cannot tell them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.densities.tails import HEAVY, LIMITLESS
from anabranch.queries.clock import Clock, plain
from anabranch.queries.columns import Columns
from anabranch.queries.drawn_inquiry import DrawnInquiry
from anabranch.queries.estimate import Estimate, QueryWarning
from anabranch.queries.inquiry import Inquiry
from anabranch.queries.point_inquiry import PointInquiry
from anabranch.queries.region import Values

# where nothing is known of what was seen, values are cut at these quantiles, as `impute` does for its best
_OUTERMOST = (0.0003, 0.9997)


class UnitMoments:
    """Means and variances of columns in their units; of times in seconds, or seconds squared.

    Args:
        inquiry: answers for the density's numbers.
        columns: their units.
        given: what is given, by column.
    """

    def __init__(
        self, inquiry: Inquiry | DrawnInquiry | PointInquiry, columns: Columns, given: Mapping[int, Values]
    ) -> None:
        self.inquiry, self.columns, self.given = inquiry, columns, given

    def __call__(self, name: str, column: int, clock: Clock | None, squared: bool) -> tuple[Estimate, str]:
        """The mean of a column, or if squared its variance, and what has to be known about it.

        Args:
            name: the question, for a warning.
            column: its number.
            clock: of a column of times, by which its seconds count.
            squared: whether it is the variance.

        Warns:
            QueryWarning: the mean cannot be told from draws; it is that of cut values then.
        """
        affine = self.columns.affine(column)
        if affine is not None and clock is None:
            found = self.inquiry.moment(column, squared, self.given)
            if found is not None and (found.exact or not found.heavy):
                loc, scale = (0.0, affine[1] ** 2) if squared else affine
                missing = found.exact and not bool(found.value.isfinite().all())
                in_unit = replace(found, value=loc + scale * found.value, standard_error=scale * found.standard_error)
                return in_unit, "there is none, or it is infinite" if missing else ""
        found = self._averaged(column, clock, squared, None)
        if not found.heavy or found.pareto_k is None:
            return found, ""
        # what impute(best="mean") does too
        cut, why = self._cut(column)
        shown = [self._shown(column, end) for end in cut]
        note = f"of values cut at {shown[0]} and {shown[1]}, {why}"
        warnings.warn(
            f"{name}: the largest of the draws decide it (Pareto k {float(found.pareto_k.max()):.2f}, above {HEAVY}), so it "
            f"cannot be told from draws and may not exist; given is that {note}; Q[0.5] has no such trouble",
            QueryWarning,
            stacklevel=6,
        )
        limited = self._averaged(column, clock, squared, cut)
        effective = torch.minimum(limited.effective_samples, found.effective_samples)
        return replace(limited, effective_samples=effective), note

    def _averaged(self, column: int, clock: Clock | None, squared: bool, cut: tuple[float, float] | None) -> Estimate:
        """The mean over draws of a column's values, or of their squared distance from it."""

        def in_unit(x: Tensor) -> Tensor:
            values = self._decoded(column, x[:, column] if cut is None else x[:, column].clamp(*cut))
            numbers = torch.from_numpy(np.array(values if clock is None else clock.seconds(values), dtype=np.float64))
            # what a logarithm's inverse makes of a far draw may be infinite, and has a heavy tail for sure
            return numbers.nan_to_num(nan=torch.nan, posinf=LIMITLESS, neginf=-LIMITLESS).clamp(-LIMITLESS, LIMITLESS)

        found = self.inquiry.mean(in_unit, [column], self.given)
        if not squared:
            return found
        about = float(found.value)
        return self.inquiry.mean(lambda x: (in_unit(x) - about).square(), [column], self.given)

    def _cut(self, column: int) -> tuple[tuple[float, float], str]:
        """Where values are cut whose mean cannot be told, and why there."""
        ends = self.inquiry.seen(column)
        if ends is not None:
            return ends, "the ends of what was seen"
        levels = torch.tensor(_OUTERMOST, dtype=torch.float64)
        low, high = self.inquiry.quantile(column, levels, self.given).value.tolist()
        return (low, high), "the quantiles of 0.03 % and 99.97 %"

    def _shown(self, column: int, x: float) -> str:
        value = plain(self._decoded(column, torch.tensor([x], dtype=torch.float64))[0])
        return f"{value:.6g}" if isinstance(value, float) else str(value)

    def _decoded(self, column: int, x: Tensor) -> NDArray[Any]:
        return self.columns.decode(column, x.detach().double().cpu().numpy())
