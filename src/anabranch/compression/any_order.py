"""Rows of a model of any order: column after column, each given those before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from anabranch.compression.coder import PRESENT, Cells, Coder
from anabranch.compression.gaps import Gaps
from anabranch.compression.grid import Grid
from anabranch.compression.tape import Tape
from anabranch.models import AnyOrder
from anabranch.models.column_network import Walk
from anabranch.tables.encoding import tensor_of

# rows of a block, and numbers of theta for one of its columns
_ROWS, _NUMBERS = 4096, 2**21


class AnyOrderCoder(Coder):
    """Codes rows in the order of an `AnyOrder`; where it averages several orders, in the first of them.

    Which cells have a value comes first, by frequencies of the table. Then the columns, each by p(x_i | columns before it),
    the network's parameters in its dtype and the family's distribution function of them in float64.

    Args:
        density: the model, on the CPU, without a context.
        grids: of each column.
        gaps: of the table.
    """

    def __init__(self, density: AnyOrder, grids: Sequence[Grid], gaps: Gaps) -> None:
        self.density: AnyOrder = density
        self.grids, self.gaps = list(grids), gaps
        self.columns = density.columns
        self.block = max(1, min(_ROWS, _NUMBERS // max(density.network.sizes)))
        self.bits = np.zeros(self.columns)

    def code(self, tape: Tape, cells: Cells | None, rows: int) -> Cells:
        states = self.gaps.code(tape, None if cells is None else cells.states, rows)
        numbers = np.zeros((rows, self.columns), dtype=np.uint64)
        like = self.density.network.nothing_known
        walk = Walk(self.density.network, torch.Size([rows]), None, like)
        for i in self.density.order:
            there = np.flatnonzero(states[:, i] == PRESENT)
            z = np.full((rows, 1), np.nan)
            if len(there):
                grid, family = self.grids[i], self.density.family(i)
                theta = walk.theta(i)[torch.tensor(there)].double()
                n = grid.code(tape, family, theta, None if cells is None else cells.numbers[there, i])
                if cells is not None:
                    self.bits[i] += grid.bits(family, theta, n)
                numbers[there, i] = n
                z[there, 0] = grid.z(n)
            # in memory of its own: sums may depend on where numbers lie
            walk.reveal(i, tensor_of([self.grids[i].column], z, like.dtype, None)[:, 0].clone())
        return Cells(numbers, states)
