"""Weights away from their start, so that a check does not pass because everything is still the identity."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def randomize(module: ModuleT, scale: float = 0.3, seed: int = 0) -> ModuleT:
    """Add normal noise to every parameter, in place, the same for the same seed, and return the module.

    Args:
        module: any module.
        scale: standard deviation of the noise.
        seed: of the noise; the global generator is left alone.

    Example:
        >>> from anabranch.testing import randomize
        >>> from anabranch.transforms import LULinear
        >>> bool((randomize(LULinear(3)).lower != 0).all())
        True
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_((scale * noise).to(parameter))
    return module
