"""Where the components of a mixture start."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import instance_of, one_of, positive_int, reference_tensor, seed_number
from anabranch.models import FlowMixture
from anabranch.networks.reader import as_read
from anabranch.objectives import Batch, Objective
from anabranch.training.fit import fit
from anabranch.training.rows import read_labels, read_rows

# of the posterior network, however few rows there are
_LEAST_STEPS = 50

METHODS = ("k-means", "Gaussian mixture", "spectral")


def start_from(
    mixture: FlowMixture,
    x: Tensor | ArrayLike,
    method: str | Tensor | ArrayLike = "k-means",
    context: Tensor | ArrayLike | None = None,
    *,
    labels: Tensor | ArrayLike | None = None,
    runs: int = 1,
    neighbours: int = 10,
    epochs: int = 2,
    seed: int = 0,
) -> Tensor:
    """Start the components of a mixture from a clustering of the rows, so that they start apart.

    Columns are standardised and clustered by scikit-learn. Then every component gets the weight of its rows and, if the
    mixture has heads, their mean and covariance; a posterior network is trained for a few epochs to tell the clusters. A
    `fit` goes on from there; give it the assignments as `labels` with `Likelihood(labels_until=...)` for components without
    heads, or to hold on to the start for a while.

    Args:
        mixture: the mixture; it is changed in place.
        x: (rows, *event), no fewer rows than components.
        method: "k-means"; "Gaussian mixture" (full covariances); "spectral" (on the graph of nearest neighbours, for
            clusters that are no blobs; it takes memory of rows x neighbours and the eigenvectors of that graph, so thousands
            of rows, not millions); or an assignment of one's own, (rows), whole numbers from 0.
        context: (rows, c), if the mixture takes one.
        labels: (rows), known components, -1 where not: clusters are numbered to agree with most of them.
        runs: of k-means or the Gaussian mixture, of which the best by its own criterion is taken.
        neighbours: of a row, for "spectral".
        epochs: of the posterior network, of which there are as many more as 50 steps take; 0 for none.
        seed: of the clustering and those epochs.

    Returns:
        the assignments (rows).

    Raises:
        ValueError: fewer rows than components, or assignments that are no components.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.datasets import Circles
        >>> x, _ = Circles().rows(200, seed=0)
        >>> mixture = ab.FlowMixture([ab.Flow(ab.flows.nsf(2, blocks=2)) for _ in range(2)], heads="affine")
        >>> ab.start_from(mixture, x, "spectral").bincount().tolist()
        [200, 200]
    """
    instance_of("mixture", mixture, FlowMixture)
    like = reference_tensor(mixture)
    rows = read_rows(mixture, x, context).read()
    rows = rows if like is None else rows.to(like.device)
    read = as_read(rows.x, mixture)
    components = mixture.components
    if len(rows) < components:
        raise ValueError(f"x: expected at least {components} rows, one for each component, got {len(rows)}")
    seed = seed_number(seed)
    if isinstance(method, str):
        assigned = _clusters(
            read, method, components, positive_int("runs", runs), positive_int("neighbours", neighbours), seed
        )
    else:
        assigned = read_labels(mixture, method, len(rows), name="method")
        if bool((assigned < 0).any()):
            raise ValueError("method: expected a component for every row, got -1 for some")
    if labels is not None:
        assigned = _agreeing(assigned, read_labels(mixture, labels, len(rows)), components)
    one_hot = torch.nn.functional.one_hot(assigned, components).to(read)
    with torch.no_grad():
        mixture.initialize(read, rows.context)
    mixture.place(read, one_hot, rows.context)
    if mixture.posterior is not None and epochs:
        fit(
            mixture,
            rows.x,
            rows.context,
            labels=assigned,
            objective=_Imitation(),
            validation=0,
            epochs=max(epochs, -(-_LEAST_STEPS // -(-len(rows) // 256))),
            batch_size=256,
            learning_rate=1e-3,
            seed=seed,
            compile=False,
            progress=False,
        )
    return assigned


class _Imitation(Objective):
    """-log q(y | x), which trains the posterior network alone."""

    def __call__(self, batch: Batch) -> Tensor:
        if batch.labels is None:
            raise ValueError("labels: expected one for each row, got none")
        return -batch.log_q.gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1)


def _clusters(x: Tensor, method: str, components: int, runs: int, neighbours: int, seed: int) -> Tensor:
    one_of("method", method, METHODS)
    if len(x) == components:  # a row each
        return torch.arange(components)
    flat = x.detach().flatten(1).double().cpu().numpy()
    spread = flat.std(axis=0)
    flat = (flat - flat.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    seed %= 2**32  # scikit-learn's range
    if method == "k-means":
        from sklearn.cluster import KMeans  # noqa: PLC0415 (slow to import)

        found = KMeans(components, n_init=runs, random_state=seed).fit_predict(flat)
    elif method == "Gaussian mixture":
        from sklearn.mixture import GaussianMixture  # noqa: PLC0415 (slow to import)

        found = GaussianMixture(components, n_init=runs, random_state=seed, reg_covar=1e-4).fit_predict(flat)
    else:
        from sklearn.cluster import SpectralClustering  # noqa: PLC0415 (slow to import)

        clustering = SpectralClustering(
            components,
            affinity="nearest_neighbors",
            n_neighbors=min(neighbours, len(flat)),
            assign_labels="cluster_qr",
            random_state=seed,
        )
        with warnings.catch_warnings():
            # clusters that no edge of the graph joins are what one hopes for
            warnings.filterwarnings("ignore", message="Graph is not fully connected")
            found = clustering.fit_predict(flat)
    return torch.as_tensor(found).long()


def _agreeing(assigned: Tensor, labels: Tensor, components: int) -> Tensor:
    """The clusters, numbered so that as many known labels as possible are right."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import)

    known = labels >= 0
    counts = torch.zeros(components, components)
    ones = torch.ones(int(known.sum()))
    counts.index_put_((assigned[known], labels[known]), ones, accumulate=True)
    clusters, names = linear_sum_assignment(-counts.numpy())
    names_of = torch.empty(components, dtype=torch.long)
    names_of[torch.as_tensor(clusters)] = torch.as_tensor(names)
    return names_of[assigned]
