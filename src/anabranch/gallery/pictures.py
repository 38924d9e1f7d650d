"""Pictures of what a density has learnt, as PNG. They need matplotlib, the extra `pictures`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.densities import Density, Mixture
from anabranch.gallery.dots import codes_of, legend, lines_of_legend, matched_rows, scatter, some_rows
from anabranch.gallery.grids import (
    density_and_components,
    evaluating,
    in_batches,
    read_array,
    square_around,
)
from anabranch.gallery.panels import (
    DENSITY_COLOURS,
    INK,
    brightest_of,
    colours_of,
    in_nats,
    new_figure,
    require_matplotlib,
    rgb,
    save_png,
    square_panel,
    strength_of,
)
from anabranch.models import DepthMixture

_MARKERS = "osD^vPX*"


def toy_picture(
    path: str | os.PathLike[str],
    x: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    density: Density,
    *,
    title: str,
    score: float | str | None = None,
    component_name: str = "component",
) -> None:
    """Draw a density of two features beside its data, as PNG: data, density, samples and most probable components.

    The components' panel is there for a `Mixture`. A component has the colour of the label that it shares most rows with,
    where no other component shares more; a `DepthMixture`'s components are named by their depths.

    Args:
        path: of the PNG.
        x: (rows, 2).
        labels: (rows), numbers or strings.
        density: of two features, without a context.
        title: of the picture.
        score: nats per row, or a text, to stand under the density.
        component_name: what a component is, in the legend.

    Raises:
        ValueError: shapes that do not fit; a density of other than two features; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    require_matplotlib()
    points = read_array("x", x, 2)
    if points.shape[1] != 2:
        raise ValueError(f"x: expected shape (rows, 2), got {points.shape}")
    names, codes = codes_of("labels", labels, len(points))
    extent = square_around(points)
    mixture = density if isinstance(density, Mixture) and density.likelihood == "exact" else None
    drawn = some_rows(len(points))
    with evaluating(density):
        grid, winners = density_and_components(density, extent, 400)
        samples = density.sample((len(drawn),)).cpu().double().numpy()
        # a row outside the support of all components, NaN, is no component's
        shares = None if mixture is None else np.nan_to_num(in_batches(mixture.responsibilities, points, density))

    count = 3 if shares is None else 4
    components = 0 if shares is None else shares.shape[1]
    figure = new_figure(3.5 * count + 0.2, 4.25 + 0.2 * max(lines_of_legend(names), 2 * (components > 5)), title)
    panels = [square_panel(figure, (1, count, i + 1), extent) for i in range(count)]
    colours = colours_of(max(len(names), components))
    panels[0].set_title("Data")
    scatter(panels[0], points[drawn], [colours[code] for code in codes[drawn]])
    legend(panels[0], list(zip(names, colours, strict=False)), "class")
    panels[1].set_title("Density" if density.likelihood == "exact" else "Density, a lower bound")
    strength = strength_of(grid, brightest_of(grid))
    panels[1].imshow(strength, cmap=DENSITY_COLOURS, extent=extent, origin="lower", vmin=0, vmax=1)
    if score is not None:
        panels[1].set_xlabel(score if isinstance(score, str) else in_nats(score))
    panels[2].set_title("Samples")
    scatter(panels[2], samples, [INK] * len(samples))
    panels[2].set_xlabel(f"{len(samples):,} samples")
    if shares is not None:
        counts = np.stack([shares[codes == i].sum(axis=0) for i in range(len(names))])
        own = [colours[i] for i in matched_rows(counts)]
        panels[3].set_title(f"Most probable {component_name}")
        # white where there is no density, the component's own colour where it is highest
        ink = np.nan_to_num(strength)[..., None]
        panels[3].imshow(1 - ink * (1 - rgb(own)[winners]), extent=extent, origin="lower")
        numbers = density.depths if isinstance(density, DepthMixture) else range(len(own))
        share = counts.sum(axis=0) / len(points)
        largest = sorted(np.argsort(-share, kind="stable")[:8].tolist())
        rows = [(f"{numbers[i]}: {share[i]:.0%}", own[i]) for i in largest if share[i] >= 0.005]
        legend(panels[3], rows, f"{component_name}, and its share of the data")
    save_png(figure, path)


def curve_picture(
    path: str | os.PathLike[str],
    series: Mapping[str, Sequence[tuple[float, float, float | None]]],
    *,
    x_label: str,
    y_label: str,
    title: str,
    log_x: bool = False,
) -> None:
    """Draw lines through points.

    Args:
        path: of the PNG.
        series: for each line's name its points (x, y, spread): y is drawn with a bar of spread either way, if there is one.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        title: of the picture.
        log_x: whether x is drawn in logarithms.

    Raises:
        ValueError: no points; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    if not any(series.values()):
        raise ValueError("series: expected some points, got none")
    figure = new_figure(6.4, 4.2, title)
    panel = figure.add_subplot()
    colours = colours_of(len(series))
    for i, (name, points) in enumerate(series.items()):
        ordered = sorted(points, key=lambda point: point[0])
        xs, ys = [point[0] for point in ordered], [point[1] for point in ordered]
        marker = _MARKERS[i % len(_MARKERS)]
        panel.plot(xs, ys, f"{marker}-", color=colours[i], label=name, markersize=5, linewidth=1.6)
        spread = [0.0 if point[2] is None else point[2] for point in ordered]
        if any(spread):
            panel.errorbar(xs, ys, yerr=spread, fmt="none", ecolor=colours[i], elinewidth=1.2, capsize=3)
    if log_x:
        panel.set_xscale("log")
    all_xs = sorted({point[0] for points in series.values() for point in points})
    if len(all_xs) <= 8:
        panel.set_xticks(all_xs, [f"{x:g}" for x in all_xs])
        panel.minorticks_off()
    panel.set_xlabel(x_label)
    panel.set_ylabel(y_label)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(colors=INK)
    if len(series) > 1:
        panel.legend(frameon=False)
    save_png(figure, path)
