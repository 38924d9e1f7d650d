"""How an object remembers what it was built from, so that a file can describe it without pickling.

Every part of the library (a transform, a network, a density, a model, a table's schema) is a `Described` module.
Constructing one records the arguments of the constructor. `describe` turns the record into plain JSON and a list of
tensors; `rebuild` calls the same constructors again. Only the library's own classes and those that the user's imported
code defines can be rebuilt: nothing else is imported, and nothing evaluated or unpickled.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

_LIBRARY = __name__.partition(".")[0]

# The library's packages that `import anabranch` does not load (they need more than torch). A description that names a
# class of theirs loads the package; it can name no other module to load.
_LOADED_ON_DEMAND = ("datasets", "queries", "tables", "images", "estimators", "testing")


class Described(nn.Module):
    """A module that remembers its constructor's arguments.

    Subclasses need do nothing for it: define `__init__` as usual, with arguments that are numbers, decimals, strings,
    booleans, None, dates and times, tensors, arrays, other `Described` modules, parts of `torch.distributions`, or tuples,
    lists and dictionaries of those.

    Example:
        >>> from anabranch.described import Described, describe, rebuild
        >>> class Scale(Described):
        ...     def __init__(self, factor: float = 1.0) -> None:
        ...         super().__init__()
        ...         self.factor = factor
        >>> description, tensors = describe(Scale(factor=2.0))
        >>> rebuild(description, tensors).factor
        2.0
    """

    registry: ClassVar[dict[str, type[Described]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Described.registry[class_name(cls)] = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(self, *args, **kwargs)
        except TypeError:
            # Wrong arguments: `__init__` itself is about to say so in Python's own words. (Copying also comes here,
            # with no arguments at all; it then restores the record with the rest of the object's state.)
            return self
        # defaults too: a later version may have others
        bound.apply_defaults()
        recorded = list(bound.arguments.items())[1:]
        self.__dict__["_arguments"] = {name: _snapshot(value) for name, value in recorded}
        return self


def class_name(cls: type) -> str:
    """The name under which a class is described: its import path, for the library's own the public, stable one."""
    parts = cls.__module__.split(".")
    if parts[0] == _LIBRARY:
        parts = parts[:2]
    return ".".join([*parts, cls.__qualname__])


def describe(module: Described) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Describe `module` by its constructor calls.

    Returns:
        a JSON-ready description, and the tensors among the constructor arguments, by the names the description uses.

    Raises:
        TypeError: some argument is of a kind that cannot be described; the message names it.
    """
    seen: dict[int, int] = {}
    tensors: dict[str, Tensor] = {}

    def encode(value: Any, where: str) -> Any:
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value) in _TEXT_KINDS:
            kind, text, _ = _TEXT_KINDS[type(value)]
            return {kind: text(value)}
        if isinstance(value, Tensor):
            key = f"argument.{len(tensors)}"
            tensors[key] = value.detach()
            return {"tensor": key}
        if isinstance(value, torch.Size):
            return {"size": list(value)}
        if isinstance(value, np.generic):
            return encode(value.item(), where)
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            key = f"argument.{len(tensors)}"
            tensors[key] = torch.tensor(value)
            return {"array": key}
        if isinstance(value, range):
            return {"list": list(value)}
        if isinstance(value, (tuple, list)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]}
        if isinstance(value, Mapping):
            return {"mapping": [[encode(k, where), encode(v, f"{where}[{k!r}]")] for k, v in value.items()]}
        if isinstance(value, Described):
            return encode_object(value, where)
        for kind, (wanted, home) in _TORCH_KINDS.items():
            if isinstance(value, wanted) and getattr(home, type(value).__name__, None) is type(value):
                try:
                    found = torch_arguments(value)
                except AttributeError:
                    break
                arguments = {name: encode(v, f"{where}.{name}") for name, v in found.items()}
                return {kind: type(value).__name__, "arguments": arguments}
        raise TypeError(
            f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be described in a file; "
            "build the model from anabranch parts, or make your own part a subclass of Transform, Density or Network"
        )

    def encode_object(value: Described, where: str) -> Any:
        if id(value) in seen:
            return {"same": seen[id(value)]}
        if "_arguments" not in value.__dict__:
            raise TypeError(f"{where} has no record of its constructor arguments, so it cannot be described")
        seen[id(value)] = number = len(seen)
        name = class_name(type(value))
        arguments = {key: encode(v, f"{where}.{key}") for key, v in value.__dict__["_arguments"].items()}
        return {"class": name, "number": number, "arguments": arguments}

    return encode_object(module, type(module).__name__), tensors


def rebuild(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Described:
    """Build the object again from what `describe` returned.

    Raises:
        ValueError: the description names a class that is not defined here, or arguments it does not take.
    """
    built: dict[int, Described] = {}

    def decode(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if "class" in value:
            return decode_object(value)
        kind, content = next(iter(value.items()))
        if kind in _TORCH_KINDS:
            arguments = {name: decode(v) for name, v in value["arguments"].items()}
            return _rebuild_torch(kind, content, arguments)
        if kind not in _PLAIN_KINDS:
            raise ValueError(f"the description holds an unknown kind of value, {kind!r}")
        return _PLAIN_KINDS[kind](content, decode, tensors, built)

    def decode_object(value: Mapping[str, Any]) -> Described:
        name = value["class"]
        cls = _find_class(name)
        if cls is None:
            raise ValueError(f"the description names the class {name}, which is not defined; import its module first")
        arguments = {key: decode(v) for key, v in value["arguments"].items()}
        try:
            instance = _construct(cls, arguments)
        except TypeError as error:
            raise ValueError(f"{name} does not take the described arguments: {error}") from error
        built[value["number"]] = instance
        return instance

    return decode_object(description)


def _find_class(name: str) -> type[Described] | None:
    """The class described as `name`, if it is defined or in a package of the library that has yet to be loaded."""
    for package in _LOADED_ON_DEMAND:
        if name not in Described.registry and name.startswith(f"{_LIBRARY}.{package}."):
            importlib.import_module(f"{_LIBRARY}.{package}")
    return Described.registry.get(name)


def _construct(cls: type[Described], arguments: dict[str, Any]) -> Described:
    """Call the constructor with arguments recorded by name, those of `*args` and `**kwargs` included."""
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    # a parameter left at its default makes a gap, and what comes after a gap must be named
    gap = False
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        if parameter.name not in arguments:
            gap = True
            continue
        value = arguments.pop(parameter.name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            keywords.update(value)
        elif parameter.kind is parameter.POSITIONAL_ONLY or (
            parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not gap
        ):
            positional.append(value)
        else:
            keywords[parameter.name] = value
    if arguments:
        raise TypeError(f"unexpected {', '.join(arguments)}")
    return cls(*positional, **keywords)


def _snapshot(value: Any) -> Any:
    """Copy containers, tensors and arrays, so that one changed after construction does not change the record."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(_snapshot(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _snapshot(item) for key, item in value.items()}
    return value


_PlainDecoder = Callable[
    [Any, Callable[[Any], Any], Mapping[str, Tensor], Mapping[int, Described]],
    Any,
]

# what a text gives back as it was: its kind, the text of a value, the value of a text
_TEXT_KINDS: dict[type, tuple[str, Callable[[Any], str], Callable[[str], Any]]] = {
    Decimal: ("decimal", str, Decimal),
    date: ("date", date.isoformat, date.fromisoformat),
    datetime: ("datetime", datetime.isoformat, datetime.fromisoformat),
    time_of_day: ("time", time_of_day.isoformat, time_of_day.fromisoformat),
}


def _text_decoder(read: Callable[[str], Any]) -> _PlainDecoder:
    return lambda content, decode, tensors, built: read(content)


_PLAIN_KINDS: dict[str, _PlainDecoder] = {
    **{kind: _text_decoder(read) for kind, _, read in _TEXT_KINDS.values()},
    "float": lambda content, decode, tensors, built: float(content),
    "tensor": lambda content, decode, tensors, built: tensors[content],
    "array": lambda content, decode, tensors, built: tensors[content].numpy(),
    "size": lambda content, decode, tensors, built: torch.Size(content),
    "tuple": lambda content, decode, tensors, built: tuple(decode(item) for item in content),
    "list": lambda content, decode, tensors, built: [decode(item) for item in content],
    "mapping": lambda content, decode, tensors, built: {decode(k): decode(v) for k, v in content},
    "same": lambda content, decode, tensors, built: built[content],
}

_TORCH_KINDS: dict[str, tuple[type, Any]] = {
    "torch distribution": (torch.distributions.Distribution, torch.distributions),
    "torch transform": (torch.distributions.transforms.Transform, torch.distributions.transforms),
}


def torch_arguments(value: Any) -> dict[str, Any]:
    """The constructor arguments of a part of torch.distributions, read back from its attributes.

    Raises:
        AttributeError: it does not keep one of them under its name.
    """
    names = [p for p in list(inspect.signature(type(value).__init__).parameters)[1:] if p != "validate_args"]
    if isinstance(value, torch.distributions.MultivariateNormal):
        names = ["loc", "scale_tril"]
    elif isinstance(value, torch.distributions.Distribution):
        # probs and logits are two spellings of one argument, and the constructors take just one of them
        names = [name for name in names if not (name == "probs" and "logits" in names)]
    else:
        names = [name for name in names if name != "cache_size"]
    return {name: getattr(value, name) for name in names}


def _rebuild_torch(kind: str, name: str, arguments: dict[str, Any]) -> Any:
    wanted, home = _TORCH_KINDS[kind]
    cls = getattr(home, name, None)
    if not (isinstance(cls, type) and issubclass(cls, wanted)):
        raise ValueError(f"the description names {home.__name__}.{name}, which is no {kind}")
    return cls(**arguments)
