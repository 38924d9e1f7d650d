"""The distribution function of a known distribution, as a univariate map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from anabranch.described import torch_arguments
from anabranch.transforms.domain import OpenInterval, some_point
from anabranch.transforms.univariate import UnivariateMap


class CDF(UnivariateMap):
    r"""z = F(x), the distribution function of a univariate `torch.distributions.Distribution`, onto (0, 1).

    .. math:: \log \frac{dz}{dx} = \log p(x)

    The distribution's parameters become buffers: they move with the module and are not trained. Far out F is rounded to 0
    or 1: of a normal distribution in float32, x comes back to 1e-4 within 4 standard deviations of the mean, and as infinity
    beyond 5.

    Args:
        distribution: one that has `cdf` and `icdf`, such as Normal, Laplace, Cauchy, Uniform, Exponential, Gumbel.

    Raises:
        ValueError: it has no `cdf` or no `icdf`, its events are not numbers, or it does not keep its arguments under their
            names (ContinuousBernoulli, TransformedDistribution).

    Example:
        >>> import torch
        >>> from anabranch.transforms import CDF, Elementwise
        >>> uniformize = Elementwise(CDF(torch.distributions.Normal(0.0, 1.0)))
        >>> uniformize(torch.zeros(3))[0]
        tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(self, distribution: Distribution) -> None:
        super().__init__(size=0)
        name = type(distribution).__name__
        if getattr(torch.distributions, name, None) is not type(distribution) or distribution.event_shape:
            raise ValueError(f"distribution: expected a univariate one of torch.distributions, got {name}")
        try:
            distribution.icdf(distribution.cdf(torch.as_tensor(distribution.sample())))
        except NotImplementedError:
            raise ValueError(f"distribution: expected one with cdf and icdf, got {name}") from None
        try:
            arguments = torch_arguments(distribution)
        except AttributeError:
            raise ValueError(f"distribution: expected one that keeps its arguments, got {name}") from None
        self._build: Callable[..., Distribution] = type(distribution)
        self._names = list(arguments)
        for argument, value in arguments.items():
            self.register_buffer(argument, torch.as_tensor(value).detach().clone())

    @property
    def domain(self) -> Constraint:
        """The support of the distribution."""
        support: Any = self._distribution().support
        return constraints.real if some_point(support) is None else support

    @property
    def codomain(self) -> Constraint:
        """(0, 1)."""
        return OpenInterval(0.0, 1.0)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        distribution = self._distribution()
        return distribution.cdf(x), distribution.log_prob(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        distribution = self._distribution()
        x = distribution.icdf(z)
        return x, -distribution.log_prob(x)

    def _distribution(self) -> Distribution:
        return self._build(*(self.get_buffer(name) for name in self._names), validate_args=False)
