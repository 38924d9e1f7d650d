"""Figures of plotly as plain data: the few kinds that a page has, in two colours, data and samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.report.axes import Axis
from anabranch.report.blocks import Figure
from anabranch.report.wording import label, percent, shortened
from anabranch.tables.columns.column import Float64

# middle tones, which stand out from white and from near black; that they differ in lightness too is for the colour-blind
DATA, SAMPLES = "#3d7fd0", "#e07b1f"
_FAINT_DATA = "rgba(61,127,208,0.45)"
_BAND = "rgba(128,136,150,0.28)"
_MARGIN = {"l": 46, "r": 12, "t": 10, "b": 38}
_SHARES: dict[str, Any] = {"rangemode": "tozero", "ticksuffix": " %", "nticks": 5, "fixedrange": True}


def histograms(axis: Axis, data: Float64, samples: Float64, words: str, names: tuple[str, str]) -> Figure:
    """Shares of two sets of values in the bins of an axis: one as bars, the other as a line, or marks on bars of levels.

    Args:
        axis: with its bins.
        data, samples: (bins), shares.
        words: what is shown.
        names: of the two.
    """
    text = [
        f"{label(where)}<br>{names[0]} {percent(one)}<br>{names[1]} {percent(other)}"
        for where, one, other in zip(axis.labels, data, samples, strict=True)
    ]
    middles, widths = (axis.edges[1:] + axis.edges[:-1]) / 2, np.diff(axis.edges)
    bars: dict[str, Any] = {
        "type": "bar",
        "marker": {"color": _FAINT_DATA, "line": {"width": 0}},
        "hovertext": text,
        "hoverinfo": "text",
        "textposition": "none",
    }
    line: dict[str, Any] = {"type": "scatter", "hoverinfo": "skip"}
    layout: dict[str, Any] = {"showlegend": False, "margin": dict(_MARGIN), "bargap": 0}
    if axis.levels:
        bars |= {"orientation": "h", "y": middles.tolist(), "x": (100 * data).tolist(), "width": 0.7}
        line |= {
            "y": middles.tolist(),
            "x": (100 * samples).tolist(),
            "mode": "markers",
            "marker": {"color": SAMPLES, "symbol": "line-ns", "size": 14, "line": {"color": SAMPLES, "width": 3}},
            "cliponaxis": False,
        }
        layout |= {
            "xaxis": _SHARES | {"nticks": 4, "tickangle": 0},
            "yaxis": axis.layout | {"automargin": True},
            "hovermode": "y",
        }
        layout["margin"] |= {"l": 8, "b": 24}
        return Figure([bars, line], layout, words, max(130, 60 + 20 * len(middles)))
    edges = axis.edges.tolist()
    bars |= {"x": middles.tolist(), "y": (100 * data).tolist(), "width": widths.tolist()}
    line |= {
        "x": [edges[0], *edges],
        "y": [0.0, *(100 * samples).tolist(), 0.0],
        "mode": "lines",
        "line": {"shape": "hv", "color": SAMPLES, "width": 2},
    }
    if "title" not in axis.layout:
        layout["margin"] |= {"b": 24}
    layout |= {"xaxis": dict(axis.layout), "yaxis": dict(_SHARES), "hovermode": "x"}
    return Figure([bars, line], layout, words)


def uniform_histogram(u: Float64, bins: int, band: tuple[float, float], words: str, height: int = 150) -> Figure:
    """Where numbers in [0, 1] lie, with the band of what as many uniform ones would do.

    Args:
        u: (n), no gaps.
        bins: how many.
        band: the least and largest share of a bin that is nothing special.
        words: what is shown.
        height: in pixels.
    """
    edges = np.linspace(0, 1, bins + 1)
    shares = np.histogram(u, edges)[0] / max(1, len(u))
    bars = {
        "type": "bar",
        "x": ((edges[1:] + edges[:-1]) / 2).tolist(),
        "y": (100 * shares).tolist(),
        "width": 1 / bins,
        "marker": {"color": _FAINT_DATA, "line": {"width": 0}},
        "hovertext": [f"{a:g} to {b:g}<br>{percent(s)}" for a, b, s in zip(edges[:-1], edges[1:], shares, strict=True)],
        "hoverinfo": "text",
        "textposition": "none",
    }
    low, high = (100 * end for end in band)
    layout = {
        "showlegend": False,
        "margin": _MARGIN | {"b": 26},
        "bargap": 0,
        "hovermode": "x",
        "xaxis": {"range": [0, 1], "nticks": 5, "fixedrange": True, "showgrid": False},
        "yaxis": dict(_SHARES),
        "shapes": [
            {
                "type": "rect",
                "x0": 0,
                "x1": 1,
                "y0": low,
                "y1": high,
                "fillcolor": _BAND,
                "line": {"width": 0},
                "layer": "below",
            },
            _line(0, 1, 100 / bins, 100 / bins),
        ],
    }
    return Figure([bars], layout, words, height)


def two_maps(
    axes: tuple[Axis, Axis],
    names: tuple[str, str],
    data: NDArray[np.float64],
    samples: NDArray[np.float64],
    words: str,
) -> Figure:
    """Shares of rows by two columns, (bins of the second, bins of the first), data and samples side by side."""
    across, up = axes
    # square roots, so that what is rare is seen too
    most = max(float(np.sqrt(np.maximum(data, samples)).max(initial=0.0)), 1e-9)
    traces = []
    for number, (shares, colour, whose) in enumerate(((data, DATA, "data"), (samples, SAMPLES, "samples"))):
        text = [
            [
                f"{label(x)}<br>{label(y)}<br>{percent(share)} of {whose}" if share else ""
                for x, share in zip(across.labels, row, strict=True)
            ]
            for y, row in zip(up.labels, shares, strict=True)
        ]
        traces.append(
            {
                "type": "heatmap",
                "x": across.edges.tolist(),
                "y": up.edges.tolist(),
                "z": np.where(shares > 0, np.sqrt(shares), np.nan).tolist(),
                "zmin": 0.0,
                "zmax": most,
                "showscale": False,
                "colorscale": [[0, _clear(colour, 0.12)], [1, _clear(colour, 1.0)]],
                "text": text,
                "hoverinfo": "text",
                "hoverongaps": False,
                "xaxis": "x" if number == 0 else "x2",
                "yaxis": "y" if number == 0 else "y2",
            }
        )
    plain = {"showgrid": False, "zeroline": False, "showline": True, "mirror": True}
    # plotly draws nothing on axes that match each other and have a range each; it finds the ranges of maps itself
    one, other = ({key: value for key, value in axis.layout.items() if key != "range"} for axis in axes)
    second = other | plain | {"anchor": "x2", "matches": "y", "showticklabels": False}
    second.pop("title", None)
    layout: dict[str, Any] = {
        "showlegend": False,
        "margin": {"l": 8, "r": 8, "t": 24, "b": 8},
        "hovermode": "closest",
        "xaxis": one | plain | {"domain": [0, 0.48], "automargin": True},
        "xaxis2": one | plain | {"domain": [0.52, 1], "matches": "x", "anchor": "y2", "automargin": True},
        "yaxis": other | plain | {"automargin": True, "title": _title(names[1])},
        "yaxis2": second,
        "annotations": [_above("data", 0.24), _above("samples", 0.76)],
    }
    for name in ("xaxis", "xaxis2"):
        layout[name] |= {"title": _title(names[0])}
        if across.levels:  # from left to right, as they are from the top downwards elsewhere
            layout[name]["autorange"] = "reversed"
    return Figure(traces, layout, words, 300)


def points(x: Sequence[float], y: Sequence[float], text: Sequence[str], titles: tuple[str, str], words: str) -> Figure:
    """Points about the diagonal."""
    most = max([*x, *y, 1e-9]) * 1.05
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
        "shapes": [_line(0, most, 0, most)],
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


def surprise_map(rows: Sequence[str], columns: Sequence[str], z: Float64, text: list[list[str]], words: str) -> Figure:
    """Cells of some rows, the more surprising the stronger: z (rows, columns), NaN for a gap."""
    trace = {
        "type": "heatmap",
        "x": list(range(len(columns))),
        "y": list(range(len(rows))),
        "z": np.maximum(z, 0.0).tolist(),
        "zmin": 0.0,
        "zmax": max(float(np.nanmax(z, initial=0.0)), 1.0),
        "text": text,
        "hoverinfo": "text",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "colorscale": [[0, _clear(SAMPLES, 0.05)], [1, _clear(SAMPLES, 1.0)]],
        "showscale": False,
    }
    layout = {
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "hovermode": "closest",
        "xaxis": {
            "tickvals": list(range(len(columns))),
            "ticktext": [label(name) for name in columns],
            "automargin": True,
            "tickangle": -60 if len(columns) > 8 else 0,
            "showgrid": False,
            "zeroline": False,
        },
        "yaxis": {
            "tickvals": list(range(len(rows))),
            "ticktext": [label(name) for name in rows],
            "automargin": True,
            "autorange": "reversed",
            "showgrid": False,
            "zeroline": False,
        },
    }
    return Figure([trace], layout, words, 150 + 24 * len(rows))


def _line(x0: float, x1: float, y0: float, y1: float) -> dict[str, Any]:
    line = {"color": "rgba(128,136,150,0.9)", "width": 1.5, "dash": "dot"}
    return {"type": "line", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "line": line}


def _clear(colour: str, strength: float) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{strength:g})"


def _title(name: str) -> dict[str, Any]:
    return {"text": label(shortened(name, 20)), "standoff": 6}


def _above(text: str, x: float) -> dict[str, Any]:
    where = {"x": x, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, **where}
