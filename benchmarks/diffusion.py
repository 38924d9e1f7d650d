"""Diffusions of digits, in nats and bits of the levels, and of the plane, by the likelihood of their differential equation.

python benchmarks/diffusion.py run [--sets "digits|moons"] [--methods "convolutions|mlp"] [--seeds 0,1,2] [-o runs.jsonl]
python benchmarks/diffusion.py summary runs.jsonl [--page]

scikit-learn's digits, 8 x 8 pixels of 17 levels, rows 1000/350/447 in order (fit / stop / score): the bound of chains of 50,
250 and of infinitely many steps, eight draws for each image; the estimate of a chain of 50 steps by 16 weighted chains for
each image, which lies below log p in the mean. The sets of the plane are those of plane.py, as are the rows and the spline
flow beside: log p of the differential equation, exact trace, tolerance 1e-5. A fit whose line is in the JSON lines is not
run again. One thread; seconds are of the processor.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import torch
from plane import ROWS, SETS, TEST
from plane import fitted as fitted_flow
from runs import Runs, command_line, seeds_of
from trials import Row, over_seeds

import anabranch as ab
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.gallery.data import load_levelled
from anabranch.models import Diffusion
from anabranch.transforms import Adaptive

PAGE = Path(__file__).parent.parent / "docs" / "diffusion.md"
FIT: dict[str, Any] = {"patience": None, "progress": False, "compile": False}
# what the validation rows chose
DIGITS: dict[str, dict[str, Any]] = {
    "mlp": {
        "model": {"network": "mlp", "hidden": 256, "blocks": 3},
        "fit": {"epochs": 300, "batch_size": 100, "learning_rate": 2e-3, "average": 0.995},
    },
    "convolutions": {
        "model": {"network": "convolutions", "hidden": 32, "blocks": 3},
        "fit": {
            "epochs": 120,
            "batch_size": 100,
            "learning_rate": 2e-2,
            "weight_decay": 0.1,
            "optimizer": ab.training.Muon,
            "average": 0.995,
        },
    },
}
# rows of the plane that are scored, which solves an equation for each
SCORED = 2000
PLANE: dict[str, Any] = {
    "model": {"hidden": 64, "blocks": 3, "low": -10.0},
    "fit": {
        "epochs": 400,
        "batch_size": 512,
        "learning_rate": 2e-2,
        "weight_decay": 1e-2,
        "optimizer": ab.training.Muon,
        "average": 0.998,
        "validation": 0,
    },
}
FLOW, SPLINE, OPTIMUM = "differential equation", "spline flow", "optimum"


def run(arguments: argparse.Namespace, runs: Runs) -> None:
    """All fits that have no line yet."""
    methods = arguments.methods.split("|")
    for seed in map(int, arguments.seeds.split(",")):
        for name in arguments.sets.split("|"):
            if name != "digits":
                plane(name, [method for method in (OPTIMUM, SPLINE, FLOW) if method in methods], seed, runs)
            else:
                digits([method for method in DIGITS if method in methods], seed, runs)


def digits(networks: list[str], seed: int, runs: Runs) -> None:
    """A diffusion of each network."""
    data = load_levelled("digits")
    for network in networks:
        if ("digits", network, seed) in runs:
            continue
        with drawing(seed):
            model = ab.diffusions.images((1, 8, 8), 17, **DIGITS[network]["model"])
        begun = time.process_time()
        history = ab.fit(model, data.x, validation=data.validation, seed=seed, **FIT, **DIGITS[network]["fit"])
        row: Row = {"set": "digits", "method": network, "seed": seed, "seconds": time.process_time() - begun}
        row |= {"best": history.best_epoch, "parameters": sum(p.numel() for p in model.parameters())}
        runs.add(row | nats(model.eval(), data, seed))


def nats(model: Diffusion, data: Any, seed: int) -> Row:
    """Bounds and an estimate of the scored images, and the bound of the others, nats an image."""
    row: Row = {}
    with torch.no_grad():
        for name, x in (("validation", data.validation), ("fitted", data.x), ("scored", data.test)):
            row[f"bound, {name}"] = -float(model.continuous_bound(x.expand(8, *x.shape), generator=seed).mean())
        x = data.test
        for steps in (50, 250):
            bound = model.at_steps(steps).lower_bound(x.expand(8, *x.shape), generator=seed)
            row[f"bound, {steps} steps"] = -float(bound.mean())
        row["bits"] = row["bound, scored"] / (64 * math.log(2))
        value, error = model.at_steps(50).estimate(x, samples=16, generator=seed)
        row |= {"estimate, 50 steps": -float(value.mean()), "error of an image": float(error.mean())}
    return row


def plane(name: str, methods: list[str], seed: int, runs: Runs) -> None:
    """A diffusion and a spline flow, beside the optimum."""
    truth = SETS[name]()
    with drawing(seed):
        x, test = truth.sample(ROWS), truth.sample(TEST)[:SCORED]
    mean, scale = x.mean(dim=0), x.std(dim=0)
    x, scored, log_scale = (x - mean) / scale, (test - mean) / scale, float(scale.log().sum())
    for method in methods:
        if (name, method, seed) in runs:
            continue
        row: Row = {"set": name, "method": method, "seed": seed}
        if method == OPTIMUM:
            runs.add(row | {"log-likelihood": float(truth.log_prob(test).double().mean())})
            continue
        begun = time.process_time()
        density: Density = fitted_flow("nsf", x, seed, 800) if method == SPLINE else diffused(x, seed)
        row["seconds"] = time.process_time() - begun
        row["parameters"] = sum(p.numel() for p in density.parameters())
        with torch.no_grad():
            if isinstance(density, Diffusion):
                bound = density.continuous_bound(scored.expand(8, *scored.shape), generator=seed)
                row["bound"] = float(bound.mean()) - log_scale
                density = density.flow(solver=Adaptive(1e-5))
            log_p = torch.cat([density.log_prob(some) for some in scored.split(2500)])
        runs.add(row | {"log-likelihood": float(log_p.double().mean()) - log_scale})


def diffused(x: torch.Tensor, seed: int) -> Diffusion:
    with drawing(seed):
        model = ab.diffusions.vectors(2, **PLANE["model"])
    ab.fit(model, x, seed=seed, **FIT, **PLANE["fit"])
    return model.eval()


def summary(rows: list[Row]) -> str:
    """The tables of the digits and of the plane."""
    of_digits = [row for row in rows if row["set"] == "digits"]
    columns = {
        "bound, scored": ".2f",
        "bits": ".3f",
        "bound, 250 steps": ".2f",
        "bound, 50 steps": ".2f",
        "estimate, 50 steps": ".2f",
        "error of an image": ".2f",
        "bound, validation": ".2f",
        "bound, fitted": ".2f",
        "parameters": ",.0f",
        "seconds": ".0f",
    }
    texts = []
    if of_digits:
        count = seeds_of(
            len({row["seed"] for row in of_digits}), "digits, nats an image; bits for each of the 64 pixels"
        )
        texts += [count, over_seeds(of_digits, ("method",), columns)]
    order = (OPTIMUM, SPLINE, FLOW)
    of_plane = [row for row in rows if row["set"] != "digits"]
    of_plane.sort(key=lambda row: (list(SETS).index(row["set"]), order.index(row["method"])))
    columns = {"log-likelihood": ".3f", "bound": ".3f", "parameters": ",.0f", "seconds": ".0f"}
    if of_plane:
        count = seeds_of(
            len({row["seed"] for row in of_plane}), f"{ROWS:,} rows to fit, {SCORED:,} to score, nats a row"
        )
        texts += [count, over_seeds(of_plane, ("set", "method"), columns)]
    return "\n\n".join(texts)


if __name__ == "__main__":
    command_line(
        __doc__,
        PAGE,
        ("set", "method", "seed"),
        run,
        summary,
        sets="|".join(["digits", *SETS]),
        methods="|".join([*DIGITS, OPTIMUM, SPLINE, FLOW]),
    )
