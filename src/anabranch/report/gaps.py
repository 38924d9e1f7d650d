"""What fills the gaps: imputed distributions beside the observed values."""

from __future__ import annotations

import warnings

import numpy as np

from anabranch.queries import QueryWarning, impute
from anabranch.report.axes import axis_of
from anabranch.report.blocks import Block, Card, Cards, Paragraph, Section
from anabranch.report.columns import notes
from anabranch.report.histograms import histograms
from anabranch.report.view import View, some_of
from anabranch.report.wording import count, listed, percent

_ROWS, _CELLS = 2_000, 100_000
_DRAWS = 5


def gaps(view: View, most: int) -> Section | None:
    """Observed values of each column with gaps beside the draws for its gaps; None if there are none.

    Args:
        view: what is looked at.
        most: columns that are drawn.
    """
    missing = view.gaps
    if not missing.any() or not (view.any_order is not None or view.estimated):
        return None
    rows = some_of(np.flatnonzero(missing.any(axis=1)), min(_ROWS, max(100, _CELLS // missing.shape[1])), view.seed, 8)
    number = int(np.random.SeedSequence([view.seed, 9]).generate_state(1)[0])
    context = view.contexts(rows)
    with warnings.catch_warnings(record=True) as said_of_weights:
        warnings.simplefilter("always", QueryWarning)
        filled = impute(view.density, view.tensor(rows), _DRAWS, context=context, seed=number).double().cpu().numpy()
    with_gaps = np.flatnonzero(missing.any(axis=0))
    order = with_gaps[np.argsort(-missing[:, with_gaps].mean(axis=0), kind="stable")]
    cards: list[Card] = []
    unseen = []
    for i in order:
        part, hidden = view.schema.parts[i], missing[rows, i]
        if not hidden.any():  # its gaps are all in rows that were not drawn
            unseen.append(part.name)
            continue
        if len(cards) == most:
            unseen.append(part.name)
            continue
        seen, drawn = view.x[:, i][~missing[:, i]], filled[:, hidden, i].ravel()
        axis = axis_of(part, seen, drawn)
        words = f"Observed values of {part.name} beside what fills its gaps"
        figure = histograms(axis, axis.shares(seen), axis.shares(drawn), words, ("observed", "imputed"))
        said = notes(axis, [("the observed", seen), ("the imputed", drawn)])
        share = f"{percent(float(missing[:, i].mean()))} of the rows have a gap here; {count(len(drawn), 'draw')}."
        cards.append(Card(part.name, figure, [share, *said]))
    whole = float(missing.any(axis=1).mean())
    blocks: list[Block] = [
        Paragraph(
            f"{percent(whole)} of the rows have a gap, and {percent(float(missing.mean()))} of all cells are gaps. "
            "Blue are the values that were observed, orange what the model puts in place of those that were not: "
            f"{_DRAWS} draws for each gap, given all that its row has, in {count(len(rows), 'row')} with gaps. The "
            "two differ where rows with a gap are of another kind than rows without; that a value is missing for "
            "its own sake no model can see."
        ),
        Cards(cards),
    ]
    thin = [str(warning.message) for warning in said_of_weights if issubclass(warning.category, QueryWarning)]
    if thin:
        blocks.append(Paragraph(f"Said of these draws: {thin[0]}."))
    if unseen:
        blocks.append(Paragraph(f"Not drawn, with the fewest gaps: {listed(unseen)}."))
    return Section("gaps", "What fills the gaps", blocks)
