"""Arrays of whole numbers, such as images, as few bytes as an autoregressive model allows, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from anabranch.checks import read_tensor, reference_tensor
from anabranch.compression.autoregressive import AutoregressiveCoder
from anabranch.compression.blocks import read, written
from anabranch.compression.coder import Cells
from anabranch.compression.compressed import Compressed
from anabranch.compression.opening import closed, made_up, opened, rows_of
from anabranch.compression.tape import constriction
from anabranch.described import Described
from anabranch.fingerprint import fingerprint
from anabranch.models import Autoregressive

_KIND = "array"


def compress_array(
    x: ArrayLike | Tensor,
    model: Autoregressive,
    context: ArrayLike | Tensor | None = None,
    owner: Described | None = None,
) -> Compressed:
    """Events of whole numbers in about as many bits as a model finds them surprising, -log2 p.

    Args:
        x: (rows, *event), whole numbers that the model's family can be, of any dtype; there may be no rows.
        model: on the CPU, of a family of whole numbers: `Levels`, `Bernoulli`, `DiscretizedLogistics`, channels of these.
        context: (rows, *context) if the model takes one, which the file does not hold.
        owner: whose fingerprint the file names in place of the model's: what the model is a part of, and says what the
            numbers mean, such as an `images.ImageModel`.

    Returns:
        the file, as `data`, and what it is made of.

    Raises:
        ValueError: another model, another shape, a number that cannot be (it names the row), a missing context;
            `constriction` is not installed.

    Example:
        >>> import numpy as np
        >>> import anabranch as ab
        >>> from anabranch.compression import compress_array, decompress_array
        >>> from anabranch.families import Levels
        >>> from anabranch.networks import MaskedMLP
        >>> model = ab.models.Autoregressive(Levels(5), MaskedMLP(8, outputs=5, channels=5))
        >>> x = np.random.default_rng(0).integers(0, 5, (100, 8), dtype=np.uint8)
        >>> bool((decompress_array(compress_array(x, model).data, model) == x).all())
        True
    """
    constriction()
    coder = _coder(model, context)
    values = np.asarray(x.detach().cpu().numpy() if isinstance(x, Tensor) else x)
    event = tuple(model.event_shape)
    if values.shape[1:] != event or values.ndim != 1 + len(event):
        raise ValueError(f"x: expected shape (rows, {', '.join(map(str, event))}), got {values.shape}")
    if values.dtype.kind not in "uifb":
        raise ValueError(f"x: expected whole numbers, got {values.dtype}")
    low, high = coder.low, coder.low + coder.size - 1
    wrong = ~((values >= low) & (values <= high) & (values == np.round(values)))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"x: expected whole numbers from {low} to {high}, got {values[place]} in row {place[0]}")
    if coder.context is not None and len(coder.context) != len(values):
        raise ValueError(f"context: expected a row for each of {len(values)} events, got {len(coder.context)}")
    places = model.chain.layout.to_positions(torch.tensor(values.astype(np.int64) - low))
    numbers = places.reshape(len(values), coder.columns).numpy().astype(np.uint64)
    words, checks = written(coder, Cells(numbers, np.zeros(numbers.shape, dtype=np.uint8)))
    header = {
        "kind": _KIND,
        "rows": len(values),
        "block": coder.block,
        "type": values.dtype.str,
        "context": _told(coder.context),
    }
    box = closed(header, model if owner is None else owner, words, checks)
    bits = {str(i): float(one) for i, one in enumerate(coder.bits)}
    return Compressed(box.to_bytes(), len(values), box.described, bits, 0.0, 0)


def decompress_array(
    data: bytes,
    model: Autoregressive,
    context: ArrayLike | Tensor | None = None,
    owner: Described | None = None,
) -> NDArray[np.generic[Any]]:
    """The array that `compress_array` was given, of its dtype.

    Args:
        data: the file.
        model, context, owner: with which it was compressed.

    Raises:
        ValueError: it is no such file, truncated or damaged, or of another model or context; or this machine's floats give
            other probabilities than those it was written by. One line.
    """
    coder = _coder(model, context)
    box = opened(data, model if owner is None else owner, _KIND)
    with made_up():
        rows, coder.block = rows_of(box)
        kind = np.dtype(str(box.header["type"]))
        if kind.kind not in "uifb":
            raise ValueError(f"expected a type of numbers, got {kind}")
        told = box.header["context"]
    if told != _told(coder.context):
        raise ValueError("compressed with another context: expected that of the events, row by row, got another")
    numbers = read(coder, box, rows).numbers.astype(np.int64) + coder.low
    chain = model.chain
    channels = () if chain.layout.channels is None else (chain.layout.channels,)
    events = chain.layout.to_event(torch.tensor(numbers).reshape(rows, chain.network.features, *channels))
    return events.numpy().astype(kind)


def _coder(model: Autoregressive, context: ArrayLike | Tensor | None) -> AutoregressiveCoder:
    if not isinstance(model, Autoregressive):
        raise ValueError(f"model: expected a models.Autoregressive, got {type(model).__name__}")
    like = reference_tensor(model)
    if like is not None and like.device.type != "cpu":
        raise ValueError(f"model: expected it on the CPU, got it on {like.device}")
    wanted = model.context_shape
    if context is None or wanted is None:
        if context is not None or wanted is not None:
            shape = "none" if wanted is None else f"shape (rows, {', '.join(map(str, wanted))})"
            raise ValueError(f"context: expected {shape}, got {'none' if context is None else 'one'}")
        return AutoregressiveCoder(model)
    given = read_tensor("context", context, like)
    if given.shape[1:] != wanted or given.dim() != 1 + len(wanted):
        raise ValueError(f"context: expected shape (rows, {', '.join(map(str, wanted))}), got {tuple(given.shape)}")
    return AutoregressiveCoder(model, given)


def _told(context: Tensor | None) -> str | None:
    return None if context is None else fingerprint({"context": context})[:16]
