"""Where a density that is seen through transforms can be positive."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.densities.whole_numbers import Ends, ends_of, ends_of_any
from anabranch.transforms import Transform
from anabranch.transforms.domain import is_everything


class Preimage(Constraint):
    """The x that lies within the domain of some transform f and for which f(x) lies within a base's support.

    Args:
        images: gives f(x) and its log-determinant, for every f.
        support: the base's.
    """

    def __init__(
        self,
        images: Callable[[Tensor], Iterable[tuple[Tensor, Tensor]]],
        support: Constraint,
        event_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.images = images
        self.support = support
        self.event_dim = support.event_dim if event_dim is None else event_dim
        self.is_discrete = support.is_discrete

    def __repr__(self) -> str:
        return f"Preimage({self.support!r})"

    def check(self, value: Tensor) -> Tensor:
        with torch.no_grad():
            # outside its domain a transform gives -inf, and for NaN it gives NaN
            inside = [self.support.check(z) & (log_det > -torch.inf) for z, log_det in self.images(value)]
        return torch.stack(inside).any(dim=0)

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


def defined_everywhere(transform: Transform) -> bool:
    """Whether a transform and all its parts are defined for all x."""
    return all(is_everything(part.domain) for part in transform.modules() if isinstance(part, Transform))
