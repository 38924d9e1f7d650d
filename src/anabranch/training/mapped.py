"""Arrays in files that are mapped into memory: read where they are."""

from __future__ import annotations

import mmap
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor


def mapped_tensor(value: Any) -> Tensor | None:
    """A tensor on the pages of a file that a NumPy array lies in (`np.load(mmap_mode="r")`, `np.memmap`), nothing copied.

    Nothing may be written to it. None for an array that lies elsewhere, and for one that torch has no tensor for: of another
    byte order, of a dtype that it does not know or cannot index, with strides that run backwards.

    Example:
        >>> import numpy as np
        >>> from anabranch.training.mapped import mapped_tensor
        >>> mapped_tensor(np.zeros(3)) is None
        True
    """
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray) or not _in_file(value):
        return None
    if value.dtype.kind == "u" and value.dtype.itemsize > 1:
        return None
    try:
        with warnings.catch_warnings():
            # of arrays that cannot be written to, which a fit does not do
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(np.asarray(value))
    except (TypeError, ValueError):
        return None


def _in_file(array: Any) -> bool:
    while array is not None:
        if isinstance(array, mmap.mmap):
            return True
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return False
