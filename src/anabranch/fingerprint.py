"""A number that tells whether text and tensors are what they were."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def fingerprint(tensors: Mapping[str, Tensor], *texts: str) -> str:
    """SHA-256 of tensors, with their names, dtypes and shapes, and of texts: 64 hexadecimal digits.

    The order of the tensors does not count, nor do their devices and strides.

    Example:
        >>> import torch
        >>> from anabranch.fingerprint import fingerprint
        >>> one, other = torch.zeros(2), torch.ones(2)
        >>> fingerprint({"a": one, "b": other}) == fingerprint({"b": other, "a": one})
        True
        >>> fingerprint({"a": one, "b": other}) == fingerprint({"a": other, "b": one})
        False
    """
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(f"{len(encoded)} ".encode() + encoded)
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        encoded = name.encode()
        digest.update(f"{len(encoded)} {value.dtype} {list(value.shape)} ".encode() + encoded)
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
