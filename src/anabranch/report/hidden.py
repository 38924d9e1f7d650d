"""The hidden numbers of an autoencoder: which are used, where rows lie among them, and what each of them does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anabranch.models import LatentVariable
from anabranch.models.latent_variable import ACTIVE
from anabranch.queries.encode import encode
from anabranch.queries.estimate import Estimate
from anabranch.queries.latent_report import LatentReport, latent_report
from anabranch.report.blocks import Block, Card, Cards, Facts, Paragraph, Section
from anabranch.report.decoded import track_map, tracks
from anabranch.report.dependence import bins_of, mutual_information
from anabranch.report.latent_maps import coloured, two_clouds
from anabranch.report.view import Numbers, View
from anabranch.report.wording import count, nats, percent, with_error
from anabranch.tables.columns.column import Float64

# rows on maps, rows of the numbers above them, columns that colour a map, numbers that are moved, and steps of each
_MOST_POINTS, _MOST_PAIRS, _MAPS, _MOVED, _STEPS = 1_500, 500, 3, 4, 7
_ENDS = (0.05, 0.95)


@dataclass(frozen=True)
class _Plane:
    """Two directions in which hidden numbers are seen.

    Attributes:
        middle: (numbers), what stands at 0.
        axes: (numbers, 2).
        titles: of both.
        words: what they are.
    """

    middle: Float64
    axes: Float64
    titles: tuple[str, str]
    words: str

    def of(self, z: Float64) -> Float64:
        """(points, 2)."""
        return (z - self.middle) @ self.axes


def hidden(view: View) -> Section | None:
    """Maps of rows and what the decoder makes of moves; None if the density is no autoencoder or there is one row."""
    density = view.density
    if not isinstance(density, LatentVariable) or len(view.x) < 2:
        return None
    rows = view.pictured[:: max(1, -(-len(view.pictured) // _MOST_POINTS))]
    x, context = view.tensor(rows), view.contexts(rows)
    with torch.no_grad(), view.seeded(11):
        of_some = latent_report(density, x, context, rows=_MOST_PAIRS)
        means = encode(density, x, context)
        drawn = encode(density, x, context, samples=1)[0]
        prior = _of_prior(density, context, len(rows))
    z = _flat(means)
    shares = of_some.shares.double().cpu().numpy()
    order = np.argsort(-shares, kind="stable")
    active = order[shares[order] > ACTIVE]
    blocks: list[Block] = [Paragraph(_opening(of_some, len(shares))), Facts(_facts(of_some, min(len(x), _MOST_PAIRS)))]
    if not len(active):
        blocks.append(Paragraph("The posterior has collapsed: z says nothing of a row, and there is nothing to draw."))
        return Section("hidden", "Hidden numbers", blocks)
    if len(shares) > 1:
        plane = _plane(z, active)
        clouds = two_clouds(plane.of(_flat(drawn)), plane.of(_flat(prior)), plane.titles, "Rows and the prior")
        note = (
            "Blue: a draw of the posterior for each row. Orange: as many draws of the prior. Orange without blue is a "
            "hole, where the decoder has learned nothing and from which samples come all the same."
        )
        blocks.append(Paragraph(_of_maps(plane, len(rows))))
        maps = [Card("Rows and the prior", clouds, [note]), *_maps(view, rows, plane.of(z), plane)]
        blocks.append(Cards(maps, width="wide"))
    blocks += _moves(view, density, rows, means, z, active)
    return Section("hidden", "Hidden numbers", blocks)


def _opening(of_some: LatentReport, numbers: int) -> str:
    return (
        f"The model takes each row for {count(numbers, 'hidden number')} z: a posterior guesses them from the row, and "
        f"a decoder makes a row of them. {of_some.active} of {numbers} {'is' if of_some.active == 1 else 'are'} in use: "
        f"the row explains more than {percent(ACTIVE)} of the variance."
    )


def _facts(of_some: LatentReport, rows: int) -> list[tuple[str, str]]:
    def said(one: Estimate, words: str) -> str:
        return f"{with_error(float(one.value), float(one.standard_error))} nats, {words}"

    return [
        ("Rate", said(of_some.rate, "what telling z costs: its divergence from the prior")),
        (
            "Information",
            said(of_some.information, f"what z says of a row; at most {nats(np.log(rows))} of {rows} rows"),
        ),
        ("Gap", said(of_some.gap, "how far the prior is from where rows lie: what is left of the rate")),
    ]


def _of_prior(density: LatentVariable, context: Tensor | None, number: int) -> Tensor:
    prior = density.prior
    return prior.sample((number,)) if prior.context_shape is None else prior.sample((), context)


def _flat(z: Tensor) -> Float64:
    result: Float64 = z.flatten(1).double().cpu().numpy()
    return result


def _plane(z: Float64, active: Numbers) -> _Plane:
    """The two numbers in use where there are two, otherwise the principal axes of the means."""
    if z.shape[1] == 2 or len(active) == 2:
        two = np.sort(active) if len(active) == 2 else np.arange(2)
        titles = f"z{two[0] + 1}", f"z{two[1] + 1}"
        words = "The axes are the two hidden numbers" + (" in use." if z.shape[1] > 2 else ".")
        return _Plane(np.zeros(z.shape[1]), np.eye(z.shape[1])[:, two], titles, words)
    middle = z.mean(axis=0)
    _, sizes, axes = np.linalg.svd(z - middle, full_matrices=False)
    axes = axes[:2].T
    # which way an axis points is chance
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    share = float((sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-300))
    words = f"The axes are the two principal ones of the means, with {percent(share)} of their variance."
    return _Plane(middle, axes, ("first principal axis of z", "second principal axis of z"), words)


def _of_maps(plane: _Plane, rows: int) -> str:
    return (
        f"{count(rows, 'row')} by the mean of {'its' if rows == 1 else 'their'} posterior, coloured by the columns of which "
        f"their place says most. {plane.words} Numbers are coloured by their rank: the scale has the values at its quarters."
    )


def _maps(view: View, rows: Numbers, xy: Float64, plane: _Plane) -> list[Card]:
    """Rows coloured by the columns that tell most of their place."""
    places = [np.searchsorted(np.quantile(side, np.arange(1, 10) / 10), side) for side in xy.T]
    x, names = view.x[rows], [f"row {view.numbers[row]}" for row in rows]
    told = [
        sum(mutual_information(bins_of(part, x[:, i], x[:, i]), place) for place in places)
        for i, part in enumerate(view.schema.parts)
    ]
    cards = []
    for i in np.argsort(-np.array(told), kind="stable")[:_MAPS]:
        part = view.schema.parts[i]
        words = f"Hidden numbers of rows, coloured by {part.name}"
        figure = coloured(xy, part, x[:, i], names, plane.titles, words)
        cards.append(Card(f"By {part.name}", figure, [f"Mutual information with the two axes: {told[i]:.3f} nats."]))
    return cards


def _moves(
    view: View, density: LatentVariable, rows: Numbers, means: Tensor, z: Float64, active: Numbers
) -> list[Block]:
    """What becomes of the columns as one hidden number moves, and on the way from one row to another."""
    spread = np.maximum(z.std(axis=0), 1e-12)
    centre = int(np.square((z - np.median(z, axis=0)) / spread).sum(axis=1).argmin())
    contexts, data = view.contexts(rows), view.x[rows]
    context = None if contexts is None else contexts[centre]
    cards = []
    for unit in active[:_MOVED]:
        low, high = np.quantile(z[:, unit], _ENDS).tolist()
        steps = np.linspace(low, high, _STEPS)
        path = means[centre].expand(_STEPS, *means.shape[1:]).flatten(1).clone()
        path[:, int(unit)] = torch.from_numpy(steps).to(path)
        along = tracks(view, density, path.reshape(_STEPS, *means.shape[1:]), context, data)
        words = f"What the decoder makes of z{unit + 1}"
        digits = max(0, 1 - math.floor(math.log10((high - low) or 1.0)))  # as many as tell one step from the next
        ticks = [f"{round(step, digits) + 0.0:.{digits}f}" for step in steps.tolist()]
        cards.append(Card(f"z{unit + 1} moves", track_map(along, ticks, f"z{unit + 1}", words)))
    left = f" The {_MOVED} that rows tell most of are moved." if len(active) > _MOVED else ""
    blocks: list[Block] = [
        Paragraph(
            f"One hidden number moves from the {percent(_ENDS[0])} to the {percent(_ENDS[1])} point of the rows; the "
            f"others stay where they are of row {view.numbers[rows[centre]]}, which lies in the middle.{left} Cells "
            "are the median of draws of the decoder, and the probability of a level; the stronger the colour the larger, "
            "between the ends of the data. The columns that change most come first."
        ),
        Cards(cards, width="wide"),
    ]
    if context is None and len(active) > 1:
        blocks.append(_way(view, density, rows, means, z, data))
    return blocks


def _way(view: View, density: LatentVariable, rows: Numbers, means: Tensor, z: Float64, data: Float64) -> Cards:
    """From a row at one end of the first principal axis to one at the other, in a straight line."""
    centred = z - z.mean(axis=0)
    first = np.linalg.svd(centred, full_matrices=False)[2][0]
    order = np.argsort(centred @ first, kind="stable")
    start, end = (int(order[round(share * (len(order) - 1))]) for share in _ENDS)
    shares = torch.linspace(0, 1, _STEPS).to(means).reshape(-1, *(1 for _ in means.shape[1:]))
    along = tracks(view, density, (1 - shares) * means[start] + shares * means[end], None, data)
    names = [f"row {view.numbers[rows[k]]}" for k in (start, end)]
    ticks = [names[0], *("" for _ in range(_STEPS - 2)), names[1]]
    title = f"From {names[0]} to {names[1]}"
    figure = track_map(along, ticks, "a straight line between their means", title)
    return Cards([Card(title, figure, ["Both lie far out on the first principal axis, on either side."])], width="wide")
