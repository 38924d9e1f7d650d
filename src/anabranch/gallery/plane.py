"""Flows of the plane, whose way from data to noise is drawn: affine, splines, a mixture over depths, continuous time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from anabranch import flows
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.gallery.results import Result, Stopwatch, mean_log_prob
from anabranch.gallery.toys import TOYS, Rows, plain
from anabranch.models import DepthMixture, Flow
from anabranch.objectives import FlowMatching
from anabranch.training import fit
from anabranch.transforms import Chain

TOY_NAMES = ("pinwheel-5", "circles")
_STEPS = 1000
_HIDDEN = (64, 64)
_FIT: dict[str, Any] = {
    "batch_size": 512,
    "learning_rate": 5e-3,
    "average": 0.99,
    "validation": 0,
    "progress": False,
    "compile": False,
}
METHODS: dict[str, Callable[[], Density]] = {
    "RealNVP": lambda: Flow(flows.realnvp(2, blocks=12, hidden=_HIDDEN)),
    "splines": lambda: Flow(_splines()),
    "mixture over depths": lambda: DepthMixture(_splines()),
    "continuous time": lambda: Flow(flows.continuous(2)),
}
# a step of flow matching solves nothing: it takes about a quarter of the time of the others
_MATCHING: dict[str, Any] = {"objective": FlowMatching(), "average": 0.999}
_MORE = 4


def run(seed: int) -> Iterator[tuple[Result, Density | None]]:
    """All methods on one seed of each toy, each with the density that was fitted, if any (of standardised rows)."""
    for name in TOY_NAMES:
        toy = TOYS[name]()
        rows = Rows(toy, seed)
        yield (
            Result(f"{name}: optimum", seed, mean_log_prob(toy.density, rows.test * rows.scale + rows.mean)),
            None,
        )
        for method, build in METHODS.items():
            with drawing(seed):
                density = build()
            matched = method == "continuous time"
            batches = -(-len(rows.x) // _FIT["batch_size"])
            epochs = max(1, _STEPS // batches) * (_MORE if matched else 1)
            watch = Stopwatch()
            fit(density, rows.x, epochs=epochs, seed=seed, **{**_FIT, **(_MATCHING if matched else {})})
            seconds = watch()
            yield plain(f"{name}: {method}", seed, rows, density.eval(), seconds), density


def _splines() -> Chain:
    return flows.nsf(2, blocks=4, hidden=_HIDDEN, structure="coupling")
