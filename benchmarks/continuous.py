"""Flows in continuous time on the 2-D set: flow matching beside training by likelihood, and beside a spline flow.

python benchmarks/continuous.py [--seeds 0,1,2] [--sets pinwheel,circles,checkerboard] [--methods "likelihood|flow matching"]

All in one process of one thread, in turns; seconds are of the processor, so that other work on the machine counts little.
Every flow is scored afterwards by its exact trace at tolerance 1e-5, whatever solver it was trained with. A run that
results/continuous.json holds is not repeated.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import torch
from trials import Row, earlier, note, over_seeds, write

import anabranch as ab
from anabranch.datasets import Circles, Pinwheel
from anabranch.draws import drawing
from anabranch.objectives import FlowMatching
from anabranch.transforms import Adaptive

PAGE = Path(__file__).parent.parent / "docs" / "continuous.md"
ROWS, TEST = 2560, 1000
# of Muon's rates 2e-2, 5e-2 and 0.1 the best for flow matching and for splines, and no worse for likelihood than AdamW at
# 5e-3 (circles, seed 0)
FIT: dict[str, Any] = {
    "optimizer": ab.training.Muon,
    "learning_rate": 5e-2,
    "average": 0.99,
    "patience": None,
    "validation": 0,
    "compile": False,
}
# so that flow matching takes less than half of the time of training by likelihood
METHODS: dict[str, dict[str, Any]] = {
    "likelihood": {"epochs": 30, "batch_size": 512},
    "flow matching": {"epochs": 400, "batch_size": 512, "objective": FlowMatching()},
    "flow matching, transport": {"epochs": 75, "batch_size": 128, "objective": FlowMatching(transport=True)},
    "spline flow, likelihood": {"epochs": 60, "batch_size": 512},
}


def checkerboard(rows: int, seed: int) -> torch.Tensor:
    """Every other one of 4 x 4 squares of side 2, evenly: log p = -log 32 on them."""
    generator = torch.Generator().manual_seed(seed)
    column = torch.randint(4, (rows,), generator=generator)
    row = 2 * torch.randint(2, (rows,), generator=generator) + column % 2
    return 2 * (torch.stack([column, row], dim=-1) + torch.rand(rows, 2, generator=generator)) - 4


def data(name: str, seed: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Rows to fit, rows to score, and the best mean log-density that those can have."""
    if name == "checkerboard":
        return checkerboard(ROWS, seed), checkerboard(TEST, 10_000 + seed), -math.log(32)
    toy = Pinwheel(5, rate=0.4) if name == "pinwheel" else Circles()
    (x, _), (test, _) = (toy.rows(count // toy.components, s) for count, s in ((ROWS, seed), (TEST, 10_000 + seed)))
    return x, test, float(toy.log_prob(test).mean())


def untrained(method: str) -> ab.Flow:
    """A flow of about as many parameters as the others."""
    if method.startswith("spline"):
        return ab.Flow(ab.flows.nsf(2, blocks=4, hidden=(32, 32), bins=8, structure="coupling"))
    return ab.Flow(ab.flows.continuous(2, hidden=(64, 64, 64), solver=Adaptive(1e-3)))


def run(name: str, method: str, seed: int) -> Row:
    """One fit, and what it comes to."""
    x, test, best = data(name, seed)
    with drawing(seed):
        flow = untrained(method)
    watch = time.process_time()
    ab.fit(flow, x, seed=seed, progress=False, **FIT, **METHODS[method])
    seconds = time.process_time() - watch
    flow.eval()
    for part in flow.modules():
        if isinstance(part, ab.transforms.Continuous):
            part.solver = Adaptive(1e-5)
    with torch.no_grad():
        found = float(flow.log_prob(test).mean())
    count = sum(parameter.numel() for parameter in flow.parameters())
    return {
        "set": name,
        "method": method,
        "seed": seed,
        "log_likelihood": found,
        "below_optimum": best - found,
        "seconds": seconds,
        "parameters": count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sets", default="pinwheel,circles,checkerboard")
    parser.add_argument("--methods", help="names between |; all by default")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = earlier("continuous")
    done = {(row["set"], row["method"], row["seed"]) for row in rows}
    turns: list[tuple[str, str, int]] = [
        (name, method, int(seed))
        for name in given.sets.split(",")
        for seed in given.seeds.split(",")
        for method in METHODS
        if given.methods is None or method in given.methods.split("|")
    ]
    for turn in turns:
        if turn not in done:
            note(rows, run(*turn))
            keep(rows)
    keep(rows)


def keep(rows: list[Row]) -> None:
    """Write all runs so far, and the table over them."""
    sets = list(dict.fromkeys(row["set"] for row in rows))

    def order(row: Row) -> tuple[int, int]:
        return sets.index(row["set"]), list(METHODS).index(row["method"])

    columns = {"log_likelihood": ".2f", "below_optimum": ".2f", "seconds": ".0f", "parameters": ",.0f"}
    table = over_seeds(sorted(rows, key=order), ("set", "method"), columns)
    setting = {
        **FIT,
        "methods": {name: {k: str(v) for k, v in how.items()} for name, how in METHODS.items()},
    }
    write("continuous", setting, rows, table, PAGE)


if __name__ == "__main__":
    main()
