"""Benchmarks of many fits: `run` writes a line of JSON for each fit, `summary` makes a table of them.

python benchmarks/NAME.py run [-o runs.jsonl]
python benchmarks/NAME.py summary runs.jsonl [--page]

A fit whose line is in the file is not run again, so that a benchmark that was cut short goes on where it ended.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from trials import Row, fill, write


class Runs:
    """The lines of a file of JSON lines, one for each fit.

    Args:
        path: of the file, which need not be there.
        key: the names of the values that tell fits apart.
    """

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        self.path, self.key = path, key
        self.rows: list[Row] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self._done = {tuple(row[name] for name in key) for row in self.rows}

    def __contains__(self, fit: tuple[Any, ...]) -> bool:
        """Whether there is a line of the fit that has these values of the key."""
        return fit in self._done

    def add(self, row: Row) -> None:
        """Write one more line, with the load of the machine, and print it."""
        row = row | {"load": round(os.getloadavg()[0], 1)}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def seeds_of(count: int, what: str) -> str:
    """The sentence in front of a table."""
    return f"{count} seed{'s' * (count > 1)}, {what}."


def command_line(
    about: str | None,
    page: Path,
    key: Sequence[str],
    run: Callable[[argparse.Namespace, Runs], None],
    summary: Callable[[list[Row]], str],
    setting: Row | None = None,
    **options: str | float,
) -> None:
    """The commands `run` and `summary` of the benchmark whose file is running.

    Args:
        about: the help.
        page: where `summary --page` puts the table, between the marks of the benchmark's name.
        key: as of `Runs`.
        run: adds the lines that are not there.
        summary: the text of the table, of all lines.
        setting: of the fits; with it `summary --page` also writes the lines to results/NAME.json.
        options: of `run`, with their defaults; `--seeds` is one of every benchmark.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    name = Path(parser.prog).stem
    commands = parser.add_subparsers(required=True, dest="command")
    command = commands.add_parser("run")
    for option, default in {"seeds": "0,1,2", **options}.items():
        command.add_argument(f"--{option}", default=default, type=type(default))
    command.add_argument("-o", "--output", type=Path, default=Path(f"{name}.jsonl"))
    command = commands.add_parser("summary")
    command.add_argument("runs", type=Path)
    command.add_argument("--page", action="store_true", help=f"write the table to {page.name}")
    arguments = parser.parse_args()
    if arguments.command == "run":
        torch.set_num_threads(1)
        run(arguments, Runs(arguments.output, key))
        return
    rows = Runs(arguments.runs, key).rows
    text = summary(rows)
    if arguments.page and setting is not None:
        write(name, setting, rows, text, page)
        return
    print(text)
    if arguments.page:
        fill(page, name, text)
