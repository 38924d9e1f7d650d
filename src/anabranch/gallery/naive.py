"""Mixtures from depth beside the same chain as a plain flow, and beside separate flows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from anabranch import flows
from anabranch.densities import Density, Mixture
from anabranch.draws import drawing
from anabranch.gallery.results import Result, Stopwatch, mean_log_prob
from anabranch.gallery.toys import TOYS, Rows, plain
from anabranch.models import DepthMixture, Flow, FlowMixture
from anabranch.objectives import Depth, Likelihood
from anabranch.training import fit
from anabranch.transforms import Chain

_BLOCKS, _HIDDEN, _SMALL = 4, 48, 20  # separate flows of 20 have together as many parameters as a mixture of 48
NAMES = ("pinwheel-5", "pinwheel-3", "circles")
_PRICES = (0.0, 0.02, 0.05, 0.1, 0.2)
_EPOCHS = 100


def run(seed: int) -> Iterator[tuple[Result, Density | None]]:
    """On every toy: one chain as a flow and as a mixture, separate flows of equal parameters and of equal time."""
    for name in NAMES:
        toy = TOYS[name]()
        rows = Rows(toy, seed)
        original = rows.test * rows.scale + rows.mean
        yield Result(f"{name}: optimum", seed, mean_log_prob(toy.density, original)), None
        built: dict[str, Callable[[], Density]] = {
            "flow": lambda: Flow(_chain(_HIDDEN)),
            "depth mixture": lambda: DepthMixture(_chain(_HIDDEN)),
            f"{_BLOCKS} separate flows, equal parameters": lambda: _separate(_SMALL, _BLOCKS),
            f"{_BLOCKS} separate flows, equal networks": lambda: _separate(_HIDDEN, _BLOCKS),
        }
        seconds: dict[str, float] = {}
        for method, build in built.items():
            density, seconds[method] = _fitted(build, rows.x, seed, _EPOCHS)
            yield plain(f"{name}: {method}", seed, rows, density, seconds[method]), density
        share = seconds["depth mixture"] / seconds[f"{_BLOCKS} separate flows, equal networks"]
        density, spent = _fitted(lambda: _separate(_HIDDEN, _BLOCKS), rows.x, seed, max(1, round(_EPOCHS * share)))
        yield plain(f"{name}: {_BLOCKS} separate flows, equal time", seed, rows, density, spent), density
        if name == "pinwheel-3":
            yield from _priced(name, rows, seed)


def _priced(name: str, rows: Rows, seed: int) -> Iterator[tuple[Result, Density | None]]:
    """What a price on depth costs in likelihood, and what it saves in blocks and in time of sampling."""
    for price in _PRICES:
        density, spent = _fitted(lambda: DepthMixture(_chain(_HIDDEN)), rows.x, seed, _EPOCHS, price)
        if not isinstance(density, DepthMixture):
            continue
        depth = density.expected_depth()
        times = []
        for _ in range(5):
            watch = Stopwatch()
            density.sample((20_000,))
            times.append(watch())
        row = plain(f"{name}: depth mixture at a price of {price:g} a block", seed, rows, density, spent)
        yield replace(row, blocks_a_sample=depth, sampling_seconds=sorted(times)[2]), density


def _fitted(
    build: Callable[[], Density], x: torch.Tensor, seed: int, epochs: int, price: float = 0.0
) -> tuple[Density, float]:
    with drawing(seed):
        density = build()
    watch = Stopwatch()
    fit(
        density,
        x,
        objective=Likelihood() + price * Depth() if price else None,
        epochs=epochs,
        batch_size=512,
        noise=0.1,
        average=0.995,
        patience=None,
        seed=seed,
        progress=False,
        compile=False,
    )
    return density, watch()


def _chain(hidden: int) -> Chain:
    return flows.nsf(2, blocks=_BLOCKS, hidden=(hidden, hidden), structure="coupling", bound=4.0)


def _separate(hidden: int, count: int) -> Mixture:
    return FlowMixture([Flow(_chain(hidden)) for _ in range(count)])
