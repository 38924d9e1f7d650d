"""Pictures of what a density has learnt, as PNG. They need matplotlib, the extra `pictures`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.densities import Density, Mixture
from anabranch.gallery.grids import (
    Numbers,
    density_and_components,
    evaluating,
    in_batches,
    read_array,
    square_around,
)
from anabranch.gallery.panels import (
    DENSITY_COLOURS,
    FRAME,
    INK,
    bare,
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_MARKERS = "osD^vPX*"
_POINTS = 4000  # drawn in one panel at most


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
    names, codes = _codes("labels", labels, len(points))
    extent = square_around(points)
    mixture = density if isinstance(density, Mixture) else None
    drawn = _some(len(points))
    with evaluating(density):
        grid, winners = density_and_components(density, extent, 400)
        samples = density.sample((len(drawn),)).cpu().double().numpy()
        # a row outside the support of all components, NaN, is no component's
        shares = None if mixture is None else np.nan_to_num(in_batches(mixture.responsibilities, points, density))

    count = 3 if shares is None else 4
    components = 0 if shares is None else shares.shape[1]
    figure = new_figure(3.5 * count + 0.2, 4.25 + 0.2 * max(_lines(names), 2 * (components > 5)), title)
    panels = [square_panel(figure, (1, count, i + 1), extent) for i in range(count)]
    colours = colours_of(max(len(names), components))
    panels[0].set_title("Data")
    _scatter(panels[0], points[drawn], [colours[code] for code in codes[drawn]])
    _legend(panels[0], list(zip(names, colours, strict=False)), "class")
    panels[1].set_title("Density" if density.likelihood == "exact" else "Density, a lower bound")
    strength = strength_of(grid, brightest_of(grid))
    panels[1].imshow(strength, cmap=DENSITY_COLOURS, extent=extent, origin="lower", vmin=0, vmax=1)
    if score is not None:
        panels[1].set_xlabel(score if isinstance(score, str) else in_nats(score))
    panels[2].set_title("Samples")
    _scatter(panels[2], samples, [INK] * len(samples))
    panels[2].set_xlabel(f"{len(samples):,} samples")
    if shares is not None:
        counts = np.stack([shares[codes == i].sum(axis=0) for i in range(len(names))])
        own = [colours[i] for i in _colours_of_columns(counts)]
        panels[3].set_title(f"Most probable {component_name}")
        # white where there is no density, the component's own colour where it is highest
        ink = np.nan_to_num(strength)[..., None]
        panels[3].imshow(1 - ink * (1 - rgb(own)[winners]), extent=extent, origin="lower")
        numbers = density.depths if isinstance(density, DepthMixture) else range(len(own))
        share = counts.sum(axis=0) / len(points)
        largest = sorted(np.argsort(-share, kind="stable")[:8].tolist())
        rows = [(f"{numbers[i]}: {share[i]:.0%}", own[i]) for i in largest if share[i] >= 0.005]
        _legend(panels[3], rows, f"{component_name}, and its share of the data")
    save_png(figure, path)


def cluster_picture(
    path: str | os.PathLike[str],
    embedding: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    clusters: Tensor | ArrayLike,
    *,
    title: str,
) -> None:
    """Draw rows by their first two principal components, coloured by class and by cluster, and count one in the other.

    A cluster has the colour, and in the table the place, of the class that it shares most rows with.

    Args:
        path: of the PNG.
        embedding: (rows, features), at least two features, as standardised as the principal components should see them.
        labels: (rows), the classes: numbers or strings.
        clusters: (rows), numbers or strings.
        title: of the picture.

    Raises:
        ValueError: shapes that do not fit; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    require_matplotlib()
    points = read_array("embedding", embedding, 2)
    if points.shape[1] < 2:
        raise ValueError(f"embedding: expected at least two features, got {points.shape[1]}")
    classes, of_class = _codes("labels", labels, len(points))
    groups, of_cluster = _codes("clusters", clusters, len(points))
    counts = np.zeros((len(classes), len(groups)), dtype=np.int64)
    np.add.at(counts, (of_class, of_cluster), 1)
    matched = _colours_of_columns(counts)
    order = np.argsort(matched)
    centred = points - points.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    components = left[:, :2] * spread[:2]
    explained = spread[:2] ** 2 / max((spread**2).sum(), np.finfo(float).tiny)

    colours = colours_of(max(len(classes), len(groups)))
    below = 0.2 * max(_lines(classes), _lines(groups))
    side, wide = max(3.5, 0.27 * len(classes)), max(3.3, 0.45 * len(groups))
    letters = max(map(len, classes))
    figure = new_figure(2 * side + wide + 0.9 + 0.08 * letters, side + 1.1 + below, title)
    places = figure.add_gridspec(1, 3, width_ratios=[side, side, wide])
    drawn = _some(len(points))
    of_matched = [(groups[i], colours[matched[i]]) for i in order]
    for place, what, codes, shades, rows in (
        (places[0], "Class", of_class, colours, list(zip(classes, colours, strict=False))),
        (places[1], "Cluster", of_cluster, [colours[i] for i in matched], of_matched),
    ):
        panel = figure.add_subplot(place)
        _scatter(panel, components[drawn], [shades[i] for i in codes[drawn]])
        panel.set_title(what)
        panel.set_xlabel(f"first principal component ({explained[0]:.0%} of variance)")
        if what == "Class":
            panel.set_ylabel(f"second principal component ({explained[1]:.0%})")
        bare(panel)
        _legend(panel, rows, None, below=-0.08)
    _count_table(figure.add_subplot(places[2]), counts[:, order], classes, [groups[i] for i in order])
    save_png(figure, path)


def sample_grid(
    path: str | os.PathLike[str],
    images: Tensor | ArrayLike,
    clusters: Tensor | ArrayLike,
    *,
    title: str,
    columns: int = 12,
    component_name: str = "cluster",
) -> None:
    """Draw images in rows, one row for each cluster: its first so many, black for the lowest number of all.

    Args:
        path: of the PNG.
        images: (n, height, width).
        clusters: (n), numbers or strings.
        title: of the picture.
        columns: images in a row at most.
        component_name: what a row is.

    Raises:
        ValueError: shapes that do not fit; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    pictures = read_array("images", images, 3)
    names, codes = _codes("clusters", clusters, len(pictures))
    chosen = [np.flatnonzero(codes == i)[: positive_int("columns", columns)] for i in range(len(names))]
    columns = max(map(len, chosen))
    _, height, width = pictures.shape
    figure = new_figure(max(4.0, 0.6 * columns * max(1.0, width / height) + 1.5), 0.6 * len(names) + 0.7, title)
    panel = figure.add_subplot()
    # what is left NaN stays white: gaps between images, and places of a row without one
    gap = max(1, min(height, width) // 12)
    sheet = np.full((len(names) * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for row, members in enumerate(chosen):
        for column, member in enumerate(members):
            top, left = row * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = pictures[member]
    panel.imshow(sheet, cmap="gray", interpolation="nearest")
    panel.set_yticks([i * (height + gap) + (height - 1) / 2 for i in range(len(names))])
    panel.set_yticklabels([f"{component_name} {name}" for name in names])
    panel.set_xticks([])
    panel.tick_params(length=0, labelcolor=INK)
    panel.spines[:].set_visible(False)
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


def _codes(name: str, values: Any, rows: int) -> tuple[list[str], NDArray[np.int64]]:
    """The different values in order, as text, and the place in them of each row's."""
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if array.shape != (rows,):
        raise ValueError(f"{name}: expected one for each of the {rows} rows, got shape {array.shape}")
    different, codes = np.unique(array, return_inverse=True)
    return [str(value) for value in different.tolist()], codes.astype(np.int64)


def _some(rows: int) -> NDArray[np.int64]:
    """The rows that are drawn: all, or so many at random that a panel can show them."""
    return np.random.default_rng(0).permutation(rows)[:_POINTS]


def _colours_of_columns(counts: NDArray[Any]) -> list[int]:
    """For each column the row that it belongs to, one to one with the most counts in all; left-over columns come after."""
    rows, columns = linear_sum_assignment(counts, maximize=True)
    owner = dict(zip(columns.tolist(), rows.tolist(), strict=True))
    after = iter(range(counts.shape[0], sum(counts.shape)))
    return [owner[i] if i in owner else next(after) for i in range(counts.shape[1])]


def _legend(panel: Axes, rows: Sequence[tuple[str, str]], title: str | None, below: float = 0.0) -> None:
    """Dots with names, centred below a panel."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 (an extra, and slow to import)

    columns = _legend_columns([name for name, _ in rows])
    dots = [Line2D([], [], linestyle="", marker="o", markersize=6, color=colour, label=name) for name, colour in rows]
    panel.legend(
        # matplotlib fills one column after the other; this way the names are read line by line
        handles=[dot for column in range(columns) for dot in dots[column::columns]],
        title=title,
        loc="upper center",
        bbox_to_anchor=(0.5, below),
        borderaxespad=0.2,
        ncols=columns,
        frameon=False,
        fontsize=9,
        title_fontsize=10,
        handletextpad=0.1,
        columnspacing=0.9,
    )


def _legend_columns(names: Sequence[str]) -> int:
    """So many that they fit below a panel, in lines of about the same length."""
    most = max(1, int(3.5 / (0.33 + 0.06 * max(map(len, names), default=1))))
    lines = max(1, -(-len(names) // most))
    return max(1, -(-len(names) // lines))


def _lines(names: Sequence[str]) -> int:
    return -(-len(names) // _legend_columns(names))


def _count_table(panel: Axes, counts: NDArray[np.int64], classes: Sequence[str], clusters: Sequence[str]) -> None:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    panel.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    panel.set_title("Rows of each class in each cluster")
    for row, column in np.ndindex(*counts.shape):
        number = int(counts[row, column])
        colour = "white" if share[row, column] > 0.55 else INK if number else FRAME
        panel.text(column, row, f"{number:,}", ha="center", va="center", color=colour, fontsize=9)
    panel.set_xticks(range(len(clusters)), clusters)
    panel.set_yticks(range(len(classes)), classes)
    panel.set_xlabel("cluster")
    panel.set_ylabel("class")
    panel.tick_params(length=0, labelcolor=INK)
    panel.spines[:].set_color(FRAME)


def _scatter(panel: Axes, points: Numbers, colours: Sequence[str]) -> None:
    """Dots, the smaller the more of them there are."""
    size = float(np.clip(9000 / len(points), 3, 14))
    panel.scatter(points[:, 0], points[:, 1], s=size, c=colours, linewidths=0, alpha=0.8)
