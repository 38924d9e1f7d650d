"""Accuracy where few rows have a label: FlowGMM's tasks, by M2, by a prior of classes, and by the estimator.

python benchmarks/semi_supervised.py [--seeds 0,1,2,3,4] [--tasks circles,moons] [--methods "m2|prior of classes"]

1,000 rows of scikit-learn's toys, in two classes: circles (factor 0.5, noise 0.05) of which 11 have a label, and moons
(noise 0.1) of which 10 have one, at least two of either class, drawn by the seed; 1,000 other rows are told. Accuracy is
that of the guess q(y | x), of a prior of classes p(y | z) at a draw of z; weighed, of p(y | x) by 32 importance weights. M2
has one hidden number beside the class, since both classes are curves; this, the rate and the epochs were chosen on seed 0 of
the moons, and the warm-up since M2 collapsed without on seed 0 of both. Tasks and methods may be run one after the other:
those of earlier runs stay in the table. The estimator has one member; its rate for densities of which bounds are known was
chosen on seed 10. One thread.
Source of the tasks: Izmailov et al., 2020, arXiv:1912.13025.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import make_circles, make_moons
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from trials import earlier, note, over_seeds, write

import anabranch as ab
from anabranch.densities import Mixture
from anabranch.draws import drawing
from anabranch.estimators import SemiSupervisedClassifier
from anabranch.families import Gaussians
from anabranch.models import LatentMixture
from anabranch.objectives import SemiSupervised

PAGE = Path(__file__).parent.parent / "docs" / "discrete_latents.md"
LABELS = {"circles": 11, "moons": 10}
# the estimator by each density, and the graph of neighbours in or out
CLASSIFIERS = {
    "estimator": {},
    "estimator, m2": {"density": "m2"},
    "estimator, mixture prior": {"density": "mixture prior"},
    "estimator, no neighbours": {"neighbours": 0},
    "estimator, m2, no neighbours": {"density": "m2", "neighbours": 0},
    "estimator, mixture prior, no neighbours": {"density": "mixture prior", "neighbours": 0},
}


def data(task: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, labels of which most are -1, other rows and their classes."""
    if task == "circles":
        x, y = make_circles(2000, factor=0.5, noise=0.05, random_state=seed)
    else:
        x, y = make_moons(2000, noise=0.1, random_state=seed)
    x = (x - x[:1000].mean(0)) / x[:1000].std(0)
    random = np.random.default_rng(seed)
    chosen = np.concatenate([random.permutation(np.flatnonzero(y[:1000] == k))[:2] for k in (0, 1)])
    left = np.setdiff1d(np.arange(1000), chosen)
    chosen = np.concatenate([chosen, random.choice(left, LABELS[task] - 4, replace=False)])
    labels = np.full(1000, -1)
    labels[chosen] = y[chosen]
    return x[:1000].astype(np.float32), labels, x[1000:].astype(np.float32), y[1000:]


def density(method: str, seed: int) -> Mixture:
    """With random weights."""
    family = Gaussians(1, floor=0.05)
    with drawing(seed):
        if method == "m2":
            return ab.vaes.m2(2, family, 2, latent=1, hidden=(64, 64))
        prior = ab.vaes.priors.gaussian_mixture(2, components=2)
        return LatentMixture(ab.vaes.vae(2, family, 2, prior, hidden=(64, 64)))


def told(method: str, seed: int, x: np.ndarray, labels: np.ndarray, other: np.ndarray, epochs: int) -> list[np.ndarray]:
    """The class of the other rows; of densities by the guess, and by weights."""
    if method in CLASSIFIERS:
        return [
            SemiSupervisedClassifier(**CLASSIFIERS[method], members=1, random_state=seed).fit(x, labels).predict(other)
        ]
    known = labels >= 0
    if method == "nearest labelled row":
        return [KNeighborsClassifier(1).fit(x[known], labels[known]).predict(other)]
    if method == "logistic regression":
        return [LogisticRegression().fit(x[known], labels[known]).predict(other)]
    model = density(method, seed)
    ab.fit(
        model,
        torch.from_numpy(x),
        labels=torch.from_numpy(labels),
        objective=SemiSupervised(1.0, warmup=0.5),
        epochs=epochs,
        batch_size=100,
        learning_rate=1e-2,
        validation=0,
        seed=seed,
        progress=False,
        compile=False,
    )
    model.eval()
    rows = torch.from_numpy(other)
    with torch.no_grad(), drawing(seed):
        guess = model.log_posterior(rows)
    weighed, _ = model.estimate_posterior(rows, samples=32, generator=seed)
    return [log_p.argmax(-1).numpy() for log_p in (guess, weighed)]


def main() -> None:
    """Fit all of them."""
    methods = ["nearest labelled row", "logistic regression", "m2", "prior of classes", *CLASSIFIERS]
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--tasks", default="circles,moons")
    parser.add_argument("--methods", default="|".join(methods))
    parser.add_argument("--epochs", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for task in options.tasks.split(","):
        for method in options.methods.split("|"):
            for seed in map(int, options.seeds.split(",")):
                x, labels, other, truth = data(task, seed)
                start = time.process_time()
                right = [100 * float((y == truth).mean()) for y in told(method, seed, x, labels, other, options.epochs)]
                row = {"task": task, "method": method, "seed": seed}
                row |= dict(zip(("accuracy", "weighed"), right, strict=False))
                note(rows, row | {"seconds": time.process_time() - start})
    now = {(row["task"], row["method"]) for row in rows}
    rows += [row for row in earlier("semi_supervised") if (row["task"], row["method"]) not in now]
    rows.sort(key=lambda row: (row["task"], methods.index(str(row["method"])), row["seed"]))
    table = over_seeds(rows, ["task", "method"], {"accuracy": ".1f", "weighed": ".1f", "seconds": ".1f"})
    write("semi_supervised", {"epochs": options.epochs}, rows, table, PAGE)


if __name__ == "__main__":
    main()
