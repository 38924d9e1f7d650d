"""Fits of tables within budgets of time, beside fits of 2,500 steps, the default before, every seed written down.

python benchmarks/budget.py DATA [--tables magic,adult,coads] [--seeds 0,1,2] [--minutes 1,3] [options]

Budgets are of processor time, which other programs on the machine do not change. The folder DATA holds NumPy archives: x and
names, or those of tables.py. `--model` is that of `fit_table`, `--rows` takes so many rows of each table, drawn by the seed.
Rows of an earlier run stay in the results, where this one has no others for the same table, model, fit and seed.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tables
import torch
from trials import Row, earlier, note, over_seeds, write

from anabranch.tables import TableWarning, fit_table
from anabranch.training.pace import ANY_ORDER, FLOWS
from anabranch.training.splitting import split_rows

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
COLUMNS = {"nats per row": ".3f", "ahead of 2,500 steps by": ".3f", "paired error": ".3f", "steps": ",.0f"}
COLUMNS |= {"minutes": ".1f", "still improving, nats a minute": ".2f"}
BEFORE = "2,500 steps"
SAME = ("table", "table rows", "model", "fit", "seed")


def read(path: Path) -> pa.Table:
    arrays = np.load(path, allow_pickle=False)
    if "num" in arrays:
        return tables.read(path)
    columns = zip(arrays["names"], arrays["x"].T, strict=True)
    return pa.table({str(name): pa.array(values, from_pandas=True) for name, values in columns})


def some_rows(table: pa.Table, rows: int, seed: int) -> pa.Table:
    """So many rows, or all of them."""
    if not 0 < rows < table.num_rows:
        return table
    return table.take(np.random.default_rng(seed).permutation(table.num_rows)[:rows])


def fitted(table: pa.Table, seed: int, **how: Any) -> tuple[Row, np.ndarray]:
    """The row of numbers of a fit, and log p of the rows it has not seen."""
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)
        model, report = fit_table(table, seed=seed, progress=False, **how)
    spent = time.process_time() - begun
    log_p = model.log_prob(table.take(split_rows(table.num_rows, seed)[2]))
    row: Row = {"nats per row": float(log_p.mean()), "standard error": report.scores[0].standard_error}
    row |= {"steps": report.steps, "best step": report.best_step, "minutes": spent / 60, "stopped": report.stopped}
    row |= {"still improving, nats a minute": report.improving, "model": report.options["model"]}
    return row | {"schedule": report.schedule}, log_p


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DATA", type=Path)
    parser.add_argument("--tables", default="magic,adult,coads")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", default="1,3")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--model", choices=("any-order", "depth", "flow"))
    parser.add_argument("--budgets-alone", action="store_true", help="run no fits of 2,500 steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.modules["anabranch.training.fit"].perf_counter = time.process_time
    # the fits alone are compared
    fitting = sys.modules["anabranch.tables.fit_table"]
    fitting.mixed_baselines = fitting.gaussian_baselines = lambda *_: {}
    rows = earlier("budget")
    for name in arguments.tables.split(","):
        everything = read(arguments.folder / f"{name}.npz")
        for seed in map(int, arguments.seeds.split(",")):
            table = some_rows(everything, arguments.rows, seed)
            found = {}
            for minutes in map(float, arguments.minutes.split(",")):
                found[f"{minutes:g} min"] = fitted(table, seed, model=arguments.model, minutes=minutes)
            if not arguments.budgets_alone:
                (first, _), *_ = found.values()
                pace = ANY_ORDER if first["model"] == "any-order" else FLOWS
                training = len(split_rows(table.num_rows, seed)[0])
                found[BEFORE] = fitted(table, seed, model=arguments.model, epochs=pace.epochs_and_batch(training)[0])
            for fit, (numbers, log_p) in found.items():
                row: Row = {"table": name, "table rows": table.num_rows, "fit": fit, "seed": seed} | numbers
                if BEFORE in found and fit != BEFORE:
                    gain = log_p - found[BEFORE][1]
                    row["ahead of 2,500 steps by"] = float(gain.mean())
                    row["paired error"] = float(gain.std(ddof=1) / np.sqrt(len(gain)))
                rows = [one for one in rows if any(one[key] != row[key] for key in SAME)]
                note(rows, row)
            rows.sort(key=lambda row: (*(row[key] for key in SAME[:3]), row["fit"] != BEFORE, row["fit"], row["seed"]))
            write("budget", {"clock": "processor time"}, rows, over_seeds(rows, SAME[:-1], COLUMNS), PAGE)


if __name__ == "__main__":
    main()
