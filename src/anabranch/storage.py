"""One file for one model: weights and, in the header, the description from which it is rebuilt."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from anabranch.atomic import replacing
from anabranch.bounded import Bounded
from anabranch.described import Described, describe, rebuild
from anabranch.draws import drawing
from anabranch.fingerprint import fingerprint
from anabranch.version import __version__

T = TypeVar("T")

# 1 left out arguments that were defaults, and had no fingerprints
_FORMAT = 2
_HEADER, _FINGERPRINT = "anabranch", "fingerprint"
# how deep a description may be nested
_DEPTH = 200
# what building a model may allocate: so many times the file's own bytes, and a constant for what is only passed through
_TIMES, _BYTES = 64, 2**28


def save(model: Described, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
    """Write a model to one safetensors file.

    The tensors are the model's parameters and buffers, bit for bit; the header holds the library's version, a JSON
    description of the object with all arguments, defaults too, which parameters are frozen (`requires_grad` is False), and
    fingerprints (SHA-256) of header and tensors. The file appears whole or not at all, and an old file of that name stays
    until then.

    What the file describes is the constructor calls. Parts or buffers that were replaced since are refused; attributes of
    other kinds, of your own classes too, come back as the constructors set them.

    Args:
        model: a density, a transform or a network made of the library's parts, or of your own subclasses of them.
        path: the file.
        metadata: JSON-ready notes to keep with it; `read_metadata` gives them back.

    Raises:
        TypeError: a part that cannot be described, such as a plain `torch.nn.Module`; the message names it.
        ValueError: parts were replaced after the model was built, so that its description no longer fits.
        OSError: the file cannot be written, for want of room or rights; an old one stays.

    Example:
        >>> import pathlib, tempfile, torch
        >>> import anabranch as ab
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> model = ab.densities.Normal(torch.zeros(2))
        >>> ab.save(model, path)
        >>> ab.load(path).log_prob(torch.ones(2)) == model.log_prob(torch.ones(2))
        tensor(True)
    """
    from safetensors import SafetensorError  # noqa: PLC0415 (only needed here)
    from safetensors.torch import save_file  # noqa: PLC0415

    if not isinstance(model, Described):
        raise TypeError(f"model: expected a part of anabranch, such as a Density, got {type(model).__name__}")
    description, arguments = describe(model)
    state = _state(model)
    _check_rebuilds(model, description, arguments, state)
    tensors = {f"state.{name}": value.detach() for name, value in state.items()} | arguments
    # a copy each: safetensors refuses tensors that share memory, and wants them contiguous
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    header = {
        "format": _FORMAT,
        "version": __version__,
        "description": description,
        "frozen": [
            name for name, value in state.items() if isinstance(value, nn.Parameter) and not value.requires_grad
        ],
        "metadata": dict(metadata or {}),
        "tensors": fingerprint(copies),
    }
    text = json.dumps(header, allow_nan=False)
    with replacing(path) as temporary:
        try:
            save_file(copies, temporary, metadata={_HEADER: text, _FINGERPRINT: fingerprint({}, text)})
        except SafetensorError as error:
            raise of_system(error, path) from error


def of_system(error: Exception, path: str | os.PathLike[str]) -> OSError:
    """What the system said, as Python says it; safetensors passes on its number in words alone."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is None:
        return OSError(f"{path}: {error}")
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path))


def load(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Any:
    """Read a model that `save` wrote. Nothing is unpickled and no code is imported.

    A class of your own is found if the module that defines it has been imported. The model is as just constructed: in
    training mode, whichever it was saved in. (Scores and samples are the same in `eval` mode; the loss of a `DepthMixture`
    or a `Resampled` is another one there.) Frozen parameters are frozen again.

    Args:
        path: the file.
        device: where to put the model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no anabranch model, damaged, or from a version of another format; the message says which.
    """
    header, tensors = _read(path)
    if header["tensors"] != fingerprint(tensors):
        raise ValueError(f"{path}: its tensors are not those that were saved; the file is damaged or was edited")
    arguments = {name: value for name, value in tensors.items() if not name.startswith("state.")}
    saved = {name.removeprefix("state."): value for name, value in tensors.items() if name.startswith("state.")}
    try:
        with drawing(0), Bounded(_TIMES * Path(path).stat().st_size + _BYTES):  # weights that are replaced
            model = rebuild(header["description"], arguments)
        state = _state(model)
    except ValueError as error:
        raise ValueError(f"{path}: {_first_line(error)}") from error
    except Exception as error:  # a description that was made up can break a constructor in any way
        said = f"{type(error).__name__}: {_first_line(error)}"
        raise ValueError(f"{path}: the description in its header is damaged ({said})") from error
    if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in saved.items()}:
        raise ValueError(f"{path}: its weights do not fit its description; the file is damaged or was edited")
    for name, target in state.items():
        # .data keeps parameters that are shared shared, and takes over the dtype that was saved. In memory of their own,
        # aligned as PyTorch aligns it: pieces of the file lie anywhere, and products then differ in their last digits.
        target.data = saved[name].clone()
        if isinstance(target, nn.Parameter):
            target.requires_grad_(name not in header["frozen"])
    return model.to(device)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model file says of itself: "version", "description" and "metadata", without building the model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no anabranch model.
    """
    return _read(path, only_header=True)[0]


def fingerprint_of(model: Described) -> str:
    """SHA-256 of all that a model's numbers depend on, its description and its tensors: 64 hexadecimal digits.

    The same before `save` and after `load`, on every machine; another one for other weights, in another dtype too.

    Raises:
        TypeError: a part that cannot be described.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.storage import fingerprint_of
        >>> normal = ab.densities.Normal.standard(2)
        >>> fingerprint_of(normal) == fingerprint_of(ab.densities.Normal.standard(2))
        True
        >>> fingerprint_of(normal) == fingerprint_of(ab.densities.Normal.standard(3))
        False
    """
    description, arguments = describe(model)
    tensors = {f"state.{name}": value.detach() for name, value in _state(model).items()} | arguments
    return fingerprint(tensors, json.dumps(description, sort_keys=True))


def _read(path: str | os.PathLike[str], only_header: bool = False) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 (only needed here)

    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file")
    if file.is_dir():
        raise ValueError(f"{file}: expected a model file, got a folder")
    try:
        with safe_open(file, framework="pt") as opened:
            about = opened.metadata() or {}
            text = about.get(_HEADER)
            tensors = {} if only_header or text is None else {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file}: not a safetensors file, or truncated ({error})") from error
    if text is None:
        raise ValueError(f"{file}: a safetensors file, but not one that anabranch wrote")
    try:
        header = json.loads(text)
        number = header["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file}: its anabranch header is damaged") from error
    if number == 1:
        raise ValueError(
            f"{file}: written by anabranch {header.get('version')} in format 1, without the settings that were defaults "
            "then, so that its numbers could be others now; fit the model again, or read it with the version that wrote it"
        )
    if number != _FORMAT:
        raise ValueError(
            f"{file}: written by anabranch {header.get('version')} in format {number}, and this version, {__version__}, "
            f"reads format {_FORMAT}; install that version or newer"
        )
    if about.get(_FINGERPRINT) != fingerprint({}, text):
        raise ValueError(
            f"{file}: its anabranch header is not the one that was saved; the file is damaged or was edited"
        )
    if not _is_header(header):
        raise ValueError(f"{file}: its anabranch header is damaged")
    return header, tensors


def _first_line(error: Exception) -> str:
    return str(error).split("\\n")[0].split("\n")[0]


def _is_header(header: Mapping[str, Any]) -> bool:
    """Whether a header has what `save` writes, and a description that is not nested too deeply to be read."""
    kinds = {"version": str, "description": Mapping, "frozen": list, "metadata": Mapping, "tensors": str}
    if not all(isinstance(header.get(name), kind) for name, kind in kinds.items()):
        return False
    level: list[Any] = [header["description"]]
    for _ in range(_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, (Mapping, list))
            for inner in (value.values() if isinstance(value, Mapping) else value)
        ]
        if not level:
            return True
    return False


def _state(model: Described) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; one that several modules share only under its first name."""
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            state[name] = value
    return state


def _check_rebuilds(
    model: Described, description: dict[str, Any], arguments: dict[str, Tensor], state: dict[str, Tensor]
) -> None:
    """Raise ValueError if what the description gives is not what there is: another part, tensor or fixed buffer."""
    with drawing(0):
        again = rebuild(description, arguments)
    other_state = _state(again)
    different = (
        _first_difference(dict(model.named_modules()), dict(again.named_modules()), _same_part)
        or _first_difference(state, other_state, lambda one, other: one.shape == other.shape)
        # what no file holds must come from the constructor
        or _first_difference(_others(model, state), _others(again, other_state), _same_numbers)
    )
    if different:
        raise ValueError(
            f"{type(model).__name__}: {different} is not as the constructor made it; parts were replaced after the "
            "model was built, so build it anew from the parts you want"
        )


def _first_difference(got: Mapping[str, T], wanted: Mapping[str, T], same: Callable[[T, T], bool]) -> str | None:
    """The first name that only one side has, or that the two sides use for things that are not the same."""
    for name in [*wanted, *(name for name in got if name not in wanted)]:
        if name not in got or name not in wanted or not same(got[name], wanted[name]):
            return name or "a part"
    return None


def _same_part(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are of one class and, as far as that is recorded, of equal arguments."""
    if type(one) is not type(other):
        return False
    if not isinstance(one, Described) or not isinstance(other, Described):
        return True
    (description, tensors), (other_description, other_tensors) = describe(one), describe(other)
    if description != other_description or tensors.keys() != other_tensors.keys():
        return False
    return all(_same_numbers(tensors[name], other_tensors[name]) for name in tensors)


def _same_numbers(one: Tensor, other: Tensor) -> bool:
    # a model that was converted holds the constructor's numbers rounded to its own dtype
    return one.shape == other.shape and torch.equal(one.detach().cpu(), other.detach().to("cpu", one.dtype))


def _others(model: Described, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Buffers that are no part of the state."""
    kept = {id(value) for value in state.values()}
    return {name: value for name, value in model.named_buffers() if id(value) not in kept}
