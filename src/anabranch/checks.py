"""Checks at the door: what a public constructor or method expects, said in one line with what came instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anabranch.arrays import refuse_inexact, unmasked

# numbers that are looked at in one go
_AT_ONCE = 2**22
# (channels, height, width)
_IMAGE_DIMS = 3


def positive_int(name: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int of at least `least`, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    return int(value)


def as_shape(name: str, value: Any) -> torch.Size:
    """Return `value`, a whole number (the size of a vector) or several of them, as a shape, or raise ValueError."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return torch.Size([positive_int(name, value)])
    sizes = list(value)
    if not sizes:
        raise ValueError(f"{name}: expected a number or a shape of at least one dimension, got ()")
    return torch.Size([positive_int(name, size) for size in sizes])


def as_draws(name: str, value: Any) -> torch.Size:
    """Return `value`, how many draws, a number from 0 on or several of them, as a shape, or raise ValueError."""
    sizes = value if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else (value,)
    return torch.Size([positive_int(name, size, least=0) for size in sizes])


def as_context_shape(name: str, value: Any) -> torch.Size | None:
    """Return `value` as the shape of a context: None for 0 or None, which stand for no context; or raise ValueError."""
    nothing = value is None or (isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value == 0)
    return None if nothing else as_shape(name, value)


def numbers_below(name: str, value: Any, count: int | None = None) -> list[int]:
    """Return `value`, several whole numbers from 0 to `count` - 1, as a list, or raise ValueError."""
    top = "on" if count is None else f"to {count - 1}"
    shown = value.tolist() if isinstance(value, (Tensor, np.ndarray)) else value
    if not isinstance(shown, Iterable) or isinstance(shown, str):
        raise ValueError(f"{name}: expected a list of numbers from 0 {top}, got {value!r}")
    numbers = list(shown)
    for k in numbers:
        whole = isinstance(k, (int, np.integer)) and not isinstance(k, bool)
        if not whole or k < 0 or (count is not None and k >= count):
            raise ValueError(f"{name}: expected numbers from 0 {top}, got {numbers}")
    return [int(k) for k in numbers]


def is_number(value: Any) -> bool:
    """Whether `value` is a real number, and no truth value."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def positive(name: str, value: Any) -> float:
    """Return `value` as a finite float above zero, or raise ValueError."""
    if not is_number(value) or not 0 < float(value) < float("inf"):
        raise ValueError(f"{name}: expected a number above 0, got {value!r}")
    return float(value)


def at_least_zero(name: str, value: Any) -> float:
    """Return `value` as a finite float of at least zero, or raise ValueError."""
    if not is_number(value) or not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name}: expected a number of at least 0, got {value!r}")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """Return `value` as a float in [0, 1), or raise ValueError."""
    if not is_number(value) or not 0 <= float(value) < 1:
        raise ValueError(f"{name}: expected a fraction in [0, 1), got {value!r}")
    return float(value)


def seed_number(value: Any) -> int:
    """Return `value` as a seed that every generator takes, or raise ValueError."""
    seed = positive_int("seed", value, least=0)
    if seed >= 2**63:
        raise ValueError(f"seed: expected a whole number below 2^63, got {seed}")
    return seed


def device_here(name: str, value: Any) -> torch.device:
    """Return `value` as a device that torch has on this machine, or raise ValueError."""
    try:
        device = torch.device(value)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{name}: expected one that torch has here, such as 'cpu', got {value!r} ({reason})"
        ) from error
    return device


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Return `value` if it is one of the `allowed` words, or raise ValueError."""
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")
    return str(value)


def instance_of(name: str, value: Any, kind: type) -> None:
    """Raise ValueError unless `value` is of that kind."""
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected a {kind.__name__}, got {type(value).__name__}")


def reference_tensor(module: nn.Module) -> Tensor | None:
    """The first floating parameter or buffer of `module`: its dtype and device are the module's."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return parameter
    for buffer in module.buffers():
        if buffer.is_floating_point():
            return buffer
    return None


def read_tensor(name: str, value: Any, like: Tensor | None) -> Tensor:
    """Return `value` as a tensor.

    A tensor is passed on untouched: its dtype and device are its owner's to change. An array, a list or a number has
    neither until it is read, so it is read in the dtype and onto the device of `like`. Masked cells are gaps, NaN.
    """
    if isinstance(value, Tensor):
        return value
    try:
        array = np.asarray(unmasked(value, name))
        if array.dtype == object and hasattr(value, "to_numpy"):  # a frame of numbers that have gaps of their own kind
            array = value.to_numpy(dtype=np.float64, na_value=np.nan)
        if array.dtype == object or array.dtype.kind not in "fiub":
            raise TypeError
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a tensor or an array of numbers, got {type(value).__name__}") from None
    # torch reads numbers of its own kinds only: no long doubles, none of the other byte order (FITS, HDF5), no strides
    # that run backwards
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
    if like is None:
        return torch.tensor(array)
    if like.is_floating_point():
        refuse_inexact(name, array)
    return torch.tensor(array, dtype=like.dtype, device=like.device)


def matching(name: str, tensor: Tensor, shape: torch.Size | None, like: Tensor | None) -> None:
    """Raise ValueError unless `tensor` ends in `shape` and has the dtype and device of `like`."""
    if shape is not None and tensor.shape[tensor.dim() - len(shape) :] != shape:
        wanted = ", ".join(["...", *map(str, shape)])
        raise ValueError(f"{name}: expected shape ({wanted}), got {tuple(tensor.shape)}")
    if like is None:
        return
    if tensor.dtype != like.dtype:
        # a module can be of any floating dtype, but of no other
        either = f" or the module with .to({tensor.dtype})" if tensor.is_floating_point() else ""
        if not either and name == "x" and shape is not None and len(shape) == _IMAGE_DIMS:
            either = "; of images of levels, put the density into densities.Dequantized"
        raise ValueError(
            f"{name}: expected dtype {like.dtype} (the module's), got {tensor.dtype}; "
            f"convert {name} with .to({like.dtype}){either}"
        )
    if tensor.device != like.device:
        raise ValueError(f"{name}: expected device {like.device} (the module's), got {tensor.device}")


def broadcasting(name: str, shape: torch.Size, other_name: str, other: torch.Size) -> None:
    """Raise ValueError unless two batch shapes broadcast against each other."""
    for one, two in zip(reversed(shape), reversed(other), strict=False):
        if one not in (1, two) and two != 1:
            raise ValueError(
                f"{other_name}: expected a batch shape that broadcasts with {name}'s {tuple(shape)}, got {tuple(other)}"
            )


def written(event: Tensor) -> str:
    """The numbers of an event for a message: the first eight, in six digits."""
    numbers = [float(f"{number:.6g}") for number in event.detach().flatten()[:8].tolist()]
    return f"{numbers}"[:-1] + (", ...]" if event.numel() > 8 else "]")


def rows_at_once(tensor: Tensor) -> int:
    """How many rows of a tensor (rows, ...) are looked at in one go, so that little memory is taken beside it."""
    return max(1, _AT_ONCE * len(tensor) // max(1, tensor.numel()))


def finite_rows(name: str, tensor: Tensor, gaps: bool = False, read: torch.dtype | None = None) -> None:
    """Raise ValueError naming row and column if a value of `tensor` (rows, ...) is infinite, or NaN without gaps.

    Args:
        name: of the tensor.
        tensor: to look at.
        gaps: whether NaN is none of them.
        read: the dtype in which it is read later; None for the one that it has.
    """
    if read is None and not tensor.is_floating_point() and not tensor.is_complex():
        return
    first: list[int] = []
    value, rows, begin = 0.0, 0, 0
    for part in tensor.split(rows_at_once(tensor)) if tensor.dim() else [tensor]:
        some = part if read is None else part.to(read)
        bad = torch.isinf(some) if gaps else ~torch.isfinite(some)
        if bool(bad.any()):
            where = bad.nonzero()
            if not first:
                value = some[tuple(where[0])].item()
                first = [begin + int(where[0, 0]), *where[0, 1:].tolist()]
            rows += int(torch.unique(where[:, 0]).numel())
        begin += len(part)
    if not first:
        return
    column = f", column {first[1]}" if len(first) == 2 else (f", position {tuple(first[1:])}" if len(first) > 2 else "")
    raise ValueError(
        f"{name}: expected finite numbers, got {value} in row {first[0]}{column} ({rows} of {len(tensor)} rows "
        "hold one); remove or fill those rows"
    )
