"""The picture of `scaling.py`: time and memory over features, batch and blocks, beside a straight line of slope 1."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

TIME, SAVED, PEAK, GUIDE = "#1f4e79", "#b35806", "#e0a060", "#999999"
WORDS = {"features": "features", "batch": "rows in a batch", "blocks": "blocks"}


def draw(result: dict, path: Path) -> None:
    """Two rows (time, memory) of three panels, log-log, each with what is seen as its title."""
    mpl.use("Agg")
    figure, panels = plt.subplots(2, 3, figsize=(12, 7), sharey="row", layout="constrained")
    for column, (axis, all_rows) in enumerate(result["axes"].items()):
        rows = [row for row in all_rows if row["seconds"] is not None]
        xs = [row[axis] for row in rows]
        slopes = result["exponents"][axis]["upper half"]
        top, bottom = panels[0, column], panels[1, column]
        times = [1000 * row["seconds"] for row in rows]
        top.plot(xs, times, "o-", color=TIME, label="training step")
        guide(top, xs, times)
        top.set_title(grows("time", axis, slopes["time"], slopes["time_counted"]), fontsize=11)
        saved = [row["saved_bytes"] / 1e6 for row in rows]
        bottom.plot(xs, saved, "o-", color=SAVED, label="kept for the backward pass")
        bottom.plot(xs, [row["peak_bytes"] / 1e6 for row in rows], "s--", color=PEAK, label="peak of the step")
        guide(bottom, xs, saved)
        bottom.set_title(grows("memory", axis, slopes["saved"], slopes["memory_counted"]), fontsize=11)
        bottom.set_xlabel(WORDS[axis])
        for panel in (top, bottom):
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_xticks(xs, [f"{x:,}" for x in xs])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("milliseconds")
    panels[1, 0].set_ylabel("megabytes")
    panels[0, 0].legend(frameon=False)
    panels[1, 0].legend(frameon=False)
    about = result["machine"]
    figure.suptitle(
        "A training step of the spline autoregressive flow around 32 features, 1,024 rows, 5 blocks "
        f"({about['processor']}, {about['torch_threads']} threads); exponents over the upper half",
        fontsize=11,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def grows(what: str, axis: str, exponent: float, counted: float) -> str:
    return f"{what} grows as {axis}$^{{{exponent:.2f}}}$ (the count: {counted:.2f})"


def guide(panel: plt.Axes, xs: list[float], ys: list[float]) -> None:
    """A line of slope 1 through the last point."""
    panel.plot(xs, [ys[-1] * x / xs[-1] for x in xs], ":", color=GUIDE, label="proportional")
