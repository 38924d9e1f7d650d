"""A density seen as a torch.distributions.Distribution."""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from anabranch.densities.contexts import context_batch


class Viewed(Protocol):
    """What the view asks of a `Density`."""

    event_shape: torch.Size
    context_shape: torch.Size | None
    reparameterized: bool

    @property
    def support(self) -> constraints.Constraint: ...

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...

    def sample(self, shape: tuple[int, ...] = (), context: Tensor | None = None) -> Tensor: ...

    def rsample(self, shape: tuple[int, ...] = (), context: Tensor | None = None) -> Tensor: ...


class DensityDistribution(Distribution):
    """A view of a `Density` at fixed contexts, for code that expects a `torch.distributions.Distribution`.

    Args:
        density: the density; the view holds it, not a copy.
        context: (*batch, *context), whose batch becomes the `batch_shape`; None for a density without a context.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> d = ab.densities.Normal(torch.zeros(3), torch.ones(3)).distribution()
        >>> d.event_shape, d.log_prob(torch.zeros(3))
        (torch.Size([3]), tensor(-2.7568))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the base class declares it so)

    def __init__(self, density: Viewed, context: Tensor | None = None) -> None:
        self.density = density
        self.context = context
        super().__init__(context_batch(density, context), density.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples are differentiable."""
        return self.density.reparameterized

    @property
    def support(self) -> constraints.Constraint:
        """Where the density is positive."""
        return self.density.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same distribution with a larger batch shape: of the contexts, if there are any."""
        shape = torch.Size(batch_shape)
        if self.context is None:
            if shape:
                raise ValueError(f"batch_shape: expected (), since the density takes no context, got {tuple(shape)}")
            return self
        return type(self)(self.density, self.context.expand(*shape, *(self.density.context_shape or ())))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (an immutable value)
        """Draw without gradients."""
        return self.density.sample(tuple(sample_shape), self.context)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (an immutable value)
        """Draw differentiably."""
        return self.density.rsample(tuple(sample_shape), self.context)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value)."""
        return self.density.log_prob(value, self.context)
