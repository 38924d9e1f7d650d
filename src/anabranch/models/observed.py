"""Some columns of a density that takes gaps: the others are gaps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import instance_of
from anabranch.densities import Composite, Density, Moments
from anabranch.densities.score import Score
from anabranch.families import ColumnByColumn, NumberByNumber
from anabranch.networks.reader import as_read
from anabranch.transforms.domain import is_everything


class Observed(Composite):
    r"""p(x_W) = \int p(x_W, x_H) dx_H of a density that takes a NaN for a gap: every row is one of whose columns W alone
    are observed.

    What is known of it (exactly, a bound, an estimate) is what is known of the density, whose parameters it shares. Of a
    density that models which numbers are missing (`NotAtRandom`) a gap is an event, and what is observed no marginal.

    Args:
        density: over vectors, with `gaps`.
        columns: W, in the order wanted.

    Raises:
        ValueError: a density that takes no gaps, or to which they are events (`Density.gap_events`); a column that does not
            exist, or twice the same.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Gaussians
        >>> from anabranch.models import Observed
        >>> model = ab.vaes.vae(3, Gaussians(1, floor=0.1), latent=2, hidden=(8,), gaps=True)
        >>> Observed(model, [2, 0]).lower_bound(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    gaps = True

    def __init__(self, density: Density, columns: Sequence[int]) -> None:
        instance_of("density", density, Density)
        if len(density.event_shape) != 1 or not density.gaps:
            raise ValueError(
                f"density: expected one over vectors that takes a NaN for a gap, got a {type(density).__name__}"
            )
        if density.gap_events:
            raise ValueError(
                f"density: expected one to which a NaN is a gap, got a {type(density).__name__}, "
                "which gives the probability that a number is missing; take its density"
            )
        chosen = density._columns(columns)
        super().__init__((len(chosen),), density.context_shape)
        self.density = density
        self.columns = chosen
        self.register_buffer("places", torch.tensor(chosen), persistent=False)

    def parts(self) -> Sequence[Density]:
        """The density."""
        return (self.density,)

    @property
    def support(self) -> constraints.Constraint:
        """Of these columns; all numbers where the density does not say it column by column."""
        inner = self.density.support
        if isinstance(inner, ColumnByColumn):
            return ColumnByColumn([inner.families[i] for i in self.columns])
        return inner if isinstance(inner, NumberByNumber) or is_everything(inner) else constraints.real_vector

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        return score(self.density, self._row(x), context)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self.density._sample(shape, context).index_select(-1, self.get_buffer("places"))

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        columns = [[self.columns[i] for i in some] for some in (wanted, observed)]
        return self.density._given(columns[0], columns[1], values, context)

    def _moments(self, context: Tensor | None) -> Moments | None:
        moments = self.density._moments(context)
        if moments is None:
            return None
        at = self.get_buffer("places")
        covariance = None if moments.covariance is None else moments.covariance[..., at, :][..., at]
        return Moments(moments.mean[..., at], covariance)

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """The density's, of these columns."""
        completion = self.density.weighted_completion(self._row(x), context)
        return (
            None if completion is None else (completion[0].index_select(-1, self.get_buffer("places")), completion[1])
        )

    def _row(self, x: Tensor) -> Tensor:
        """x_W in a row of gaps."""
        read = as_read(x, self.density)
        row = read.new_full((*x.shape[:-1], self.density.event_shape[0]), torch.nan)
        return row.index_copy(-1, self.get_buffer("places"), read)


def observed_columns(density: Density, columns: list[int]) -> Observed:
    """`Observed`; of a density that is one already, those columns of the density within."""
    if isinstance(density, Observed):
        return Observed(density.density, [density.columns[i] for i in columns])
    return Observed(density, columns)
