"""Iris with missing cells: autoencoders that are told of gaps, beside column means and scikit-learn's IterativeImputer.

python benchmarks/missing.py [--seeds 0,1,2] [--epochs 80]

Columns are standardised by all of their cells. All rows are fitted with their gaps; the mean squared error is that of the
missing cells, by the single best (mean) given the rest of the row. Two settings:

- at random: each cell is missing with probability 1/2, as in the reference code of MIWAE (error 0.444 there).
- not at random: a cell x is missing with probability 1 / (1 + e^(-4 (x - 1/2))), so that large values are mostly missing. An
  autoencoder by itself (MIWAE) is put beside one with a logistic curve for each column (not-MIWAE).

Rows of an earlier run stay in the results, where this one has no others for the same setting, method and seed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from trials import Row, earlier, note, over_seeds, write

import anabranch as ab
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.families import Gaussians
from anabranch.models import NotAtRandom
from anabranch.networks import Alone
from anabranch.objectives import ImportanceWeighted

PAGE = Path(__file__).parent.parent / "docs" / "autoencoders.md"
FLOOR, LATENT, HIDDEN, PARTICLES, DRAWS = 0.3, 2, (64, 64), 20, 2000
OPTIONS = {"batch_size": 64, "learning_rate": 3e-3, "weight_decay": 0.0, "validation": 0, "patience": None}
AT_RANDOM, NOT_AT_RANDOM = "at random", "not at random"
BY = ("missing", "method")
COLUMNS = {"mean squared error": ".3f", "seconds": ".0f"}

Float64 = NDArray[np.float64]


def hidden(x: Float64, setting: str, seed: int) -> NDArray[np.bool_]:
    """Which cells are missing."""
    share = np.full_like(x, 0.5) if setting == AT_RANDOM else 1 / (1 + np.exp(-4 * (x - 0.5)))
    return np.random.default_rng(seed).random(x.shape) < share


def autoencoder(columns: int) -> Density:
    return ab.vaes.vae((columns,), Gaussians(1, floor=FLOOR), LATENT, hidden=HIDDEN, gaps=True)


def filled_by(model: Density, x: Float64, seed: int, epochs: int) -> Float64:
    """Rows with their gaps filled by a model that is fitted to them."""
    rows = torch.tensor(x, dtype=torch.float32)
    objective = ImportanceWeighted(PARTICLES)
    ab.fit(model, rows, objective=objective, epochs=epochs, seed=seed, progress=False, compile=False, **OPTIONS)
    return ab.queries.impute(model, rows, best=True, proposals=DRAWS, seed=0).double().numpy()


def fill(method: str, x: Float64, seed: int, epochs: int) -> Float64:
    if method == "column means":
        return np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    if method == "IterativeImputer":
        return IterativeImputer(random_state=seed, max_iter=100).fit_transform(x)
    with drawing(seed):
        model = autoencoder(x.shape[1])
        if method == "autoencoder, not at random":
            model = NotAtRandom(model, Alone(x.shape[1]))
    return filled_by(model, x, seed, epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=80)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    x = load_iris().data
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    rows = earlier("missing")
    for seed in seeds:
        for setting in (AT_RANDOM, NOT_AT_RANDOM):
            gone = hidden(x, setting, seed)
            methods = ["column means", "IterativeImputer", "autoencoder"]
            for method in [*methods, *(["autoencoder, not at random"] if setting == NOT_AT_RANDOM else [])]:
                begun = time.process_time()
                guess = fill(method, np.where(gone, np.nan, x), seed, arguments.epochs)
                row: Row = {"missing": setting, "method": method, "seed": seed}
                row["mean squared error"] = float(np.square(guess - x)[gone].mean())
                row["seconds"] = time.process_time() - begun
                old = [(one["missing"], one["method"], one["seed"]) for one in rows]
                if (setting, method, seed) in old:
                    del rows[old.index((setting, method, seed))]
                note(rows, row)
                ordered = sorted(rows, key=lambda one: (one["missing"], one["method"], one["seed"]))
                told = {"epochs": arguments.epochs, "floor": FLOOR, "latent": LATENT, "particles": PARTICLES}
                write("missing", told, ordered, over_seeds(ordered, BY, COLUMNS), PAGE)


if __name__ == "__main__":
    main()
