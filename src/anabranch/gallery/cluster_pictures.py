"""Pictures of clusters beside classes, as PNG. They need matplotlib, the extra `pictures`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.gallery.dots import codes_of, legend, lines_of_legend, matched_rows, scatter, some_rows
from anabranch.gallery.grids import read_array
from anabranch.gallery.panels import FRAME, INK, bare, colours_of, new_figure, require_matplotlib, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    classes, of_class = codes_of("labels", labels, len(points))
    groups, of_cluster = codes_of("clusters", clusters, len(points))
    counts = np.zeros((len(classes), len(groups)), dtype=np.int64)
    np.add.at(counts, (of_class, of_cluster), 1)
    matched = matched_rows(counts)
    order = np.argsort(matched)
    centred = points - points.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    components = left[:, :2] * spread[:2]
    explained = spread[:2] ** 2 / max((spread**2).sum(), np.finfo(float).tiny)

    colours = colours_of(max(len(classes), len(groups)))
    below = 0.2 * max(lines_of_legend(classes), lines_of_legend(groups))
    side, wide = max(3.5, 0.27 * len(classes)), max(3.3, 0.45 * len(groups))
    letters = max(map(len, classes))
    figure = new_figure(2 * side + wide + 0.9 + 0.08 * letters, side + 1.1 + below, title)
    places = figure.add_gridspec(1, 3, width_ratios=[side, side, wide])
    drawn = some_rows(len(points))
    of_matched = [(groups[i], colours[matched[i]]) for i in order]
    for place, what, codes, shades, rows in (
        (places[0], "Class", of_class, colours, list(zip(classes, colours, strict=False))),
        (places[1], "Cluster", of_cluster, [colours[i] for i in matched], of_matched),
    ):
        panel = figure.add_subplot(place)
        scatter(panel, components[drawn], [shades[i] for i in codes[drawn]])
        panel.set_title(what)
        panel.set_xlabel(f"first principal component ({explained[0]:.0%} of variance)")
        if what == "Class":
            panel.set_ylabel(f"second principal component ({explained[1]:.0%})")
        bare(panel)
        legend(panel, rows, None, below=-0.08)
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
    names, codes = codes_of("clusters", clusters, len(pictures))
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
