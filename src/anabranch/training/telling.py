"""What a setting is, as plain data: functions by their code and all that they read, objects by their class and state."""

from __future__ import annotations

import dis
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cached_property, partial
from pickle import PickleError
from types import CellType, CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from anabranch.fingerprint import fingerprint
from anabranch.objectives import Objective
from anabranch.objectives.objective import Sum

_DIGITS = 12
_INSTALLED = ("site-packages", "dist-packages")


def in_words(name: str, value: Any) -> Any:
    """A setting as plain data that tells it from any other that fits otherwise, and reads well in a message.

    Numbers, texts, lists and mappings are themselves. What comes with an installed package is its name. A function that does
    not is its name, and a few digits of its code, its defaults and all that it reads from around it; an object is its class,
    and a few digits of its state; an objective its class and arguments.

    Args:
        name: of the setting, for the message.
        value: of it.

    Raises:
        ValueError: it reads something that cannot be told from another, such as an open file.

    Example:
        >>> from anabranch.training.telling import in_words
        >>> def times(factor):
        ...     return lambda rows, generator: factor * rows
        >>> double, again, triple = (in_words("augment", times(factor)) for factor in (2, 2, 3))
        >>> double == again, double == triple
        (True, False)
    """
    try:
        return _words(value)
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError, PickleError) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"{name}: expected what a checkpoint can tell from another, a function or an object that reads numbers, texts, "
            f"tensors, functions and objects of these, got {type(value).__name__} with something else ({said}); leave "
            "that, or checkpoint, out"
        ) from error


def _words(value: Any) -> Any:
    if isinstance(value, Sum):
        return [[weight, _words(term)] for weight, term in value.terms]
    if isinstance(value, Objective):
        names = list(inspect.signature(type(value).__init__).parameters)[1:]
        if all(hasattr(value, name) for name in names):
            return {"class": _words(type(value))} | {name: _words(getattr(value, name)) for name in names}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _words(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_words(item) for item in value]
    if isinstance(value, partial):
        return [_words(value.func), _words(value.args), _words(value.keywords)]
    if isinstance(value, Tensor):
        return fingerprint({"": value})
    name = _name(value if hasattr(value, "__qualname__") else type(value))
    told = Telling().of(value)
    return name if told == name else f"{name} {fingerprint({}, json.dumps(told))[:_DIGITS]}"


class Telling:
    """Turns values into plain data, each object once, so that those that refer to each other come to an end."""

    def __init__(self) -> None:
        # by id, with the values, lest an id be given to another
        self._told: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        """The value as plain data.

        Raises:
            TypeError: it cannot be told from another.
        """
        if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, Enum)):
            return value
        if value is Ellipsis or isinstance(value, (complex, bytes)):
            return [type(value).__name__, repr(value)]
        if isinstance(value, ModuleType):
            return ["module", value.__name__]
        if id(value) not in self._told:
            self._told[id(value)] = (value, ["the one above", len(self._told)])
            told = self._digest(self._inside(value))
            self._told[id(value)] = (value, told)
        return self._told[id(value)][1]

    def _digest(self, told: Any) -> Any:
        return told if isinstance(told, str) else [fingerprint({}, json.dumps(told))]

    def _inside(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return ["tensor", fingerprint({"": value})]
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return ["array", str(value.dtype), list(value.shape), fingerprint({}, value.tobytes().hex())]
        if isinstance(value, CodeType):
            return self._of_code(value)
        if type(value) in (list, tuple):
            return [type(value).__name__, [self.of(item) for item in value]]
        if type(value) in (set, frozenset):
            return ["set", sorted(json.dumps(self.of(item)) for item in value)]
        if type(value) is dict:
            return ["mapping", [[self.of(key), self.of(item)] for key, item in value.items()]]
        if isinstance(value, type):
            return _name(value) if _installed(value) else [_name(value), self._of_class(value)]
        if isinstance(value, Enum):
            return ["enum", self.of(type(value)), value.name]
        if isinstance(value, FunctionType):
            return self._of_function(value)
        if isinstance(value, MethodType):
            return ["method", self.of(value.__func__), self.of(value.__self__)]
        if isinstance(value, np.ufunc):
            return ["ufunc", value.__name__]
        if isinstance(value, (staticmethod, classmethod)):
            return [type(value).__name__, self.of(value.__func__)]
        if isinstance(value, property):
            return ["property", self.of([value.fget, value.fset, value.fdel])]
        if isinstance(value, cached_property):
            return ["property", self.of(value.func)]
        if isinstance(value, CellType):
            return self.of(_contents(value))
        return self._of_object(value)

    def _of_object(self, value: Any) -> Any:
        """By what would make it anew, as copies are made: its class and state."""
        made = value.__reduce_ex__(4)
        if isinstance(made, str):
            return [_name(type(value)), made, self.of(getattr(value, "__wrapped__", None))]
        return [self.of(list(part) if isinstance(part, Iterator) else part) for part in (type(value), *made)]

    def _of_class(self, cls: type) -> Any:
        if issubclass(cls, Enum):
            return [[name, self.of(item.value)] for name, item in cls.__members__.items()]
        inside = {
            name: item
            for name, item in vars(cls).items()
            if not isinstance(item, (GetSetDescriptorType, MemberDescriptorType))
            and (isinstance(item, (FunctionType, staticmethod, classmethod)) or not name.startswith("__"))
            and name not in ("_abc_impl", "__annotate__", "__annotate_func__")
        }
        return [self.of(list(cls.__bases__)), self.of(inside)]

    def _of_function(self, function: FunctionType) -> Any:
        name = _name(function)
        wrapped = getattr(function, "__wrapped__", None)
        if _from_package(function.__code__.co_filename) or _installed(function):
            # what a package makes of a function, and what it makes on the spot
            if wrapped is not None:
                return [name, function.__code__.co_qualname, self.of(wrapped)]
            if "<" not in function.__qualname__:
                return name
            return [name, self.of(function.__code__), *self._around(function)]
        read = {
            at: self._read(function.__globals__[at], function.__code__)
            for at in sorted(_globals(function.__code__))
            if at in function.__globals__
        }
        return [name, self.of(function.__code__), *self._around(function), read, self.of(vars(function))]

    def _around(self, function: FunctionType) -> list[Any]:
        return [
            [self.of(cell) for cell in function.__closure__ or ()],
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
        ]

    def _read(self, value: Any, code: CodeType) -> Any:
        """A global variable; of a module that is no package's, what the code may read of it."""
        if not isinstance(value, ModuleType) or _is_installed(value.__name__):
            return self.of(value)
        return [value.__name__, {at: self.of(vars(value)[at]) for at in sorted(_names(code)) if at in vars(value)}]

    def _of_code(self, code: CodeType) -> Any:
        table = [
            code.co_code.hex(),
            code.co_exceptiontable.hex(),
            code.co_argcount,
            code.co_kwonlyargcount,
            code.co_flags,
        ]
        return [*table, code.co_names, [self.of(value) for value in code.co_consts]]


def _nested(code: CodeType) -> Iterator[CodeType]:
    """The code, and that of functions within it."""
    yield code
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from _nested(value)


def _globals(code: CodeType) -> set[str]:
    """The names of the global variables that it reads."""
    read = ("LOAD_GLOBAL", "LOAD_NAME")
    return {step.argval for part in _nested(code) for step in dis.get_instructions(part) if step.opname in read}


def _names(code: CodeType) -> set[str]:
    return {name for part in _nested(code) for name in part.co_names}


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def _name(value: Any) -> str:
    name = str(value.__qualname__)
    return f"{value.__module__}.{name}" if _installed(value) and value.__module__ != "builtins" else name


def _installed(value: Any) -> bool:
    """Whether it comes with a package, and is told by its name."""
    return _is_installed(getattr(value, "__module__", None) or "")


def _is_installed(module: str) -> bool:
    root = module.partition(".")[0]
    if root in (__name__.partition(".")[0], *sys.stdlib_module_names):
        return True
    return _from_package(getattr(sys.modules.get(module), "__file__", None) or "")


def _from_package(file: str) -> bool:
    return any(folder in file for folder in _INSTALLED)
