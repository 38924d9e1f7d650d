"""Angles that depend on each other: what tables do with them, wrapped logistics in any order, beside circular splines.

python benchmarks/angles.py run [--seeds 0,1,2] [-o angles.jsonl]
python benchmarks/angles.py summary angles.jsonl [--page]

The truth is a mixture of four chains of von Mises distributions, a, b | a and c | a, b. A direction of a chain turns with
the angles before it once, twice or backwards, so that angles are correlated all the way around. Its density is known, and so
the optimum: its mean over the same held-out rows. Both models have about as many parameters, as many epochs and the same
batches; rates, decay and averages are the defaults of tables and of flows.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from trials import Row, over_seeds, write

import anabranch as ab
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.families import Wrapped
from anabranch.models import AnyOrder, Marginals
from anabranch.training.pace import ANY_ORDER, FLOWS, Pace

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
ROWS, TEST, EPOCHS, BATCH = 5000, 10_000, 100, 256
OPTIMUM = "optimum"


class Chains:
    """The truth: components with weights w_k, of angles x_i about m_ki + sum_j n_kij x_j, j < i, with n_kij whole."""

    weights = np.array([0.4, 0.3, 0.2, 0.1])
    middles = np.array([[0.5, 1.0, 5.5], [2.0, 4.0, 1.0], [3.5, 0.2, 3.0], [5.8, 5.0, 4.5]])
    concentrations = np.array([[2.0, 20.0, 8.0], [0.5, 40.0, 20.0], [8.0, 4.0, 30.0], [30.0, 2.0, 2.0]])
    # of b by a, of c by a, of c by b
    windings = np.array([[1, 0, 1], [2, 1, 0], [-1, 0, 2], [0, 1, 1]])

    def sample(self, n: int, seed: int) -> Tensor:
        generator = np.random.default_rng(seed)
        k = generator.choice(len(self.weights), size=n, p=self.weights)
        x = np.zeros((n, 3))
        for i in range(3):
            x[:, i] = generator.vonmises(self._middle(x, k, i), self.concentrations[k, i])
        return torch.as_tensor(np.mod(x, 2 * math.pi)).float().clamp(max=6.283185)

    def log_prob(self, x: Tensor) -> Tensor:
        angles = x.double().numpy()
        of_each = []
        for k, weight in enumerate(self.weights):
            concentration = torch.as_tensor(self.concentrations[k])
            away = torch.as_tensor(np.stack([angles[:, i] - self._middle(angles, k, i) for i in range(3)], axis=-1))
            # i0e(c) = exp(-c) I0(c)
            log_p = concentration * (away.cos() - 1) - torch.log(2 * math.pi * torch.special.i0e(concentration))
            of_each.append(log_p.sum(dim=-1) + math.log(weight))
        return torch.logsumexp(torch.stack(of_each), dim=0)

    def _middle(self, x: np.ndarray, k: np.ndarray | int, i: int) -> np.ndarray:
        to_b, to_c, from_b = self.windings[k].T
        by = {0: 0.0, 1: to_b * x[:, 0], 2: to_c * x[:, 0] + from_b * x[:, 1]}
        return self.middles[k, i] + by[i]


def splines() -> Density:
    return ab.Flow(
        ab.flows.circular(3, hidden=(120, 120)), ab.densities.Uniform(torch.zeros(3), torch.full((3,), 2 * math.pi))
    )


METHODS: dict[str, tuple[Callable[[], Density], Pace]] = {
    "Wrapped, independent columns": (lambda: Marginals([Wrapped()] * 3), FLOWS),
    "Wrapped, any order (tables)": (lambda: AnyOrder([Wrapped()] * 3, hidden=104), ANY_ORDER),
    "circular splines, a flow": (splines, FLOWS),
}


def work(method: str, seed: int) -> Row:
    """One fit, and its line."""
    truth = Chains()
    x, test = truth.sample(ROWS, seed), truth.sample(TEST, 1000 + seed)
    row: Row = {"method": method, "seed": seed}
    best = float(truth.log_prob(test).mean())
    if method == OPTIMUM:
        return row | {"log-likelihood": best, "behind the optimum": 0.0}
    build, pace = METHODS[method]
    with drawing(seed):
        density = build()
    options = pace.options(ROWS, EPOCHS, BATCH) | {"batch_size": BATCH, "average": 0.99, "patience": None}
    begun = time.process_time()
    history = ab.fit(density, x, seed=seed, progress=False, compile=False, **options)
    row |= {"processor seconds": time.process_time() - begun, "best epoch": history.best_epoch}
    row["parameters"] = sum(p.numel() for p in density.parameters())
    with torch.no_grad():
        value = float(torch.cat([density.eval().log_prob(some).double() for some in test.split(2500)]).mean())
    return row | {"log-likelihood": value, "behind the optimum": best - value, "load": round(os.getloadavg()[0], 1)}


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(arguments: argparse.Namespace) -> None:
    """All fits that have no line yet."""
    torch.set_num_threads(1)
    done = {(row["method"], row["seed"]) for row in rows_of(arguments.output)}
    for seed in map(int, arguments.seeds.split(",")):
        for method in (OPTIMUM, *METHODS):
            if (method, seed) not in done:
                row = work(method, seed)
                print(json.dumps(row), flush=True)
                with arguments.output.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def summary(arguments: argparse.Namespace) -> None:
    """A Markdown table; with --page also on the page of the docs, and the runs in results/."""
    rows = rows_of(arguments.runs)
    columns = {"log-likelihood": ".3f", "behind the optimum": ".3f", "parameters": ",.0f", "processor seconds": ".0f"}
    table = over_seeds(rows, ("method",), columns)
    if arguments.page:
        write("angles", {"rows": ROWS, "test": TEST, "epochs": EPOCHS, "batch": BATCH}, rows, table, PAGE)
    else:
        print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run")
    command.set_defaults(call=run)
    command.add_argument("--seeds", default="0,1,2")
    command.add_argument("-o", "--output", type=Path, default=Path("angles.jsonl"))
    command = commands.add_parser("summary")
    command.set_defaults(call=summary)
    command.add_argument("runs", type=Path)
    command.add_argument("--page", action="store_true", help="write the table to docs/tables.md")
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
