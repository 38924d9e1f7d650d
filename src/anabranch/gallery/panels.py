"""What all pictures share: figures, colours, frames. They need matplotlib, the extra `pictures`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anabranch.atomic import replacing
from anabranch.gallery.grids import Extent, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe & Ito, 2008, "Color universal design": told apart by colour-blind readers too; the palest last
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
DENSITY_COLOURS = "magma"
INK, FRAME = "#222222", "#bbbbbb"
# A density is drawn as a power of it, so that what is thin or faint is seen beside what is dense.
POWER = 0.5


def require_matplotlib() -> None:
    """Raise ValueError, which says what to install, if matplotlib is missing: for before what takes long."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 (an extra, and slow to import)
    except ImportError as error:
        raise ValueError('pictures need matplotlib: pip install "anabranch[pictures]"') from error


def brightest_of(grid: Numbers) -> float:
    """The density from which on all is drawn the brightest: the densest tenth of the mass lies above.

    Not the maximum, beside whose one sharp peak all else could look empty.
    """
    ordered = np.sort(grid[np.isfinite(grid)])[::-1]
    total = ordered.cumsum()
    if len(total) == 0 or total[-1] <= 0:
        return 1.0
    return float(ordered[np.searchsorted(total, 0.1 * total[-1])])


def strength_of(grid: Numbers, brightest: float) -> Numbers:
    """How strongly a density is coloured, from 0 to 1."""
    return np.clip(grid / brightest, 0, 1) ** POWER


def new_figure(width: float, height: float, title: str) -> Figure:
    """Outside pyplot, so that neither the backend nor the figures of whoever calls are touched."""
    require_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra, and slow to import)

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=13, color=INK)
    return figure


def save_png(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in one go."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, bbox_inches="tight", pad_inches=0.08)


def square_panel(figure: Figure, place: Any, extent: Extent) -> Axes:
    """A panel of equal axes and the same limits as its neighbours."""
    panel = figure.add_subplot(*place) if isinstance(place, tuple) else figure.add_subplot(place)
    panel.set_aspect("equal")
    panel.set_xlim(extent[:2])
    panel.set_ylim(extent[2:])
    bare(panel)
    return panel


def bare(panel: Axes) -> None:
    """Take away ticks; the frame stays, thin."""
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_color(FRAME)
    panel.xaxis.label.set_color(INK)


def colour_map(name: str, levels: int) -> Any:
    """Matplotlib's colour map of that name, in so many steps."""
    import matplotlib as mpl  # noqa: PLC0415 (an extra, and slow to import)

    return mpl.colormaps[name].resampled(levels)


def colours_of(count: int) -> list[str]:
    """So many colours, all different: Okabe-Ito, tab20 from nine on, a rainbow above twenty."""
    from matplotlib.colors import to_hex  # noqa: PLC0415 (an extra, and slow to import)

    if count <= len(OKABE_ITO):
        return list(OKABE_ITO[:count])
    if count <= 20:
        # its strong colours first, then the pale ones
        return [to_hex(colour_map("tab20", 20)(i)) for i in [*range(0, 20, 2), *range(1, 20, 2)]][:count]
    return [to_hex(colour_map("turbo", count)(i)) for i in range(count)]


def rgb(colours: Sequence[str]) -> Numbers:
    """Colours as numbers: (colours, 3), from 0 to 1."""
    from matplotlib.colors import to_rgb  # noqa: PLC0415 (an extra, and slow to import)

    return np.array([to_rgb(colour) for colour in colours])


def in_nats(score: float) -> str:
    """A score in words."""
    return f"{score:.3f} nats per row".replace("-", "\N{MINUS SIGN}")
