"""The training rows, dealt out in batches pass after pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from anabranch.training.part import Part
from anabranch.training.processes import Processes
from anabranch.training.row_stream import RowStream
from anabranch.training.rows import Rows


@dataclass
class Dealt:
    """The rows of one step.

    Attributes:
        rows: this process's share of them, on the device of the fit.
        index: which of the training rows these are, where rows lie in memory; otherwise their numbers in the stream.
        count: how many rows all processes have.
        last: whether they end a pass over the rows.
    """

    rows: Rows
    index: Tensor
    count: int
    last: bool = False


class Dealer:
    """Deals all training rows once in each pass, in random order; where it is can be kept, and gone back to.

    Rows stay where they are. They are shuffled by index and gathered a batch at a time, and batches move to the device: no
    loader, no work per row in Python.

    Args:
        rows: to deal.
        size: of a batch, at most. Batches of rows in memory differ in size by one at most.
        generator: of the order; nothing else may draw from it.
        processes: of which this one takes its share of every batch.
    """

    def __init__(self, rows: Part | RowStream, size: int, generator: torch.Generator, processes: Processes) -> None:
        self.rows, self.size, self.batches = rows, size, -(-len(rows) // size)
        self.generator, self.processes = generator, processes
        # batches dealt of this pass, and the state in which the generator was before it
        self.dealt = 0
        self._begun = generator.get_state()

    def deal(self) -> Iterator[Dealt]:
        """One batch after the other, without end, from where it is."""
        while True:
            self._begun = self.generator.get_state()
            waiting, skipped = None, self.dealt
            for batch in self._pass(skipped):
                if waiting is not None:
                    self.dealt += 1
                    yield waiting
                waiting = batch
            if waiting is not None:
                self.dealt += 1
                waiting.last = True
                yield waiting
            elif not skipped:
                raise ValueError(f"x: expected a stream of {len(self.rows):,} rows, got none from it")
            self.dealt = 0

    def again(self, number: int) -> Dealt:
        """A batch of the present pass once more, by its number from 0."""
        now = self.generator.get_state()
        self.generator.set_state(self._begun)
        try:
            return next(self._pass(number))
        finally:
            self.generator.set_state(now)

    def state(self) -> dict[str, Any]:
        """Where it is."""
        return {"generator": self._begun, "dealt": self.dealt}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where it was; what is dealt already goes on from elsewhere."""
        self.generator.set_state(state["generator"])
        self.dealt = state["dealt"]

    def _pass(self, skipped: int) -> Iterator[Dealt]:
        """The batches of one pass but for the first ones."""
        share = slice(self.processes.index, None, self.processes.count)
        device = self.processes.device
        if isinstance(self.rows, Part):
            # once a pass to where the rows are, for a copy in every step would wait for the device
            order = torch.randperm(len(self.rows), generator=self.generator).to(self.rows.device)
            for index in order.tensor_split(self.batches)[skipped:]:
                mine = index[share]
                yield Dealt(self.rows.take(mine).to(device, wait=False), mine, len(index))
            return
        for batch in islice(self.rows.batches_of(self.size, self.generator), skipped, None):
            rows = batch.take(torch.arange(len(batch))[share])
            yield Dealt(rows.to(device, wait=False), rows.numbers, len(batch))
