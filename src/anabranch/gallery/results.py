"""The rows that an experiment reports, and how clusters are scored against classes."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anabranch.atomic import replacing
from anabranch.densities import Density, Mixture
from anabranch.draws import drawing
from anabranch.images.bits_per_dimension import as_bits_per_dimension

_BOUNDS = 8  # draws of a bound for each row

# left out of files where they do not apply
_OPTIONAL = (
    "lower_bound",
    "bits_per_dimension",
    "standard_error",
    "reconstruction_error",
    "layers_a_position",
    "blocks_a_sample",
    "sampling_seconds",
)
# of a table, and their heads
_COLUMNS = {
    "log_likelihood": "log-likelihood",
    "standard_error": "standard error",
    "lower_bound": "lower bound",
    "bits_per_dimension": "bits per dimension",
    "reconstruction_error": "reconstruction error",
    "accuracy": "accuracy",
    "adjusted_rand": "adjusted Rand",
    "normalized_mutual_information": "normalised mutual information",
    "layers_a_position": "layers a position",
    "parameters": "parameters",
    "seconds": "seconds",
}


@dataclass
class Result:
    """One method on one seed; None where a number does not apply.

    Attributes:
        method: what was fitted.
        seed: of data and fit.
        log_likelihood: mean over the test rows, nats per row.
        accuracy: of the best assignment of clusters to classes, on the test rows.
        adjusted_rand: adjusted Rand index, likewise.
        normalized_mutual_information: likewise.
        parameters: trained numbers.
        seconds: of the fit.
        layers_a_position: of a stack of layers: the mean number that a position runs through.
        lower_bound: mean over the test rows, nats per row, where the log-likelihood is an estimate or not known.
        bits_per_dimension: of images, the log-likelihood, or where it is not known its bound, in bits for each number.
        standard_error: standard error of the log-likelihood, where that is an estimate: of its draws, not of the test rows.
        reconstruction_error: of flows of images, the largest, in levels, of what comes back of test images.
        blocks_a_sample: of a mixture from depth, where that is what is shown: the mean depth of its samples.
        sampling_seconds: likewise, of 20,000 samples.
    """

    method: str
    seed: int
    log_likelihood: float | None = None
    accuracy: float | None = None
    adjusted_rand: float | None = None
    normalized_mutual_information: float | None = None
    parameters: int | None = None
    seconds: float | None = None
    layers_a_position: float | None = None
    lower_bound: float | None = None
    bits_per_dimension: float | None = None
    standard_error: float | None = None
    reconstruction_error: float | None = None
    blocks_a_sample: float | None = None
    sampling_seconds: float | None = None


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()

    def __call__(self) -> float:
        return time.perf_counter() - self.begun


def scores(classes: Tensor, clusters: Tensor) -> dict[str, Any]:
    """Accuracy by the best assignment, adjusted Rand index and normalised mutual information of clusters (rows)."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import)
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # noqa: PLC0415

    y, k = classes.numpy(), clusters.numpy()
    counts = np.zeros((int(k.max()) + 1, int(y.max()) + 1))
    np.add.at(counts, (k, y), 1)
    rows, columns = linear_sum_assignment(-counts)
    return {
        "accuracy": float(counts[rows, columns].sum() / len(y)),
        "adjusted_rand": float(adjusted_rand_score(y, k)),
        "normalized_mutual_information": float(normalized_mutual_info_score(y, k)),
    }


def mean_log_prob(density: Density, x: Tensor) -> float:
    """Mean log_prob over rows, a few thousand at a time."""
    with torch.no_grad():
        return float(torch.cat([density.log_prob(part) for part in x.split(4096)]).double().mean())


def estimated(method: str, seed: int, density: Density, x: Tensor, samples: int) -> Result:
    """Images x by a density of which a bound is known: the bound by 8 draws each, log p by the weights of so many."""
    with drawing(seed):
        parts = [density.estimate(rows, samples=samples) for rows in x.split(50)]
        value, error = (torch.cat(each).double() for each in zip(*parts, strict=True))
        with torch.no_grad():
            bounds = [
                density.lower_bound(rows.expand(_BOUNDS, *rows.shape)).double().mean(dim=0) for rows in x.split(200)
            ]
    log_p = float(value.mean())
    return Result(
        method,
        seed,
        log_p,
        lower_bound=float(torch.cat(bounds).mean()),
        standard_error=float(error.square().sum().sqrt()) / len(x),
        bits_per_dimension=float(as_bits_per_dimension(log_p, x[0].numel())),
    )


def clusters_of(mixture: Mixture, x: Tensor) -> Tensor:
    """The most probable component of each row, by the mixture's own posterior."""
    with torch.no_grad():
        return torch.cat([mixture.log_posterior(part).argmax(dim=-1) for part in x.split(4096)])


def count_parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write a list of rows as JSON, in one go."""
    rows = [
        {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(result).items()
            if name not in _OPTIONAL or value is not None
        }
        for result in results
    ]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def summary(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Heads of columns; then for each method its name and, of each number that any has, mean and spread over the seeds."""
    columns = [name for name in _COLUMNS if any(getattr(result, name) is not None for result in results)]
    rows = [("method", *(_COLUMNS[name] for name in columns))]
    for method in dict.fromkeys(result.method for result in results):
        of_method = [result for result in results if result.method == method]
        rows.append(
            (method, *(_with_spread([getattr(result, name) for result in of_method], name) for name in columns))
        )
    return rows


def _with_spread(values: list[float | None], name: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = statistics.fmean(known)
    if name in ("parameters", "seconds"):
        return f"{mean:,.0f}"
    if name == "reconstruction_error":
        return f"{max(known):.1e}"
    if name == "standard_error":
        return f"{mean:.3f}"
    spread = f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else ""
    return f"{mean:.3f}{spread}"
