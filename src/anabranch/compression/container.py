"""The file of compressed rows: what it holds, and how every other file is told from it."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.compression.tape import CHECK

MAGIC = b"anabrnch"
_FORMAT = 1
# magic, format, bytes of the header, blocks, words of the tape, SHA-256 of the model
_FIXED = struct.Struct("<8sHIIQ32s")
_CHECKSUM = 16
# bytes to which a header may expand
_MOST_HEADER = 2**26
# of a file without its header's text, the checks of blocks and the tape
CONSTANT = _FIXED.size + _CHECKSUM


@dataclass(frozen=True)
class Container:
    """What a file of compressed rows holds.

    Attributes:
        header: JSON-ready, what is not in the model.
        model: the fingerprint of the model, 64 hexadecimal digits.
        checks: of each block, 8 bytes.
        words: the tape.
    """

    header: Mapping[str, Any]
    model: str
    checks: Sequence[bytes]
    words: NDArray[np.uint32]

    def to_bytes(self) -> bytes:
        """The file.

        Raises:
            ValueError: a header that is too long.
        """
        text = json.dumps(self.header, separators=(",", ":"), allow_nan=False).encode()
        if len(text) > _MOST_HEADER:
            raise ValueError(
                f"expected a description of at most {_MOST_HEADER:,} bytes, got {len(text):,}: too many values that the "
                "model cannot hold; fit it to rows that have them"
            )
        packed = zlib.compress(text, 9)
        fixed = _FIXED.pack(MAGIC, _FORMAT, len(packed), len(self.checks), len(self.words), bytes.fromhex(self.model))
        body = b"".join([fixed, packed, *self.checks, self.words.astype("<u4").tobytes()])
        return body + _checksum(body)

    @property
    def described(self) -> int:
        """Bytes of the file beside its tape."""
        return len(self.to_bytes()) - 4 * len(self.words)

    @classmethod
    def from_bytes(cls, data: bytes) -> Container:
        """What a file holds. Nothing is unpickled.

        Raises:
            ValueError: it is no such file, truncated, damaged, or of another format; one line.
        """
        if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
            raise ValueError("not a file that 'anabranch compress' wrote")
        if len(data) < CONSTANT:
            raise ValueError(f"truncated: expected {CONSTANT} bytes at least, got {len(data)}")
        _, number, header, blocks, words, model = _FIXED.unpack_from(data)
        if number != _FORMAT:
            raise ValueError(
                f"written in format {number}, and this version reads format {_FORMAT}; install a newer one"
            )
        ends = list(accumulate([_FIXED.size, header, CHECK * blocks, 4 * words, _CHECKSUM]))
        if len(data) != ends[-1]:
            what = "truncated" if len(data) < ends[-1] else "longer than what was written"
            raise ValueError(f"{what}: expected {ends[-1]:,} bytes, got {len(data):,}")
        if _checksum(data[: ends[-2]]) != data[ends[-2] :]:
            raise ValueError("damaged: its checksum is not the one that was written")
        checks = data[ends[1] : ends[2]]
        return cls(
            _expanded(data[ends[0] : ends[1]]),
            model.hex(),
            [checks[i : i + CHECK] for i in range(0, len(checks), CHECK)],
            np.frombuffer(data, "<u4", words, ends[2]).astype(np.uint32),
        )


def _expanded(packed: bytes) -> dict[str, Any]:
    try:
        opened = zlib.decompressobj()
        text = opened.decompress(packed, _MOST_HEADER)
        if opened.unconsumed_tail or not opened.eof:
            raise ValueError("too long")
        header = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise ValueError("damaged: its header cannot be read") from error
    if not isinstance(header, dict):
        raise ValueError("damaged: its header cannot be read")
    return header


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM).digest()
