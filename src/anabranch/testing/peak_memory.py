"""How much memory a computation holds at its peak, counted tensor by tensor: the same number in every run."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from anabranch.torch_internals import DispatchMode, tree_leaves


def peak_memory(step: Callable[[], object]) -> int:
    """The most bytes that tensors born in `step` and gone at its end occupy at one time: its activations.

    What was there before (parameters, data) does not count, nor what stays (the gradients of parameters that had none, the
    returned value). Storages are counted, so that views are free. Not seen is the scratch memory within one operation of
    torch. Nothing is measured in time or by the operating system: the number is exact and the same in every run.

    Args:
        step: what to do; mostly a forward and a backward pass, by which gradients are set that were None before.

    Returns:
        bytes.

    Example:
        >>> import torch
        >>> from anabranch.testing import peak_memory
        >>> peak_memory(lambda: (torch.zeros(100) + 1).sum())     # two float32 tensors of 100 numbers
        800
    """
    with _Ledger() as ledger:
        result = step()
        stays = set(ledger.live)
    del result
    held = peak = 0
    for key, size in ledger.events:
        if key not in stays:
            held += size
            peak = max(peak, held)
    return peak


class _Ledger(DispatchMode):
    """Notes the birth and the end of every storage that operations bring forth."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[tuple[int, int]] = []
        self.live: dict[int, int] = {}
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        for tensor in _tensors((args, kwargs)):
            self._seen.setdefault(tensor.untyped_storage(), -1)
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage not in self._seen:
                self._born(storage)
        return result

    def _born(self, storage: Any) -> None:
        key, size = len(self.events), storage.nbytes()
        self._seen[storage] = key
        self.events.append((key, size))
        self.live[key] = size
        weakref.finalize(storage, self._gone, key).atexit = False

    def _gone(self, key: int) -> None:
        self.events.append((key, -self.live.pop(key)))


def _tensors(value: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
