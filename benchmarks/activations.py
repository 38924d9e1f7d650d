"""How much memory a training step adds: what autograd keeps, and the peak."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


def saved_bytes(model: nn.Module, loss: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps from the forward pass for the backward pass, each storage once, without the weights.

    It does not see what a step holds for a moment only: `peak_bytes` does.
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


def peak_bytes(step: Callable[[], object]) -> int:
    """The most that a step has allocated at once: gradients of the weights and scratch tensors too.

    Summed over torch's own allocations and releases on the CPU, so it repeats to the byte. The resident memory that the
    system shows is up to half as much again, since the C library does not give all that is released back at once.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
