"""Points, means with their errors, and bars of names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anabranch.report.blocks import Figure
from anabranch.report.colours import DATA, SAMPLES, dotted
from anabranch.report.wording import label, percent, shortened


def points(x: Sequence[float], y: Sequence[float], text: Sequence[str], titles: tuple[str, str], words: str) -> Figure:
    """Points about the diagonal."""
    most = max([*x, *y, 0.01]) * 1.05
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": list(y),
        "hovertext": [label(one).replace("\n", "<br>") for one in text],
        "hoverinfo": "text",
        "marker": {"color": DATA, "size": 7, "opacity": 0.6, "line": {"width": 0}},
    }
    layout = {
        "showlegend": False,
        "margin": {"l": 56, "r": 14, "t": 14, "b": 46},
        "hovermode": "closest",
        "xaxis": {"title": {"text": label(titles[0])}, "range": [0, most]},
        "yaxis": {"title": {"text": label(titles[1])}, "range": [0, most]},
        "shapes": [dotted(0, most, 0, most)],
    }
    return Figure([trace], layout, words, 320)


def bars_with_errors(
    names: Sequence[str], values: Sequence[float], errors: Sequence[float], title: str, words: str
) -> Figure:
    """One mark with its error for each name, the first on top."""
    y = list(range(len(names)))[::-1]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": list(values),
        "y": y,
        "error_x": {"type": "data", "array": list(errors), "thickness": 2, "width": 5, "color": DATA},
        "marker": {"color": DATA, "size": 10},
        "hovertext": [label(f"{name}: {value:.3f}") for name, value in zip(names, values, strict=True)],
        "hoverinfo": "text",
    }
    layout = {
        "showlegend": False,
        "margin": {"l": 8, "r": 20, "t": 10, "b": 44},
        "hovermode": "closest",
        "xaxis": {"title": {"text": title}, "zeroline": False},
        "yaxis": {
            "tickvals": y,
            "ticktext": [label(shortened(name, 28)) for name in names],
            "automargin": True,
            "range": [-0.6, len(names) - 0.4],
            "fixedrange": True,
            "zeroline": False,
        },
    }
    return Figure([trace], layout, words, 70 + 34 * len(names))


def level_bars(
    names: Sequence[str], groups: Sequence[tuple[str, Sequence[float]]], title: str, words: str, share: bool = True
) -> Figure:
    """Horizontal bars for each name, of one group or two, the first name on top."""
    y = np.arange(len(names), dtype=np.float64)[::-1]
    thick = 0.76 / len(groups)
    traces = []
    for number, (whose, values) in enumerate(groups):
        offset = 0.0 if len(groups) == 1 else (0.5 - number) * thick
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "x": [100 * value if share else value for value in values],
                "y": (y + offset).tolist(),
                "width": thick,
                "marker": {"color": (DATA, SAMPLES)[number], "opacity": 0.8},
                "hovertext": [
                    label(f"{name}: {percent(value) if share else f'{value:.3f}'} {whose}".rstrip())
                    for name, value in zip(names, values, strict=True)
                ],
                "hoverinfo": "text",
                "textposition": "none",
            }
        )
    layout = {
        "showlegend": False,
        "margin": {"l": 8, "r": 14, "t": 8, "b": 44},
        "hovermode": "closest",
        "xaxis": {"title": {"text": title}, "fixedrange": True, **({"ticksuffix": " %"} if share else {})},
        "yaxis": {
            "tickvals": y.tolist(),
            "ticktext": [label(shortened(name, 28)) for name in names],
            "automargin": True,
            "range": [-0.6, len(names) - 0.4],
            "fixedrange": True,
            "zeroline": False,
        },
    }
    return Figure(traces, layout, words, 70 + (16 if len(groups) == 1 else 26) * len(names))
