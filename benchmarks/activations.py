"""How much memory a training step adds: counted, and seen by the system."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def saved_bytes(model: nn.Module, loss: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps from the forward pass for the backward pass, each storage once, without the weights.

    Exact and repeatable, but it does not see what a step holds for a moment only: `peak_bytes` does.
    """
    kept: dict[int, tuple[Tensor, int]] = {}
    weights = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            # the tensor is held, so that its address is not given to another
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        graph = loss()
    del graph
    return sum(size for _, size in kept.values())


def peak_bytes(step: Callable[[], object]) -> int | None:
    """The resident memory that a step adds at its highest: gradients of the weights and scratch memory too.

    Linux keeps the peak of a process's resident memory and lets it be set back to now; what the allocator has kept from
    earlier steps is first given back, or it would hide a part. None where there is no /proc.
    """
    if not CLEAR.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5")
    before = _status("VmRSS")
    step()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{STATUS}: expected a line {name}, got none")
