"""What a mixture is used for: how much of the data, and of its samples, each component or depth has."""

from __future__ import annotations

import numpy as np
import torch

from anabranch.densities import Mixture
from anabranch.models import DepthMixture
from anabranch.report.blocks import Block, Card, Cards, Paragraph, Section
from anabranch.report.calibration import Checks
from anabranch.report.marks import level_bars
from anabranch.report.view import View, as_tensor
from anabranch.report.wording import count, number, percent
from anabranch.tables.columns.column import Float64

_MOST_SHOWN = 40


def parts(view: View, checks: Checks) -> Section | None:
    """Mean responsibilities on rows and on draws; None if the density is no mixture, or they are not known exactly."""
    density = view.density
    if not isinstance(density, Mixture) or view.estimated:
        return None
    of_data = _responsibilities(view, density, view.x[checks.some], _contexts(view, checks, 1))
    draws = checks.drawn[:, 0]
    of_draws = _responsibilities(
        view, density, draws[np.isfinite(draws).all(axis=1)], _contexts(view, checks, 1, draws)
    )
    deep = isinstance(density, DepthMixture)
    names = (
        [f"{d} block{'s' * (d != 1)}" for d in density.depths]
        if isinstance(density, DepthMixture)
        else [f"component {k + 1}" for k in range(density.components)]
    )
    data, samples = of_data.mean(axis=0), of_draws.mean(axis=0)
    shown = np.arange(len(names))
    if len(names) > _MOST_SHOWN:
        shown = np.sort(np.argsort(-data, kind="stable")[:_MOST_SHOWN])
    figure = level_bars(
        [names[k] for k in shown],
        [("of the data", data[shown].tolist()), ("of the samples", samples[shown].tolist())],
        "share of rows",
        "Use of depths" if deep else "Use of components",
    )
    left = f" Shown are the {_MOST_SHOWN} most used of {len(names)}." if len(names) > _MOST_SHOWN else ""
    note = f"Mean responsibilities over {count(len(of_data), 'row')} and {count(len(of_draws), 'draw')}.{left}"
    what = "depths" if deep else "components"
    entropy = -float(np.sum(data * np.log(np.maximum(data, 1e-300))))
    sure = float(of_data.max(axis=1).mean())
    text = (
        f"The density is a mixture of {count(len(names), what[:-1])}: blue is how much of the data falls to each, "
        f"orange how much of what the model draws. They are used as evenly as {number(float(np.exp(entropy)), 3)} "
        "equal ones would be (the exponential of the entropy); on average the most probable one of a row has "
        f"{percent(sure)} of it."
    )
    blocks: list[Block] = [Paragraph(text)]
    if isinstance(density, DepthMixture):
        depths = np.array(density.depths, dtype=np.float64)
        mean, run_through = number(float(data @ depths), 3), number(_expected_depth(view, density), 3)
        blocks.append(
            Paragraph(
                "The component of depth l is the density of the first l blocks of one flow. A row of the data "
                f"belongs to {mean} blocks on average; a sample runs through "
                f"{run_through} of {len(density.chain)}. Depths that hardly anything "
                "uses can be removed (DepthMixture.prune)."
            )
        )
    blocks.append(Cards([Card(f"Use of {what}", figure, [note])], width="wide"))
    return Section("depth" if deep else "components", "Use of depth" if deep else "Use of components", blocks)


def _expected_depth(view: View, density: DepthMixture) -> float:
    with view.seeded(6):
        if view.context is None:
            return density.expected_depth()
        contexts = view.contexts(view.checked)
        return density.expected_depth(100, contexts)


def _contexts(view: View, checks: Checks, each: int, draws: Float64 | None = None) -> torch.Tensor | None:
    rows = checks.some if draws is None else checks.some[np.isfinite(draws).all(axis=1)]
    return view.contexts(rows)


def _responsibilities(view: View, density: Mixture, x: Float64, context: torch.Tensor | None) -> Float64:
    """(rows, components); rows so far out that no component has any mass are left out."""
    with torch.no_grad():
        found = density.responsibilities(as_tensor(view.model, x), context).double().cpu().numpy()
    return found[np.isfinite(found).all(axis=1)]
