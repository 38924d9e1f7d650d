"""What `torch.compile` has made of a density."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from anabranch.transforms import UnivariateMap

# Not on the densities themselves: there a copy would take along what was compiled for another's parameters.
_COMPILED: WeakKeyDictionary[nn.Module, dict[str, Callable[..., Tensor]]] = WeakKeyDictionary()


def compile_hooks(density: nn.Module, *arguments: Any, **options: Any) -> None:
    """Compile log_prob and loss of a density whole, and the loops of its univariate maps."""
    for univariate in _maps(density):
        univariate.fused = True
    _COMPILED[density] = {
        name: torch.compile(getattr(density, name), *arguments, **options) for name in ("_log_prob", "_loss")
    }


def compiled_hook(density: nn.Module, name: str) -> Callable[..., Tensor]:
    """The hook of that name, or what it was compiled to."""
    compiled = None if torch.compiler.is_compiling() else _COMPILED.get(density)
    hook: Callable[..., Tensor] = getattr(density, name) if compiled is None else compiled[name]
    return hook


@contextmanager
def compiled(density: nn.Module) -> Iterator[None]:
    """Compile a density for a while; one that is compiled already stays as it is."""
    if density in _COMPILED:
        yield
        return
    before = [(univariate, univariate.fused) for univariate in _maps(density)]
    compile_hooks(density)
    try:
        yield
    finally:
        del _COMPILED[density]
        for univariate, fused in before:
            univariate.fused = fused


def _maps(density: nn.Module) -> list[UnivariateMap]:
    return [module for module in density.modules() if isinstance(module, UnivariateMap)]
