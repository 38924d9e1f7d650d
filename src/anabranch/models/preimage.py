"""Where a density that is seen through transforms can be positive."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.densities.whole_numbers import Ends, ends_of, ends_of_any
from anabranch.transforms import Transform
from anabranch.transforms.domain import everywhere, is_everything
from anabranch.transforms.span import Span, unknown_span


class Preimage(Constraint):
    """The x that lies within the domain of some transform f and for which f(x) lies within a base's support.

    Args:
        images: gives f(x) and its log-determinant, for every f.
        support: the base's.
        event_dim: how many dimensions an event has; by default as many as the base's.
        span: where the numbers of such x lie, as far as it is known.
    """

    def __init__(
        self,
        images: Callable[[Tensor], Iterable[tuple[Tensor, Tensor]]],
        support: Constraint,
        event_dim: int | None = None,
        span: Span | None = None,
    ) -> None:
        super().__init__()
        self.images = images
        self.support = support
        self.event_dim = support.event_dim if event_dim is None else event_dim
        self.is_discrete = support.is_discrete
        self._span = span

    def __repr__(self) -> str:
        return f"Preimage({self.support!r})"

    def check(self, value: Tensor) -> Tensor:
        with torch.no_grad():
            # outside its domain a transform gives -inf, and for NaN it gives NaN
            inside = [self.support.check(z) & (log_det > -torch.inf) for z, log_det in self.images(value)]
        return torch.stack(inside).any(dim=0)

    def span(self, shape: torch.Size) -> Span:
        """Where the numbers of events lie."""
        return unknown_span(shape) if self._span is None else self._span

    def ends(self, event: Tensor) -> Ends | None:
        """Those of the base, each at the place that its number comes from: whole numbers are only rearranged."""
        with torch.no_grad():
            numbered = torch.arange(event.numel(), device=event.device, dtype=event.dtype).reshape(event.shape)
            images = [z for z, _ in self.images(numbered)]
        told = []
        for z in images:
            base, places = ends_of(self.support, z), z.flatten().long().cpu()
            if base is None or not places.sort().values.equal(torch.arange(event.numel())):
                return None
            back = places.argsort()
            low, high = (end.flatten()[back].reshape(event.shape) for end in (base.low, base.high))
            told.append(Ends(low, high, base.exact))
        return ends_of_any(told)


class Within(Constraint):
    """Events whose numbers lie in a span, and in a domain too; what is not known of the span keeps nothing out."""

    def __init__(self, within: Span, domain: Constraint) -> None:
        super().__init__()
        self.within, self.domain = within, domain
        self.event_dim = within.low.dim()

    def __repr__(self) -> str:
        return f"Within({self.within.low.tolist()}, {self.within.high.tolist()})"

    def check(self, value: Tensor) -> Tensor:
        low, high = (ends.to(value.device) for ends in (self.within.low, self.within.high))
        inside = (~(value < low) & ~(value > high) & ~value.isnan()).flatten(value.dim() - self.event_dim).all(dim=-1)
        return inside if is_everything(self.domain) else inside & self.domain.check(value)

    def span(self, shape: torch.Size) -> Span:
        """It."""
        return self.within


def of_every_context(span: Span, domain: Constraint) -> Constraint:
    """Where a density may be positive at some context: all that its span and its first transform's domain let in."""
    if span.everything or (is_everything(domain) and not bool(span.known.any())):
        return everywhere(span.low.dim())
    return Within(span, domain)


def defined_everywhere(transform: Transform) -> bool:
    """Whether a transform and all its parts are defined for all x."""
    return all(is_everything(part.domain) for part in transform.modules() if isinstance(part, Transform))
