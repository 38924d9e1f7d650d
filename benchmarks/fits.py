"""Fits in processes of their own, each a line of JSON, and the table of their seeds: what benchmarks of images share."""

import json
import multiprocessing
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SAME = ("data", "model", "seed")


def rows_of(path: Path) -> list[Row]:
    """The lines of a file, which need not be there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_missing(
    arguments: Any, models: list[str], keys: tuple[str, ...], work: Callable[[tuple[Any, ...]], None]
) -> None:
    """Work at all fits that have no line yet: jobs (data, folder, model, seed, the arguments of these keys)."""
    done = {tuple(row[key] for key in SAME) for row in rows_of(arguments.output)}
    jobs = [
        (arguments.data, arguments.folder, model, int(seed), {key: getattr(arguments, key) for key in keys})
        for seed in arguments.seeds.split(",")
        for model in (arguments.models.split("|") if arguments.models else models)
        if (arguments.data, model, int(seed)) not in done
    ]
    print(f"{len(jobs)} fits", flush=True)
    if arguments.processes == 1:
        for job in jobs:
            work(job)
        return
    with multiprocessing.get_context("spawn").Pool(arguments.processes, maxtasksperchild=1) as pool:
        for waiting in [pool.apply_async(work, (job,)) for job in jobs]:
            try:
                waiting.get()
            except Exception as error:  # the others go on
                print(type(error).__name__, str(error)[:300], flush=True)


def table_of(rows: list[Row], columns: Mapping[str, tuple[str, str]]) -> str:
    """Markdown: nats of each model over its seeds, the best first, and the means of other values.

    Args:
        rows: lines of one kind of data.
        columns: the head of each other value, by its name, and how it is written.
    """
    head = ("model", "seeds", "nats an image", "each seed", *(title for title, _ in columns.values()))
    lines = [f"| {' | '.join(head)} |", "| - " * len(head) + "|"]
    groups = {name: [row for row in rows if row["model"] == name] for name in {row["model"]: 0 for row in rows}}
    for name, some in sorted(groups.items(), key=lambda item: statistics.fmean(row["nats"] for row in item[1])):
        values = [row["nats"] for row in some]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        plain = name.replace(":", ", ").replace("=", " ").replace("_", " ")
        cells = [plain, str(len(some)), f"{statistics.fmean(values):.2f}{spread}", " ".join(f"{v:.2f}" for v in values)]
        cells += [
            format(statistics.fmean(row[key] for row in some), form) if key in some[0] else ""
            for key, (_, form) in columns.items()
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
