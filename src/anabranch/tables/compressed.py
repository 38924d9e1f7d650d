"""Compressed files, expanded up to a limit."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from anabranch.tables.dialect import UnsuitableError

# bytes to which a compressed table may expand
LIMIT = 2 * 2**30
_CHUNK = 2**24
# gzip packs no tighter than this
_TIGHTEST = 1100
# so many limits are counted, to say how large a file is
_COUNTED = 8


def expanded(file: Path, limit: int) -> bytes:
    """What a gzip file holds.

    Args:
        file: the file.
        limit: how many bytes at most.

    Raises:
        UnsuitableError: it holds more; how much is told without holding it.
        OSError, EOFError, zlib.error: it is damaged.
    """
    packed = file.stat().st_size
    with file.open("rb") as raw:
        raw.seek(max(0, packed - 4))
        # the last four bytes of a gzip file are its size, up to multiples of 4 GiB
        promised = int.from_bytes(raw.read(4), "little")
        raw.seek(0)
        with gzip.open(raw) as opened:
            first = opened.read(min(_CHUNK, limit + 1))  # what is no gzip file at all says so first
            likely = len(first) * packed // max(1, raw.tell())
            if promised > limit and promised < _TIGHTEST * packed:
                raise UnsuitableError(_too_large(packed, _size(promised), limit))
            if likely > limit:  # before memory is spent on it
                size = len(first) + _counted(opened, _COUNTED * limit)
                if size > limit:
                    more = "more than " * (size > _COUNTED * limit)
                    raise UnsuitableError(_too_large(packed, f"{more}{_size(size)}", limit))
                return _whole(file, limit)
            pieces = io.BytesIO(first)
            pieces.seek(0, io.SEEK_END)
            while piece := opened.read(_CHUNK):
                if pieces.tell() + len(piece) > limit:
                    raise UnsuitableError(_too_large(packed, f"more than {_size(limit)}", limit))
                pieces.write(piece)
    return pieces.getvalue()


def _whole(file: Path, limit: int) -> bytes:
    """The same of a file whose size has been counted."""
    with gzip.open(file) as opened:
        return opened.read(limit)


def _counted(opened: gzip.GzipFile, most: int) -> int:
    """How many bytes are left, up to a few more than so many."""
    count = 0
    while count <= most and (piece := opened.read(_CHUNK)):
        count += len(piece)
    return count


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
