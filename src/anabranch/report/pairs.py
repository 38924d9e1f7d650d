"""Pairs of columns: data beside samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from anabranch.report.axes import Axis, axis_of
from anabranch.report.blocks import Block, Card, Cards, Fold, Paragraph, Section, Table
from anabranch.report.columns import Pictured
from anabranch.report.dependence import all_pairs
from anabranch.report.maps import two_maps
from anabranch.report.marks import level_bars, points
from anabranch.report.view import View
from anabranch.report.wording import count
from anabranch.tables.columns.column import Float64
from anabranch.tables.types import flat

# columns of which all pairs are looked at; of these pairs, how many are drawn for their dependence and for its difference
_MOST_COLUMNS = 200
_STRONGEST, _MOST_WRONG = 9, 3
_BINS = 24
_MOST_BARS = 40
_MOST_POINTS = 2_000
# rows of which it is computed what each column gains
_GAINS = 500


def pairs(view: View, pictured: Pictured) -> Section | None:
    """The pairs that depend on each other most and those whose dependence the model has least; None of a single column."""
    modelled = view.schema.parts[:_MOST_COLUMNS]
    if len(modelled) + len(view.schema.given) < 2:
        return None
    parts = [*modelled, *view.schema.given_parts]
    given = _given(view, pictured)
    data = np.concatenate([pictured.x[:, : len(modelled)], given], axis=1)
    # as many draws as rows, with the same gaps and the same given values: what is left of chance is then alike
    of_rows = pictured.drawn[: len(pictured.x), : len(modelled)]
    drawn = np.concatenate([np.where(np.isnan(pictured.x[:, : len(modelled)]), np.nan, of_rows), given], axis=1)
    found = all_pairs(parts, data, drawn, len(modelled))
    order = sorted(range(len(found)), key=lambda k: (-found[k][2], k))
    # where nothing depends on anything, as in a row or two, a pair at least that some row has
    strongest = [k for k in order[:_STRONGEST] if found[k][2] > 0] or [k for k in order if _both(data, found[k])][:1]
    if not strongest:
        return None
    others = sorted(range(len(found)), key=lambda k: (-abs(found[k][2] - found[k][3]), k))
    wrong = [k for k in others if k not in strongest and found[k][2] != found[k][3]][:_MOST_WRONG]
    axes: dict[int, Axis] = {}
    cards = []
    for k in [*strongest, *wrong]:
        i, j, of_data, of_samples = found[k]
        for n in (i, j):
            if n not in axes:
                axes[n] = axis_of(parts[n], data[:, n], drawn[:, n], _BINS)
        both = axes[i], axes[j]
        shares = [_shares(both, rows[:, [i, j]]) for rows in (data, drawn)]
        title = f"{parts[i].name} and {parts[j].name}"
        figure = two_maps(both, (parts[i].name, parts[j].name), shares[0], shares[1], title)
        why = "" if k in strongest else " Chosen because the two differ."
        apart = [f"{parts[n].name} is {words}" for n in (i, j) for _, words in axes[n].apart]
        without = f" Without rows where {' or '.join(apart)}." if apart else ""
        note = f"Mutual information {of_data:.3f} nats in the data, {of_samples:.3f} in samples.{without}{why}"
        cards.append(Card(title, figure, [note]))
    blocks: list[Block] = [
        Paragraph(
            "Shares of rows, data on the left and samples of the model on the right, both on the same scale; the "
            "stronger the colour the more, by the square root, so that rare combinations show. How much two columns "
            "tell of each other is their mutual information, estimated from ten bins of each: 0 nats if they are "
            "independent."
        ),
        Paragraph(_what_is_shown(len(found), len(strongest), len(wrong), len(view.schema.columns))),
        Cards(cards, width="wide"),
    ]
    if len(found) > 1:
        shown = sorted(order[:_MOST_POINTS])
        drawing = points(
            [found[k][2] for k in shown],
            [found[k][3] for k in shown],
            [f"{parts[found[k][0]].name}\n{parts[found[k][1]].name}" for k in shown],
            ("in the data, nats", "in samples, nats"),
            "Mutual information of pairs, in data and in samples",
        )
        which = "Every pair" if len(shown) == len(found) else f"The {len(shown):,} strongest pairs"
        note = f"{which} is a point; on the dotted line the model has as much of it as the data, below it too little."
        if len(shown) < len(found):
            note = note.replace(" is a point", ", a point each")
        cards_below = [Card("Dependence of pairs", drawing, [note])]
        if view.any_order is not None and len(modelled) > 1:
            cards_below.append(_gains(view))
        blocks.append(Cards(cards_below, width="wide"))
        rows = [
            [parts[found[k][0]].name, parts[found[k][1]].name, f"{found[k][2]:.3f}", f"{found[k][3]:.3f}"]
            for k in order[:50]
        ]
        head = ["column", "and column", "nats in the data", "nats in samples"]
        blocks.append(Fold(f"The {count(len(rows), 'strongest pair')} in numbers", [Table(head, rows, numbers=[2, 3])]))
    return Section("pairs", "Pair by pair", blocks)


def _both(z: Float64, pair: tuple[int, int, float, float]) -> bool:
    """Whether some row has both."""
    return bool((~np.isnan(z[:, pair[:2]])).all(axis=1).any())


def _given(view: View, pictured: Pictured) -> Float64:
    """The given columns of the rows on pictures, encoded as if they were modelled: (rows, given columns)."""
    table = view.table.take(pictured.rows)
    columns = [part.encode(flat(table.column(part.name))) for part in view.schema.given_parts]
    return np.stack(columns, axis=1) if columns else np.empty((len(pictured.rows), 0))


def _what_is_shown(all_of_them: int, strongest: int, wrong: int, columns: int) -> str:
    left = all_of_them - strongest - wrong
    looked = f" Of the {columns} columns the first {_MOST_COLUMNS} were looked at." if columns > _MOST_COLUMNS else ""
    if not left:
        return f"All {count(all_of_them, 'pair')} of columns.{looked}" if all_of_them > 1 else f"The only pair.{looked}"
    which = f"the {strongest} that depend on each other" if strongest > 1 else "the one that depends on each other"
    differ = f", and the {wrong} whose dependence the samples miss by most" if wrong else ""
    return (
        f"Of {count(all_of_them, 'pair')} of columns, {which} most in the "
        f"data{differ}; {count(left, 'other')} not drawn, but each is a point in the picture of dependence "
        f"below.{looked}"
    )


def _shares(axes: tuple[Axis, Axis], z: Float64) -> Float64:
    """(bins of the second, bins of the first): shares of the rows that have both."""
    across, up = (axis.place(z[:, k]) for k, axis in enumerate(axes))
    sizes = len(axes[1].labels), len(axes[0].labels)
    inside = (across >= 0) & (up >= 0)
    counts: NDArray[np.int64] = np.bincount(up[inside] * sizes[1] + across[inside], minlength=sizes[0] * sizes[1])
    both = int((~np.isnan(z)).all(axis=1).sum())
    return counts.reshape(sizes) / max(1, both)


def _gains(view: View) -> Card:
    """How much likelier each column is given the others: the network of a model of any order says both."""
    density, rows = view.any_order, view.checked[:_GAINS]
    assert density is not None
    x, context = view.tensor(rows), view.contexts(rows)
    names = view.schema.columns
    with torch.no_grad():
        given = density.leave_one_out(x, context).double().cpu().numpy()
        alone = np.concatenate(
            [density.terms(x, [i], context=context).double().cpu().numpy() for i in range(len(names))], axis=1
        )
    seen = ~view.gaps[rows]
    with np.errstate(invalid="ignore"):
        gains = np.where(seen & np.isfinite(given) & np.isfinite(alone), given - alone, 0.0)
    mean = gains.sum(axis=0) / np.maximum(1, seen.sum(axis=0))
    order = np.argsort(-mean, kind="stable")[:_MOST_BARS]
    figure = level_bars(
        [names[i] for i in order],
        [("nats", mean[order].tolist())],
        "nats",
        "What each column gains from the others",
        share=False,
    )
    rest = f" The {_MOST_BARS} that gain most." if len(names) > _MOST_BARS else ""
    note = (
        "How much likelier a value is given the rest of its row than by itself, mean over "
        f"{count(len(rows), 'row')}: what the other columns know of it.{rest}"
    )
    return Card("What each column gains from the others", figure, [note])
