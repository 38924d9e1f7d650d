"""The two ends of the chain of a diffusion: the prior, where it begins, and the decoder, where x is drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.densities.contexts import context_for
from anabranch.models.blurred import Blurred
from anabranch.models.denoising import Noisy, noised, signal_and_noise
from anabranch.models.noise_chain import NoiseChain


class ChainEnds:
    r"""What the bound has beside the steps: log p(x | z_0), and -KL(q(z_1 | y) || p(z_1)).

    Args:
        chain: between the ends.
        prior: p(z_1), whose divergence is a formula if it is the `standard` normal density.
        decoder: p(x | z_0); None for x with what is left of noise (`Blurred`).
        standard: whether the prior is the standard normal density.
    """

    def __init__(self, chain: NoiseChain, prior: Density, decoder: Density | None, standard: bool) -> None:
        self.chain = chain
        self.prior = prior
        self.decoder = Blurred(chain.schedule, chain.denoiser.in_shape) if decoder is None else decoder
        self.standard = standard

    def of_decoder(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(x | z_0) of a draw of z_0, or a bound, (*batch)."""
        return self.decoder._lower_bound(x, self.for_decoder(self.read(y)))

    def of_prior(self, y: Tensor, context: Tensor | None) -> Tensor:
        """The divergence of z from the prior at the beginning of the chain, of a draw if there is no formula: (*batch)."""
        noisy = noised(y, self.chain.beginning, self.chain.dims)
        if self.standard:
            return noisy.divergence_from_standard(self.chain.dims)
        return -self._ratio(self.prior._lower_bound(noisy.z, context_for(self.prior, context)), noisy)

    def prior_weight(self, noisy: Noisy, context: Tensor | None) -> Tensor:
        """p(z) / q(z | y) at the beginning of the chain, as a logarithm: (*batch)."""
        return self._ratio(self.prior._log_weight(noisy.z, context_for(self.prior, context)), noisy)

    def decoder_weight(self, x: Tensor, z: Tensor) -> Tensor:
        """p(x | z_0) as a logarithm, of one importance weight where the decoder has these: (*batch)."""
        return self.decoder._log_weight(x, self.for_decoder(self._unscaled(z)))

    def decoded(self, z: Tensor) -> Tensor:
        """A draw of x, of z_0."""
        return self.decoder._sample(torch.Size(), self.for_decoder(self._unscaled(z)))

    def read(self, y: Tensor) -> Tensor:
        """z_0 / alpha_0 of y, one draw."""
        return y + (0.5 * self.chain.end).exp() * torch.randn_like(y)

    def for_decoder(self, u: Tensor) -> Tensor:
        """z_0 / alpha_0 as the decoder takes it: as it is, or as a vector."""
        whole = self.decoder.context_shape == self.chain.denoiser.in_shape
        return u if whole else u.flatten(u.dim() - self.chain.dims)

    def _ratio(self, log_p: Tensor, noisy: Noisy) -> Tensor:
        return log_p - noisy.log_prob(self.chain.dims)

    def _unscaled(self, z: Tensor) -> Tensor:
        """z_0 / alpha_0."""
        return z / signal_and_noise(self.chain.end)[0]
