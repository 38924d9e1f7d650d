"""A base density from which draws are accepted or rejected."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.nn.functional import logsigmoid

from anabranch.checks import instance_of, positive_int
from anabranch.densities.composite import Composite
from anabranch.densities.contexts import context_batch, context_for, context_rows, shape_for
from anabranch.densities.density import Density
from anabranch.densities.score import ByLogProb, Score
from anabranch.draws import drawing
from anabranch.networks import Network
from anabranch.networks.reader import check_reader, outputs_of
from anabranch.transforms.transform import common_shape

# Without a truncation, a draw refused so often has no acceptance to speak of.
_MOST_DRAWS = 100_000
_ROWS_AT_A_TIME = 2**18


class Resampled(Composite):
    r"""Learned accept/reject sampling (LARS): z is drawn from a base pi and accepted with probability a(z), else drawn anew;
    draw number T is taken whatever it is.

    .. math:: p(z) = \Big(\frac{1 - r}{Z}\, a(z) + r\Big)\, \pi(z), \qquad Z = E_\pi[a], \quad r = (1 - Z)^{T - 1} .

    Without T it is a(z) pi(z) / Z. Where a is small p has a hole that no smooth change of variables could make.

    Z is an integral, estimated from draws of the base. `log_prob` always takes the same ones, so that it stays what it is.
    A fit to these would learn to refuse them, and Z would come out too small: so in training mode, where gradients are
    recorded, losses, bounds and importance weights take fresh ones, also where this is a part of another density.
    `normaliser()` gives Z with its Monte-Carlo error; the error of every log_prob is that of log Z, common to all x.

    With a context `log_prob` estimates Z for each: where gradients are recorded, the activations of all those draws are kept
    until the backward pass. Score many contexts under `torch.no_grad()`, or train in training mode.

    Source: Bauer and Mnih, 2019, "Resampled priors for variational autoencoders", arXiv:1810.11428, equation 4.

    Args:
        base: pi, any `Density`.
        acceptance: a network from z to one number, the log-odds of a(z); with the density's context, if it takes one.
        truncation: T; None for no limit.
        samples: draws for Z in a training step; `log_prob` takes 16 times as many, for each context anew.

    Raises:
        ValueError: sizes that do not fit.

    Example:
        >>> import torch
        >>> from anabranch.densities import Normal, Resampled
        >>> from anabranch.networks import MLP
        >>> density = Resampled(Normal.standard(2), MLP(2, 1, hidden=(16,)))
        >>> density.log_prob(density.sample((10,))).shape
        torch.Size([10])
        >>> z, error = density.normaliser()
        >>> 0 < float(z) < 1, float(error) < 0.01
        (True, True)
    """

    reparameterized = False
    gaps = False

    def __init__(self, base: Density, acceptance: Network, truncation: int | None = 100, samples: int = 1024) -> None:
        instance_of("base", base, Density)
        instance_of("acceptance", acceptance, Network)
        check_reader("acceptance", acceptance, base.event_shape, 1)
        context_shape = common_shape("context_shape", [base.context_shape, acceptance.context_shape])
        super().__init__(base.event_shape, context_shape)
        self.base = base
        self.acceptance = acceptance
        self.truncation = None if truncation is None else positive_int("truncation", truncation)
        self.samples = positive_int("samples", samples)

    def parts(self) -> Sequence[Density]:
        """The base."""
        return (self.base,)

    @property
    def support(self) -> Constraint:
        """The base's: a logistic never comes to 0."""
        return self.base.support

    def normaliser(
        self,
        context: Tensor | None = None,
        samples: int = 100_000,
        generator: torch.Generator | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Z, the fraction of draws that are accepted, and its standard error, (*context batch) each.

        Args:
            context: the context or contexts, if there is one.
            samples: draws for each.
            generator: as of `sample`.
        """
        context = self._checked_context(context)
        with torch.no_grad(), drawing(generator):
            accepted = self._log_acceptance(self._draws(positive_int("samples", samples, least=2), context), context)
            accepted = accepted.exp()
            return accepted.mean(dim=0), accepted.std(dim=0) / math.sqrt(samples)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the base."""
        self.base.initialize(x, context_for(self.base, context))

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        fitted = self.training and torch.is_grad_enabled() and not isinstance(score, ByLogProb)
        log_z = self._fresh_log_normaliser(context) if fitted else self._fixed_log_normaliser(context)
        return score(self.base, x, context_for(self.base, context)) + self._log_factor(x, log_z, context)

    def _fresh_log_normaliser(self, context: Tensor | None) -> Tensor:
        """log Z by draws that no other call takes, (*context batch)."""
        return self._log_acceptance(self._draws(self.samples, context), context).logsumexp(dim=0) - math.log(
            self.samples
        )

    def _log_factor(self, x: Tensor, log_z: Tensor, context: Tensor | None) -> Tensor:
        """log p(x) - log pi(x)."""
        log_a = self._log_acceptance(x, context)
        if self.truncation is None:
            return log_a - log_z
        if self.truncation == 1:
            return torch.zeros_like(log_a - log_z)
        last = self.truncation - 1
        # (1 - r) / Z comes to T - 1 where Z is next to nothing, and its logarithm is a difference of infinities
        nothing = log_z < math.log(torch.finfo(log_z.dtype).eps)
        safe = torch.where(nothing, -1.0, log_z)
        log_rest = last * torch.log1p(-safe.exp().clamp(max=1 - torch.finfo(log_z.dtype).eps))
        log_share = torch.where(nothing, math.log(last), torch.log(-torch.expm1(log_rest)) - safe)
        return torch.logaddexp(log_share + log_a, torch.where(nothing, 0.0, log_rest))

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        z = self.base._sample(shape_for(self, self.base, shape, context), context_for(self.base, context))
        batch_shape = z.shape[: z.dim() - len(self.event_shape)]
        context = context_rows(self, context, batch_shape)
        z = z.reshape(-1, *self.event_shape)
        waiting = torch.arange(len(z), device=z.device)
        last = _MOST_DRAWS if self.truncation is None else self.truncation
        for draw in range(1, last + 1):
            own = None if context is None else context[waiting]
            refused = torch.rand_like(z[waiting].flatten(1)[:, 0]).log() >= self._log_acceptance(z[waiting], own)
            waiting = waiting[refused]
            if len(waiting) == 0 or draw == self.truncation:
                break
            own = None if context is None else context[waiting]
            many = torch.Size([len(waiting)]) if self.base.context_shape is None else torch.Size()
            z = z.index_copy(0, waiting, self.base._sample(many, context_for(self.base, own)))
        else:
            raise ValueError(
                f"acceptance: expected draws to be accepted, but {len(waiting)} were refused {last:,} times; "
                "set a truncation"
            )
        return z.reshape(*batch_shape, *self.event_shape)

    def _log_acceptance(self, z: Tensor, context: Tensor | None) -> Tensor:
        return logsigmoid(outputs_of(self.acceptance, z, len(self.event_shape), context)).squeeze(-1)

    def _fixed_log_normaliser(self, context: Tensor | None) -> Tensor:
        """log Z by draws that are always the same, for each context whatever others come with it: (*context batch)."""
        # a compiler has random numbers of its own; wrapped when it is called, since the wrapper loads the compiler
        result: Tensor = torch.compiler.disable(self._log_normaliser_of_seed)(context)
        return result

    def _log_normaliser_of_seed(self, context: Tensor | None) -> Tensor:
        count = 16 * self.samples
        if context is None:
            return self._log_acceptance(self._seeded(count, None), None).logsumexp(dim=0) - math.log(count)
        contexts = context.reshape(-1, *(self.context_shape or ()))
        values = [context.new_zeros(0)]
        if self.base.context_shape is None:  # the same draws serve all contexts, some of them at a time
            shared = self._seeded(count, None).unsqueeze(1)
            for some in contexts.split(max(1, _ROWS_AT_A_TIME // count)):
                draws = shared.expand(count, len(some), *self.event_shape)
                log_a = self._log_acceptance(draws, some.expand(count, *some.shape))
                values.append(log_a.logsumexp(dim=0) - math.log(count))
        else:
            for one in contexts:
                log_a = self._log_acceptance(self._seeded(count, one), one.expand(count, *one.shape))
                values.append((log_a.logsumexp(dim=0) - math.log(count)).unsqueeze(0))
        return torch.cat(values).reshape(context_batch(self, context))

    def _seeded(self, count: int, context: Tensor | None) -> Tensor:
        with drawing(0):
            own = context_for(self.base, context)
            return self.base._sample(torch.Size([count]), own)

    def _draws(self, count: int, context: Tensor | None) -> Tensor:
        return self.base._sample(
            shape_for(self, self.base, torch.Size([count]), context), context_for(self.base, context)
        )
