"""Orders of columns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from anabranch.families import Family, Levels


def fullest_first(x: Tensor, families: Sequence[Family] | None = None) -> list[int]:
    """The columns of rows (n, columns) by how many gaps (NaN) they have, the fewest first: an `order` for `AnyOrder`.

    Of columns with equally many gaps, those of `Levels` come first, if families are given: what depends on the first columns
    of levels alone can be summed up exactly.
    """
    gaps = x.isnan().double().mean(dim=0).tolist()
    levels = [families is not None and isinstance(families[i], Levels) for i in range(len(gaps))]
    return sorted(range(len(gaps)), key=lambda i: (gaps[i], not levels[i]))


def permutation(columns: int, order: Sequence[int] | None) -> list[int]:
    """An order of all columns; as they are, where none is given.

    Raises:
        ValueError: it is no permutation of the columns.
    """
    places = list(range(columns)) if order is None else [int(i) for i in order]
    if sorted(places) != list(range(columns)):
        raise ValueError(f"order: expected every number from 0 to {columns - 1} once, got {places}")
    return places
