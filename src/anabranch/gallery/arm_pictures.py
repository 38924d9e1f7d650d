"""Pictures of models of images, as PNG. They need matplotlib, the extra `pictures`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.gallery.grids import Numbers, read_array
from anabranch.gallery.panels import FRAME, INK, OKABE_ITO, bare, new_figure, rgb, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALE, _LINE = "#eeeeee", "#d6d6d6"  # of lines between images, and where nothing is known, or looked at
_ZOOM, _GAP = 6, 3  # of a pixel, and between images
Points = Sequence[tuple[float, float, float | None]]


def samples_picture(
    path: str | os.PathLike[str],
    panels: Mapping[str, tuple[Tensor | ArrayLike, str]],
    *,
    darkest: float,
    title: str,
    columns: int = 4,
    side: float = 2.55,
) -> None:
    """Draw a sheet of images for each method, the darker the larger a number.

    Args:
        path: of the PNG.
        panels: for each method its images (n, height, width), and what stands below them.
        darkest: the number that is black; 0 is white.
        title: of the picture.
        columns: panels in a row.
        side: of a panel, inches.

    Raises:
        ValueError: images of other dimensions; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(side * columns, (side + 0.4) * rows + 0.5, title)
    for i, (method, (images, below)) in enumerate(panels.items()):
        panel = figure.add_subplot(rows, columns, i + 1)
        values = read_array("images", images, 3) / darkest
        across = math.ceil(math.sqrt(len(values)))
        panel.imshow(_sheet([_inked(image, INK) for image in values], across), interpolation="nearest")
        panel.set_title(method, fontsize=11, color=INK)
        panel.set_xlabel(below, fontsize=9.5)
        bare(panel)
    save_png(figure, path)


def strips_picture(
    path: str | os.PathLike[str],
    strips: Mapping[str, Sequence[Tensor | ArrayLike]],
    *,
    darkest: float,
    title: str,
) -> None:
    """Draw rows of images one below the other, each group of rows with its name at the left.

    Args:
        path: of the PNG.
        strips: for each name its rows, (n, height, width) each, of one n.
        darkest: the number that is black; 0 is white.
        title: of the picture.

    Raises:
        ValueError: images of other dimensions; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    groups = {name: [read_array("strips", row, 3) / darkest for row in rows] for name, rows in strips.items()}
    columns = len(next(iter(groups.values()))[0])
    lines = sum(len(rows) for rows in groups.values())
    figure = new_figure(0.72 * columns + 1.6, 0.72 * lines + 0.2 * len(groups) + 0.5, title)
    places = figure.add_gridspec(len(groups), 1, height_ratios=[len(rows) for rows in groups.values()])
    for i, (name, rows) in enumerate(groups.items()):
        panel = figure.add_subplot(places[i])
        sheet = _sheet([_inked(image, INK) for row in rows for image in row], columns)
        panel.imshow(sheet, interpolation="nearest")
        panel.set_ylabel(name, fontsize=9.5, rotation=0, ha="right", va="center", color=INK)
        bare(panel)
    save_png(figure, path)


def completions_picture(
    path: str | os.PathLike[str],
    images: Tensor | ArrayLike,
    completions: Tensor | ArrayLike,
    *,
    given: int,
    darkest: float,
    title: str,
    below: str,
) -> None:
    """Draw for each image, from the top: the rows that are given, several completions of them, and the image.

    Args:
        path: of the PNG.
        images: (n, height, width).
        completions: (draws, n, height, width).
        given: so many rows of each are given, black; the others are drawn, in blue.
        darkest: the number that is drawn at full strength; 0 is white.
        title: of the picture.
        below: what stands below.

    Raises:
        ValueError: images of other dimensions; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    truth, drawn = read_array("images", images, 3) / darkest, read_array("completions", completions, 4) / darkest
    halves = [_inked(image, INK) for image in truth]
    for half in halves:
        half[given:] = rgb([_PALE])[0]
    lines = [halves]
    for draws in drawn:
        line = [_inked(image, OKABE_ITO[0]) for image in draws]
        for image, known in zip(line, truth, strict=True):
            image[:given] = _inked(known[:given], INK)
        lines.append(line)
    lines.append([_inked(image, INK) for image in truth])
    sheets, names, places, top = [], ["given", *(f"draw {i + 1}" for i in range(len(drawn))), "the image"], [], 0
    height, count = truth.shape[1] * _ZOOM + _GAP, len(truth)
    for block in (lines[:1], lines[1:-1], lines[-1:]):
        sheet = _sheet([image for line in block for image in line], count)
        sheets += [sheet, np.ones((4 * _GAP, *sheet.shape[1:]))]  # white between the blocks
        places += [top + (i + 0.5) * height for i in range(len(block))]
        top += len(sheet) + 4 * _GAP
    figure = new_figure(0.72 * count + 1.0, 0.72 * len(lines) + 0.9, title)
    panel = figure.add_subplot()
    panel.imshow(np.concatenate(sheets[:-1]), interpolation="nearest")
    bare(panel)
    panel.spines[:].set_visible(False)
    panel.set_yticks(places, names)
    panel.tick_params(length=0, labelcolor=INK)
    panel.set_xlabel(below, fontsize=9.5)
    save_png(figure, path)


def influence_picture(
    path: str | os.PathLike[str],
    fields: Mapping[str, Tensor | ArrayLike],
    position: tuple[int, int],
    *,
    title: str,
    columns: int = 3,
) -> None:
    """Draw how much each pixel moves a prediction, one panel for each network, in shares of the panel's largest.

    Args:
        path: of the PNG.
        fields: for each network (height, width), at least 0; 0 where it does not look.
        position: row and column of the pixel that is predicted.
        title: of the picture.
        columns: panels in a row.

    Raises:
        ValueError: fields of other dimensions; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    from matplotlib.colors import LogNorm  # noqa: PLC0415 (an extra, and slow to import)

    rows = math.ceil(len(fields) / columns)
    figure = new_figure(2.5 * columns + 0.9, 2.75 * rows + 0.5, title)
    panels, drawn = [], None
    for i, (method, field) in enumerate(fields.items()):
        panel = figure.add_subplot(rows, columns, i + 1)
        values = read_array("fields", field, 2)
        seen = values > 0
        before = position[0] * values.shape[1] + position[1]
        panel.set_facecolor(_PALE)
        shares = np.where(seen, values / (values.max() or 1.0), np.nan)
        drawn = panel.imshow(shares, cmap="YlGnBu", norm=LogNorm(1e-2, 1), interpolation="nearest")
        _mark(panel, position)
        _grid(panel, values.shape)
        panel.set_title(method, fontsize=11, color=INK)
        panel.set_xlabel(f"looks at {int(seen.sum())} of the {before} pixels before", fontsize=9.5)
        bare(panel)
        panels.append(panel)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=panels, shrink=0.7, extend="min")
        bar.ax.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
        bar.set_label("mean size of the gradient, share of the largest", color=INK)
        bar.outline.set_edgecolor(FRAME)
    save_png(figure, path)


def depth_picture(
    path: str | os.PathLike[str],
    curves: Mapping[str, Points],
    maps: Mapping[str, tuple[Tensor | ArrayLike, str, str]],
    *,
    title: str,
) -> None:
    """Draw likelihood against depth, and beside it maps of the positions.

    Args:
        path: of the PNG.
        curves: for each name points (layers a position, nats an image, spread or None).
        maps: for each title (height, width), what the numbers are, and a colour map's name.
        title: of the picture.

    Raises:
        ValueError: maps of other dimensions; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    figure = new_figure(5.4 + 3.6 * len(maps), 4.1, title)
    places = figure.add_gridspec(1, 1 + len(maps), width_ratios=[5.0, *[3.6] * len(maps)])
    _curves(figure.add_subplot(places[0]), curves)
    for i, (name, (values, unit, colours)) in enumerate(maps.items()):
        _map(figure, figure.add_subplot(places[i + 1]), name, read_array("maps", values, 2), unit, colours)
    save_png(figure, path)


def _curves(panel: Axes, curves: Mapping[str, Points]) -> None:
    for i, (name, points) in enumerate(curves.items()):
        xs, ys, spreads = zip(*sorted(points), strict=True)
        style = "osD^v"[i % 5] + "-"
        panel.plot(xs, ys, style, color=OKABE_ITO[i], label=name, markersize=6, linewidth=1.6)
        if any(spreads):
            known = [spread or 0.0 for spread in spreads]
            panel.errorbar(xs, ys, yerr=known, fmt="none", ecolor=OKABE_ITO[i], elinewidth=1.2, capsize=3)
    panel.set_xlabel("mean layers a position")
    panel.set_ylabel("held-out log-likelihood, nats an image")
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    # above the lines, wherever they run
    panel.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.2)


def _map(figure: Figure, panel: Axes, name: str, values: Numbers, unit: str, colours: str) -> None:
    low, high = float(values.min()), float(values.max())
    panel.imshow(values, cmap=colours, vmin=low - 0.1 * (high - low), vmax=high, interpolation="nearest")
    for row, column in np.ndindex(*values.shape):
        strong = values[row, column] > low + 0.6 * (high - low)
        panel.text(
            column,
            row,
            f"{values[row, column]:.1f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if strong else INK,
        )
    _grid(panel, values.shape)
    panel.set_title(name, fontsize=11, color=INK)
    panel.set_xlabel(unit, fontsize=9.5)
    bare(panel)


def _mark(panel: Axes, position: tuple[int, int]) -> None:
    """The pixel that is predicted."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415 (an extra, and slow to import)

    panel.add_patch(Rectangle((position[1] - 0.5, position[0] - 0.5), 1, 1, color=OKABE_ITO[1], linewidth=0))


def _grid(panel: Axes, shape: tuple[int, ...]) -> None:
    """Thin white lines between pixels."""
    for row in range(1, shape[0]):
        panel.axhline(row - 0.5, color="white", linewidth=0.8)
    for column in range(1, shape[1]):
        panel.axvline(column - 0.5, color="white", linewidth=0.8)


def _inked(values: Numbers, colour: str) -> Numbers:
    """(height, width) from 0, white, to 1, the colour: (height, width, 3)."""
    return 1 - np.clip(values, 0, 1)[..., None] * (1 - rgb([colour])[0])


def _sheet(images: Sequence[Numbers], columns: int) -> Numbers:
    """Coloured images (height, width, 3) in rows, thin lines between and around them."""
    height, width = (side * _ZOOM for side in images[0].shape[:2])
    rows = math.ceil(len(images) / columns)
    sheet = np.empty((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3))
    sheet[:] = rgb([_LINE])[0]
    for i, image in enumerate(images):
        top, left = _GAP + i // columns * (height + _GAP), _GAP + i % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = image.repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)
    return sheet
