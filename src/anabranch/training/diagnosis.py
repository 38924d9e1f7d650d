"""What went wrong in a fit: where a loss became NaN or infinite, and what a fitted density says of itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anabranch.checks import reference_tensor
from anabranch.densities import Density
from anabranch.training.part import Part
from anabranch.training.rows import Rows

# rows at which a fitted density is asked for its symptoms
_ROWS = 500
_ASKED = ("log_prob", "loss")


class NonFiniteError(ArithmeticError):
    """A loss or a gradient that is NaN or infinite.

    Attributes:
        step: the optimiser step, from 1.
        row: the row of the data, from 0; None if it is a gradient.
        layer: the first module whose output was not finite, or the parameter whose gradient is not.
    """

    def __init__(self, message: str, step: int, row: int | None, layer: str) -> None:
        super().__init__(message)
        self.step = step
        self.row = row
        self.layer = layer


def explain_loss(density: Density, batch: Rows, losses: Tensor, step: int) -> NonFiniteError:
    """Find the first row whose loss is not finite and the first layer that made it so, by one more pass over that row."""
    losses = losses.detach()
    # the mean of finite losses may overflow: the largest is to blame then
    bad = int(losses.nan_to_num(torch.inf).abs().argmax())
    row = int(batch.numbers[bad])
    alone = batch.take(torch.tensor([bad]))
    layer = first_non_finite_layer(density, alone.x, alone.context)
    advice = "Lower the learning rate, or standardise or clean the data"
    with torch.no_grad():
        # a loss of +inf that comes with a density of 0 is an answer, not an accident
        score = density.log_prob if density.likelihood == "exact" else density.lower_bound
        if bool(score(alone.x, alone.context).isneginf().all()):
            advice = (
                "The density is 0 there: the row lies outside the support of a base, outside the domain of a transform, "
                "or too far out for floating point. Leave such rows out, standardise, or choose parts that reach them"
            )
    return NonFiniteError(
        f"the loss became {float(losses[bad])} at step {step}, row {row} of the data, first in {layer}; the last good "
        f"weights are kept. {advice}",
        step,
        row,
        layer,
    )


def explain_gradient(density: Density, step: int) -> NonFiniteError:
    """Name the first parameter whose gradient is not finite."""
    bad = [
        name
        for name, parameter in density.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
    ]
    # each gradient may be finite and their norm overflow all the same
    name = bad[0] if bad else "all parameters together"
    return NonFiniteError(
        f"the gradient of {name} is not finite at step {step}, while the loss is; the last good weights are kept. "
        "Lower the learning rate, or standardise or clean the data",
        step,
        None,
        name,
    )


def first_non_finite_layer(density: Density, x: Tensor, context: Tensor | None) -> str:
    """The name of the first module, in the order of computation, whose output is not finite."""
    found: list[str] = []
    names = {module: name or type(density).__name__ for name, module in density.named_modules()}

    def look(module: nn.Module, outputs: Any) -> None:
        if not found and not all(bool(torch.isfinite(t).all()) for t in _tensors(outputs)):
            found.append(f"{names[module]} ({type(module).__name__})")

    def watched(part: Density, method: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*arguments: Any) -> Tensor:
            outputs = method(*arguments)
            look(part, outputs)
            return outputs

        return call

    handles = [module.register_forward_hook(lambda module, inputs, outputs: look(module, outputs)) for module in names]
    # a density within another is asked by these methods, which no hook of torch's sees
    parts = [module for module in names if isinstance(module, Density)]
    try:
        for part in parts:
            for name in _ASKED:
                setattr(part, name, watched(part, getattr(part, name)))
        with torch.no_grad():
            density(x, context)
    finally:
        for handle in handles:
            handle.remove()
        for part in parts:
            for name in _ASKED:
                part.__dict__.pop(name, None)
    return found[0] if found else f"{type(density).__name__}, only in its batch"


def warn_of_symptoms(density: Density, training: Part) -> None:
    """Give the warnings that a fitted density has of itself, at some of the training rows."""
    rows = training.first(_ROWS)
    if len(rows) < 2:
        return
    like = reference_tensor(density)
    rows = rows.to(training.device if like is None else like.device)
    was_training = density.training
    try:
        for symptom in density.eval().symptoms(rows.x, rows.context):
            warnings.warn(symptom, stacklevel=4)
    finally:
        density.train(was_training)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        return [t for item in value.values() for t in _tensors(item)]
    if isinstance(value, (tuple, list)):
        return [t for item in value for t in _tensors(item)]
    return []
