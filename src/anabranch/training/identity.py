"""What tells one fit from another: the density it began with, its rows, and its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.described import describe
from anabranch.fingerprint import fingerprint
from anabranch.training.data import Data
from anabranch.training.row_stream import RowStream
from anabranch.training.rows import Rows
from anabranch.training.settings import Settings
from anabranch.training.telling import in_words

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

    Raises:
        ValueError: a setting that cannot be told from another.
    """
    own = {name: in_words(name, value) for name, value in (settings.to_dict() | dict(others)).items()}
    own["objective"] = in_words("objective", data.objective)
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
