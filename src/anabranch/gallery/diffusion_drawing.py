"""What the experiment with diffusions draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.gallery.arm_pictures import samples_picture, strips_picture
from anabranch.gallery.data import load_levelled
from anabranch.gallery.diffusion import DIGITS, PLANE, TOLERANCE, TOY
from anabranch.gallery.diffusion_pictures import noise_picture
from anabranch.gallery.grids import Extent, Numbers, density_grid
from anabranch.gallery.pictures import curve_picture
from anabranch.gallery.toys import TOYS, Rows
from anabranch.models import Diffusion
from anabranch.models.denoising import noised
from anabranch.transforms import Adaptive

_SHEET, _STRIP, _IMAGES, _ROWS, _CELLS = 36, 12, 4, 1000, 100
_PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)  # times of the plane
_EXTENT: Extent = (-3.2, 3.2, -3.2, 3.2)
_WITHOUT_NOISE: tuple[tuple[str, int, Literal[1, 2]], ...] = (
    ("differential equation", 200, 2),
    ("second order", 20, 2),
    ("second order", 10, 2),
    ("first order", 10, 1),
)


def draw_diffusion(folder: Path, fitted: Mapping[str, Density]) -> None:
    """Noising and sampling of digits and of the plane, and the learned schedules, of what was fitted on one seed."""
    models = {name: density for name, density in fitted.items() if isinstance(density, Diffusion)}
    digits, plane = models[DIGITS], models[PLANE]
    with torch.no_grad():
        _draw_chain(folder / "diffusion-chain.png", digits)
        _draw_samples(folder / "diffusion-samples.png", digits)
        _draw_plane(folder / "diffusion-plane.png", plane)
        _draw_schedules(folder / "diffusion-schedule.png", {"digits": digits, TOY: plane})


def states_of(model: Diffusion, x: Tensor, times: Tensor) -> list[Tensor]:
    """z of x at these times, all with the same noise in it."""
    y = x if model.embedding is None else model.embedding(x.to(torch.float32))
    states = []
    for gamma in model.schedule(times)[0]:
        with drawing(0):
            states.append(noised(y, gamma, model.chain.dims).z)
    return states


def sampled_states(model: Diffusion, count: int, places: int) -> list[Tensor]:
    """z at so many evenly spaced levels of a chain of random steps, noise first, and x at the end."""
    with drawing(0):
        z = model.prior.sample((count,))
        states = [z, *model.chain.descended(z, None)]
    with drawing(0):  # the same draws, and those of the decoder after them
        last = model.sample((count,))
    chosen = torch.linspace(0, len(states) - 1, places).round().long().tolist()
    return [*(states[i] for i in chosen), last]


def _draw_chain(path: Path, model: Diffusion) -> None:
    images = load_levelled("digits")
    x = images.test[:_IMAGES]
    added = states_of(model, x, torch.linspace(0, 1, _STRIP - 1))
    taken = sampled_states(model, _IMAGES, _STRIP - 1)
    darkest = images.levels - 1
    adding = [_levels(x, darkest), *map(_grey, added)]
    taking = [*map(_grey, taken[:-1]), _levels(taken[-1], darkest)]
    strips_picture(
        path,
        {
            "noise is added,\nt from 0 to 1": list(torch.stack(adding, dim=1)),
            f"and taken away\nin {model.steps}\nrandom steps": list(torch.stack(taking, dim=1)),
        },
        darkest=1,
        title="A test image at the left of each upper row, a sample at the right of each lower one",
    )


def _draw_samples(path: Path, model: Diffusion) -> None:
    images = load_levelled("digits")
    darkest = images.levels - 1
    panels = {"data": (_levels(images.test[:_SHEET], darkest), f"the first {_SHEET} test images")}
    for steps in (model.steps, 50, 20):
        panels[f"{steps} random steps"] = (
            _levels(model.at_steps(steps).sample((_SHEET,), generator=0), darkest),
            "ancestral",
        )
    for name, steps, order in _WITHOUT_NOISE:
        drawn = model.draw((_SHEET,), steps=steps, order=order, generator=0)
        panels[f"{steps} steps, {name}"] = (_levels(drawn, darkest), "without noise")
    samples_picture(path, panels, darkest=1, title="Samples of one diffusion, by steps of several kinds")


def _draw_plane(path: Path, model: Diffusion) -> None:
    toy = TOYS[TOY]()
    rows = Rows(toy, seed=0)
    x = rows.x[torch.randperm(len(rows.x), generator=torch.Generator().manual_seed(0))[:_ROWS]]
    names = ["data", *(f"t = {time:g}" for time in _PLACES[1:])]
    added = dict(zip(names, map(_numbers, states_of(model, x, torch.tensor(_PLACES))), strict=True))
    states = sampled_states(model, _ROWS, len(_PLACES))[:-1]
    back = [f"noise, {model.steps} steps left", *(f"{round(model.steps * t)} left" for t in _PLACES[-2:0:-1]), "data"]
    taken = dict(zip(back, map(_numbers, states), strict=True))
    scale, mean = rows.scale.tolist(), rows.mean.tolist()
    left, right, bottom, top = _EXTENT
    # the truth is of rows that are not standardised
    around = (
        left * scale[0] + mean[0],
        right * scale[0] + mean[0],
        bottom * scale[1] + mean[1],
        top * scale[1] + mean[1],
    )
    flow = model.flow(solver=Adaptive(TOLERANCE))
    below = {
        "the true density": density_grid(toy.density, around, _CELLS),
        "of the differential equation": density_grid(flow, _EXTENT, _CELLS),
        f"{model.steps} random steps": _numbers(model.sample((_ROWS,), generator=1)),
        "10 steps, second order": _numbers(model.draw((_ROWS,), steps=10, order=2, generator=1)),
        "10 steps, first order": _numbers(model.draw((_ROWS,), steps=10, order=1, generator=1)),
    }
    title = f"{TOY}: noise is added (first line) and taken away (second); densities and samples"
    noise_picture(path, [added, taken], below, _EXTENT, title=title)


def _draw_schedules(path: Path, models: Mapping[str, Diffusion]) -> None:
    """gamma against t as it was learned, beside the line between the same ends."""
    times = torch.linspace(0, 1, 33)
    series = {}
    for name, model in models.items():
        gamma = model.schedule(times)[0]
        line = torch.lerp(gamma[0], gamma[-1], times)
        for kind, values in (("learned", gamma), ("a line", line)):
            points = zip(times.tolist(), values.tolist(), strict=True)
            series[f"{name}, {kind}"] = [(time, value, None) for time, value in points]
    curve_picture(
        path,
        series,
        x_label="time t",
        y_label="log noise-to-signal ratio",
        title="Learned schedules of the noise",
    )


def _levels(x: Tensor, darkest: int) -> Tensor:
    """Images of levels (n, channels, height, width), from 0 to 1: (n, height, width)."""
    return x.to(torch.float32).mean(dim=-3) / darkest


def _grey(z: Tensor) -> Tensor:
    """Images of z, which are on [-1, 1] without noise, likewise."""
    return ((z.mean(dim=-3) + 1) / 2).clamp(0, 1)


def _numbers(x: Tensor) -> Numbers:
    return x.double().numpy()
