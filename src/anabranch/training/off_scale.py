"""Rows that a density was given as they came, and did not cope with."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from anabranch.checks import reference_tensor
from anabranch.densities import Density
from anabranch.training.diagnosis import NonFiniteError
from anabranch.training.part import Part
from anabranch.training.row_stream import RowStream
from anabranch.training.rows import Rows
from anabranch.transforms.standardise import off_standard, place_of

# rows that are looked at, and how far behind a normal with their means and deviations is too far, nats for each column
_ROWS, _BEHIND = 1_000, 3.0
# deviations
_NEAR = 6.0
# a short fit may well be behind on rows that are a little off; these are so many times as far as what flows cope with
_TIMES = 3.0


class ScaleWarning(UserWarning):
    """Rows far from mean 0 and deviation 1 that a fit has not coped with."""


def off_scale(rows: Rows) -> str:
    """The column of rows furthest from mean 0 and deviation 1, in words; "" where none is far, or rows are no vectors."""
    x = _some(rows)
    if x is None:
        return ""
    loc, scale = place_of(x)
    far = off_standard(loc, scale, _TIMES)
    if not bool(far.any()):
        return ""
    column = int(torch.where(far, (loc.abs() + scale).log().abs() + scale.log().abs(), -1.0).argmax())
    return f"column {column} lies about {float(loc[column]):g}, with a deviation of about {float(scale[column]):g}"


def explain_scale(error: BaseException, training: Part | RowStream) -> None:
    """Raise a loss that is not finite again with what is wrong with the scale of the rows, if anything is."""
    if isinstance(error, NonFiniteError) and isinstance(training, Part) and (said := off_scale(training.first(_ROWS))):
        text = f"{error}; {said}: standardise the rows first"
        raise NonFiniteError(text, error.step, error.row, error.layer) from error


def warn_if_behind(density: Density, training: Part) -> None:
    """Say so if a density fitted to rows far from mean 0 and deviation 1 is far behind a normal of their deviations.

    Warns:
        ScaleWarning: it is.
    """
    rows = training.first(_ROWS)
    said = off_scale(rows)
    like = reference_tensor(density)
    rows = rows.to(training.device if like is None else like.device)
    x = _some(rows)
    if not said or x is None:
        return
    loc, scale = place_of(x)
    z = ((x - loc) / scale).double()
    # a normal says little of rows far from all others
    near = (z.abs() < _NEAR).all(dim=1)
    context = None if rows.context is None else rows.context[near]
    with torch.no_grad():
        reached = float(-density.loss(x[near], context).double().mean())
    each = -z[near].square() / 2 - scale.double().log() - math.log(math.tau) / 2
    normal = float(each.sum(dim=1).mean())
    if not reached >= normal - _BEHIND * x.shape[1]:
        warnings.warn(
            f"after the fit the density is {normal - reached:.3g} nats per row behind a normal with the rows' means and "
            f"deviations: {said}; standardise the rows first, to mean 0 and deviation 1",
            ScaleWarning,
            stacklevel=4,
        )


def _some(rows: Rows) -> Tensor | None:
    """Some of the rows, if they are vectors of numbers without gaps."""
    x = rows.x[:_ROWS]
    if x.dim() != 2 or not x.is_floating_point() or len(x) < 2 or not bool(torch.isfinite(x).all()):
        return None
    return x
