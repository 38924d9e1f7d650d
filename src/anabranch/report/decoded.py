"""What a decoder makes of hidden numbers, column by column: values along a path, as a map of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anabranch.models import LatentVariable
from anabranch.report.blocks import Figure
from anabranch.report.colours import SAMPLES, faint
from anabranch.report.readings import reader, sayer
from anabranch.report.view import View
from anabranch.report.wording import label, number, percent, shortened, shown
from anabranch.tables.columns import Angle, Column
from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.levels import OfLevels

_DRAWS = 500
# rows of a map: those that change most, and of a column so many levels
_MOST_ROWS, _MOST_LEVELS = 10, 3


@dataclass(frozen=True)
class Track:
    """What a column is along a path, or how probable one of its levels is.

    Attributes:
        name: of the column, and of the level.
        place: (steps), the middle value between the 5 % and the 95 % point of the data, from 0 to 1; or the probability.
        texts: (steps), the value in few words.
        spans: (steps), the value with nine tenths of the draws, in words.
    """

    name: str
    place: Float64
    texts: Sequence[str]
    spans: Sequence[str]

    @property
    def change(self) -> float:
        """From the least place to the greatest."""
        return float(np.ptp(self.place))


def tracks(view: View, density: LatentVariable, z: Tensor, context: Tensor | None, data: Float64) -> list[Track]:
    """Of every column along hidden numbers, by draws of the decoder, those that change most first.

    Args:
        view: what is looked at.
        density: of the view.
        z: (steps, *event of z).
        context: one context, if the density takes one.
        data: (rows, columns), encoded: where the values of the table lie.
    """
    with torch.no_grad(), view.seeded(12):
        given = None if context is None else context.expand(len(z), *context.shape)
        drawn = density.decoder.sample((_DRAWS,), density.decoder_context(z, given)).double().cpu().numpy()
    found = [
        track
        for i, part in enumerate(view.schema.parts)
        for track in (_of_levels if isinstance(part, OfLevels) else _of_numbers)(part, drawn[..., i], data[:, i])
    ]
    return sorted(found, key=lambda track: -track.change)[:_MOST_ROWS]


def track_map(along: Sequence[Track], steps: Sequence[str], title: str, words: str) -> Figure:
    """Columns from top to bottom, steps from left to right, each with its value: the stronger the colour the larger."""
    trace = {
        "type": "heatmap",
        "x": list(range(len(steps))),
        "y": list(range(len(along))),
        "z": [track.place.tolist() for track in along],
        "zmin": 0.0,
        "zmax": 1.0,
        "hovertext": [[f"{label(track.name)}<br>{label(span)}" for span in track.spans] for track in along],
        "hoverinfo": "text",
        "xgap": 1,
        "ygap": 1,
        "colorscale": [[0, faint(SAMPLES, 0.04)], [1, faint(SAMPLES, 0.75)]],
        "showscale": False,
    }
    # the map's own text would have a colour that is seen on white alone; this has the page's
    values = {
        "type": "scatter",
        "mode": "text",
        "x": [k for _ in along for k in range(len(steps))],
        "y": [row for row in range(len(along)) for _ in steps],
        "text": [label(text) for track in along for text in track.texts],
        "textfont": {"size": 11},
        "hoverinfo": "skip",
    }
    plain = {"showgrid": False, "zeroline": False, "fixedrange": True, "automargin": True, "ticks": ""}
    layout = {
        "showlegend": False,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "hovermode": "closest",
        "xaxis": plain
        | {"tickvals": list(range(len(steps))), "ticktext": [label(step) for step in steps], "tickangle": 0}
        | {"title": {"text": label(title), "standoff": 6}},
        "yaxis": plain
        | {"tickvals": list(range(len(along))), "ticktext": [label(shortened(track.name, 24)) for track in along]}
        | {"autorange": "reversed"},
    }
    return Figure([trace, values], layout, words, 70 + 26 * len(along))


def _of_levels(part: Column, drawn: Float64, data: Float64) -> list[Track]:
    assert isinstance(part, OfLevels)
    shares = np.stack([(drawn == k).mean(axis=0) for k in range(len(part.levels))])
    # of two levels one says all: the one that becomes more probable
    order = np.argsort(-np.ptp(shares, axis=1) - 1e-9 * shares[:, -1], kind="stable")
    kept = order[: 1 if len(part.levels) == 2 else _MOST_LEVELS]
    return [
        Track(
            f"{part.name} = {shown(part.levels[k], 20)}",
            shares[k],
            [f"{100 * share:.0f} %" for share in shares[k]],
            [percent(float(share)) for share in shares[k]],
        )
        for k in kept
    ]


def _of_numbers(part: Column, drawn: Float64, data: Float64) -> list[Track]:
    read, say = reader(part), sayer(part)
    values, seen = read(drawn.reshape(-1)).reshape(drawn.shape), read(data)
    seen = seen[~np.isnan(seen)]
    with np.errstate(invalid="ignore"):
        low, middle, high = np.nanquantile(values, [0.05, 0.5, 0.95], axis=0)
    if isinstance(part, Angle):  # a circle has no order
        turn = 2 * np.pi / part.period
        middle = np.arctan2(np.sin(turn * values).mean(axis=0), np.cos(turn * values).mean(axis=0)) / turn % part.period
    first, last = np.quantile(seen, [0.05, 0.95]) if len(seen) else (0.0, 0.0)
    place = np.clip((middle - first) / ((last - first) or 1.0), 0.0, 1.0)
    dated = not isinstance(say(0.0), str) or "-" in say(0.0)
    texts = [say(value) if dated else number(value, 3) for value in middle.tolist()]
    ends = zip(texts, low.tolist(), high.tolist(), strict=True)
    spans = [text if isinstance(part, Angle) else f"{text} ({say(a)} to {say(b)})" for text, a, b in ends]
    return [Track(part.name, np.nan_to_num(place), texts, spans)]
