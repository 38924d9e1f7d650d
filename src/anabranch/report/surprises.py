"""The most surprising rows, and what makes them so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from anabranch.models import AnyOrder
from anabranch.report.blocks import Block, Card, Cards, Paragraph, Section, Table
from anabranch.report.columns import Pictured
from anabranch.report.maps import surprise_map
from anabranch.report.slices import can_be_sliced, slices
from anabranch.report.view import Numbers, View
from anabranch.report.wording import count, label, nats, percent, shortened, shown
from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.levels import OfLevels
from anabranch.tables.detecting import excess_of_rows

# what was expected of the cell in this column of one of the rows
Expected = Callable[[int, int], str]

_ROWS = 12
_CELLS = 3
_MOST_COLUMNS = 40
# beyond what a cell's surprise is told: in a sentence, and in a note
_ABOVE_COLUMN = "the mean of their column", "the mean of the column"
_ABOVE_EXPECTED = "what the model expects it to be there", "what the model expects"
# behind what is said to be expected of a value
_DRAWS = 1_000


def surprises(view: View, pictured: Pictured) -> Section:
    """Rows in order of their surprise, with their most surprising cells."""
    excess = excess_of_rows(view.model, view.x, view.context, view.log_p, view.checked)
    order = np.argsort(-excess, kind="stable")[:_ROWS]
    ranked = (
        "Rows are ranked by -log p, less what rows that have the same columns come to on average, so that a row "
        "with gaps is judged by what it has."
        if view.gaps.any() and view.any_order is not None
        else f"Rows are ranked by {'the estimate of ' if view.estimated else ''}log p"
        f"{' of what they have, so that rows with many gaps seldom come first' if view.gaps.any() else ''}."
    )
    begin = (
        f"The {count(len(order), 'row')} to which the model gives least, of the {len(view.x):,} looked at; row "
        f"numbers count from 0, as in the table. {ranked} A surprising row may be an error in the data, or a kind of "
        "row that is rare."
    )
    if view.any_order is not None:
        blocks = _by_cell(view, order, *_given_the_rest(view, view.any_order, order), _ABOVE_COLUMN)
    elif can_be_sliced(view):
        blocks = _by_cell(view, order, *_of_slices(view, pictured, order), _ABOVE_EXPECTED)
    else:
        blocks = _by_margin(view, pictured, order)
    return Section("surprises", "Most surprising rows", [Paragraph(begin), *blocks])


def _given_the_rest(view: View, density: AnyOrder, order: Numbers) -> tuple[Float64, Expected]:
    """Surprise of the cells of these rows beyond the mean of their column, (rows, columns), and what was expected."""
    typical = view.model.surprise(view.table.take(view.checked))
    finite = np.isfinite(typical)
    usual = np.where(finite, typical, 0.0).sum(axis=0) / np.maximum(1, finite.sum(axis=0))
    x, context = view.tensor(order), view.contexts(order)

    def expected(k: int, i: int) -> str:
        return _expected(view, density, i, x[k : k + 1], None if context is None else context[k : k + 1])

    return view.model.surprise(view.table.take(order)) - usual, expected


def _of_slices(view: View, pictured: Pictured, order: Numbers) -> tuple[Float64, Expected]:
    """The same of a density without a formula for it, beyond what it expects of each cell itself."""
    found = [slices(view, int(row), pictured.drawn) for row in order]

    def expected(k: int, i: int) -> str:
        ends = np.array([found[k].low[i], found[k].high[i]])
        low, high = (shown(value) for value in view.schema.parts[i].decode(ends).to_pylist())
        return f"expected {low} to {high}"

    return np.array([one.excess for one in found]), expected


def _by_cell(view: View, order: Numbers, cells: Float64, expected: Expected, above: tuple[str, str]) -> list[Block]:
    """Every cell given the rest of its row: surprise beyond what is usual, and what was expected."""
    names = view.schema.columns
    rows: list[Sequence[str | Sequence[str]]] = []
    for k, row in enumerate(order):
        worst = np.argsort(-np.nan_to_num(cells[k], nan=-np.inf), kind="stable")[:_CELLS]
        lines = []
        for i in worst:
            if np.isnan(cells[k, i]) or cells[k, i] <= 0:
                continue
            value, wanted = shown(view.value(int(row), int(i))), expected(k, int(i))
            lines.append(f"{names[i]} = {value}: +{nats(float(cells[k, i]))} nats; {wanted}")
        rows.append([f"{view.numbers[row]}", nats(float(view.log_p[row])), lines or ["no cell by itself"]])
    blocks: list[Block] = [
        Paragraph(
            "Beside each row are the cells that are least likely given all others of the row: by how many nats "
            f"their surprise -log p is above {above[0]}, and what the model expected there, nine "
            "tenths of its probability or its most probable value."
        ),
        Table(["row", "log p", "cells that make it so"], rows, numbers=[0, 1]),
    ]
    if len(names) > 1:
        blocks.append(Cards([_map(view, order, cells, above[1])], width="full"))
    return blocks


def _map(view: View, order: Numbers, cells: Float64, above: str) -> Card:
    names = view.schema.columns
    most = min(len(names), _MOST_COLUMNS)
    largest = np.nan_to_num(cells, nan=-np.inf).max(axis=0)
    chosen = np.sort(np.argsort(-largest, kind="stable")[:most])
    text = [
        [
            label(f"row {view.numbers[row]}, {names[i]} = {shown(view.value(int(row), int(i)), 40)}")
            + ("" if np.isnan(cells[k, i]) else f"<br>{cells[k, i]:+.2f} nats")
            for i in chosen
        ]
        for k, row in enumerate(order)
    ]
    figure = surprise_map(
        [f"row {view.numbers[row]}" for row in order],
        [shortened(names[i], 18) for i in chosen],
        np.nan_to_num(cells[:, chosen], nan=np.nan, posinf=1e3),
        text,
        "Surprise of the cells of these rows",
    )
    left = f" The {most} columns that surprise most; {len(names) - most} not drawn." if most < len(names) else ""
    empty = "; empty cells are gaps" if view.gaps[order].any() else ""
    return Card("Surprise of every cell", figure, [f"Nats above {above}, given the rest of the row{empty}.{left}"])


def _expected(view: View, density: AnyOrder, column: int, x: torch.Tensor, context: torch.Tensor | None) -> str:
    """What a model of any order expects of a cell given the rest of the row (1, columns), in words."""
    part = view.schema.parts[column]
    with torch.no_grad(), view.seeded(8):
        theta = density.parameters_given(x, column, context)
        if isinstance(part, OfLevels):
            p = theta.double().softmax(dim=-1)[0]
            best = int(p.argmax())
            return f"expected {shown(part.levels[best], 40)} ({percent(float(p[best]))})"
        # of draws: an exact quantile beside many atoms takes long
        drawn = density.family(column).sample(theta.expand(_DRAWS, -1)).double().cpu().numpy()
    ends = np.quantile(drawn, [0.05, 0.95], method="nearest")
    low, high = (shown(value) for value in part.decode(ends).to_pylist())
    return f"expected {low}" if low == high else f"expected {low} to {high}"


def _by_margin(view: View, pictured: Pictured, order: Numbers) -> list[Block]:
    """Values that stand farthest out among draws, column by column, where what the model says given the others is dear."""
    names, parts = view.schema.columns, view.schema.parts
    drawn = pictured.drawn
    of_levels = np.array([isinstance(part, OfLevels) for part in parts])
    if view.context is not None:  # draws at the given values of each row
        at_each = view.draws(order, 1_000, purpose=7)
    rows: list[Sequence[str | Sequence[str]]] = []
    for k, row in enumerate(order):
        mine = drawn if view.context is None else at_each[k]
        below = (mine < view.x[row]).mean(axis=0)
        same = (mine == view.x[row]).mean(axis=0)
        # levels have no ends, and a gap is no value
        tail = np.where(of_levels, same, np.minimum(below, (mine > view.x[row]).mean(axis=0)))
        worst = np.argsort(np.where(view.gaps[row], np.inf, tail), kind="stable")[:_CELLS]
        lines = []
        for i in worst:
            if view.gaps[row, i]:
                continue
            if of_levels[i]:
                lines.append(
                    f"{names[i]} = {shown(view.value(int(row), int(i)))}: in {percent(float(same[i]))} of draws"
                )
                continue
            side = "above" if below[i] > 0.5 else "below"
            beyond = max(float(below[i]), 1 - float(below[i]))
            ends = np.quantile(mine[:, i], [0.05, 0.95])
            low, high = (shown(value) for value in parts[i].decode(ends).to_pylist())
            lines.append(
                f"{names[i]} = {shown(view.value(int(row), int(i)))}: {side} {100 * beyond:.1f} % of draws, nine "
                f"tenths of which are {low} to {high}"
            )
        rows.append([f"{view.numbers[row]}", nats(float(view.log_p[row])), lines])
    kind = "draws at the same given values" if view.context is not None else "draws"
    return [
        Paragraph(
            f"Beside each row are the values that stand farthest out among {kind} of the model, each column by "
            "itself. A row can also be surprising for a combination of values none of which is"
            + (
                "; which of its cells are unlikely given the others takes an exact density."
                if view.estimated
                else ": 'anabranch detect' tells which of its cells are unlikely given the others."
            )
        ),
        Table(["row", "log p", "values that stand farthest out"], rows, numbers=[0, 1]),
    ]
