"""A normalizing flow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.densities import Density, Normal
from anabranch.densities.contexts import context_for, shape_for
from anabranch.models.preimage import Preimage, defined_everywhere
from anabranch.transforms import Transform
from anabranch.transforms.domain import is_everything
from anabranch.transforms.transform import common_shape


class Flow(Density):
    r"""A base density seen through a transform f, from data to noise:

    .. math:: \log p(x \mid c) = \log p_Z(f(x; c) \mid c) + \log |\det \partial f / \partial x|

    Sampling draws z from the base and returns f^{-1}(z). Where f is not defined (log x at -1), p(x) is 0.

    Args:
        transform: f. Over a discrete base only one that moves no number, such as a permutation, gives probabilities.
        base: the density of z, any `Density`; a standard normal by default.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import anabranch as ab
        >>> flow = ab.Flow(ab.flows.maf(features=3))
        >>> flow.log_prob(flow.sample((10,))).shape
        torch.Size([10])
    """

    def __init__(self, transform: Transform, base: Density | None = None) -> None:
        base = default_base(transform, base)
        super().__init__(base.event_shape, common_shape("context_shape", [transform.context_shape, base.context_shape]))
        self.transform = transform
        self.base = base
        self.bound = base.bound
        self.loss_is_exact = base.loss_is_exact
        self._everywhere = defined_everywhere(transform)
        self.reparameterized = base.reparameterized and transform.inversion != "none"

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        """Where the density may be positive; of a transform with a context, all that its own domain lets in."""
        if self.transform.context_shape is not None:
            return self.transform.domain
        if self._everywhere and is_everything(self.base.support):
            return self.base.support
        return Preimage(lambda x: [self.transform(x)], self.base.support)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the transform on x, and the base on what the transform makes of x."""
        self.transform.initialize(x, context)
        self.base.initialize(self.transform(x, context)[0], context_for(self.base, context))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        z, log_det = self.transform(x, context)
        return self.base.log_prob(z, context_for(self.base, context)) + log_det

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        z, log_det = self.transform(x, context)
        return self.base.loss(z, context_for(self.base, context)) - log_det

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        z = self.base._sample(shape_for(self, self.base, shape, context), context_for(self.base, context))
        return self.transform.inverse(z, context)[0]

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_p = self.base._sample_and_log_prob(
            shape_for(self, self.base, shape, context), context_for(self.base, context)
        )
        x, log_det = self.transform.inverse(z, context)
        return x, log_p - log_det


def default_base(transform: Transform, base: Density | None) -> Density:
    """The base given, checked against the transform, or a standard normal of its features.

    Raises:
        ValueError: the shapes do not fit, or there is no base and the transform takes any shape.
    """
    if not isinstance(transform, Transform):
        raise ValueError(f"transform: expected a Transform, got {type(transform).__name__}")
    if base is None:
        if transform.event_shape is None or len(transform.event_shape) != 1:
            raise ValueError(f"base: expected one, since {type(transform).__name__} has no fixed number of features")
        return Normal.standard(transform.event_shape[0])
    if not isinstance(base, Density):
        raise ValueError(f"base: expected a Density, got {type(base).__name__}")
    if transform.event_shape not in (None, base.event_shape):
        wanted = tuple(transform.event_shape or ())
        raise ValueError(f"base: expected event shape {wanted}, the transform's, got {tuple(base.event_shape)}")
    return base
