"""The nonlinearities that networks may name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from anabranch.checks import one_of

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "elu": torch.nn.functional.elu,
    "tanh": torch.tanh,
}


def activation_function(name: str) -> Callable[[Tensor], Tensor]:
    """The function called `name`: "relu", "silu", "gelu", "elu" or "tanh".

    Raises:
        ValueError: there is no such activation.
    """
    return _ACTIVATIONS[one_of("activation", name, tuple(_ACTIVATIONS))]
