"""What tells one fit from another: the density it began with, its rows, and its settings."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from functools import partial
from types import CellType, CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.described import describe
from anabranch.fingerprint import fingerprint
from anabranch.objectives import Objective
from anabranch.objectives.objective import Sum
from anabranch.training.data import Data
from anabranch.training.row_stream import RowStream
from anabranch.training.rows import Rows
from anabranch.training.settings import Settings

# Of rows with more bytes so many are looked at, evenly spread: to read all takes as long as a pass.
_BYTES, _ROWS = 2**30, 2**14

Identity = dict[str, dict[str, Any]]


def identity(density: Density, data: Data, settings: Settings, validation: Any, others: Mapping[str, Any]) -> Identity:
    """Fingerprints of the density and of the rows, and the settings, as plain data.

    Args:
        density: before the fit.
        data: of the fit.
        settings: of the fit.
        validation: as `fit` was given it.
        others: more settings.
    """
    own = {name: _in_words(value) for name, value in (settings.to_dict() | dict(others)).items()}
    own["objective"] = _in_words(data.objective)
    rows = _of_rows(data.given)
    if isinstance(validation, (int, float)):
        own["validation"] = float(validation)
    elif data.held_out is not None:
        own["validation"] = "rows"
        rows |= {f"validation {name}": value for name, value in _of_rows(data.held_out.rows).items()}
    return {"density": _of_density(density), "rows": rows, "settings": own}


def differences(stored: Identity, given: Identity) -> list[str]:
    """What differs between two fits, a phrase each."""
    said = []
    if stored["density"]["description"] != given["density"]["description"]:
        said.append("the density is another")
    elif stored["density"] != given["density"]:
        said.append("the density began with other weights")
    names = [
        name for name in {**stored["rows"], **given["rows"]} if stored["rows"].get(name) != given["rows"].get(name)
    ]
    if names:
        said.append(f"the rows are others ({', '.join(names)})")
    before, now = stored["settings"], given["settings"]
    said += [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    return said


def _of_density(density: Density) -> dict[str, str]:
    try:
        description, tensors = describe(density)
        text, arguments = json.dumps(description), tensors
    except TypeError:  # a part that no file can describe
        text, arguments = repr([(name, type(part).__qualname__) for name, part in density.named_modules()]), {}
    frozen = [name for name, parameter in density.named_parameters() if not parameter.requires_grad]
    return {
        "description": fingerprint(arguments, text),
        "weights": fingerprint(density.state_dict(), json.dumps(frozen)),
    }


def _of_rows(rows: Rows | RowStream) -> dict[str, str]:
    if isinstance(rows, RowStream):
        return {"x": rows.identity()}
    parts = {"x": rows.x, "context": rows.context, "labels": rows.labels, "weights": rows.weights}
    return {
        name: fingerprint({"": _some(value)}, str(tuple(value.shape)))
        for name, value in parts.items()
        if value is not None
    }


def _some(values: Tensor) -> Tensor:
    if values.numel() * values.element_size() <= _BYTES:
        return values
    return values[torch.linspace(0, len(values) - 1, _ROWS, dtype=torch.float64).long()]


def _in_words(value: Any) -> Any:
    """A setting as plain data: an objective by its class and arguments, a function by its name, one that has none (a
    lambda, or one within a function) by its code and all that it reads from around it too.
    """
    if isinstance(value, Sum):
        return [[weight, _in_words(term)] for weight, term in value.terms]
    if isinstance(value, Objective):
        names = list(inspect.signature(type(value).__init__).parameters)[1:]
        return {"class": type(value).__qualname__} | {name: _in_words(getattr(value, name, None)) for name in names}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _in_words(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_words(item) for item in value]
    if isinstance(value, partial):
        return [_in_words(value.func), _in_words(value.args), _in_words(value.keywords)]
    if callable(value):
        named = getattr(value, "__qualname__", type(value).__qualname__)
        code = _code(value) if isinstance(value, FunctionType) and "<" in named else ""
        return f"{named} {code}".strip()
    return fingerprint({"": value}) if isinstance(value, Tensor) else type(value).__qualname__


def _code(function: FunctionType) -> str:
    """A few digits that tell the code of a function, its defaults, and the variables that it reads from around it."""
    code = function.__code__
    around = [] if function.__closure__ is None else [_contents(cell) for cell in function.__closure__]
    constants = [repr(value) for value in code.co_consts if not isinstance(value, CodeType)]
    read = [constants, code.co_names, _in_words(around), _in_words(function.__defaults__)]
    return fingerprint({}, code.co_code.hex(), json.dumps(read))[:12]


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None
