"""A transform of a part of an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of, numbers_below
from anabranch.transforms.domain import is_everything
from anabranch.transforms.inverse import Inverse
from anabranch.transforms.span import Span
from anabranch.transforms.transform import Transform


class OnPart(Transform):
    r"""z_I = f(x_I) and z_i = x_i for all i not in I: some features, channels or positions, and the rest as they are.

    I counts along the first dimension of an event: the features of a vector, the channels of an image. What a multi-scale
    flow factors out is what its later levels leave alone: `OnPart(Chain(...), range(2))` goes on with two channels.

    Source: Dinh et al., 2017, arXiv:1605.08803, section 3.6.

    Args:
        transform: f, whose z has the shape of its x. A chain that squeezes ends with `Inverse(Squeeze())`.
        index: I, different numbers, in the order in which f takes them.

    Raises:
        ValueError: an index that is empty, below 0 or names a number twice; when it meets an event, one that has fewer
            entries, or for which f changes the shape.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Elementwise, OnPart, Softplus
        >>> OnPart(Elementwise(Softplus()), [0])(torch.tensor([0.0, 5.0]))
        (tensor([0.6931, 5.0000]), tensor(-0.6931))
    """

    _leaves_domain = True

    def __init__(self, transform: Transform, index: Sequence[int]) -> None:
        instance_of("transform", transform, Transform)
        chosen = numbers_below("index", index)
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"index: expected different numbers, at least one, got {chosen}")
        if transform.noise_dim != transform.event_dim:
            raise ValueError(
                f"transform: expected one that keeps the shape of its events, got {type(transform).__name__}, "
                f"from {transform.event_dim} dimensions to {transform.noise_dim}"
            )
        part = transform.event_shape
        if part is not None and part[0] != len(chosen):
            raise ValueError(f"index: expected {part[0]} numbers, as many as the transform takes, got {chosen}")
        if part is not None:
            _check_kept(transform, part)
        super().__init__(context_shape=transform.context_shape)
        self.event_dim = transform.event_dim
        self.inversion, self.scoring = transform.inversion, transform.scoring
        self.rearranges = transform.rearranges
        self.transform = transform
        self._begin, self._length, self._most = chosen[0], len(chosen), max(chosen)
        self._in_a_row = chosen == list(range(chosen[0], chosen[0] + len(chosen)))
        self.register_buffer("index", torch.tensor(chosen), persistent=False)

    @property
    def domain(self) -> Constraint:
        """Events whose part lies in the transform's domain."""
        return self._of_part(self.transform.domain)

    @property
    def codomain(self) -> Constraint:
        """Events whose part lies in the transform's codomain."""
        return self._of_part(self.transform.codomain)

    def turned_round(self) -> Transform:
        """The transform's inverse on the same part."""
        return OnPart(Inverse(self.transform), self.get_buffer("index").tolist())

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        """That of x, if it has all of I."""
        shape = super().forward_shape(shape)
        if shape[0] <= self._most:
            raise ValueError(f"x: expected events of at least {self._most + 1} entries, for OnPart, got {tuple(shape)}")
        _check_kept(self.transform, torch.Size([self._length, *shape[1:]]))
        return shape

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        """That of z, if it has all of I."""
        return self.forward_shape(shape)

    def span_ahead(self, span: Span) -> Span:
        """The transform's of its part, and the rest as it is."""
        return self._with_part(span, self.transform.span_ahead(span.by(self._cut)))

    def span_behind(self, span: Span) -> Span:
        """The transform's of its part, and the rest as it is."""
        return self._with_part(span, self.transform.span_behind(span.by(self._cut)))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the transform on its part of x."""
        self.transform.initialize(self._part(x), context)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        self.forward_shape(x.shape[x.dim() - self.event_dim :])
        part, log_det = self.transform(self._part(x), context)
        return self._with(x, part), log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        self.inverse_shape(z.shape[z.dim() - self.event_dim :])
        part, log_det = self.transform.inverse(self._part(z), context)
        return self._with(z, part), log_det

    def _of_part(self, domain: Constraint) -> Constraint:
        return domain if is_everything(domain) else _PartOf(domain, self._part, self.event_dim)

    def _cut(self, ends: Tensor) -> Tensor:
        """The part of one event on the CPU."""
        return ends[self.get_buffer("index").cpu()]

    def _with_part(self, span: Span, part: Span) -> Span:
        index = self.get_buffer("index").cpu()
        return Span(span.low.index_copy(0, index, part.low), span.high.index_copy(0, index, part.high))

    def _part(self, x: Tensor) -> Tensor:
        if self._in_a_row:
            return x.narrow(-self.event_dim, self._begin, self._length)
        return x.index_select(x.dim() - self.event_dim, self.get_buffer("index"))

    def _with(self, x: Tensor, part: Tensor) -> Tensor:
        """x with that part in place, at all the batch dimensions that the part has."""
        x = x.expand(*part.shape[: part.dim() - self.event_dim], *x.shape[x.dim() - self.event_dim :])
        dim = x.dim() - self.event_dim
        if not self._in_a_row:
            return x.index_copy(dim, self.get_buffer("index"), part)
        end = self._begin + self._length
        return torch.cat([x.narrow(dim, 0, self._begin), part, x.narrow(dim, end, x.shape[dim] - end)], dim=dim)


class _PartOf(Constraint):
    """Events a part of which is constrained."""

    def __init__(self, part: Constraint, cut: Callable[[Tensor], Tensor], event_dim: int) -> None:
        super().__init__()
        self.part, self.cut, self.event_dim = part, cut, event_dim

    def __repr__(self) -> str:
        return f"_PartOf({self.part!r})"

    def check(self, value: Tensor) -> Tensor:
        inside: Tensor = self.part.check(self.cut(value))
        return inside


def _check_kept(transform: Transform, part: torch.Size) -> None:
    got = transform.forward_shape(part)
    if got != part:
        raise ValueError(
            f"transform: expected one that keeps the shape {tuple(part)} of its part, got {tuple(got)}; "
            "end its chain with the inverse of what changes the shape, such as Inverse(Squeeze())"
        )
