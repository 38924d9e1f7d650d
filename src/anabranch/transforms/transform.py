"""The contract of a transform."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.checks import broadcasting, matching, reference_tensor
from anabranch.compiled import method
from anabranch.described import Described
from anabranch.transforms.domain import is_everything, some_point
from anabranch.transforms.span import Span, carried, span_of

Inversion = Literal["closed", "sequential", "iterative", "none"]
"""What a direction costs: a formula; a pass of one step per feature; a numerical iteration; or there is none."""

INVERSIONS: tuple[Inversion, ...] = ("closed", "sequential", "iterative", "none")


class Transform(Described, ABC):
    r"""A bijection z = f(x; c) between data x and noise z, for every value of the context c.

    `forward` normalises, data to noise, as density estimation needs it; `inverse` generates, noise to data. With a base
    density p_Z the change of variables gives

    .. math:: \log p_X(x) = \log p_Z(f(x)) + \log |\det \partial f / \partial x|.

    .. code-block:: text

        forward(x, context=None) -> (z, log_det)     log_det = log |det dz/dx|
        inverse(z, context=None) -> (x, log_det)     log_det = log |det dx/dz|

        forward_shape(shape) -> shape of z           the same, unless f is a reshape or a squeeze
        inverse_shape(shape) -> shape of x

        x, z      (*batch, *event): vectors, images (channels, height, width), arrays of any shape
        context   (*batch, *context), or any batch shape that broadcasts against that of x; None where f takes none
        log_det   (*batch): one number for each event; it is negative where f contracts

    Attributes:
        event_dim: how many trailing dimensions of x are one event (1 for vectors, 3 for images).
        noise_dim: how many trailing dimensions of z are one event; `event_dim`, unless f is a reshape.
        event_shape: the shape of one x, or None if any will do.
        noise_shape: the shape of one z, or None if it follows from that of x.
        context_shape: the shape of one context, or None if the transform takes none. A transform that takes none
            ignores a context that it is given: in a chain, context reaches every layer.
        inversion: what the inverse costs: "closed", "sequential", "iterative" or "none".
        scoring: what forward costs, in the same words; "closed" unless the transform was turned round (`Inverse`), or has
            no formula (`Continuous`).
        affine: whether f(x) = A x + b at every context.
        estimated: whether log_det is random, with mean log |det|. Each call draws afresh for every event. A transform is
            estimated if one of its parts is.
        error: how far z, x and log_det may lie from those of the exact map, relative to 1 + their size, since an equation is
            solved by steps (`Continuous`): what its solver says. 0 where only rounding lies between. Of a transform with
            parts the sum over them.
        domain: the x for which f is defined, a `torch.distributions` constraint; by default all. Outside it forward gives
            a log_det of -inf, so that a density is 0 there, and some finite z; a NaN stays NaN. (A chain leaves that to
            its blocks: each has its own domain, and log_det stays -inf.)
        rearranges: whether z is made of the very numbers of x, in another order or shape: then log_det is 0, whole numbers
            stay whole, and a gap stays a gap.
        codomain: the z that f reaches, by default all. Outside it inverse gives NaN or infinity.

    A transform is stateless and functional: the two methods change nothing and branch on no value, so that
    `torch.compile(fullgraph=True)` takes them. What must be set from data (`ActNorm`) is set once in `initialize`.

    To write your own: call `super().__init__(event_shape, context_shape)`, set `inversion` if the inverse is not a
    formula, `domain` and `codomain` if they are not everything, and define `_forward` and `_inverse`, which get arguments
    within them whose shapes and dtypes are checked already. Where z has another shape than x, give `noise_shape` too, or
    override `forward_shape` and `inverse_shape`. Then put it through `anabranch.testing.check_transform`.

    A context may have more batch dimensions than x: `_at_every_context` gives x all of them. An iterative inverse is
    differentiable too, by z, context and parameters: let it iterate without gradients, and end on one step of Newton's
    method with them.

    A transform of few dimensions serves events of more: `Chain` and `Flow` apply it to every trailing block of such an
    event, and add the log-determinants up (`Blockwise`).

    Example:
        >>> import torch
        >>> from anabranch.transforms import Transform
        >>> class Double(Transform):
        ...     "z = 2 x."
        ...     def _forward(self, x, context):
        ...         return 2 * x, x.new_full(x.shape[:-1], x.shape[-1] * 0.6931472)
        ...     def _inverse(self, z, context):
        ...         return z / 2, z.new_full(z.shape[:-1], -z.shape[-1] * 0.6931472)
        >>> Double()(torch.tensor([1.0, 2.0]))
        (tensor([2., 4.]), tensor(1.3863))
    """

    event_dim: int = 1
    inversion: Inversion = "closed"
    scoring: Inversion = "closed"
    rearranges: bool = False
    affine: bool = False
    # whether this very class draws its log_det; `estimated` is whether a part does
    _estimates: bool = False
    # of this very class; `error` is the sum over the parts
    _error: float = 0.0
    _checks_dtype: ClassVar[bool] = True
    # whether `_forward` hands x to another transform, which looks at the domain
    _leaves_domain: bool = False
    # whether each number of z rises or falls with its own number of x from end to end, whatever the others are
    _apart: bool = False

    def __init__(
        self,
        event_shape: torch.Size | tuple[int, ...] | None = None,
        context_shape: torch.Size | tuple[int, ...] | None = None,
        noise_shape: torch.Size | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.event_shape = None if event_shape is None else torch.Size(event_shape)
        self.context_shape = None if context_shape is None else torch.Size(context_shape)
        self.noise_shape = self.event_shape if noise_shape is None else torch.Size(noise_shape)
        if self.event_shape is not None:
            self.event_dim = len(self.event_shape)

    @property
    def estimated(self) -> bool:
        """Whether log_det is a draw, here or in a part."""
        return any(isinstance(part, Transform) and part._estimates for part in self.modules())

    @property
    def error(self) -> float:
        """How far numbers may lie from exact ones, relative to 1 + their size, here and in the parts; 0 but for rounding."""
        return sum(part._error for part in self.modules() if isinstance(part, Transform))

    @property
    def noise_dim(self) -> int:
        """How many trailing dimensions of z are one event. May be overridden."""
        return self.event_dim if self.noise_shape is None else len(self.noise_shape)

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        """The shape of z for an x of this shape. May be overridden, as may its inverse.

        Raises:
            ValueError: f does not take events of this shape.
        """
        shape = fitting(self, "x", shape, self.event_shape, self.event_dim)
        return shape if self.noise_shape is None else self.noise_shape

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        """The shape of x for a z of this shape.

        Raises:
            ValueError: no z has this shape.
        """
        shape = fitting(self, "z", shape, self.noise_shape, self.noise_dim)
        return shape if self.event_shape is None else self.event_shape

    @property
    def domain(self) -> Constraint:
        """Where f is defined. May be overridden, by `independent` intervals."""
        return constraints.real_vector

    @property
    def codomain(self) -> Constraint:
        """What f reaches. May be overridden."""
        return constraints.real_vector

    def span_ahead(self, span: Span) -> Span:
        """Where the numbers of z lie, if those of x lie in a span, as far as it is known. May be overridden, as may its
        opposite.

        Raises:
            ValueError: f is not defined for all of the span.
        """
        shape = self.forward_shape(span.shape)
        return self._carried(span, self.domain, self.codomain, shape, lambda ends: self.forward(ends)[0])

    def span_behind(self, span: Span) -> Span:
        """Where the numbers of x lie, if those of z lie in a span, as far as it is known.

        Raises:
            ValueError: f does not reach all of the span.
        """
        shape = self.inverse_shape(span.shape)
        return self._carried(span, self.codomain, self.domain, shape, lambda ends: self.inverse(ends)[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Data to noise: (z, log |det dz/dx|)."""
        self._check("x", x, context, self.event_shape, self.event_dim)
        domain = self.domain
        if self._leaves_domain or is_everything(domain):
            return self._forward(x, context)
        # f is taken at a point within instead: what it is not defined for would give NaN, and NaN gradients even where
        # they are multiplied by zero
        has_nan = x.isnan().flatten(x.dim() - self.event_dim).any(dim=-1)
        outside = ~domain.check(x) & ~has_nan
        shape = outside.shape + (1,) * self.event_dim
        z, log_det = self._forward(torch.where(outside.reshape(shape), some_point(domain), x), context)
        return z, torch.where(outside, -torch.inf, log_det)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise to data: (x, log |det dx/dz|)."""
        self._check("z", z, context, self.noise_shape, self.noise_dim)
        result: tuple[Tensor, Tensor] = method(self, "_inverse")(z, context)
        return result

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what is to be set from a first batch of data; most transforms have nothing of the kind.

        May be overridden. It must leave the transform as it is when it was initialized before.
        """

    def turned_round(self) -> Transform | None:
        """The inverse as a transform of the same kind, where one is made of a part turned round; None by default."""
        return None

    def _at_every_context(self, x: Tensor, context: Tensor | None) -> Tensor:
        """x with all batch dimensions of the result, where the contexts have more of them than x."""
        if context is None or self.context_shape is None:
            return x
        event_dim = self.event_dim
        batch = context.shape[: context.dim() - len(self.context_shape)]
        batch = torch.broadcast_shapes(x.shape[: x.dim() - event_dim], batch)
        return x.expand(*batch, *x.shape[x.dim() - event_dim :])

    def on_columns(self, columns: list[int], context: Tensor | None) -> tuple[Transform | None, list[int]] | None:
        """What f does to chosen features of vectors, if it reads no others: None, the default, if it may read them.

        May be overridden.

        Args:
            columns: the features of x, maybe none.
            context: one context, (c), or None.

        Returns:
            a transform of these features alone, without a context, or None if they stay as they are; and the features of z
            that come of them.
        """
        return None

    @abstractmethod
    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]: ...

    def _carried(
        self, span: Span, source: Constraint, target: Constraint, shape: torch.Size, move: Callable[[Tensor], Tensor]
    ) -> Span:
        if self.rearranges:
            place = next(self.buffers(), torch.empty(0)).device
            return span.by(lambda ends: move(ends.to(place)).cpu())
        inner = getattr(self, "univariate", None)
        name = type(self).__name__ + ("" if inner is None else f" of {type(inner).__name__}")
        return carried(name, span, span_of(source, span.shape), span_of(target, shape), self._apart)

    def _check(
        self, name: str, value: Tensor, context: Tensor | None, shape: torch.Size | None, event_dim: int
    ) -> None:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name}: expected a floating-point tensor, got {kind}")
        if value.dim() < event_dim:
            raise ValueError(f"{name}: expected at least {event_dim} dimensions, got shape {tuple(value.shape)}")
        like = reference_tensor(self) if self._checks_dtype else None
        matching(name, value, shape, like)
        if self.context_shape is None:
            return
        if context is None:
            raise ValueError(f"context: expected shape (..., {', '.join(map(str, self.context_shape))}), got None")
        if not isinstance(context, Tensor):
            raise ValueError(f"context: expected a tensor, got {type(context).__name__}")
        matching("context", context, self.context_shape, like)
        batch = context.shape[: context.dim() - len(self.context_shape)]
        broadcasting(name, value.shape[: value.dim() - event_dim], "context", batch)


def fitting(
    transform: Transform, name: str, shape: Sequence[int], wanted: torch.Size | None, event_dim: int
) -> torch.Size:
    """The shape of an event, if the transform takes such.

    Raises:
        ValueError: it does not.
    """
    shape = torch.Size(shape)
    if wanted is not None and shape != wanted:
        raise ValueError(
            f"{name}: expected events of shape {tuple(wanted)} for {type(transform).__name__}, got {tuple(shape)}"
        )
    if wanted is None and len(shape) < event_dim:
        raise ValueError(
            f"{name}: expected events of {event_dim} dimensions for {type(transform).__name__}, got shape {tuple(shape)}"
        )
    return shape


def common_shape(kind: str, shapes: list[torch.Size | None]) -> torch.Size | None:
    """The one shape that all parts share which have any; None if none has.

    Raises:
        ValueError: two parts disagree.
    """
    found = {shape for shape in shapes if shape is not None}
    if len(found) > 1:
        raise ValueError(
            f"{kind}: expected the same for all parts, got {', '.join(str(tuple(s)) for s in sorted(found))}"
        )
    return found.pop() if found else None
