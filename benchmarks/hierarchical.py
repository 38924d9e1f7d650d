"""Hierarchies of hidden variables on the digits: bound, estimate and divergence by level, and mixtures over their depths.

python benchmarks/hierarchical.py run [--models "image ladder|ladder"] [--seeds 0,1,2] [--held test] [-o hierarchical.jsonl]
python benchmarks/hierarchical.py summary hierarchical.jsonl [--page]

A model is a name below, with settings of the model and of the fit after a colon: `ladder:latents=[8,4],epochs=100`. Every
fit is a line of the JSON lines; a fit whose line is there is not run again. One thread.

scikit-learn's digits, 8x8, 17 levels, rows 1000/350/447 in order: fitted, to stop by, scored. With --held validation the
rows to stop by are scored in place of the last ones, to choose settings; their lines are in no table. --keep names a
folder for the fitted densities.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from runs import Runs, command_line
from trials import Row

import anabranch as ab
from anabranch import families, vaes
from anabranch.densities import Density
from anabranch.models import HierarchicalVAE, LatentDepthMixture
from anabranch.objectives import LowerBound

SAME = ("model", "seed", "held")
SHAPE = (1, 8, 8)
FIT: Row = {"batch_size": 64, "learning_rate": 2e-3, "average": 0.99, "weight_decay": 1e-4, "clip": 50.0}
OBJECTIVE: Row = {"warmup": 0.3, "free": 0.0}
FAMILIES = {
    "levels": lambda: families.Levels(17),
    "logistics": lambda: families.DiscretizedLogistics(17, 3),
}
LADDER: Row = {"kind": "ladder", "latents": (16, 8), "hidden": 128, "epochs": 60}
IMAGES: Row = {"kind": "image_ladder", "latents": ((2,), (4,), (16,)), "hidden": 32, "dropout": 0.1, "epochs": 60}
SETTINGS: dict[str, Row] = {
    "one level": {**IMAGES, "latents": ((2,),)},
    "ladder": LADDER,
    "bottom up": {**LADDER, "posteriors": "bottom-up"},
    "image ladder": IMAGES,
    "depths of the image ladder": {**IMAGES, "depths": True, "lead": 2.0},
}
OF_FIT = ("batch_size", "learning_rate", "average", "weight_decay", "clip", "epochs", "minutes", "noise")
PAGE = Path(__file__).parent.parent / "docs" / "hierarchical.md"


def read() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows to fit, to stop by and to score, (rows, 1, 8, 8) in uint8."""
    from sklearn.datasets import load_digits  # noqa: PLC0415

    x = torch.from_numpy(load_digits().images.astype(np.uint8)).unsqueeze(1)
    return x[:1000], x[1000:1350], x[1350:]


def build(model: str) -> tuple[Density, Row, Row]:
    """A density, the settings of its fit, and those of its objective."""
    name, _, given = model.partition(":")
    options = dict(SETTINGS[name])
    for pair in filter(None, re.split(r",(?=\w+=)", given)):
        key, _, value = pair.partition("=")
        options[key] = json.loads(value)
    fit = {**FIT, **{key: options.pop(key) for key in list(options) if key in OF_FIT}}
    objective = {**OBJECTIVE, **{key: options.pop(key) for key in list(options) if key in OBJECTIVE}}
    family = FAMILIES[options.pop("family", "logistics")]()
    depths, lead = options.pop("depths", False), options.pop("lead", 0.0)
    density: Density = getattr(vaes, options.pop("kind"))(SHAPE, family, **options)
    if depths:
        density = vaes.depths_of(density, family, lead=lead)
    return density, fit, objective


def work(model: str, seed: int, arguments: argparse.Namespace) -> Row:
    """One fit, and its numbers."""
    train, validation, test = read()
    torch.manual_seed(seed)
    density, options, objective = build(model)
    begun, used = time.monotonic(), time.process_time()
    history = ab.fit(
        density,
        train,
        validation=validation,
        seed=seed,
        objective=LowerBound(**objective),
        progress=False,
        patience=None,
        compile=False,
        **options,
    )
    seconds, processor = time.monotonic() - begun, time.process_time() - used
    density.eval()
    held = validation if arguments.held == "validation" else test
    begun = time.process_time()
    row: Row = {"model": model, "seed": seed, "held": arguments.held, **scores(density, held, arguments.particles)}
    row |= {"fitted rows, bound": float(density.lower_bound(train, generator=0).detach().mean())}
    row |= {
        "best": history.best_epoch,
        "epochs": len(history.epochs),
        "seconds": seconds,
        "processor seconds": processor,
    }
    row |= {"seconds of the estimate": time.process_time() - begun, "particles": arguments.particles}
    row |= {"parameters": sum(p.numel() for p in density.parameters())}
    if arguments.keep:
        folder = Path(arguments.keep)
        folder.mkdir(exist_ok=True)
        ab.save(density, folder / f"{re.sub('[^a-z0-9]+', '-', model)}-{seed}.safetensors")
    return row


def scores(density: Density, held: torch.Tensor, particles: int, draws: int = 20) -> Row:
    """Bound and estimate of the negative log-likelihood, nats an image, and divergences by level; of depths their shares."""
    with torch.no_grad():
        bounds = torch.stack([density.lower_bound(held, generator=k) for k in range(draws)]).mean(0)
        # a few rows at a time: the mean over particles is of each row
        parts = [
            density.estimate(some, samples=particles, generator=0) for some in held.split(max(1, 2**14 // particles))
        ]
        value, error = (torch.cat(each) for each in zip(*parts, strict=True))
        row = {"bound": -float(bounds.mean()), "nats": -float(value.mean())}
        row |= {"error": float(value.std()) / math.sqrt(len(value)), "error of the estimate": float(error.mean())}
        if isinstance(density, HierarchicalVAE):
            divergence = torch.stack([density.terms(held, generator=k)[1] for k in range(draws)]).mean(dim=(0, 1))
            row["divergence by level"] = [round(d, 3) for d in divergence.tolist()]
        if isinstance(density, LatentDepthMixture):
            guessed = density.log_posterior(held).exp()
            each = [[round(d, 3) for d in t.divergence.mean(0).tolist()] for t in density.terms(held, generator=0)]
            believed = density.estimate_posterior(held[:100], samples=100, generator=0)[0].exp()
            row |= {"divergence by level of each depth": each, "weights": density.weights().tolist()}
            row |= {"guessed depths": guessed.mean(0).tolist(), "guessed depths of 100": guessed[:100].mean(0).tolist()}
            row |= {
                "estimated depths of 100": believed.mean(0).tolist(),
                "expected depth": float(density.expected_depth()),
            }
            row |= sampling(density)
    return row


def sampling(density: LatentDepthMixture, count: int = 500) -> Row:
    """Processor milliseconds of a sample of each depth alone."""
    times = []
    for k in range(density.components):
        density.depths.draw(torch.full((count,), k), None)
        begun = time.process_time()
        density.depths.draw(torch.full((count,), k), None)
        times.append(round(1000 * (time.process_time() - begun) / count, 4))
    return {"sampling ms at each depth": times}


def run(arguments: argparse.Namespace, runs: Runs) -> None:
    """All fits that have no line yet."""
    for seed in map(int, arguments.seeds.split(",")):
        for model in arguments.models.split("|"):
            if (model, seed, arguments.held) not in runs:
                runs.add(work(model, seed, arguments))


def summary(rows: list[Row]) -> str:
    """A line for each model, of the rows of the test."""
    rows = [row for row in rows if row["held"] == "test"]
    head = ("model", "seeds", "bound", "estimate", "each seed", "divergence by level", "parameters", "seconds")
    lines = [f"| {' | '.join(head)} |", "| - " * len(head) + "|"]
    for model in dict.fromkeys(row["model"] for row in rows):
        some = [row for row in rows if row["model"] == model]
        by_level = [row["divergence by level"] for row in some if "divergence by level" in row]
        cells = [model, str(len(some)), *(spread([row[name] for row in some]) for name in ("bound", "nats"))]
        cells += [" ".join(f"{row['nats']:.2f}" for row in some)]
        cells += [", ".join(f"{statistics.fmean(level):.1f}" for level in zip(*by_level, strict=True))]
        cells += [f"{some[0]['parameters']:,}", f"{statistics.fmean(row['processor seconds'] for row in some):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    return f"{statistics.fmean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


if __name__ == "__main__":
    setting = {"models": SETTINGS, "fit": FIT, "objective": OBJECTIVE}
    options = {"models": "|".join(SETTINGS), "held": "test", "particles": 1000, "keep": ""}
    command_line(__doc__, PAGE, SAME, run, summary, setting, **options)
