"""The levels of multi-scale flows of images, as blocks of one chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from anabranch.checks import as_shape, positive_int
from anabranch.flows.image_couplings import Couplings
from anabranch.transforms import Chain, Inverse, OnPart, Squeeze, Transform


def in_levels(
    features: Sequence[int], levels: int, body: Callable[[torch.Size], dict[str, Transform]], coupled: Couplings
) -> Chain:
    """A chain of levels, each of which works on half of the channels that the level before it gives.

    Args:
        features: the shape of the images, (channels, height, width).
        levels: number of levels.
        body: gives the blocks of a level from the shape that it works on.
        coupled: makes the splits, and the couplings of the body.

    Raises:
        ValueError: a shape that so many levels cannot halve.
    """
    shape = image_shape(features, positive_int("levels", levels))
    named: dict[str, Transform] = {}
    for level in range(1, levels + 1):
        blocks = body(shape)
        squeezed = Squeeze().forward_shape(shape)
        kept = squeezed[0] // 2
        if level < levels:
            # the first half goes on, and its network shifts and scales the second
            split = torch.arange(squeezed[0]).reshape(-1, 1, 1).expand(squeezed) >= kept
            blocks = {**blocks, "split": coupled.over(split)}
        named[f"level_{level}"] = Chain(blocks) if level == 1 else _inside(blocks, shape, level)
        shape = torch.Size([kept, *squeezed[1:]])
    return Chain(named)


def _inside(blocks: dict[str, Transform], shape: torch.Size, level: int) -> Transform:
    """The blocks of a level, which take images of that shape, as a transform of the output of level 1."""
    inside: Transform = OnPart(Chain({**blocks, "back": Inverse(Squeeze())}), range(shape[0]))
    for outer in range(level - 2, 0, -1):
        # half of the channels of a level outside are a quarter of twice as many of the next one in
        channels = shape[0] // 2 ** (level - 1 - outer)
        inside = OnPart(Chain({"squeeze": Squeeze(), "inside": inside, "back": Inverse(Squeeze())}), range(channels))
    return inside


def image_shape(features: Sequence[int], levels: int) -> torch.Size:
    """The shape of images whose height and width so many levels can halve.

    Raises:
        ValueError: no shape of images, or a level meets an odd height or width.
    """
    shape = as_shape("features", features)
    if len(shape) != 3:
        raise ValueError(f"features: expected the shape (channels, height, width), got {tuple(shape)}")
    height, width = shape[1:]
    for level in range(1, positive_int("levels", levels, least=0) + 1):
        if height % 2 or width % 2:
            most = f"at most levels={level - 1}" if level > 1 else "no level takes them"
            raise ValueError(
                f"features: expected height and width that are multiples of {2**levels}, since each of {levels} levels "
                f"halves them, got {shape[1]} x {shape[2]}, of which level_{level} meets {height} x {width}; {most}; pad "
                f"the images to {-shape[1] % 2**levels + shape[1]} x {-shape[2] % 2**levels + shape[2]}"
            )
        height, width = height // 2, width // 2
    return shape
