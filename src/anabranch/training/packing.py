"""Nested values as JSON and tensors, and back, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from anabranch.training.history import Epoch

# more numbers than that in a list are a tensor
_LONG = 64


def pack(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Turn a value into JSON-ready data and the tensors in it, by the names that the data use.

    Args:
        value: None, truth values, numbers, texts, tensors, `Epoch` records, and lists, tuples and mappings of these.

    Raises:
        TypeError: a value of another kind; the message says where it is.

    Example:
        >>> import torch
        >>> from anabranch.training.packing import pack, unpack
        >>> plain, tensors = pack({"step": 3, "mean": (torch.ones(2), float("inf"))})
        >>> plain
        {'mapping': [['step', 3], ['mean', {'tuple': [{'tensor': '0'}, {'float': 'inf'}]}]]}
        >>> unpack(plain, tensors)
        {'step': 3, 'mean': (tensor([1., 1.]), inf)}
    """
    tensors: dict[str, Tensor] = {}

    def kept(tensor: Tensor) -> str:
        name = str(len(tensors))
        tensors[name] = tensor.detach()
        return name

    def packed(value: Any, where: str) -> Any:
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Tensor):
            return {"tensor": kept(value)}
        if isinstance(value, Epoch):
            return {"epoch": packed(asdict(value), where)}
        if isinstance(value, list) and len(value) > _LONG and all(type(item) is float for item in value):
            return {"floats": kept(torch.tensor(value, dtype=torch.float64))}
        if isinstance(value, (list, tuple)):
            items = [packed(item, f"{where}[{i}]") for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, Mapping):
            return {"mapping": [[packed(k, where), packed(v, f"{where}[{k!r}]")] for k, v in value.items()]}
        raise TypeError(f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which no file can hold")

    return packed(value, "state"), tensors


def unpack(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `pack` was given.

    Raises:
        ValueError: data that `pack` did not make.
    """
    try:
        return _unpacked(plain, tensors)
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"not what was packed ({type(error).__name__}: {error})") from error


def _unpacked(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(plain, list):
        return [_unpacked(item, tensors) for item in plain]
    if not isinstance(plain, Mapping):
        return plain
    if len(plain) != 1:
        raise ValueError(f"expected one kind of value, got {list(plain)}")
    kind, content = next(iter(plain.items()))
    if kind == "float":
        return float(content)
    if kind == "tensor":
        return tensors[content]
    if kind == "floats":
        return tensors[content].tolist()
    if kind == "epoch":
        return Epoch(**_unpacked(content, tensors))
    if kind == "tuple":
        return tuple(_unpacked(item, tensors) for item in content)
    if kind == "mapping":
        return {_unpacked(key, tensors): _unpacked(value, tensors) for key, value in content}
    raise ValueError(f"unknown kind of value, {kind!r}")
