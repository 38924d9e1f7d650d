"""Whether heavy tails come back heavy: spline flows of normal and of heavy tails on a Student t and a Pareto distribution.

python benchmarks/heavy_tails.py run [--seeds 0,1,2] [-o runs.jsonl]
python benchmarks/heavy_tails.py summary runs.jsonl [--page]

A fit whose line is in the JSON lines is not run again. The tail index alpha is Hill's estimate, 1 over the mean of
log(X_(i) / X_(k + 1)), of the largest thousandth of a million draws, or of the 200,000 rows themselves; of both
distributions it is 2. The quantile is that of 99.9 %, over the true one.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from runs import Runs, command_line, seeds_of
from torch import Tensor
from torch.distributions import Pareto, StudentT
from trials import Row, over_seeds

import anabranch as ab
from anabranch.draws import drawing
from anabranch.transforms import HeavyTails

PAGE = Path(__file__).parent.parent / "docs" / "flows.md"
ROWS, TEST, DRAWS = 200_000, 50_000, 1_000_000
LARGEST = 1e-3
ALPHA = 2.0
FIT = {"epochs": 6, "batch_size": 2048, "learning_rate": 5e-3, "average": 0.99, "patience": None}
DISTRIBUTIONS = {"Student t, 2 degrees": StudentT(ALPHA), "Pareto, alpha 2": Pareto(1.0, ALPHA)}
# Student's t of 2 degrees has the distribution function (1 + x / sqrt(2 + x^2)) / 2
QUANTILES = {"Student t, 2 degrees": 0.998 * math.sqrt(2 / (1 - 0.998**2)), "Pareto, alpha 2": 1e3**0.5}
METHODS = {"the rows": None, 'nsf, tails="normal"': "normal", 'nsf, tails="heavy"': "heavy"}


def hill(x: Tensor) -> float:
    """The tail index of a sample (n)."""
    ordered = x.double().topk(round(LARGEST * len(x)) + 1).values
    return 1 / float((ordered[:-1] / ordered[-1]).log().mean())


def run(arguments: argparse.Namespace, runs: Runs) -> None:
    """All fits that have no line yet."""
    for seed in map(int, arguments.seeds.split(",")):
        for name, truth in DISTRIBUTIONS.items():
            with drawing(seed):
                x, test = truth.sample((ROWS, 1)), truth.sample((TEST, 1))
            for method, tails in METHODS.items():
                if (name, method, seed) in runs:
                    continue
                row: Row = {"distribution": name, "flow": method, "seed": seed}
                drawn = x[:, 0]
                if tails is not None:
                    with drawing(seed):
                        flow = ab.Flow(ab.flows.nsf(1, blocks=2, hidden=(16,), tails=tails))
                    used = time.process_time()
                    flow.initialize(x)
                    ab.fit(flow, x, seed=seed, progress=False, compile=False, **FIT)
                    row["processor seconds"] = time.process_time() - used
                    with torch.no_grad():
                        log_p = flow.eval().log_prob(test).double()
                    row["nats behind the truth"] = float((truth.log_prob(test)[:, 0].double() - log_p).mean())
                    drawn = flow.sample((DRAWS,), generator=seed)[:, 0]
                    trained = [part.indices()[0] for part in flow.modules() if isinstance(part, HeavyTails)]
                    row["1 / trained index, upper"] = 1 / float(trained[0][1]) if trained else None
                row["alpha, upper"] = hill(drawn)
                row["alpha, lower"] = hill(-drawn) if isinstance(truth, StudentT) else None
                quantile = float(drawn.double().kthvalue(round(0.999 * len(drawn))).values)
                row["quantile, of the true one"] = quantile / QUANTILES[name]
                runs.add(row)


def summary(rows: list[Row]) -> str:
    """The table over seeds."""
    methods = list(METHODS)
    rows = sorted(rows, key=lambda row: (list(DISTRIBUTIONS).index(row["distribution"]), methods.index(row["flow"])))
    forms = {"alpha, upper": ".2f", "alpha, lower": ".2f", "quantile, of the true one": ".3f"}
    forms |= {"nats behind the truth": ".4f", "1 / trained index, upper": ".2f", "processor seconds": ".0f"}
    table = over_seeds(rows, ("distribution", "flow"), forms)
    return f"{seeds_of(len({row['seed'] for row in rows}), f'{ROWS:,} rows to fit')}\n\n{table}"


if __name__ == "__main__":
    command_line(__doc__, PAGE, ("distribution", "flow", "seed"), run, summary)
