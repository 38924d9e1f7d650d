"""Whether values from a file have the form of those that a fit has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def check_form(stored: Any, present: Any, where: str) -> None:
    """Raise ValueError unless stored values can take the place of present ones.

    Mappings have the same names, tensors the same shape and dtype, and a number stands for a number. Lists may be longer.
    None may stand for anything, and anything for None: much is known only later in a fit.

    Args:
        stored: from the file.
        present: of the fit.
        where: a name for the message.

    Example:
        >>> from anabranch.training.form import check_form
        >>> check_form({"steps": 3, "best": None}, {"steps": 0, "best": 1.5}, "state")
        >>> check_form({"steps": "three", "best": None}, {"steps": 0, "best": 1.5}, "state")
        Traceback (most recent call last):
        ...
        ValueError: state['steps'] is a str, not a number
    """
    if stored is None or present is None:
        return
    if isinstance(present, Mapping):
        if not isinstance(stored, Mapping) or set(stored) != set(present):
            got = sorted(map(str, stored)) if isinstance(stored, Mapping) else f"a {type(stored).__name__}"
            raise ValueError(f"{where} is {got}, not a mapping of {sorted(map(str, present))}")
        for name, value in present.items():
            check_form(stored[name], value, f"{where}[{name!r}]")
    elif isinstance(present, Tensor):
        if not isinstance(stored, Tensor) or (stored.shape, stored.dtype) != (present.shape, present.dtype):
            got = f"{tuple(stored.shape)}, {stored.dtype}" if isinstance(stored, Tensor) else type(stored).__name__
            raise ValueError(f"{where} is {got}, not a tensor {tuple(present.shape)}, {present.dtype}")
    elif isinstance(present, (int, float)):
        if not isinstance(stored, (int, float)):
            raise ValueError(f"{where} is a {type(stored).__name__}, not a number")
    elif not isinstance(stored, type(present)):
        raise ValueError(f"{where} is a {type(stored).__name__}, not a {type(present).__name__}")
    elif isinstance(present, tuple) and len(present) == len(stored):
        for number, pair in enumerate(zip(stored, present, strict=True)):
            check_form(*pair, f"{where}[{number}]")
