"""Who looks on at the operations: a compiler, a transform of `torch.func`, forward-mode differentiation, autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from anabranch.torch_internals import forward_mode, functorch_is_active


def takes_opaque_operations() -> bool:
    """Whether a compiler looks on that should not look into what is fused already.

    Not inside `torch.func` transforms: they have rules for PyTorch's operations only.
    """
    return torch.compiler.is_compiling() and not functorch_is_active()


def takes_operations_alone() -> bool:
    """Whether a `torch.func` transform or forward-mode differentiation looks on, which see neither hooks nor fused code."""
    return functorch_is_active() or forward_mode()


def may_write() -> bool:
    """Whether results may be written into memory at hand: nothing records, differentiates or batches the operations."""
    return not (torch.is_grad_enabled() or takes_operations_alone())


def autocasts(device: torch.device) -> bool:
    """Whether autocast is on for that device; there is none for "meta"."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast is off for that device. It is entered only where it is on: that costs as much as a small product."""
    return torch.autocast(device.type, enabled=False) if autocasts(device) else nullcontext()
