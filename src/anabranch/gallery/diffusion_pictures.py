"""Pictures of diffusions of the plane, as PNG. They need matplotlib, the extra `pictures`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from anabranch.gallery.grids import Extent, Numbers
from anabranch.gallery.panels import (
    DENSITY_COLOURS,
    INK,
    brightest_of,
    new_figure,
    require_matplotlib,
    save_png,
    square_panel,
    strength_of,
)
from anabranch.gallery.transport import colours_by_place


def noise_picture(
    path: str | os.PathLike[str],
    ways: Sequence[Mapping[str, Numbers]],
    below: Mapping[str, Numbers],
    extent: Extent,
    *,
    title: str,
) -> None:
    """Draw rows on their ways to noise and back, a line of panels for each way, and a line of densities and samples.

    On a way every row keeps the colour of where it is among the data.

    Args:
        path: of the PNG.
        ways: for each way the rows (rows, 2) at several places, by title; the first or the last of them, by name "data", is
            that of the colours.
        below: the last line: densities on a grid (cells, cells), or samples (rows, 2).
        extent: the limits of all panels.
        title: of the picture.

    Raises:
        ValueError: matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    require_matplotlib()
    lines = [*ways, below]
    columns = max(map(len, lines))
    figure = new_figure(2.4 * columns + 0.2, 2.65 * len(lines) + 0.4, title)
    for i, line in enumerate(lines):
        colours: Numbers | str = INK if line is below else colours_by_place(line["data"])
        for k, (name, values) in enumerate(line.items()):
            panel = square_panel(figure, (len(lines), columns, i * columns + k + 1), extent)
            panel.set_title(name, fontsize=11, color=INK)
            if values.shape[0] == values.shape[1]:
                shade = strength_of(values, brightest_of(values))
                panel.imshow(shade, cmap=DENSITY_COLOURS, extent=extent, origin="lower", vmin=0, vmax=1)
                continue
            across, up = values.T
            size = float(np.clip(6000 / len(values), 3, 10))
            panel.scatter(across, up, s=size, c=colours, linewidths=0, alpha=0.9)
    save_png(figure, path)
