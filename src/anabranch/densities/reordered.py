"""A density of the same numbers in another order, and what a density says of its columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import instance_of
from anabranch.densities.composite import Composite
from anabranch.densities.density import Density
from anabranch.densities.moments import Moments
from anabranch.densities.score import Score
from anabranch.densities.whole_numbers import Ends, ends_of
from anabranch.families.distribution_function import DistributionFunction
from anabranch.transforms.domain import is_everything
from anabranch.transforms.span import Span, span_of


class Reordered(Composite):
    r"""p(x) = p_Y(y) where x_i = y_{columns_i}: the numbers of y in another order.

    Args:
        density: p_Y, over vectors.
        columns: which number of y comes to each place of x; each of them once.

    Raises:
        ValueError: columns that are not each of y's once.

    Example:
        >>> import torch
        >>> from anabranch.densities import Normal, Reordered
        >>> Reordered(Normal([3.0, 5.0], scale=0.01), [1, 0]).sample().round()
        tensor([5., 3.])
    """

    def __init__(self, density: Density, columns: Sequence[int]) -> None:
        instance_of("density", density, Density)
        chosen = density._columns(columns)
        if len(chosen) < density.event_shape[0]:
            raise ValueError(f"columns: expected each of 0 to {density.event_shape[0] - 1} once, got {chosen}")
        super().__init__(density.event_shape, density.context_shape)
        self.density = density
        self.columns = chosen
        self.leaves_open = density.leaves_open
        order = torch.tensor(chosen)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("places", order.argsort(), persistent=False)

    def parts(self) -> Sequence[Density]:
        """The other."""
        return (self.density,)

    @property
    def support(self) -> constraints.Constraint:
        """The other's, reordered."""
        inner = self.density.support
        return inner if is_everything(inner) else _Reordered(inner, self.get_buffer("places"))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the other."""
        self.density.initialize(self._inner(x), context)

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        return score(self.density, self._inner(x), context)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self.density._sample(shape, context).index_select(-1, self.get_buffer("order"))

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_p = self.density._sample_and_log_prob(shape, context)
        return y.index_select(-1, self.get_buffer("order")), log_p

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        inner = [self.columns[i] for i in wanted], [self.columns[i] for i in observed]
        return self.density._given(*inner, values, context)

    def _moments(self, context: Tensor | None) -> Moments | None:
        found = self.density._moments(context)
        if found is None:
            return None
        mean, covariance = found
        order = self.get_buffer("order")
        return Moments(mean[..., order], None if covariance is None else covariance[..., order, :][..., order])

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        return self.density._distribution_function(context)

    def _inner(self, x: Tensor) -> Tensor:
        return x.index_select(-1, self.get_buffer("places"))


class _Reordered(constraints.Constraint):
    """Within a support after the numbers went back to their places."""

    event_dim = 1

    def __init__(self, inner: constraints.Constraint, places: Tensor) -> None:
        super().__init__()
        self.inner, self.places = inner, places
        self.is_discrete = inner.is_discrete

    def check(self, value: Tensor) -> Tensor:
        result: Tensor = self.inner.check(value.index_select(-1, self.places))
        return result

    def span(self, shape: torch.Size) -> Span:
        """The other's, reordered."""
        back = self.places.argsort().cpu()
        return span_of(self.inner, shape).by(lambda ends: ends[back])

    def ends(self, event: Tensor) -> Ends | None:
        """The other's, each where its number comes to."""
        told, order = ends_of(self.inner, event), self.places.argsort().cpu()
        return None if told is None else Ends(told.low[order], told.high[order], told.exact)


def given(
    density: Density, wanted: Sequence[int], observed: Sequence[int] = (), values: Tensor | None = None
) -> Density | None:
    """p(x_W | x_O = values) of a density without a context; None where it has no closed form.

    Beside what the density says itself, all its columns in any order are a density that it gives.

    Args:
        density: the density.
        wanted: W, in the order wanted.
        observed: O, no column of W.
        values: (O,).
    """
    chosen, seen = list(wanted), list(observed)
    everything = not seen and len(chosen) == density.event_shape[0]
    if everything and chosen == list(range(len(chosen))):
        return density
    found = density._given(chosen, seen, values, None)
    return Reordered(density, chosen) if found is None and everything else found


def in_order(density: Density, columns: Sequence[int]) -> Density:
    """The same density of its columns in another order; itself where that is the order they have."""
    chosen = list(columns)
    return density if chosen == list(range(len(chosen))) else Reordered(density, chosen)
