"""The normal density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import as_shape
from anabranch.densities.density import Density
from anabranch.densities.gaussian import (
    gaussian_covariance,
    gaussian_divergence,
    gaussian_log_prob,
    gaussian_sample,
    lower_factor,
    read_loc,
    read_scale,
)
from anabranch.densities.gaussian_mixture import GaussianMixture, of_constants
from anabranch.densities.moments import Moments
from anabranch.densities.parameters import Parameters
from anabranch.families.distribution_function import DistributionFunction
from anabranch.networks import Network
from anabranch.networks.network import Shape
from anabranch.transforms import Transform


class Normal(Density):
    r"""Normal density with diagonal or full covariance L L^T,

    .. math:: \log p(x) = -\tfrac12 |L^{-1} (x - \mu)|^2 - \sum_i \log L_{ii} - \tfrac{D}{2} \log 2 \pi .

    Args:
        loc: the mean mu, (*event).
        scale: standard deviations, a number or (*event); 1 by default.
        scale_tril: instead of `scale`, the lower triangular factor L, (features, features), of vectors.
        learnable: whether mean and scales are trained.
        context: size of a context on which they depend, through an MLP that starts at zero; 0 for none.
        network: in place of that MLP, a network from the context to the mean's offset, the log-scales' and, with a full
            covariance, that of the features (features - 1) / 2 entries below the diagonal.
        hidden: hidden sizes of the MLP.

    Raises:
        ValueError: shapes that do not fit, scales that are not positive.

    Example:
        >>> import torch
        >>> from anabranch.densities import Normal
        >>> Normal(torch.zeros(2), scale=2.0).log_prob(torch.zeros(2))
        tensor(-3.2242)
        >>> Normal(torch.zeros(2), context=3).sample((5,), context=torch.randn(4, 3)).shape
        torch.Size([5, 4, 2])
    """

    leaves_open = True

    def __init__(
        self,
        loc: Tensor | ArrayLike,
        scale: Tensor | ArrayLike | None = None,
        scale_tril: Tensor | ArrayLike | None = None,
        learnable: bool = False,
        context: Shape = 0,
        network: Network | None = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        mean = read_loc(loc)
        if scale_tril is not None and mean.dim() != 1:
            raise ValueError(f"scale_tril: expected None for events that are no vectors, of shape {tuple(mean.shape)}")
        log_scale, packed = read_scale(mean, scale, scale_tril)
        initial = {"loc": mean, "log_scale": log_scale}
        if packed is not None:
            initial["packed"] = packed
        theta = Parameters(initial, learnable, context, network, hidden)
        super().__init__(mean.shape, theta.context_shape)
        self.theta = theta
        self.reads_gaps = theta.reads_gaps

    @classmethod
    def standard(cls, features: Shape) -> Self:
        """The fixed normal density of mean 0 and variance 1, of so many features or that shape: the usual base of flows."""
        return cls(torch.zeros(as_shape("features", features)))

    def divergence(
        self, other: Density, context: Tensor | None = None, other_context: Tensor | None = None
    ) -> Tensor | None:
        """KL(p || q), (*batch, groups), nats, where the other is normal too: of each number if both are diagonal."""
        return self._divergence_at(self.theta(context), other, other_context) if isinstance(other, Normal) else None

    def _divergence_at(self, p: dict[str, Tensor], other: Normal, other_context: Tensor | None) -> Tensor:
        q = other.theta(other_context)
        rank = len(self.event_shape)
        (mean, log_scale), (other_mean, other_log_scale) = (
            (theta["loc"].flatten(-rank), theta["log_scale"].flatten(-rank)) for theta in (p, q)
        )
        return gaussian_divergence(mean - other_mean, log_scale, p.get("packed"), other_log_scale, q.get("packed"))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._log_prob_at(x, self.theta(context))

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self._sample_at(shape, self.theta(context))

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        theta = self.theta(context)
        x = self._sample_at(shape, theta)
        return x, self._log_prob_at(x, theta)

    def _sample_and_divergence(
        self, other: Density, context: Tensor | None, other_context: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        theta = self.theta(context)
        x = self._sample_at(torch.Size(), theta)
        divergence = self._divergence_at(theta, other, other_context) if isinstance(other, Normal) else None
        return x, self._log_prob_at(x, theta), divergence

    def _log_prob_at(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        difference, log_scale = x - theta["loc"], theta["log_scale"]
        rank = len(self.event_shape)
        if rank > 1:
            difference, log_scale = difference.flatten(-rank), log_scale.flatten(-rank)
        return gaussian_log_prob(difference, log_scale, theta.get("packed"))

    def _sample_at(self, shape: torch.Size, theta: dict[str, Tensor]) -> Tensor:
        loc = theta["loc"]
        noise = torch.randn(*shape, *loc.shape, dtype=loc.dtype, device=loc.device)
        return loc + gaussian_sample(noise, theta["log_scale"], theta.get("packed"))

    def _as_mixture(self, context: Tensor | None) -> GaussianMixture:
        """The Gaussian mixture of constants whose only component this is."""
        with torch.no_grad():
            theta = {name: value.unsqueeze(0) for name, value in self.theta(context).items()}
            return of_constants(theta["loc"].new_zeros(1), **theta)

    def _at_context(self, context: Tensor) -> GaussianMixture | None:
        return self._as_mixture(context) if len(self.event_shape) == 1 else None

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        if context is None and self.context_shape is not None:
            return None
        return self._as_mixture(context)._given(wanted, observed, values, None)

    def _moments(self, context: Tensor | None) -> Moments:
        theta = self.theta(context)
        return Moments(theta["loc"], gaussian_covariance(theta["log_scale"], theta.get("packed")))

    def at_temperature(self, temperature: float) -> Normal | None:
        """The normal density of so many times the deviations, as it is now: not of a context."""
        if self.context_shape is not None:
            return None
        theta = {name: value.detach() for name, value in self.theta(None).items()}
        if "packed" not in theta:
            return Normal(theta["loc"], theta["log_scale"].exp() * temperature)
        return Normal(theta["loc"], scale_tril=lower_factor(theta["log_scale"], theta["packed"]) * temperature)

    def peaks(self, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """The mean."""
        return self._as_mixture(context).peaks(None) if len(self.event_shape) == 1 else None

    def noise_space(self, context: Tensor | None) -> tuple[list[Transform], Tensor | None] | None:
        """The noise itself, of a standard normal density."""
        theta = self.theta(context)
        moved = any(bool(value.any()) for value in (theta["loc"], theta["log_scale"]))
        return None if moved or "packed" in theta or self.context_shape is not None else ([], None)

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction:
        return self._as_mixture(context)._distribution_function(None)
