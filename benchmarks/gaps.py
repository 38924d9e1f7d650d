"""What rows with gaps are worth: a model of any order trained with them, and one trained on complete rows alone.

python benchmarks/gaps.py DATA_FOLDER [--rows 20000] [--seeds 0,1,2] [--hidden 0,0.2] [--steps 10000]

Both are judged by the log-likelihood of the same complete rows (`TEST` of them), nats per row in the columns' own units.
They keep the weights that are best for the same other complete rows, and read columns by the same schema.

In the ocean's climate 9 % of the rows have gaps, and these are no rows like the others with something hidden: a classifier
tells them from complete ones with the same cells hidden. A density of all rows is then another one than that of complete
rows, and is less good for these by up to -log 0.91 = 0.1 nats. So there is a third model, trained on all rows and
conditioned on whether a row is complete, which gives p(x | complete) and learns from the others what they have in common.
All take as many passes over their rows.

As most tables have more gaps, further cells are hidden in a second setting, each with a probability of 0.2, which leaves a
fifth of the rows complete; there the models take as many steps. What other runs found for other settings stays in the table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from trials import Row, earlier, note, over_seeds, write

import anabranch as ab
from anabranch.draws import drawing
from anabranch.models import AnyOrder
from anabranch.tables import Schema, TableModel

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
TEST, VALIDATION, BATCH = 5_000, 2_000, 256
OPTIONS = {"learning_rate": 2e-3, "weight_decay": 0.1, "average": 0.99, "progress": False}
COMPLETE = "complete"
BY = ("more hidden", "length", "trained on")
# x and the context, or none
Rows = tuple[torch.Tensor, torch.Tensor | None]
COLUMNS = {
    "steps": ",.0f",
    "rows": ",.0f",
    "observed cells": ",.0f",
    "nats per row": ".3f",
    "ahead by": ".3f",
    "paired error": ".3f",
}


def table_of(x: NDArray[np.float32], names: list[str], told: bool) -> pa.Table:
    """A table of rows, and if told a column that says whether a row is complete."""
    columns = {name: pa.array(column, from_pandas=True) for name, column in zip(names, x.T, strict=True)}
    return pa.table({COMPLETE: ~np.isnan(x).any(axis=1), **columns} if told else columns)


def separated(x: NDArray[np.float32], seed: int) -> float:
    """How well rows with the most frequent gaps are told from others with the same hidden: the area under the curve."""
    gaps = np.isnan(x)
    patterns, counts = np.unique(gaps[gaps.any(axis=1)], axis=0, return_counts=True)
    pattern = patterns[counts.argmax()]
    some = np.flatnonzero((gaps == pattern).all(axis=1))
    others = np.random.default_rng(seed).choice(np.flatnonzero(~gaps.any(axis=1)), len(some), replace=False)
    both, y = x[np.r_[some, others]][:, ~pattern], np.repeat([1, 0], len(some))
    guess = cross_val_predict(HistGradientBoostingClassifier(), both, y, cv=5, method="predict_proba")
    return float(roc_auc_score(y, guess[:, 1]))


def fitted(schema: Schema, train: Rows, validation: Any, seed: int, steps: int) -> TableModel:
    with drawing(seed):
        density = AnyOrder(schema.families(), schema.context_size)
    density.initialize(*train)
    epochs = max(1, round(steps / -(-len(train[0]) // BATCH)))
    ab.fit(density, *train, validation=validation, epochs=epochs, batch_size=BATCH, patience=None, seed=seed, **OPTIONS)
    return TableModel(schema, density)


def encoded(schema: Schema, table: pa.Table) -> Rows:
    x, context = schema.encode(table)
    return schema.tensor(x, torch.float32), None if context is None else torch.from_numpy(context).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000, help="training rows, with gaps")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--hidden", default="0,0.2", help="probabilities with which further training cells are hidden")
    parser.add_argument("--steps", type=int, default=10_000, help="of a fit to complete rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arrays = np.load(arguments.folder / "coads.npz", allow_pickle=False)
    everything, names = arrays["x"], [str(name) for name in arrays["names"]]
    settings = [float(more) for more in arguments.hidden.split(",")]
    rows = [row for row in earlier("gaps") if row["more hidden"] not in settings or row["length"] != arguments.steps]
    told_apart = separated(everything, 0)
    for more in settings:
        for seed in map(int, arguments.seeds.split(",")):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(everything))
            whole = order[~np.isnan(everything[order]).any(axis=1)]
            test, validation = whole[:TEST], whole[TEST : TEST + VALIDATION]
            left = np.setdiff1d(order, np.concatenate([test, validation]), assume_unique=True)
            train = everything[rng.permutation(left)[: arguments.rows]].copy()
            train[rng.random(train.shape) < more] = np.nan
            train = train[~np.isnan(train).all(axis=1)]
            complete = ~np.isnan(train).any(axis=1)
            everyone = np.ones(len(train), dtype=bool)
            trials = [("complete rows", complete, False), ("all rows", everyone, False)]
            if not more:
                trials.append(("all rows, told which are complete", everyone, True))
            scores = {}
            for name, chosen, told in trials:
                begun = time.process_time()
                tables = [table_of(x, names, told) for x in (train, everything[validation], everything[test])]
                given = [COMPLETE] if told else []
                schema = Schema.infer(pa.concat_tables(tables), given=given, rows=np.arange(len(train)))
                passes = 1.0 if more else float(len(train[chosen]) / complete.sum())
                steps = round(arguments.steps * passes)
                kept = tables[0].filter(pa.array(chosen))
                model = fitted(schema, encoded(schema, kept), encoded(schema, tables[1]), seed, steps)
                scores[name] = model.log_prob(tables[2])
                difference = scores[name] - scores["complete rows"]
                row: Row = {"more hidden": more, "length": arguments.steps, "trained on": name, "seed": seed}
                row["steps"] = steps
                row["rows"] = int(chosen.sum())
                row["observed cells"] = int((~np.isnan(train[chosen])).sum())
                row["nats per row"] = float(scores[name].mean())
                row["ahead by"] = float(difference.mean())
                row["paired error"] = float(difference.std() / np.sqrt(len(difference)))
                row["seconds"] = time.process_time() - begun
                note(rows, row)
            setting = {"batch": BATCH, "test rows": TEST, "training rows": arguments.rows, "unit": schema.unit}
            setting["area under the curve, rows with gaps"] = told_apart
            ordered = sorted(rows, key=lambda row: (row["more hidden"], row["length"]))
            write("gaps", setting, ordered, over_seeds(ordered, BY, COLUMNS), PAGE)


if __name__ == "__main__":
    main()
