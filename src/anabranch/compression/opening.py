"""How a file of compressed rows is closed and opened: by which model, and in which words it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from anabranch.compression.container import Container
from anabranch.compression.tape import constriction
from anabranch.described import Described
from anabranch.storage import fingerprint_of
from anabranch.version import __version__

# rows of a block, at most: a few bytes of a file shall not ask for much
_MOST_ROWS = 2**16


def closed(
    header: Mapping[str, Any], model: Described, words: NDArray[np.uint32], checks: Sequence[bytes]
) -> Container:
    """What a file holds, by which model and by whom it was written."""
    return Container({**header, "by": [__version__, torch.__version__]}, fingerprint_of(model), checks, words)


def opened(data: bytes, model: Described, kind: str) -> Container:
    """What a file of rows of some kind holds, that a model wrote.

    Raises:
        ValueError: it is none, or damaged, or of another model or kind.
    """
    constriction()
    box = Container.from_bytes(data)
    mine = fingerprint_of(model)
    if box.model != mine:
        raise ValueError(
            f"compressed with another model: expected the one whose fingerprint begins with {box.model[:12]}, "
            f"got {mine[:12]}"
        )
    with made_up():
        if box.header["kind"] != kind:
            raise ValueError(f"expected {kind}, got {box.header['kind']!r}")
    return box


def rows_of(box: Container) -> tuple[int, int]:
    """How many rows a file holds, and how many of them are in a block."""
    rows, block = box.header["rows"], box.header["block"]
    if not (isinstance(rows, int) and isinstance(block, int) and 1 <= block <= _MOST_ROWS):
        raise ValueError(f"expected numbers of rows, got {rows!r} and {block!r}")
    if rows < 0 or len(box.checks) != -(-rows // block):
        raise ValueError(f"expected {len(box.checks)} blocks, got {rows} rows of {block}")
    return rows, block


@contextmanager
def made_up() -> Iterator[None]:
    """Around what reads a header, which may be made up: whatever goes wrong is one line of a ValueError."""
    try:
        yield
    # a SyntaxError is NumPy's, of a type's name
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError, SyntaxError, pa.ArrowException) as error:
        raise ValueError(f"damaged: its header is none that was written ({' '.join(str(error).split())})") from error


@contextmanager
def refusing(box: Container) -> Iterator[None]:
    """Around what reads a tape: symbols that cannot be are those of other probabilities."""
    try:
        yield
    except (ValueError, OverflowError, IndexError, pa.ArrowException) as error:
        told = box.header.get("by")
        by = " and ".join(" ".join(str(one)[:40].split()) for one in told) if isinstance(told, list) else "others"
        mine = f"{__version__} and {torch.__version__}"
        here = "the same versions are here, so the processor is another" if by == mine else f"here {mine}"
        raise ValueError(
            "refused: the model gives other probabilities here than where the file was written, by anabranch and PyTorch "
            f"{by} ({here}); decompress it there ({' '.join(str(error).split())})"
        ) from error
