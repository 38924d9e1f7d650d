"""The conformance suite of the Density and Mixture contracts."""

from __future__ import annotations

import copy
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anabranch.checks import instance_of, reference_tensor
from anabranch.densities import Density, Mixture
from anabranch.densities.contexts import context_batch
from anabranch.draws import drawing
from anabranch.storage import load, save
from anabranch.testing.bounds import check_bound
from anabranch.testing.closed_forms import check_closed_forms
from anabranch.testing.expectations import checking, expect, expect_close, expect_fullgraph, expecting_value_error
from anabranch.testing.mixtures import check_mixture
from anabranch.testing.normalisation import check_normalised, check_samples
from anabranch.testing.numbers import (
    check_same_numbers,
    guesses,
    scored,
    solver_error,
    some_rows,
    steps_by_values,
)


def check_density(
    density: Density,
    context: Tensor | None = None,
    *,
    savable: bool = True,
    compiles: bool = True,
    draws: int = 10_000,
    truth: Density | None = None,
) -> None:
    """Put a density through the contract; a mixture through that of mixtures too.

    Shapes for any batch; that it integrates (or sums) to one; that samples come with their own log-density and, by their
    share in regions, from the density; the support; what it says in closed form; loss, gradients, NaN, the
    `torch.distributions` view; ValueError for what does not fit; `torch.compile(fullgraph=True)`; copies and files that give
    equal numbers; draws that are the generator's, from several threads too, and leave the global generators alone. Of a
    density of which a bound is known, that it lies below log p(x), that the estimate is right, and that log_prob is refused.
    Draws are seeded. With a transform that solves an equation by steps, rows may move each other by the error that its
    solver says (`Transform.error`); such a density, and one of estimated log-determinants, is not compiled.

    Args:
        density: the density, in float32, with weights away from their start (`randomize`).
        context: (rows, c), if it takes one.
        savable: False for one that holds parts which no file can describe.
        compiles: False for one whose parts are not ours and do not compile.
        draws: how many samples the statistical checks take.
        truth: the same density, known exactly, to compare bounds with.

    Raises:
        AssertionError: it does not conform; one line says where.
        ValueError: no density.

    Example:
        >>> import torch
        >>> from anabranch.densities import Normal
        >>> from anabranch.testing import check_density
        >>> check_density(Normal([0.0, 1.0], scale=2.0))
    """
    instance_of("density", density, Density)
    with drawing(0), _evaluating(density):
        checks: dict[str, Callable[[], object]] = {
            "samples": lambda: check_sample_shapes(density, context),
            scored(density)[0]: lambda: (
                check_log_prob_shapes(density, context)
                if density.likelihood == "exact"
                else check_bound(density, context, truth)
            ),
            "total probability": lambda: check_normalised(density, context, draws),
            "samples against log_prob": lambda: check_samples(density, context, draws),
            "support": lambda: check_support(density, context),
            "closed forms": lambda: check_closed_forms(density, context, draws),
            "gradients": lambda: check_gradients(density, context),
            "NaN": lambda: check_nan_rows(density, context),
            "distribution()": lambda: check_view(density, context),
            "a deep copy": lambda: check_same_numbers(density, copy.deepcopy(density), context, "a deep copy"),
        }
        for what, check in checks.items():
            with checking(density, what):
                check()
        check_door(density, context)
        with checking(density, "whole numbers"):
            check_whole_numbers(density, context)
        if isinstance(density, Mixture):
            check_mixture(density, context)
        if savable:
            with checking(density, "save and load"), tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "density.safetensors"
                save(density, path)
                check_same_numbers(density, load(path).eval(), context, "what a file gives back")
        x = some_rows(density, context)
    with _evaluating(density):
        if compiles and not steps_by_values(density):
            check_compiles(density, context)
        with checking(density, "draws"):
            check_draws(density, x, context)


def check_compiles(density: Density, context: Tensor | None = None) -> None:
    """`torch.compile(fullgraph=True)` takes log_prob, or the lower bound where only that is known."""
    with drawing(0):
        x = some_rows(density, context)
    with _evaluating(density):  # outside the block, which what is compiled need not see
        expect_fullgraph(getattr(density, scored(density)[0]), (x, context), density)


@contextmanager
def _evaluating(density: Density) -> Iterator[None]:
    """In evaluation mode: in training mode a loss may be a random estimate."""
    was_training = density.training
    density.eval()
    try:
        yield
    finally:
        density.train(was_training)


def check_sample_shapes(density: Density, context: Tensor | None = None) -> None:
    """sample, rsample and sample_and_log_prob: shapes, dtypes, gradients, and that the parts of the last belong together."""
    batch = context_batch(density, context)
    reference = reference_tensor(density)
    dtype = torch.get_default_dtype() if reference is None else reference.dtype
    for shape in ((), (3,), (2, 3), (0,)):
        x = density.sample(shape, context)
        wanted = torch.Size(shape) + batch + density.event_shape
        expect(x.shape == wanted, density, f"sample({shape}): expected shape {tuple(wanted)}, got {tuple(x.shape)}")
        expect(x.dtype == dtype, density, f"sample: expected {dtype}, got {x.dtype}")
        expect(not x.requires_grad, density, f"sample({shape}): expected no gradients to be recorded, got some")
        if density.likelihood != "exact":
            continue
        both, log_p = density.sample_and_log_prob(shape, context)
        expect(both.shape == wanted, density, f"sample_and_log_prob: expected {tuple(wanted)}, got {tuple(both.shape)}")
        expect_close(log_p, density.log_prob(both.detach(), context), density, "sample_and_log_prob", 1e-3)
    if reference is not None:
        with checking(density, "sample in float64"):
            x = copy.deepcopy(density).double().sample((2,), None if context is None else context.double())
        expect(x.dtype == torch.float64, density, f"sample in float64: expected torch.float64, got {x.dtype}")
    if not density.reparameterized:
        with expecting_value_error(density, "rsample"):
            density.rsample((), context)
        return
    x = density.rsample((2,), context)
    wanted = torch.Size([2]) + batch + density.event_shape
    expect(x.shape == wanted, density, f"rsample: expected shape {tuple(wanted)}, got {tuple(x.shape)}")
    parameters = [p for p in density.parameters() if p.requires_grad and p.numel()]
    if not parameters:
        return
    expect(x.requires_grad, density, "rsample: expected samples that are differentiable, got ones that are not")
    gradients = torch.autograd.grad(x.sum(), parameters, allow_unused=True, materialize_grads=True)
    expect(all(bool(g.isfinite().all()) for g in gradients), density, "rsample: expected finite gradients, got others")
    expect(any(bool(g.any()) for g in gradients), density, "rsample: expected some gradient, got zeros only")


def check_draws(density: Density, x: Tensor, context: Tensor | None = None) -> None:
    """Draws are those of the generator given, in every thread, and no global generator is read or set."""
    before = _global_states()

    def drawn(seed: int) -> Tensor:
        return density.sample((64,), context, generator=torch.Generator().manual_seed(seed))

    alone = [drawn(seed) for seed in range(4)]
    expect(
        _same(alone[0], density.sample((64,), context, generator=0)), density, "sample: a seed and its generator differ"
    )
    expect(not torch.equal(alone[0], alone[1]), density, "sample: expected other draws of another seed, got the same")
    generator = torch.Generator().manual_seed(0)
    first, more = (density.sample((64,), context, generator=generator) for _ in range(2))
    expect(_same(first, alone[0]), density, "sample: expected the same draws of the same seed, got others")
    expect(not torch.equal(first, more), density, "sample: expected a generator to go on, got the same draws again")
    if density.likelihood == "exact":
        pairs = [density.sample_and_log_prob((3,), context, generator=5) for _ in range(2)]
        for one, other in zip(*pairs, strict=True):
            expect(_same(one, other), density, "sample_and_log_prob: expected the same of the same seed, got others")
    if density.reparameterized:
        one, other = (density.rsample((3,), context, generator=5) for _ in range(2))
        expect(_same(one, other), density, "rsample: expected the same draws of the same seed, got others")
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(drawn, range(4)))
    for one, other in zip(alone, together, strict=True):
        expect(_same(one, other), density, "sample: expected the same draws of a seed from a thread, got others")
    with torch.no_grad():
        scored(density)[1](x, context)
        if density.likelihood == "exact":
            losses = [density.loss(x, context) for _ in range(2)]
            expect(
                _same(*losses), density, "loss: expected the same numbers in evaluation mode at each call, got others"
            )
    expect(
        before == _global_states(), density, "generator: expected the global ones to be left alone, got other states"
    )


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.detach().nan_to_num(), other.detach().nan_to_num())


def _global_states() -> list[bytes]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    state = [value.numpy().tobytes() for value in (torch.get_rng_state(), *cuda)]
    return [*state, repr(np.random.get_state()).encode(), repr(random.getstate()).encode()]


def check_log_prob_shapes(density: Density, context: Tensor | None = None) -> None:
    """log_prob of a batch, one event, no event, a deeper batch, in float32 and float64; arrays are read."""
    x = some_rows(density, context)
    batch = x.shape[: x.dim() - len(density.event_shape)]
    log_p = density.log_prob(x, context)
    limit = max(1e-4, solver_error(density))
    expect(log_p.shape == batch, density, f"log_prob: expected shape {tuple(batch)}, got {tuple(log_p.shape)}")
    expect(bool(torch.isfinite(log_p).all()), density, "log_prob of samples: expected finite numbers, got others")
    first = None if context is None else context[0]
    expect_close(density.log_prob(x[0], first), log_p[0], density, "log_prob of one event", limit)
    deep = density.log_prob(x.expand(2, *x.shape), context)
    expect_close(deep, log_p.expand(2, *log_p.shape), density, "log_prob of a batch of batches", limit)
    none = density.log_prob(x[:0], None if context is None else context[:0])
    expect(none.shape == (0,), density, f"log_prob of no event: expected shape (0,), got {tuple(none.shape)}")
    if context is not None:
        shared = density.log_prob(x, context[0])
        expect_close(shared[0], log_p[0], density, "log_prob with one context for all", limit)
        again = density.log_prob(x, context.expand(2, *context.shape))
        expect_close(again, log_p.expand(2, *log_p.shape), density, "log_prob at contexts that repeat", limit)
        for rows in (context, context[:2], context[:1].expand(3, *context.shape[1:])):
            wanted = torch.stack([density.log_prob(x[0], row) for row in rows])
            for name, score, sign in (("log_prob", density.log_prob, 1), ("loss", density.loss, -1)):
                if name == "loss" and guesses(density):
                    continue
                many = sign * score(x[0], rows)
                expect_close(many, wanted, density, f"{name} of one event at {len(rows)} contexts", limit)
    array_context = None if context is None else context.numpy()
    in_order = density.log_prob(
        x.contiguous(), context
    )  # as arrays are read: products of other strides differ in a digit
    expect_close(density.log_prob(x.numpy(), array_context), in_order, density, "log_prob of an array", 0.0)
    exact = copy.deepcopy(density).double()
    double = exact.log_prob(x.double(), None if context is None else context.double())
    sampled = exact.sample((), None if context is None else context.double())
    # samples of a density without any tensor of its own have the default dtype
    kept = {"log_prob": double.dtype} | ({} if reference_tensor(density) is None else {"sample": sampled.dtype})
    for what, got in kept.items():
        expect(got == torch.float64, density, f"{what} in float64: expected torch.float64, got {got}")
    expect_close(log_p, double, density, "log_prob in float32 against float64", 1e-3)
    bound = density.lower_bound(x, context)
    expect_close(density.loss(x, context), -bound, density, "loss against -lower_bound", 1e-5)
    if guesses(density):
        above = float((bound - log_p).max().detach())
        expect(above <= 1e-4, density, f"lower_bound: expected it at or below log_prob, got {above:g} above")
    else:
        expect_close(bound, log_p, density, "lower_bound against log_prob", 1e-5)
    value, error = density.estimate(x, context)
    expect(
        error.shape == value.shape, density, f"estimate: expected errors {tuple(value.shape)}, got {tuple(error.shape)}"
    )
    expect_close(value, log_p, density, "estimate against log_prob", 1e-5)


def check_support(density: Density, context: Tensor | None = None) -> None:
    """Samples lie in the support; log_prob is -inf outside it, and neither NaN nor +inf inside."""
    x = some_rows(density, context)
    batch = x.shape[: x.dim() - len(density.event_shape)]
    name, score = scored(density)
    inside = density.support.check(x)
    expect(inside.shape == batch, density, f"support.check: expected shape {tuple(batch)}, got {tuple(inside.shape)}")
    expect(bool(inside.all()), density, "support: expected all samples within it, got some outside")
    for shift in (0.5, -0.5, 100.0, -100.0):
        moved = x + shift
        inside, log_p = density.support.check(moved), score(moved, context)
        outside = log_p[~inside]
        nothing = bool(outside.isneginf().all())
        expect(nothing, density, f"{name} outside the support: expected -inf, got {outside[:3]}")
        unclear = log_p[inside & (log_p.isnan() | log_p.isposinf())]
        expect(not unclear.numel(), density, f"{name} inside the support: expected numbers, got {unclear[:3]}")


def check_gradients(density: Density, context: Tensor | None = None) -> None:
    """Gradients of log_prob and of the loss by the parameters are there and finite."""
    parameters = [p for p in density.parameters() if p.requires_grad and p.numel()]
    if not parameters:
        return
    x = some_rows(density, context)
    for name, score in (scored(density), ("loss", density.loss)):
        mean = score(x, context).mean()
        expect(mean.requires_grad, density, f"{name}: expected it to depend on some parameter, got none")
        gradients = torch.autograd.grad(mean, parameters, allow_unused=True, materialize_grads=True)
        finite = all(bool(g.isfinite().all()) for g in gradients)
        expect(finite, density, f"{name}: expected finite gradients, got others")


def check_nan_rows(density: Density, context: Tensor | None = None) -> None:
    """A NaN anywhere in x gives NaN for its row, or where it means a gap a number, and no other row moves."""
    x = some_rows(density, context)
    name, score = scored(density)
    wanted = score(x, context)
    rest, limit = [i for i in range(len(x)) if i != 1], max(1e-6, solver_error(density))
    for place in range(density.event_shape.numel()):
        broken = x.flatten(1).clone()
        broken[1, place] = torch.nan
        got = score(broken.reshape(x.shape), context)
        value = float(got[1].detach())
        right, what = (math.isfinite(value), "a number") if density.gaps else (math.isnan(value), "NaN")
        expect(right, density, f"a NaN at place {place} of x: expected a {name} of {what}, got {value}")
        expect_close(got[rest], wanted[rest], density, "rows beside one with NaN", limit)


def check_whole_numbers(density: Density, context: Tensor | None = None) -> None:
    """A density of whole numbers gives the same for them in a whole dtype, as a tensor and as an array."""
    if density.event_dtype != "whole":
        return
    x = some_rows(density, context)
    for name, score in (scored(density), ("loss", partial(_of_one_seed, density.loss))):
        wanted = score(x, context)
        for dtype in (torch.uint8, torch.int64):
            expect_close(score(x.to(dtype), context), wanted, density, f"{name} of x in {dtype}", 0.0)
        expect_close(score(x.to(torch.uint8).cpu().numpy(), context), wanted, density, f"{name} of an array", 0.0)


def _of_one_seed(ask: Callable[..., Tensor], x: Tensor, context: Tensor | None) -> Tensor:
    """The answer by the same draws at each call."""
    with drawing(0):
        return ask(x, context)


def check_view(density: Density, context: Tensor | None = None) -> None:
    """The `torch.distributions` view has the density's shapes and numbers."""
    view = density.distribution(context)
    batch = context_batch(density, context)
    kind = type(view).__name__
    expect(isinstance(view, torch.distributions.Distribution), density, f"expected a Distribution, got a {kind}")
    shapes, wanted = (view.batch_shape, view.event_shape), (batch, density.event_shape)
    expect(shapes == wanted, density, f"the view: expected batch and event shapes {wanted}, got {shapes}")
    x = view.sample(torch.Size([3]))
    size = torch.Size([3]) + batch + density.event_shape
    expect(x.shape == size, density, f"the view's samples: expected shape {tuple(size)}, got {tuple(x.shape)}")
    if density.likelihood == "exact":
        expect_close(view.log_prob(x), density.log_prob(x, context), density, "the view's log_prob", 0.0)
    flags = (view.has_rsample, density.reparameterized)
    expect(flags[0] == flags[1], density, f"the view's has_rsample: expected {flags[1]}, got {flags[0]}")


def check_door(density: Density, context: Tensor | None = None) -> None:
    """ValueError, with what was expected and what it got, for wrong shapes, dtypes and contexts."""
    x, (_, score) = some_rows(density, context), scored(density)
    with expecting_value_error(density, "x of another shape"):
        score(torch.cat([x, x[..., :1]], dim=-1), context)
    if reference_tensor(density) is not None:
        with expecting_value_error(density, "x of another dtype"):
            score(x.double(), context)
    with expecting_value_error(density, "text for x"):
        score("text", context)
    with expecting_value_error(density, "a negative sample shape"):
        density.sample((-1,), context)
    if context is None:
        for refuse in (score, density.loss):
            with expecting_value_error(density, "a context for a density that takes none"):
                refuse(x, x)
        with expecting_value_error(density, "sampling with a context from a density that takes none"):
            density.sample((), x)
        return
    with expecting_value_error(density, "no context"):
        score(x)
    with expecting_value_error(density, "sampling without a context"):
        density.sample()
    if reference_tensor(density) is not None:
        with expecting_value_error(density, "a context of another dtype"):
            score(x, context.double())
    with expecting_value_error(density, "a context of another shape"):
        score(x, torch.cat([context, context[..., :1]], dim=-1))
    with expecting_value_error(density, "contexts of another number than x"):
        score(x, torch.cat([context, context[:1]]))
