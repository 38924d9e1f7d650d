"""Pictures of what a density has learnt: PNGs, and a GIF of it learning. They need matplotlib, the extra `pictures`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from anabranch.atomic import replacing
from anabranch.checks import positive_int, reference_tensor
from anabranch.densities import Density, Mixture
from anabranch.models import DepthMixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = NDArray[np.float64]
Extent = tuple[float, float, float, float]
"""Left, right, bottom, top: the limits of a panel in data units."""

# Okabe & Ito, 2008, "Color universal design": told apart by colour-blind readers too; the palest last
_OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = "osD^vPX*"
_DENSITY_COLOURS = "magma"
_INK, _FRAME = "#222222", "#bbbbbb"
# A density is drawn as a power of it, so that what is thin or faint is seen beside what is dense.
_POWER = 0.5
_ROWS = 20_000  # at which a density is evaluated at once
_POINTS = 4000  # drawn in one panel at most
_GIF_BYTES = 2_000_000
_GIF_LEVELS = 96  # of density: more make larger files, fewer show as steps


def require_matplotlib() -> None:
    """Raise ValueError, which says what to install, if matplotlib is missing: for before what takes long."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 (an extra, and slow to import)
    except ImportError as error:
        raise ValueError('pictures need matplotlib: pip install "anabranch[pictures]"') from error


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
    points = _array("x", x, 2)
    if points.shape[1] != 2:
        raise ValueError(f"x: expected shape (rows, 2), got {points.shape}")
    names, codes = _codes("labels", labels, len(points))
    extent = square_around(points)
    mixture = density if isinstance(density, Mixture) else None
    drawn = _some(len(points))
    with _evaluating(density):
        grid, winners = _grids(density, extent, 400)
        samples = density.sample((len(drawn),)).cpu().double().numpy()
        # a row outside the support of all components, NaN, is no component's
        shares = None if mixture is None else np.nan_to_num(_in_batches(mixture.responsibilities, points, density))

    count = 3 if shares is None else 4
    components = 0 if shares is None else shares.shape[1]
    figure = _figure(3.5 * count + 0.2, 4.25 + 0.2 * max(_lines(names), 2 * (components > 5)), title)
    panels = [_square_panel(figure, (1, count, i + 1), extent) for i in range(count)]
    colours = _palette(max(len(names), components))
    panels[0].set_title("Data")
    _scatter(panels[0], points[drawn], [colours[code] for code in codes[drawn]])
    _legend(panels[0], list(zip(names, colours, strict=False)), "class")
    panels[1].set_title("Density" if density.bound == "exact" else "Density, a lower bound")
    strength = _strength(grid, _brightest(grid))
    panels[1].imshow(strength, cmap=_DENSITY_COLOURS, extent=extent, origin="lower", vmin=0, vmax=1)
    if score is not None:
        panels[1].set_xlabel(score if isinstance(score, str) else _nats(score))
    panels[2].set_title("Samples")
    _scatter(panels[2], samples, [_INK] * len(samples))
    panels[2].set_xlabel(f"{len(samples):,} samples")
    if shares is not None:
        counts = np.stack([shares[codes == i].sum(axis=0) for i in range(len(names))])
        own = [colours[i] for i in _colours_of_columns(counts)]
        panels[3].set_title(f"Most probable {component_name}")
        # white where there is no density, the component's own colour where it is highest
        ink = np.nan_to_num(strength)[..., None]
        panels[3].imshow(1 - ink * (1 - _rgb(own)[winners]), extent=extent, origin="lower")
        numbers = density.depths if isinstance(density, DepthMixture) else range(len(own))
        share = counts.sum(axis=0) / len(points)
        largest = sorted(np.argsort(-share, kind="stable")[:8].tolist())
        rows = [(f"{numbers[i]}: {share[i]:.0%}", own[i]) for i in largest if share[i] >= 0.005]
        _legend(panels[3], rows, f"{component_name}, and its share of the data")
    _save(figure, path)


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
    points = _array("embedding", embedding, 2)
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

    colours = _palette(max(len(classes), len(groups)))
    below = 0.2 * max(_lines(classes), _lines(groups))
    side, wide = max(3.5, 0.27 * len(classes)), max(3.3, 0.45 * len(groups))
    letters = max(map(len, classes))
    figure = _figure(2 * side + wide + 0.9 + 0.08 * letters, side + 1.1 + below, title)
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
        _bare(panel)
        _legend(panel, rows, None, below=-0.08)
    _count_table(figure.add_subplot(places[2]), counts[:, order], classes, [groups[i] for i in order])
    _save(figure, path)


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
    pictures = _array("images", images, 3)
    names, codes = _codes("clusters", clusters, len(pictures))
    chosen = [np.flatnonzero(codes == i)[: positive_int("columns", columns)] for i in range(len(names))]
    columns = max(map(len, chosen))
    _, height, width = pictures.shape
    figure = _figure(max(4.0, 0.6 * columns * max(1.0, width / height) + 1.5), 0.6 * len(names) + 0.7, title)
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
    panel.tick_params(length=0, labelcolor=_INK)
    panel.spines[:].set_visible(False)
    _save(figure, path)


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
    figure = _figure(6.4, 4.2, title)
    panel = figure.add_subplot()
    colours = _palette(len(series))
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
    panel.tick_params(colors=_INK)
    if len(series) > 1:
        panel.legend(frameon=False)
    _save(figure, path)


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
    grids = [_array("frames", frames[i][1], 2) for i in kept]
    scores = [frames[i][2] for i in kept]
    known = [score for score in scores if score is not None]
    curve = known if len(known) == len(kept) > 1 else None
    figure = _figure(4.0, 4.6 if curve is None else 5.4, title)
    places = figure.add_gridspec(2 if curve else 1, 1, height_ratios=[5, 1] if curve else [1])
    panel = _square_panel(figure, places[0], extent)
    brightest = _brightest(grids[-1])
    image = panel.imshow(
        _strength(grids[0], brightest),
        cmap=_colours(_DENSITY_COLOURS, _GIF_LEVELS),
        extent=extent,
        origin="lower",
        vmin=0,
        vmax=1,
        interpolation="bilinear",
    )
    if curve is not None:
        below = figure.add_subplot(places[1])
        below.plot(epochs, curve, color=_FRAME, linewidth=1.2)
        (passed,) = below.plot([], [], color=_OKABE_ITO[0], linewidth=1.6)
        (now,) = below.plot([], [], "o", color=_OKABE_ITO[0], markersize=4)
        # the first epochs' scores can be so low that all later ones would look the same
        low, high = float(np.quantile(curve, 0.1)), max(curve)
        below.set_ylim(low - 0.15 * (high - low) - 1e-9, high + 0.15 * (high - low) + 1e-9)
        below.set_xlabel("epoch")
        below.set_ylabel("nats per row", fontsize=8)
        below.tick_params(labelsize=8, colors=_INK)
        below.spines[["top", "right"]].set_visible(False)

    def show(i: int) -> None:
        image.set_data(_strength(grids[i], brightest))
        score = scores[i]
        panel.set_title(f"epoch {epochs[i]}" + ("" if score is None else f": {_nats(score)}"), fontsize=10)
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


def density_grid(density: Density, extent: Extent, size: int = 150) -> Numbers:
    """The density at the middle of each cell of a grid: (size, size), row by row from the bottom.

    In evaluation mode and without gradients; the state of the random generators is left as it was.

    Args:
        density: of two features, without a context.
        extent: the limits of the grid.
        size: cells along each side.

    Raises:
        ValueError: a density of other than two features, or with a context.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.gallery.pictures import density_grid
        >>> grid = density_grid(ab.densities.Normal(torch.zeros(2)), (-5, 5, -5, 5), size=50)
        >>> grid.shape, round(float(grid.sum() * 0.2**2), 3)
        ((50, 50), 1.0)
    """
    with _evaluating(density):
        return _in_batches(density.log_prob, _middles(extent, size), density, np.exp).reshape(size, size)


def square_around(x: Tensor | ArrayLike, margin: float = 0.08) -> Extent:
    """The smallest square around all rows (rows, 2), and so large a part of its side more on each side."""
    points = _array("x", x, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    (middle_x, middle_y), half = (low + high) / 2, float((high - low).max()) * (0.5 + margin) or 1.0
    return float(middle_x - half), float(middle_x + half), float(middle_y - half), float(middle_y + half)


# Evaluating a density


@contextmanager
def _evaluating(density: Density) -> Iterator[None]:
    """In evaluation mode, without gradients, and with random generators of its own, seeded."""
    if density.event_shape != (2,) or density.context_shape is not None:
        raise ValueError(
            "density: expected one of two features and no context, "
            f"got event_shape {tuple(density.event_shape)} and context_shape {density.context_shape}"
        )
    like, was_training = reference_tensor(density), density.training
    devices = [like.device] if like is not None and like.device.type == "cuda" else []
    density.eval()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(0)
            yield
    finally:
        density.train(was_training)


def _grids(density: Density, extent: Extent, size: int) -> tuple[Numbers, NDArray[np.int64]]:
    """The density, and of a mixture the most probable component, on a grid; one pass gives both."""
    points = _middles(extent, size)
    if not isinstance(density, Mixture):
        grid = _in_batches(density.log_prob, points, density, np.exp)
        return grid.reshape(size, size), np.zeros((size, size), dtype=np.int64)
    joint = _in_batches(density.joint_log_prob, points, density)
    # of those that are the same up to rounding the first, so that no noise is drawn
    winners = (joint >= joint.max(axis=-1, keepdims=True) - 1e-4).argmax(axis=-1)
    return np.exp(np.logaddexp.reduce(joint, axis=-1)).reshape(size, size), winners.reshape(size, size)


def _in_batches(
    function: Callable[[Tensor], Tensor],
    points: Numbers,
    density: Density,
    after: Callable[[Numbers], Numbers] = np.asarray,
) -> Numbers:
    like = reference_tensor(density)
    dtype, device = (torch.get_default_dtype(), None) if like is None else (like.dtype, like.device)
    parts = torch.as_tensor(points).to(dtype=dtype, device=device).split(_ROWS)
    return after(torch.cat([function(part).cpu() for part in parts]).double().numpy())


def _middles(extent: Extent, size: int) -> Numbers:
    left, right, bottom, top = extent
    steps = (np.arange(positive_int("size", size)) + 0.5) / size
    across, up = np.meshgrid(left + (right - left) * steps, bottom + (top - bottom) * steps)
    return np.stack([across.ravel(), up.ravel()], axis=-1)


def _brightest(grid: Numbers) -> float:
    """The density from which on all is drawn the brightest: the densest tenth of the mass lies above.

    Not the maximum, beside whose one sharp peak all else could look empty.
    """
    ordered = np.sort(grid[np.isfinite(grid)])[::-1]
    total = ordered.cumsum()
    if len(total) == 0 or total[-1] <= 0:
        return 1.0
    return float(ordered[np.searchsorted(total, 0.1 * total[-1])])


def _strength(grid: Numbers, brightest: float) -> Numbers:
    return np.clip(grid / brightest, 0, 1) ** _POWER


# Reading what is drawn


def _array(name: str, value: Any, dimensions: int) -> Numbers:
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    if array.ndim != dimensions or array.size == 0:
        raise ValueError(f"{name}: expected {dimensions} dimensions, none of them empty, got shape {array.shape}")
    return array


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


# Drawing


def _figure(width: float, height: float, title: str) -> Figure:
    """Outside pyplot, so that neither the backend nor the figures of whoever calls are touched."""
    require_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra, and slow to import)

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=13, color=_INK)
    return figure


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, bbox_inches="tight", pad_inches=0.08)


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
    density = _colours(_DENSITY_COLOURS, _GIF_LEVELS)(np.arange(_GIF_LEVELS))[:, :3]
    shade = np.linspace(0, 1, 24)[:, None]
    return np.concatenate([density, *(shade + (1 - shade) * ink for ink in _rgb([_INK, _OKABE_ITO[0]]))])


def _square_panel(figure: Figure, place: Any, extent: Extent) -> Axes:
    panel = figure.add_subplot(*place) if isinstance(place, tuple) else figure.add_subplot(place)
    panel.set_aspect("equal")
    panel.set_xlim(extent[:2])
    panel.set_ylim(extent[2:])
    _bare(panel)
    return panel


def _bare(panel: Axes) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_color(_FRAME)
    panel.xaxis.label.set_color(_INK)


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
        colour = "white" if share[row, column] > 0.55 else _INK if number else _FRAME
        panel.text(column, row, f"{number:,}", ha="center", va="center", color=colour, fontsize=9)
    panel.set_xticks(range(len(clusters)), clusters)
    panel.set_yticks(range(len(classes)), classes)
    panel.set_xlabel("cluster")
    panel.set_ylabel("class")
    panel.tick_params(length=0, labelcolor=_INK)
    panel.spines[:].set_color(_FRAME)


def _colours(name: str, levels: int) -> Any:
    import matplotlib as mpl  # noqa: PLC0415 (an extra, and slow to import)

    return mpl.colormaps[name].resampled(levels)


def _palette(count: int) -> list[str]:
    """So many colours, all different: Okabe-Ito, tab20 from nine on, a rainbow above twenty."""
    from matplotlib.colors import to_hex  # noqa: PLC0415 (an extra, and slow to import)

    if count <= len(_OKABE_ITO):
        return list(_OKABE_ITO[:count])
    if count <= 20:
        # its strong colours first, then the pale ones
        return [to_hex(_colours("tab20", 20)(i)) for i in [*range(0, 20, 2), *range(1, 20, 2)]][:count]
    return [to_hex(_colours("turbo", count)(i)) for i in range(count)]


def _rgb(colours: Sequence[str]) -> Numbers:
    from matplotlib.colors import to_rgb  # noqa: PLC0415 (an extra, and slow to import)

    return np.array([to_rgb(colour) for colour in colours])


def _scatter(panel: Axes, points: Numbers, colours: Sequence[str]) -> None:
    """Dots, the smaller the more of them there are."""
    size = float(np.clip(9000 / len(points), 3, 14))
    panel.scatter(points[:, 0], points[:, 1], s=size, c=colours, linewidths=0, alpha=0.8)


def _nats(score: float) -> str:
    return f"{score:.3f} nats per row".replace("-", "\N{MINUS SIGN}")
