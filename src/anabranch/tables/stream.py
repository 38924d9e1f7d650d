"""Tables larger than memory: Parquet files and folders, read in record batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from anabranch.checks import positive_int
from anabranch.tables.frame import TableError, index_of_pandas
from anabranch.tables.schema import Schema
from anabranch.tables.types import flat, is_number, is_text, is_time
from anabranch.tables.wild import Usual
from anabranch.training.rows import Rows, RowStream

# rows in one record batch
_READ = 16_384
# more different texts than this are no categories, and are refused when the schema is inferred
_MOST_TEXTS = 21_000
# and more different numbers than this are no levels
_MOST_LEVELS = 20


class TableStream:
    """A Parquet file, or a folder of them with the same columns, read in record batches: never whole.

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
            # not partitioned by folder names, which would be columns that no file has
            self._dataset = dataset.dataset(self.path, format="parquet", partitioning=None)
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
        wanted = {field.name: field.type for field in self._dataset.schema}
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
        drawn, extreme = [], _Extremes()
        for begun, table in self.batches(names):
            low, high = np.searchsorted(chosen, [begun, begun + table.num_rows])
            drawn.append(table.take(pa.array(chosen[low:high] - begun)))
            extreme.see(table)
        order = rng.permutation(len(chosen))
        sampled = pa.concat_tables(drawn).combine_chunks().take(pa.array(order))
        return pa.concat_tables([sampled, *extreme.rows()]), chosen[order]

    def training(
        self, schema: Schema, held_out: NDArray[np.int64], dtype: torch.dtype, usual: Usual | None = None
    ) -> EncodedStream:
        """The rows that are not held out, encoded, for `fit`; those with a wild value, by what is usual, are left out."""
        return EncodedStream(self, schema, np.sort(held_out), dtype, usual)

    def _damaged(self, error: Exception) -> str:
        return f"{self.path}: not readable as Parquet, or damaged ({' '.join(str(error).split())})"


class EncodedStream(RowStream):
    """The rows of a stream as tensors, through a shuffle buffer.

    The buffer is filled, half of it drawn at random and dealt out in batches, filled up again, and so on: a row meets
    others from anywhere in the buffer, and a few later ones.

    Args:
        stream: of the table.
        schema: of its columns.
        held_out: numbers of rows to leave out, ascending.
        dtype: of the tensors.
        usual: among encoded rows and contexts; None for everything. Rows that are left out by it still count in `len`.
    """

    def __init__(
        self,
        stream: TableStream,
        schema: Schema,
        held_out: NDArray[np.int64],
        dtype: torch.dtype,
        usual: Usual | None = None,
    ) -> None:
        self.usual = usual
        self.stream, self.schema, self.held_out, self.dtype = stream, schema, held_out, dtype

    def __len__(self) -> int:
        return self.stream.rows - len(self.held_out)

    def batches_of(self, size: int, generator: torch.Generator) -> Iterator[Rows]:
        waiting: list[Rows] = []
        held = 0
        for rows in self._encoded():
            waiting.append(rows)
            held += len(rows)
            if held >= self.stream.buffer:
                buffer = _joined(waiting)
                order = torch.randperm(len(buffer), generator=generator)
                # whole batches alone: what is left over stays in the buffer
                dealt = max(size, len(buffer) // 2 // size * size)
                for piece in order[:dealt].split(size):
                    yield buffer.take(piece)
                waiting = [buffer.take(order[dealt:])]
                held = len(waiting[0])
        if held:
            buffer = _joined(waiting)
            for piece in torch.randperm(len(buffer), generator=generator).split(size):
                yield buffer.take(piece)

    def _encoded(self) -> Iterator[Rows]:
        names = [*self.schema.columns, *self.schema.given]
        for begun, table in self.stream.batches(names):
            numbers = begun + np.arange(table.num_rows)
            mine = numbers[~np.isin(numbers, self._held_between(begun, begun + table.num_rows))]
            if not len(mine):
                continue
            try:
                x, context = self.schema.encode(table)  # all of it, so that an error counts rows as the file does
            except TableError as error:
                raise TableError(f"{self.stream.path}, from row {begun:,} on, which is row 0 here: {error}") from error
            apart = np.asarray(self.schema.beyond(x, self.dtype).any(axis=1))
            if self.usual is not None and not self.usual.everything:
                both = x if context is None else np.concatenate([x, context], axis=1)
                apart |= self.usual.wild(both).any(axis=1)
            mine = mine[~apart[mine - begun]]
            own = mine - begun
            given = None if context is None else torch.from_numpy(context[own]).to(self.dtype)
            yield Rows(self.schema.tensor(x[own], self.dtype), given, torch.from_numpy(mine))

    def _held_between(self, begin: int, end: int) -> NDArray[np.int64]:
        low, high = np.searchsorted(self.held_out, [begin, end])
        return self.held_out[low:high]


class _Extremes:
    """Rows that hold the least and the largest of a column, or a text for the first time, as they pass."""

    def __init__(self) -> None:
        self.bounds: dict[tuple[str, str], tuple[Any, pa.Table]] = {}
        self.texts: dict[str, set[Any]] = {}
        self.first: list[pa.Table] = []

    def see(self, table: pa.Table) -> None:
        new: set[int] = set()
        for name in table.column_names:
            values = flat(table.column(name))
            if is_text(values.type):
                new |= self._unseen(name, values, _MOST_TEXTS)
            elif is_number(values.type) or is_time(values.type):
                if not is_time(values.type):
                    new |= self._unseen(name, values, _MOST_LEVELS)
                self._bounds(name, values, table)
        if new:
            self.first.append(table.take(pa.array(sorted(new))))

    def _unseen(self, name: str, values: pa.Array, most: int) -> set[int]:
        """The first rows of values not seen before, as long as there are not more than so many."""
        seen = self.texts.setdefault(name, set())
        if len(seen) > most:
            return set()
        distinct = values.unique().drop_null().slice(0, most + 1)
        missing = [value for value in distinct if value.as_py() not in seen]
        seen.update(value.as_py() for value in missing)
        return {pc.index(values, value).as_py() for value in missing} - {-1}  # a NaN is found nowhere

    def _bounds(self, name: str, values: pa.Array, table: pa.Table) -> None:
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
        try:
            extremes = pc.min_max(values)
        except pa.ArrowNotImplementedError:
            return
        for end, better in (("min", pc.less), ("max", pc.greater)):
            value = extremes[end]
            if not value.is_valid:
                continue
            old = self.bounds.get((name, end))
            if old is None or better(value, old[0]).as_py():
                row = pc.index(values, value).as_py()
                # a copy of its own: a slice would keep the whole batch
                self.bounds[name, end] = value, table.take(pa.array([row]))

    def rows(self) -> list[pa.Table]:
        return [*(row for _, row in self.bounds.values()), *self.first]


def _some_of(rows: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most so many numbers below `rows`, ascending, without a list of them all."""
    if rows <= most:
        return np.arange(rows)
    found = np.unique(rng.integers(rows, size=most))
    while len(found) < most:
        found = np.unique(np.concatenate([found, rng.integers(rows, size=most - len(found))]))
    return found


def _joined(parts: list[Rows]) -> Rows:
    contexts = [part.context for part in parts if part.context is not None]
    return Rows(
        torch.cat([part.x for part in parts]),
        torch.cat(contexts) if contexts else None,
        torch.cat([part.numbers for part in parts]),
    )
