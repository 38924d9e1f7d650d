"""Short fits of several models to the same rows: the fit, its row of numbers, the table over seeds, the page it is on."""

import json
import os
import platform
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import anabranch as ab
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.gallery.results import Stopwatch
from anabranch.training.baseline import choose_gaussian_mixture

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "mixtures.md"
# The same for all models of a benchmark, so that only the models differ.
OPTIONS = {"batch_size": 512, "learning_rate": 5e-3, "noise": 0.1, "average": 0.99, "patience": None}

Row = dict[str, Any]


def fitted(build: Callable[[], Density], x: torch.Tensor, seed: int, epochs: int) -> tuple[Density, float]:
    """A density fitted to rows (rows, features), and the seconds that took; one core's, not compiled."""
    with drawing(seed):
        density = build()
    watch = Stopwatch()
    ab.fit(density, x, epochs=epochs, seed=seed, progress=False, compile=False, **OPTIONS)
    return density.eval(), watch()


def gaussian_mixture(x: torch.Tensor, seed: int) -> tuple[Density, int]:
    """The simple baseline: a Gaussian mixture whose size a tenth of the rows chooses, and its number of parameters."""
    rows = x.double().numpy()
    held_out, kept = rows[: len(x) // 10], rows[len(x) // 10 :]
    mixture = choose_gaussian_mixture(kept, held_out, (1, 2, 4, 8, 16, 32, 64), seed=seed)
    d = x.shape[1]
    return mixture.float(), mixture.components * (1 + d + d * (d + 1) // 2) - 1


def note(rows: list[Row], row: Row) -> None:
    """Keep a row of numbers, and print it."""
    rows.append(row)
    print("  ".join(f"{name} {brief(value)}" for name, value in row.items()), flush=True)


def brief(value: Any) -> str:
    """A number in four digits, a whole one in all of its own."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def over_seeds(rows: Iterable[Row], by: Sequence[str], columns: Mapping[str, str]) -> str:
    """A Markdown table of mean and standard deviation over the rows that agree in `by`.

    Args:
        rows: of numbers; a row without one of them has none there.
        by: the names that tell the table's lines apart.
        columns: names of numbers, and how to format each.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    lines = [[*by, *columns], ["-"] * (len(by) + len(columns))]
    for key, group in groups.items():
        cells = []
        for name, form in columns.items():
            values = [row[name] for row in group if row.get(name) is not None]
            spread = f" ± {statistics.stdev(values):{form}}" if len(set(values)) > 1 else ""
            cells.append(f"{statistics.fmean(values):{form}}{spread}" if values else "")
        lines.append([*map(str, key), *cells])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def earlier(name: str) -> list[Row]:
    """The runs that results/NAME.json holds, if there is one."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def write(name: str, setting: Row, rows: Sequence[Row], table: str, page: Path = PAGE) -> None:
    """Write every run to results/NAME.json, and the table to the docs page between the marks of its name."""
    about = {"anabranch": ab.__version__, "torch": torch.__version__, "processor": platform.machine()}
    about |= {"threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1)}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    runs = {"about": about, "setting": setting, "rows": rows}
    # a class, as an optimiser is, by its name
    path.write_text(json.dumps(runs, indent=1, default=lambda value: value.__name__) + "\n")
    print(f"\n{table}\n\nwrote {path}")
    if page.exists():
        fill(page, name, table)


def fill(page: Path, name: str, text: str) -> None:
    """Put a text between the marks of a name on a page of the docs."""
    mark, end = re.escape(f"<!-- table {name} -->"), re.escape("<!-- end -->")
    filled = f"<!-- table {name} -->\n\n{text}\n\n<!-- end -->"
    page.write_text(re.sub(f"{mark}.*?{end}", lambda _: filled, page.read_text(), flags=re.DOTALL))
