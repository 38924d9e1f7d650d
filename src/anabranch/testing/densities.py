"""The conformance suite of the Density and Mixture contracts."""

from __future__ import annotations

import copy
import itertools
import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import constraints

from anabranch.densities import Density, Mixture
from anabranch.storage import load, save
from anabranch.testing.expectations import expect, expect_close, expect_fullgraph, expecting_value_error


def check_density(
    density: Density, context: Tensor | None = None, *, savable: bool = True, compiles: bool = True, draws: int = 4000
) -> None:
    """Put a density through the contract; a mixture through that of mixtures too.

    Shapes for any batch; that it integrates (or sums) to one; that samples come with their own log-density and, by their
    share in regions, from the density; loss, gradients, NaN, the `torch.distributions` view; ValueError for what does not
    fit; `torch.compile(fullgraph=True)`; copies and files that give equal numbers. Draws are seeded.

    Args:
        density: the density, in float32, with weights away from their start (`randomize`).
        context: (rows, c), if it takes one.
        savable: False for one that holds parts which no file can describe.
        compiles: False for one whose parts are not ours and do not compile.
        draws: how many samples the statistical checks take.

    Raises:
        AssertionError: it does not conform; one line says where.

    Example:
        >>> import torch
        >>> from anabranch.densities import Normal
        >>> from anabranch.testing import check_density
        >>> check_density(Normal([0.0, 1.0], scale=2.0))
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        check_sample_shapes(density, context)
        check_log_prob_shapes(density, context)
        check_normalised(density, context, draws)
        check_samples(density, context, draws)
        check_gradients(density, context)
        check_nan_rows(density, context)
        check_view(density, context)
        check_door(density, context)
        if isinstance(density, Mixture):
            check_mixture(density, context)
        x = _some(density, context)
        expect_close(
            copy.deepcopy(density).log_prob(x, context), density.log_prob(x, context), density, "a deep copy", 0.0
        )
        if savable:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "density.safetensors"
                save(density, path)
                again = load(path).log_prob(x, context)
                expect_close(again, density.log_prob(x, context), density, "what a file gives back", 0.0)
        if compiles:
            expect_fullgraph(density.log_prob, (x, context), density)


def check_sample_shapes(density: Density, context: Tensor | None = None) -> None:
    """sample, rsample and sample_and_log_prob: shapes, dtypes, and that the two parts of the last belong together."""
    batch = torch.Size() if context is None else context.shape[:-1]
    reference = next(itertools.chain(density.parameters(), density.buffers()))
    for shape in ((), (3,), (2, 3), (0,)):
        x = density.sample(shape, context)
        wanted = torch.Size(shape) + batch + density.event_shape
        expect(x.shape == wanted, density, f"sample({shape}): expected shape {tuple(wanted)}, got {tuple(x.shape)}")
        expect(x.dtype == reference.dtype, density, f"sample: expected {reference.dtype}, got {x.dtype}")
        expect(not x.requires_grad, density, "sample records gradients")
        both, log_p = density.sample_and_log_prob(shape, context)
        expect(both.shape == wanted, density, f"sample_and_log_prob: got shape {tuple(both.shape)}")
        expect_close(log_p, density.log_prob(both.detach(), context), density, "sample_and_log_prob", 1e-3)
    if not density.reparameterized:
        with expecting_value_error(density, "rsample"):
            density.rsample((), context)
    elif any(p.requires_grad for p in density.parameters()):
        expect(density.rsample((2,), context).requires_grad, density, "rsample is not differentiable")


def check_log_prob_shapes(density: Density, context: Tensor | None = None) -> None:
    """log_prob of a batch, one event, no event, a deeper batch, in float32 and float64; arrays are read."""
    x = _some(density, context)
    batch = x.shape[: x.dim() - len(density.event_shape)]
    log_p = density.log_prob(x, context)
    expect(log_p.shape == batch, density, f"log_prob: expected shape {tuple(batch)}, got {tuple(log_p.shape)}")
    expect(bool(torch.isfinite(log_p).all()), density, "log_prob of a sample is not finite")
    first = None if context is None else context[0]
    expect_close(density.log_prob(x[0], first), log_p[0], density, "log_prob of one event", 1e-4)
    deep = density.log_prob(x.expand(2, *x.shape), context)
    expect_close(deep, log_p.expand(2, *log_p.shape), density, "log_prob of a batch of batches", 1e-4)
    none = density.log_prob(x[:0], None if context is None else context[:0])
    expect(none.numel() == 0, density, "log_prob of no event gave numbers")
    array_context = None if context is None else context.numpy()
    expect_close(density.log_prob(x.numpy(), array_context), log_p, density, "log_prob of an array", 0.0)
    exact = copy.deepcopy(density).double()
    double = exact.log_prob(x.double(), None if context is None else context.double())
    expect(double.dtype == torch.float64, density, f"log_prob of float64: got {double.dtype}")
    expect_close(log_p, double, density, "log_prob in float32 against float64", 1e-3)
    if density.bound == "exact":
        expect_close(density.loss(x, context), -log_p, density, "loss against -log_prob", 1e-5)


def check_normalised(
    density: Density, context: Tensor | None = None, draws: int = 4000, tolerance: float = 1e-3
) -> float:
    """The total probability is one: by enumeration, on a grid (1-D, 2-D), or by importance sampling within its error.

    Returns:
        the total that was found.
    """
    exact = copy.deepcopy(density).double()
    given = None if context is None else context[0].double()
    with torch.no_grad():
        sample = exact.sample((draws,), given)
        if density.support.is_discrete and _all_discrete(sample):
            total, error = _enumerated(exact, given, sample), 0.0
        elif density.event_shape.numel() <= 2 and density.support is constraints.real_vector:
            total, error = _on_a_grid(exact, given, sample), 0.0
        else:
            total, error = _by_importance(exact, given, sample, draws)
    expect(
        abs(total - 1) <= max(tolerance, 5 * error) and error < 0.2,
        density,
        f"expected a total probability of 1, got {total:.5f} (error {error:.5f})",
    )
    return total


def check_samples(density: Density, context: Tensor | None = None, draws: int = 4000) -> None:
    r"""Samples come from the density: E[log p(x) - log r(x)] under samples is what importance weights give, where r is a
    normal fitted to other samples.

    A weighted mean of draws from r estimates the same expectation without `sample`; the two must agree within their errors.
    """
    exact = copy.deepcopy(density).double()
    given = None if context is None else context[0].double()
    with torch.no_grad():
        sample = exact.sample((draws,), given)
        if density.support.is_discrete:
            values, counts = torch.unique(sample.reshape(draws, -1), dim=0, return_counts=True)
            if not _all_discrete(sample):
                return
            probability = exact.log_prob(values.reshape(-1, *density.event_shape), given).exp()
            spread = (probability * (1 - probability) / draws).sqrt()
            worst = float(((counts / draws - probability).abs() / (5 * spread + 1e-3)).max())
            expect(
                worst <= 1, density, f"shares of samples lie {5 * worst:.1f} standard errors from their probabilities"
            )
            return
        flat = sample.reshape(draws, -1)
        half = flat.median(dim=0).values
        proposal = _Proposal(flat)
        other = proposal.draw(4 * draws)
        log_w = exact.log_prob(other.reshape(-1, *density.event_shape), given) - proposal.log_prob(other)
        weights = torch.softmax(log_w, dim=0)
        for i in range(flat.shape[1]):
            share = float(weights @ (other[:, i] < half[i]).double())
            deviation = (other[:, i] < half[i]).double() - share
            error = math.sqrt(0.25 / draws) + float((weights.square() @ deviation.square()).sqrt())
            expect(
                abs(share - 0.5) <= 5 * error,
                density,
                f"half of the samples lie below {float(half[i]):.3f} in column {i}, but {share:.3f} of the density does",
            )


def check_gradients(density: Density, context: Tensor | None = None) -> None:
    """Gradients of the loss with respect to parameters are there and finite."""
    parameters = [p for p in density.parameters() if p.requires_grad]
    if not parameters:
        return
    x = _some(density, context)
    gradients = torch.autograd.grad(density.loss(x, context).mean(), parameters, allow_unused=True)
    expect(any(g is not None for g in gradients), density, "the loss depends on no parameter")
    expect(all(bool(torch.isfinite(g).all()) for g in gradients if g is not None), density, "a gradient is not finite")


def check_nan_rows(density: Density, context: Tensor | None = None) -> None:
    """A NaN gives NaN for its row, and no other row moves."""
    x = _some(density, context)
    wanted = density.log_prob(x, context)
    broken = x.clone()
    broken[1] = torch.full_like(broken[1], torch.nan)
    got = density.log_prob(broken, context)
    expect(bool(got[1].isnan()), density, f"a row of NaN has log_prob {float(got[1].detach())}")
    rest = [i for i in range(len(x)) if i != 1]
    expect_close(got[rest], wanted[rest], density, "rows beside one with NaN", 1e-6)


def check_view(density: Density, context: Tensor | None = None) -> None:
    """The `torch.distributions` view has the density's shapes and numbers."""
    view = density.distribution(context)
    batch = torch.Size() if context is None else context.shape[:-1]
    expect(isinstance(view, torch.distributions.Distribution), density, "distribution() gave no Distribution")
    expect(
        view.batch_shape == batch and view.event_shape == density.event_shape, density, "the view's shapes are wrong"
    )
    x = view.sample(torch.Size([3]))
    expect(x.shape == torch.Size([3]) + batch + density.event_shape, density, "the view's samples have another shape")
    expect_close(view.log_prob(x), density.log_prob(x, context), density, "the view's log_prob", 0.0)
    expect(view.has_rsample == density.reparameterized, density, "the view's has_rsample")


def check_door(density: Density, context: Tensor | None = None) -> None:
    """ValueError, with what was expected, for wrong shapes, dtypes and contexts."""
    x = _some(density, context)
    with expecting_value_error(density, "x of another shape"):
        density.log_prob(torch.cat([x, x[..., :1]], dim=-1), context)
    with expecting_value_error(density, "x of another dtype"):
        density.log_prob(x.double(), context)
    with expecting_value_error(density, "text for x"):
        density.log_prob("text", context)
    with expecting_value_error(density, "a negative sample shape"):
        density.sample((-1,), context)
    if context is None:
        with expecting_value_error(density, "a context for a density that takes none"):
            density.log_prob(x, x)
        return
    with expecting_value_error(density, "no context"):
        density.log_prob(x)
    with expecting_value_error(density, "a context of another shape"):
        density.log_prob(x, torch.cat([context, context[..., :1]], dim=-1))


def check_mixture(mixture: Mixture, context: Tensor | None = None) -> None:
    """joint_log_prob sums to log_prob, responsibilities to one, and the ELBO meets log_prob at the responsibilities."""
    x = _some(mixture, context)
    joint, log_p = mixture.joint_log_prob(x, context), mixture.log_prob(x, context)
    wanted = (*log_p.shape, mixture.components)
    expect(joint.shape == wanted, mixture, f"joint_log_prob: expected shape {wanted}, got {tuple(joint.shape)}")
    expect_close(torch.logsumexp(joint, dim=-1), log_p, mixture, "joint_log_prob summed", 1e-5)
    r = mixture.responsibilities(x, context)
    expect_close(r.sum(dim=-1), torch.ones_like(log_p), mixture, "responsibilities summed", 1e-5)
    expect_close(r, (joint - log_p.unsqueeze(-1)).exp(), mixture, "responsibilities", 1e-4)
    expect_close(
        mixture.elbo(x, joint.log_softmax(dim=-1), context), log_p, mixture, "ELBO at the responsibilities", 1e-4
    )
    uniform = torch.full_like(joint, -math.log(mixture.components))
    expect(bool((mixture.elbo(x, uniform, context) <= log_p + 1e-4).all()), mixture, "the ELBO is above log_prob")
    one = torch.full_like(joint, -torch.inf)
    one[..., 0] = 0.0
    expect_close(mixture.elbo(x, one, context), joint[..., 0], mixture, "ELBO of a q that excludes all but one", 1e-5)


class _Proposal:
    """A Student t (3 degrees of freedom) along the principal axes of some samples: heavier tails than what is checked."""

    def __init__(self, samples: Tensor) -> None:
        self.mean = samples.mean(dim=0)
        covariance = torch.cov(samples.T).reshape(samples.shape[1], samples.shape[1])
        jitter = 1e-9 * torch.eye(samples.shape[1], dtype=samples.dtype)
        self.factor = torch.linalg.cholesky(covariance + jitter)
        self.student = torch.distributions.StudentT(torch.tensor(3.0, dtype=samples.dtype))

    def draw(self, count: int) -> Tensor:
        noise = self.student.sample(torch.Size([count, len(self.mean)]))
        return self.mean + noise @ self.factor.T

    def log_prob(self, x: Tensor) -> Tensor:
        y = torch.linalg.solve_triangular(self.factor, (x - self.mean).T, upper=False).T
        log_p: Tensor = self.student.log_prob(y).sum(dim=-1)
        return log_p - torch.diagonal(self.factor).log().sum()


def _some(density: Density, context: Tensor | None) -> Tensor:
    """Three rows or more: one for each context, or five."""
    return density.sample(() if context is not None else (5,), context)


def _all_discrete(sample: Tensor) -> bool:
    return bool((sample == sample.round()).all())


def _enumerated(density: Density, context: Tensor | None, sample: Tensor) -> float:
    columns = sample.reshape(len(sample), -1).unbind(dim=-1)
    levels = [torch.arange(float(column.max()) + 1, dtype=sample.dtype) for column in columns]
    points = torch.cartesian_prod(*levels).reshape(-1, *density.event_shape)
    return float(density.log_prob(points, context).exp().sum())


def _on_a_grid(density: Density, context: Tensor | None, sample: Tensor) -> float:
    """Trapezoid sums over a grid in asinh-spaced coordinates around the samples, finest in their midst."""
    flat = sample.reshape(len(sample), -1)
    count = 20_001 if flat.shape[1] == 1 else 601
    axes, spacings = [], []
    for column in flat.unbind(dim=-1):
        middle, spread = column.median(), column.std() + 1e-6
        u = torch.linspace(-6.5, 6.5, count, dtype=sample.dtype)
        axes.append(middle + spread * u.sinh() / 3)
        spacings.append(spread * u.cosh() / 3 * (u[1] - u[0]))
    points = torch.cartesian_prod(*axes).reshape(-1, *density.event_shape)
    areas = torch.cartesian_prod(*spacings).reshape(len(points), -1).prod(dim=-1)
    pairs = zip(points.split(200_000), areas.split(200_000), strict=True)
    return float(sum(density.log_prob(at, context).exp() @ area for at, area in pairs))


def _by_importance(density: Density, context: Tensor | None, sample: Tensor, draws: int) -> tuple[float, float]:
    """Total probability and its standard error; discrete columns are drawn by their frequencies among the samples."""
    flat = sample.reshape(draws, -1)
    discrete = [i for i in range(flat.shape[1]) if _all_discrete(flat[:, i])]
    rest = [i for i in range(flat.shape[1]) if i not in discrete]
    count = 5 * draws
    x = flat.new_zeros(count, flat.shape[1])
    proposal = _Proposal(flat[:, rest])
    x[:, rest] = proposal.draw(count)
    log_q = proposal.log_prob(x[:, rest])
    for i in discrete:
        levels = int(flat[:, i].max()) + 1
        x[:, i] = torch.randint(levels, (count,)).to(x)
        log_q = log_q - math.log(levels)
    weights = (density.log_prob(x.reshape(count, *density.event_shape), context) - log_q).exp()
    return float(weights.mean()), float(weights.std() / math.sqrt(count))
