"""The rows of a table larger than memory as tensors, shuffled through a buffer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anabranch.described import describe
from anabranch.fingerprint import fingerprint
from anabranch.tables.frame import TableError
from anabranch.tables.schema import Schema
from anabranch.tables.stream import TableStream
from anabranch.tables.wild import Usual
from anabranch.training.row_stream import RowStream
from anabranch.training.rows import Rows


class EncodedStream(RowStream):
    """The rows of a stream as tensors, through a shuffle buffer.

    The buffer is filled, half of it drawn at random and dealt out in batches, filled up again, and so on: a row meets
    others from anywhere in the buffer, and a few later ones.

    Args:
        stream: of the table.
        schema: of its columns.
        held_out: numbers of rows to leave out.
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
        self.stream, self.schema, self.held_out, self.dtype = stream, schema, np.sort(held_out), dtype

    def __len__(self) -> int:
        return self.stream.rows - len(self.held_out)

    def identity(self) -> str:
        """By what was read off all rows: the statistics in the schema, and which rows are held out."""
        description, tensors = describe(self.schema)
        numbers: dict[str, NDArray[Any]] = {"held out": self.held_out}
        numbers |= {} if self.usual is None else {"low": self.usual.low, "high": self.usual.high}
        others = {name: torch.from_numpy(values) for name, values in numbers.items()}
        return fingerprint(tensors | others, json.dumps(description), f"{len(self)} {self.stream.buffer}")

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


def _joined(parts: list[Rows]) -> Rows:
    contexts = [part.context for part in parts if part.context is not None]
    return Rows(
        torch.cat([part.x for part in parts]),
        torch.cat(contexts) if contexts else None,
        torch.cat([part.numbers for part in parts]),
    )
