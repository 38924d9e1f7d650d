"""Gradients through draws of a discrete hidden variable that are made differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import positive
from anabranch.densities import Density, Encoded
from anabranch.draws import drawing
from anabranch.models import LatentVariable
from anabranch.objectives.enumerated import as_latent_variable
from anabranch.objectives.objective import Batch, Objective


class Relaxed(Objective):
    r"""The negative lower bound of a `LatentVariable` of discrete z, with a relaxed draw in the decoder:

    .. math:: -\log p(x \mid \tilde z) + KL(q(z \mid x) \,\|\, p(z)), \qquad
              \tilde z = \mathrm{softmax}\big((\log q + g) / T\big)

    with Gumbel noise g, for zeros and ones a sigmoid of logistic noise. The gradient is biased, towards that of the bound
    as T falls to 0, when its variance grows. With `straight_through` the decoder reads the nearest value of z, and the
    gradient is that of the relaxed draw. The divergence is the formula of the discrete densities. What is fitted is the
    discrete model in any case: `lower_bound`, and so a fit's validation, has discrete draws.
    Source: Jang et al., 2017, arXiv:1611.01144; Maddison et al., 2017, arXiv:1611.00712; Bengio et al., 2013,
    arXiv:1308.3432 (straight through).

    Args:
        temperature: T at the beginning of a fit.
        coldest: T at its end, to which it falls geometrically; None for the same.
        straight_through: whether the decoder reads the nearest value of z.

    Raises:
        ValueError: a temperature that is not above 0; in a fit, a density that is no `LatentVariable`, a posterior without a
            relaxation (`Bernoulli` and `OneHot` have one, also behind an encoder) or without a formula for its divergence.

    Example:
        >>> from anabranch.objectives import Relaxed
        >>> objective = Relaxed(temperature=1.0, coldest=0.5)
        >>> round(objective.temperature_at(0.5), 3)
        0.707
    """

    uses_labels = False
    reads_rows = False

    def __init__(self, temperature: float = 0.5, coldest: float | None = None, straight_through: bool = False) -> None:
        self.temperature = positive("temperature", temperature)
        self.coldest = self.temperature if coldest is None else positive("coldest", coldest)
        self.straight_through = bool(straight_through)

    @property
    def by_epochs(self) -> bool:
        """Whether the temperature changes on the way."""
        return self.coldest != self.temperature

    @property
    def static(self) -> bool:
        """Whether it does not."""
        return not self.by_epochs

    def temperature_at(self, progress: float) -> float:
        """T after this share of a fit."""
        return self.temperature * (self.coldest / self.temperature) ** progress

    def prepare(self, rows: Batch, epochs: int) -> None:
        model = as_latent_variable(rows.density)
        with torch.no_grad(), drawing(0):  # nothing is taken from the generator of the fit
            like = next(model.parameters(), torch.zeros(()))
            x = torch.zeros(1, *model.event_shape, dtype=like.dtype, device=like.device)
            c = None if model.context_shape is None else x.new_zeros(1, *model.context_shape)
            self._terms(model, x, c, self.temperature)

    def __call__(self, batch: Batch) -> Tensor:
        model = as_latent_variable(batch.density)
        likely, divergence = self._terms(model, batch.x, batch.context, self.temperature_at(batch.progress))
        return divergence - likely

    def _terms(
        self, model: LatentVariable, x: Tensor, context: Tensor | None, temperature: float
    ) -> tuple[Tensor, Tensor]:
        divergence = model._divergence(x, context)
        encoded = model._context_of(model.posterior, x, model.event_shape, context)
        z = model.posterior.relaxed_sample(temperature, encoded, self.straight_through)
        if z is None:
            raise ValueError(
                f"posterior: expected one with a relaxation, Bernoulli or OneHot, got a {_kind_of(model.posterior)}; "
                "objectives.ScoreFunction works for every discrete posterior"
            )
        if divergence is None:
            raise ValueError(
                f"prior: expected a {_kind_of(model.posterior)} as the posterior, whose divergence is a formula, got a "
                f"{type(model.prior).__name__}; objectives.ScoreFunction works for every prior"
            )
        given = model._context_of(model.decoder, z, model.prior.event_shape, context)
        return model.decoder._lower_bound(x, given), divergence


def _kind_of(density: Density) -> str:
    """The class of a density, behind the encoder if there is one."""
    return type(density.density if isinstance(density, Encoded) else density).__name__
