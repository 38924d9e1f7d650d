"""How large the same rows are as other programs write them."""

from __future__ import annotations

import io
import lzma
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.tables.write import write_csv


def other_sizes(table: pa.Table) -> dict[str, int]:
    """Bytes of a table as CSV, as that compressed by zstd at level 19 and by xz, and as Parquet with zstd at level 19.

    What cannot write a column of the table is left out.

    Example:
        >>> import pyarrow
        >>> from anabranch.compression.others import other_sizes
        >>> list(other_sizes(pyarrow.table({"a": [1, 2, 3]})))
        ['CSV', 'CSV, zstd -19', 'CSV, xz', 'Parquet, zstd -19']
    """
    from pyarrow import parquet  # noqa: PLC0415 (each format is loaded where it is used)

    text = io.BytesIO()
    write_csv(table, text)
    sizes = _sizes("CSV", text.getvalue())
    columns = io.BytesIO()
    try:
        parquet.write_table(table, columns, compression="zstd", compression_level=19)
        sizes["Parquet, zstd -19"] = len(columns.getvalue())
    except (pa.ArrowException, NotImplementedError):
        pass
    return sizes


def other_sizes_of_array(x: NDArray[Any]) -> dict[str, int]:
    """Bytes of an array, of zeros and ones as packed bits, and as zstd at level 19 and xz compress them.

    Example:
        >>> import numpy as np
        >>> from anabranch.compression.others import other_sizes_of_array
        >>> other_sizes_of_array(np.full((10, 8, 8), 2, np.uint8))["bytes"]
        640
        >>> other_sizes_of_array(np.zeros((10, 8, 8), np.uint8))["bits"]
        80
    """
    if x.size and x.min() >= 0 and x.max() <= 1 and (x == np.round(x)).all():
        packed = _sizes("bits", np.packbits(x.astype(np.uint8)).tobytes())
        # whose repetitions a program sees that looks at bytes
        whole = _sizes("a byte a bit", x.astype(np.uint8).tobytes())
        return packed | {name: size for name, size in whole.items() if name != "a byte a bit"}
    return _sizes("bytes", np.ascontiguousarray(x).tobytes())


def _sizes(name: str, data: bytes) -> dict[str, int]:
    zstd = pa.Codec("zstd", compression_level=19)
    return {name: len(data), f"{name}, zstd -19": len(zstd.compress(data)), f"{name}, xz": len(lzma.compress(data))}
