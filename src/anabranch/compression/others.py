"""How large the same rows are as other programs write them."""

from __future__ import annotations

import io
import lzma

import pyarrow as pa

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
    csv = text.getvalue()
    sizes = {
        "CSV": len(csv),
        "CSV, zstd -19": len(pa.Codec("zstd", compression_level=19).compress(csv)),
        "CSV, xz": len(lzma.compress(csv)),
    }
    columns = io.BytesIO()
    try:
        parquet.write_table(table, columns, compression="zstd", compression_level=19)
        sizes["Parquet, zstd -19"] = len(columns.getvalue())
    except (pa.ArrowException, NotImplementedError):
        pass
    return sizes
