"""Pictures of hidden variables of two numbers, as PNG. They need matplotlib, the extra `pictures`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.densities import Density
from anabranch.gallery.dots import codes_of, legend, lines_of_legend, scatter, some_rows
from anabranch.gallery.grids import density_grid, read_array, square_around
from anabranch.gallery.panels import (
    FRAME,
    INK,
    brightest_of,
    colours_of,
    new_figure,
    require_matplotlib,
    save_png,
    square_panel,
    strength_of,
)
from anabranch.gallery.transport import levels_of

_CELLS = 160


@dataclass
class Plane:
    """A prior on the plane and draws of the posterior at rows.

    Attributes:
        prior: of two features.
        draws: (rows, 2).
        below: what stands below the panel.
    """

    prior: Density
    draws: Tensor | ArrayLike
    below: str


def latent_picture(
    path: str | os.PathLike[str], planes: Mapping[str, Plane], classes: Tensor | ArrayLike | None, *, title: str
) -> None:
    """Draw each prior, shaded, with lines that hold 50, 90 and 99 % of it, and on it the draws, coloured by class.

    Together the draws are one of the aggregated posterior. Where these are and the prior is not, it does not know the data;
    where the prior is and they are not, the decoder has learnt nothing.

    Args:
        path: of the PNG.
        planes: for each title a prior and draws.
        classes: (rows), numbers or strings; None if they are not known.
        title: of the picture.

    Raises:
        ValueError: shapes that do not fit; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    require_matplotlib()
    points = [read_array("draws", plane.draws, 2) for plane in planes.values()]
    alike = np.zeros(len(points[0]), dtype=np.int64) if classes is None else classes
    names, codes = codes_of("classes", alike, len(points[0]))
    names = [] if classes is None else names
    colours = colours_of(max(1, len(names)))
    figure = new_figure(3.7 * len(planes) + 0.2, 4.7 + 0.25 * lines_of_legend(names), title)
    for i, ((name, plane), drawn) in enumerate(zip(planes.items(), points, strict=True)):
        # far draws are left out, so that one does not make dots of all others
        low, high = np.quantile(drawn, [0.005, 0.995], axis=0)
        extent = square_around(np.stack([low, high]), margin=0.12)
        panel = square_panel(figure, (1, len(planes), i + 1), extent)
        grid = density_grid(plane.prior, extent, _CELLS)
        shade = strength_of(grid, brightest_of(grid))
        panel.imshow(shade, cmap="Greys", extent=extent, origin="lower", vmin=0, vmax=2.2, interpolation="bilinear")
        panel.contour(grid, levels_of(grid), extent=extent, colors=FRAME, linewidths=0.9)
        rows = some_rows(len(drawn))
        scatter(panel, drawn[rows], [colours[code] for code in codes[rows]])
        panel.set_title(name, fontsize=11, color=INK)
        panel.set_xlabel(plane.below, fontsize=9.5)
        if names and i == len(planes) // 2:
            legend(panel, list(zip(names, colours, strict=True)), None, below=-0.09)
    save_png(figure, path)
