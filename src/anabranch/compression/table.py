"""Tables as few bytes as a model's probabilities allow, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from anabranch.checks import positive
from anabranch.compression.any_order import AnyOrderCoder
from anabranch.compression.blocks import read, written
from anabranch.compression.coder import RAW, Cells
from anabranch.compression.column_cells import cells_of, column_of
from anabranch.compression.compressed import Compressed
from anabranch.compression.container import Container
from anabranch.compression.gaps import Gaps
from anabranch.compression.grids import from_json
from anabranch.compression.kept import restored
from anabranch.compression.opening import closed, made_up, opened, rows_of
from anabranch.compression.tape import constriction
from anabranch.models import AnyOrder
from anabranch.tables import TableError, TableModel, as_table
from anabranch.tables.choice import check_present
from anabranch.tables.columns import Column
from anabranch.tables.frame import check_distinct_names
from anabranch.tables.types import flat, type_of

_KIND = "table"


def compress(table: Any, model: TableModel, precision: Mapping[str, float] | None = None) -> Compressed:
    r"""A table in about as many bits as a model finds it surprising, -log2 p, by entropy coding.

    Discrete columns and gaps come back bit for bit. Columns that have a density come back bit for bit too, or, where a
    precision is stated, within half of it. A value that the model cannot hold, such as a category that was not fitted, is
    kept as it is, beside the others.

    Args:
        table: a data frame with the model's columns and no others, in any order; it may have no rows.
        model: of any order (`AnyOrder`), on the CPU, without given columns.
        precision: for columns that have a density, by name, in their units.

    Returns:
        the file, as `data`, and what it is made of.

    Raises:
        ValueError: another model; a precision of a column that has none; `constriction` is not installed.
        TableError: columns that the model lacks, or the table; values of another type, or infinite.

    Example:
        >>> import pyarrow
        >>> from anabranch.compression import compress, decompress
        >>> from anabranch.models import AnyOrder
        >>> from anabranch.tables import Schema, TableModel
        >>> table = pyarrow.table({"height": [1.52, 1.71, None, 1.9], "colour": ["red", "blue", "red", "red"]})
        >>> schema = Schema.infer(table)
        >>> model = TableModel(schema, AnyOrder(schema.families(), hidden=8))
        >>> decompress(compress(table, model).data, model).equals(table)
        True
    """
    constriction()
    density = _checked(model)
    frame = _frame(table)
    check_present(frame, model.schema.columns, "which the model has")
    if more := [name for name in frame.column_names if name not in model.schema.columns]:
        raise TableError(
            f"column {more[0]!r} is none of the model's, which are {', '.join(map(repr, model.schema.columns))}; "
            "leave it out, or fit a model that has it"
        )
    steps = {name: positive(f"precision of {name!r}", step) for name, step in (precision or {}).items()}
    if unknown := [name for name in steps if name not in model.schema.columns]:
        raise ValueError(f"precision: expected columns of the table, got {unknown[0]!r}")
    parts = model.schema.parts
    found = [cells_of(part, _flat(frame, part), steps.get(part.name)) for part in parts]
    grids = [grid for grid, _, _, _ in found]
    cells = Cells(np.stack([n for _, n, _, _ in found], axis=1), np.stack([s for _, _, s, _ in found], axis=1))
    gaps = Gaps.of(cells.states)
    coder = AnyOrderCoder(density, grids, gaps)
    words, checks = written(coder, cells)
    names = list(model.schema.columns)
    types = _types(table, frame)
    header = {
        "kind": _KIND,
        "rows": len(cells),
        "block": coder.block,
        "order": [names.index(name) for name in frame.column_names],
        "types": {str(i): types[part.name] for i, part in enumerate(parts) if types[part.name] != part.type_name},
        "grids": [grid.to_json() for grid in grids],
        "gaps": gaps.to_json(),
        "raw": {str(i): raw for i, (_, _, _, raw) in enumerate(found) if raw},
    }
    box = closed(header, model, words, checks)
    raw = int((cells.states == RAW).sum())
    bits = dict(zip(names, coder.bits.tolist(), strict=True))
    return Compressed(box.to_bytes(), len(cells), box.described, bits, gaps.bits, raw)


def decompress(data: bytes, model: TableModel) -> pa.Table:
    """The table that `compress` was given.

    Args:
        data: the file.
        model: with which it was compressed.

    Raises:
        ValueError: it is no such file, truncated or damaged, or of another model; or this machine's floats give other
            probabilities than those it was written by. One line.
    """
    density = _checked(model)
    box = opened(data, model, _KIND)
    parts = model.schema.parts
    with made_up():
        about = _Header(box, parts)
    coder = AnyOrderCoder(density, about.grids, about.gaps)
    coder.block = about.block
    cells = read(coder, box, about.rows)
    with made_up():
        arrays = [about.column(i, cells) for i in range(len(parts))]
    return pa.Table.from_arrays([arrays[i] for i in about.order], names=[parts[i].name for i in about.order])


class _Header:
    """What a file says of a table, read with suspicion, within `made_up`."""

    def __init__(self, box: Container, parts: list[Column]) -> None:
        header = box.header
        self.rows, self.block = rows_of(box)
        self.order = header["order"]
        if sorted(self.order) != list(range(len(parts))):
            raise ValueError(f"expected an order of {len(parts)} columns, got {self.order}")
        if len(header["grids"]) != len(parts) or len(header["gaps"]) != len(parts):
            raise ValueError(f"expected {len(parts)} columns, got {len(header['grids'])}")
        self.grids = [from_json(part, one) for part, one in zip(parts, header["grids"], strict=True)]
        self.gaps = Gaps.from_json(header["gaps"])
        types = header["types"]
        self.types = [type_of(types[str(i)]) if str(i) in types else part.arrow_type for i, part in enumerate(parts)]
        self.raw = header["raw"]

    def column(self, i: int, cells: Cells) -> pa.Array:
        """A column of the table."""
        states, kind = cells.states[:, i], self.types[i]
        return column_of(self.grids[i], cells.numbers[:, i], states, restored(self.raw.get(str(i), []), kind), kind)


def _checked(model: TableModel) -> AnyOrder:
    """The density of a model that can be coded.

    Raises:
        ValueError: it cannot; the message says why.
    """
    if not isinstance(model, TableModel):
        raise ValueError(f"model: expected a TableModel, which 'anabranch fit' writes, got {type(model).__name__}")
    if model.schema.given:
        raise ValueError(
            f"model: expected one without given columns, which a file would have to hold too, got {model.schema.given}"
        )
    density = model.density
    if not isinstance(density, AnyOrder):
        raise ValueError(
            f"model: expected a model of any order ('anabranch fit --model any-order'), got {type(density).__name__}"
        )
    if density.network.heads.weight.device.type != "cpu":
        raise ValueError(f"model: expected it on the CPU, got it on {density.network.heads.weight.device}")
    return density


def _frame(table: Any) -> pa.Table:
    if not isinstance(table, pa.Table) or table.num_rows:
        return as_table(table)
    # which takes none without rows
    check_distinct_names(table)
    return table


def _types(table: Any, frame: pa.Table) -> dict[str, str]:
    """The words for the types of columns as they came: `as_table` spells out runs of equal values and the like."""
    came = table.schema if isinstance(table, (pa.Table, pa.RecordBatch)) else frame.schema
    types = {name: came.field(name).type for name in frame.column_names}
    return {name: str(kind if _is_told(kind) else frame.schema.field(name).type) for name, kind in types.items()}


def _is_told(kind: pa.DataType) -> bool:
    """Whether the word for a type gives the type again."""
    try:
        return bool(type_of(str(kind)) == kind)
    except ValueError:
        return False


def _flat(frame: pa.Table, part: Column) -> pa.Array:
    values = flat(frame.column(part.name))
    return values.cast(part.arrow_type) if pa.types.is_null(values.type) else values
