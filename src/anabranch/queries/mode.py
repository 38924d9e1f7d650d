"""The most probable point."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Unpack

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import positive_int, reference_tensor
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.families.point_masses import PointMasses
from anabranch.queries.ascent import LogProb, climb, polish, try_levels
from anabranch.queries.columns import check_density, others, read_columns, read_observed
from anabranch.queries.conditional import conditional
from anabranch.queries.estimate import Estimate, QueryWarning
from anabranch.queries.estimated_subset import EstimatedSubset
from anabranch.queries.log_prob_at import log_prob_at
from anabranch.queries.marginal import marginal
from anabranch.queries.sampling import Sampling
from anabranch.queries.student_mixture import discrete_columns

_DRAWS = 4096
_ROUNDS = 10
# of a column's values as many are tried, the most frequent
_MOST_LEVELS = 64
# nats from the best, and columns' spreads between two ends that are one
_SAME_HEIGHT = 1e-3
_SAME_PLACE = 0.02


@dataclass(frozen=True)
class Mode:
    """The highest point found.

    Attributes:
        x: (columns,), what was observed in its place.
        log_prob: log p there, of the columns that were not observed given those that were, nats, with its error.
        agreed: how many of the starts came to it.
        starts: how many there were.
    """

    x: Tensor
    log_prob: Estimate
    agreed: int
    starts: int


def mode(
    density: Density,
    given: Mapping[int, float] | None = None,
    *,
    columns: int | Iterable[int] | None = None,
    context: Tensor | ArrayLike | None = None,
    starts: int = 64,
    steps: int = 200,
    seed: int = 0,
    **sampling: Unpack[Sampling],
) -> Mode:
    r"""argmax p(x | given), as far as many starts find it.

    Of Gaussian mixtures the fixed-point iteration from every mean, which may miss a mode that lies between them, as
    only few mixtures have. Otherwise the best of many draws are the starts: continuous columns climb the gradient of log p,
    discrete ones are tried in turn, value by value, and the best is brought to its top by Newton's steps.

    A density's mode depends on its units: it is that of the density as given. Where values of a column have probabilities
    of their own beside a density (`Atoms`), log-probabilities and log-densities are compared as they are.

    Args:
        density: any density over vectors.
        given: what was observed, from numbers of columns to values.
        columns: the mode of the marginal of these, in this order; of all by default.
        context: (context features,), for a density that takes one.
        starts: how many, of draws.
        steps: of each climb.
        seed: of the draws.
        sampling: `proposals`, `chains` and `moves` of `conditional`.

    Raises:
        ValueError: as `conditional`; a column that was observed.

    Warns:
        QueryWarning: only one of several starts came to the mode, so there may be a higher one.

    Example:
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 1.0], [4.0, 2.0]], weights=[0.3, 0.7])
        >>> top = ab.queries.mode(mixture)
        >>> top.x.numpy().round(2), top.agreed, top.starts
        (array([4., 2.], dtype=float32), 1, 2)
    """
    features = check_density(density)
    starts, steps = positive_int("starts", starts), positive_int("steps", steps)
    observed, values = read_observed(given, density)
    target = conditional(density, given or {}, context, seed=seed, **sampling)
    free = others(observed, features)
    if columns is not None:
        free = read_columns(columns, features)
        both = [i for i in free if i in observed]
        if both:
            raise ValueError(f"columns: expected some that were not observed, got {both}")
        rest = others(observed, features)
        target = marginal(target, [rest.index(i) for i in free], proposals=sampling.get("proposals", 1024), seed=seed)
    peaks = target.peaks(None)
    if peaks is not None:
        top, agreed, tried = _of_peaks(target, *peaks)
    else:
        with drawing(seed):
            top, agreed, tried = _of_any(target, starts, steps)
    log_p = log_prob_at(target, top)
    if columns is not None:
        return Mode(top, log_p, agreed, tried)
    x = top.new_empty(features)
    x[free], x[observed] = top, values.to(top)
    return Mode(x, log_p, agreed, tried)


def _of_peaks(density: Density, ends: Tensor, unit: Tensor) -> tuple[Tensor, int, int]:
    """The highest of a density's own peaks, brought to its top."""
    like = reference_tensor(density)
    double = copy.deepcopy(density).double()
    with torch.no_grad():
        top = polish(double.log_prob, ends[double.log_prob(ends).argmax()], torch.ones_like(ends[0]), _all(ends))
        agreed = int(((top - ends).abs() <= _SAME_PLACE * unit).all(dim=-1).sum())
    return top if like is None else top.to(like), max(1, agreed), len(ends)


def _of_any(density: Density, starts: int, steps: int) -> tuple[Tensor, int, int]:
    with torch.no_grad(), warnings.catch_warnings():
        # estimates along the way need not be good; what is returned is told with its error
        warnings.simplefilter("ignore", QueryWarning)
        drawn = density.sample((_DRAWS if not isinstance(density, EstimatedSubset) else 1024,))
        # log p, or where that has integrals, what comes near to it
        height = density.relative_log_prob
        masses = density.point_masses(_MOST_LEVELS, drawn)
        hill = _Hill(height, _spread(drawn), _levels(masses, density, drawn), _atoms(masses))
        log_p = torch.cat([height(some) for some in drawn.split(1024)]).nan_to_num(nan=-torch.inf)
    # half of them the highest, which crowd on one hill, half of them wherever the mass is
    highest = log_p.argsort(descending=True)[: (starts + 1) // 2]
    x = torch.cat([drawn[highest], drawn[: starts - len(highest)]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QueryWarning)
        x = hill.up(x, steps)
        with torch.no_grad():
            reached = height(x).nan_to_num(nan=-torch.inf)
        # the best few, for rounding and kinks leave equal hills unequal
        tops = torch.stack([hill.to_the_top(x[i]) for i in reached.topk(min(3, len(x))).indices])
        with torch.no_grad():
            heights = height(tops).nan_to_num(nan=-torch.inf)
    top = tops[heights.argmax()]
    near = ((x - top).abs() <= 5 * _SAME_PLACE * hill.scale).all(dim=-1)
    agreed = int((near | (reached >= heights.max() - _SAME_HEIGHT)).sum())
    if agreed <= 1 < len(x):
        warnings.warn(
            f"mode: only one of {len(x)} starts came to it, so there may be a higher one; raise starts, or steps, now "
            f"{steps}",
            QueryWarning,
            stacklevel=3,
        )
    return top, max(1, agreed), len(x)


@dataclass(frozen=True)
class _Hill:
    """What is climbed: log p, the unit of a step in each column, and the single values to try in some.

    A column with levels has no others; one with atoms has others too, and a row that is at an atom stays there while the
    other columns climb.
    """

    log_prob: LogProb
    scale: Tensor
    levels: dict[int, Tensor]
    atoms: dict[int, Tensor]

    def up(self, x: Tensor, steps: int) -> Tensor:
        """Continuous columns by gradient, then every value of each of the others in turn, until none of these changes."""
        for _ in range(_ROUNDS):
            x = climb(self.log_prob, x, self.scale, self._moving(x), steps)
            before = x
            for column, values in (self.levels | self.atoms).items():
                x = try_levels(self.log_prob, x, column, values)
            if torch.equal(before, x):
                break
        return x

    def to_the_top(self, x: Tensor) -> Tensor:
        """One row, by Newton's steps."""
        free = self._moving(x.unsqueeze(0))[0].nonzero().squeeze(-1).tolist()
        return polish(self.log_prob, x, self.scale, free)

    def _moving(self, x: Tensor) -> Tensor:
        moving = torch.ones_like(x, dtype=torch.bool)
        moving[:, list(self.levels)] = False
        for column, values in self.atoms.items():
            moving[:, column] = ~torch.isin(x[:, column], values)
        return moving


def _levels(masses: list[PointMasses] | None, density: Density, drawn: Tensor) -> dict[int, Tensor]:
    """The values to try in each discrete column: all of them, if the density tells, or those drawn most often."""
    alone = None if masses is None else [i for i, one in enumerate(masses) if one.alone]
    columns = discrete_columns(density, drawn) if alone is None else alone
    found = {}
    for i in columns:
        told = None if masses is None else masses[i].values
        values, counts = drawn[:, i].unique(return_counts=True)
        found[i] = values[counts.argsort(descending=True)[:_MOST_LEVELS]] if told is None else told
    return found


def _atoms(masses: list[PointMasses] | None) -> dict[int, Tensor]:
    """The values that have a probability of their own in continuous columns."""
    return {i: one.values for i, one in enumerate(masses or []) if not one.alone and one.values is not None}


def _spread(x: Tensor) -> Tensor:
    """The width of the middle half of the draws in each column, or their deviation; never 0."""
    low, high = x.double().quantile(torch.tensor([0.25, 0.75], dtype=torch.float64, device=x.device), dim=0)
    spread = torch.where(high > low, high - low, x.double().std(dim=0)).to(x)
    return torch.where(spread > 0, spread, 1e-6 * (1 + x.abs().mean(dim=0)))


def _all(x: Tensor) -> list[int]:
    return list(range(x.shape[-1]))
