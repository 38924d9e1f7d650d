"""How a training step of the spline autoregressive flow grows: its time and memory over features, batch and blocks.

python benchmarks/scaling.py [-o benchmarks/results/scaling.json]

One of the three varies at a time around 32 features, 1,024 rows, 5 blocks (hidden 128 x 2, 8 bins, eager). Beside each
fitted exponent stands that of the count: multiplications for time, numbers made for memory. Writes JSON, Markdown and a
picture.
"""

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from activations import peak_bytes, saved_bytes
from contest import machine
from contest.calm import Watch, wait_until_calm

import anabranch as ab

BINS, HIDDEN = 8, (128, 128)
LONGEST_S, LARGEST_BYTES = 20.0, 8e9


@dataclass(frozen=True)
class Point:
    """Sizes of one measurement."""

    features: int = 32
    batch: int = 1024
    blocks: int = 5

    def operations(self) -> float:
        """Multiply-adds of one pass, the masks' zeros included, as the dense products do them."""
        first, second = HIDDEN
        weights = self.features * first + first * second + second * self.features * (3 * BINS - 1)
        return float(self.batch * self.blocks * weights)

    def numbers(self) -> float:
        """Numbers that a pass makes: hidden units and the maps' parameters."""
        return float(self.batch * self.blocks * (sum(HIDDEN) + self.features * (3 * BINS - 1)))


AXES = {
    "features": (8, 16, 32, 64, 128, 256, 512),
    "batch": (256, 1024, 4096, 16384, 65536),
    "blocks": (2, 5, 8, 16, 32),
}


def measure(point: Point, seconds: float) -> dict[str, float]:
    """Median time of a training step, and the memory that it takes."""
    torch.manual_seed(0)
    chain = ab.flows.nsf(point.features, blocks=point.blocks, hidden=HIDDEN, bins=BINS, linear=False)
    model = ab.Flow(chain)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x = torch.randn(point.batch, point.features)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(x).mean().backward()
        optimizer.step()

    step()
    optimizer.zero_grad()
    peak = peak_bytes(step)
    optimizer.zero_grad()
    saved = saved_bytes(model, lambda: model.loss(x).mean())
    wait_until_calm(patience_s=5)
    watch, times = Watch(), []
    ends = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < ends and len(times) < 15):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return {
        "seconds": statistics.median(times),
        "fastest_s": min(times),
        "saved_bytes": saved,
        "peak_bytes": peak,
        "others_cores": watch.others(),
    }


def too_much(point: Point, before: dict | None, before_point: Point | None) -> str | None:
    """Why this point is left out, foreseen from the last: time grows as the operations, memory as the numbers."""
    if before is None or before_point is None:
        return None
    seconds = before["seconds"] * point.operations() / before_point.operations()
    size = before["peak_bytes"] * point.numbers() / before_point.numbers()
    if seconds > LONGEST_S:
        return f"a step would take about {seconds:.0f} s"
    if size > LARGEST_BYTES:
        return f"a step would take about {size / 1e9:.0f} GB"
    return None


def exponent(xs: list[float], ys: list[float]) -> float:
    """The slope of log y over log x, by least squares; NaN for less than two points."""
    if len(set(xs)) < 2:
        return math.nan
    u, v = [math.log(x) for x in xs], [math.log(y) for y in ys]
    mean_u, mean_v = statistics.mean(u), statistics.mean(v)
    products = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    return products / sum((a - mean_u) ** 2 for a in u)


def fits(axis: str, rows: list[dict]) -> dict[str, float]:
    """Exponents over the measured points of an axis, over the upper half of them, and what the counts say there."""
    rows = [row for row in rows if row["seconds"] is not None]
    upper = rows[len(rows) // 2 :] if len(rows) >= 4 else rows
    result = {}
    for part, chosen in (("all", rows), ("upper half", upper)):
        xs = [row[axis] for row in chosen]
        points = [Point(row["features"], row["batch"], row["blocks"]) for row in chosen]
        result[part] = {
            "time": exponent(xs, [row["seconds"] for row in chosen]),
            "time_counted": exponent(xs, [point.operations() for point in points]),
            "saved": exponent(xs, [row["saved_bytes"] for row in chosen]),
            "peak": exponent(xs, [row["peak_bytes"] for row in chosen]),
            "memory_counted": exponent(xs, [point.numbers() for point in points]),
        }
    return result


def page(result: dict) -> str:
    """The Markdown: exponents, then every point."""
    about = result["machine"]
    lines = [
        "# How a training step grows",
        "",
        f"Written by `{about['command']}` on {about['date'][:10]}: {about['processor']}, {about['torch_threads']} torch",
        f"threads, torch {about['versions']['torch']}.",
        "",
        "Spline autoregressive flow, eager, hidden 128 x 2, 8 bins; one size varies around 32 features, 1,024 rows, 5",
        'blocks. An exponent is the slope of log over log. "Counted" is the slope of the multiplications (time) and of the',
        "numbers that a pass makes (memory) over the same points: below 1 for features, as the middle layer does not grow.",
        "Saved is what autograd keeps for the backward pass, counted tensor by tensor; peak is the most that a step has",
        "allocated at once, gradients of the weights and scratch tensors too; the system's resident memory is up to half as",
        "much again. Others' cores: what other processes took while the steps were timed.",
        "",
        "| exponent in | points | time | counted | saved memory | peak memory | counted |",
        "| - | - | - | - | - | - | - |",
    ]
    for axis, fit in result["exponents"].items():
        for part, slopes in fit.items():
            names = ("time", "time_counted", "saved", "peak", "memory_counted")
            lines.append(f"| {axis} | {part} | {' | '.join(f'{slopes[name]:.2f}' for name in names)} |")
    lines += [
        "",
        "| features | rows | blocks | step, ms | saved, MB | peak, MB | others' cores |",
        "| - | - | - | - | - | - | - |",
    ]
    for row in (row for rows in result["axes"].values() for row in rows):
        sizes = f"| {row['features']} | {row['batch']:,} | {row['blocks']} |"
        if row["seconds"] is None:
            lines.append(f"{sizes} left out: {row['left_out']} | | | |")
            continue
        memory = f"{row['saved_bytes'] / 1e6:,.0f} | {row['peak_bytes'] / 1e6:,.0f}"
        lines.append(f"{sizes} {1000 * row['seconds']:,.0f} | {memory} | {row['others_cores']:.2f} |")
    return "\n".join(lines) + "\n"


def main(
    threads: int = 2,
    seconds: Annotated[float, typer.Option(help="For the steps of one point, about.")] = 6.0,
    total: Annotated[float, typer.Option(help="Seconds for all: after them, points are left out.")] = 300.0,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON; Markdown and picture go beside it.")] = (
        Path(__file__).parent / "results" / "scaling.json"
    ),
) -> None:
    """Measure, fit, write and draw."""
    torch.set_num_threads(threads)
    begun = time.perf_counter()
    measured: dict[Point, dict] = {}
    axes: dict[str, list[dict]] = {}
    for axis, sizes in AXES.items():
        axes[axis], last = [], None
        for size in sizes:
            point = replace(Point(), **{axis: size})
            reason = too_much(point, measured.get(last), last)
            if time.perf_counter() - begun > total:
                reason = f"the {total:.0f} seconds for all were over"
            if reason is None and point not in measured:
                measured[point] = measure(point, seconds)
            row = asdict(point) | measured.get(point, {"seconds": None, "left_out": reason})
            axes[axis].append(row)
            last = point if reason is None else last
            print(row, flush=True)
    result = {
        "machine": machine.description(torch.device("cpu")),
        "exponents": {axis: fits(axis, rows) for axis, rows in axes.items()},
        "axes": axes,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    output.with_suffix(".md").write_text(page(result))
    print(page(result))
    from scaling_picture import draw  # noqa: PLC0415 (matplotlib is an extra)

    draw(result, output.with_suffix(".png"))


if __name__ == "__main__":
    typer.run(main)
