"""The recipe of a diffusion of images of levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from anabranch.checks import as_shape, one_of, positive_int
from anabranch.families import Levels
from anabranch.models import Diffusion, Factorized, MonotoneSchedule
from anabranch.networks import (
    FourierFeatures,
    GatedConvolutional,
    LevelPlaces,
    LevelScores,
    Network,
    ResidualMLP,
    Timed,
)

_EMBEDDED = 64  # numbers in which the time is read


def images(
    event_shape: Sequence[int],
    levels: int,
    context: int = 0,
    network: Literal["convolutions", "mlp"] = "convolutions",
    hidden: int = 64,
    blocks: int = 4,
    attention: int = 0,
    dropout: float = 0.0,
    powers: Sequence[int] = (),
    high: float = 5.0,
    steps: int = 250,
) -> Diffusion:
    r"""A diffusion of images of whole numbers: levels at equal places on [-1, 1], and noise that begins well below them.

    The decoder reads each number's z_0 alone, and weighs the levels by how near they are and by how frequent they are there.
    The ends of the noise are learned, and its inside so that the loss scatters least. The bound is that of a probability:
    nats of an image, and over D log 2 bits per dimension (`images.bits_per_dimension` takes the estimate).

    Source: Kingma et al., 2021, "Variational diffusion models", arXiv:2107.00630, section 3.3 and appendix B.

    Args:
        event_shape: (channels, height, width).
        levels: how many.
        context: how many numbers of context there are, such as a label's; 0 for none.
        network: "convolutions" (`GatedConvolutional`), or "mlp" (`ResidualMLP`) of small images that lie still.
        hidden: channels, or the width, of the network.
        blocks: its residual blocks.
        attention: heads of attention of each block of convolutions; 0 for none.
        dropout: of convolutions, as of `GatedConvolutional`.
        powers: n of the waves that the convolutions read beside z (`FourierFeatures`), of lengths of a few levels.
        high: gamma at the end of the noise, at first.
        steps: of the chain.

    Raises:
        ValueError: shapes that are no image, fewer than two levels.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> model = ab.diffusions.images((1, 8, 8), levels=17, hidden=8, blocks=1)
        >>> x = torch.randint(17, (5, 1, 8, 8), dtype=torch.uint8)
        >>> model.lower_bound(x).shape, model.draw((2,), steps=3).dtype
        (torch.Size([5]), torch.float32)
    """
    shape, count = as_shape("event_shape", event_shape), positive_int("levels", levels, least=2)
    if len(shape) != 3:
        raise ValueError(f"event_shape: expected (channels, height, width), got {tuple(shape)}")
    beside = positive_int("context", context, least=0)
    inner: Network
    if one_of("network", network, ("convolutions", "mlp")) == "mlp":
        inner = ResidualMLP(
            shape, shape, _EMBEDDED + beside, hidden=hidden, blocks=blocks, activation="silu", zero_start=True
        )
    else:
        channels = shape[0] * (1 + 2 * len(powers))
        inner = GatedConvolutional(
            (channels, *shape[1:]),
            shape,
            _EMBEDDED + beside,
            hidden,
            blocks,
            attention,
            dropout=dropout,
            zero_start=True,
        )
        inner = FourierFeatures(inner, shape, powers) if powers else inner
    # noise of a third of the distance between levels tells them apart; the fit goes on from there
    scale = 2 / (3 * (count - 1))
    return Diffusion(
        Timed(inner, context=beside),
        Factorized(Levels(count), shape, LevelScores(shape, count, scale)),
        LevelPlaces(shape, count),
        MonotoneSchedule(2 * math.log(scale), high),
        steps=steps,
    )
