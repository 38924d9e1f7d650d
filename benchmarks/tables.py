"""Models of any order on tables of mixed columns, beside a Gaussian copula and independent columns, every seed written down.

python benchmarks/tables.py DATA_FOLDER [--tables adult,support2] [--seeds 0,1,2] [--minutes 5] [--models FOLDER]

The folder holds NumPy archives: arrays num and cat (-1 for a gap) with num_names, cat_names and cat_levels (joined by |).
Rows of an earlier run stay in the results, where this one has no others for the same table and seed.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from trials import Row, earlier, note, over_seeds, write

import anabranch as ab
from anabranch.tables import TableWarning, fit_table

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
COLUMNS = {"nats per row": ".2f", "AnyOrder ahead by": ".2f", "paired error": ".2f", "minutes": ".1f"}


def read(path: Path) -> pa.Table:
    arrays = np.load(path, allow_pickle=False)
    columns = {
        str(name): pa.array(values, from_pandas=True)
        for name, values in zip(arrays["num_names"], arrays["num"].T, strict=True)
    }
    for name, values, levels in zip(arrays["cat_names"], arrays["cat"].T, arrays["cat_levels"], strict=True):
        words = str(levels).split("|")
        columns[str(name)] = pa.array([None if k < 0 else words[k] for k in values])
    return pa.table(columns)


def model_of(folder: Path, name: str, seed: int) -> Path:
    """Where the model of a table and a seed is kept."""
    return folder / f"{name}-{seed}.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", default="adult,support2")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=5, help="of each fit, at most")
    parser.add_argument("--models", type=Path, help="a folder to keep the models in, for imputation.py")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.models:
        arguments.models.mkdir(parents=True, exist_ok=True)
    rows = earlier("tables")
    for name in arguments.tables.split(","):
        table = read(arguments.folder / f"{name}.npz")
        for seed in map(int, arguments.seeds.split(",")):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TableWarning)
                model, report = fit_table(table, seed=seed, minutes=arguments.minutes, progress=False)
            if arguments.models:
                ab.save(model, model_of(arguments.models, name, seed))
            setting = {"table": name, "fit": f"{arguments.minutes:g} min", "seed": seed}
            rows = [row for row in rows if any(row.get(key) != value for key, value in setting.items())]
            for score in report.scores:
                row: Row = {**setting, "density": score.name, "nats per row": score.mean}
                row |= {"standard error": score.standard_error, "AnyOrder ahead by": score.gain}
                row |= {"paired error": score.gain_standard_error, "rows": report.rows["test"]}
                if score is report.scores[0]:
                    row |= {"minutes": report.seconds["fit"] / 60, "epochs": report.epochs}
                    row |= {"best epoch": report.best_epoch, "parameters": report.parameters}
                note(rows, row)
            names = [score.name for score in report.scores]
            rows.sort(key=lambda row: (row["table"], row["fit"], names.index(row["density"]), row["seed"]))
            write("tables", report.options, rows, over_seeds(rows, ("table", "fit", "density"), COLUMNS), PAGE)


if __name__ == "__main__":
    main()
