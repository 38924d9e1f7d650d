"""One step of a fit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.objectives import Batch, Objective
from anabranch.training.diagnosis import NonFiniteError, explain_gradient, explain_loss
from anabranch.training.optimiser import Optimiser
from anabranch.training.processes import Processes
from anabranch.training.rows import Rows


class Step:
    """Losses of a batch, their mean, its gradient, clipped, and an update: tensors alone, as a CUDA graph can hold them.

    Nothing here waits for the device. A loss or a gradient that is not finite raises a flag there, `unsound`, and as long
    as the flag is up no update is made: the weights stay what they were, so that the step can be taken again and explained.

    Args:
        density: to train.
        objective: what to minimise in place of its loss.
        optimiser: of its parameters.
        clip: largest norm of the gradient.
        processes: which share the gradients.

    Attributes:
        unsound: 1 from the first step on that had a loss or a gradient that is not finite, before that 0.
        made: updates so far.
        total: the sum of the losses of all rows since `begin`.
        last: the mean loss of the last batch.
    """

    def __init__(
        self, density: Density, objective: Objective | None, optimiser: Optimiser, clip: float, processes: Processes
    ) -> None:
        self.density, self.objective, self.optimiser, self.clip = density, objective, optimiser, clip
        self.model = processes.shared(density if objective is None else _WithObjective(density, objective))
        self.processes = processes
        self.parameters = [parameter for parameter in density.parameters() if parameter.requires_grad]
        self.unsound = torch.zeros((), device=processes.device)
        self.made = torch.zeros((), dtype=torch.int64, device=processes.device)
        self.total, self.last = torch.zeros_like(self.unsound), torch.zeros_like(self.unsound)

    def __call__(self, rows: Rows, index: Tensor, count: int, progress: float, seed: int) -> None:
        """Take a step.

        Args:
            rows: this process's share of a batch.
            index: which of the training rows they are.
            count: how many rows all processes have.
            progress: the share of the fit that is done.
            seed: of what is drawn in it.
        """
        with drawing(seed):
            self.run(rows, index, count, progress)

    def run(self, rows: Rows, index: Tensor, count: int, progress: float) -> None:
        """The same, where draws are seen to."""
        self.optimiser.zero()
        mean = self.gradients(rows, index, progress)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.unsound.add_(~(torch.isfinite(mean) & torch.isfinite(norm))).clamp_(max=1)
        self.optimiser.step(self.unsound)
        self.made.add_(self.unsound == 0)
        self.total.add_(mean * count)
        self.last.copy_(mean)

    def gradients(self, rows: Rows, index: Tensor, progress: float) -> Tensor:
        """Add the gradients of the mean loss to those of the parameters; returns that mean."""
        loss = rows.weighted(self._losses(rows, index, progress)).mean()
        loss.backward()
        return loss.detach()

    def look(self) -> tuple[bool, float]:
        """Whether all steps were sound, and the last loss: waits for the device, once."""
        # all processes come to the same conclusion
        unsound, last = torch.stack([self.processes.mean(self.unsound), self.last]).tolist()
        return unsound == 0, last

    def explain(self, rows: Rows, index: Tensor, progress: float, seed: int, number: int) -> NonFiniteError:
        """Take the step that raised the flag once more, and say what was not finite in it, by its number from 1."""
        with drawing(seed):
            losses = self._losses(rows, index, progress)
            loss = rows.weighted(losses).mean()
        if not bool(torch.isfinite(loss)):
            return explain_loss(self.density, rows, losses, number)
        self.optimiser.zero()
        loss.backward()
        return explain_gradient(self.density, number)

    def _losses(self, rows: Rows, index: Tensor, progress: float) -> Tensor:
        if self.objective is None:
            return self.model(rows.x, rows.context)
        return self.model(rows.x, rows.context, rows.labels, index, progress)


class _WithObjective(nn.Module):
    """The density as a module whose output is the objective: what several processes share the gradients of."""

    def __init__(self, density: Density, objective: Objective) -> None:
        super().__init__()
        self.density = density
        self.objective = objective

    def forward(
        self, x: Tensor, context: Tensor | None, labels: Tensor | None, numbers: Tensor, progress: float
    ) -> Tensor:
        return self.objective(Batch(self.density, x, context, labels, numbers, progress))


def seed_at(seed: int, *place: int) -> int:
    """The seed of what is drawn at a place in a fit: a mixture of the bits of the fit's seed and of numbers.

    A fit that goes on from there draws the same without having drawn all that was before. Source: the finaliser of
    SplitMix64, Steele, Lea and Flood, 2014.

    Example:
        >>> from anabranch.training.step import seed_at
        >>> seed_at(0, 1) != seed_at(0, 2), seed_at(0, 1) == seed_at(0, 1)
        (True, True)
    """
    mask = 2**64 - 1
    mixed = seed & mask
    for number in place:
        mixed = (mixed + 0x9E3779B97F4A7C15 * (number + 1)) & mask
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        mixed ^= mixed >> 31
    return mixed >> 1
