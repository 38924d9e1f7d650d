"""What several pictures share: which rows are drawn, as dots, under a legend, in the colours of what they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from anabranch.gallery.grids import Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 4000  # drawn in one panel at most


def codes_of(name: str, values: Any, rows: int) -> tuple[list[str], NDArray[np.int64]]:
    """The different values in order, as text, and the place in them of each row's."""
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if array.shape != (rows,):
        raise ValueError(f"{name}: expected one for each of the {rows} rows, got shape {array.shape}")
    different, codes = np.unique(array, return_inverse=True)
    return [str(value) for value in different.tolist()], codes.astype(np.int64)


def some_rows(rows: int) -> NDArray[np.int64]:
    """The rows that are drawn: all, or so many at random that a panel can show them."""
    return np.random.default_rng(0).permutation(rows)[:_POINTS]


def matched_rows(counts: NDArray[Any]) -> list[int]:
    """For each column the row that it belongs to, one to one with the most counts in all; left-over columns come after."""
    rows, columns = linear_sum_assignment(counts, maximize=True)
    owner = dict(zip(columns.tolist(), rows.tolist(), strict=True))
    after = iter(range(counts.shape[0], sum(counts.shape)))
    return [owner[i] if i in owner else next(after) for i in range(counts.shape[1])]


def legend(panel: Axes, rows: Sequence[tuple[str, str]], title: str | None, below: float = 0.0) -> None:
    """Dots with names, centred below a panel."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 (an extra, and slow to import)

    columns = _columns_of_legend([name for name, _ in rows])
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


def _columns_of_legend(names: Sequence[str]) -> int:
    """So many that they fit below a panel, in lines of about the same length."""
    most = max(1, int(3.5 / (0.33 + 0.06 * max(map(len, names), default=1))))
    lines = max(1, -(-len(names) // most))
    return max(1, -(-len(names) // lines))


def lines_of_legend(names: Sequence[str]) -> int:
    """How many lines these names take."""
    return -(-len(names) // _columns_of_legend(names))


def scatter(panel: Axes, points: Numbers, colours: Sequence[str]) -> None:
    """Dots, the smaller the more of them there are."""
    size = float(np.clip(9000 / len(points), 3, 14))
    panel.scatter(points[:, 0], points[:, 1], s=size, c=colours, linewidths=0, alpha=0.8)
