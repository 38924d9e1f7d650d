"""A mixture from depth beside its chain as a plain flow: equal steps, equal seeds, held-out rows.

python benchmarks/depth_against_flow.py run DATA [--tables galaxy,magic,...] [--seeds 0,1,2] [--steps 2500]
    [--configurations "flow|depth"] [--processes 14] [--minutes 7.5] [-o runs.jsonl]
python benchmarks/depth_against_flow.py summary runs.jsonl [--page]
python benchmarks/depth_against_flow.py time DATA [--tables watch] [--rounds 40]
python benchmarks/depth_against_flow.py pack DATA PACKED

DATA is a folder of NumPy archives with rows x. Every fit runs in a process of one thread, and adds a line to the JSON lines
when it ends; a fit whose line is there is not run again, so that a run which was cut short goes on where it was. At
`--minutes` the run ends, with the fits that still run. The first two configurations come first, of each the longest fits.

A configuration is `flow`, or `depth` with settings of `DepthMixture` after a colon: `depth:heads=linear,lead=8`. Numbers are
nats a row, on columns standardised by the training rows. Rows are split 80/10/10 by a seeded shuffle; those of patches8 by
photograph, since neighbours overlap.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import anabranch as ab
from anabranch.densities import Density

Row = dict[str, Any]

TABLES = ("galaxy", "magic", "watch", "cytometry", "coads", "patches8")
# the dearest first, so that none of them is left for the end
ORDER = ("patches8", "cytometry", "magic", "galaxy", "coads", "watch")
SAME = ("table", "seed", "steps", "configuration")
BATCH = 512
RATE = 5e-3
# of held-out rows, so many decide on the best weights, and so many are scored
MOST_HELD_OUT = 8_000


def read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The complete rows of a table, and of patches the photograph of each."""
    arrays = np.load(path, allow_pickle=False)
    x = arrays["x"].astype(np.float64)
    if path.stem == "cytometry":
        x = np.arcsinh(x / 150)
    if path.stem == "patches8":
        x = (x + np.random.default_rng(0).random(x.shape)) / 256
        x = (x - x.mean(axis=1, keepdims=True))[:, :-1]
    complete = ~np.isnan(x).any(axis=1)
    return x[complete], arrays["photo"][complete] if "photo" in arrays else None


def split(x: np.ndarray, group: np.ndarray | None, seed: int) -> list[torch.Tensor]:
    """Training, validation and test rows, standardised."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(x))
    if group is None:
        parts = np.split(order, [int(0.8 * len(x)), int(0.9 * len(x))])
    else:
        names = random.permutation(np.unique(group))
        of = np.digitize((np.argsort(names)[np.searchsorted(np.sort(names), group)] + 0.5) / len(names), [0.8, 0.9])
        parts = [order[of[order] == k] for k in range(3)]
    loc, scale = x[parts[0]].mean(axis=0), x[parts[0]].std(axis=0)
    most = (len(x), MOST_HELD_OUT, MOST_HELD_OUT)
    return [torch.tensor((x[p[:m]] - loc) / scale, dtype=torch.float32) for p, m in zip(parts, most, strict=True)]


def build(configuration: str, features: int, seed: int) -> Density:
    """A spline autoregressive chain of 5 blocks as this kind of model."""
    torch.manual_seed(seed)
    chain = ab.flows.nsf(features=features, blocks=5)
    kind, _, settings = configuration.partition(":")
    if kind == "flow":
        return ab.Flow(chain)
    read_value = {
        "heads": str,
        "gate": str,
        "lead": float,
        "flow_weight": float,
        "hidden": lambda text: [int(n) for n in text.split("x")],
    }
    pairs = [part.split("=") for part in settings.split(",") if part]
    return ab.DepthMixture(chain, **{name: read_value[name](value) for name, value in pairs})


def fit(folder: Path, table: str, seed: int, steps: int, configuration: str) -> Row:
    """The row of numbers of one fit."""
    torch.set_num_threads(1)
    training, validation, test = split(*read(folder / f"{table}.npz"), seed)
    epochs = math.ceil(steps / math.ceil(len(training) / BATCH))
    training = training[: BATCH * (steps // epochs)]
    model = build(configuration, test.shape[1], seed)
    begun, wall = time.process_time(), time.perf_counter()
    history = ab.fit(
        model,
        training,
        validation=validation,
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=RATE,
        patience=None,
        seed=seed,
        compile=False,
        progress=False,
    )
    spent, passed = time.process_time() - begun, time.perf_counter() - wall
    with torch.no_grad():
        log_p = torch.cat([model.log_prob(rows) for rows in test.split(2048)]).double()
        begun = time.process_time()
        model.sample((4096,), generator=0)
        sampling = time.process_time() - begun
    row: Row = {"table": table, "seed": seed, "steps": steps, "configuration": configuration}
    row |= {"log-likelihood": float(log_p.mean()), "standard error": float(log_p.std()) / math.sqrt(len(log_p))}
    row |= {
        "validation": float(min(e.validation for e in history.epochs)),
        "epochs": epochs,
        "best": history.best_epoch,
    }
    row |= {"processor seconds": spent, "seconds": passed, "sampling ms": 1e3 * sampling}
    row |= {"parameters": sum(p.numel() for p in model.parameters()), "blocks a sample": 5.0}
    if isinstance(model, ab.DepthMixture):
        with torch.no_grad():
            deepest = torch.cat([of_deepest(model, rows) for rows in test.split(2048)]).double()
            row["deepest alone"] = float(deepest.mean())
            row["blocks a sample"] = model.expected_depth(generator=0)
            row["shares of rows"] = model.responsibilities(test[:4000]).mean(dim=0).tolist()
    return row


def of_deepest(model: ab.DepthMixture, x: torch.Tensor) -> torch.Tensor:
    """log p of rows by the deepest component as a flow, with its head."""
    u, log_det = model._images(x)[-1]
    return model.base.log_prob(u) + log_det


def line(path: Path, row: Row) -> None:
    """Add a row in one write, which no other process cuts in two."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as file:
        file.write(json.dumps(row) + "\n")


def work(job: tuple[Path, str, int, int, str, Path]) -> None:
    *what, output = job
    try:
        row = fit(*what)
    except Exception as error:  # the other fits go on, and the line says what was wrong
        row = dict(zip(SAME, what[1:], strict=True)) | {"error": f"{type(error).__name__}: {error}"}
    line(output, row)
    print(json.dumps(row), flush=True)


def rows_of(path: Path) -> list[Row]:
    """Every fit that ended, once."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(text) for text in lines if text.endswith("}")]
    return list({tuple(row[key] for key in SAME): row for row in rows if "error" not in row}.values())


def run(arguments: argparse.Namespace) -> None:
    """All fits that have no line yet."""
    end = time.monotonic() + 60 * arguments.minutes
    done = {tuple(row[key] for key in SAME) for row in rows_of(arguments.output)}
    asked = arguments.tables.split(",")
    configurations = arguments.configurations.split("|")
    jobs = [
        (arguments.folder, table, seed, arguments.steps, configuration, arguments.output)
        for some in (configurations[:2], *([one] for one in configurations[2:]))
        for table in sorted(asked, key=ORDER.index)
        for seed in map(int, arguments.seeds.split(","))
        for configuration in some
        if (table, seed, arguments.steps, configuration) not in done
    ]
    print(f"{len(jobs)} fits on {arguments.processes} processes", flush=True)
    if arguments.processes == 1:
        for job in jobs:
            if time.monotonic() < end:
                work(job)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.processes, maxtasksperchild=1) as pool:
        waiting = [pool.apply_async(work, (job,)) for job in jobs]
        while time.monotonic() < end and not all(one.ready() for one in waiting):
            time.sleep(0.5)
        pool.terminate()
    print(f"{sum(one.ready() for one in waiting)} of {len(jobs)} fits ended", flush=True)


def gains(rows: list[Row]) -> list[Row]:
    """One line for each table and configuration: likelihoods, the gain over the flow of the same seed, blocks and times."""
    flows = {(row["table"], row["seed"], row["steps"]): row for row in rows if row["configuration"] == "flow"}
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if (row["table"], row["seed"], row["steps"]) in flows:
            groups.setdefault((row["table"], row["steps"], row["configuration"]), []).append(row)
    found = []
    for (table, steps, configuration), group in sorted(groups.items(), key=lambda item: TABLES.index(item[0][0])):
        beside = [flows[table, row["seed"], steps] for row in group]
        gain = [a["log-likelihood"] - b["log-likelihood"] for a, b in zip(group, beside, strict=True)]

        def ratio(name: str, group: list[Row] = group, beside: list[Row] = beside) -> float:
            return statistics.fmean(a[name] / b[name] for a, b in zip(group, beside, strict=True))

        row: Row = {"table": table, "steps": steps, "configuration": configuration, "seeds": len(group)}
        row |= {"log-likelihood": statistics.fmean(one["log-likelihood"] for one in group)}
        row |= {"ahead of the flow": statistics.fmean(gain), "each seed": " ".join(f"{one:+.3f}" for one in gain)}
        alone = [one.get("deepest alone", one["log-likelihood"]) for one in group]
        row["ahead of its deepest"] = row["log-likelihood"] - statistics.fmean(alone)
        row |= {"blocks a sample": statistics.fmean(one["blocks a sample"] for one in group)}
        row |= {"time, flow is 1": ratio("processor seconds"), "sampling, flow is 1": ratio("sampling ms")}
        found.append(row)
    return found


FORMS = {"log-likelihood": ".3f", "ahead of the flow": "+.3f", "ahead of its deepest": "+.3f", "blocks a sample": ".2f"}
FORMS |= {"time, flow is 1": ".2f", "sampling, flow is 1": ".2f"}


def summary(arguments: argparse.Namespace) -> None:
    """A Markdown table, on the page too with --page."""
    rows = rows_of(arguments.runs)
    found = gains(rows)
    names = list(found[0])
    cells = [names, ["-"] * len(names)]
    cells += [[format(row[name], FORMS[name]) if name in FORMS else str(row[name]) for name in names] for row in found]
    table = "\n".join("| " + " | ".join(each) + " |" for each in cells)
    if arguments.page:
        from trials import write  # noqa: PLC0415 (it loads more than the fits need)

        write("depth_against_flow", {"batch_size": BATCH, "learning_rate": RATE}, rows, table)
    else:
        print(table)


def timing(arguments: argparse.Namespace) -> None:
    """Training steps, scores and samples of all configurations in turns: medians of processor time, flow is 1."""
    torch.set_num_threads(1)
    for table in arguments.tables.split(","):
        training, *_ = split(*read(arguments.folder / f"{table}.npz"), 0)
        x = training[:BATCH]
        models = {name: build(name, x.shape[1], 0) for name in arguments.configurations.split("|")}
        optimisers = {name: torch.optim.AdamW(model.parameters(), fused=True) for name, model in models.items()}

        def step(name: str, models: dict = models, optimisers: dict = optimisers, x: torch.Tensor = x) -> None:
            optimisers[name].zero_grad()
            models[name].loss(x).mean().backward()
            optimisers[name].step()

        for model in models.values():
            model.initialize(x)
            if arguments.compile:
                model.compile()
        actions = {"step": step, "score": lambda name: models[name].log_prob(x)}  # noqa: B023 (called in this turn)
        spent: dict[tuple[str, str], list[float]] = {}
        for turn in range(arguments.rounds + 3):
            for what, action in actions.items():
                for name in models:
                    with torch.set_grad_enabled(what == "step"):
                        begun = time.process_time()
                        action(name)
                        if turn >= 3:
                            spent.setdefault((what, name), []).append(time.process_time() - begun)
        for (what, name), times in spent.items():
            ratio = statistics.median(times) / statistics.median(spent[what, next(iter(models))])
            print(f"{table:10s} {what:6s} {1e3 * statistics.median(times):8.2f} ms  {ratio:.3f}  {name}", flush=True)


def pack(arguments: argparse.Namespace) -> None:
    """Copy the tables with what is read here alone, compressed, to a smaller folder."""
    arguments.packed.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        arrays = np.load(arguments.folder / f"{table}.npz", allow_pickle=False)
        np.savez_compressed(arguments.packed / f"{table}.npz", **{k: arrays[k] for k in ("x", "photo") if k in arrays})
    print(f"{sum(path.stat().st_size for path in arguments.packed.glob('*.npz')) / 2**20:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    for name, action in {"run": run, "time": timing, "pack": pack}.items():
        part = parts.add_parser(name)
        part.set_defaults(action=action)
        part.add_argument("folder", type=Path)
        if name == "pack":
            part.add_argument("packed", type=Path)
            continue
        part.add_argument("--tables", default=",".join(TABLES))
        part.add_argument("--configurations", default="flow|depth", help="separated by |")
        if name == "time":
            part.add_argument("--rounds", type=int, default=40)
            part.add_argument("--compile", action="store_true")
            continue
        part.add_argument("--seeds", default="0,1,2")
        part.add_argument("--steps", type=int, default=2500)
        part.add_argument("--processes", type=int, default=1)
        part.add_argument("--minutes", type=float, default=1e6)
        part.add_argument("-o", "--output", type=Path, default=Path("depth_against_flow.jsonl"))
    part = parts.add_parser("summary")
    part.set_defaults(action=summary)
    part.add_argument("runs", type=Path)
    part.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    arguments.action(arguments)


if __name__ == "__main__":
    sys.exit(main())
