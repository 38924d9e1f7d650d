"""What a file holds of a fitted estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from anabranch.described import Described

# a kind that no mapping of ours has for a key
_ARRAY = "array of "


class Stored(Described):
    """An estimator's name, its settings and what its fit has found, as `storage.save` writes them.

    Args:
        estimator: the name of the class.
        settings: the arguments of its constructor, `packed`.
        found: its attributes that end in an underscore, `packed`.
    """

    def __init__(self, estimator: str, settings: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        super().__init__()
        self.estimator = estimator
        self.settings = dict(settings)
        self.found = dict(found)
        # parameters of parts of these are the file's tensors
        parts: list[nn.Module] = []
        _collect(self.settings, parts)
        _collect(self.found, parts)
        self.parts = nn.ModuleList(parts)


def packed(value: Any) -> Any:
    """A value in which arrays of text, of objects, of times and of more are made of numbers, words, lists and mappings."""
    if isinstance(value, Mapping):
        return {name: packed(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(packed(item) for item in value)
    if isinstance(value, torch.device):
        return str(value)
    if hasattr(value, "__array__") and not isinstance(value, (np.ndarray, np.generic, torch.Tensor)):  # a series
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        kind = "object" if value.dtype.kind == "O" else "text"
        items = [item.decode() if isinstance(item, bytes) else item for item in value.ravel().tolist()]
        return {_ARRAY + kind: packed(items), "shape": list(value.shape)}
    if isinstance(value, np.ndarray):
        return {_ARRAY + value.dtype.str: value.view(np.int64) if value.dtype.kind in "mM" else value}
    return value


def unpacked(value: Any) -> Any:
    """What was `packed`."""
    if isinstance(value, Mapping):
        first = next(iter(value), "")
        if isinstance(first, str) and first.startswith(_ARRAY):
            kind = first.removeprefix(_ARRAY)
            if kind == "text":
                return np.array(value[first], dtype=np.str_).reshape(value["shape"])
            if kind == "object":
                array = np.empty(len(value[first]), dtype=object)
                array[:] = value[first]
                return array.reshape(value["shape"])
            return np.array(value[first], dtype=np.dtype(kind))
        return {name: unpacked(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(unpacked(item) for item in value)
    return value


def _collect(value: Any, parts: list[nn.Module]) -> None:
    if isinstance(value, nn.Module):
        parts.append(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, parts)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, parts)
