"""The point where a target, or its gradient, is not finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.checks import reference_tensor, written
from anabranch.densities import Density
from anabranch.objectives.variational import LogTarget, VariationalBound, values_of
from anabranch.training.diagnosis import NonFiniteError


def try_target(density: Density, log_target: LogTarget, x: Tensor) -> None:
    """Compute the target and its gradient at a few draws x of the density, before a fit.

    Raises:
        ValueError: the target or its gradient is not finite there, or the target is not differentiable.
    """
    like = reference_tensor(density)
    x = (x if like is None else x.to(like.device)).clone().requires_grad_()
    with torch.enable_grad():
        log_p = values_of(log_target, x)
        expect_numbers(x, log_p, None, "a draw of the density as it begins", finite=True)
        if not log_p.requires_grad:
            raise ValueError(
                "log_target: expected a function that PyTorch can differentiate by x, got values without gradients; "
                "compute it by functions of torch on x itself"
            )
        (slope,) = torch.autograd.grad(log_p.sum(), x)
    if (said := _bad_slope(x, slope)) is not None:
        raise ValueError(f"log_target: {said}")


def explained(error: NonFiniteError, objective: VariationalBound) -> NonFiniteError:
    """The error of a fit, in words that name the culprit in the last step: the target, its gradient, or the density."""
    if objective.last is None:
        return error
    x, log_q, log_p = (value.flatten(0, 1) for value in objective.last)
    kept = f"at step {error.step}; the density has the last good weights"
    try:
        expect_numbers(x, log_p, log_q, "a draw of the density", finite=True)
    except ValueError as found:
        return NonFiniteError(f"{found} ({kept})", error.step, None, error.layer)
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(values_of(objective.log_target, x).sum(), x)
    if (said := _bad_slope(x, slope)) is not None:
        return NonFiniteError(f"log_target: {said} ({kept})", error.step, None, "log_target")
    return error


def expect_numbers(x: Tensor, log_p: Tensor, log_q: Tensor | None, what: str, finite: bool = False) -> None:
    """Raise ValueError, with the point, where log q is not finite, or log p~ is NaN or +inf.

    Args:
        x: (rows, *event).
        log_p: log p~ of x, (rows).
        log_q: log q of x, (rows); None for a density that is not judged.
        what: where the points come from, in words.
        finite: whether -inf is refused too.
    """
    if log_q is not None and not bool(torch.isfinite(log_q).all()):
        where = int((~torch.isfinite(log_q)).int().argmax())
        raise ValueError(
            f"density: expected a finite log q, got {log_q[where].item()} at {what}, x = {written(x[where])}; "
            "lower the learning rate"
        )
    bad = ~torch.isfinite(log_p) if finite else log_p.isnan() | log_p.isposinf()
    if not bool(bad.any()):
        return
    where = int(bad.int().argmax())
    value = log_p[where].item()
    advice = (
        "p~ is 0 there and the divergence infinite: choose a density that draws within the support of the target alone"
        if value == -math.inf
        else "mend the function there, or choose a density that does not draw there"
    )
    raise ValueError(f"log_target: expected finite numbers, got {value} at {what}, x = {written(x[where])}; {advice}")


def _bad_slope(x: Tensor, slope: Tensor) -> str | None:
    """The point where the gradient of the target is not finite, in words; None if it is finite everywhere."""
    bad = ~torch.isfinite(slope).flatten(1).all(dim=-1)
    if not bool(bad.any()):
        return None
    where = int(bad.int().argmax())
    return f"expected a finite gradient by x, got {written(slope[where])} at x = {written(x[where])}"
