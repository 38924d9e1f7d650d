"""Models of any order on tables of mixed columns, beside a Gaussian copula and independent columns, every seed written down.

python benchmarks/tables.py DATA_FOLDER [--tables adult,support2] [--seeds 0,1,2] [-o benchmarks/results/tables.json]

The folder holds NumPy archives: arrays num and cat (-1 for a gap) with num_names, cat_names and cat_levels (joined by |).
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from anabranch.tables import TableWarning, fit_table


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", default="adult,support2")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/tables.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for name in arguments.tables.split(","):
        table = read(arguments.folder / f"{name}.npz")
        for seed in map(int, arguments.seeds.split(",")):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TableWarning)
                _, report = fit_table(table, seed=seed, progress=False)
            results.setdefault(name, {})[str(seed)] = report.to_dict()
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")
            scores = ", ".join(f"{score.name} {score.mean:.2f}" for score in report.scores)
            print(f"{name}, seed {seed}: {scores}; fit in {report.seconds['fit']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
