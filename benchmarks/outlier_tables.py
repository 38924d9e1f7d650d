"""The tables on which the design of the outlier detector was chosen: none is one of those that the page reports on.

Some make a class rare among others, or others rare among one class; the rest put outliers of a known kind into real rows.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_wine

Float64 = NDArray[np.float64]
# rows, and 1 for an outlier
Table = tuple[Float64, NDArray[np.int64]]

_SEED = 100
_ROWS = 2_500


def development_tables(folder: Path) -> dict[str, Table]:
    """22 tables of 140 to 2,800 rows, 2 to 10 % of them outliers."""
    archives = {name: np.load(folder / f"{name}.npz", allow_pickle=False) for name in _ARCHIVES}
    labelled = {name: (archives[name]["x"], archives[name]["y"]) for name in ("penbased", "satimage", "magic", "watch")}
    labelled["digits"] = load_digits(return_X_y=True)
    labelled["wine"] = load_wine(return_X_y=True)
    tables = {}
    for name, rare, share in (
        ("penbased", 7, 0.05),
        ("satimage", 0, 0.05),
        ("digits", 6, 0.03),
        ("wine", 2, 0.07),
        ("magic", 1, 0.05),
    ):
        x, y = labelled[name]
        tables[f"{name}, {rare} rare"] = rare_rows(x, y != rare, y == rare, share)
    for name, usual, share in (
        ("penbased", 5, 0.05),
        ("penbased", 2, 0.03),
        ("satimage", 2, 0.1),
        ("satimage", 5, 0.05),
        ("satimage", 4, 0.05),
        ("digits", 3, 0.1),
        ("digits", 8, 0.05),
        ("watch", 2, 0.05),
        ("watch", 6, 0.05),
    ):
        x, y = labelled[name]
        # the satellite's class 1 is rare in a table reported on
        others = (y != usual) & (y != 1) if (name, usual) == ("satimage", 4) else y != usual
        tables[f"{name}, {usual} and rare others"] = rare_rows(x, y == usual, others, share)
    plain = {name: archives[name]["x"] for name in ("california", "galaxy", "sachs", "cytometry")}
    plain["cytometry"] = np.arcsinh(plain["cytometry"] / 150)
    for name, kind, share in (
        ("california", "dependency", 0.02),
        ("galaxy", "local", 0.05),
        ("sachs", "scattered", 0.05),
        ("cytometry", "clustered", 0.05),
        ("california", "clustered", 0.1),
        ("cytometry", "dependency", 0.05),
        ("galaxy", "one column", 0.02),
        ("sachs", "local", 0.03),
    ):
        tables[f"{name}, {kind}"] = with_outliers(plain[name], kind, share)
    return tables


_ARCHIVES = ("penbased", "satimage", "magic", "watch", "california", "galaxy", "sachs", "cytometry")


def rare_rows(x: NDArray[Any], usual: NDArray[np.bool_], rare: NDArray[np.bool_], share: float) -> Table:
    """Up to 2,500 usual rows, and so many rare ones that they are this share, 4 at least."""
    rng = np.random.default_rng(_SEED)
    many = rng.permutation(np.flatnonzero(usual))[:_ROWS]
    few = rng.permutation(np.flatnonzero(rare))[: max(4, round(len(many) * share / (1 - share)))]
    return _joined(x[many], x[few])


def with_outliers(x: NDArray[Any], kind: str, share: float) -> Table:
    """2,500 rows and outliers made for them.

    dependency: every column drawn from another row; scattered: uniform over the range; local: a row with noise of 0.4
    deviations; clustered: a cluster 1.2 deviations off in every column, one quarter as wide; one column: a row with one
    value moved by 2 to 5 deviations.
    """
    rng = np.random.default_rng(_SEED)
    x = x[rng.permutation(len(x))[: 2 * _ROWS]].astype(np.float64)
    rows, rest = x[:_ROWS], x[_ROWS:]
    count = round(len(rows) * share / (1 - share))
    some, spread = rest[:count].copy(), rows.std(axis=0)
    if kind == "dependency":
        some = np.column_stack([rng.permutation(column)[:count] for column in rest.T])
    elif kind == "scattered":
        some = rng.uniform(*np.quantile(rows, [0.001, 0.999], axis=0), size=some.shape)
    elif kind == "local":
        some = some + rng.normal(size=some.shape) * spread * 0.4
    elif kind == "clustered":
        centre = rows.mean(axis=0) + spread * rng.choice([-1, 1], x.shape[1]) * 1.2
        some = centre + rng.normal(size=some.shape) * spread * 0.25
    elif kind == "one column":
        for row in some:
            j = rng.integers(len(row))
            row[j] += rng.choice([-1, 1]) * spread[j] * rng.uniform(2, 5)
    else:
        raise ValueError(f"kind: expected one that is described, got {kind!r}")
    return _joined(rows, some)


def _joined(usual: NDArray[Any], rare: NDArray[Any]) -> Table:
    x = np.concatenate([usual, rare]).astype(np.float64)
    return x, np.repeat([0, 1], [len(usual), len(rare)])
