"""Mixtures from depth whose positions leave the stack of layers early: likelihood, layers a position, time of sampling.

python benchmarks/leaving_early.py fits [--networks "finite memory|transformer"] [--seeds 0,1,2] [-o early.jsonl] [--page]
python benchmarks/leaving_early.py time [--page]

`fits`: scikit-learn's digits as in benchmarks/autoregressive.py; a fit whose line is there is not run again. `time`: stacks
that were not fitted, of several widths.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from autoregressive import FIT, KINDS, PAGE, nats, read
from fits import Row, rows_of
from trials import write

import anabranch as ab
from anabranch import families, networks
from anabranch.densities import Density

EARLY: dict[str, Row] = {
    "finite memory": {"memory": (2, 2), "hidden": 96, "layers": 4, "embed_positions": True, "epochs": 20},
    "transformer": {"hidden": 64, "layers": 4, "dropout": 0.3, "reads": "first", "epochs": 60},
}
PRICES = (None, 0.003, 0.01)
BATCHES = (64, 4096)


def early(arguments: argparse.Namespace) -> None:
    """A stack of layers as it is, and as mixtures whose positions leave it early: likelihood, layers, time of sampling.

    Samplings of the three are timed in turns, by the processor time of one thread.
    """
    torch.set_num_threads(1)
    train, validation, test, family = read("digits", Path())
    done = rows_of(arguments.output)
    for name in arguments.networks.split("|"):
        for seed in map(int, arguments.seeds.split(",")):
            if any((row["network"], row["seed"]) == (name, seed) for row in done):
                continue
            settings = dict(EARLY[name])
            epochs = settings.pop("epochs")
            fitted: list[tuple[Density, Row]] = []
            for price in PRICES:
                torch.manual_seed(seed)
                network = getattr(networks, KINDS[name])((8, 8), 17, channels=17, zero_start=True, **settings)
                density: Density = (
                    ab.models.Autoregressive(family, network)
                    if price is None
                    else ab.models.StepDepthMixture(family, network, price=price)
                )
                options = {**FIT["digits"], "epochs": epochs, "patience": None, "compile": False, "progress": False}
                ab.fit(density, train, validation=validation, seed=seed, **options)
                density.eval()
                layers = network.depths if price is None else float(density.depth_of(test).mean())
                row: Row = {"network": name, "price": price, "seed": seed, "layers": network.depths}
                row |= {"nats": -float(nats(density, test).mean()), "layers a position": layers}
                fitted.append((density, row))
            for size in BATCHES:
                times: list[list[float]] = [[] for _ in fitted]
                for _ in range(5):
                    for each, (density, _) in zip(times, fitted, strict=True):
                        begun = time.process_time()
                        density.sample((size,))
                        each.append(time.process_time() - begun)
                for each, (_, row) in zip(times, fitted, strict=True):
                    row[f"sampling of {size}, s"] = min(each)
            with arguments.output.open("a") as file:
                for _, row in fitted:
                    print(json.dumps(row), flush=True)
                    file.write(json.dumps(row) + "\n")
    rows = rows_of(arguments.output)
    head = ["network", "price of a layer", "seeds", "nats an image", "beside all layers", "layers a position"]
    lines = [f"| {' | '.join([*head, *(f'sampling {size}, all layers are 1' for size in BATCHES)])} |"]
    lines.append("| - " * (len(head) + len(BATCHES)) + "|")
    for name in dict.fromkeys(row["network"] for row in rows):
        plain = {row["seed"]: row for row in rows if row["network"] == name and row["price"] is None}
        for price in PRICES:
            some = [row for row in rows if (row["network"], row["price"]) == (name, price)]
            values = [row["nats"] for row in some]
            gains = [row["nats"] - plain[row["seed"]]["nats"] for row in some]
            cells = [
                f"{name}, {some[0]['layers']} layers",
                "all layers" if price is None else f"{price}",
                str(len(some)),
            ]
            cells.append(f"{statistics.fmean(values):.2f}")
            cells.append("" if price is None else " ".join(f"{gain:+.2f}" for gain in gains))
            cells.append(f"{statistics.fmean(row['layers a position'] for row in some):.2f}")
            for size in BATCHES:
                key = f"sampling of {size}, s"
                cells.append(f"{statistics.fmean(row[key] / plain[row['seed']][key] for row in some):.2f}")
            lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines)
    if arguments.page:
        write("early", {"networks": EARLY, "fit": FIT["digits"]}, rows, table, PAGE)
    else:
        print(table)


def leaving(arguments: argparse.Namespace) -> None:
    """Sampling time of stacks of 4 layers, whose positions leave after each with probability 1/2, against all layers.

    Nothing is fitted. Both take turns, by the processor time of one thread.
    """
    torch.set_num_threads(1)
    family, rows = families.Levels(17), []
    for width in (96, 256, 512):
        options = {"channels": 17, "memory": (2, 2), "hidden": width, "layers": 4}
        whole = ab.models.Autoregressive(family, networks.FiniteMemory((8, 8), 17, **options)).eval()
        early_ones = ab.models.StepDepthMixture(family, networks.FiniteMemory((8, 8), 17, **options), lead=0.0).eval()
        depth = float(early_ones.sample_with_depth((256,), generator=0)[1].double().mean())
        for size in (64, 1024, 4096):
            times: list[list[float]] = [[], []]
            for _ in range(3):
                for each, density in zip(times, (whole, early_ones), strict=True):
                    begun = time.process_time()
                    density.sample((size,))
                    each.append(time.process_time() - begun)
            row = {"units": width, "samples": size, "all layers, s": min(times[0]), "leaving, s": min(times[1])}
            rows.append({**row, "layers a position": depth, "ratio": min(times[1]) / min(times[0])})
            print(json.dumps(rows[-1]), flush=True)
    head = ("units", "samples", "layers a position", "all layers, s", "leaving, s", "ratio")
    lines = [f"| {' | '.join(head)} |", "| - " * len(head) + "|"]
    lines += [
        f"| {row['units']} | {row['samples']:,} | " + " | ".join(f"{row[name]:.2f}" for name in head[2:]) + " |"
        for row in rows
    ]
    if arguments.page:
        write("leaving", {"layers": 4, "lead": 0.0}, rows, "\n".join(lines), PAGE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("fits")
    command.set_defaults(call=early)
    command.add_argument("--networks", default="finite memory|transformer")
    command.add_argument("--seeds", default="0,1,2")
    command.add_argument("-o", "--output", type=Path, default=Path("early.jsonl"))
    timed = commands.add_parser("time")
    timed.set_defaults(call=leaving)
    for each in (command, timed):
        each.add_argument("--page", action="store_true", help="write the table to docs/autoregressive.md")
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
