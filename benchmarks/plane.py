"""Every recipe of `flows` on densities of the plane, beside the optimum, which is known of each.

python benchmarks/plane.py run [--sets "moons|spirals"] [--recipes "nsf|maf"] [--seeds 0,1,2] [--steps 800] [-o runs.jsonl]
python benchmarks/plane.py summary runs.jsonl [--page]

A fit whose line is in the JSON lines is not run again.

Chequerboard and two Gaussians are those of an exercise of the ProbAI summer school: the five squares of a 3 x 3 board on
[0, 1]^2, log p = log(9 / 5) = 0.588; and N((3/4, 3/4), 0.1^2) of weight 1/5 beside N((1/4, 1/4), 0.1^2) of 4/5, whose mean
log p is 1.266. Pinwheel and circles are those of `anabranch.datasets`. Moons and spirals are 2,000 points of a curve with
normal noise, a mixture of as many normals.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from runs import Runs, command_line, seeds_of
from torch import Tensor
from trials import OPTIONS, Row, gaussian_mixture, over_seeds

import anabranch as ab
from anabranch.datasets import Circles, Pinwheel
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.objectives import FlowMatching
from anabranch.transforms import Chain

PAGE = Path(__file__).parent.parent / "docs" / "flows.md"
ROWS, TEST, POINTS = 4096, 10_000, 2000
HIDDEN = (64, 64)
CONTINUOUS = "continuous, by flow matching"
OPTIMUM, BASELINE = "optimum", "Gaussian mixture, size by validation"


class Noisy:
    """Points (points, 2) of a curve, all as likely, with normal noise."""

    def __init__(self, points: Tensor, noise: float) -> None:
        self.points, self.noise = points, noise

    def sample(self, n: int) -> Tensor:
        return self.points[torch.randint(len(self.points), (n,))] + self.noise * torch.randn(n, 2)

    def log_prob(self, x: Tensor) -> Tensor:
        near = [
            torch.logsumexp(-0.5 * torch.cdist(some, self.points).square() / self.noise**2, 1) for some in x.split(500)
        ]
        return torch.cat(near) - math.log(2 * math.pi * self.noise**2 * len(self.points))


class Chequerboard:
    """Uniform over the squares of a 3 x 3 board on [0, 1]^2 whose row and column have an even sum."""

    def sample(self, n: int) -> Tensor:
        square = 2 * torch.randint(5, (n,))
        return (torch.stack([square // 3, square % 3], dim=-1) + torch.rand(n, 2)) / 3

    def log_prob(self, x: Tensor) -> Tensor:
        square = (3 * x).floor()
        inside = ((x >= 0) & (x < 1)).all(dim=-1) & (square.sum(dim=-1) % 2 == 0)
        return torch.where(inside, math.log(9 / 5), -torch.inf)


class Drawn:
    """A density of the library."""

    def __init__(self, density: Density) -> None:
        self.density = density

    def sample(self, n: int) -> Tensor:
        return self.density.sample((n,))

    def log_prob(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.density.log_prob(some) for some in x.split(5000)])


def moons() -> Noisy:
    angle = math.pi * (torch.arange(POINTS // 2) + 0.5) / (POINTS // 2)
    upper = torch.stack([angle.cos(), angle.sin()], dim=-1)
    return Noisy(torch.cat([upper, torch.tensor([1.0, 0.5]) - upper]), 0.05)


def spirals() -> Noisy:
    way = ((torch.arange(POINTS // 2) + 0.5) / (POINTS // 2)).sqrt()
    arm = (way * torch.stack([(3 * math.pi * way).cos(), (3 * math.pi * way).sin()])).T
    return Noisy(torch.cat([arm, -arm]), 0.03)


def two_gaussians() -> Drawn:
    means = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
    return Drawn(ab.densities.GaussianMixture(means, 0.1, weights=[0.2, 0.8]))


SETS: dict[str, Callable[[], Noisy | Chequerboard | Drawn]] = {
    "two Gaussians": two_gaussians,
    "chequerboard": Chequerboard,
    "pinwheel": lambda: Drawn(Pinwheel()),
    "circles": lambda: Drawn(Circles()),
    "moons": moons,
    "spirals": spirals,
}
RECIPES: dict[str, Callable[[], Chain]] = {
    "nsf": lambda: ab.flows.nsf(2, hidden=HIDDEN),
    "nsf, coupling": lambda: ab.flows.nsf(2, hidden=HIDDEN, structure="coupling"),
    "naf": lambda: ab.flows.naf(2, hidden=HIDDEN),
    "bernstein": lambda: ab.flows.bernstein(2, hidden=HIDDEN),
    "maf": lambda: ab.flows.maf(2, hidden=HIDDEN),
    "iaf": lambda: ab.flows.iaf(2, hidden=HIDDEN),
    "realnvp": lambda: ab.flows.realnvp(2, hidden=HIDDEN),
    "nice": lambda: ab.flows.nice(2, hidden=HIDDEN),
    "sylvester": lambda: ab.flows.sylvester(2, blocks=8),
    "planar": lambda: ab.flows.planar(2, blocks=16),
    "radial": lambda: ab.flows.radial(2, blocks=16),
    "householder": lambda: ab.flows.householder(2),
    "residual": lambda: ab.flows.residual(2),
    CONTINUOUS: lambda: ab.flows.continuous(2),
}
# of 2e-2, 3e-2 and 5e-2 the best for RealNVP and splines together, on circles and pinwheel (seed 0); AdamW is far behind
RATES: dict[str, Any] = {"optimizer": ab.training.Muon, "learning_rate": 2e-2}
# a step of flow matching solves nothing; four of them take about the time of one step of a spline flow
MATCHING: dict[str, Any] = {"objective": FlowMatching(), "average": 0.999}
MORE = 4


def run(arguments: argparse.Namespace, runs: Runs) -> None:
    """All fits that have no line yet."""
    for seed in map(int, arguments.seeds.split(",")):
        for name in arguments.sets.split("|"):
            truth = SETS[name]()
            with drawing(seed):
                x, test = truth.sample(ROWS), truth.sample(TEST)
            mean, scale = x.mean(dim=0), x.std(dim=0)
            log_scale = float(scale.log().sum())
            for recipe in (OPTIMUM, BASELINE, *arguments.recipes.split("|")):
                if (name, recipe, seed) in runs:
                    continue
                row: Row = {"set": name, "recipe": recipe, "seed": seed}
                if recipe == OPTIMUM:
                    row["log-likelihood"] = float(truth.log_prob(test).double().mean())
                else:
                    begun, used = time.monotonic(), time.process_time()
                    density = fitted(recipe, (x - mean) / scale, seed, arguments.steps)
                    row |= {"seconds": time.monotonic() - begun, "processor seconds": time.process_time() - used}
                    row["parameters"] = sum(p.numel() for p in density.parameters())
                    with torch.no_grad():
                        log_p = torch.cat(
                            [density.log_prob(some).double() for some in ((test - mean) / scale).split(2500)]
                        )
                    row["log-likelihood"] = float(log_p.mean()) - log_scale
                runs.add(row)


def fitted(recipe: str, x: Tensor, seed: int, steps: int) -> Density:
    if recipe == BASELINE:
        return gaussian_mixture(x, seed)[0]
    with drawing(seed):
        flow = ab.Flow(RECIPES[recipe]())
    matched = recipe == CONTINUOUS
    epochs = math.ceil(steps * (MORE if matched else 1) / (ROWS / OPTIONS["batch_size"]))
    options = {**OPTIONS, **RATES, **(MATCHING if matched else {})}
    ab.fit(flow, x, epochs=epochs, seed=seed, validation=0, progress=False, compile=False, **options)
    return flow.eval()


def summary(rows: list[Row]) -> str:
    """The table, one line for a recipe and one column for a set: the mean log-likelihood of rows to score."""
    wide: dict[tuple[str, int], Row] = {}
    for row in rows:
        line = wide.setdefault((row["recipe"], row["seed"]), {"recipe": row["recipe"]})
        line[row["set"]] = row["log-likelihood"]
    forms = {name: ".3f" for name in SETS if any(name in line for line in wide.values())}
    order = [OPTIMUM, BASELINE, *RECIPES]
    lines = sorted(wide.values(), key=lambda line: order.index(line["recipe"]))
    seconds = {}
    for row in rows:
        seconds.setdefault(row["recipe"], []).append(row.get("processor seconds", 0.0))
    for line in lines:
        line["processor seconds a fit"] = sum(seconds[line["recipe"]]) / len(seconds[line["recipe"]]) or None
    table = over_seeds(lines, ("recipe",), forms | {"processor seconds a fit": ".0f"})
    about = f"{ROWS:,} rows to fit, {TEST:,} to score"
    return f"{seeds_of(len({row['seed'] for row in rows}), about)}\n\n{table}"


if __name__ == "__main__":
    names = {"sets": "|".join(SETS), "recipes": "|".join(RECIPES)}
    command_line(__doc__, PAGE, ("set", "recipe", "seed"), run, summary, **names, steps=800)
