"""Diffusions: of digits, by bounds, and of a pinwheel, by a bound beside the likelihood of the differential equation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anabranch import diffusions, flows
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.gallery.data import load_levelled
from anabranch.gallery.image_baselines import baselines
from anabranch.gallery.results import Result, Stopwatch, count_parameters, mean_log_prob
from anabranch.gallery.toys import TOYS, Rows, plain
from anabranch.images.bits_per_dimension import as_bits_per_dimension
from anabranch.models import Flow
from anabranch.training import Muon, fit
from anabranch.transforms import Adaptive

TOY = "pinwheel-5"
DIGITS, PLANE = "digits: diffusion", f"{TOY}: diffusion"
STEPS = (250, 50)  # of chains of which the bound is given, beside steps without end
TOLERANCE = 1e-5  # of the differential equation
_DRAWS = 8  # of a bound, for each row
_MANY = 125  # times as many of that of the plane, where single draws scatter by ten nats


@dataclass(frozen=True)
class Setting:
    """How large a diffusion is, and how long it is fitted.

    Attributes:
        model: options of the recipe.
        epochs: of the fit.
        fit: options of `fit`.
    """

    model: Mapping[str, Any]
    epochs: int
    fit: Mapping[str, Any]


_FIT: dict[str, Any] = {"optimizer": Muon, "learning_rate": 2e-2, "patience": None, "progress": False, "compile": False}
# networks and rates are those of benchmarks/diffusion.py: the digits', which validation rows chose, and the plane's
OF_DIGITS = Setting({"hidden": 32, "blocks": 3}, 80, {**_FIT, "batch_size": 100, "weight_decay": 0.1, "average": 0.995})
_OF_PLANE: dict[str, Any] = {**_FIT, "batch_size": 512, "weight_decay": 1e-2, "validation": 0}
OF_PLANE = Setting({"hidden": 64, "blocks": 3, "low": -10.0}, 400, {**_OF_PLANE, "average": 0.998})
# by Muon it came to 0.03 nats less here
OF_SPLINES = Setting(
    {"blocks": 4, "hidden": (64, 64)},
    200,
    {**_OF_PLANE, "optimizer": None, "learning_rate": 5e-3, "weight_decay": 1e-5, "average": 0.99},
)


class Diffusions:
    """The experiment, a seed at a call.

    Args:
        epochs: at most so many of each fit; None for those of the settings.
        scored: so many test rows, at most.
    """

    def __init__(self, epochs: int | None = None, scored: int = 2_000) -> None:
        self.epochs, self.scored = epochs, scored
        self.solver = Adaptive(TOLERANCE)  # before the fits, since it says if something is not installed
        self.images = load_levelled("digits")

    def __call__(self, seed: int) -> Iterator[tuple[Result, Density | None]]:
        """All methods on one seed, each with the density that was fitted, if any (of the plane, of standardised rows)."""
        yield from self._digits(seed)
        yield from self._plane(seed)

    def _digits(self, seed: int) -> Iterator[tuple[Result, Density | None]]:
        images = self.images
        yield from baselines("digits: ", images.x, images.validation, images.test, images.levels, seed)
        with drawing(seed):
            model = diffusions.images(images.x.shape[1:], images.levels, **OF_DIGITS.model)
        watch = Stopwatch()
        self._fit(model, OF_DIGITS, seed, images.x, validation=images.validation)
        result = Result(DIGITS, seed, parameters=count_parameters(model), seconds=watch())
        x = images.test.expand(_DRAWS, *images.test.shape)
        dimensions = x[0, 0].numel()
        with torch.no_grad():
            bounds = {"": model.continuous_bound(x, generator=seed)}
            bounds |= {f", {steps} steps": model.at_steps(steps).lower_bound(x, generator=seed) for steps in STEPS}
        for name, values in bounds.items():
            bound = float(values.double().mean())
            bits = float(as_bits_per_dimension(bound, dimensions))
            if not name:
                result.lower_bound, result.bits_per_dimension = bound, bits
                yield result, model
            else:
                yield Result(f"{DIGITS}{name}", seed, lower_bound=bound, bits_per_dimension=bits), None

    def _plane(self, seed: int) -> Iterator[tuple[Result, Density | None]]:
        toy = TOYS[TOY]()
        rows = Rows(toy, seed)
        # rows of a wing stand together
        rows.test = rows.test[:: max(1, len(rows.test) // self.scored)]
        truth = mean_log_prob(toy.density, rows.test * rows.scale + rows.mean)
        yield Result(f"{TOY}: optimum", seed, truth), None
        with drawing(seed):
            spline = Flow(flows.nsf(2, structure="coupling", **OF_SPLINES.model))
        watch = Stopwatch()
        self._fit(spline, OF_SPLINES, seed, rows.x)
        yield plain(f"{TOY}: spline flow", seed, rows, spline.eval(), watch()), spline
        with drawing(seed):
            model = diffusions.vectors(2, **OF_PLANE.model)
        watch = Stopwatch()
        self._fit(model, OF_PLANE, seed, rows.x)
        seconds = watch()
        result = plain(PLANE, seed, rows, model.flow(solver=self.solver), seconds)
        x = rows.test.expand(_DRAWS, *rows.test.shape)
        with torch.no_grad(), drawing(seed):
            bound = sum(float(model.continuous_bound(x).double().mean()) for _ in range(_MANY)) / _MANY
        result.lower_bound = bound - rows.log_scale
        yield result, model

    def _fit(self, density: Density, setting: Setting, seed: int, x: Tensor, **options: Any) -> None:
        epochs = setting.epochs if self.epochs is None else min(setting.epochs, self.epochs)
        fit(density, x, epochs=epochs, seed=seed, **setting.fit, **options)
        density.eval()
