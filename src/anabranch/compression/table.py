"""Tables as few bytes as a model's probabilities allow, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from anabranch.checks import positive
from anabranch.compression.any_order import AnyOrderCoder
from anabranch.compression.blocks import read, written
from anabranch.compression.coder import NAN, NULL, PRESENT, RAW, Cells
from anabranch.compression.container import Container
from anabranch.compression.gaps import Gaps
from anabranch.compression.grid import Grid
from anabranch.compression.grids import from_json, grid_of
from anabranch.compression.kept import kept, restored
from anabranch.compression.tape import constriction
from anabranch.models import AnyOrder
from anabranch.storage import fingerprint_of
from anabranch.tables import TableError, TableModel, as_table
from anabranch.tables.choice import check_present
from anabranch.tables.columns import Column
from anabranch.tables.columns.reading import UnseenError
from anabranch.tables.types import flat, type_of
from anabranch.version import __version__

_KIND = "table"
# what a header that was made up can come to; `ValueError` is one of pyarrow's too
_IN_CRAFTED = (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, pa.ArrowException)


@dataclass(frozen=True)
class Compressed:
    """A compressed table, and what it is made of.

    Attributes:
        data: the file.
        rows: of the table.
        described: bytes of the file beside its tape: what it is of, its columns, and 8 bytes a block.
        columns: bits of each column, by its name: -log2 of the probability that the model gives its values.
        gaps: bits that say which cells have a value.
        raw: cells that the model cannot hold, and that are kept as they are.
    """

    data: bytes
    rows: int
    described: int
    columns: Mapping[str, float]
    gaps: float
    raw: int

    @property
    def model_bits(self) -> float:
        """-log2 of the probability that the model gives all values."""
        return sum(self.columns.values())


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
    found = [_cells(part, _flat(frame, part), steps.get(part.name)) for part in parts]
    grids = [grid for grid, _, _, _ in found]
    cells = Cells(np.stack([n for _, n, _, _ in found], axis=1), np.stack([s for _, _, s, _ in found], axis=1))
    gaps = Gaps.of(cells.states)
    coder = AnyOrderCoder(density, grids, gaps)
    words, checks = written(coder, cells)
    names = list(model.schema.columns)
    types = {name: str(frame.schema.field(name).type) for name in names}
    header = {
        "kind": _KIND,
        "rows": len(cells),
        "block": coder.block,
        "order": [names.index(name) for name in frame.column_names],
        "types": {str(i): types[part.name] for i, part in enumerate(parts) if types[part.name] != part.type_name},
        "grids": [grid.to_json() for grid in grids],
        "gaps": gaps.to_json(),
        "raw": {str(i): raw for i, (_, _, _, raw) in enumerate(found) if raw},
        "by": [__version__, torch.__version__],
    }
    box = Container(header, fingerprint_of(model), checks, words)
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
    constriction()
    density = _checked(model)
    box = Container.from_bytes(data)
    mine = fingerprint_of(model)
    if box.model != mine:
        raise ValueError(
            f"compressed with another model: expected the one whose fingerprint begins with {box.model[:12]}, "
            f"got {mine[:12]}"
        )
    parts = model.schema.parts
    try:
        about = _Header(box.header, parts, len(box.checks))
    except _IN_CRAFTED as error:
        raise ValueError(f"damaged: its header is none that was written ({' '.join(str(error).split())})") from error
    coder = AnyOrderCoder(density, about.grids, about.gaps)
    coder.block = about.block
    try:
        cells = read(coder, box.words, box.checks, about.rows)
    except (ValueError, OverflowError, IndexError, pa.ArrowException) as error:
        raise ValueError(
            f"refused: the model gives other probabilities here than where the file was written, by anabranch and PyTorch "
            f"{' and '.join(about.by)} (here {__version__} and {torch.__version__}); decompress it there ({error})"
        ) from error
    try:
        arrays = [about.column(i, cells) for i in range(len(parts))]
    except _IN_CRAFTED as error:
        raise ValueError(f"damaged: its header is none that was written ({' '.join(str(error).split())})") from error
    return pa.Table.from_arrays([arrays[i] for i in about.order], names=[parts[i].name for i in about.order])


class _Header:
    """What a file says of a table, read with suspicion.

    Raises:
        KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, pyarrow.ArrowException: it cannot be.
    """

    def __init__(self, header: Mapping[str, Any], parts: list[Column], blocks: int) -> None:
        if header["kind"] != _KIND:
            raise ValueError(f"expected a table, got {header['kind']!r}")
        self.rows, self.block = header["rows"], header["block"]
        if not (isinstance(self.rows, int) and isinstance(self.block, int) and 1 <= self.block <= 2**16):
            raise ValueError(f"expected numbers of rows, got {self.rows!r} and {self.block!r}")
        if self.rows < 0 or blocks != -(-self.rows // self.block):
            raise ValueError(f"expected {blocks} blocks, got {self.rows} rows of {self.block}")
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
        self.by = [str(one)[:40] for one in header["by"]]

    def column(self, i: int, cells: Cells) -> pa.Array:
        """A column of the table."""
        states, kind = cells.states[:, i], self.types[i]
        return _assembled(self.grids[i], cells.numbers[:, i], states, restored(self.raw.get(str(i), []), kind), kind)


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
    # which may have no rows
    return table if isinstance(table, pa.Table) and not table.num_rows else as_table(table)


def _flat(frame: pa.Table, part: Column) -> pa.Array:
    values = flat(frame.column(part.name))
    return values.cast(part.arrow_type) if pa.types.is_null(values.type) else values


def _cells(
    part: Column, values: pa.Array, precision: float | None
) -> tuple[Grid, NDArray[Any], NDArray[Any], list[Any]]:
    """The grid of a column, its numbers and states (rows), and the values that are kept as they are."""
    states = np.full(len(values), PRESENT, dtype=np.uint8)
    null = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(values.type):
        states[pc.is_nan(values).fill_null(False).to_numpy(zero_copy_only=False)] = NAN
    states[null] = NULL
    while True:
        there = np.flatnonzero(states == PRESENT)
        some = values.take(pa.array(there))
        try:
            grid = grid_of(part, some, precision)
            n = grid.numbers(some)
        except UnseenError as error:
            states[there[error.unseen]] = RAW
            continue
        back = _cast(grid.values(n), values.type)
        wrong = ~_same(back, some, precision)
        if not wrong.any():
            break
        states[there[wrong]] = RAW
    numbers = np.zeros(len(values), dtype=np.uint64)
    numbers[there] = n
    return grid, numbers, states, kept(values.take(pa.array(np.flatnonzero(states == RAW))))


def _same(back: pa.Array, values: pa.Array, precision: float | None) -> NDArray[np.bool_]:
    """Which values came back as they were, or within half a precision."""
    if pa.types.is_floating(values.type):
        x, y = (one.cast(pa.float64()).to_numpy(zero_copy_only=False) for one in (values, back))
        if precision is None:
            return (x == y) & (np.signbit(x) == np.signbit(y))
        digit = 4 * np.finfo(values.type.to_pandas_dtype()).eps * np.abs(x)
        return np.abs(x - y) <= 0.5 * precision * (1 + 1e-9) + digit
    return pc.equal(back, values).to_numpy(zero_copy_only=False)


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return values if values.type == kind else values.cast(kind, safe=False)


def _assembled(grid: Grid, n: NDArray[Any], states: NDArray[Any], raw: pa.Array, kind: pa.DataType) -> pa.Array:
    """Values, gaps and what was kept, in their places."""
    if pa.types.is_null(kind):
        return pa.nulls(len(n))
    there, others = states == PRESENT, states == RAW
    if int(others.sum()) != len(raw):
        raise ValueError(f"expected {int(others.sum())} values that are kept as they are, got {len(raw)}")
    plain = pa.types.is_dictionary(kind)
    inner = kind.value_type if plain else kind
    pieces = [_cast(grid.values(n[there]), inner), _cast(raw, inner)]
    if pa.types.is_floating(inner):
        pieces.append(pa.array([np.nan], pa.float64()).cast(inner))
    place = np.zeros(len(n), dtype=np.int64)
    place[there] = np.arange(there.sum())
    place[others] = there.sum() + np.arange(others.sum())
    place[states == NAN] = there.sum() + others.sum()
    result = pa.concat_arrays(pieces).take(pa.array(place, mask=states == NULL))
    return result.dictionary_encode().cast(kind) if plain else result
