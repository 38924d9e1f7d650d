"""The linear layers of multilayer perceptrons, and their start at zero."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from anabranch.checks import positive_int
from anabranch.networks.context_shifts import ContextShifts


def linear_layers(features: int, hidden: Sequence[int], outputs: int) -> nn.ModuleList:
    """Linear layers from so many features, through the hidden sizes, to so many outputs.

    Raises:
        ValueError: a hidden size that is no whole number above 0.
    """
    sizes = [features, *(positive_int("hidden", size) for size in hidden), outputs]
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))


def shifts_of(layers: nn.ModuleList, context: int) -> ContextShifts:
    """The shifts that a context of so many numbers adds to the outputs of each layer."""
    return ContextShifts(context, [layer.out_features for layer in layers if isinstance(layer, nn.Linear)])


def start_at_zero(*parts: nn.Module | None) -> None:
    """Set all parameters of these parts to 0; of shifts, those of the last layer alone."""
    for part in parts:
        if isinstance(part, ContextShifts):
            part.last_at_zero()
        elif part is not None:
            for parameter in part.parameters():
                nn.init.zeros_(parameter)
