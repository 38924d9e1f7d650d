"""The mean loss of the validation rows: -log p where that is known, else by the bound that the objective says."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.objectives import Objective
from anabranch.training.background import before_background
from anabranch.training.diagnosis import NonFiniteError, explain_loss
from anabranch.training.part import Part
from anabranch.training.processes import Processes
from anabranch.training.rows import Rows


class Validation:
    """Scores the validation rows, a batch at a time; each process takes its share, and all come to the same mean.

    Args:
        density: that is trained.
        rows: for validation, wherever they lie.
        size: rows of a batch.
        processes: which share the rows.
        objective: of the fit, which says by what rows are judged; None for the lower bound.
        background: what is taken to stand behind the density, if anything; see `background`.
    """

    def __init__(
        self,
        density: Density,
        rows: Part,
        size: int,
        processes: Processes,
        objective: Objective | None = None,
        background: Density | None = None,
    ) -> None:
        self.density, self.rows, self.background, self.processes = density, rows, background, processes
        self.objective = objective
        self.index = torch.arange(processes.index, len(rows), processes.count, device=rows.device).split(size)
        self.weight = len(rows) if rows.weights is None else float(rows.weights.sum())

    def __call__(self, step: int) -> float:
        """The mean loss, nats per row, after so many steps; always with the same draws.

        Raises:
            NonFiniteError: a row's loss is NaN or infinite.
        """
        self.density.eval()
        total = torch.zeros((), device=self.processes.device)
        unsound = torch.zeros_like(total)
        with torch.no_grad():
            for index in self.index:
                batch, losses = self._losses(index)
                unsound.add_(~torch.isfinite(losses).all())
                if self.background is not None:
                    losses = before_background(losses, self.background.log_prob(batch.x), len(self.rows))
                total += batch.weighted(losses).sum()
            total, unsound = self.processes.mean(torch.stack([total * self.processes.count / self.weight, unsound]))
            # the one time that the device is waited for
            mean, wrong = torch.stack([total, unsound]).tolist()
            if wrong:
                raise self._explain(step)
        return float(mean)

    def _losses(self, index: Tensor) -> tuple[Rows, Tensor]:
        batch = self.rows.take(index).to(self.processes.device, wait=False)
        if self.objective is None:
            return batch, -self.density.lower_bound(batch.x, batch.context, generator=0)
        return batch, self.objective.validation_loss(self.density, batch.x, batch.context)

    def _explain(self, step: int) -> NonFiniteError:
        for index in self.index:
            batch, losses = self._losses(index)
            if not bool(torch.isfinite(losses).all()):
                return explain_loss(self.density, batch, losses, step)
        # another process has the row
        return NonFiniteError(f"the loss of a validation row became infinite or NaN at step {step}", step, None, "")
