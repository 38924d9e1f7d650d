"""All rows of a tape, block by block, with a check of each; in one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from anabranch.compression.coder import Cells, Coder
from anabranch.compression.container import Container
from anabranch.compression.opening import refusing
from anabranch.compression.tape import DecodingError, Reading, Writing
from anabranch.densities import Density


def written(coder: Coder, cells: Cells) -> tuple[NDArray[np.uint32], list[bytes]]:
    """The tape of rows, as words of 32 bits, and a check of each block."""
    tape, checks = Writing(), []
    with same_numbers(coder.density):
        for begin in range(0, len(cells), coder.block):
            some = cells.rows(begin, begin + coder.block)
            coder.code(tape, some, len(some))
            checks.append(tape.check())
    return tape.words(), checks


def read(coder: Coder, box: Container, rows: int) -> Cells:
    """The rows of a file's tape.

    Raises:
        ValueError: a block is not the one that was written: probabilities differ. One line.
    """
    tape, blocks = Reading(box.words), []
    with same_numbers(coder.density), refusing(box):
        for number, check in enumerate(box.checks):
            blocks.append(coder.code(tape, None, min(coder.block, rows - number * coder.block)))
            if tape.check() != check:
                raise DecodingError(f"block {number} is not the one that was written")
    return Cells.joined(blocks, coder.columns)


@contextmanager
def same_numbers(density: Density) -> Iterator[None]:
    """Within the block PyTorch gives the same numbers again for the same operations: in one thread, without gradients, and
    without what a density draws while it learns.

    Sums are then taken in an order that depends on shapes alone. Another processor or another version of PyTorch may still
    take them in another.
    """
    threads, training = torch.get_num_threads(), density.training
    torch.set_num_threads(1)
    density.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
        density.train(training)
