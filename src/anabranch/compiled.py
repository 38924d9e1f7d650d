"""What `torch.compile` has made of the methods of modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from anabranch.draws import calling_compiled

# Not on the modules themselves: there a copy would take along what was compiled for another's parameters. Nor do the
# functions hold their modules, which would then never be let go.
_COMPILED: WeakKeyDictionary[nn.Module, dict[str, Callable[..., Any]]] = WeakKeyDictionary()
_NUMBERS = count(1)
_MAY_DRAW = ("_loss", "_joint_loss", "_log_prob", "_joint_log_prob", "_lower_bound")


def own_copy(function: FunctionType) -> FunctionType:
    """The same function with code of its own.

    PyTorch counts by code how often something was compiled, and after the eighth time runs it as it is written. What
    is compiled for each of many models, or of many splines, is each time something else.
    """
    code = function.__code__
    code = code.replace(co_name=f"{code.co_name}_{next(_NUMBERS)}")  # by file, line and name it remembers sizes
    copy = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def compile_methods(module: nn.Module, names: Sequence[str], *arguments: Any, **options: Any) -> None:
    """Have methods of a module compiled, each at its next call."""
    compiled = _COMPILED.setdefault(module, {})
    for name in names:
        function = getattr(type(module), name)
        if isinstance(function, FunctionType):
            function = own_copy(function)
        compiled[name] = torch.compile(function, *arguments, **options)


def forget(module: nn.Module) -> None:
    """Go back to the methods as they are written."""
    _COMPILED.pop(module, None)


def is_compiled(module: nn.Module) -> bool:
    """Whether the module was compiled, as far as it can be."""
    return module in _COMPILED


def method(module: nn.Module, name: str) -> Callable[..., Any]:
    """The method of that name, or what it was compiled to. A compiler that looks in from outside sees what is written."""
    compiled = None if torch.compiler.is_compiling() or not _COMPILED else _COMPILED.get(module)
    if compiled and name in compiled:
        return partial(_run, compiled[name], name in _MAY_DRAW, module)
    found: Callable[..., Any] = getattr(module, name)
    return found


def _run(compiled: Callable[..., Any], draws: bool, *arguments: Any) -> Any:
    with calling_compiled(draws):
        return compiled(*arguments)
