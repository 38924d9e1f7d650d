"""Each column: data beside samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anabranch.report.axes import Axis, axis_of
from anabranch.report.blocks import Block, Card, Cards, Figure, Paragraph, Section
from anabranch.report.histograms import histograms
from anabranch.report.view import Numbers, View
from anabranch.report.wording import count, listed, percent
from anabranch.tables.columns import Column
from anabranch.tables.columns.column import Float64

# so many draws at least, if the rows are few and the draws need not be of these rows
_LEAST_DRAWS = 2_000
_BENT = "The axis is straight near zero and logarithmic far from it."
# an axis leaves out the outermost thousandths of the draws; more is said
_OUTSIDE = 0.003


@dataclass(frozen=True)
class Pictured:
    """Rows of the data and draws, which pictures show.

    Attributes:
        rows: by their place in the view.
        x: (rows, columns), encoded, NaN for gaps.
        drawn: (draws, columns), encoded, no gaps; where there are given columns draws of these rows' given values, in turn.
    """

    rows: Numbers
    x: Float64
    drawn: Float64

    @classmethod
    def of(cls, view: View) -> Pictured:
        """Of some rows of a view."""
        rows = view.pictured
        each = max(1, -(-_LEAST_DRAWS // len(rows)))
        drawn = view.draws(rows, each, purpose=5)
        return cls(rows, view.x[rows], drawn.transpose(1, 0, 2).reshape(-1, drawn.shape[-1]))


def columns(view: View, pictured: Pictured, most: int) -> Section:
    """Histograms of every column, of `most` of them at most."""
    parts = view.schema.parts
    cards = [
        Card(part.name, *_picture(part, pictured.x[:, i], pictured.drawn[:, i], view.seed))
        for i, part in enumerate(parts[:most])
    ]
    gaps = (
        " Gaps of the data are left out, and samples have none: where values are missing for a reason the two need "
        "not agree."
        if view.gaps.any()
        else ""
    )
    at = " The samples are drawn at the given values of the rows shown." if view.schema.given else ""
    blocks: list[Block] = [
        Paragraph(
            f"Shares of {count(len(pictured.rows), 'row')} (blue, filled) and of "
            f"{count(len(pictured.drawn), 'sample')} of the model (orange).{at}{gaps}"
        ),
        Cards(cards),
    ]
    if len(parts) > most:
        left = [part.name for part in parts[most:]]
        blocks.append(Paragraph(f"Not drawn, beyond the first {most}: {listed(left)}."))
    return Section("columns", "Column by column", blocks)


def _picture(part: Column, data: Float64, drawn: Float64, seed: int) -> tuple[Figure, list[str]]:
    axis = axis_of(part, data, drawn)
    figure = histograms(
        axis, axis.shares(data), axis.shares(drawn), f"Distribution of {part.name}", ("data", "samples")
    )
    return figure, notes(axis, [("the data", data), ("the samples", drawn)])


def notes(axis: Axis, groups: Sequence[tuple[str, Float64]]) -> list[str]:
    """What a histogram does not show: values that stand apart, gaps, and what stands beyond its ends."""
    said = []
    for value, words in axis.apart:
        shares = [axis.at(value, z) for _, z in groups]
        if max(shares) > 0:
            each = ", ".join(f"{percent(share)} of {name}" for share, (name, _) in zip(shares, groups, strict=True))
            said.append(f"Not in the picture: exactly {words}, {each}.")
    if axis.bent:
        said.append("The axis is logarithmic." if axis.layout.get("type") == "log" else _BENT)
    missing = float(np.isnan(groups[0][1]).mean()) if len(groups[0][1]) else 0.0
    if missing and groups[0][0] == "the data":
        said.append(f"Gaps: {percent(missing)} of the data.")
    for name, z in groups:
        outside, broken = axis.outside(z), int(np.isinf(z).sum())
        if outside > _OUTSIDE * len(z):
            said.append(f"Beyond the picture: {percent(outside / len(z))} of {name}.")
        if broken:
            said.append(f"Not finite: {percent(broken / len(z))} of {name}.")
    return said
