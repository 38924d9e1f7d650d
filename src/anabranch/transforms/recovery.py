"""A block as a node of the autograd graph that keeps neither its activations nor, as a rule, its input."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anabranch.transforms.segment import Segment, present
from anabranch.transforms.transform import Transform


def compose_recovering(
    blocks: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool, every: int | None
) -> tuple[Tensor, Tensor]:
    """`compose`, whose backward pass walks from the last block to the first and recovers each one's input."""
    handover = _Handover()
    total: Tensor | None = None
    for i, block in enumerate(blocks):
        segment = Segment([block], inverse)
        named = dict(segment.named_parameters())
        # The run's own input is kept always: mostly the caller holds it anyway, and it saves one inversion.
        place = _Place(keeps_input=i % (every or len(blocks)) == 0, is_last=i == len(blocks) - 1)
        x, log_det = _Block.apply(x, context, segment, place, handover, tuple(named), *named.values())  # type: ignore[no-untyped-call]
        total = log_det if total is None else total + log_det
    return x, present(total)


@dataclass
class _Handover:
    """What the backward of each node leaves for that of the node before it: the value between their two blocks.

    The value goes from node to node and nowhere else, so in every backward pass that reaches a node, whichever gradients
    are asked for, autograd has run the one after it first.
    """

    value: Tensor | None = None


@dataclass(frozen=True)
class _Place:
    keeps_input: bool
    is_last: bool


class _Block(torch.autograd.Function):
    """(z, log_det) of one block.

    Its parameters are inputs of the function, so gradients reach them as in any other graph: where they are shared they
    add up, hooks run once, and one that is changed in place between the two passes is an error. And since every block is
    a node of its own, gradients of later blocks are done with before those of earlier ones begin.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        context: Tensor | None,
        segment: Segment,
        place: _Place,
        handover: _Handover,
        names: tuple[str, ...],
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.precision = _Precision.now(x.device.type)
        with ctx.precision.again():
            z, log_det = segment(x, context)
        # A context with more batch dimensions than x widens z, and x would come back as wide as z.
        ctx.keeps_input = place.keeps_input or z.shape != x.shape
        ctx.segment, ctx.handover, ctx.names = segment, handover, names
        ctx.save_for_backward(x if ctx.keeps_input else z if place.is_last else None, context, *parameters)
        ctx.set_materialize_grads(False)
        return z, log_det

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                'memory="invert" has first derivatives only, and create_graph=True asks for more; '
                'build the chain with memory="store" or memory="checkpoint"'
            )
        kept, context, *parameters = ctx.saved_tensors
        needs_x, needs_context, _, _, _, _, *needs_parameters = ctx.needs_input_grad
        segment: Segment = ctx.segment
        with ctx.precision.again():
            if ctx.keeps_input:
                x = kept
            else:
                z = ctx.handover.value if kept is None else kept
                back = Segment(segment.transforms(), not segment.inverse)
                x, _ = back.lend(dict(zip(ctx.names, parameters, strict=True)), z, context)
            ctx.handover.value = x
            with torch.enable_grad():
                # New leaves: the gradients stop at them, and hooks on the real ones wait for the real backward pass.
                x = x.detach().requires_grad_(needs_x)
                given = None if context is None else context.detach().requires_grad_(needs_context)
                leaves = [p.detach().requires_grad_(n) for p, n in zip(parameters, needs_parameters, strict=True)]
                outputs = segment.lend(dict(zip(ctx.names, leaves, strict=True)), x, given)
        found = _gradients(outputs, gradients, [x, given, *leaves])
        return (*found[:2], None, None, None, None, *found[2:])


def _gradients(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], inputs: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradient of each input; None for one that needs none, or on which nothing depends."""
    pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad and g is not None]
    needed = [i for i in inputs if i is not None and i.requires_grad]
    if not pairs or not needed:
        return [None] * len(inputs)
    found = iter(torch.autograd.grad([o for o, _ in pairs], needed, [g for _, g in pairs], allow_unused=True))
    return [next(found) if i is not None and i.requires_grad else None for i in inputs]


@dataclass(frozen=True)
class _Precision:
    """Autocast as it was in the forward pass, for the backward pass to run under."""

    device_type: str
    dtype: torch.dtype
    enabled: bool

    @classmethod
    def now(cls, device_type: str) -> _Precision:
        if not torch.amp.is_autocast_available(device_type):
            return cls(device_type, torch.float32, enabled=False)
        return cls(device_type, torch.get_autocast_dtype(device_type), torch.is_autocast_enabled(device_type))

    def again(self) -> AbstractContextManager[object]:
        if not self.enabled and not _Precision.now(self.device_type).enabled:
            return nullcontext()
        # Without the cache: what it remembers may be a parameter cast where no gradients are recorded, handed out again
        # where they are.
        return torch.autocast(self.device_type, self.dtype, self.enabled, cache_enabled=False)
