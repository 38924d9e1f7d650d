"""Means of functions of a row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Unpack

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import one_of
from anabranch.densities import Density, Moments, at_context
from anabranch.densities.reordered import given as given_columns
from anabranch.densities.tails import HEAVY
from anabranch.draws import drawing
from anabranch.queries.columns import check_density, others, read_columns, read_observed
from anabranch.queries.conditional import conditional
from anabranch.queries.estimate import Estimate, QueryWarning
from anabranch.queries.inquiry import Inquiry
from anabranch.queries.monte_carlo import mean_of, monte_carlo
from anabranch.queries.provenance import Provenance
from anabranch.queries.region import Values, single_values
from anabranch.queries.sampling import Sampling

_MOMENTS = ("mean", "variance", "covariance")


def expectation(
    density: Density,
    f: Callable[[Tensor], Tensor] | str,
    given: Mapping[int, float] | None = None,
    *,
    columns: int | Iterable[int] | None = None,
    context: Tensor | ArrayLike | None = None,
    tolerance: float | None = None,
    samples: int = 10_000,
    most: int = 1_000_000,
    seed: int | None = None,
    **sampling: Unpack[Sampling],
) -> Estimate:
    r"""E[f(x) | given] = \int f(x) p(x | given) dx, with its standard error.

    Moments that have a closed form are exact: those of Gaussians and their mixtures, of closed forms, products and
    mixtures of them. Everything else is a mean over draws: of an `AnyOrder` over weighted rows of its joint (`Inquiry`), of
    others over `conditional`'s chains if something was observed and the conditional has no closed form. The tail of what is
    averaged is looked at: `Estimate.heavy` says that the mean cannot be told from draws.

    Args:
        density: any density over vectors.
        f: takes rows (n, D), all columns in their order with what was observed in its place, and gives (n, ...); or one of
            "mean", "variance" and "covariance", of columns.
        given: what was observed, from numbers of columns to values.
        columns: of which columns f gets the values, or the moments are; all by default.
        context: (context features,), for a density that takes one.
        tolerance: go on drawing until the standard error (each, if there are several) is at most this.
        samples: draws to begin with, and all if no tolerance is asked for.
        most: draws at most.
        seed: of the draws; by default torch's global generator goes on.
        sampling: `proposals`, `chains` and `moves` of `conditional`.

    Returns:
        an `Estimate` in float64, of the shape of f of one row.

    Raises:
        ValueError: as `conditional`; an f that gives other than finite numbers, one or several for each row.

    Warns:
        QueryWarning: too few effective samples, or a tolerance that was not met; draws of f with so heavy a tail (Pareto k
            above 0.7) that the mean cannot be told from them.

    Example:
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 1.0], [4.0, 2.0]])
        >>> print(ab.queries.expectation(mixture, "mean", given={0: 4.0}))
        [4, 1.99966] (exact)
        >>> energy = ab.queries.expectation(mixture, lambda x: x.square().sum(-1), seed=0, tolerance=0.05)
        >>> abs(float(energy.value) - 12.5) < 0.2, float(energy.standard_error) <= 0.05
        (True, True)
    """
    found = expected(
        density,
        f,
        given,
        columns=columns,
        context=context,
        tolerance=tolerance,
        samples=samples,
        most=most,
        seed=seed,
        **sampling,
    )
    if found.heavy and found.pareto_k is not None:
        warnings.warn(
            f"expectation: the largest of the draws decide it (Pareto k {float(found.pareto_k.max()):.2f}, above {HEAVY}), "
            "so it cannot be told from draws, nor can its error, and it may not exist; ask for quantiles, or for the mean "
            "of values cut at a bound",
            QueryWarning,
            stacklevel=2,
        )
    return found


def expected(
    density: Density,
    f: Callable[[Tensor], Tensor] | str,
    given: Mapping[int, float] | None = None,
    *,
    columns: int | Iterable[int] | None = None,
    context: Tensor | ArrayLike | None = None,
    tolerance: float | None = None,
    samples: int = 10_000,
    most: int = 1_000_000,
    seed: int | None = None,
    **sampling: Unpack[Sampling],
) -> Estimate:
    """`expectation`, which does not warn of heavy tails: `Estimate.heavy` says so."""
    features = check_density(density)
    wanted = list(range(features)) if columns is None else read_columns(columns, features)
    if isinstance(f, str):
        one_of("f", f, _MOMENTS)
    observed, values = read_observed(given, density)
    fixed = at_context(density, context)
    if Inquiry.takes(fixed):
        inquiry = Inquiry(fixed, samples, seed, tolerance, most)
        return _of_inquiry(inquiry, f, wanted, single_values(given))
    remaining = conditional(density, given or {}, context, **sampling)
    rest = others(observed, features)
    if isinstance(f, str):
        exact = _closed(remaining, f, wanted, rest, observed, values)
        if exact is not None:
            return exact

    def rows(drawn: Tensor) -> Tensor:
        full = drawn.new_empty(*drawn.shape[:-1], features)
        full[..., rest] = drawn
        full[..., observed] = values.to(drawn)
        return full[..., wanted]

    def statistic(drawn: Tensor, provenance: Provenance | None) -> Estimate:
        return _statistic(f, rows(drawn), provenance)

    with drawing(seed):
        return monte_carlo("expectation", remaining, statistic, samples, tolerance, most)


def _of_inquiry(
    inquiry: Inquiry, f: Callable[[Tensor], Tensor] | str, wanted: list[int], given: dict[int, Values]
) -> Estimate:
    if not isinstance(f, str):
        return inquiry.mean(lambda x: _of_function(f, x[:, wanted]), wanted, given)
    mean = inquiry.mean(lambda x: x[:, wanted], wanted, given)
    if f == "mean":
        return mean

    def squares(x: Tensor) -> Tensor:
        d = x[:, wanted].double() - mean.value
        return d.square() if f == "variance" else d.unsqueeze(-1) * d.unsqueeze(-2)

    return inquiry.mean(squares, wanted, given)


def _statistic(f: Callable[[Tensor], Tensor] | str, x: Tensor, provenance: Provenance | None) -> Estimate:
    length, chains = x.shape[:2]
    if isinstance(f, str):
        x = x.double()
        if f == "mean":
            return mean_of(x, judged=True, provenance=provenance)
        # about the mean of all draws
        d = x - x.mean(dim=(0, 1))
        return mean_of(
            d.square() if f == "variance" else d.unsqueeze(-1) * d.unsqueeze(-2), judged=True, provenance=provenance
        )
    y = _of_function(f, x.reshape(length * chains, x.shape[-1]))
    return mean_of(y.reshape(length, chains, *y.shape[1:]), judged=True, provenance=provenance)


def _of_function(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f of rows (n, columns): finite numbers (n, ...)."""
    with torch.no_grad():
        y = f(x)
    if not isinstance(y, Tensor) or y.dim() == 0 or len(y) != len(x):
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"f: expected a tensor with one number or more for each of {len(x)} rows, got {got}")
    if not bool(y.isfinite().all()):
        bad = int((~y.isfinite()).reshape(len(y), -1).any(dim=-1).sum())
        raise ValueError(f"f: expected finite numbers, got NaN or infinity at {bad} of {len(y)} rows")
    return y


def _closed(
    remaining: Density, f: str, wanted: list[int], rest: list[int], observed: list[int], values: Tensor
) -> Estimate | None:
    """Moments of the columns wanted, of which those observed are constants."""
    free = [i for i in wanted if i in rest]
    mean = values.new_zeros(len(wanted)).double()
    covariance = mean.new_zeros(len(wanted), len(wanted))
    for i in set(wanted) - set(free):
        mean[wanted.index(i)] = values[observed.index(i)].double()
    places = [wanted.index(i) for i in free]
    if free:
        moments = _of_columns(remaining, [rest.index(i) for i in free], f == "mean")
        if moments is None:
            return None
        mean[places] = moments[0].to(mean)
        if moments[1] is not None:
            covariance[torch.tensor(places).unsqueeze(-1), torch.tensor(places)] = moments[1].to(mean)
        elif f != "mean":
            return None
    if f == "covariance":
        return Estimate.closed(covariance)
    return Estimate.closed(mean if f == "mean" else torch.diagonal(covariance))


def _of_columns(density: Density, columns: list[int], only_mean: bool) -> Moments | None:
    found = _moments(density, columns)
    if found is not None or not only_mean:
        return found
    each = [_moments(density, [column]) for column in columns]
    known = [one.mean for one in each if one is not None]
    return Moments(torch.cat(known), None) if len(known) == len(each) else None


def _moments(density: Density, columns: list[int]) -> Moments | None:
    marginal = given_columns(density, columns)
    return None if marginal is None else marginal.moments()
