"""The lower bound that a posterior network trains, with weights for its terms."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import at_least_zero, positive, positive_int
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.models import LatentVariable
from anabranch.objectives.objective import Batch, Objective
from anabranch.objectives.posterior_alone import posterior_alone

# rows by which it is judged whether z still says more of x
_ROWS = 200


class LowerBound(Objective):
    r"""The negative lower bound of a density with a posterior network, its terms weighed:

    .. math:: -E_q[\log p(x \mid z)] + \beta_t \sum_j \max\big(\lambda, \overline{KL}_j\big)

    where a bar is the mean over the batch, and \beta_t rises from 0 to \beta in the first part of a fit (warm-up), or of
    each of several cycles, so that the posterior does not fall back on the prior before the decoder has learned to use z.
    Free nats, \lambda, are those that a group of hidden numbers may cost without a price. It works on the terms of a
    `LatentVariable` and of a mixture with a posterior network (`Mixture.variational`), also where they are parts of another
    density. With \beta = 1, without warm-up and free nats, it is the density's own bound. A fit judges validation rows by
    that in any case.

    Aggressive training takes steps of the posterior alone before each step of all parameters, so that the encoder keeps up
    with the decoder: until an epoch ends in which z has come to say no more of x, by the mutual information of both over 200
    of the rows.
    Source: Bowman et al., 2016, arXiv:1511.06349 (warm-up); Fu et al., 2019, arXiv:1903.10145 (cycles); Kingma et al., 2016,
    arXiv:1606.04934, section C.8 (free bits); Higgins et al., 2017 (beta); He et al., 2019, arXiv:1901.05534 (aggressive).

    Args:
        beta: the weight of the divergence when it is warm.
        warmup: the share of a fit, or of a cycle, by which it is; 0 for no warm-up.
        free: lambda, nats for each group (`LatentVariable.terms`).
        cycles: how often a fit warms up.
        encoder_steps: how many steps of the posterior alone come before each step of all, as long as training is aggressive;
            0 for none. Of a `LatentVariable`.

    Raises:
        ValueError: several cycles without a warm-up, or one that is no share.

    Example:
        >>> from anabranch.objectives import LowerBound
        >>> objective = LowerBound(warmup=0.5, free=0.1, cycles=4)
        >>> [round(objective.warmth(share), 2) for share in (0.0, 0.0625, 0.125, 0.24, 0.25)]
        [0.0, 0.5, 1.0, 1.0, 0.0]
    """

    uses_labels = False

    def __init__(
        self, beta: float = 1.0, warmup: float = 0.0, free: float = 0.0, cycles: int = 1, encoder_steps: int = 0
    ) -> None:
        self.beta = positive("beta", beta)
        self.warmup = at_least_zero("warmup", warmup)
        if self.warmup > 1:
            raise ValueError(f"warmup: expected the share of a fit, from 0 to 1, got {warmup}")
        self.free = 0.0 if free == 0 else positive("free", free)
        self.cycles = positive_int("cycles", cycles)
        self.encoder_steps = positive_int("encoder_steps", encoder_steps, least=0)
        if self.cycles > 1 and self.warmup == 0:
            raise ValueError(f"cycles: expected 1 without a warm-up, got {cycles}; give the share of a cycle as warmup")
        self._aggressive = self.encoder_steps > 0
        self._steps, self._information = 0, 0.0
        self._rows: Batch | None = None

    @property
    def static(self) -> bool:
        """Whether nothing is warmed up, and every step is one of all parameters."""
        return self.warmup == 0 and self.encoder_steps == 0

    @property
    def reads_rows(self) -> bool:
        """Whether it looks at the rows to see how long to be aggressive."""
        return self.encoder_steps > 0

    def prepare(self, rows: Batch, epochs: int) -> None:
        density = rows.density
        if not has_terms(density):
            raise ValueError(
                f"density: expected one with a posterior network, such as LatentVariable, got a {type(density).__name__}"
            )
        if self.encoder_steps and not isinstance(density, LatentVariable):
            raise ValueError(
                f"density: expected a LatentVariable for steps of its posterior alone, got a {type(density).__name__}; "
                "set encoder_steps to 0"
            )
        self._aggressive, self._steps, self._information = self.encoder_steps > 0, 0, 0.0
        if self._aggressive:
            some = slice(0, _ROWS)
            context = None if rows.context is None else rows.context[some]
            self._rows = Batch(density, rows.x[some], context, None, rows.numbers[some], 0.0)

    def warmth(self, progress: float) -> float:
        """The share of beta at a share of a fit."""
        if self.warmup == 0 or progress >= 1:
            return 1.0
        return min(1.0, (progress * self.cycles) % 1 / self.warmup)

    def __call__(self, batch: Batch) -> Tensor:
        warmth = self.warmth(batch.progress)

        def weigh(log_likelihood: Tensor, divergence: Tensor) -> Tensor:
            return log_likelihood - self.beta * warmth * self._priced(divergence).sum(dim=-1)

        alone = self._aggressive and self._steps % (self.encoder_steps + 1) < self.encoder_steps
        self._steps += 1
        density = batch.density
        with posterior_alone(density) if alone and isinstance(density, LatentVariable) else nullcontext():
            return -density.weighed_bound(batch.x, weigh, batch.context)

    def after_epoch(self, density: Density, rows: int) -> None:
        if not self._aggressive or self._rows is None or not isinstance(density, LatentVariable):
            return
        with torch.no_grad(), drawing(0):
            information = float(density.information(self._rows.x, self._rows.context)[0])
        self._aggressive = information > self._information
        self._information = information

    def finish(self, density: Density) -> None:
        self._rows = None

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("_aggressive", "_steps", "_information")}

    def _priced(self, divergence: Tensor) -> Tensor:
        if self.free == 0:
            return divergence
        mean = divergence.mean(dim=tuple(range(divergence.dim() - 1)), keepdim=True)
        return torch.clamp(mean, min=self.free).expand(divergence.shape)


def has_terms(density: Density) -> bool:
    """Whether a network guesses a hidden variable, in the density or in a part of it."""
    return any(isinstance(part, Density) and part.variational for part in density.modules())
