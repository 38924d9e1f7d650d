"""A transform of channels at every position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of, positive_int
from anabranch.transforms.blockwise import Blockwise
from anabranch.transforms.domain import EveryBlock, is_everything
from anabranch.transforms.inverse import Inverse
from anabranch.transforms.span import Span
from anabranch.transforms.transform import Transform


class Pointwise(Transform):
    r"""One transform f of vectors on the channels of every position: z_{:, h, w} = f(x_{:, h, w}).

    .. math:: \log |\det| = \sum_{h, w} \log |\det \partial f(x_{:, h, w}) / \partial x_{:, h, w}|

    With f = `LULinear(C)` it is an invertible 1 x 1 convolution (Kingma and Dhariwal, 2018, "Glow", arXiv:1807.03039,
    section 3.2), with f = `ActNorm(C)` the activation normalisation of the same paper.

    Args:
        transform: f, over as many features as there are channels. A context is the same for all positions of an event.
        event_dim: how many dimensions an event (channels, *positions) has: 3 for images, 2 for sequences.

    Raises:
        ValueError: a transform whose events are not vectors, or fewer than 2 dimensions.

    Example:
        >>> import torch
        >>> from anabranch.transforms import LULinear, Pointwise
        >>> z, log_det = Pointwise(LULinear(3))(torch.randn(5, 3, 8, 8))
        >>> z.shape, log_det.shape
        (torch.Size([5, 3, 8, 8]), torch.Size([5]))
    """

    _leaves_domain = True

    def __init__(self, transform: Transform, event_dim: int = 3) -> None:
        instance_of("transform", transform, Transform)
        if (transform.event_dim, transform.noise_dim) != (1, 1):
            raise ValueError(f"transform: expected one whose events are vectors, got {type(transform).__name__}")
        positive_int("event_dim", event_dim, least=2)
        super().__init__(context_shape=transform.context_shape)
        self.event_dim = int(event_dim)
        self.inversion, self.scoring = transform.inversion, transform.scoring
        self.rearranges = transform.rearranges
        self.positions = Blockwise(transform, event_dim)

    @property
    def domain(self) -> Constraint:
        """Events whose channels lie in the transform's domain, at every position."""
        return _channels_first(self.positions.domain)

    @property
    def codomain(self) -> Constraint:
        """Events whose channels lie in the transform's codomain, at every position."""
        return _channels_first(self.positions.codomain)

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        """That of x, whose first number is f's."""
        *positions, channels = self.positions.forward_shape([*shape[1:], *shape[:1]])
        return torch.Size([channels, *positions])

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        """That of z, whose first number is f's."""
        *positions, channels = self.positions.inverse_shape([*shape[1:], *shape[:1]])
        return torch.Size([channels, *positions])

    def span_ahead(self, span: Span) -> Span:
        """The transform's of the channels, at every position."""
        return self.positions.span_ahead(span.by(_last)).by(_first)

    def span_behind(self, span: Span) -> Span:
        """The transform's of the channels, at every position."""
        return self.positions.span_behind(span.by(_last)).by(_first)

    def turned_round(self) -> Transform:
        """The transform's inverse at every position."""
        return Pointwise(Inverse(self.positions.transform), self.event_dim)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the transform on all positions."""
        self.positions.initialize(x.movedim(-self.event_dim, -1), context)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = self.positions(x.movedim(-self.event_dim, -1), context)
        return z.movedim(-1, -self.event_dim), log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_det = self.positions.inverse(z.movedim(-self.event_dim, -1), context)
        return x.movedim(-1, -self.event_dim), log_det


def _last(event: Tensor) -> Tensor:
    return event.movedim(0, -1)


def _first(event: Tensor) -> Tensor:
    return event.movedim(-1, 0)


def _channels_first(domain: Constraint) -> Constraint:
    return domain if is_everything(domain) else _ChannelsFirst(domain)


class _ChannelsFirst(EveryBlock):
    """Events whose channels, moved last, are constrained."""

    def __init__(self, block: Constraint) -> None:
        super().__init__(block, 0)

    def check(self, value: Tensor) -> Tensor:
        inside: Tensor = self.base_constraint.check(value.movedim(-self.event_dim, -1))
        return inside
