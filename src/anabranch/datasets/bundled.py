"""The tables in this folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.checks import one_of

if TYPE_CHECKING:
    import pyarrow

_FILES = {"magic": "magic.parquet", "penguins": "penguins.csv"}


def path(name: str) -> Path:
    """The file of a bundled table, "magic" or "penguins".

    Raises:
        ValueError: there is no table of that name.

    Example:
        >>> from anabranch import datasets
        >>> datasets.path("penguins").name
        'penguins.csv'
    """
    return Path(__file__).parent / _FILES[one_of("name", name, tuple(_FILES))]


def load_magic() -> pyarrow.Table:
    """MAGIC gamma telescope: 19,020 showers, ten continuous columns, and `gamma`, 1 for the 12,332 gamma rays.

    The densities in the examples model the ten continuous columns, without `gamma`.

    Source: Bock, 2004, UCI Machine Learning Repository, doi 10.24432/C52C8B, CC BY 4.0.

    Example:
        >>> from anabranch import datasets
        >>> datasets.load_magic().drop_columns("gamma").shape
        (19020, 10)
    """
    from anabranch.tables import read_table  # noqa: PLC0415 (pyarrow is only needed here)

    return read_table(path("magic"))


def load_penguins() -> pyarrow.Table:
    """Palmer penguins: 344 birds, four body measurements, species, island, sex and year; two birds lack measurements.

    Source: Gorman, Williams and Fraser, 2014, doi 10.1371/journal.pone.0090081, CC0.

    Example:
        >>> from anabranch import datasets
        >>> datasets.load_penguins().column("body_mass_g").null_count
        2
    """
    from anabranch.tables import read_table  # noqa: PLC0415 (pyarrow is only needed here)

    return read_table(path("penguins"))
