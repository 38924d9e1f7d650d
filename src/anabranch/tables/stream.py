"""Tables larger than memory: Parquet files and folders, read in record batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.checks import positive_int
from anabranch.tables.extremes import Extremes
from anabranch.tables.frame import index_of_pandas
from anabranch.tables.number_text import plain_numbers

# rows in one record batch
_READ = 16_384
# a folder's name for a gap
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


class TableStream:
    """A Parquet file, or a folder of them with the same columns, read in record batches: never whole.

    Folders inside whose names are like `year=2020` (Hive's partitions) give a column each, behind those of the files: of
    whole numbers, dates or text; names with zeros in front, `month=01`, are text.

    `fit_table` takes one in place of a table. It reads the file once to draw a sample of rows, from which come the schema's
    statistics, the held-out rows and the baselines, together with the rows that hold extremes and every text, so that what a
    column can hold is read off all rows; and then once an epoch, through a buffer of rows out of which batches are drawn
    at random. Memory is that of the sample, the buffer and some record batches, however long the file.

    Args:
        path: of the file or folder.
        sample: how many rows at most to draw for statistics, held-out rows and baselines.
        buffer: how many rows to shuffle at a time.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it cannot be read as Parquet, or holds no rows; one line, which names it.

    Example:
        >>> from anabranch import datasets
        >>> from anabranch.tables import TableStream
        >>> stream = TableStream(datasets.path("magic"))
        >>> stream.rows, stream.column_names[:2]
        (19020, ['fLength', 'fWidth'])
    """

    def __init__(self, path: str | os.PathLike[str], sample: int = 100_000, buffer: int = 100_000) -> None:
        from pyarrow import dataset  # noqa: PLC0415 (slow to import, and only needed here)

        self.path = Path(path)
        self.sample_rows, self.buffer = positive_int("sample", sample), positive_int("buffer", buffer)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path}: no such file or folder")
        try:
            plain = dataset.dataset(self.path, format="parquet", partitioning=None)
            self._partitions = _partition_columns(self.path, plain)
            hive = dataset.partitioning(self._partitions, flavor="hive") if len(self._partitions) else None
            self._dataset = dataset.dataset(self.path, format="parquet", partitioning=hive)
            self.rows = int(self._dataset.count_rows())
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError(self._damaged(error)) from error
        self._check_alike()
        index = index_of_pandas(self._dataset.schema)
        self.column_names: list[str] = [name for name in self._dataset.schema.names if name not in index]
        for name in self.column_names:
            if self.column_names.count(name) > 1:
                raise ValueError(f"{self.path}: column {name!r} is there twice; give every column a name of its own")
        if self.rows == 0 or not self.column_names:
            raise ValueError(f"{self.path}: the table holds no rows; give one that holds some")

    def _check_alike(self) -> None:
        """Raise ValueError unless all files have the same columns, of the same types."""
        wanted = {field.name: field.type for field in self._dataset.schema if field.name not in self._partitions.names}
        for piece in self._dataset.get_fragments():
            own = {field.name: field.type for field in piece.physical_schema}
            for name in [*wanted, *own]:
                if own.get(name) != wanted.get(name):
                    came, first = ("none" if kind is None else str(kind) for kind in (own.get(name), wanted.get(name)))
                    raise ValueError(
                        f"{piece.path}: expected the columns of the first file of the folder, got {came} for column "
                        f"{name!r}, which is {first} there; write all files alike"
                    )

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """All rows in their order, some at a time, with the number of the first of them.

        Raises:
            ValueError: a file is damaged, which shows when it is read.
        """
        from pyarrow.dataset import ParquetFragmentScanOptions  # noqa: PLC0415

        begun = 0
        try:
            scanned = self._dataset.scanner(
                columns=list(self.column_names if columns is None else columns),
                batch_size=_READ,
                batch_readahead=1,
                fragment_readahead=1,
                use_threads=False,
                # Arrow would otherwise keep what it has read of a file until the end of it
                fragment_scan_options=ParquetFragmentScanOptions(pre_buffer=False),
            )
            for batch in scanned.to_batches():
                if batch.num_rows:
                    yield begun, pa.Table.from_batches([batch])
                    begun += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise ValueError(self._damaged(error)) from error

    def sample(self, seed: int, columns: Sequence[str] | None = None) -> tuple[pa.Table, NDArray[np.int64]]:
        """Rows drawn at random, in random order, and behind them those that hold extremes and texts the others lack.

        Returns:
            the rows, and the numbers in the file of those that were drawn.
        """
        rng = np.random.default_rng(seed)
        chosen = _some_of(self.rows, self.sample_rows, rng)
        names = self.column_names if columns is None else list(columns)
        drawn, extreme = [], Extremes()
        for begun, table in self.batches(names):
            low, high = np.searchsorted(chosen, [begun, begun + table.num_rows])
            drawn.append(table.take(pa.array(chosen[low:high] - begun)))
            extreme.see(table)
        order = rng.permutation(len(chosen))
        sampled = pa.concat_tables(drawn).combine_chunks().take(pa.array(order))
        return pa.concat_tables([sampled, *extreme.rows()]), chosen[order]

    def _damaged(self, error: Exception) -> str:
        return f"{self.path}: not readable as Parquet, or damaged ({' '.join(str(error).split())})"


def _partition_columns(path: Path, plain: Any) -> pa.Schema:
    """The columns that folders within `path` give, of the dataset of all its files, by names such as year=2020."""
    if not path.is_dir():
        return pa.schema([])
    values: dict[str, set[str]] = {}
    for file in plain.files:
        for folder in Path(file).relative_to(path).parts[:-1]:
            name, sign, text = folder.partition("=")
            if sign and name not in plain.schema.names:  # files that have the column themselves know better
                values.setdefault(unquote(name), set()).add(unquote(text))
    return pa.schema([(name, _type_of(texts - {_NO_VALUE})) for name, texts in values.items()])


def _type_of(texts: set[str]) -> pa.DataType:
    """What the values of a partition are."""
    array = pa.array(sorted(texts), pa.string())
    if not len(array) or (numbers := plain_numbers(array)) is None:
        try:
            return array.cast(pa.date32()).type if len(array) else pa.string()
        except pa.ArrowInvalid:
            return pa.string()
    return pa.int64() if pa.types.is_integer(numbers.type) else pa.string()


def _some_of(rows: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most so many numbers below `rows`, ascending, without a list of them all."""
    if rows <= most:
        return np.arange(rows)
    found = np.unique(rng.integers(rows, size=most))
    while len(found) < most:
        found = np.unique(np.concatenate([found, rng.integers(rows, size=most - len(found))]))
    return found
