"""What the experiment with flows of images draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from anabranch.densities import Density, Dequantized
from anabranch.gallery.arm_pictures import samples_picture, strips_picture
from anabranch.gallery.data import LevelledImages
from anabranch.gallery.image_flows import RECIPES
from anabranch.models import at_temperature, interpolate

TEMPERATURES = (0.5, 0.7, 0.85, 1.0)
_SHEET, _STRIP, _PAIRS = 36, 12, 6


def draw_image_flows(
    folder: Path, images: LevelledImages, fitted: Mapping[str, Density], bits: Mapping[str, float]
) -> None:
    """Samples beside data, draws at several temperatures, and ways between test images.

    Args:
        folder: where to write.
        images: the data.
        fitted: by method, on one seed.
        bits: per dimension, of each.
    """
    shown = {name: density for name, density in fitted.items() if isinstance(density, Dequantized)}
    darkest = images.levels - 1
    panels: dict[str, tuple[Tensor, str]] = {"data": (_grey(images.test[:_SHEET]), f"the first {_SHEET} test images")}
    for method, density in shown.items():
        panels[method] = (_grey(density.sample((_SHEET,), generator=0)), f"{bits[method]:.3f} bits per dimension")
    samples_picture(
        folder / "images-samples.png", panels, darkest=darkest, title="Images, and samples of each flow", columns=4
    )
    alone = {name: density for name, density in shown.items() if name in RECIPES}
    strips_picture(
        folder / "images-temperatures.png",
        {
            f"{name}, {temperature:g}": [_grey(at_temperature(density, temperature).sample((_STRIP,), generator=0))]
            for name, density in alone.items()
            for temperature in TEMPERATURES
        },
        darkest=darkest,
        title="The same noise at several temperatures",
    )
    strips_picture(
        folder / "images-ways.png",
        {
            name: [
                _grey(interpolate(density, images.test[i], images.test[i + 1], _STRIP, generator=i))
                for i in range(0, 2 * _PAIRS // len(alone), 2)
            ]
            for name, density in alone.items()
        },
        darkest=darkest,
        title="From one test image to another through latent space",
    )


def _grey(images: Tensor) -> Tensor:
    """(n, height, width): the mean over the channels."""
    return images.to(torch.float32).mean(dim=-3)
