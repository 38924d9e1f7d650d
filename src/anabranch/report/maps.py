"""Maps: rows by two columns, data beside samples, and cells by how surprising they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anabranch.report.axes import Axis
from anabranch.report.blocks import Figure
from anabranch.report.colours import DATA, SAMPLES, faint
from anabranch.report.wording import label, percent, shortened
from anabranch.tables.columns.column import Float64


def two_maps(
    axes: tuple[Axis, Axis],
    names: tuple[str, str],
    data: Float64,
    samples: Float64,
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
                "colorscale": [[0, faint(colour, 0.12)], [1, faint(colour, 1.0)]],
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
        "yaxis": other | plain | {"automargin": True, "title": _title(names[1], up)},
        "yaxis2": second,
        "annotations": [_above("data", 0.24), _above("samples", 0.76)],
    }
    for name in ("xaxis", "xaxis2"):
        layout[name] |= {"title": _title(names[0], across)}
        if across.levels:  # from left to right, as they are from the top downwards elsewhere
            layout[name]["autorange"] = "reversed"
    return Figure(traces, layout, words, 300)


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
        "colorscale": [[0, faint(SAMPLES, 0.05)], [1, faint(SAMPLES, 1.0)]],
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


def _title(name: str, axis: Axis) -> dict[str, Any]:
    words = shortened(name, 20) + (f" ({axis.unit})" if axis.unit else "")
    return {"text": label(words), "standoff": 6}


def _above(text: str, x: float) -> dict[str, Any]:
    where = {"x": x, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, **where}
