"""What each experiment draws of its first seed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anabranch.atomic import replacing
from anabranch.densities import Density, Mixture
from anabranch.gallery import cluster_pictures, naive, pictures, plane, toys
from anabranch.gallery.animation import animation
from anabranch.gallery.arm_drawing import draw_arm, draw_depths
from anabranch.gallery.clusters import Space
from anabranch.gallery.data import Labelled, load_digits_0_to_4, load_tables
from anabranch.gallery.grids import density_grid, square_around
from anabranch.gallery.results import Result, clusters_of
from anabranch.gallery.transport import transport_picture
from anabranch.models import DepthMixture, Ensemble
from anabranch.objectives import Likelihood
from anabranch.training import Epoch, fit, start_from

_FRAMES = 60


def draw(name: str, folder: Path, data: Path, fitted: Mapping[str, Density]) -> None:
    """Pictures of the densities fitted on the first seed, and for pinwheel-3 an animation of a fit."""
    if name in toys.TOYS:
        _draw_toy(name, folder, fitted)
    elif name == "plane":
        _draw_transport(folder, fitted)
    elif name == "arm":
        draw_arm(folder, fitted)
    elif name == "mnist-clusters":
        _draw_clusters(load_digits_0_to_4(data), folder, name, fitted)
    elif name == "table-clusters":
        for table in load_tables(data):
            own = {m: d for m, d in fitted.items() if m.startswith(f"{table.name}: ")}
            _draw_clusters(table, folder, f"{name}-{_file_name(table.name)}", own)
    else:
        _draw_depths(folder, name, fitted)


def draw_curves(name: str, folder: Path, results: Sequence[Result], fitted: Mapping[str, Density]) -> None:
    """What all seeds together show: for depth-against-naive and arm, likelihood against depth.

    Args:
        name: of the experiment.
        folder: where to write.
        results: of all seeds.
        fitted: what was fitted on the first seed.
    """
    if name == "arm":
        draw_depths(folder, fitted, results)
    if name != "depth-against-naive":
        return
    points: dict[str, list[tuple[float, float, float | None]]] = {}
    for result in results:
        if result.blocks_a_sample is not None and result.log_likelihood is not None:
            point = (result.blocks_a_sample, result.log_likelihood, None)
            points.setdefault(f"seed {result.seed}", []).append(point)
    if points:
        pictures.curve_picture(
            folder / f"{name}-depth.png",
            points,
            x_label="mean blocks a sample runs through",
            y_label="held-out log-likelihood, nats per row",
            title="Pinwheel of 3 wings: what a price on depth buys",
        )


def _draw_toy(name: str, folder: Path, fitted: Mapping[str, Density]) -> None:
    rows = toys.Rows(toys.TOYS[name](), seed=0)
    integrals = {method: integral(density, rows.x) for method, density in fitted.items()}
    with replacing(folder / f"{name}-integrals.json") as temporary:
        temporary.write_text(json.dumps(integrals, indent=1) + "\n", encoding="utf-8")
    for method, density in fitted.items():
        path = folder / f"{name}-{_file_name(method)}.png"
        _picture(path, rows, density, f"{name}, {method}", f", integral {integrals[method]:.4f}")
    if name == "pinwheel-3":
        _animate(name, folder, rows)


def integral(density: Density, x: Tensor, size: int = 1200) -> float:
    """The integral of a density of two features, by a grid over a square three times as wide as its data.

    It is 1 but for what lies outside, and for what the grid is too coarse to see.
    """
    left, right, bottom, top = square_around(x, margin=1.0)
    grid = density_grid(density, (left, right, bottom, top), size)
    return float(grid.sum() * (right - left) * (top - bottom) / size**2)


def _animate(name: str, folder: Path, rows: toys.Rows) -> None:
    toy = toys.TOYS[name]()
    mixture = toys.untrained(toy, seed=0)
    assigned = start_from(mixture, rows.x, "spectral", epochs=0)
    extent = square_around(rows.x)
    epochs = 240
    frames: list[tuple[int, Any, float | None]] = [(0, density_grid(mixture, extent), None)]

    def keep(epoch: Epoch) -> None:
        if epoch.epoch % (epochs // _FRAMES) == 0:
            frames.append((epoch.epoch, density_grid(mixture, extent), rows.score(mixture)))

    objective = Likelihood(classification=0, labels_until=toy.hold)
    fit(
        mixture,
        rows.x,
        labels=assigned,
        objective=objective,
        epochs=epochs,
        patience=None,
        noise=0.1,
        seed=0,
        callback=keep,
        progress=False,
        compile=False,
    )
    animation(folder / f"{name}.gif", frames, extent=extent, title="A mixture of three flows learns a pinwheel")


def _draw_transport(folder: Path, fitted: Mapping[str, Density]) -> None:
    """The way of each flow from data to noise."""
    for name in plane.TOY_NAMES:
        rows = toys.Rows(toys.TOYS[name](), seed=0)
        for method, density in fitted.items():
            if method.startswith(f"{name}: "):
                path = folder / f"plane-{_file_name(method)}.png"
                score = f"{rows.score(density):.3f} nats per row"
                transport_picture(path, density, rows.x, title=f"{method.replace(': ', ', ')}, {score}")


def _draw_clusters(data: Labelled, folder: Path, name: str, fitted: Mapping[str, Density]) -> None:
    space = Space(data)
    for method, density in fitted.items():
        if not isinstance(density, Mixture):
            continue
        clusters = clusters_of(density, space.test)
        stem = f"{name}-{_file_name(method.split(', ')[-1])}"
        title = f"{data.name}: {method.removeprefix(f'{data.name}: ')}"
        cluster_pictures.cluster_picture(folder / f"{stem}.png", space.test, data.test_classes, clusters, title=title)
        if data.shape is not None:
            images = torch.as_tensor(data.test).reshape(-1, *data.shape)
            cluster_pictures.sample_grid(folder / f"{stem}-images.png", images, clusters, title=title)


def _draw_depths(folder: Path, name: str, fitted: Mapping[str, Density]) -> None:
    for toy_name in naive.NAMES:
        density = fitted.get(f"{toy_name}: depth mixture")
        if density is None:
            continue
        rows = toys.Rows(toys.TOYS[toy_name](), seed=0)
        _picture(folder / f"{name}-{toy_name}.png", rows, density, f"{toy_name}, depth mixture")


def _picture(path: Path, rows: toys.Rows, density: Density, title: str, more: str = "") -> None:
    pictures.toy_picture(
        path,
        rows.x,
        rows.classes,
        density,
        title=title,
        score=f"{rows.score(density):.3f} nats per row{more}",
        component_name=_component_name(density),
    )


def _component_name(density: Density) -> str:
    if isinstance(density, Ensemble) and not density.aligned:
        return "member"
    return "depth" if isinstance(density, DepthMixture) else "component"


def _file_name(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
