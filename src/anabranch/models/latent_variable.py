"""Densities with a hidden variable that a network guesses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import instance_of
from anabranch.densities import AtContext, CollapseWarning, Density
from anabranch.densities.aggregated import information_of, shares_between
from anabranch.densities.contexts import at_every_context, context_batch, context_for, shape_for
from anabranch.densities.density import Weigh
from anabranch.densities.events import without_nan
from anabranch.densities.posterior_draws import draw, draw_and_compare
from anabranch.densities.score import expect_weights
from anabranch.draws import drawing
from anabranch.models.decoded import Decoded
from anabranch.models.decoded_draws import DecodedDraws
from anabranch.models.depths import difference
from anabranch.models.observed import observed_columns
from anabranch.models.vamp_prior import PseudoInputs
from anabranch.networks.of_context import once
from anabranch.networks.reader import as_read
from anabranch.transforms.transform import common_shape

# draws at each row by which a number of z is judged, and the share of its variance that x explains where it is in use
_DRAWS, ACTIVE = 32, 0.01
# draws of z of which a conditional is made
_GIVEN = 4096


class LatentVariable(Decoded):
    r"""p(x | c) = \int p(z | c) p(x | z, c) dz, of which a bound is known, by a guess q(z | x, c) at the hidden variable:

    .. math:: \log p(x \mid c) \ge E_{q(z \mid x, c)}[\log p(x \mid z, c)] - KL(q(z \mid x, c) \,\|\, p(z \mid c))

    `lower_bound` is the difference of the two `terms` and `loss` its negative, with one draw of z for each event. There is
    a divergence for each number of z where they add up, as those of diagonal normal densities do; otherwise there is one.
    It is a formula where `Density.divergence` has one for posterior and prior (normal densities, levels), else it is that
    of the draw. `estimate` weighs draws of the posterior by p(z) p(x | z) / q(z | x), and `sample` draws z from the
    prior and x from the decoder.

    Where the posterior is not reparameterized, gradients go by its log-density (the score function), which is unbiased and
    noisier. Objectives have other gradients of discrete z (`objectives.ScoreFunction`, `MultiSample`, `Relaxed`,
    `Enumerated`), and those that warm up, or leave bits free, weigh the terms (`objectives.LowerBound`).

    A NaN is a gap where the decoder leaves gaps out (`Factorized`, `Marginals`) and the posterior is told which they are
    (`Density.reads_gaps`): p(x) is then that of what was observed, and the posterior reads only that.
    Source: Kingma and Welling, 2014, arXiv:1312.6114; Rezende et al., 2014, arXiv:1401.4082; Williams, 1992 (the score
    function); Mattei and Frellsen, 2019, arXiv:1812.02633 (gaps).

    Args:
        prior: p(z), or p(z | c).
        decoder: p(x | z), with z for its context, in the shape of z or as a vector; or p(x | z, c), with the vector of z
            followed by c.
        posterior: q(z | x), with x for its context, in the shape of x or as a vector; or q(z | x, c), with the vector of x
            followed by c.

    Raises:
        ValueError: a posterior whose events are not those of the prior, or whose likelihood is not exact; contexts of
            other sizes.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.densities import Normal
        >>> model = ab.LatentVariable(
        ...     prior=Normal.standard(1),
        ...     decoder=Normal(torch.zeros(3), context=1, learnable=True),
        ...     posterior=Normal(torch.zeros(1), context=3, learnable=True),
        ... )
        >>> x = model.sample((5,), generator=0)
        >>> value, error = model.estimate(x, samples=100, generator=0)
        >>> x.shape, model.lower_bound(x).shape, value.shape
        (torch.Size([5, 3]), torch.Size([5]), torch.Size([5]))
    """

    def __init__(self, prior: Density, decoder: Density, posterior: Density) -> None:
        for name, part in (("prior", prior), ("decoder", decoder), ("posterior", posterior)):
            instance_of(name, part, Density)
            if name != "posterior":
                expect_weights(name, part)
        if posterior.event_shape != prior.event_shape:
            raise ValueError(
                f"posterior: expected event shape {tuple(prior.event_shape)}, the prior's, "
                f"got {tuple(posterior.event_shape)}"
            )
        if posterior.likelihood != "exact":
            raise ValueError(
                f"posterior: expected a density whose likelihood is exact, got a {type(posterior).__name__}, "
                "of which a bound or an estimate is known"
            )
        given = [
            prior.context_shape,
            _left_over("decoder", decoder, "z", prior.event_shape),
            _left_over("posterior", posterior, "x", decoder.event_shape),
        ]
        super().__init__(decoder.event_shape, common_shape("context_shape", given))
        self.prior = prior
        self.decoder = decoder
        self.posterior = posterior
        self.reparameterized = prior.reparameterized and decoder.reparameterized
        self.gaps = decoder.gaps and posterior.reads_gaps

    def parts(self) -> Sequence[Density]:
        """Prior, decoder and posterior."""
        return (self.prior, self.decoder, self.posterior)

    def posterior_context(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """x as the posterior takes it for its context: as it is or as a vector, followed by the context if it has one."""
        x, context = self._checked(x, context)
        return self._context_of(self.posterior, at_every_context(self, x, context), self.event_shape, context)

    def decoder_context(self, z: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """z (*batch, *event of the prior) as the decoder takes it for its context, followed by the context if it has one."""
        z, context = self._checked(z, context, "z", self.prior.event_shape)
        return self._context_of(self.decoder, z, self.prior.event_shape, context)

    def information(
        self,
        x: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""What z says of x: the mutual information of z ~ q(z | x_n) and n, and its standard error, nats.

        .. math:: \frac1N \sum_n \log q(z_n \mid x_n) - \log \frac1N \sum_m q(z_n \mid x_m), \qquad z_n \sim q(z \mid x_n)

        It is that of the N rows alone, so at most log N, and takes N^2 densities of the posterior.
        Source: Hoffman and Johnson, 2016, "ELBO surgery"; He et al., 2019, arXiv:1901.05534.

        Args:
            x: (rows, *event), 2 at least.
            context: (rows, *context), or None.
            generator: of the draws, as of `sample`.
        """
        with drawing(generator):
            _, log_q, log_aggregated = information_of(self.posterior, self.posterior_context(x, context))
        gain = log_q - log_aggregated
        return gain.mean(), gain.std() / len(gain) ** 0.5

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the posterior on draws of the prior, then decoder and prior on draws of the posterior at x.

        Pseudo-inputs in the prior start at x.
        """
        for part in self.prior.modules():
            if isinstance(part, PseudoInputs):
                part.start(self._context_of(self.posterior, torch.where(x.isnan(), 0.0, x), self.event_shape, context))
        count = torch.Size() if self.prior.context_shape is not None else torch.Size([len(x)])
        self.posterior.initialize(
            self.prior._sample(count, context_for(self.prior, context)),
            self._context_of(self.posterior, x, self.event_shape, context),
        )
        z = self._drawn(x, context)[0]
        self.decoder.initialize(x, self._context_of(self.decoder, z, self.prior.event_shape, context))
        self.prior.initialize(z, context_for(self.prior, context))

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        """Where NaN is a gap: columns alone are `Observed`, and given values they are `DecodedDraws`, with a fixed seed."""
        if not self.gaps or len(self.event_shape) != 1 or (context is None and self.context_shape is not None):
            return None
        if not observed:
            return observed_columns(self if context is None else AtContext(self, context), wanted)
        if values is None:
            return None
        row = values.new_full((1, *self.event_shape), torch.nan)
        row[0, observed] = values
        with torch.no_grad(), drawing(0):
            z, log_w, _ = self._weighted_draws(row.expand(_GIVEN, -1), context)
            given = self._context_of(self.decoder, z, self.prior.event_shape, context)
        return DecodedDraws(observed_columns(self.decoder, wanted), given, log_w)

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """z of the posterior, at what was observed, and gaps of the decoder at z."""
        if not self.gaps:
            return None
        z, log_q = self._drawn(at_every_context(self, x, context), context)
        completion = self.decoder.weighted_completion(
            x, self._context_of(self.decoder, z, self.prior.event_shape, context)
        )
        if completion is None:
            return None
        return completion[0], completion[1] + self.prior._log_weight(z, context_for(self.prior, context)) - log_q

    def _log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        x, broken = without_nan(self, at_every_context(self, x, context))
        _, log_w, log_q = self._weighted_draws(x, context)
        return torch.where(broken, torch.nan, self._by_score(log_w, log_q))

    def _lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._weighed(x, context, difference)

    def _weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        log_likelihood, divergence, log_q = self._terms(x, context)
        return self._by_score(weigh(log_likelihood, divergence), log_q)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        z = self.prior._sample(shape_for(self, self.prior, shape, context), context_for(self.prior, context))
        return self.decoder._sample(torch.Size(), self._context_of(self.decoder, z, self.prior.event_shape, context))

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        """Whether no number of z depends on x; and what decoder and prior say at draws of z."""
        x = without_nan(self, at_every_context(self, x, context))[0]
        shares = shares_between(self.posterior, self._context_of(self.posterior, x, self.event_shape, context), _DRAWS)
        symptoms: list[UserWarning] = []
        if bool((shares < ACTIVE).all()):
            symptoms.append(
                CollapseWarning(
                    f"the posterior has collapsed: x explains less than {ACTIVE:.0%} of the variance of every number of z, "
                    "so that the decoder does without z. Warm the divergence up, or leave nats of it free "
                    "(objectives.LowerBound), or give the decoder less to tell numbers of x by each other"
                )
            )
        z = self._drawn(x, context)[0]
        symptoms += self.decoder._symptoms(x, self._context_of(self.decoder, z, self.prior.event_shape, context))
        return symptoms + self.prior._symptoms(z, context_for(self.prior, context))

    def _terms(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Log-likelihood, divergence, and log q of the draw."""
        x, broken = without_nan(self, at_every_context(self, x, context))
        encoded, of_prior = self._encoded(x, context), context_for(self.prior, context)
        z, log_q, divergence = draw_and_compare(self.posterior, self.prior, encoded, of_prior)
        given = self._context_of(self.decoder, z, self.prior.event_shape, context)
        log_likelihood = torch.where(broken, torch.nan, self.decoder.lower_bound(x, given))
        if divergence is None:
            divergence = (log_q - self.prior.lower_bound(z, of_prior)).unsqueeze(-1)
        return log_likelihood, divergence, log_q

    def _at(self, z: Tensor, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """log p(x | z), log p(z), or bounds of them, and log q(z | x) of z (draws, *batch, *event): (draws, *batch) each."""
        x = at_every_context(self, x, context)
        x = x.expand(len(z), *x.shape)
        given = self._context_of(self.decoder, z, self.prior.event_shape, context)
        encoded = self._encoded(x, context)
        prior = self.prior._lower_bound(z, context_for(self.prior, context))
        return self.decoder._lower_bound(x, given), prior, self.posterior._log_prob(z, encoded)

    def _divergence(self, x: Tensor, context: Tensor | None) -> Tensor | None:
        """That of the posterior from the prior, (*batch), where there is a formula."""
        encoded = self._context_of(self.posterior, at_every_context(self, x, context), self.event_shape, context)
        each = self.posterior.divergence(self.prior, encoded, context_for(self.prior, context))
        return None if each is None else each.sum(dim=-1)

    def _weighted_draws(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """z for each x, the logarithm of its weight p(z) p(x | z) / q(z | x), and log q(z | x)."""
        z, log_q = self._drawn(x, context)
        given = self._context_of(self.decoder, z, self.prior.event_shape, context)
        log_p = self.decoder._log_weight(x, given) + self.prior._log_weight(z, context_for(self.prior, context))
        return z, log_p - log_q, log_q

    def _drawn(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """z for each x, and log q(z | x)."""
        return draw(self.posterior, self._encoded(x, context))

    def _encoded(self, x: Tensor, context: Tensor | None) -> Tensor:
        """x as the posterior takes it, repeated where x and context only repeat, so that an encoder reads each once."""
        given = len(self.posterior.context_shape or ())
        encoded = self._context_of(
            self.posterior,
            once(x, len(self.event_shape)),
            self.event_shape,
            None if context is None else once(context, len(self.context_shape or ())),
        )
        batch = x.shape[: x.dim() - len(self.event_shape)]
        return encoded.expand(*batch, *encoded.shape[encoded.dim() - given :])

    def _by_score(self, value: Tensor, log_q: Tensor) -> Tensor:
        """The value; where draws are not differentiable, with the gradient of its mean, that of value * log q."""
        if self.posterior.reparameterized:
            return value
        held = value.detach()
        return value + torch.where(held.isfinite(), held, 0.0) * (log_q - log_q.detach())

    def _context_of(self, part: Density, value: Tensor, shape: torch.Size, context: Tensor | None) -> Tensor:
        """z or x as a part takes it for its context: as it is, or as a vector, followed by the context that it has too."""
        value, wanted = as_read(value, part), part.context_shape
        if wanted is None or wanted == shape:
            return value
        flat = value.flatten(-len(shape))
        if wanted == flat.shape[-1:] or context is None:
            return flat
        batch = torch.broadcast_shapes(flat.shape[:-1], context_batch(self, context))
        beside = context.flatten(-len(self.context_shape or ()))
        return torch.cat([flat.expand(*batch, -1), beside.expand(*batch, -1)], dim=-1)


VAE = LatentVariable
"""The variational autoencoder, as the field calls a latent-variable model whose decoder and posterior are networks."""


def _left_over(name: str, part: Density, variable: str, shape: torch.Size) -> torch.Size | None:
    """The context that a part takes beside z or x; None if it takes none.

    Raises:
        ValueError: it does not take z or x.
    """
    size, got = shape.numel(), part.context_shape
    if got is not None and got in (shape, torch.Size([size])):
        return None
    if got is not None and len(got) == 1 and got[0] > size:
        return torch.Size([got[0] - size])
    shapes = f"{tuple(shape)}" if len(shape) == 1 else f"{tuple(shape)} or ({size},)"
    raise ValueError(
        f"{name}: expected a density whose context is {variable}, of shape {shapes}, or {variable} followed by more "
        f"numbers, got {'one without a context' if got is None else f'a context of shape {tuple(got)}'}"
    )
