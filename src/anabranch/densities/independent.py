"""The product of independent densities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from anabranch.densities.at_context import at_context
from anabranch.densities.composite import Composite
from anabranch.densities.contexts import context_for, shape_for
from anabranch.densities.density import Density
from anabranch.densities.moments import Moments, of_product
from anabranch.densities.reordered import given, in_order
from anabranch.densities.score import Score
from anabranch.densities.whole_numbers import Ends, ends_of
from anabranch.families import DistributionFunction
from anabranch.transforms.domain import everywhere, is_everything
from anabranch.transforms.span import Span, span_of
from anabranch.transforms.transform import common_shape


class Independent(Composite):
    r"""p(x) = prod_j p_j(x_j): x is cut, along its first dimension, into one piece for each part.

    Parts may be of any kind: continuous next to discrete ones, with or without the (common) context.

    Args:
        parts: densities, over vectors or over events of more dimensions, such as images, which are cut between channels.

    Raises:
        ValueError: no parts, events that differ in more than their first size, or contexts of different shapes.

    Example:
        >>> import torch
        >>> from anabranch.densities import Categorical, Independent, Normal
        >>> mixed = Independent([Normal.standard(2), Categorical(torch.zeros(3))])
        >>> mixed.sample((5,)).shape
        torch.Size([5, 3])
    """

    def __init__(self, parts: Sequence[Density]) -> None:
        pieces = list(parts)
        if not pieces:
            raise ValueError("parts: expected at least one density, got none")
        for part in pieces:
            if not isinstance(part, Density):
                raise ValueError(f"parts: expected densities, got a {type(part).__name__}")
        if len({part.event_shape[1:] for part in pieces}) > 1 or not all(part.event_shape for part in pieces):
            shapes = ", ".join(f"{tuple(part.event_shape)} of a {type(part).__name__}" for part in pieces)
            raise ValueError(f"parts: expected event shapes that differ in their first size alone, got {shapes}")
        self._sizes = [part.event_shape[0] for part in pieces]
        context_shape = common_shape("context_shape", [part.context_shape for part in pieces])
        super().__init__((sum(self._sizes), *pieces[0].event_shape[1:]), context_shape)
        self.pieces = nn.ModuleList(pieces)

    def parts(self) -> Sequence[Density]:
        """The densities of the pieces."""
        return list(self)

    @property
    def support(self) -> constraints.Constraint:
        """Every piece within its part's support."""
        supports = [part.support for part in self]
        if all(is_everything(support) for support in supports):
            return everywhere(len(self.event_shape))
        return _PieceByPiece(supports, self._sizes, len(self.event_shape))

    def __iter__(self) -> Iterator[Density]:
        for part in self.pieces:
            if isinstance(part, Density):
                yield part

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize every part on its piece of x."""
        for part, piece in zip(self, self._cut(x), strict=True):
            part.initialize(piece, context_for(part, context))

    def _cut(self, x: Tensor) -> tuple[Tensor, ...]:
        pieces: tuple[Tensor, ...] = x.split(self._sizes, dim=-len(self.event_shape))
        return pieces

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        pieces = zip(self, self._cut(x), strict=True)
        terms = [score(part, piece, context_for(part, context)) for part, piece in pieces]
        return torch.stack(torch.broadcast_tensors(*terms)).sum(dim=0)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        draws = [part._sample(shape_for(self, part, shape, context), context_for(part, context)) for part in self]
        return torch.cat(draws, dim=-len(self.event_shape))

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        pairs = [
            part._sample_and_log_prob(shape_for(self, part, shape, context), context_for(part, context))
            for part in self
        ]
        x = torch.cat([piece for piece, _ in pairs], dim=-len(self.event_shape))
        return x, torch.stack([log_p for _, log_p in pairs]).sum(dim=0)

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Those of the parts, with the product of their weights."""
        pieces = zip(self, self._cut(x), strict=True)
        found = [part.weighted_completion(piece, context_for(part, context)) for part, piece in pieces]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        log_w = torch.stack(torch.broadcast_tensors(*(each for _, each in known))).sum(dim=0)
        rows = [piece.expand(*log_w.shape, *piece.shape[-len(self.event_shape) :]) for piece, _ in known]
        return torch.cat(rows, dim=-len(self.event_shape)), log_w

    def factors(self, context: Tensor | None) -> list[Density]:
        """The parts, at the context."""
        return [at_context(part, context_for(part, context)) for part in self]

    def _at_context(self, context: Tensor) -> Independent:
        return Independent(self.factors(context))

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        """Every part given what was observed of it, of the parts that have a wanted column."""
        if (context is None and self.context_shape is not None) or (values is None and observed):
            return None
        left: list[Density] = []
        joined: list[int] = []
        start = 0
        for part, size in zip(self.factors(context), self._sizes, strict=True):
            within = range(start, start + size)
            own, seen = [i for i in wanted if i in within], [i for i in observed if i in within]
            if own:
                told = None if values is None else values[[observed.index(i) for i in seen]]
                one = given(part, [i - start for i in own], [i - start for i in seen], told)
                if one is None:
                    return None
                left.append(one)
                joined += own
            start += size
        whole = left[0] if len(left) == 1 else Independent(left)
        return in_order(whole, [joined.index(i) for i in wanted])

    def _moments(self, context: Tensor | None) -> Moments | None:
        found = [part._moments(context_for(part, context)) for part in self]
        known = [one for one in found if one is not None]
        return of_product(known) if len(known) == len(found) else None

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        (part,) = self
        return part._distribution_function(context_for(part, context))


class _PieceByPiece(constraints.Constraint):
    """Every piece of the first dimension within its own support; torch's `cat` would join the answers of whole pieces."""

    def __init__(self, supports: Sequence[constraints.Constraint], sizes: Sequence[int], event_dim: int = 1) -> None:
        super().__init__()
        self.event_dim = event_dim
        self.supports = list(supports)
        self.sizes = list(sizes)
        self.is_discrete = any(support.is_discrete for support in supports)

    def check(self, value: Tensor) -> Tensor:
        pieces = value.split(self.sizes, dim=-self.event_dim)
        answers = [support.check(piece) for support, piece in zip(self.supports, pieces, strict=True)]
        return torch.stack(answers).all(dim=0)

    def span(self, shape: torch.Size) -> Span:
        """Those of the pieces."""
        spans = [
            span_of(support, torch.Size([size, *shape[1:]]))
            for support, size in zip(self.supports, self.sizes, strict=True)
        ]
        return Span(torch.cat([one.low for one in spans]), torch.cat([one.high for one in spans]))

    def ends(self, event: Tensor) -> Ends | None:
        """Those of the pieces."""
        pieces = zip(self.supports, event.split(self.sizes), strict=True)
        told = [ends_of(support, piece) for support, piece in pieces]
        known = [one for one in told if one is not None]
        if len(known) < len(told):
            return None
        low, high = (torch.cat([getattr(one, end) for one in known]) for end in ("low", "high"))
        return Ends(low, high, all(one.exact for one in known))
