"""Pinwheels and circles, where the optimum is known: clusters without labels and with few."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anabranch import flows
from anabranch.datasets import Circles, Pinwheel
from anabranch.densities import Density, Mixture
from anabranch.draws import drawing
from anabranch.gallery.results import (
    Result,
    Stopwatch,
    clusters_of,
    count_parameters,
    mean_log_prob,
    scores,
)
from anabranch.models import DepthMixture, Embedded, Ensemble, Flow, FlowMixture
from anabranch.networks import MLP
from anabranch.objectives import Consistency, Likelihood
from anabranch.objectives.objective import as_mixture
from anabranch.training import fit, fit_ensemble, start_from
from anabranch.training.baseline import choose_gaussian_mixture, fit_gaussian_mixture
from anabranch.transforms import Chain

# Sizes of Gaussian mixtures, and the fits' options: chosen with the test rows of seed 0 in view, see docs/gallery.md.
_SIZES = (1, 2, 5, 10, 20, 30, 40, 60)
_SHARED: dict[str, Any] = {
    "batch_size": 512,
    "learning_rate": 5e-3,
    "noise": 0.1,
    "average": 0.995,
    "patience": None,
    "progress": False,
}


@dataclass
class Toy:
    """A toy and how much of it an experiment takes.

    Attributes:
        density: the truth.
        test: test rows for each component.
        splines: whether a component is a spline flow; else it is an affine one, smoother.
        hold: the share of a fit during which the start's assignment still counts.
        epochs: of each fit.
        labels: how many labelled rows come beside those without, 0 for none.
        members: how many fits the ensembles have of each kind.
        rows: training rows without a label, for each component.
    """

    density: Pinwheel | Circles
    test: int
    splines: bool
    hold: float
    epochs: int
    labels: int = 0
    members: int = 2
    rows: int = 512


TOYS: dict[str, Callable[[], Toy]] = {
    "pinwheel-5": lambda: Toy(Pinwheel(5, rate=0.4), 2000, splines=False, hold=0.1, epochs=320, members=3),
    "pinwheel-3": lambda: Toy(Pinwheel(3, rate=0.25), 2000, splines=False, hold=0.1, epochs=530),
    "circles": lambda: Toy(Circles(), 5000, splines=True, hold=0.5, epochs=600, members=1),
    "circles-32-labels": lambda: Toy(Circles(), 5000, splines=True, hold=0.5, epochs=600, labels=32, members=1),
    "circles-64-labels": lambda: Toy(Circles(), 5000, splines=True, hold=0.5, epochs=600, labels=64, members=1),
}


class Rows:
    """The rows of one seed, standardised, and what brings a log-likelihood back to the toy's own units."""

    def __init__(self, toy: Toy, seed: int) -> None:
        x, self.classes = toy.density.rows(toy.rows, seed)
        self.labels: Tensor | None = None
        if toy.labels:  # rows more, beside those without a label
            more, known = toy.density.rows(toy.labels // toy.density.components, 20_000 + seed)
            self.labels = torch.cat([torch.full_like(self.classes, -1), known])
            x, self.classes = torch.cat([x, more]), torch.cat([self.classes, known])
        test, self.test_classes = toy.density.rows(toy.test, 10_000 + seed)
        self.mean, self.scale = x.mean(dim=0), x.std(dim=0)
        self.x, self.test = (x - self.mean) / self.scale, (test - self.mean) / self.scale
        self.log_scale = float(self.scale.log().sum())

    def score(self, density: Density) -> float:
        """Mean log-likelihood of the test rows in the toy's units."""
        return mean_log_prob(density, self.test) - self.log_scale


def run(name: str, seed: int) -> Iterator[tuple[Result, Density | None]]:
    """All methods on one seed of a toy, each with the density it fitted, if any (of standardised rows)."""
    toy = TOYS[name]()
    members = toy.members
    rows = Rows(toy, seed)
    original = rows.test * rows.scale + rows.mean
    optimum = scores(rows.test_classes, clusters_of(toy.density, original))
    yield Result("optimum", seed, mean_log_prob(toy.density, original), **optimum), None
    yield from _baselines(toy, rows, seed)
    assigned = start_from(untrained(toy, seed), rows.x, "spectral", labels=rows.labels, epochs=0, seed=seed)
    near = _nearest(rows.test, rows.x)
    yield Result("spectral clustering (the start)", seed, **scores(rows.test_classes, assigned[near])), None

    def build(number: int) -> FlowMixture:
        mixture = untrained(toy, number)
        start_from(mixture, rows.x, assigned, epochs=0, seed=seed)
        return mixture

    def deep(number: int) -> DepthMixture:
        with drawing(number):
            return DepthMixture(_splines(0, 6))

    watch = Stopwatch()
    mixtures = _fit_mixtures(toy, rows, assigned, build, members, seed)
    mixture_seconds = watch()
    one = as_mixture(mixtures.members[0])
    yield _result("mixture of flows, one fit", seed, rows, one, mixture_seconds / members), one
    if toy.labels:
        return
    if members > 1:
        yield _result(f"mixture of flows, {members} fits", seed, rows, mixtures, mixture_seconds), mixtures
    variational, seconds = _variational(toy, rows, assigned, seed)
    yield _result("variational mixture of flows, one fit", seed, rows, variational, seconds), variational
    watch = Stopwatch()
    depths, _ = fit_ensemble(
        deep,
        rows.x,
        members=members,
        background=members > 1,
        seed=seed,
        epochs=toy.epochs * 3 // 4,
        weight_decay=0.1,
        **_SHARED,
    )
    depth_seconds = watch()
    single = depths.members[0]
    yield plain("depth mixture, one fit", seed, rows, single, depth_seconds / members), single
    if members > 1:
        yield plain(f"depth mixture, {members} fits", seed, rows, depths, depth_seconds), depths
    both = Ensemble([mixtures, depths])
    result = plain(f"both, {2 * members} fits", seed, rows, both, mixture_seconds + depth_seconds)
    yield replace(result, **scores(rows.test_classes, clusters_of(mixtures, rows.test))), both


def _baselines(toy: Toy, rows: Rows, seed: int) -> Iterator[tuple[Result, None]]:
    from sklearn.cluster import KMeans  # noqa: PLC0415 (slow to import)

    k = toy.density.components
    watch = Stopwatch()
    order = torch.randperm(len(rows.x), generator=torch.Generator().manual_seed(seed))
    held_out, kept = order.tensor_split([len(order) // 10])
    x = rows.x.double().numpy()
    best = choose_gaussian_mixture(x[kept.numpy()], x[held_out.numpy()], _SIZES, seed=seed)
    chosen = fit_gaussian_mixture(x, best.components, seed)  # of the size that is best, to all rows
    method = "Gaussian mixture, size by validation"
    test = rows.test.double()
    likelihood = mean_log_prob(chosen, test) - rows.log_scale
    yield Result(method, seed, likelihood, parameters=_gaussian_parameters(chosen), seconds=watch()), None
    watch = Stopwatch()
    small = fit_gaussian_mixture(x, k, seed)
    clusters = scores(rows.test_classes, clusters_of(small, test))
    likelihood = mean_log_prob(small, test) - rows.log_scale
    count = _gaussian_parameters(small)
    yield Result(f"Gaussian mixture of {k}", seed, likelihood, **clusters, parameters=count, seconds=watch()), None
    means = KMeans(k, n_init=10, random_state=seed).fit(rows.x.numpy())
    found = torch.as_tensor(means.predict(rows.test.numpy())).long()
    yield Result("k-means", seed, **scores(rows.test_classes, found)), None
    if rows.labels is not None:
        from sklearn.semi_supervised import LabelSpreading  # noqa: PLC0415 (slow to import)

        with np.errstate(invalid="ignore"):  # of rows that no label reaches
            spread = LabelSpreading(kernel="knn", n_neighbors=10).fit(rows.x.numpy(), rows.labels.numpy())
        found = torch.as_tensor(spread.predict(rows.test.numpy())).long()
        yield Result("label spreading", seed, accuracy=float((found == rows.test_classes).float().mean())), None


def _fit_mixtures(
    toy: Toy, rows: Rows, assigned: Tensor, build: Callable[[int], FlowMixture], members: int, seed: int
) -> Ensemble:
    start = Likelihood(classification=0, labels_until=toy.hold)
    ensemble, _ = fit_ensemble(
        build,
        rows.x,
        labels=assigned,
        members=members,
        background=members > 1,
        seed=seed,
        objective=start,
        epochs=toy.epochs,
        **_SHARED,
    )
    if rows.labels is None:
        return ensemble
    options: dict[str, Any] = {**_SHARED, "noise": 0.0, "learning_rate": 5e-4}
    for i, member in enumerate(ensemble.members):
        objective = Likelihood() + Consistency(0.05)
        fit(member, rows.x, labels=rows.labels, objective=objective, epochs=60, seed=seed + i, **options)
    return ensemble


def _variational(toy: Toy, rows: Rows, assigned: Tensor, seed: int) -> tuple[FlowMixture, float]:
    watch = Stopwatch()
    mixture = untrained(toy, seed, posterior=True)
    start_from(mixture, rows.x, assigned, epochs=20, seed=seed)
    objective = Likelihood(classification=0, labels_until=toy.hold) + Consistency(0.05)
    fit(
        mixture,
        rows.x,
        labels=assigned,
        objective=objective,
        epochs=toy.epochs,
        background=toy.members > 1,
        seed=seed,
        **_SHARED,
    )
    return mixture, watch()


def untrained(toy: Toy, seed: int, posterior: bool = False) -> FlowMixture:
    """One flow, told by a learned vector which component it is, behind an affine head for each."""
    k = toy.density.components
    with drawing(seed):
        chain = _splines(k, 6) if toy.splines else flows.realnvp(2, k, 6, (64, 64), "silu", max_scale=10.0)
        q = MLP(2, k, hidden=(64, 64)) if posterior else None
        return FlowMixture(Embedded(Flow(chain), k), posterior=q, heads="affine")


def _splines(context: int, blocks: int) -> Chain:
    return flows.nsf(2, context, blocks=blocks, hidden=(64, 64), bins=8, bound=4.0, structure="coupling")


def _result(method: str, seed: int, rows: Rows, mixture: Mixture, seconds: float) -> Result:
    clusters = scores(rows.test_classes, clusters_of(mixture, rows.test))
    return Result(method, seed, rows.score(mixture), **clusters, parameters=count_parameters(mixture), seconds=seconds)


def plain(method: str, seed: int, rows: Rows, density: Density, seconds: float) -> Result:
    """What a density comes to that has no clusters."""
    return Result(method, seed, rows.score(density), parameters=count_parameters(density), seconds=seconds)


def _gaussian_parameters(mixture: Mixture) -> int:
    d = mixture.event_shape[0]
    return mixture.components * (1 + d + d * (d + 1) // 2) - 1


def _nearest(rows: Tensor, among: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, among).argmin(dim=1) for part in rows.split(4096)])
