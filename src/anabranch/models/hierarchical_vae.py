"""Densities with a hierarchy of hidden variables that networks guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anabranch.checks import instance_of, one_of
from anabranch.densities import CollapseWarning, Density
from anabranch.densities.contexts import at_every_context, context_batch, joint_batch
from anabranch.densities.density import Weigh
from anabranch.densities.events import without_nan
from anabranch.densities.posterior_draws import draw, draw_and_compare
from anabranch.densities.score import expect_weights
from anabranch.models.decoded import Decoded
from anabranch.models.depths import Terms
from anabranch.models.latent_level import LatentLevel, Shaped, beside
from anabranch.transforms.transform import common_shape

# draws at each row by which levels are judged, and the mean divergence of one, nats, from which on it is in use
_DRAWS, _IDLE = 8, 0.01


class HierarchicalVAE(Decoded):
    r"""A density with hidden variables z_1, ..., z_L in levels, of which a bound is known, by a guess at them:

    .. math::
        p(x, z) &= p(z_L) \prod_{l < L} p(z_l \mid z_{l+1}, \ldots, z_L)\, p(x \mid z) \\
        \log p(x) &\ge E_q\Big[\log p(x \mid z) - \sum_l \log \frac{q(z_l \mid \cdot)}{p(z_l \mid z_{>l})}\Big]

    Each level has a prior, a posterior and two networks (`LatentLevel`), each of any kind. A state s_l goes down:
    s_{l-1} = down(z_l, s_l), of which the prior of the next level is made and at last the decoder. Features of x go up.

    With "top-down" posteriors q(z_l | z_{>l}, x) the guess goes down the same path as a sample: it reads features and state
    (the ladder variational autoencoder). Given what is above, the divergence of a level is a formula where
    `Density.divergence` has one. With "bottom-up" posteriors, q(z_1 | x) q(z_2 | z_1) ..., z_1 is guessed first, and the
    divergence is a formula at the highest level alone. Then the chain without networks is the same model, with the same
    bound, as a `LatentVariable` whose prior is a `LatentVariable`.

    The divergences of its `terms` are those of the levels, (*batch, L), from the first on.
    `estimate` weighs draws of the posteriors by p(x, z) / q(z | x), and `sample` goes down from the highest level.
    Where a posterior is not reparameterized, gradients go by its log-density (the score function).

    A NaN is a gap where the decoder leaves gaps out and whatever reads x is told which they are (`networks.WithMask`).

    A context c stands above the highest level, as its state: its prior and `down` may take it, and every `up`.
    Source: Rezende et al., 2014, arXiv:1401.4082 (several levels); Sønderby et al., 2016, arXiv:1602.02282 (top-down);
    Vahdat and Kautz, 2020, arXiv:2007.03898 (residual cells, several resolutions).

    Args:
        levels: z_1, next to the data, to z_L.
        decoder: p(x | s_0), with the state below all levels for its context, in its shape or as a vector.
        posteriors: "top-down" or "bottom-up".

    Raises:
        ValueError: parts that do not fit each other.

    Example:
        >>> import torch
        >>> from anabranch.densities import Normal
        >>> from anabranch.models import HierarchicalVAE, LatentLevel
        >>> model = HierarchicalVAE(
        ...     levels=[
        ...         LatentLevel(Normal(torch.zeros(2), context=1), Normal(torch.zeros(2), context=3 + 1)),
        ...         LatentLevel(Normal.standard(1), Normal(torch.zeros(1), context=3)),
        ...     ],
        ...     decoder=Normal(torch.zeros(3), context=2, learnable=True),
        ... )
        >>> x = model.sample((5,), generator=0)
        >>> log_likelihood, divergence = model.terms(x)
        >>> x.shape, log_likelihood.shape, divergence.shape
        (torch.Size([5, 3]), torch.Size([5]), torch.Size([5, 2]))
    """

    def __init__(self, levels: Sequence[LatentLevel], decoder: Density, posteriors: str = "top-down") -> None:
        levels = list(levels)
        if not levels:
            raise ValueError("levels: expected at least one LatentLevel, got none")
        for k, level in enumerate(levels):
            instance_of(f"levels[{k}]", level, LatentLevel)
        instance_of("decoder", decoder, Density)
        expect_weights("decoder", decoder)
        top = levels[-1]
        contexts = [top.prior.context_shape, None if top.down is None else top.down.context_shape]
        contexts += [None if level.up is None else level.up.context_shape for level in levels]
        super().__init__(decoder.event_shape, common_shape("context_shape", contexts))
        self.levels = nn.ModuleList(levels)
        self.decoder = decoder
        self.top_down = one_of("posteriors", posteriors, ("top-down", "bottom-up")) == "top-down"
        self._check_shapes(levels)
        self.reparameterized = decoder.reparameterized and all(level.prior.reparameterized for level in levels)
        self.gaps = decoder.gaps and _read_gaps(levels, self.top_down)

    def parts(self) -> Sequence[Density]:
        """Decoder, and priors and posteriors from the first level on."""
        return (self.decoder, *(part for level in self.hierarchy for part in (level.prior, level.posterior)))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize posteriors on draws of the priors, then decoder and priors on draws of the posteriors at x."""
        state, (events, _) = self.above(context), without_nan(self, x)
        drawn, _ = self.ancestors(len(self.hierarchy), state, joint_batch(self, x, context))
        looked = self.look(events, context, drawn)
        for k in reversed(range(len(self.hierarchy))):
            level = self.hierarchy[k]
            if self.top_down:
                level.posterior.initialize(drawn[k], level.of_posterior(looked.features[k], state))
            z = (_guess(level, looked.features[k], state) if self.top_down else looked.guesses[k]).z
            level.prior.initialize(z, level.of_prior(state))
            state = level.state_below(z, state)
        self.decoder.initialize(x, self._of_decoder(state))

    def look(self, x: Tensor, context: Tensor | None, start: Sequence[Tensor] | None = None) -> Looked:
        """What the guesses at all levels share: features of x (no NaN), and with bottom-up posteriors the draws.

        With draws of the priors to start from, the latter are initialized on them on the way.
        """
        below, features, guesses = Shaped(x, self.event_shape), [], []
        for k, level in enumerate(self.hierarchy):
            below = level.features_above(below, context)
            features.append(below)
            if self.top_down:
                continue
            if start is not None:
                level.posterior.initialize(start[k], level.of_posterior(below, None))
            guesses.append(_guess(level, below, None))
            below = Shaped(guesses[-1].z, level.shape)
        return Looked(features, guesses)

    def descend(self, x: Tensor, looked: Looked, count: int, state: Shaped | None, weights: bool = False) -> Terms:
        """The terms where the highest of `count` levels reads this state; with weights, of one importance weight.

        Args:
            x: (*batch, *event), without NaN.
            looked: what `look` saw in it.
            count: how many levels there are, from the first on.
            state: what stands above.
            weights: whether log_likelihood minus divergence shall be the logarithm of an importance weight, else a bound.
        """
        divergence, log_q, given = self._path(looked, count, state, weights)
        log_likelihood = self.decoder._log_weight(x, given) if weights else self.decoder.lower_bound(x, given)
        return Terms(log_likelihood, divergence, log_q)

    def complete(self, x: Tensor, looked: Looked, count: int, state: Shaped | None) -> tuple[Tensor, Tensor] | None:
        """A weighted completion of x, NaN for a gap, where the highest of `count` levels reads this state."""
        divergence, _, given = self._path(looked, count, state, weights=True)
        completion = self.decoder.weighted_completion(x, given)
        return None if completion is None else (completion[0], completion[1] - divergence.sum(dim=-1))

    def ancestors(self, count: int, state: Shaped | None, batch: torch.Size) -> tuple[list[Tensor], Tensor]:
        """Draws of z_1, ..., z_count of the priors, where the highest reads this state, and the decoder's context."""
        drawn: list[Tensor] = []
        for level in self.hierarchy[:count][::-1]:
            z = level.draw_prior(state, batch)
            drawn.append(z)
            state = level.state_below(z, state)
        return drawn[::-1], self._of_decoder(state)

    def above(self, context: Tensor | None) -> Shaped | None:
        """The state above the highest level: the context."""
        return None if context is None or self.context_shape is None else Shaped(context, self.context_shape)

    def state_shapes(self) -> list[torch.Size]:
        """The shapes of s_0, ..., s_{L - 1}."""
        return [level.shape if level.down is None else level.down.out_shape for level in self.hierarchy]

    def _path(
        self, looked: Looked, count: int, state: Shaped | None, weights: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Divergences and log q of the terms, and the decoder's context below the guesses."""
        divergence: list[Tensor] = []
        log_q = []
        for k in reversed(range(count)):
            level = self.hierarchy[k]
            given = level.of_prior(state)
            if self.top_down and not weights:
                guess_at = level.of_posterior(looked.features[k], state)
                z, log_q_z, of_level = draw_and_compare(level.posterior, level.prior, guess_at, given)
            else:
                z, log_q_z, guess_at = _guess(level, looked.features[k], state) if self.top_down else looked.guesses[k]
                # with bottom-up posteriors the state depends on z_l, except above the highest level
                formula = not weights and k == count - 1
                of_level = level.posterior.divergence(level.prior, guess_at, given) if formula else None
            if of_level is None:
                log_p = level.prior._log_weight(z, given) if weights else level.prior.lower_bound(z, given)
                of_level = (log_q_z - log_p).unsqueeze(-1)
            divergence.append(of_level.sum(dim=-1))
            log_q.append(torch.zeros_like(log_q_z) if level.posterior.reparameterized else log_q_z)
            state = level.state_below(z, state)
        return torch.stack(divergence[::-1], dim=-1), torch.stack(log_q).sum(dim=0), self._of_decoder(state)

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        """Levels that say nothing of x; and what the decoder says at draws of the posteriors."""
        x, _ = without_nan(self, at_every_context(self, x, context))
        looked, above, count = self.look(x, context), self.above(context), len(self.hierarchy)
        paths = [self._path(looked if self.top_down else self.look(x, context), count, above) for _ in range(_DRAWS)]
        each = torch.stack([divergence for divergence, _, _ in paths]).flatten(0, -2).mean(dim=0).tolist()
        idle = [str(k + 1) for k, nats in enumerate(each) if nats < _IDLE]
        symptoms: list[UserWarning] = []
        if idle:
            symptoms.append(
                CollapseWarning(
                    f"of {count} levels {', '.join(idle)} say nothing of x: their posteriors cost less than {_IDLE} nats. "
                    "Warm the divergence up, or leave nats of every level free (objectives.LowerBound), or do without them"
                )
            )
        return symptoms + self.decoder._symptoms(x, paths[-1][2])

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Hidden variables of the posteriors, at what was observed, and gaps of the decoder below them."""
        if not self.gaps:
            return None
        looked = self.look(at_every_context(self, x, context), context)
        return self.complete(x, looked, len(self.hierarchy), self.above(context))

    def _terms(self, x: Tensor, context: Tensor | None, weights: bool = False) -> Terms:
        x, broken = without_nan(self, at_every_context(self, x, context))
        terms = self.descend(x, self.look(x, context), len(self.hierarchy), self.above(context), weights)
        return terms._replace(log_likelihood=torch.where(broken, torch.nan, terms.log_likelihood))

    def _log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._terms(x, context, weights=True).bound()

    def _lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._terms(x, context).bound()

    def _weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        return self._terms(x, context).weighed(weigh)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        _, given = self.ancestors(len(self.hierarchy), self.above(context), shape + context_batch(self, context))
        return self.decoder._sample(torch.Size(), given)

    def _of_decoder(self, state: Shaped | None) -> Tensor:
        if state is None or self.decoder.context_shape is None:
            raise ValueError("decoder: expected a density with a context, got one without")
        return beside([state], self.decoder.context_shape)

    @property
    def hierarchy(self) -> list[LatentLevel]:
        """The levels, as they are."""
        return [level for level in self.levels if isinstance(level, LatentLevel)]

    def _check_shapes(self, levels: Sequence[LatentLevel]) -> None:
        """Raise ValueError unless all parts fit."""
        features: list[torch.Size] = []
        below = self.event_shape
        for level in levels:
            features.append(below)
            below = level.shape if not self.top_down else below if level.up is None else level.up.out_shape
        state = self.context_shape
        for k in reversed(range(len(levels))):
            state = levels[k].shapes(f"levels[{k}]", features[k], state, self.top_down)
        if state is None or self.decoder.context_shape not in (state, torch.Size([state.numel()])):
            got = self.decoder.context_shape
            raise ValueError(
                f"decoder: expected a density with a context of {tuple(state or ())}, the state below all levels, or that "
                f"as a vector, got {'none' if got is None else tuple(got)}"
            )


class Guess(NamedTuple):
    """z of a level, its log-density under the posterior, and the posterior's context."""

    z: Tensor
    log_q: Tensor
    given: Tensor


class Looked(NamedTuple):
    """Features of every level, and with bottom-up posteriors the guesses."""

    features: list[Shaped]
    guesses: list[Guess]


def _read_gaps(levels: Sequence[LatentLevel], top_down: bool) -> bool:
    """Whether whatever reads x itself is told of its gaps: the first `up`, and posteriors that come before it."""
    for level in levels:
        if level.up is not None:
            return level.up.gaps
        if not level.posterior.reads_gaps:
            return False
        if not top_down:
            break
    return True


def _guess(level: LatentLevel, features: Shaped, state: Shaped | None) -> Guess:
    given = level.of_posterior(features, state)
    return Guess(*draw(level.posterior, given), given)
