"""Flows of images: every recipe of `ab.flows`, alone and as a mixture over its depths, in nats and bits of the levels.

python benchmarks/image_flows.py run [--methods "Glow|Glow, mixture over depths"] [--seeds 0,1,2] [-o image_flows.jsonl]
python benchmarks/image_flows.py summary image_flows.jsonl [--page]

scikit-learn's digits, 8 x 8 pixels of 17 levels, rows 1000/350/447 in order. Nats and bits are those of the levels, a
probability: importance weighting by 50 draws of the noise for each image (`Dequantized.estimate`), which in the mean are too
many. "bound" is by one draw. A line of the JSON lines for each fit; one whose line is there is not run again. Beside the
recipes: independent pixels by their frequencies; a Gaussian mixture of pixels with uniform noise, as many components as the
validation rows choose; Glow with uniform noise, and Glow whose pixels are on [0, 1), without a logit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import anabranch as ab
from anabranch.densities import Dequantized
from anabranch.draws import drawing
from anabranch.gallery.data import load_levelled
from anabranch.gallery.image_flows import METHODS, SMALL, build
from anabranch.gallery.results import count_parameters
from anabranch.images.baselines import gaussian_mixture, independent_pixels

Row = dict[str, Any]
PAGE = Path(__file__).parent.parent / "docs" / "image_flows.md"
UNIFORM, NO_LOGIT = ", uniform noise", ", no logit"
INDEPENDENT, GAUSSIANS = "independent pixels", "Gaussian mixture"
ALL = (*METHODS, f"Glow{UNIFORM}", f"Glow{NO_LOGIT}", INDEPENDENT, GAUSSIANS)
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
    if method == INDEPENDENT:
        log_p = independent_pixels(images.x.numpy(), images.validation.numpy(), images.test.numpy(), 17)
        value = -float(log_p.mean())
        return row | {"nats": value, "bits": value / (64 * math.log(2)), "parameters": 64 * 16}
    if method == GAUSSIANS:
        density = gaussian_mixture(images.x, images.validation, 17, seed)
    else:
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
    trained = {} if method == GAUSSIANS else {"parameters": count_parameters(density)}
    return row | trained | {"seconds": seconds}


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(arguments: argparse.Namespace) -> None:
    """All fits that have no line yet."""
    torch.set_num_threads(1)
    done = {(row["method"], row["seed"]) for row in rows_of(arguments.output)}
    for seed in map(int, arguments.seeds.split(",")):
        for method in arguments.methods.split("|") if arguments.methods else ALL:
            if (method, seed) not in done:
                row = work(method, seed, arguments)
                print(json.dumps(row), flush=True)
                with arguments.output.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def table_of(rows: list[Row]) -> str:
    """A line for each method, the fewest nats first."""
    heads = ("model", "seeds", "nats an image", "bits per dimension", "each seed", "bound", "parameters", "seconds")
    groups = {method: [row for row in rows if row["method"] == method] for method in {row["method"]: 0 for row in rows}}
    lines = [f"| {' | '.join(heads)} |", "| - " * len(heads) + "|"]
    for method, some in sorted(groups.items(), key=lambda item: statistics.fmean(row["nats"] for row in item[1])):
        each = [row["nats"] for row in some]
        spread = f" ± {statistics.stdev(each):.2f}" if len(set(each)) > 1 else ""
        bits = statistics.fmean(row["bits"] for row in some)
        cells = [method, str(len(some)), f"{statistics.fmean(each):.2f}{spread}", f"{bits:.3f}"]
        cells.append(" ".join(f"{value:.2f}" for value in each))
        for name, form in (("bound", ".2f"), ("parameters", ",.0f"), ("seconds", ",.0f")):
            known = [row[name] for row in some if name in row]
            cells.append(format(statistics.fmean(known), form) if known else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(arguments: argparse.Namespace) -> None:
    """A Markdown table; with --page also on the page of the docs, and the runs in results/."""
    from trials import write  # noqa: PLC0415 (it loads more than the fits need)

    rows = rows_of(arguments.runs)
    if arguments.page:
        setting = {
            "options": SMALL.options,
            "noise": SMALL.noise,
            "fit": SMALL.fit,
            "epochs": EPOCHS,
            "samples": SAMPLES,
        }
        write("image_flows", setting, rows, table_of(rows), PAGE)
    else:
        print(table_of(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run")
    command.set_defaults(call=run)
    command.add_argument("--methods", help="separated by |")
    command.add_argument("--seeds", default="0,1,2")
    command.add_argument("--epochs", type=int, default=EPOCHS)
    command.add_argument("-o", "--output", type=Path, default=Path("image_flows.jsonl"))
    command = commands.add_parser("summary")
    command.set_defaults(call=summary)
    command.add_argument("runs", type=Path)
    command.add_argument("--page", action="store_true", help="write the table to docs/images.md")
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
