"""The learning rate over a fit, as a record that can be followed again."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from anabranch.checks import positive_int


@dataclass(frozen=True)
class Schedule:
    r"""A linear warm-up, a constant rate, and a fall to zero, in steps: the course that a fit within a budget took.

    .. math:: \text{rate at step } s = \text{highest} \cdot \begin{cases} \min(1, (s + 1) / w) & s < t \\
              \min(1, (t + 1) / w) \, (1 - \sqrt{u(s)}) & t \le s < e\end{cases}

    for a warm-up of w steps, an end of the constant rate at step t and of the fit at step e. u rises from 0 to 1 along a
    line between the points of `fall`. `fit(schedule=history.schedule)` takes the same steps again, whatever the time.
    Source: warm-up, stable, decay of Hu et al., 2024, arXiv:2404.06395; the root of Hägele et al., 2024, arXiv:2405.18392.

    Attributes:
        warmup: steps of warm-up.
        fall: pairs of a step and u, the first of them (t, 0), the last (e, 1), steps rising.
        back_to: the step whose weights, and state of the optimiser, the fall begins with, if those are not the ones of
            step t: those of the lowest validation loss, where it had risen since.
        every: steps between two validations; None for one after each pass over the rows.
        most: the steps that were asked for, where the fit took fewer. Objectives and noise go by the share of these.
        phases: the steps after which the objective moved on to its next phases.
        compiled: whether the density was compiled, which says how its numbers are rounded.

    Raises:
        ValueError: points that do not rise from 0 to 1, or a step to go back to that is not before them.

    Example:
        >>> from anabranch.training.schedule import Schedule
        >>> schedule = Schedule(warmup=2, fall=((4, 0.0), (8, 1.0)))
        >>> [round(schedule.factor(step), 3) for step in range(8)]
        [0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.293, 0.134]
    """

    warmup: int
    fall: tuple[tuple[int, float], ...]
    back_to: int | None = None
    every: int | None = None
    most: int | None = None
    phases: tuple[int, ...] = ()
    compiled: bool = False

    def __post_init__(self) -> None:
        steps, done = [step for step, _ in self.fall], [share for _, share in self.fall]
        rising = all(a < b for values in (steps, done) for a, b in pairwise(values))
        if len(self.fall) < 2 or not rising or steps[0] < 0 or (done[0], done[-1]) != (0, 1):
            raise ValueError(f"fall: expected pairs of steps and shares that rise from 0 to 1, got {self.fall}")
        positive_int("warmup", self.warmup)
        if self.every is not None:
            positive_int("every", self.every)
        if self.back_to is not None and not 0 < self.back_to <= steps[0]:
            raise ValueError(
                f"back_to: expected a step from 1 to {steps[0]}, where the fall begins, got {self.back_to}"
            )

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.fall[-1][0]

    @property
    def begins_to_fall(self) -> int:
        """The step at which the constant rate ends."""
        return self.fall[0][0]

    def factor(self, step: int) -> float:
        """The learning rate of a step, from 0, as a share of the highest."""
        return risen(min(step, self.begins_to_fall), self.warmup) * fallen(step, self.fall)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready data."""
        return asdict(self) | {"fall": [list(point) for point in self.fall], "phases": list(self.phases)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Schedule:
        """From what `to_dict` gave."""
        fall = tuple((int(step), float(share)) for step, share in plain["fall"])
        return cls(**{**plain, "fall": fall, "phases": tuple(int(step) for step in plain.get("phases", ()))})


def risen(step: int, warmup: int) -> float:
    """The share of the highest rate during and after a warm-up of so many steps."""
    return min(1.0, (step + 1) / warmup)


def fallen(step: int, fall: tuple[tuple[int, float], ...]) -> float:
    """The share of the highest rate on the way down: 1 - the root of what is done of it, by points of step and share."""
    if step <= fall[0][0]:
        return 1.0
    after = min(max(bisect_right(fall, (step, math.inf)), 1), len(fall) - 1)
    (begin, from_share), (end, to_share) = fall[after - 1], fall[after]
    done = from_share + (to_share - from_share) * (step - begin) / (end - begin)
    return 1 - math.sqrt(min(max(done, 0.0), 1.0))


def cosine(step: int, steps: int, warmup: int) -> float:
    """A linear warm-up of so many steps, then a half cosine down to zero at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
