"""Whether what the model expects is what comes: probability integral transforms, column by column and of whole rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anabranch.report import pit
from anabranch.report.blocks import Block, Card, Cards, Fold, Paragraph, Section, Table
from anabranch.report.histograms import uniform_histogram
from anabranch.report.view import Numbers, View
from anabranch.report.wording import count, listed, percent
from anabranch.tables.columns.column import Float64

# divisors of the number of places at which a row can stand among its draws
_BINS = {400: 20, 100: 10, 0: 5}
# of each row: a row stands at one of 20 places among them, of which each is a bin
_DRAWS = 19
# rows times columns times draws, at most
_CELLS, _CELLS_ESTIMATED = 500_000, 20_000
_LEVEL = 0.9
# pictures that are seen without opening a fold
_AT_ONCE = 12


@dataclass(frozen=True)
class Checks:
    """What calibration is judged by.

    Attributes:
        rows: the rows that were checked, by their place in the view.
        u: (rows, columns), where each cell stands in what the model expects; NaN for gaps.
        some: the rows of which there are draws.
        drawn: (some rows, draws, columns), encoded draws.
        log_p, drawn_log_p: (some rows) and (some rows, draws), of them and of draws with the same gaps.
        whole: (some rows), where log p of each row stands among that of its draws.
    """

    rows: Numbers
    u: Float64
    some: Numbers
    drawn: Float64
    log_p: Float64
    drawn_log_p: Float64
    whole: Float64

    @classmethod
    def of(cls, view: View) -> Checks:
        """Of some rows of a view."""
        rows = view.checked
        cells = _CELLS_ESTIMATED if view.estimated else _CELLS
        some = rows[: max(20, cells // (_DRAWS * len(view.schema.columns)))]
        drawn = view.draws(some, _DRAWS, purpose=4)
        masked = np.where(view.gaps[some][:, None], np.nan, drawn)
        contexts = None if view.context is None else np.repeat(view.context[some], _DRAWS, axis=0)
        drawn_log_p = view.log_prob_of_draws(masked.reshape(-1, drawn.shape[-1]), contexts).reshape(len(some), _DRAWS)
        if view.any_order is not None:
            u = pit.given_the_rest(view.any_order, view.tensor(rows), view.contexts(rows), view.seed)
        else:
            rows, u = some, pit.among_draws(view.x[some], drawn, view.seed)
        whole = pit.among_draws(view.log_p[some], drawn_log_p, view.seed)
        return cls(rows, u, some, drawn, view.log_p[some], drawn_log_p, whole)


def calibration(view: View, checks: Checks, most: int) -> Section:
    """Histograms of the transforms, with the band of uniform numbers.

    Args:
        view: what is looked at.
        checks: of it.
        most: columns that are drawn.
    """
    names = view.schema.columns
    told = [] if view.any_order is None else ["the rest of its row"]
    told += ["the given columns"] if view.schema.given else []
    given = f"given {' and '.join(told)}" if told else "whatever else the row holds"
    held = "held-out " if view.held_out is not None else ""
    observed = [u[~np.isnan(u)] for u in checks.u.T]
    distances = np.array([pit.distance(u) for u in observed])
    expected = np.array([pit.nothing_special(len(u)) for u in observed])
    # the worst first; columns with nothing to check last
    order = np.argsort(-np.nan_to_num(distances / expected, nan=-1.0), kind="stable")
    over = [i for i in order if distances[i] > expected[i]]
    blocks: list[Block] = [
        Paragraph(
            f"For each value, u is the probability the model gives to a smaller one, {given}. If the model is "
            "calibrated, u is uniform: the bars of a histogram are equally high but for chance, 19 of 20 within the "
            "grey band. A hump in the middle means that the model is too broad, high ends that it is too narrow, a "
            "slope that it is shifted."
            + (" Where a value has a probability of its own, u is random within that." if view.schema.discrete else "")
            + ("" if view.any_order is not None else f" It is estimated by {_DRAWS} draws for each row.")
        ),
        Paragraph(_summary(view, [names[i] for i in over], len(checks.rows), held)),
    ]
    cards = [_whole_card(view, checks)] if len(names) > 1 else []
    cards += [_card(names[i], observed[i]) for i in order[:most] if len(observed[i])]
    blocks.append(Cards(cards[:_AT_ONCE]))
    if len(cards) > _AT_ONCE:
        blocks.append(Fold(f"The other columns: {len(cards) - _AT_ONCE} more pictures", [Cards(cards[_AT_ONCE:])]))
    if len(order) > most:
        blocks.append(Paragraph(f"Drawn are the {most} columns farthest from uniform; the table has all."))
    rows = []
    for i in order:
        share, error = pit.within(observed[i], _LEVEL)
        inside = f"{percent(share)} ± {100 * error:.1f}" if len(observed[i]) else "nothing to check"
        far = f"{distances[i]:.3f}" if len(observed[i]) else ""
        rows.append([names[i], f"{len(observed[i]):,}", inside, far, f"{expected[i]:.3f}" if far else ""])
    table = Table(
        ["column", "values", f"in {percent(_LEVEL)} intervals", "distance from uniform", "by chance below"],
        rows,
        numbers=[1, 2, 3, 4],
    )
    blocks.append(Fold("Coverage and distances in numbers", [_about_numbers(), table]))
    return Section("calibration", "Calibration", blocks)


def _about_numbers() -> Paragraph:
    return Paragraph(
        f"How many values lie in the central interval to which the model gives {percent(_LEVEL)} (after ±: the "
        "standard error of that share if the model is right, in percentage points), and the Kolmogorov-Smirnov "
        "distance of u from uniform, beside what uniform numbers stay below in 95 % of cases."
    )


def _summary(view: View, over: list[str], rows: int, held: str) -> str:
    columns = len(view.schema.columns)
    begin = f"Checked on {count(rows, f'{held}row')}. "
    if not over:
        return begin + "No column is farther from uniform than chance would put 1 of 20."
    return begin + (
        f"{count(len(over), 'column is', 'columns are')} farther from uniform than chance would put 1 of 20 (of "
        f"{columns}, so about {columns / 20:.1f} are expected), the worst first: {listed(over)}. With many rows "
        "small departures show too: look at their size."
    )


def _card(name: str, u: Float64) -> Card:
    share, _ = pit.within(u, _LEVEL)
    bins = _bins(len(u))
    figure = uniform_histogram(u, bins, pit.band(len(u), bins), f"Probability integral transform of {name}")
    return Card(name, figure, [f"{percent(share)} of values in {percent(_LEVEL)} intervals"])


def _whole_card(view: View, checks: Checks) -> Card:
    u = checks.whole[~np.isnan(checks.whole)]
    bins = _bins(len(u))
    figure = uniform_histogram(u, bins, pit.band(len(u), bins), "Whole rows among draws")
    same = ", with the same gaps" if view.gaps.any() else ""
    note = (
        f"Where log p of a row stands among that of {_DRAWS} draws of its own{same}: high on the left means rows less "
        "likely than the model's own."
    )
    return Card("All columns together", figure, [note])


def _bins(values: int) -> int:
    """As many bins as there are values to fill them."""
    return next(bins for least, bins in _BINS.items() if values >= least)
