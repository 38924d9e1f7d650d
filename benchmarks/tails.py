"""What columns draw beyond the values seen: how often, and what that does to the mean.

python benchmarks/tails.py [--rows 1000,50000] [--seeds 0,1,2]

A column is inferred from rows of a known distribution, its family fitted to them (nine tenths to fit, one to stop by), and
as many as DRAWS values drawn. Said are the values beyond the largest seen in as many draws as rows, beside those of the
distribution itself; the mean of the draws, of the rows and of the distribution; and the mean log p of TEST further rows
beside that of the distribution.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from scipy import stats
from trials import Row, note, over_seeds, write

import anabranch as ab
from anabranch.draws import drawing
from anabranch.models import Marginals
from anabranch.tables.inference import infer_column

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
DRAWS, TEST, STEPS, BATCH = 1_000_000, 20_000, 600, 512
BY = ("distribution", "rows")
COLUMNS = {
    "beyond the largest": ".2f",
    "truth": ".2f",
    "mean of draws": ".3f",
    "of rows": ".3f",
    "of the distribution": ".3f",
    "log p": ".3f",
    "at best": ".3f",
}
DISTRIBUTIONS = {
    "normal": stats.norm(),
    "exponential": stats.expon(),
    "log-normal, sigma 1": stats.lognorm(1.0),
    "log-normal, sigma 2": stats.lognorm(2.0),
    "Student t of 3": stats.t(3),
    "Pareto of 2": stats.pareto(2),
    "Pareto of 3": stats.pareto(3),
}


def run(name: str, rows: int, seed: int) -> Row:
    truth = DISTRIBUTIONS[name]
    x = truth.rvs(rows, random_state=seed)
    column = infer_column("x", pa.array(x))
    density = Marginals([column.family()])
    z = torch.tensor(column.encode(pa.array(x)), dtype=torch.float32).unsqueeze(-1)
    density.initialize(z)
    held_out = rows // 10
    epochs = max(3, math.ceil(STEPS / (rows / BATCH)))
    ab.fit(
        density,
        z[held_out:],
        validation=z[:held_out],
        epochs=epochs,
        batch_size=min(BATCH, rows // 4),
        learning_rate=1e-2,
        seed=seed,
        progress=False,
        compile=False,
    )
    with torch.no_grad(), drawing(seed):
        drawn = column.decode(density.sample((DRAWS,))[:, 0].double().numpy()).to_numpy(zero_copy_only=False)
        further = pa.array(truth.rvs(TEST, random_state=1000 + seed))
        code = column.encode(further)
        log_p = density.log_prob(torch.tensor(code, dtype=torch.float32).unsqueeze(-1)).double().numpy()
    return {
        "distribution": name,
        "rows": rows,
        "seed": seed,
        "beyond the largest": float((drawn > x.max()).mean() * rows),
        "truth": float(truth.sf(x.max()) * rows),
        "mean of draws": float(drawn.mean()),
        "of rows": float(x.mean()),
        "of the distribution": float(truth.mean()),
        "log p": float((log_p + column.log_det(code)).mean()),
        "at best": float(truth.logpdf(further.to_numpy()).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="1000,50000")
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    results: list[Row] = []
    for name in DISTRIBUTIONS:
        for rows in map(int, arguments.rows.split(",")):
            for seed in map(int, arguments.seeds.split(",")):
                note(results, run(name, rows, seed))
    table = over_seeds(results, BY, COLUMNS)
    write("tails", {"draws": DRAWS, "steps": STEPS, "seeds": arguments.seeds}, results, table, PAGE)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
