"""Annealed importance sampling: log p(x) of a latent-variable model by chains that lead from one density of z to another."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import instance_of, one_of, positive_int
from anabranch.densities.contexts import at_every_context, context_for
from anabranch.densities.log_weights import log_mean_weight
from anabranch.draws import drawing
from anabranch.models import LatentVariable
from anabranch.queries.hamiltonian import Hamiltonian

# how far the schedule of temperatures bends: 1 / (1 + e^4) of its steps' width at the ends, as of a logistic from -4 to 4
_BEND = 4.0


def annealed(
    model: LatentVariable,
    x: Tensor | ArrayLike,
    context: Tensor | ArrayLike | None = None,
    *,
    z: Tensor | ArrayLike | None = None,
    start: str = "prior",
    steps: int = 200,
    chains: int = 16,
    leapfrogs: int = 5,
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    r"""log p(x) and its standard error, nats, (*batch) each, by annealed importance sampling: a check of `Density.estimate`.

    Chains of z go through the densities

    .. math:: f_t(z) = q(z)^{1 - \beta_t} \big(p(z)\, p(x \mid z)\big)^{\beta_t}, \quad 0 = \beta_0 < \ldots < \beta_T = 1,

    from draws of q, with a Hamiltonian move that leaves f_t as it is behind each step; the product of f_t(z_{t-1}) /
    f_{t-1}(z_{t-1}) is a weight whose mean is exactly p(x), with far less variance than that of one step. The value lies
    below log p(x) in the mean, as that of `estimate` does. From the prior it does not ask the encoder anything, so that an
    encoder that misses a mode of p(z | x) shows.

    Given an exact draw z of p(z | x), as of rows that the model has drawn itself, the chains go the other way, and the value
    lies above log p(x) in the mean: log p(x) is between both (bidirectional Monte Carlo).

    Moves find the length of their steps in chains of their own, whose weights do not count.
    Source: Neal, 2001, "Annealed importance sampling"; Wu et al., 2017, arXiv:1611.04273; Grosse et al., 2015,
    arXiv:1511.02543 (both ways).

    Args:
        model: whose prior, decoder and posterior are known exactly, and whose z are real numbers.
        x: (*batch, *event).
        context: the context or contexts.
        z: (*batch, *event of z), draws of p(z | x); None for chains from q.
        start: q, "prior" or "posterior".
        steps: T, temperatures.
        chains: of each row, 2 at least.
        leapfrogs: of each move.
        seed: of the draws; by default torch's global generator goes on.

    Raises:
        ValueError: a model that does not fit.

    Example:
        >>> import torch
        >>> from anabranch.queries import annealed
        >>> from anabranch.testing import linear_gaussian, marginal
        >>> model = linear_gaussian()
        >>> x = torch.zeros(3, 2)
        >>> value, error = annealed(model, x, steps=50)
        >>> bool(((value - marginal(model).log_prob(x)).abs() < 5 * error).all())
        True
    """
    instance_of("model", model, LatentVariable)
    one_of("start", start, ("prior", "posterior"))
    steps, chains = positive_int("steps", steps, least=2), positive_int("chains", chains, least=2)
    _check(model)
    with torch.no_grad(), drawing(seed):
        x, context = model._checked(x, context)
        x = at_every_context(model, x, context)
        path = _Path(model, x, context, start)
        batch = torch.Size([chains, *x.shape[: x.dim() - len(model.event_shape)]])
        shape, betas = model.prior.event_shape, _schedule(steps).tolist()
        given = None if z is None else model._checked(z, context, "z", shape)[0].expand(*batch, *shape)
        betas = betas if given is None else betas[::-1]
        first = path.draw(chains) if given is None else given
        moves = Hamiltonian(batch, len(shape), positive_int("leapfrogs", leapfrogs), like=first)
        _run(path, first, betas, moves)
        value, error = log_mean_weight(
            _run(path, path.draw(chains) if given is None else given, betas, moves.settled())
        )
        return (value, error) if given is None else (-value, error)


class _Path:
    """log f_t at z, for rows x."""

    def __init__(self, model: LatentVariable, x: Tensor, context: Tensor | None, start: str) -> None:
        self.model, self.x, self.context, self.start = model, x, context, start
        self.prior_context = context_for(model.prior, context)
        self.encoded = model.posterior_context(x, context) if start == "posterior" else None

    def draw(self, chains: int) -> Tensor:
        """z of q, (chains, *batch, *event of z)."""
        if self.encoded is not None:
            return self.model.posterior._sample(torch.Size([chains]), self.encoded)
        batch = (
            torch.Size()
            if self.prior_context is not None
            else self.x.shape[: self.x.dim() - len(self.model.event_shape)]
        )
        return self.model.prior._sample(torch.Size([chains, *batch]), self.prior_context)

    def ends(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log q(z) and log p(z) p(x | z), (chains, *batch) each."""
        log_prior = self.model.prior.log_prob(z, self.prior_context)
        log_p = log_prior + self.model.decoder.log_prob(self.x, self.model.decoder_context(z, self.context))
        return (log_prior if self.encoded is None else self.model.posterior.log_prob(z, self.encoded)), log_p

    def at(self, beta: float) -> Callable[[Tensor], Tensor]:
        """log f_t."""

        def log_f(z: Tensor) -> Tensor:
            first, last = self.ends(z)
            return (1 - beta) * first + beta * last

        return log_f


def _run(path: _Path, z: Tensor, betas: list[float], moves: Hamiltonian) -> Tensor:
    """The logarithms of the weights of chains from z, (chains, *batch)."""
    log_w = z.new_zeros(())
    for t, (before, beta) in enumerate(pairwise(betas)):
        first, last = path.ends(z)
        log_w = log_w + (beta - before) * (last - first)
        if t < len(betas) - 2:
            z = moves(path.at(beta), z, t)
    return log_w


def _schedule(steps: int) -> Tensor:
    """Temperatures from 0 to 1, denser at the ends."""
    s = torch.sigmoid(torch.linspace(-_BEND, _BEND, steps + 1, dtype=torch.float64))
    return (s - s[0]) / (s[-1] - s[0])


def _check(model: LatentVariable) -> None:
    for name, part in (("prior", model.prior), ("decoder", model.decoder)):
        if part.likelihood != "exact":
            raise ValueError(f"model: expected a {name} whose likelihood is exact, got a {type(part).__name__}")
    if model.prior.event_dtype != "floating" or model.prior.support.is_discrete:
        raise ValueError("model: expected one whose z are real numbers, got one whose z are levels")
