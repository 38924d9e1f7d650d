"""Compressed files, expanded up to a limit."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from anabranch.tables.dialect import UnsuitableError

# bytes to which a compressed table may expand
LIMIT = 2 * 2**30
_CHUNK = 2**24


def expanded(file: Path, limit: int) -> bytes:
    """What a gzip file holds.

    Args:
        file: the file.
        limit: how many bytes at most.

    Raises:
        UnsuitableError: it holds more; no more than the limit has been read by then.
        OSError, EOFError, zlib.error: it is damaged.
    """
    packed = file.stat().st_size
    with file.open("rb") as raw:
        raw.seek(max(0, packed - 4))
        # the last four bytes of a gzip file are its size, up to multiples of 4 GiB
        promised = int.from_bytes(raw.read(4), "little")
    with gzip.open(file) as opened:
        opened.peek(1)  # what is no gzip file at all says so first
        if promised > limit and promised < 1100 * packed:  # gzip packs no tighter
            raise UnsuitableError(_too_large(packed, f"{_size(promised)}", limit))
        pieces = io.BytesIO()
        while piece := opened.read(min(_CHUNK, limit + 1)):
            if pieces.tell() + len(piece) > limit:
                raise UnsuitableError(_too_large(packed, f"more than {_size(limit)}", limit))
            pieces.write(piece)
    return pieces.getvalue()


def _too_large(packed: int, whole: str, limit: int) -> str:
    return (
        f"expands from {_size(packed)} to {whole}, and the limit is {_size(limit)}; raise it (--expand GIB, limit=), or "
        "write the table as Parquet, which 'anabranch fit --stream' reads in pieces"
    )


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
