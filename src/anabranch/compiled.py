"""What `torch.compile` has made of the methods of modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

# Not on the modules themselves: there a copy would take along what was compiled for another's parameters.
_COMPILED: WeakKeyDictionary[nn.Module, dict[str, Callable[..., Any]]] = WeakKeyDictionary()


def compile_method(module: nn.Module, name: str, *arguments: Any, **options: Any) -> None:
    """Have a method of a module compiled, at its next call."""
    _COMPILED.setdefault(module, {})[name] = torch.compile(getattr(module, name), *arguments, **options)


def forget(module: nn.Module) -> None:
    """Go back to the methods as they are written."""
    _COMPILED.pop(module, None)


def is_compiled(module: nn.Module) -> bool:
    """Whether any method of the module was compiled."""
    return module in _COMPILED


def method(module: nn.Module, name: str) -> Callable[..., Any]:
    """The method of that name, or what it was compiled to. A compiler that looks in from outside sees what is written."""
    compiled = None if torch.compiler.is_compiling() or not _COMPILED else _COMPILED.get(module)
    found: Callable[..., Any] = (compiled or {}).get(name) or getattr(module, name)
    return found


def takes_opaque_operations() -> bool:
    """Whether a compiler looks on that should not look into what is fused already.

    Not inside `torch.func` transforms: they have rules for PyTorch's operations only.
    """
    return torch.compiler.is_compiling() and not torch._C._are_functorch_transforms_active()
