"""Whether a loss still falls."""

from __future__ import annotations

import math


class Plateau:
    r"""Judges by means over the last records, so that a single lucky or unlucky one decides nothing.

    With S_i the mean of the losses from the last tenth of the records up to record i (three at least), the loss has stopped
    falling when no S was lower than the lowest before it, by more than `gain`, for a share `patience` of all steps so far.
    The longer a fit has gone on, the longer it waits: a loss that falls like the logarithm of the steps gains as much in
    each such wait.

    Args:
        patience: share of the steps so far to wait.
        least: but at least so many steps,
        records: and at least so many records.
        gain: nats per row that count as none.

    Example:
        >>> from anabranch.training.plateau import Plateau
        >>> plateau = Plateau(least=30, records=3)
        >>> for step, loss in enumerate([3.0, 2.0, 1.5, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7], start=1):
        ...     plateau.see(10 * step, loss)
        >>> plateau.reached, plateau.best_step
        (True, 60)
    """

    def __init__(self, patience: float = 0.25, least: int = 500, records: int = 8, gain: float = 1e-3) -> None:
        self.patience, self.least, self.records, self.gain = patience, least, records, gain
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.best_step = 0
        self._best = math.inf
        self._since = 0

    def see(self, step: int, loss: float) -> None:
        """One more record."""
        self.steps.append(step)
        self.losses.append(loss)
        recent = self.losses[-max(3, len(self.losses) // 10) :]
        mean = sum(recent) / len(recent)
        self._since += 1
        if mean < self._best - self.gain:
            self._best, self.best_step, self._since = mean, step, 0

    @property
    def reached(self) -> bool:
        """Whether it has stopped falling."""
        return self._since >= self.records and self._waited >= max(self.least, self.patience * self._last)

    @property
    def passed(self) -> bool:
        """Whether it has not fallen for half of that time."""
        return self._waited >= 0.5 * max(self.least, self.patience * self._last)

    @property
    def _last(self) -> int:
        return self.steps[-1] if self.steps else 0

    @property
    def _waited(self) -> int:
        return self._last - self.best_step
