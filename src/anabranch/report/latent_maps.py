"""Rows as points of a plane, coloured by a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.report.blocks import Figure
from anabranch.report.colours import BAND, DATA, SAMPLES
from anabranch.report.readings import reader, sayer
from anabranch.report.wording import label, shortened, shown
from anabranch.tables.columns import Column
from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.levels import OfLevels

# levels with a colour each; the colour-blind tell them by their lightness too
_LEVELS = (DATA, SAMPLES, "#2f9e6e", "#8a4fb0", "#c9a227")
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def two_clouds(data: Float64, samples: Float64, titles: tuple[str, str], words: str) -> Figure:
    """Points (rows, 2) of data over points of samples."""
    traces = [
        _points(xy, text="", color=colour, size=4, opacity=0.45) for xy, colour in ((samples, SAMPLES), (data, DATA))
    ]
    return Figure(traces, _layout(titles, np.concatenate([data, samples])), words, 330)


def coloured(
    xy: Float64, column: Column, z: Float64, names: Sequence[str], titles: tuple[str, str], words: str
) -> Figure:
    """Points (rows, 2), coloured by encoded values (rows) of a column: numbers by their rank, levels by a few colours.

    Args:
        xy: where the rows are.
        column: the column.
        z: its values, NaN for gaps, which are grey.
        names: of the rows, for who points at one.
        titles: of the axes.
        words: what is shown.
    """
    layout = _layout(titles, xy)
    texts = _texts(column, z)
    hover = [f"{label(name)}<br>{label(column.name)}: {label(text)}" for name, text in zip(names, texts, strict=True)]
    groups = _levels(column, z) if isinstance(column, OfLevels) else [("", ~np.isnan(z))]
    traces = []
    rest = ~np.any([mask for _, mask in groups], axis=0)
    if rest.any():
        traces.append(_of(xy, hover, rest, color=BAND, size=5, opacity=1.0) | {"name": "others, gaps"})
    for (name, mask), colour in zip(groups, _LEVELS, strict=False):
        if name:
            traces.append(
                _of(xy, hover, mask, color=colour, size=5, opacity=0.7) | {"name": label(shortened(name, 20))}
            )
        else:
            traces.append(_of(xy, hover, mask, **_scale(column, z[mask])))
    if isinstance(column, OfLevels):
        layout |= {"showlegend": True, "legend": {"orientation": "h", "y": -0.2}}
        layout["margin"] |= {"b": 64}
    return Figure(traces, layout, words, 360 if isinstance(column, OfLevels) else 330)


def _levels(column: OfLevels, z: Float64) -> list[tuple[str, NDArray[np.bool_]]]:
    """The most frequent levels, and which rows have each."""
    counts = np.bincount(z[~np.isnan(z)].astype(np.int64), minlength=len(column.levels))
    chosen = np.argsort(-counts, kind="stable")[: len(_LEVELS)]
    return [(shown(column.levels[k], 20), z == k) for k in np.sort(chosen) if counts[k]]


def _scale(column: Column, z: Float64) -> dict[str, Any]:
    """Colours by rank, from 0 to 1, with the values there."""
    values = reader(column)(z)
    known = values[~np.isnan(values)]
    ranks = np.searchsorted(np.sort(known), values, side="left") / max(1, len(known) - 1)
    say = sayer(column)
    quarters = np.quantile(known, _TICKS, method="nearest").tolist() if len(known) else []
    return {
        "color": np.nan_to_num(ranks).tolist(),
        "size": 5,
        "opacity": 0.8,
        "cmin": 0.0,
        "cmax": 1.0,
        # from the one colour to the other, by way of a light middle
        "colorscale": [[0, DATA], [0.5, "#b9b4a8"], [1, SAMPLES]],
        "showscale": True,
        "colorbar": {
            "tickvals": list(_TICKS[: len(quarters)]),
            "ticktext": [label(say(value)) for value in quarters],
            "thickness": 10,
            "len": 0.9,
        },
    }


def _texts(column: Column, z: Float64) -> list[str]:
    return [shown(value) for value in column.decode(z).to_pylist()]


def _of(xy: Float64, hover: Sequence[str], mask: NDArray[np.bool_], **marker: Any) -> dict[str, Any]:
    return _points(xy[mask], [text for text, here in zip(hover, mask.tolist(), strict=True) if here], **marker)


def _points(xy: Float64, text: Sequence[str], **marker: Any) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": xy[:, 0].tolist(),
        "y": xy[:, 1].tolist(),
        "marker": marker | {"line": {"width": 0}},
        **({"hovertext": list(text), "hoverinfo": "text"} if text else {"hoverinfo": "skip"}),
    }


def _layout(titles: tuple[str, str], xy: Float64) -> dict[str, Any]:
    axes = {}
    for k, (name, title) in enumerate(zip(("xaxis", "yaxis"), titles, strict=True)):
        low, high = np.quantile(xy[:, k], [0.002, 0.998]).tolist()
        margin = 0.06 * ((high - low) or 1.0)
        axes[name] = {
            "title": {"text": label(title), "standoff": 6},
            "range": [low - margin, high + margin],
            "zeroline": False,
            "showgrid": False,
            "automargin": True,
        }
    return {"showlegend": False, "margin": {"l": 8, "r": 8, "t": 10, "b": 8}, "hovermode": "closest", **axes}
