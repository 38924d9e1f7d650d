"""How the rows of a batch are changed before a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from anabranch.draws import drawing
from anabranch.training.part import Part
from anabranch.training.row_stream import RowStream
from anabranch.training.rows import Rows

Augment = Callable[[Tensor, torch.Generator], Tensor]

# the share of the steps after which noise is gone
_GONE = 0.7
# rows of a stream that are looked at in one go
_AT_ONCE = 4096


class Changes:
    """The rows of a batch as a function of the user's gives them, and noise that falls to nothing over 70 % of the steps.

    With noise the fit is smooth at first, and in the end what the rows say.

    Args:
        scale: standard deviation of the noise at first, of each entry of an event; None for no noise.
        augment: a function of rows (rows, *event) and a generator on their device, which gives rows of the same shape and
            dtype; None for rows as they are.
    """

    def __init__(self, scale: Tensor | None, augment: Augment | None = None) -> None:
        self.scale, self.augment = scale, augment

    def __call__(self, rows: Rows, progress: float, seeds: tuple[int, int]) -> Rows:
        """The rows as the step takes them.

        Args:
            rows: of the batch.
            progress: the share of the fit that is done.
            seeds: of the noise, and of what the function draws.

        Raises:
            ValueError: the function gives rows of another shape or dtype, or on another device, or none.
        """
        if self.augment is not None:
            rows = replace(rows, x=_augmented(self.augment, rows.x, seeds[1]))
        left = 1 - progress / _GONE
        if self.scale is None or left <= 0:
            return rows
        with drawing(seeds[0]):
            return replace(rows, x=rows.x + left * self.scale * torch.randn_like(rows.x))


def spread(training: Part | RowStream) -> Tensor:
    """The standard deviation of what is observed in each entry of an event, gaps left out, by one pass over the rows."""
    if isinstance(training, Part):
        batches = training.batches()
    else:
        batches = training.batches_of(_AT_ONCE, torch.Generator().manual_seed(0))
    place: Tensor | None = None
    sums = [torch.zeros((), dtype=torch.float64)] * 3
    dtype = torch.get_default_dtype()
    for batch in batches:
        x, dtype = batch.x.cpu().double(), batch.x.dtype
        observed = ~torch.isnan(x)
        # about the means of the first rows, for sums of squares about 0 may cancel
        place = x.nanmean(dim=0).nan_to_num(0.0) if place is None else place
        off = torch.where(observed, x - place, 0.0)
        sums = [total + part.sum(dim=0) for total, part in zip(sums, (observed, off, off.square()), strict=True)]
    count, first, second = sums[0].clamp(min=1), sums[1], sums[2]
    return (second / count - (first / count).square()).clamp(min=0).sqrt().to(dtype)


def _augmented(augment: Augment, x: Tensor, seed: int) -> Tensor:
    generator = torch.Generator(x.device).manual_seed(seed)
    # what it draws by other means, such as the transforms of torchvision, is seeded too
    with torch.no_grad(), drawing(generator):
        made = augment(x, generator)
    if not isinstance(made, Tensor):
        raise ValueError(f"augment: expected a function that gives a tensor, got {type(made).__name__}")
    wanted, got = ((value.dtype, value.device, tuple(value.shape)) for value in (x, made))
    if wanted != got:
        names = ", ".join(f"{one} {two}" for one, two in zip(("dtype", "on", "of shape"), wanted, strict=True))
        told = ", ".join(f"{one} {two}" for one, two in zip(("dtype", "on", "of shape"), got, strict=True))
        raise ValueError(f"augment: expected rows like those it is given, {names}, got {told}")
    return made
