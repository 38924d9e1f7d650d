"""Images moved, turned and stretched a little, seen through principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Warps:
    """x -> x' of an image that is shifted, turned, scaled and sheared at random.

    To warp an image is linear in its pixels, so it is an affine map of its coordinates in a basis of images: a bank of maps
    is made once, and each eighth of a batch takes one of them.

    Args:
        shape: height and width of the images.
        mean: the image at the origin of the coordinates, (pixels).
        basis: (pixels, coordinates), from an image less the mean to its coordinates.
        seed: of the bank.
        count: how many maps.
        shift: pixels of 28, at most.
        turn: degrees, at most.
        scale: at most so much larger or smaller, as a fraction.
        shear: at most.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        mean: NDArray[np.float64],
        basis: NDArray[np.float64],
        seed: int,
        count: int = 64,
        shift: float = 2.0,
        turn: float = 12.0,
        scale: float = 0.1,
        shear: float = 0.1,
    ) -> None:
        from scipy.ndimage import affine_transform  # noqa: PLC0415 (slow to import)

        generator = np.random.default_rng(seed)
        height, width = shape
        centre = np.array([(height - 1) / 2, (width - 1) / 2])
        back = np.linalg.pinv(basis)
        maps, offsets = [], []
        for _ in range(count):
            angle = np.deg2rad(generator.uniform(-turn, turn))
            turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            sheared = np.array([[1.0, generator.uniform(-shear, shear)], [0.0, 1.0]])
            matrix = turned @ sheared * generator.uniform(1 - scale, 1 + scale)
            offset = centre - matrix @ centre + generator.uniform(-shift, shift, 2) * np.array(shape) / 28

            def warp(image: NDArray[np.float64], matrix: Any = matrix, offset: Any = offset) -> Any:
                return affine_transform(image.reshape(height, width), matrix, offset, order=1).ravel()

            maps.append(np.stack([warp(direction) for direction in back]) @ basis)
            offsets.append((warp(mean) - mean) @ basis)
        self.maps = torch.tensor(np.stack(maps), dtype=torch.float32)
        self.offsets = torch.tensor(np.stack(offsets), dtype=torch.float32)

    def __call__(self, x: Tensor) -> Tensor:
        parts = x.chunk(8)
        chosen = torch.randint(len(self.maps), (len(parts),))
        pairs = zip(parts, chosen.tolist(), strict=True)
        return torch.cat([part @ self.maps[i].to(part) + self.offsets[i].to(part) for part, i in pairs])
