"""Clusters of images and tables without a label: a variational mixture on a shared trunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anabranch import flows
from anabranch.densities import Density, Normal
from anabranch.draws import drawing
from anabranch.gallery.data import Labelled, load_digits_0_to_4, load_tables
from anabranch.gallery.results import (
    Result,
    Stopwatch,
    clusters_of,
    count_parameters,
    mean_log_prob,
    scores,
)
from anabranch.gallery.warps import Warps
from anabranch.models import FlowMixture
from anabranch.networks import MLP
from anabranch.objectives import Consistency, Information, Likelihood, Objective
from anabranch.training import fit_best_of, start_from

_COMPONENTS_OF_IMAGES = 50


class Space:
    """The rows as the densities see them.

    Tables are standardised column by column. Images are seen through their first principal components, divided by one
    number: to standardise pixels would blow up those that hardly ever change. Log-likelihoods are of rows in this space.
    """

    def __init__(self, data: Labelled) -> None:
        mean = data.x.mean(axis=0)
        if data.shape is None:
            spread = data.x.std(axis=0)
            self.basis = np.diag(1 / np.where(spread > 0, spread, 1.0))
        else:
            values, vectors = np.linalg.eigh(np.cov(data.x.T))
            kept = min(_COMPONENTS_OF_IMAGES, len(values))
            self.basis = vectors[:, ::-1][:, :kept] / np.sqrt(values[::-1][:kept].mean())
        self.mean = mean
        self.x = torch.tensor((data.x - mean) @ self.basis, dtype=torch.float32)
        self.test = torch.tensor((data.test - mean) @ self.basis, dtype=torch.float32)


def run_images(folder: Path, seed: int) -> Iterator[tuple[Result, Density | None]]:
    """MNIST's digits 0 to 4."""
    data = load_digits_0_to_4(folder)
    yield from _run(data, seed, starts=4, prefix="")


def run_tables(folder: Path, seed: int) -> Iterator[tuple[Result, Density | None]]:
    """Every table, each method's name after the table's."""
    for data in load_tables(folder):
        yield from _run(data, seed, starts=8, prefix=f"{data.name}: ")


def _run(data: Labelled, seed: int, starts: int, prefix: str) -> Iterator[tuple[Result, Density | None]]:
    space = Space(data)
    k = int(data.test_classes.max()) + 1
    yield from _baselines(data, space, k, seed, prefix)
    features = space.x.shape[1]
    views = {"neighbours": Consistency("neighbours"), "noise": Consistency(0.2)}
    if data.shape is not None:
        views = {"warps": Consistency(Warps(data.shape, space.mean, space.basis, seed)), **views}
    for view, consistency in views.items():
        watch = Stopwatch()
        objective = Likelihood() + features * consistency + features * Information()
        mixture = fit_clusters(space.x, k, objective, starts=starts, seed=seed)
        clusters = scores(data.test_classes, clusters_of(mixture, space.test))
        yield (
            Result(
                f"{prefix}variational mixture of flows, {view}",
                seed,
                mean_log_prob(mixture, space.test),
                **clusters,
                parameters=count_parameters(mixture),
                seconds=watch(),
            ),
            mixture,
        )


def fit_clusters(x: Tensor, components: int, objective: Objective, starts: int, seed: int) -> FlowMixture:
    """The recipe: a trunk that all components share, full Gaussians behind it, k-means starts screened by their loss."""
    features = x.shape[1]

    def build(number: int) -> FlowMixture:
        with drawing(number):
            mixture = FlowMixture(
                [Normal.standard(features) for _ in range(components)],
                posterior=MLP(features, components, hidden=(128, 128)),
                trunk=flows.realnvp(features, blocks=4, hidden=(64,), max_scale=5.0),
                heads="affine",
            )
        start_from(mixture, x, "k-means", seed=number)
        return mixture

    mixture, _ = fit_best_of(
        build,
        x,
        starts=starts,
        screening=5,
        seed=100 * seed,
        epochs=20,
        objective=objective,
        validation=0,
        batch_size=256,
        learning_rate=2e-3,
        clip=20.0,
        noise=0.05,
        progress=False,
        compile=False,
    )
    return mixture


def _baselines(data: Labelled, space: Space, k: int, seed: int, prefix: str) -> Iterator[tuple[Result, None]]:
    from sklearn.cluster import KMeans  # noqa: PLC0415 (slow to import)
    from sklearn.mixture import GaussianMixture  # noqa: PLC0415

    x, test = space.x.double().numpy(), space.test.double().numpy()
    watch = Stopwatch()
    means = KMeans(k, n_init=10, random_state=seed).fit(x)
    found = torch.as_tensor(means.predict(test)).long()
    yield Result(f"{prefix}k-means", seed, **scores(data.test_classes, found), seconds=watch()), None
    for kind in ("full", "tied", "diag"):
        watch = Stopwatch()
        mixture = GaussianMixture(k, covariance_type=kind, n_init=3, random_state=seed, reg_covar=1e-3).fit(x)
        found = torch.as_tensor(mixture.predict(test)).long()
        yield (
            Result(
                f"{prefix}Gaussian mixture, {kind}",
                seed,
                float(mixture.score(test)),
                **scores(data.test_classes, found),
                parameters=int(mixture._n_parameters()),
                seconds=watch(),
            ),
            None,
        )
