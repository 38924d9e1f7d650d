"""The lower bound of the normaliser of an unnormalised density, by draws of the density that is fitted to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from anabranch.checks import fraction, one_of, positive, positive_int
from anabranch.densities import Density
from anabranch.densities.density import likelihood_in_words
from anabranch.objectives.objective import Batch, Objective

LogTarget = Callable[[Tensor], Tensor]
"""log of an unnormalised density, nats: of x (rows, *event), (rows)."""


class VariationalBound(Objective):
    r"""The negative lower bound of log Z of an unnormalised density, by K draws x_1, ..., x_K of q, the density of the fit:

    .. math:: -\log \frac{1}{K} \sum_k w_k, \qquad w_k = \tilde p(x_k)^{\beta} / q(x_k), \qquad Z = \int \tilde p .

    With K = 1 its mean is KL(q || p) - log Z, the reverse divergence up to a constant. With more draws the bound is closer
    and q is broader (importance-weighted variational inference). The objective does not read the rows of the fit; each row
    stands for one bound.

    :math:`\beta` is the inverse temperature of the target. It rises geometrically from `coldness` to 1 in the first part of
    a fit, so that q can reach all modes of the target while they are shallow.

    Source: Rezende and Mohamed, 2015, arXiv:1505.05770, equation 20 (annealing); Burda et al., 2016, arXiv:1509.00519
    (K > 1); Roeder et al., 2017, arXiv:1703.09194 (the path gradient, K = 1); Tucker et al., 2019, arXiv:1810.04152 (K > 1).

    Args:
        log_target: log p~, a function of x (rows, *event) that gives (rows), nats.
        draws: K.
        gradient: "total", the gradient of the bound; or "path", the part of it that goes through the draws x. For K = 1 the
            path gradient leaves out a term of mean 0 ("sticking the landing"), for K > 1 it squares the shares of the
            weights (doubly reparameterized). Its noise falls to 0 as q approaches p. It costs one more score of every draw,
            which is slow if q scores slowly.
        anneal: the share of the fit after which beta is 1; 0 for no annealing.
        coldness: beta at the start.

    Raises:
        ValueError: a setting out of range; in a fit, a density whose draws are not differentiable, that takes a context, or
            whose likelihood is not exact.

    Example:
        >>> from anabranch.objectives import VariationalBound
        >>> objective = VariationalBound(lambda x: -x.square().sum(dim=-1), draws=10, gradient="path")
    """

    uses_labels = False
    reads_rows = False

    def __init__(
        self,
        log_target: LogTarget,
        draws: int = 1,
        gradient: Literal["total", "path"] = "total",
        anneal: float = 0.0,
        coldness: float = 0.01,
    ) -> None:
        if not callable(log_target):
            raise ValueError(f"log_target: expected a function of x, (rows, *event), got {type(log_target).__name__}")
        self.log_target = log_target
        self.draws = positive_int("draws", draws)
        self.gradient = one_of("gradient", gradient, ("total", "path"))
        self.anneal = fraction("anneal", anneal)
        self.coldness = positive("coldness", coldness)
        if coldness > 1:
            raise ValueError(f"coldness: expected a number of at most 1, got {coldness}")
        self._annealed = self.anneal == 0
        # of the last step, for an error to name the point
        self.last: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def by_epochs(self) -> bool:
        """Whether the temperature changes on the way."""
        return self.anneal > 0

    @property
    def phases(self) -> tuple[float, ...]:
        """Where the annealing ends."""
        return (self.anneal,) if self.anneal else ()

    @property
    def settled(self) -> bool:
        """Whether beta is 1."""
        return self._annealed

    def next_phase(self) -> None:
        self._annealed = True

    def prepare(self, rows: Batch, epochs: int) -> None:
        check_posterior(rows.density)
        self._annealed = self.anneal == 0

    def state(self) -> dict[str, Any]:
        return {"annealed": self._annealed}

    def restore(self, state: dict[str, Any], density: Density) -> None:
        self._annealed = state["annealed"]

    def beta(self, progress: float) -> float:
        """The inverse temperature after this share of the fit."""
        return 1.0 if self._annealed else self.coldness ** max(0.0, 1 - progress / self.anneal)

    def __call__(self, batch: Batch) -> Tensor:
        shape = (self.draws, len(batch.x))
        x, log_q = batch.density.sample_and_log_prob(shape)
        log_p = values_of(self.log_target, x.flatten(0, 1)).unflatten(0, shape)
        self.last = x.detach(), log_q.detach(), log_p.detach()
        tempered = self.beta(batch.progress) * log_p
        bound = torch.logsumexp(tempered - log_q, dim=0) - math.log(self.draws)
        if self.gradient == "total":
            return -bound
        log_w = tempered - _scored(batch.density, x)
        share = torch.softmax(log_w.detach(), dim=0)
        path = (share.square() * log_w).sum(dim=0)
        # the value of the bound, the gradient of the path
        return -(path + (bound - path).detach())


def check_posterior(density: Density, differentiable: bool = True) -> None:
    """Raise ValueError for a density that cannot be fitted, or judged, by its draws."""
    name = type(density).__name__
    if density.likelihood != "exact":
        raise ValueError(
            f"density: expected one whose likelihood is exact, got a {name}, of which {likelihood_in_words(density)}"
        )
    if differentiable and not density.reparameterized:
        raise ValueError(
            f"density: expected one whose draws are differentiable (`reparameterized`), got a {name}, whose are not; "
            "a Flow over a Normal is one"
        )
    if density.context_shape is not None:
        raise ValueError(
            f"density: expected one without a context, got a {name} with one of shape {tuple(density.context_shape)}; "
            "densities.at_context gives it at one context"
        )


def values_of(log_target: LogTarget, x: Tensor) -> Tensor:
    """log p~ of x (rows, *event), (rows).

    Raises:
        ValueError: the function gives anything else.
    """
    values = log_target(x)
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = f"a tensor of {values.dtype}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise ValueError(f"log_target: expected a tensor of floating-point numbers, got {kind}")
    if values.shape != (len(x),):
        raise ValueError(
            f"log_target: expected one number for each of {len(x)} rows of shape {tuple(x.shape[1:])}, "
            f"got shape {tuple(values.shape)}"
        )
    return values


def _scored(density: Density, x: Tensor) -> Tensor:
    """log q(x) as a function of x alone: the parameters are held."""
    held = {f"density.{name}": parameter.detach() for name, parameter in density.named_parameters()}
    log_q: Tensor = torch.func.functional_call(_LogProb(density), held, (x,))
    return log_q


class _LogProb(nn.Module):
    """A density as a module whose output is log_prob."""

    def __init__(self, density: Density) -> None:
        super().__init__()
        self.density = density

    def forward(self, x: Tensor) -> Tensor:
        return self.density.log_prob(x)
