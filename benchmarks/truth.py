"""Answers beside the truth: tables of mixed kinds drawn from a known process, complete and with gaps of several kinds.

python benchmarks/truth.py [--rows 3000,20000] [--gaps none,random,...] [--seeds 0,1,2] [--minutes 5]

The process has six columns: a category, a real number, a truth value, a positive number, a count and a grade, each of which
depends on those before it. The first and the third are complete. Gaps in the others are

- none;
- random: of each a fifth to a half, whatever the row holds;
- observed: they depend on the complete columns (missing at random), between 10 and 85 % of the cells;
- strong: as those, but 90 % of the positive number where the truth value is false, and 30 % where it is true;
- crossed: in half of the rows the positive number is lacking for some reals, in the other half the real for some positive
  numbers: which is missing depends on a column that is itself missing elsewhere.

`fit_table` is given the table as it is. Beside it stand the same statistics of the complete rows themselves, before any gap
was cut, which is the error that so many rows leave; those of the cells that were observed, which is what leaving
gaps out gives; and of these weighted by one over the probability to be observed, which only a simulation knows: an error of
about that size is what the gaps leave. Everything is judged by TRUTH draws of the process.

- entropy: of held-out complete rows, the mean of log p(true) - log p(model), nats a column.
- means: the largest error of E of the real, the positive number, the count and the grade, in standard deviations.
- probabilities: the largest error of P(truth value), P(count >= 4), P(category = d), P(truth value, positive > 30).
- quantiles: the largest difference between the level and the true probability below, of deciles of the numbers.
- conditionals: the largest error of P(truth value | positive), P(truth value | count), P(truth value | grade), and of
  E[positive | truth value], E[count | real], E[real | positive], in standard deviations: both directions of the order.
- samples: the largest error of the means of 20,000 samples, and of their correlations; in the other rows of the table, of
  the cells themselves.
- gaps' means: the largest error of the mean of what was drawn into a column's gaps, beside what was cut out.
- coverage: how often the value that was cut out lies within the 90 % interval of 19 draws; of complete tables, of numbers
  given the rest of the row.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from trials import Row, earlier, note, over_seeds, write

from anabranch.tables import TableModel, fit_table

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
TRUTH, HELD_OUT, SAMPLES, DRAWS = 2_000_000, 5_000, 20_000, 19
NAMES = ["region", "age", "smokes", "income", "visits", "grade"]
REGIONS = np.array(["a", "b", "c", "d"])
SHARES, AGES = np.array([0.4, 0.3, 0.2, 0.1]), np.array([35.0, 45.0, 50.0, 60.0])
Float = NDArray[np.float64]
COLUMNS = {
    "entropy": ".3f",
    "means": ".3f",
    "probabilities": ".3f",
    "quantiles": ".3f",
    "conditionals": ".3f",
    "samples": ".3f",
    "gaps' means": ".3f",
    "coverage": ".3f",
}
BY = ("rows", "gaps", "answers of")


def draw(n: int, rng: np.random.Generator) -> Float:
    """Rows of the process, categories and truth values as numbers: (n, 6)."""
    region = rng.choice(4, n, p=SHARES)
    age = rng.normal(AGES[region], 10)
    smokes = rng.random(n) < 1 / (1 + np.exp(-_tendency(region, age)))
    income = np.exp(rng.normal(3 + 0.02 * (age - 45) - 0.7 * smokes, 0.5))
    visits = rng.poisson(0.5 + 2.0 * smokes + 0.02 * income)
    grade = np.clip(np.round(rng.normal(2 + 0.4 * visits - 0.01 * income, 0.8)), 0, 6)
    return np.stack([region, age, smokes, income, visits, grade], axis=1).astype(float)


def _tendency(region: Float, age: Float) -> Float:
    return -1.5 + 0.06 * (age - 45) - 0.8 * (region == 0)


def log_p(x: Float) -> Float:
    """The true log-likelihood of rows: densities of age and income, probabilities of the others."""
    region, age, smokes, income, visits, grade = x.T
    own = region.astype(int)
    tendency = _tendency(region, age)
    total = np.log(SHARES[own]) + stats.norm.logpdf(age, AGES[own], 10)
    total += np.where(smokes > 0, -np.log1p(np.exp(-tendency)), -np.log1p(np.exp(tendency)))
    total += stats.norm.logpdf(np.log(income), 3 + 0.02 * (age - 45) - 0.7 * smokes, 0.5) - np.log(income)
    total += stats.poisson.logpmf(visits, 0.5 + 2 * smokes + 0.02 * income)
    mean = 2 + 0.4 * visits - 0.01 * income
    high, low = np.where(grade >= 6, np.inf, grade + 0.5), np.where(grade <= 0, -np.inf, grade - 0.5)
    p = stats.norm.cdf(high, mean, 0.8) - stats.norm.cdf(low, mean, 0.8)
    # in the upper tail the difference of two numbers near one has no digits
    upper = stats.norm.sf(low, mean, 0.8) - stats.norm.sf(high, mean, 0.8)
    return np.asarray(total + np.log(np.where(low > mean, upper, p)))


def chances(x: Float, kind: str) -> Float:
    """The probability that a cell is a gap, in two equally probable ways in which gaps come about: (2, n, 6)."""
    region, age, smokes, income = x[:, 0], x[:, 1], x[:, 2] > 0, x[:, 3]
    p = np.zeros((2, *x.shape))
    if kind == "random":
        p[..., [1, 3, 4, 5]] = 0.2, 0.5, 0.3, 0.2
    elif kind == "observed":
        p[..., 1], p[..., 3] = np.where(smokes, 0.5, 0.1), np.where(smokes, 0.3, 0.85)
        p[..., 4] = np.where(region == 0, 0.7, 0.2)
    elif kind == "strong":
        p[..., 3], p[..., 4], p[..., 5] = np.where(smokes, 0.3, 0.9), np.where(region == 0, 0.9, 0.1), 0.3
    elif kind == "crossed":
        p[0, :, 3] = 1 / (1 + np.exp(-(age - 45) / 4))
        p[1, :, 1] = 1 / (1 + np.exp(-(np.log(income) - 3) / 0.25))
        p[..., 5] = np.where(smokes, 0.6, 0.1)
    return p


def with_gaps(x: Float, kind: str, rng: np.random.Generator) -> Float:
    """The rows with gaps (NaN) of that kind."""
    u, way = rng.random(x.shape), (rng.random(len(x)) >= 0.5).astype(int)
    return np.where(u < chances(x, kind)[way, np.arange(len(x))], np.nan, x)


def frame_of(x: Float) -> pd.DataFrame:
    """Rows as a user has them."""
    frame = pd.DataFrame(x, columns=NAMES)
    frame["region"] = REGIONS[x[:, 0].astype(int)]
    frame["smokes"] = x[:, 2] > 0
    for name in ("visits", "grade"):
        frame[name] = frame[name].astype("Int64")
    return frame


def numbers_of(frame: pd.DataFrame) -> Float:
    """Back again."""
    frame = frame.assign(region=frame["region"].map({name: k for k, name in enumerate(REGIONS)}))
    return frame[NAMES].astype("float64").to_numpy()


NUMBERS = {"age": 1, "income": 3, "visits": 4, "grade": 5}
LEVELS = np.arange(1, 10) / 10
# a question in words, the rows it is about, and the column whose mean it is
CONDITIONALS = {
    "P(smokes = true | income = 20.0)": ("income", 20.0, "smokes"),
    "P(smokes = true | visits = 3)": ("visits", 3, "smokes"),
    "P(smokes = true | grade = 4)": ("grade", 4, "smokes"),
    "E[income | smokes = true]": ("smokes", 1, "income"),
    "E[income | smokes = false]": ("smokes", 0, "income"),
    "E[visits | age = 50.0]": ("age", 50.0, "visits"),
    "E[age | income = 30.0]": ("income", 30.0, "age"),
}


def near(x: Float, name: str, value: float, factor: float = 1.0) -> NDArray[np.bool_]:
    """The rows of which a column has a value; of numbers on no lattice, nearly: within a hundredth, or a tenth of a year."""
    width = {"income": 0.01 * value, "age": 0.1}.get(name, 0.0) * factor
    return np.abs(x[:, NAMES.index(name)] - value) <= width


def of_rows(x: Float, truth: Float, gaps: Float | None = None) -> Row:
    """The statistics of rows themselves. Where they have gaps, of those that have what a statistic needs.

    Args:
        x: the rows.
        truth: rows of the process.
        gaps: the probabilities of gaps as `chances` gives them: rows count by how rarely they have what is needed.
    """
    spread = truth.std(axis=0)

    def counted(*needed: int) -> tuple[Float, Float]:
        there = ~np.isnan(x[:, needed]).any(axis=1)
        if gaps is None:
            return x[there], np.ones(there.sum())
        return x[there], 1 / (1 - gaps[:, there][..., needed]).prod(axis=-1).mean(axis=0)

    means, quantiles, conditionals = [], [], []
    for i in NUMBERS.values():
        rows, weight = counted(i)
        means.append(abs(np.average(rows[:, i], weights=weight) - truth[:, i].mean()) / spread[i])
        order = rows[:, i].argsort()
        below = weight[order].cumsum() / weight.sum()
        quantiles += _misses(truth[:, i], rows[order, i][np.searchsorted(below, LEVELS)])
    events = [
        (lambda r: r[:, 2] > 0, [2]),
        (lambda r: r[:, 4] >= 4, [4]),
        (lambda r: r[:, 0] == 3, [0]),
        (lambda r: (r[:, 2] > 0) & (r[:, 3] > 30), [2, 3]),
    ]
    shares = []
    for event, needed in events:
        rows, weight = counted(*needed)
        shares.append(abs(np.average(event(rows), weights=weight) - event(truth).mean()))
    for name, value, wanted in CONDITIONALS.values():
        i = NAMES.index(wanted)
        rows, weight = counted(NAMES.index(name), i)
        close = near(rows, name, value, 10.0)  # there are few of exactly it
        mean = np.average(rows[close, i], weights=weight[close])
        unit = 1 if wanted == "smokes" else spread[i]
        conditionals.append(abs(mean - truth[near(truth, name, value), i].mean()) / unit)
    related = []
    truly = np.corrcoef(truth.T)
    for i, j in itertools.combinations(range(1, len(NAMES)), 2):
        rows, weight = counted(i, j)
        covariance = np.cov(rows[:, [i, j]].T, aweights=weight)
        related.append(abs(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) - truly[i, j]))
    return {
        "means": max(means),
        "probabilities": max(shares),
        "quantiles": max(quantiles),
        "conditionals": max(conditionals),
        "samples": float(max(*means, *related)),
    }


def _misses(column: Float, at: Float) -> list[float]:
    """How far levels lie outside of P(X < q) to P(X <= q)."""
    ordered = np.sort(column)
    below, upto = (np.searchsorted(ordered, at, side) / len(ordered) for side in ("left", "right"))
    return np.maximum(np.maximum(below - LEVELS, LEVELS - upto), 0).tolist()


def of_model(model: TableModel, x: Float, gappy: Float, truth: Float, held_out: Float) -> Row:
    """The same of a model's answers, and what only a model has."""
    spread = truth.std(axis=0)

    def asked(question: str) -> float:
        return float(model.ask(question).lines[0].value)

    means = [abs(asked(f"E[{name}]") - truth[:, i].mean()) / spread[i] for name, i in NUMBERS.items()]
    shares = [
        abs(asked("P(smokes = true)") - (truth[:, 2] > 0).mean()),
        abs(asked("P(visits >= 4)") - (truth[:, 4] >= 4).mean()),
        abs(asked("P(region = d)") - (truth[:, 0] == 3).mean()),
        abs(asked("P(smokes = true, income > 30)") - ((truth[:, 2] > 0) & (truth[:, 3] > 30)).mean()),
    ]
    quantiles = []
    for name, i in NUMBERS.items():
        levels = ", ".join(f"{level:.1f}" for level in LEVELS)
        lines = model.ask(f"Q[{levels}]({name})").lines
        quantiles += _misses(truth[:, i], np.array([float(line.value) for line in lines]))
    conditionals = []
    for question, (name, value, wanted) in CONDITIONALS.items():
        i = NAMES.index(wanted)
        unit = 1.0 if wanted == "smokes" else spread[i]
        conditionals.append(abs(asked(question) - truth[near(truth, name, value), i].mean()) / unit)
    drawn = numbers_of(model.sample(SAMPLES, seed=0).to_pandas())
    samples = np.abs(drawn.mean(axis=0) - truth.mean(axis=0)) / spread
    related = np.abs(np.corrcoef(drawn[:, 1:].T) - np.corrcoef(truth[:, 1:].T))
    entropy = (log_p(held_out) - model.log_prob(frame_of(held_out))).mean() / len(NAMES)
    row: Row = {
        "worst": list(CONDITIONALS)[int(np.argmax(conditionals))],
        "entropy": float(entropy),
        "means": max(means),
        "probabilities": max(shares),
        "quantiles": max(quantiles),
        "conditionals": max(conditionals),
        "samples": float(max(samples.max(), related.max())),
    }
    return row | of_gaps(model, x, gappy, spread)


def of_gaps(model: TableModel, x: Float, gappy: Float, spread: Float) -> Row:
    """What is drawn into gaps beside what was cut out; of complete tables into gaps cut one at a time into held-out rows."""
    rng = np.random.default_rng(0)
    rows = rng.choice(len(x), min(3_000, len(x)), replace=False)
    cut, whole = gappy[rows], x[rows]
    if not np.isnan(cut).any():
        cut = whole.copy()
        cut[np.arange(len(cut)), rng.choice(list(NUMBERS.values()), len(cut))] = np.nan
    tables = model.impute(frame_of_gaps(cut), draws=DRAWS, seed=0)
    drawn = np.stack([numbers_of(as_pandas(table)) for table in tables])
    means, covered = [], []
    for i in NUMBERS.values():
        gap = np.isnan(cut[:, i])
        if gap.sum() < 100:
            continue
        means.append(abs(drawn[:, gap, i].mean() - whole[gap, i].mean()) / spread[i])
        noise = rng.random((DRAWS + 1, int(gap.sum()))) * 1e-6  # ties fall at random
        values = np.concatenate([whole[gap, i][None], drawn[:, gap, i]]) + noise
        rank = (values[1:] < values[0]).sum(axis=0)
        covered.append(((rank > 0) & (rank < DRAWS)).mean())
    return {"gaps' means": float(max(means)), "coverage": float(np.mean(covered))}


def frame_of_gaps(x: Float) -> pd.DataFrame:
    """Rows with gaps as a user has them."""
    frame = frame_of(np.where(np.isnan(x), 0.0, x))
    return frame.mask(pd.DataFrame(np.isnan(x), columns=NAMES))


def as_pandas(table: object) -> pd.DataFrame:
    """What `impute` gives back, which is the library it was given."""
    return table if isinstance(table, pd.DataFrame) else table.to_pandas()  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="20000")
    parser.add_argument("--gaps", default="none,random,observed,strong,crossed")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=None)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    truth = draw(TRUTH, np.random.default_rng(10_000))
    held_out = draw(HELD_OUT, np.random.default_rng(10_001))
    found = earlier("truth")
    for rows in map(int, given.rows.split(",")):
        for kind in given.gaps.split(","):
            for seed in map(int, given.seeds.split(",")):
                x = draw(rows, np.random.default_rng(seed))
                gappy = with_gaps(x, kind, np.random.default_rng(100 + seed))
                options = {} if given.minutes is None else {"minutes": given.minutes}
                model, report = fit_table(frame_of_gaps(gappy), seed=seed, progress=False, **options)
                share = float(np.isnan(gappy).mean())
                same = {"rows": rows, "gaps": kind, "seed": seed, "share of gaps": share}
                new = [
                    {**same, "answers of": "the model", **of_model(model, x, gappy, truth, held_out)}
                    | {"fit": report.seconds["fit"], "epochs": report.epochs},
                    {**same, "answers of": "complete rows", **of_rows(x, truth)},
                ]
                if share:
                    new += [
                        {**same, "answers of": "observed cells, weighted", **of_rows(gappy, truth, chances(x, kind))},
                        {**same, "answers of": "observed cells", **of_rows(gappy, truth)},
                    ]
                keys = [tuple(row[name] for name in (*BY, "seed")) for row in new]
                found = [row for row in found if tuple(row[name] for name in (*BY, "seed")) not in keys]
                for row in new:
                    note(found, row)
    setting = {"truth": TRUTH, "held out": HELD_OUT, "samples": SAMPLES, "draws": DRAWS, "minutes": given.minutes}
    write("truth", setting, found, over_seeds(found, BY, COLUMNS), PAGE)


if __name__ == "__main__":
    main()
