"""A transform of few dimensions on events of more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of, positive_int
from anabranch.transforms.domain import of_blocks
from anabranch.transforms.inverse import Inverse
from anabranch.transforms.span import Span
from anabranch.transforms.transform import Transform


class Blockwise(Transform):
    r"""One transform f on every trailing block of a larger event: z_i = f(x_i) for each index i of the leading dimensions.

    .. math:: \log |\det| = \sum_i \log |\det \partial f(x_i) / \partial x_i|

    The Jacobian has those of f on its diagonal. `Chain` and `Flow` do this by themselves with transforms of fewer
    dimensions than their events.

    Args:
        transform: f. A context is the same for all blocks of an event.
        event_dim: how many dimensions an event has, at least as many as those of f.

    Raises:
        ValueError: fewer dimensions than those of f.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Blockwise, Elementwise, Softplus
        >>> z, log_det = Blockwise(Elementwise(Softplus()), event_dim=3)(torch.zeros(5, 1, 8, 8))
        >>> z.shape, log_det.shape
        (torch.Size([5, 1, 8, 8]), torch.Size([5]))
    """

    _leaves_domain = True

    def __init__(self, transform: Transform, event_dim: int) -> None:
        instance_of("transform", transform, Transform)
        if positive_int("event_dim", event_dim) < transform.event_dim:
            raise ValueError(
                f"event_dim: expected at least {transform.event_dim}, the dimensions of {type(transform).__name__}, "
                f"got {event_dim}"
            )
        super().__init__(context_shape=transform.context_shape)
        self.event_dim = int(event_dim)
        self.inversion, self.scoring = transform.inversion, transform.scoring
        self.rearranges = transform.rearranges
        self.transform = transform
        self._extra = self.event_dim - transform.event_dim

    @property
    def noise_dim(self) -> int:
        """As many more than the transform's as `event_dim`."""
        return self._extra + self.transform.noise_dim

    @property
    def domain(self) -> Constraint:
        """Events all of whose blocks lie in the transform's domain."""
        return of_blocks(self.transform.domain, self._extra)

    @property
    def codomain(self) -> Constraint:
        """Events all of whose blocks lie in the transform's codomain."""
        return of_blocks(self.transform.codomain, self._extra)

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        """The leading dimensions, and the transform's shape of a block."""
        shape = torch.Size(shape)
        return shape[: self._extra] + self.transform.forward_shape(shape[self._extra :])

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        """The leading dimensions, and the transform's shape of a block."""
        shape = torch.Size(shape)
        return shape[: self._extra] + self.transform.inverse_shape(shape[self._extra :])

    def span_ahead(self, span: Span) -> Span:
        """The transform's of every block."""
        return self._of_blocks(span, self.transform.span_ahead)

    def span_behind(self, span: Span) -> Span:
        """The transform's of every block."""
        return self._of_blocks(span, self.transform.span_behind)

    def turned_round(self) -> Transform:
        """The transform's inverse on every block."""
        return Blockwise(Inverse(self.transform), self.noise_dim)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the transform on all blocks."""
        self.transform.initialize(x, self._for_blocks(context))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = self.transform(x, self._for_blocks(context))
        return z, self._summed(log_det)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_det = self.transform.inverse(z, self._for_blocks(context))
        return x, self._summed(log_det)

    def _of_blocks(self, span: Span, through: Callable[[Span], Span]) -> Span:
        extra, block = span.shape[: self._extra], span.shape[self._extra :]
        lows, highs = (ends.reshape(-1, *block) for ends in (span.low, span.high))
        # mostly all blocks are alike, and one stands for them
        alike = all(torch.equal(ends.nan_to_num(), ends[:1].expand(ends.shape).nan_to_num()) for ends in (lows, highs))
        count = 1 if alike else len(lows)
        found = [through(Span(low, high)) for low, high in zip(lows[:count], highs[:count], strict=True)]
        shape = torch.Size([*extra, *found[0].shape])
        joined = Span(torch.stack([one.low for one in found]), torch.stack([one.high for one in found]))
        return joined.by(lambda ends: ends.expand(extra.numel(), *found[0].shape).reshape(shape))

    def _summed(self, log_det: Tensor) -> Tensor:
        return log_det.flatten(log_det.dim() - self._extra).sum(dim=-1) if self._extra else log_det

    def _for_blocks(self, context: Tensor | None) -> Tensor | None:
        """Contexts (*batch, *context) as (*batch, 1, ..., *context), which broadcast over the blocks."""
        if context is None or self.context_shape is None:
            return None
        batch = context.shape[: context.dim() - len(self.context_shape)]
        return context.reshape(*batch, *(1 for _ in range(self._extra)), *self.context_shape)


def lifted(transform: Transform, event_dim: int) -> Transform:
    """The transform on events of so many dimensions: itself, if these are its own."""
    return transform if transform.event_dim >= event_dim else Blockwise(transform, event_dim)
