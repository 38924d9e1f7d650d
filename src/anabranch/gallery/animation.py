"""A density in training, as GIF. It needs matplotlib, the extra `pictures`, and the Pillow that comes with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from anabranch.atomic import replacing
from anabranch.gallery.grids import (
    Extent,
    Numbers,
    read_array,
)
from anabranch.gallery.panels import (
    DENSITY_COLOURS,
    FRAME,
    INK,
    OKABE_ITO,
    brightest_of,
    colour_map,
    in_nats,
    new_figure,
    rgb,
    square_panel,
    strength_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_GIF_BYTES = 2_000_000
_GIF_LEVELS = 96  # of density: more make larger files, fewer show as steps


def animation(
    path: str | os.PathLike[str],
    frames: Sequence[tuple[int, ArrayLike, float | None]],
    *,
    extent: Extent,
    title: str,
) -> None:
    """Draw a density in training as a GIF: ten frames a second, all on the last one's scale of colours; the last is held.

    Of more than 80 frames, 80 are drawn, and their size in pixels is as large as about 2 MB allow.

    Args:
        path: of the GIF.
        frames: (epoch, grid, score) each: the grid as from `density_grid`, the score in nats per row or None. Where all
            frames have one, its course is drawn below the density.
        extent: of the grids, as given to `density_grid`.
        title: of the picture.

    Raises:
        ValueError: no frames; a grid that is not two-dimensional; matplotlib is missing.
        FileNotFoundError: the folder does not exist.
    """
    if not frames:
        raise ValueError("frames: expected at least one, got none")
    kept = np.unique(np.linspace(0, len(frames) - 1, min(80, len(frames))).round().astype(int)).tolist()
    epochs = [frames[i][0] for i in kept]
    grids = [read_array("frames", frames[i][1], 2) for i in kept]
    scores = [frames[i][2] for i in kept]
    known = [score for score in scores if score is not None]
    curve = known if len(known) == len(kept) > 1 else None
    figure = new_figure(4.0, 4.6 if curve is None else 5.4, title)
    places = figure.add_gridspec(2 if curve else 1, 1, height_ratios=[5, 1] if curve else [1])
    panel = square_panel(figure, places[0], extent)
    brightest = brightest_of(grids[-1])
    image = panel.imshow(
        strength_of(grids[0], brightest),
        cmap=colour_map(DENSITY_COLOURS, _GIF_LEVELS),
        extent=extent,
        origin="lower",
        vmin=0,
        vmax=1,
        interpolation="bilinear",
    )
    if curve is not None:
        below = figure.add_subplot(places[1])
        below.plot(epochs, curve, color=FRAME, linewidth=1.2)
        (passed,) = below.plot([], [], color=OKABE_ITO[0], linewidth=1.6)
        (now,) = below.plot([], [], "o", color=OKABE_ITO[0], markersize=4)
        # the first epochs' scores can be so low that all later ones would look the same
        low, high = float(np.quantile(curve, 0.1)), max(curve)
        below.set_ylim(low - 0.15 * (high - low) - 1e-9, high + 0.15 * (high - low) + 1e-9)
        below.set_xlabel("epoch")
        below.set_ylabel("nats per row", fontsize=8)
        below.tick_params(labelsize=8, colors=INK)
        below.spines[["top", "right"]].set_visible(False)

    def show(i: int) -> None:
        image.set_data(strength_of(grids[i], brightest))
        score = scores[i]
        panel.set_title(f"epoch {epochs[i]}" + ("" if score is None else f": {in_nats(score)}"), fontsize=10)
        if curve is not None:
            passed.set_data(epochs[: i + 1], curve[: i + 1])
            now.set_data([epochs[i]], [curve[i]])

    with replacing(path) as temporary:
        dots = 100.0
        _write_gif(figure, temporary, len(kept), show, dots)
        for _ in range(3):
            too_large = temporary.stat().st_size / _GIF_BYTES
            if too_large <= 1:
                break
            dots *= 0.95 * too_large**-0.5
            _write_gif(figure, temporary, len(kept), show, dots)


def _write_gif(figure: Figure, path: Path, frames: int, show: Callable[[int], None], dots: float) -> None:
    from PIL import Image  # noqa: PLC0415 (comes with matplotlib)

    # laid out once, so that nothing moves but what is shown
    figure.set_layout_engine("constrained")
    show(frames - 1)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    pictures = []
    for i in range(frames):
        show(i)
        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=dots, pil_kwargs={"compress_level": 1})
        pictures.append(Image.open(drawn).convert("RGB"))
    # one palette and no dithering: what stays the same from frame to frame then costs nothing
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * _gif_palette()).round().astype(np.uint8).tobytes())
    shown = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    shown[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=shown[1:],
        duration=[*[100] * (frames - 1), 2500],
        loop=0,
    )


def _gif_palette() -> Numbers:
    """All colours of the density, and what text and lines blend into on white: (colours, 3), at most 256."""
    density = colour_map(DENSITY_COLOURS, _GIF_LEVELS)(np.arange(_GIF_LEVELS))[:, :3]
    shade = np.linspace(0, 1, 24)[:, None]
    return np.concatenate([density, *(shade + (1 - shade) * ink for ink in rgb([INK, OKABE_ITO[0]]))])
