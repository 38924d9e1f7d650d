"""The positions of a masked network one after the other, each with what its new value unlocks and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

# Positions whose share of earlier units is multiplied together: one efficient product in place of many thin ones.
_BLOCK = 16


class Staircases(NamedTuple):
    """The layers of a masked network, whose units are sorted by degree.

    Attributes:
        weights: (units, units of the layer before), the first for the inputs and the last for the outputs.
        biases: (units,).
        counts: counts[i][m], how many units of layer i (inputs first, outputs last) have degree m.
        activation: between the layers.
    """

    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    counts: Sequence[Sequence[int]]
    activation: Callable[[Tensor], Tensor]

    @property
    def ends(self) -> list[list[int]]:
        """ends[i][m]: how many units of layer i have a degree of at most m."""
        return [list(accumulate(counts)) for counts in self.counts]


class Steps(ABC):
    """Where a pass of steps stands. Values are columns, (units, rows)."""

    def __init__(self, layers: Staircases) -> None:
        self.layers = layers
        self.ends = layers.ends
        self.position = 0

    @abstractmethod
    def step(self, x_previous: Tensor | None) -> Tensor:
        """The outputs of the next position, (outputs, rows), given the values (channels, rows) at the one before."""


class InPlaceSteps(Steps):
    r"""Steps that write into one room for each layer, for where nothing looks on at the operations (`may_write`).

    A room holds pre-activations, W h summed over the h known so far, and where a unit is complete its value. Positions come
    in blocks. Where a block begins, the units of all earlier blocks are multiplied for all of its rows at once; within it
    each step adds to its rows the few units that are new since. The outputs have a room for the block at hand alone.
    """

    def __init__(self, layers: Staircases, rows: int, from_context: Tensor | None) -> None:
        super().__init__(layers)
        inputs = layers.weights[0].new_empty(sum(layers.counts[0]), rows)  # the last input unlocks nothing
        hidden = [bias.unsqueeze(-1).repeat(1, rows) for bias in layers.biases[:-1]]
        if from_context is not None:
            hidden[0] += from_context
        self.rooms = [inputs, *hidden]
        self.by_degree = [room.split(counts) for room, counts in zip(self.rooms, layers.counts, strict=False)]
        self.weights = [w.split(counts) for w, counts in zip(layers.weights, layers.counts[1:], strict=True)]
        self.earlier = [0] * len(self.rooms)  # units that came before the block, in each room
        self.outputs: Sequence[Tensor] = ()

    def step(self, x_previous: Tensor | None) -> Tensor:
        degree = self.position
        if degree % _BLOCK == 0:
            self._begin_block(degree)
        if x_previous is not None and degree > 0:
            self.by_degree[0][degree].copy_(x_previous)
        y = self.outputs[degree % _BLOCK]
        last = len(self.weights) - 1
        for i, (weight, begin) in enumerate(zip(self.weights, self.earlier, strict=True)):
            room = y if i == last else self.by_degree[i + 1][degree]
            new = self.ends[i][degree] - begin
            if room.shape[0] and new:
                _add_product(room, weight[degree].narrow(1, begin, new), self.rooms[i].narrow(0, begin, new))
            if i < last and room.shape[0]:
                room.copy_(self.layers.activation(room))
        self.position += 1
        return y

    def _begin_block(self, degree: int) -> None:
        """Multiply the units of all blocks before, none of which the rows of this block have had yet."""
        if degree > 0:
            self.earlier = [ends[degree - 1] for ends in self.ends[:-1]]
        *inner, (weight, bias) = zip(self.layers.weights, self.layers.biases, strict=True)
        for i, (w, _) in enumerate(inner):
            a, b = self._rows_of_block(i + 1, degree)
            if self.earlier[i]:
                _add_product(self.rooms[i + 1][a:b], w[a:b, : self.earlier[i]], self.rooms[i][: self.earlier[i]])
        a, b = self._rows_of_block(-1, degree)
        known = self.rooms[-1][: self.earlier[-1]]
        # not into the room of the last block, which callers may still hold
        block = torch.addmm(bias[a:b].unsqueeze(-1), weight[a:b, : self.earlier[-1]], known)
        self.outputs = block.split(self.layers.counts[-1][degree : degree + _BLOCK])

    def _rows_of_block(self, layer: int, degree: int) -> tuple[int, int]:
        ends = self.ends[layer]
        return ends[degree - 1] if degree > 0 else 0, ends[min(degree + _BLOCK, len(ends)) - 1]


def _add_product(room: Tensor, weight: Tensor, h: Tensor) -> None:
    torch.addmm(room, weight, h, out=room)


class RecordedSteps(Steps):
    """Steps out of place, through which gradients flow and which `torch.func` may transform."""

    def __init__(self, layers: Staircases, rows: int, from_context: Tensor | None) -> None:
        super().__init__(layers)
        self.known = [weight.new_empty(0, rows) for weight in layers.weights]
        self.weights = [w.split(counts) for w, counts in zip(layers.weights, layers.counts[1:], strict=True)]
        self.biases = [
            b.unsqueeze(-1).split(counts) for b, counts in zip(layers.biases, layers.counts[1:], strict=True)
        ]
        self.from_context = None if from_context is None else from_context.split(layers.counts[1])

    def step(self, x_previous: Tensor | None) -> Tensor:
        degree, last = self.position, len(self.weights) - 1
        if x_previous is not None and degree > 0:
            self._unlock(0, x_previous)
        for i in range(last):
            if self.layers.counts[i + 1][degree]:
                values = self._rows(i)
                if i == 0 and self.from_context is not None:
                    values = values + self.from_context[degree]
                self._unlock(i + 1, self.layers.activation(values))
        y = self._rows(last)
        self.position += 1
        return y

    def _rows(self, layer: int) -> Tensor:
        degree = self.position
        weight, bias = self.weights[layer][degree], self.biases[layer][degree]
        return torch.addmm(bias, weight[:, : self.ends[layer][degree]], self.known[layer])

    def _unlock(self, layer: int, values: Tensor) -> None:
        self.known[layer] = torch.cat([self.known[layer], values])
