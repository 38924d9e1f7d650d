"""Hidden cells of mixed tables: a model of any order and an autoencoder, beside scikit-learn's imputers and columns' means.

python benchmarks/imputation.py DATA_FOLDER [--tables adult,support2] [--seeds 0,1,2] [--methods AnyOrder,means,...]
    [--models FOLDER]

Rows are split as in `tables.py`, whose models are read from the folder if it has them, or fitted anew. Of the cells of
the test rows that hold something a fifth is hidden at random, and every method fills them given the rest of their row. The
model has learnt from 80 % of the rows and stopped by another 10 %; the others learn from both.

- RMSE of numbers: of each column in units of its standard deviation, then the mean over columns. Every method gives its
  mean, the model rounded to a value that the column can hold.
- accuracy of categories: the mean over columns of the share of cells that are right.
- nats: log-likelihood of a hidden cell given what was observed of its row: a density in the column's own unit, or the
  probability of a category, of a whole or rounded number, of a value that repeats. scikit-learn's imputers predict values
  and no distributions; they are lent some that were fitted to their errors on the hidden cells themselves, on one half for
  the other: errors of a number have a Student t distribution (scale and degrees of freedom by maximum likelihood), cut to
  cells where the column is on a lattice; values that repeat (the atoms of the model's column) have their frequencies beside
  that; of categories it is counted how often which was meant where one was predicted, one added to every count.
  The conditionals of an autoencoder are those of the decoder, averaged over `DRAWS` draws of z, weighted by what was
  observed of the row: estimates, whose logarithm lies below the truth in the mean.
- nats a row: log p of the complete test rows, of the models, exact or estimated by 1,000 draws.
- coverage of the central 90 % interval of each hidden number, by the model's conditional, or the lent t distribution.
  Where a value has a probability of its own, u is drawn between P(X < x) and P(X <= x), and x is covered if 0.05 < u < 0.95.

The autoencoder is that of `fit_table(model="vae")`, fitted to the same rows for as many minutes as the model of any order.

The baselines: means and most frequent categories; IterativeImputer as it is (Bayesian ridge regression), categories one-hot
but the first; IterativeImputer with histogram gradient boosting, 50 trees, 5 rounds, categories as ordinal numbers;
KNNImputer, 5 neighbours as it is and 20, on standardised numbers and one-hot categories. Of longer tables they learn from
`FITTED` rows drawn at random: neighbours among all would take hours.

Rows of an earlier run stay in the results, where this one has no others for the same table, method and seed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from tables import model_of, read
from trials import Row, earlier, note, over_seeds, write

import anabranch as ab
from anabranch.draws import drawing
from anabranch.families import Atoms, Levels
from anabranch.models.column_network import Walk
from anabranch.tables import Schema, TableModel, fit_table
from anabranch.tables.columns import Column, Ordinal
from anabranch.tables.columns.stepped import Stepped
from anabranch.tables.types import flat
from anabranch.training.splitting import split_rows

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
HIDDEN = 0.2
DRAWS, ROWS, MINUTES = 200, 50, 5.0
MODELS = {"AnyOrder": "any-order", "autoencoder": "vae"}
FITTED = 10_000
COLUMNS = {
    "RMSE": ".3f",
    "accuracy": ".3f",
    "nats a number": ".3f",
    "nats a category": ".3f",
    "coverage": ".3f",
    "nats a row": ".2f",
    "minutes": ".1f",
}

Float64 = NDArray[np.float64]
Truth = NDArray[np.bool_]


class Task:
    """A table of which cells of the test rows are hidden at random, and the same as numbers.

    Attributes:
        values: (rows, columns), what is there; categories as 0, 1, ...
        left: the same with gaps where cells are hidden.
        hidden: (rows, columns), which cells are.
        levels: of every column the categories, or none of numbers.
        fitted, test: numbers of the rows that baselines learn from, and of those that are filled.
        gapped: the test rows with what is left of them.
    """

    def __init__(self, table: pa.Table, seed: int) -> None:
        train, validate, self.test = split_rows(table.num_rows, seed)
        rng = np.random.default_rng(seed)
        self.fitted = rng.permutation(np.concatenate([train, validate]))[:FITTED]
        self.levels = [
            sorted(flat(column).unique().drop_null().to_pylist()) if pa.types.is_string(column.type) else []
            for column in table.columns
        ]
        columns = [_as_numbers(flat(column), words) for column, words in zip(table.columns, self.levels, strict=True)]
        self.values = np.stack(columns, axis=1)
        self.hidden = (rng.random(self.values.shape) < HIDDEN) & ~np.isnan(self.values)
        self.hidden &= np.isin(np.arange(len(self.values)), self.test)[:, None]
        self.left = np.where(self.hidden, np.nan, self.values)
        self.gapped = _without(table, self.hidden).take(pa.array(self.test))

    @property
    def numeric(self) -> list[int]:
        return [i for i, words in enumerate(self.levels) if not words]

    @property
    def categorical(self) -> list[int]:
        return [i for i, words in enumerate(self.levels) if words]


def _as_numbers(values: pa.Array, levels: list[str]) -> Float64:
    if not levels:
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    number = {word: float(k) for k, word in enumerate(levels)}
    return np.array([np.nan if word is None else number[word] for word in values.to_pylist()])


def _without(table: pa.Table, hidden: Truth) -> pa.Table:
    columns = [
        pa.compute.if_else(pa.array(hidden[:, i]), pa.scalar(None, column.type), flat(column))
        for i, column in enumerate(table.columns)
    ]
    return pa.table(columns, names=table.column_names)


def scores(task: Task, filled: Float64, nats: Float64, u: Float64) -> Row:
    """What a method is measured by, of (rows, columns) filled, log-likelihood, and position in the distribution."""
    numbers, categories = task.numeric, task.categorical
    errors = np.where(task.hidden, filled - task.values, np.nan) / np.nanstd(task.values, axis=0)
    right = np.where(task.hidden, filled == task.values, np.nan)
    inside = u[:, numbers][task.hidden[:, numbers]]
    return {
        "RMSE": float(np.sqrt(np.nanmean(errors[:, numbers] ** 2, axis=0)).mean()),
        "accuracy": float(np.nanmean(right[:, categories], axis=0).mean()),
        "nats a number": float(nats[:, numbers][task.hidden[:, numbers]].mean()),
        "nats a category": float(nats[:, categories][task.hidden[:, categories]].mean()),
        "coverage": float(((inside > 0.05) & (inside < 0.95)).mean()),
    }


# ------------------------------------------------------------------------------------------------------------ the model


def best_guesses(task: Task, model: TableModel) -> Float64:
    """(rows, columns), the test rows filled by the mean or the most probable category."""
    filled = np.full(task.values.shape, np.nan)
    best = model.impute(task.gapped, best="mean")
    for i, words in enumerate(task.levels):
        filled[task.test, i] = _as_numbers(flat(best.column(model.schema.columns[i])), words)
    return filled


def truth_of(task: Task, schema: Schema) -> Float64:
    """(test rows, columns), encoded: what the hidden cells held, NaN elsewhere."""
    z = np.full((len(task.test), len(schema.parts)), np.nan)
    for i, (part, words) in enumerate(zip(schema.parts, task.levels, strict=True)):
        at = task.hidden[task.test, i]
        truth = task.values[task.test, i][at]
        z[at, i] = part.encode(pa.array(np.array(words)[truth.astype(int)]) if words else pa.array(truth))
    return z


def by_autoencoder(task: Task, model: TableModel, seed: int) -> Row:
    """The conditional of every hidden cell given what is left of its row, by weighted draws of the hidden numbers."""
    schema, density = model.schema, model.density
    rng = np.random.default_rng(seed)
    code = truth_of(task, schema)
    nats, u = (np.full(task.values.shape, np.nan) for _ in range(2))
    left, wanted = (schema.tensor(values, torch.float32) for values in (schema.encode(task.gapped)[0], code))
    with torch.no_grad(), drawing(seed):
        for at in np.array_split(np.arange(len(code)), -(-len(code) // ROWS)):
            some = left[at].expand(DRAWS, -1, -1)
            z, log_q = density.posterior.sample_and_log_prob(context=density.posterior_context(some))
            given = density.decoder_context(z)
            log_w = density.decoder.log_prob(some, given) + density.prior.log_prob(z) - log_q
            share = log_w.log_softmax(dim=0).double().unsqueeze(-1)
            cells = wanted[at].expand(DRAWS, -1, -1)
            nats[task.test[at]] = (share + density.decoder.terms(cells, given)).logsumexp(dim=0).numpy()
            low, high = ((share.exp() * end).sum(dim=0).numpy() for end in density.decoder.below(cells, given))
            u[task.test[at]] = low + rng.random(low.shape) * (high - low)
    for i, part in enumerate(schema.parts):
        at = task.hidden[task.test, i]
        nats[task.test[at], i] += part.log_det(code[at, i])
    nats[~task.hidden] = np.nan
    return scores(task, best_guesses(task, model), nats, u)


def by_model(task: Task, model: TableModel, seed: int) -> Row:
    """The conditional of every hidden cell given what is left of its row, exact."""
    schema = model.schema
    rows = task.test
    x = schema.encode(task.gapped)[0]
    filled, code_of_all = best_guesses(task, model), truth_of(task, schema)
    nats, u = np.full(task.values.shape, np.nan), np.full(task.values.shape, np.nan)
    density = model.density
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        given = schema.tensor(x, torch.float32)
        walk = Walk(density.network, given.shape[:-1], None, like=given)
        for i in range(given.shape[1]):
            walk.reveal(i, given[:, i])
        for i, part in enumerate(schema.parts):
            at = task.hidden[rows, i]
            z = code_of_all[at, i]
            theta, family = walk.theta(i)[torch.from_numpy(at)], density.family(i)
            column = np.full((len(z), len(schema.parts)), np.nan)
            column[:, i] = z
            code = schema.tensor(column, torch.float32)[:, i]
            nats[rows[at], i] = family.log_prob(code, theta).double().numpy() + part.log_det(z)
            low, high = (end.double().numpy() for end in family.below(code, theta))
            u[rows[at], i] = low + rng.random(len(z)) * (high - low)
    return scores(task, filled, nats, u)


# ---------------------------------------------------------------------------------------------- what only predicts values


def lend(task: Task, schema: Schema, filled: Float64, seed: int) -> tuple[Float64, Float64]:
    """log-likelihood and position of hidden cells in the distributions that are lent to predictions."""
    nats, u = np.full(task.values.shape, np.nan), np.full(task.values.shape, np.nan)
    rng = np.random.default_rng(seed)
    for i, words in enumerate(task.levels):
        rows = rng.permutation(np.flatnonzero(task.hidden[:, i]))
        halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        for told, scored in (halves, halves[::-1]):
            if words:
                counts = np.ones((len(words), len(words)))
                np.add.at(counts, (filled[told, i].astype(int), task.values[told, i].astype(int)), 1)
                p = counts / counts.sum(axis=1, keepdims=True)
                nats[scored, i] = np.log(p[filled[scored, i].astype(int), task.values[scored, i].astype(int)])
            else:
                kept = task.values[task.fitted, i]
                kept = kept[~np.isnan(kept)]
                nats[scored, i], u[scored, i] = _number(schema.parts[i], task, filled, i, told, scored, kept, rng)
    return nats, u


def _number(
    part: Column,
    task: Task,
    filled: Float64,
    i: int,
    told: NDArray[np.int64],
    scored: NDArray[np.int64],
    kept: Float64,
    rng: np.random.Generator,
) -> tuple[Float64, Float64]:
    atoms = _atoms(part)
    errors = (task.values - filled)[told, i]
    smooth = errors[~np.isin(task.values[told, i], atoms)] if len(atoms) else errors
    smooth = smooth if len(smooth) > 20 else errors
    df, _, scale = stats.t.fit(smooth, floc=0.0)
    df, scale = max(df, 0.5), max(scale, 1e-6 * kept.std())
    weight = np.array([(kept == atom).sum() + 0.5 for atom in atoms]) / (len(kept) + 0.5 * len(atoms) + 0.5)
    x, error = task.values[scored, i], (task.values - filled)[scored, i]
    under, over = _cell(part, x)
    at = np.array([weight[atoms == value].sum() for value in x]) if len(atoms) else np.zeros(len(x))
    if part.discrete:
        inner = _log_between(under - filled[scored, i], over - filled[scored, i], df, scale)
        p = at + (1 - weight.sum()) * np.exp(inner)
        nats = np.where(at > 0, np.log(np.maximum(p, 1e-300)), np.log1p(-weight.sum()) + inner)
    else:
        inner = stats.t.logpdf(error / scale, df) - np.log(scale)
        nats = np.where(at > 0, np.log(np.maximum(at, 1e-300)), np.log1p(-weight.sum()) + inner)
    less = np.array([weight[atoms < value].sum() for value in x]) if len(atoms) else np.zeros(len(x))
    low = less + (1 - weight.sum()) * stats.t.cdf((under - filled[scored, i]) / scale, df)
    high = less + at + (1 - weight.sum()) * stats.t.cdf((over - filled[scored, i]) / scale, df)
    return nats, low + rng.random(len(x)) * (high - low)


def _atoms(part: Column) -> Float64:
    """Values with a probability of their own beside a density or a lattice."""
    if not isinstance(part.family(), Atoms):
        return np.empty(0)
    return part.decode(part.atoms_encoded).cast(pa.float64()).to_numpy(zero_copy_only=False)


def _cell(part: Column, x: Float64) -> tuple[Float64, Float64]:
    """The ends of the cell that x is in: itself where the column has a density."""
    if isinstance(part, Stepped):
        half = 0.5 * part.step / 10 ** getattr(part, "digits", 0)
        return x - half, x + half
    if isinstance(part, Ordinal):
        levels = np.array(part.levels, dtype=np.float64)
        ends = np.concatenate([[-np.inf], 0.5 * (levels[1:] + levels[:-1]), [np.inf]])
        number = np.searchsorted(levels, x)
        return ends[number], ends[number + 1]
    assert not isinstance(part.family(), Levels)
    return x, x


def _log_between(low: Float64, high: Float64, df: float, scale: float) -> Float64:
    """log P(low < T <= high) of a t distribution, also far out."""
    left, right = np.where(low > 0, -high, low) / scale, np.where(low > 0, -low, high) / scale
    a, b = stats.t.logcdf(right, df), stats.t.logcdf(left, df)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = a + np.log(-np.expm1(np.minimum(b - a, -1e-300)))
    # narrow cells: the density in the middle times the width
    thin = (right - left) < 1e-4
    with np.errstate(invalid="ignore"):
        flat_ = stats.t.logpdf(0.5 * (left + right), df) + np.log(right - left)
    return np.where(thin, flat_, exact)


def one_hot(task: Task, whole: bool) -> tuple[Float64, list[slice]]:
    """Standardised numbers and one-hot categories of fitted and test rows, NaN for gaps; and which columns are whose.

    Args:
        task: the task.
        whole: whether a column's first category has a number too. The others tell it, and a linear regression of one on
            the others would learn just that, and nothing of other columns.
    """
    left, fitted = task.left[_both(task)], task.left[task.fitted]
    pieces = []
    for i, words in enumerate(task.levels):
        column = left[:, i : i + 1]
        if words:
            pieces.append(np.where(np.isnan(column), np.nan, column == np.arange(0 if whole else 1, len(words))))
        else:
            pieces.append((column - np.nanmean(fitted[:, i])) / np.nanstd(fitted[:, i]))
    ends = np.cumsum([piece.shape[1] for piece in pieces]).tolist()
    return np.concatenate(pieces, axis=1), [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]


def of_one_hot(task: Task, found: Float64, at: list[slice], whole: bool) -> Float64:
    filled = np.full(task.values.shape, np.nan)
    for i, place in enumerate(at):
        column, piece = task.left[task.fitted, i], found[:, place]
        if task.levels[i]:
            piece = piece if whole else np.column_stack([1 - piece.sum(axis=1), piece])
            filled[task.test, i] = piece.argmax(axis=1)
        else:
            filled[task.test, i] = piece[:, 0] * np.nanstd(column) + np.nanmean(column)
    return filled


def _both(task: Task) -> NDArray[np.int64]:
    return np.concatenate([task.fitted, task.test])


def _transformed(task: Task, imputer: Any, x: Float64) -> Float64:
    """The test rows, filled by an imputer that has seen the others."""
    count = len(task.fitted)
    return np.asarray(imputer.fit(x[:count]).transform(x[count:]))


def means(task: Task, _: int) -> Float64:
    filled = np.empty_like(task.values)
    for i, words in enumerate(task.levels):
        kept = task.values[task.fitted, i]
        kept = kept[~np.isnan(kept)]
        filled[:, i] = np.bincount(kept.astype(int)).argmax() if words else kept.mean()
    return filled


def ridge(task: Task, seed: int) -> Float64:
    x, at = one_hot(task, whole=False)
    return of_one_hot(task, _transformed(task, IterativeImputer(random_state=seed), x), at, whole=False)


def trees(task: Task, seed: int) -> Float64:
    boosting = HistGradientBoostingRegressor(max_iter=50, random_state=seed)
    imputer = IterativeImputer(boosting, max_iter=5, random_state=seed)
    found = _transformed(task, imputer, task.left[_both(task)])
    for i in task.categorical:
        found[:, i] = np.clip(np.round(found[:, i]), 0, len(task.levels[i]) - 1)
    filled = np.full(task.values.shape, np.nan)
    filled[task.test] = found
    return filled


def neighbours(count: int) -> Callable[[Task, int], Float64]:
    def fill(task: Task, _: int) -> Float64:
        x, at = one_hot(task, whole=True)
        return of_one_hot(task, _transformed(task, KNNImputer(n_neighbors=count), x), at, whole=True)

    return fill


BASELINES: dict[str, Callable[[Task, int], Float64]] = {
    "means": means,
    "IterativeImputer": ridge,
    "IterativeImputer, trees": trees,
    "KNNImputer": neighbours(5),
    "KNNImputer, 20": neighbours(20),
}


@contextmanager
def timed(row: Row) -> Iterator[None]:
    begun = time.process_time()
    yield
    row["minutes"] = (time.process_time() - begun) / 60


def kept_or_fitted(folder: Path | None, table: pa.Table, name: str, seed: int, kind: str) -> tuple[TableModel, float]:
    """The model of any order that tables.py has fitted, or the same again, or an autoencoder; and log p of test rows."""
    if kind == "any-order" and folder is not None and model_of(folder, name, seed).exists():
        model = ab.load(model_of(folder, name, seed))
        assert isinstance(model, TableModel)
        return model, float(model.log_prob(table.take(pa.array(split_rows(table.num_rows, seed)[2]))).mean())
    model, report = fit_table(table, seed=seed, model=kind, minutes=MINUTES, progress=False)
    return model, report.scores[0].mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", default="adult,support2")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default=",".join([*MODELS, *BASELINES]).replace(", ", "/"))
    parser.add_argument("--models", type=Path, help="the folder that tables.py kept its models in")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    methods = [name.replace("/", ", ") for name in arguments.methods.split(",")]
    rows = earlier("imputation")
    for name in arguments.tables.split(","):
        table = read(arguments.folder / f"{name}.npz")
        for seed in map(int, arguments.seeds.split(",")):
            task = Task(table, seed)
            kinds = {MODELS.get(method, "any-order") for method in methods}
            models = {kind: kept_or_fitted(arguments.models, table, name, seed, kind) for kind in kinds}
            for method in methods:
                row: Row = {"table": name, "method": method, "seed": seed}
                rows = [other for other in rows if any(other[key] != row[key] for key in row)]
                with timed(row):
                    if method in MODELS:
                        of_model = by_model if method == "AnyOrder" else by_autoencoder
                        model, row["nats a row"] = models[MODELS[method]]
                        row |= of_model(task, model, seed)
                    else:
                        filled = BASELINES[method](task, seed)
                if method not in MODELS:
                    row |= scores(task, filled, *lend(task, models["any-order"][0].schema, filled, seed))
                note(rows, row)
            order = [*MODELS, *BASELINES]
            rows.sort(key=lambda row: (row["table"], order.index(row["method"]), row["seed"]))
            setting = {"hidden": HIDDEN, "draws of an autoencoder": DRAWS, "rows the baselines see, at most": FITTED}
            write("imputation", setting, rows, over_seeds(rows, ("table", "method"), COLUMNS), PAGE)


if __name__ == "__main__":
    main()
