"""What rows with gaps are worth: a model of any order trained with them, and one trained on complete rows alone.

python benchmarks/gaps.py DATA_FOLDER [--rows 20000] [--seeds 0,1,2] [--hidden 0,0.2] [--steps 2500,10000]

Both are judged by the log-likelihood of the same complete rows (`TEST` of them), nats per row in the columns' own units.
They take the same number of steps with batches of the same size (all rows also as many passes over them), keep the weights
that are best for the same complete rows, and read columns by the same schema. In the ocean's climate 9 % of the rows have a
gap of their own. As most tables have more, further cells are hidden in a second setting, each with a probability of 0.2,
which leaves a fifth of the rows complete. What other runs found for other settings stays in the table.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from trials import Row, earlier, note, over_seeds, write

import anabranch as ab
from anabranch.gallery.results import seeded
from anabranch.models import AnyOrder
from anabranch.tables import Schema, TableModel

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
TEST, VALIDATION, BATCH = 5_000, 2_000, 256
OPTIONS = {"learning_rate": 2e-3, "weight_decay": 0.1, "average": 0.99, "progress": False}
BY = ("more hidden", "steps", "trained on")
COLUMNS = {"rows": ",.0f", "observed cells": ",.0f", "nats per row": ".3f", "ahead by": ".3f", "paired error": ".3f"}


def table_of(x: NDArray[np.float32], names: list[str]) -> pa.Table:
    return pa.table({name: pa.array(column, from_pandas=True) for name, column in zip(names, x.T, strict=True)})


def fitted(schema: Schema, x: torch.Tensor, validation: torch.Tensor, seed: int, steps: int) -> TableModel:
    with seeded(seed):
        density = AnyOrder(schema.families(), hidden=256)
    density.initialize(x)
    epochs = max(1, round(steps / -(-len(x) // BATCH)))
    ab.fit(density, x, validation=validation, epochs=epochs, batch_size=BATCH, patience=None, seed=seed, **OPTIONS)
    return TableModel(schema, density)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000, help="training rows, with gaps")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--hidden", default="0,0.2", help="probabilities with which further training cells are hidden")
    parser.add_argument("--steps", default="2500,10000", help="of a fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arrays = np.load(arguments.folder / "coads.npz", allow_pickle=False)
    everything, names = arrays["x"], [str(name) for name in arrays["names"]]
    lengths = [int(steps) for steps in arguments.steps.split(",")]
    settings = list(itertools.product(map(float, arguments.hidden.split(",")), lengths))
    rows = [row for row in earlier("gaps") if (row["more hidden"], row["steps"]) not in settings]
    for more, steps in settings:
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
            schema = Schema.infer(
                table_of(np.concatenate([train, everything[validation], everything[test]]), names),
                rows=np.arange(len(train)),
            )
            encoded: dict[str, Any] = {
                "train": schema.encode(table_of(train, names))[0],
                "validation": schema.encode(table_of(everything[validation], names))[0],
            }
            z = {name: schema.tensor(x, torch.float32) for name, x in encoded.items()}
            held_out = table_of(everything[test], names)
            scores = {}
            everyone = np.ones(len(train), dtype=bool)
            trials = [("complete rows", complete, steps), ("all rows", everyone, steps)]
            if not more:  # where the rows are about as many, also as many passes over them
                trials.append(("all rows, as many passes", everyone, round(steps * len(train) / complete.sum())))
            for name, chosen, length in trials:
                begun = time.process_time()
                model = fitted(schema, z["train"][torch.from_numpy(chosen)], z["validation"], seed, length)
                scores[name] = model.log_prob(held_out)
                difference = scores[name] - scores["complete rows"]
                row: Row = {"more hidden": more, "steps": steps, "trained on": name, "seed": seed}
                row["rows"] = int(chosen.sum())
                row["observed cells"] = int((~np.isnan(train[chosen])).sum())
                row["nats per row"] = float(scores[name].mean())
                row["ahead by"] = float(difference.mean())
                row["paired error"] = float(difference.std() / np.sqrt(len(difference)))
                row["seconds"] = time.process_time() - begun
                note(rows, row)
            setting = {"batch": BATCH, "test rows": TEST, "training rows": arguments.rows, "unit": schema.unit}
            ordered = sorted(rows, key=lambda row: (row["more hidden"], row["steps"]))
            write("gaps", setting, ordered, over_seeds(ordered, BY, COLUMNS), PAGE)


if __name__ == "__main__":
    main()
