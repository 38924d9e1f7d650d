"""How likely the rows are, beside simple densities and beside draws of the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from anabranch.report.axes import Axis
from anabranch.report.blocks import Block, Card, Cards, Figure, Paragraph, Section, Table
from anabranch.report.calibration import Checks
from anabranch.report.histograms import histograms
from anabranch.report.marks import bars_with_errors
from anabranch.report.view import View
from anabranch.report.wording import count, listed, nats, number, with_error
from anabranch.tables.columns.column import Float64

_ORDERS = 8
_ROWS_IN_ORDERS = 200
_HISTOGRAM_BINS = 36
# a difference of more standard errors than this is no chance
_CLEAR = 2.0
# columns of the order that are named
_NAMED = 12


def likelihood(view: View, checks: Checks) -> Section:
    """The record of the fit, and the log-likelihood of this table."""
    blocks: list[Block] = [
        Paragraph(
            "The log-likelihood of a row says how much of its probability the model puts there: the higher, the "
            "better the model, one nat more is a factor of 2.7. It is in the data's own units, so that the numbers "
            "of different models of the same columns compare, and those of different tables do not."
        )
    ]
    if view.estimated:
        blocks.append(Paragraph(_about_estimates(view)))
    blocks += _of_fit(view)
    blocks += _of_table(view)
    cards = [Card("Rows of the table, and draws of the model", _beside_draws(checks), [_about_draws(view, checks)])]
    blocks.append(Cards(cards, width="wide"))
    if view.any_order is not None and len(view.schema.columns) > 1:
        blocks.append(Paragraph(_consistency(view)))
    return Section("likelihood", "Likelihood", blocks)


def _about_estimates(view: View) -> str:
    finite = np.isfinite(view.log_p)
    typical = float(np.median(view.error[finite])) if finite.any() else np.nan
    largest = float(view.error[finite].max()) if finite.any() else np.nan
    words = (
        "This model has hidden numbers, so that log p of a row is not known exactly. Every log p on this page is an "
        f"estimate, by weighted draws of the hidden numbers, and lies below the truth in the mean: its standard error "
        f"for one row is {number(typical, 2)} nats in the middle and {number(largest, 2)} at most."
    )
    if view.density.likelihood == "bound":
        x, context = view.tensor(view.checked), view.contexts(view.checked)
        with torch.no_grad(), view.seeded(21):
            bound = view.density.lower_bound(x, context).double().cpu().numpy()
        bound = bound + view.schema.log_det(view.x[view.checked])
        own = view.log_p[view.checked]
        both = np.isfinite(bound) & np.isfinite(own)
        if both.any():
            words += (
                f" The lower bound, which a fit trains, has a mean of {nats(float(bound[both].mean()))} over "
                f"{count(int(both.sum()), 'row')} whose estimates have one of {nats(float(own[both].mean()))}."
            )
    return words + (
        " What needs exact densities is left out: the probability of each cell given the rest of its row, and the use "
        "of components."
    )


def _of_fit(view: View) -> list[Block]:
    if view.fit is None:
        return [
            Paragraph(
                "The file of the model holds no record of its fit, so there are no held-out numbers and no "
                "baselines to show ('anabranch fit' writes them)."
            )
        ]
    scores = view.fit["scores"]
    rows = [
        [
            score["name"],
            with_error(score["mean"], score["standard_error"]),
            "" if i == 0 else with_error(score["gain"], score["gain_standard_error"]),
        ]
        for i, score in enumerate(scores)
    ]
    finite = [score for score in scores if score["mean"] is not None]
    drawn = bars_with_errors(
        [score["name"] for score in finite],
        [score["mean"] for score in finite],
        [score["standard_error"] or 0.0 for score in finite],
        "nats per row",
        "Held-out log-likelihood of the model and of baselines",
    )
    held = view.fit["rows"]["test"]
    return [
        Paragraph(
            f"Of the {count(held, 'row')} that the fit held out, as it was recorded then. {_verdict(scores)} After ±: the "
            "standard error over those rows; that of a gain is of paired differences."
        ),
        Table(["density", "log p, nats per row", "the model gains"], rows, numbers=[1, 2]),
        Cards([Card("Held-out log-likelihood", drawn)], width="wide"),
    ]


def _verdict(scores: Sequence[Mapping[str, Any]]) -> str:
    """Who is ahead, the model or a baseline, as far as the rows decide."""
    if scores[0]["mean"] is None:
        return "One of them the model calls impossible; a baseline that does not is ahead of it."
    # no gain is one without end: a baseline calls a row impossible that the model does not
    known = [score for score in scores[1:] if score["gain"] is not None]
    errors = {score["name"]: float(score["gain_standard_error"] or 0.0) for score in known}
    ahead = [score for score in known if score["gain"] < -_CLEAR * errors[score["name"]]]
    close = [score for score in known if abs(score["gain"]) <= _CLEAR * errors[score["name"]]]
    if ahead:
        best = min(ahead, key=lambda score: float(score["gain"]))
        return f"A baseline is ahead of the model: {best['name']}, by {nats(-best['gain'])} nats per row."
    if close:
        return f"They do not tell whether the model or a baseline is ahead: {listed([one['name'] for one in close])}."
    return "The model is ahead of the baselines."


def _log_p(view: View) -> str:
    return "estimated log p" if view.estimated else "log p"


def _of_table(view: View) -> list[Block]:
    groups = [("all rows looked at", np.ones(len(view.log_p), dtype=bool))]
    if view.held_out is not None:
        groups = [("held-out rows", view.held_out), ("rows to fit and to stop by", ~view.held_out), *groups]
    rows = []
    for name, mask in groups:
        mine = view.log_p[mask]
        if len(mine):
            middle = " to ".join(nats(float(q)) for q in _quantiles(mine))
            rows.append([name, f"{len(mine):,}", with_error(float(mine.mean()), _error(mine)), middle])
    far = int(np.isneginf(view.log_p).sum())
    beyond = f" Of {count(far, 'row')} the density is below any float; their log p is -infinity." if far else ""
    gaps = " Of a row with gaps it is that of what the row has." if view.gaps.any() else ""
    return [
        Paragraph(f"The rows of this table, scored now.{gaps}{beyond}"),
        Table(
            ["rows", "how many", f"mean {_log_p(view)}, nats per row", "nine tenths of them"], rows, numbers=[1, 2, 3]
        ),
    ]


def _beside_draws(checks: Checks) -> Figure:
    """Histograms of log p: of rows, and of draws with the same gaps."""
    data, drawn = (part[np.isfinite(part)] for part in (checks.log_p, checks.drawn_log_p.ravel()))
    both = np.concatenate([data, np.quantile(drawn, [0.002, 0.998])]) if len(drawn) else data
    both = both if len(both) else np.zeros(1)
    # a few rows far out must not squeeze all others into one bin
    low = max(
        float(both.min()),
        float(np.quantile(both, 0.01)) - 3 * (float(np.quantile(both, 0.9)) - float(np.median(both)) + 1),
    )
    edges = np.linspace(
        low, float(both.max()) + 1e-9, int(np.clip(round(2 * len(data) ** (1 / 3)), 6, _HISTOGRAM_BINS)) + 1
    )
    labels = [f"{nats(a)} to {nats(b)} nats" for a, b in pairwise(edges.tolist())]
    labels[0] = f"{nats(edges[1])} nats or less"
    axis = Axis(lambda z: z, edges, edges, labels, {"title": {"text": "log p of a row, nats"}, "zeroline": False})
    shares = [_shares(np.maximum(part, edges[0]), edges) for part in (data, drawn)]
    words = "Log-likelihood of rows beside that of draws"
    return histograms(axis, shares[0], shares[1], words, ("data", "draws"))


def _shares(values: Float64, edges: Float64) -> Float64:
    return np.histogram(values, edges)[0] / max(1, len(values))


def _about_draws(view: View, checks: Checks) -> str:
    mean, drawn = (
        float(part[np.isfinite(part)].mean()) if len(part) else np.nan for part in (checks.log_p, checks.drawn_log_p)
    )
    same = " and ".join(
        [*(["the same gaps"] if view.gaps.any() else []), *(["the same given values"] if view.schema.given else [])]
    )
    return (
        f"Of {count(len(checks.log_p), 'row')}, mean {nats(mean)}, and of draws{f' with {same}' if same else ''}, "
        f"mean {nats(drawn)}. Were the model the truth, the two would be alike; rows far to the left of all draws "
        "are such as the model would not make."
    )


def _consistency(view: View) -> str:
    density = view.any_order
    assert density is not None
    rows = view.checked[:_ROWS_IN_ORDERS]
    with torch.no_grad(), view.seeded(20):
        each = density.log_prob_of_orders(view.tensor(rows), _ORDERS, view.contexts(rows)).double().cpu().numpy()
        own = density.log_prob(view.tensor(rows), view.contexts(rows)).double().cpu().numpy()
    log_det = view.schema.log_det(view.x[rows])
    spread = float(each.std(axis=1, ddof=1).mean())
    means = each.mean(axis=0) + float(log_det.mean())
    names = [view.schema.columns[i] for i in density.order]
    listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return (
        f"All numbers and answers are of one joint, in which the columns follow each other in this order: {listed}. "
        f"Its mean over {count(len(rows), 'row')} is {nats(float((own + log_det).mean()))}. Other orders give a somewhat "
        f"different log p: over {_ORDERS} random ones that of a row varies by {number(spread, 2)} nats (standard "
        f"deviation, mean over these rows), and the mean over the rows lies between {nats(float(means.min()))} and "
        f"{nats(float(means.max()))}. Answers to questions say by how much they differ."
    )


def _error(values: Float64) -> float:
    with np.errstate(invalid="ignore"):
        return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def _quantiles(values: Float64) -> Float64:
    return np.quantile(values, [0.05, 0.95], method="nearest")
