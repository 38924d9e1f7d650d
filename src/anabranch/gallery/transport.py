"""Pictures of how a flow carries data to noise. They need matplotlib, the extra `pictures`."""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.densities import Density
from anabranch.gallery.frames import Frame, frames_of
from anabranch.gallery.grids import Extent, Numbers, density_grid, square_around
from anabranch.gallery.panels import FRAME, INK, new_figure, require_matplotlib, save_png, square_panel

_COLUMNS = 7
# so much of the noise lies within its lines
_MASSES = (0.99, 0.9, 0.5)
# from OKLab to the cube roots of cone responses, and from these, cubed, to linear sRGB: Ottosson, 2020, "OKLab"
_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def transport_picture(
    path: str | os.PathLike[str], density: Density, x: Tensor | ArrayLike, *, title: str, times: int = 5
) -> None:
    r"""Draw rows on their way from data to noise: a panel after each layer, every row in the colour of where it began.

    A hue is a direction from the middle of the data, the lighter the further out. Thin lines hold 50, 90 and 99 % of the
    noise, where the base reads the rows. A layer in continuous time is drawn at several times. Of a `DepthMixture` a
    second line of panels is behind the heads.

    Args:
        path: of the PNG.
        density: a `Flow` or a `DepthMixture` of two features, without a context.
        x: (rows, 2); of more than 1,200, so many at random are drawn.
        title: of the picture.
        times: panels of each layer in continuous time.

    Raises:
        ValueError: another density, shapes that do not fit; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    require_matplotlib()
    frames = frames_of(density, x, times)
    extent = _around(frames)
    base = density_grid(density.parts()[0], extent)
    colours = colours_by_place(frames[0].points)
    count = max(frame.column for frame in frames) + 1
    heads = any(frame.head for frame in frames)
    # heads stand below their layers; else a line of many panels goes on below
    rows = 2 if heads else math.ceil(count / _COLUMNS)
    columns = count if heads else math.ceil(count / rows)
    figure = new_figure(2.1 * columns + 0.2, 2.35 * rows + 0.45 + 0.2 * heads, title)
    for frame in frames:
        place = frame.column + columns * frame.head
        panel = square_panel(figure, (rows, columns, place + 1), extent)
        panel.set_title(frame.name, fontsize=11, color=INK)
        panel.set_xlabel(frame.below, fontsize=9.5)
        if frame.noise:
            panel.contour(base, levels_of(base), extent=extent, colors=FRAME, linewidths=0.9, zorder=0)
        across, up = frame.points.T
        panel.scatter(across, up, s=float(np.clip(6000 / len(colours), 4, 12)), c=colours, linewidths=0)
    save_png(figure, path)


def colours_by_place(points: Numbers) -> Numbers:
    """A colour for each of the points (rows, 2): hue by direction from their middle, lighter by distance; (rows, 3)."""
    away = points - np.median(points, axis=0)
    hue = np.arctan2(away[:, 1], away[:, 0])
    # a rank, so that no distance takes all shades
    rank = np.linalg.norm(away, axis=1).argsort().argsort() / max(1, len(points) - 1)
    chroma = 0.13
    lab = np.stack([0.5 + 0.27 * rank, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear = np.clip((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def levels_of(grid: Numbers) -> list[float]:
    """The densities above which 99, 90 and 50 % of what a grid holds lie, rising; none of a flat one."""
    ordered = np.sort(grid[np.isfinite(grid)])[::-1]
    total = ordered.cumsum()
    if len(total) == 0 or total[-1] <= 0:
        return []
    found = [float(ordered[np.searchsorted(total, mass * total[-1])]) for mass in _MASSES]
    return sorted(set(found))


def _around(frames: list[Frame]) -> Extent:
    """A square around nearly all rows of all frames: one row far out shall not make dots of all others."""
    points = np.concatenate([frame.points for frame in frames])
    low, high = np.nanquantile(points, [0.001, 0.999], axis=0)
    return square_around(np.stack([low, high]), margin=0.06)
