"""Flows of images: what fitted noise and the logit are worth, in nats and bits of the levels.

python benchmarks/image_flows.py run [--methods "RealNVP|RealNVP, uniform noise"] [--seeds 0,1,2] [-o image_flows.jsonl]
python benchmarks/image_flows.py summary image_flows.jsonl [--page]

scikit-learn's digits, 8 x 8 pixels of 17 levels, rows 1000/350/447 in order. Nats and bits are those of the levels, a
probability: importance weighting by 50 draws of the noise for each image (`Dequantized.estimate`), which in the mean are too
many. "bound" is by one draw. A line of the JSON lines for each fit; one whose line is there is not run again. The methods:
a recipe of `anabranch.gallery.image_flows`; the same with uniform noise; the same whose pixels are on [0, 1), without a
logit. `anabranch gallery images` puts all recipes beside simple baselines.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from fits import table_of
from runs import Runs, command_line
from trials import Row

import anabranch as ab
from anabranch.densities import Dequantized
from anabranch.draws import drawing
from anabranch.gallery.data import load_levelled
from anabranch.gallery.image_flows import SMALL, build
from anabranch.gallery.results import count_parameters

PAGE = Path(__file__).parent.parent / "docs" / "image_flows.md"
UNIFORM, NO_LOGIT = ", uniform noise", ", no logit"
ALL = tuple(f"RealNVP{more}" for more in ("", UNIFORM, NO_LOGIT))
EPOCHS, SAMPLES = 12, 50


def density_of(method: str) -> Dequantized:
    """One of the flows, not fitted yet."""
    made = build(method.removesuffix(UNIFORM).removesuffix(NO_LOGIT), (1, 8, 8), 17, SMALL)
    noise = None if method.endswith(UNIFORM) else made.noise
    return Dequantized(made.density, 17, noise, logit=not method.endswith(NO_LOGIT))


def nats(density: Dequantized, rows: torch.Tensor, seed: int) -> tuple[float, float, float]:
    """Of the levels, by importance weighting, with the mean error of an image; and the bound."""
    parts = [density.estimate(some, samples=SAMPLES, generator=seed + i) for i, some in enumerate(rows.split(64))]
    value, error = (torch.cat(each).double() for each in zip(*parts, strict=True))
    with torch.no_grad():
        bound = density.lower_bound(rows.expand(4, *rows.shape), generator=seed).double().mean()
    return -float(value.mean()), float(error.mean()), -float(bound)


def work(method: str, seed: int, arguments: argparse.Namespace) -> Row:
    """One fit, and its line."""
    images = load_levelled("digits")
    row: Row = {"method": method, "seed": seed}
    begun = time.process_time()
    with drawing(seed):
        density = density_of(method)
    history = ab.fit(
        density,
        images.x,
        validation=images.validation,
        epochs=arguments.epochs,
        seed=seed,
        patience=None,
        **SMALL.fit,
    )
    row |= {"best": history.best_epoch, "epochs": len(history.epochs)}
    seconds = time.process_time() - begun
    value, error, bound = nats(density.eval(), images.test, seed)
    row |= {"nats": value, "bits": value / (64 * math.log(2)), "error of an image": error, "bound": bound}
    with torch.no_grad():
        parts = {"bound of validation rows": images.validation, "bound of fitted rows": images.x}
        row |= {name: -float(density.lower_bound(x, generator=seed).double().mean()) for name, x in parts.items()}
    return row | {"parameters": count_parameters(density), "seconds": seconds}


def run(arguments: argparse.Namespace, runs: Runs) -> None:
    """All fits that have no line yet."""
    for seed in map(int, arguments.seeds.split(",")):
        for method in arguments.methods.split("|"):
            if (method, seed) not in runs:
                runs.add(work(method, seed, arguments))


def summary(rows: list[Row]) -> str:
    """A line for each method, the fewest nats first."""
    columns = {
        "bits": ("bits per dimension", ".3f"),
        "bound": ("bound", ".2f"),
        "parameters": ("parameters", ",.0f"),
        "seconds": ("seconds", ",.0f"),
    }
    return table_of([row | {"model": row["method"]} for row in rows], columns)


if __name__ == "__main__":
    setting = {"options": SMALL.options, "noise": SMALL.noise, "fit": SMALL.fit, "epochs": EPOCHS, "samples": SAMPLES}
    options = {"methods": "|".join(ALL), "epochs": EPOCHS}
    command_line(__doc__, PAGE, ("method", "seed"), run, summary, setting, **options)
