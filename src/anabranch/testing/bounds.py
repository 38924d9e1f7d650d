"""The conformance suite of densities of which a bound or an estimate is known."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.densities.contexts import context_batch
from anabranch.testing.expectations import expect, expect_close
from anabranch.testing.numbers import some_rows

_DRAWS = 400


def check_bound(density: Density, context: Tensor | None = None, truth: Density | None = None) -> None:
    """What is exact is refused, in words that name what is there; shapes; the bound lies below; the estimate is right.

    Args:
        density: one whose `likelihood` is "bound" or "estimate", in evaluation mode.
        context: (rows, c), if it takes one.
        truth: the same density, known exactly.

    Raises:
        AssertionError: it does not conform; one line says where.
    """
    x = some_rows(density, context)
    _check_refusals(density, x, context)
    _check_shapes(density, x, context)
    _check_draws(density, x, context)
    _check_numbers(density, x, context, truth)


def _check_refusals(density: Density, x: Tensor, context: Tensor | None) -> None:
    view = density.distribution(context)
    refused: dict[str, Callable[[], object]] = {
        "log_prob": lambda: density.log_prob(x, context),
        "the view's log_prob": lambda: view.log_prob(x),
        "sample_and_log_prob": lambda: density.sample_and_log_prob((), context),
    }
    for what, call in refused.items():
        try:
            call()
        except ValueError as error:
            named = all(word in str(error) for word in ("expected", "got", "lower_bound", "estimate"))
            expect(named, density, f"{what}: expected a ValueError that names lower_bound and estimate, got: {error}")
        else:
            expect(False, density, f"{what}: expected a ValueError, since nothing exact is known, got a number")


def _check_shapes(density: Density, x: Tensor, context: Tensor | None) -> None:
    batch = x.shape[: x.dim() - len(density.event_shape)]
    first = None if context is None else context[0]
    none = None if context is None else context[:0]
    wanted: dict[str, tuple[Any, Any, torch.Size]] = {
        "a batch": (x, context, batch),
        "one event": (x[0], first, torch.Size()),
        "no event": (x[:0], none, torch.Size([0])),
        "a batch of batches": (x.expand(2, *x.shape), context, torch.Size([2]) + batch),
        "an array": (x.numpy(), None if context is None else context.numpy(), batch),
    }
    if context is not None:
        wanted["one event at all contexts"] = (x[0], context, context_batch(density, context))
        again = context.expand(2, *context.shape)
        wanted["a batch, contexts that repeat"] = (x, again, context_batch(density, again))
    for what, (value, given, shape) in wanted.items():
        numbers = {"lower_bound": density.lower_bound(value, given, generator=0), "loss": density.loss(value, given)}
        numbers["estimate"], numbers["its error"] = density.estimate(value, given, samples=3, generator=0)
        for name, got in numbers.items():
            expect(got.shape == shape, density, f"{name} of {what}: expected {tuple(shape)}, got {tuple(got.shape)}")
            expect(bool(got.isfinite().all()), density, f"{name} of {what}: expected finite numbers, got others")
    double = copy.deepcopy(density).double().lower_bound(x.double(), None if context is None else context.double())
    expect(
        double.dtype == torch.float64, density, f"lower_bound in float64: expected torch.float64, got {double.dtype}"
    )


def _check_draws(density: Density, x: Tensor, context: Tensor | None) -> None:
    """Draws are those of the generator."""
    one, same = (density.lower_bound(x, context, generator=1) for _ in range(2))
    expect(torch.equal(one, same), density, "lower_bound: expected the same numbers of the same seed, got others")
    pairs = [density.estimate(x, context, samples=3, generator=1) for _ in range(2)]
    for one, same in zip(*pairs, strict=True):
        expect(torch.equal(one, same), density, "estimate: expected the same numbers of the same seed, got others")
    generator = torch.Generator().manual_seed(1)
    first, more = (density.lower_bound(x, context, generator=generator) for _ in range(2))
    expect_close(first, density.lower_bound(x, context, generator=1), density, "lower_bound of a seed's generator", 0.0)
    random = not torch.equal(first, density.lower_bound(x, context, generator=2))
    expect(
        not random or not torch.equal(first, more), density, "lower_bound: expected a generator to go on, it did not"
    )


def _check_numbers(density: Density, x: Tensor, context: Tensor | None, truth: Density | None) -> None:
    with torch.no_grad():
        drawn = density.lower_bound(x.expand(_DRAWS, *x.shape), context)
        mean, error = drawn.mean(dim=0), drawn.std(dim=0) / _DRAWS**0.5
        coarse, fine = (density.estimate(x, context, samples=n) for n in (50 * _DRAWS // 10, 50 * _DRAWS))
        known = fine[0] if truth is None else truth.log_prob(x, context)
    # an estimate lies below the truth in the mean by about half its squared error
    slack = 0.0 if truth is not None else 5 * fine[1] + fine[1].square()
    above = float((mean - known - 5 * error - slack).max())
    expect(above <= 1e-4, density, f"lower_bound: expected it below log p(x) in the mean, got {above:g} above")
    if density.likelihood == "estimate":
        below = float((known - mean - 5 * error - slack).max())
        expect(below <= 1e-4, density, f"lower_bound: expected a mean of log p(x) of an estimate, got {below:g} below")
    if truth is not None:
        for value, told in (coarse, fine):
            off = float(((value - known).abs() - 5 * told - told.square()).max())
            expect(off <= 1e-4, density, f"estimate: expected log p(x) within 5 standard errors, got {off:g} more")
    varies = coarse[1] > 1e-3
    narrower = bool((fine[1][varies] < coarse[1][varies]).all())
    expect(narrower, density, "estimate: expected a smaller error of ten times the samples, got a larger one")
    other = density.estimate(x, context, samples=50 * _DRAWS, generator=1)
    for (one, told), (two, said) in itertools.pairwise((fine, other)):
        off = float(((one - two).abs() - 6 * (told.square() + said.square()).sqrt()).max())
        expect(off <= 1e-4, density, f"estimate: expected two within 6 standard errors of each other, got {off:g} more")
