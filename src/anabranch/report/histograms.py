"""Histograms: of two sets of values in the bins of an axis, and of numbers that should be uniform."""

from __future__ import annotations

from typing import Any

import numpy as np

from anabranch.report.axes import Axis
from anabranch.report.blocks import Figure
from anabranch.report.colours import BAND, DATA, SAMPLES, dotted, faint
from anabranch.report.wording import label, percent
from anabranch.tables.columns.column import Float64

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
        "marker": {"color": faint(DATA, 0.45), "line": {"width": 0}},
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
    # text that is turned, or that takes two lines as dates do, makes itself room
    layout |= {"xaxis": axis.layout | {"automargin": True}, "yaxis": dict(_SHARES), "hovermode": "x"}
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
        "marker": {"color": faint(DATA, 0.45), "line": {"width": 0}},
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
                "fillcolor": BAND,
                "line": {"width": 0},
                "layer": "below",
            },
            dotted(0, 1, 100 / bins, 100 / bins),
        ],
    }
    return Figure([bars], layout, words, height)
