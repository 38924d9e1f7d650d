"""Whether heavy tails come back heavy: spline flows of normal and of heavy tails on a Student t and a Pareto distribution.

python benchmarks/heavy_tails.py run [--seeds 0,1,2] [-o runs.jsonl]
python benchmarks/heavy_tails.py summary runs.jsonl [--page]

A fit whose line is in the JSON lines is not run again. The tail index alpha is Hill's estimate, 1 over the mean of
log(X_(i) / X_(k + 1)), of the largest thousandth of a million draws, or of the 200,000 rows themselves; of both
distributions it is 2. The quantile is that of 99.9 %, over the true one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import torch
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


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(arguments: argparse.Namespace) -> None:
    """All fits that have no line yet."""
    done = {(row["distribution"], row["flow"], row["seed"]) for row in rows_of(arguments.output)}
    torch.set_num_threads(1)
    for seed in map(int, arguments.seeds.split(",")):
        for name, truth in DISTRIBUTIONS.items():
            with drawing(seed):
                x, test = truth.sample((ROWS, 1)), truth.sample((TEST, 1))
            for method, tails in METHODS.items():
                if (name, method, seed) in done:
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
                row["load"] = round(os.getloadavg()[0], 1)
                with arguments.output.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


def summary(arguments: argparse.Namespace) -> None:
    """The table over seeds."""
    rows = rows_of(arguments.runs)
    order = list(METHODS)
    rows.sort(key=lambda row: (list(DISTRIBUTIONS).index(row["distribution"]), order.index(row["flow"])))
    forms = {"alpha, upper": ".2f", "alpha, lower": ".2f", "quantile, of the true one": ".3f"}
    forms |= {"nats behind the truth": ".4f", "1 / trained index, upper": ".2f", "processor seconds": ".0f"}
    table = over_seeds(rows, ("distribution", "flow"), forms)
    print(table)
    if arguments.page:
        text, mark, end = PAGE.read_text(), "<!-- table heavy_tails -->", "<!-- end -->"
        before, after = text.split(mark, 1)
        count = len({row["seed"] for row in rows})
        note = f"{count} seed{'s' * (count > 1)}, {ROWS:,} rows to fit."
        PAGE.write_text(f"{before}{mark}\n\n{note}\n\n{table}\n\n{end}{after.split(end, 1)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run")
    command.add_argument("--seeds", default="0,1,2")
    command.add_argument("-o", "--output", type=Path, default=Path("heavy_tails.jsonl"))
    command.set_defaults(do=run)
    command = commands.add_parser("summary")
    command.add_argument("runs", type=Path)
    command.add_argument("--page", action="store_true")
    command.set_defaults(do=summary)
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
