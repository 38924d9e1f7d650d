"""Anomalies found without labels, and classes learnt from ten labels each, beside scikit-learn's estimators.

python benchmarks/estimators.py FOLDER [anomalies|unseen|development|labels] [--again TEXT]

Rows that results/estimators.json has are not run again, but for methods whose name holds TEXT.

FOLDER holds ad_page-blocks0.npz, ad_abalone19.npz (x; y, 1 for an anomaly), penbased.npz and satimage.npz (x, y).

Anomalies: every detector is fitted to all rows without y, and ranks them; average precision says how far up anomalies are.
Unseen: the same on tables that were not looked at when the detector was designed: all rows of some classes, and so many of
another, drawn anew for every seed, that these are one row of twenty.
Development: the same on the tables that it was chosen on (`outlier_tables`), one seed, and for each part of its score alone;
mean and deviation are those over tables, also of the logarithm of average precision over the best of the others on a table.
Classes: 80 % of the rows to fit, ten of each class with their label; accuracy on the other rows to fit (transductive) and on
the 20 % never seen. What was chosen with which labels in view, docs/estimators.md says.
"""

import argparse
import contextlib
import functools
import io
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from outlier_tables import development_tables
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC
from trials import RESULTS, Row, earlier, note, over_seeds, write

from anabranch.estimators import DensityOutlierDetector, SemiSupervisedClassifier
from anabranch.estimators.stacking import log_prob
from anabranch.gallery.results import Stopwatch

SEEDS = (0, 1, 2)
# accuracies of the best differ by less than those of two seeds
LABEL_SEEDS = range(6)
OURS = "anabranch, DensityOutlierDetector"
Float64 = NDArray[np.float64]
# of rows and a seed: scores, high for what is normal
Scores = Callable[[Float64, int], Float64]
# what is tried, and what gives its numbers
Trial = tuple[Row, Callable[[], Row]]


def anomalies(folder: Path) -> Iterator[Trial]:
    """Average precision of every detector on every table."""
    for name in ("ad_page-blocks0", "ad_abalone19"):
        x, y = read(folder / f"{name}.npz")
        for seed in SEEDS:
            yield from detected("anomalies", name, x, y, seed)


def unseen(folder: Path) -> Iterator[Trial]:
    """The same where one class of many is made rare."""
    cancer, digits = load_breast_cancer(), load_digits()
    tables = {
        "breast cancer, malignant rare": (cancer.data, cancer.target == 0),
        "digits, 0 and rare others": (digits.data, digits.target > 0),
        "digits, rare 0": (digits.data, digits.target == 0),
    }
    for name, rare in (("penbased", 0), ("satimage", 1)):
        x, y = read(folder / f"{name}.npz")
        tables[f"{name}, class {rare} rare"] = (x, y == rare)
    for name, (x, y) in tables.items():
        for seed in SEEDS:
            many, few = np.flatnonzero(~y), np.flatnonzero(y)
            chosen = np.random.default_rng(seed).choice(few, len(many) // 19, replace=False)
            rows = np.union1d(many, chosen)
            yield from detected("unseen", name, x[rows], y[rows].astype(np.int64), seed)


def development(folder: Path) -> Iterator[Trial]:
    """The same on the tables that the detector's design was chosen on."""
    for name, (x, y) in development_tables(folder).items():
        fitted = functools.cache(lambda x=x: DensityOutlierDetector(random_state=0).fit(x))
        parts = {
            f"{OURS}, {some}": lambda x, seed, fitted=fitted, parts=parts: part_of(fitted(), x, parts)
            for some, parts in (("p", "p"), ("q", "q"), ("columns", "c"), ("p and q", "pq"))
        }
        whole = {OURS: lambda x, seed, fitted=fitted: fitted().score_samples(x)}
        yield from detected("development", name, x, y, 0, whole | parts)


def part_of(detector: DensityOutlierDetector, x: Float64, parts: str) -> Float64:
    """The mean of some of the three log-densities that a detector's score is the mean of."""
    z = detector.encoding_.encode(x)
    terms = {
        "p": lambda: log_prob(detector.density_, z),
        "q": lambda: log_prob(detector.trimmed_density_, z),
        "c": lambda: detector.marginals_.log_prob(detector.standard_.encode(x)),
    }
    return np.mean([terms[part]() for part in parts], axis=0)


def detected(
    part: str, name: str, x: Float64, y: NDArray[Any], seed: int, mine: dict[str, Scores] | None = None
) -> Iterator[Trial]:
    """Average precision of every detector on one table."""
    detectors = {**(mine or {OURS: ours}), **baselines_of(StandardScaler(), "standardised")}
    if part == "anomalies":
        detectors |= baselines_of(PowerTransformer(), "power transform")
    for method, scores_of in detectors.items():

        def numbers(scores_of: Scores = scores_of) -> Row:
            watch = Stopwatch()
            scores = scores_of(x, seed)
            return {"average precision": float(average_precision_score(y, -scores)), "seconds": watch()}

        yield {"part": part, "data": name, "method": method, "seed": seed}, numbers


def ours(x: Float64, seed: int) -> Float64:
    return DensityOutlierDetector(random_state=seed).fit(x).score_samples(x)


def baselines_of(scaler: Any, how: str) -> dict[str, Scores]:
    """Scores, high for what is normal, after a scaling; a forest of trees does not see that of single columns."""

    def forest(x: Float64, seed: int) -> Float64:
        return IsolationForest(n_estimators=300, random_state=seed).fit(x).score_samples(x)

    def factor(neighbours: int) -> Scores:
        def scores(x: Float64, seed: int) -> Float64:
            del seed
            return LocalOutlierFactor(n_neighbors=neighbours).fit(scaler.fit_transform(x)).negative_outlier_factor_

        return scores

    def mixture(x: Float64, seed: int) -> Float64:
        z = scaler.fit_transform(x)
        candidates = [GaussianMixture(k, random_state=seed, reg_covar=1e-4).fit(z) for k in (1, 2, 4, 8, 12, 16)]
        return min(candidates, key=lambda m: m.bic(z)).score_samples(z)

    found = {f"LocalOutlierFactor, {k} neighbours, {how}": factor(k) for k in (20, 50, 100)}
    found[f"GaussianMixture, 1 to 16 by BIC, {how}"] = mixture
    return {"IsolationForest, 300 trees": forest, **found}


def labels(folder: Path) -> Iterator[Trial]:
    """Accuracy with ten labels a class."""
    x, classes = read(folder / "penbased.npz")
    for seed in LABEL_SEEDS:
        train, test = train_test_split(np.arange(len(x)), test_size=0.2, stratify=classes, random_state=seed)
        y = np.full(len(train), -1)
        rng = np.random.default_rng(seed)
        for c in np.unique(classes):
            mine = rng.choice(np.flatnonzero(classes[train] == c), 10, replace=False)
            y[mine] = c
        for method, classifier in classifiers(seed).items():

            def numbers(
                classifier: Any = classifier, train: Any = train, test: Any = test, y: NDArray[np.int64] = y
            ) -> Row:
                watch = Stopwatch()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # not converged, and the like: baselines as they come
                    classifier.fit(x[train], y)
                    seconds = watch()
                    hidden = y < 0
                    return {
                        "unlabelled rows": float(
                            (classifier.predict(x[train])[hidden] == classes[train][hidden]).mean()
                        ),
                        "held-out rows": float((classifier.predict(x[test]) == classes[test]).mean()),
                        "seconds": seconds,
                    }

            yield {"part": "labels", "method": method, "seed": seed}, numbers


def classifiers(seed: int) -> dict[str, Any]:
    def trained(base: Any, threshold: float) -> Any:
        return make_pipeline(StandardScaler(), SelfTrainingClassifier(base, threshold=threshold))

    def spread(**options: Any) -> Any:
        return make_pipeline(StandardScaler(), LabelSpreading(max_iter=100, **options))

    def support(c: float) -> Any:
        return SVC(C=c, probability=True, random_state=seed)

    found = {
        "anabranch, SemiSupervisedClassifier": SemiSupervisedClassifier(random_state=seed),
        "SelfTraining, SVC(C=1), threshold 0.6": trained(support(1), 0.6),
        "SelfTraining, SVC(C=10), threshold 0.75": trained(support(10), 0.75),
        "SelfTraining, SVC(C=10), threshold 0.9": trained(support(10), 0.9),
        "SelfTraining, KNeighbors(1)": trained(KNeighborsClassifier(1), 0.99),
        "SelfTraining, KNeighbors(3, distance)": trained(KNeighborsClassifier(3, weights="distance"), 0.99),
        "SelfTraining, LogisticRegression": trained(LogisticRegression(max_iter=1000), 0.9),
        "SelfTraining, RandomForest(200)": trained(RandomForestClassifier(200, random_state=seed), 0.75),
    }
    # of 4 numbers of neighbours by 4 alphas, and 6 gammas by 2, the best on a split that is none of these
    for neighbours, alpha in ((5, 0.99), (7, 0.5), (7, 0.9), (15, 0.5)):
        name = f"LabelSpreading, knn, {neighbours} neighbours, alpha {alpha}"
        found[name] = spread(kernel="knn", n_neighbors=neighbours, alpha=alpha)
    for gamma, alpha in ((2.0, 0.9), (4.0, 0.9), (8.0, 0.2)):
        found[f"LabelSpreading, rbf, gamma {gamma}, alpha {alpha}"] = spread(kernel="rbf", gamma=gamma, alpha=alpha)
    return found


def read(path: Path) -> tuple[Float64, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return file["x"].astype(np.float64), file["y"].astype(np.int64)


TABLES: dict[str, tuple[Callable[[Path], Iterator[Trial]], tuple[str, ...], dict[str, str]]] = {
    "anomalies": (anomalies, ("data", "method"), {"average precision": ".4f", "seconds": ".0f"}),
    "unseen": (unseen, ("data", "method"), {"average precision": ".3f", "seconds": ".0f"}),
    "development": (development, ("method",), {"average precision": ".3f", "log over best other": ".2f"}),
    "labels": (labels, ("method",), {"unlabelled rows": ".4f", "held-out rows": ".4f", "seconds": ".0f"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("part", nargs="*", choices=[*TABLES, []], default=list(TABLES))
    parser.add_argument("--again", metavar="TEXT")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = earlier("estimators")
    if chosen.again:
        rows = [row for row in rows if row["part"] not in chosen.part or chosen.again not in row["method"]]
    for part in chosen.part:
        for about, numbers in TABLES[part][0](chosen.folder):
            if any(about.items() <= row.items() for row in rows):
                continue
            note(rows, about | numbers())
            report(rows)
    report(rows)


def report(rows: list[Row]) -> None:
    """Write all rows, and the tables of all parts, ours first and then by name as they were run."""
    tables = []
    for part, (_, by, columns) in TABLES.items():
        mine = [row for row in rows if row["part"] == part]
        if not mine:
            continue
        if part == "development":
            mine = [row | {"log over best other": log_over_best(mine, row)} for row in mine]
        tables.append(
            over_seeds(sorted(mine, key=lambda row: (row.get("data", ""), place(row["method"]))), by, columns)
        )
    page = RESULTS.parent.parent / "docs" / "estimators.md"
    with contextlib.redirect_stdout(io.StringIO()):
        write("estimators", {"seeds": list(SEEDS)}, rows, "\n\n".join(tables), page)


def log_over_best(rows: list[Row], here: Row) -> float | None:
    """log of a row's average precision over the best of scikit-learn's on its table; None before there is one."""
    others = [row for row in rows if row["data"] == here["data"] and not row["method"].startswith("anabranch")]
    best = max((row["average precision"] for row in others), default=None)
    return None if best is None else math.log(here["average precision"] / best)


def place(method: str) -> tuple[bool, str]:
    """Ours come first."""
    return not method.startswith("anabranch"), method


if __name__ == "__main__":
    main()
