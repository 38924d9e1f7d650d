"""Fill the tables of docs/gallery.md and the README from the results that `anabranch gallery` wrote.

python benchmarks/gallery_page.py docs/gallery

Between `<!-- table NAME -->` and `<!-- end -->` comes NAME.json's table, means over seeds with their standard deviation.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Annotated

import typer

from anabranch.gallery.results import Result, summary

ROOT = Path(__file__).parent.parent


def table(path: Path) -> str:
    results = [Result(**row) for row in json.loads(path.read_text())]
    seeds = len({result.seed for result in results})
    heads, *rows = summary(results)
    lines = [" | ".join(cells) for cells in (heads, "-" * len(heads), *rows)]
    text = f"{seeds} seed{'s' * (seeds > 1)}.\n\n" + "\n".join(f"| {line} |" for line in lines)
    return "\n\n".join([text, *depths(results)])


def depths(results: list[Result]) -> list[str]:
    """A second table, of what a sample costs, if that was measured."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.blocks_a_sample is not None and result.sampling_seconds is not None:
            groups.setdefault(result.method, []).append(result)
    if not groups:
        return []
    lines = ["| method | blocks a sample | 20,000 samples, ms |", "| - | - | - |"]
    for method, group in groups.items():
        blocks = spread([result.blocks_a_sample or 0 for result in group], ".2f")
        lines.append(f"| {method} | {blocks} | {spread([1000 * (r.sampling_seconds or 0) for r in group], '.0f')} |")
    return ["\n".join(lines)]


def spread(values: list[float], form: str) -> str:
    deviation = f" ± {statistics.stdev(values):{form}}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{form}}{deviation}"


def filled(text: str, folder: Path) -> str:
    def one(match: re.Match[str]) -> str:
        path = folder / f"{match[1]}.json"
        body = table(path) if path.exists() else "Not run yet."
        return f"<!-- table {match[1]} -->\n\n{body}\n\n<!-- end -->"

    return re.sub(r"<!-- table ([\w-]+) -->.*?<!-- end -->", one, text, flags=re.DOTALL)


def main(folder: Annotated[Path, typer.Argument(help="Where NAME.json lie.")]) -> None:
    """Fill all tables for which there are results."""
    page = ROOT / "docs" / "gallery.md"
    page.write_text(filled(page.read_text(), folder))


if __name__ == "__main__":
    typer.run(main)
