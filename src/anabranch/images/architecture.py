"""How large a PixelCNN is fitted to images, by their size and number and the time there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch

from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.families import Channels
from anabranch.images.pixels import Pixels
from anabranch.models import Autoregressive
from anabranch.networks import PixelCNN
from anabranch.training import Muon
from anabranch.training.pace import Pace

# units of a layer, of which the most are taken that the time allows
_UNITS = (16, 24, 32, 48, 64, 96)
# but of fewer images than the key, at most so many: more only learn them by heart
_FEW_IMAGES = {2_000: 32, 10_000: 48, 50_000: 64}
_LAYERS = 8
# of fewer images than the key, this share of units is silenced in training
_DROPOUT = {5_000: 0.2, 20_000: 0.1}
# passes over the images that the time shall allow, at least
_PASSES = 2
# multiply-adds in a second of training: by two CPU cores, and by a GPU
_SPEED = {"cpu": 2e10, "cuda": 2e12}
# multiply-adds of a layer, for a pixel, beside units^2: two stacks and what passes between them, forwards and backwards
_WORK = 3 * 19
# so many pixels in a batch, at most, and so many images: small steps are more steps in the same time, but a GPU idles
_PIXELS = {"cpu": 2**15, "cuda": 2**17}
_IMAGES = {"cpu": 32, "cuda": 128}


@dataclass(frozen=True)
class Architecture:
    """How large a PixelCNN is.

    Attributes:
        units: of each layer.
        layers: how many.
        dropout: share of units silenced in training.
        batch: images in one step, at most.
    """

    units: int
    layers: int
    dropout: float
    batch: int

    @classmethod
    def chosen(
        cls,
        pixels: Pixels,
        images: int,
        minutes: float,
        device: torch.device | None = None,
        hidden: int | None = None,
        blocks: int | None = None,
    ) -> Self:
        """As large as lets a fit see each image twice within the time on two CPU cores, or on a GPU.

        Args:
            pixels: what the images hold.
            images: how many are fitted.
            minutes: there are.
            device: of the fit; None for the CPU.
            hidden: units, in place of the choice.
            blocks: layers, in place of 8.
        """
        layers = _LAYERS if blocks is None else positive_int("blocks", blocks)
        kind = "cpu" if device is None or device.type == "cpu" else "cuda"
        positions = pixels.height * pixels.width
        # with an order of channels the stack of a row has units for each, and convolutions between all of them
        across = 3 if pixels.channels == 3 and pixels.few else 1
        most = min([units for count, units in _FEW_IMAGES.items() if images < count], default=_UNITS[-1])
        room = _SPEED[kind] * 60 * minutes / (_PASSES * images * positions * layers * _WORK * across)
        fitting = [units for units in _UNITS if units <= most and units**2 <= room]
        units = max(fitting, default=_UNITS[0]) if hidden is None else positive_int("hidden", hidden)
        dropout = min([(count, share) for count, share in _DROPOUT.items() if images < count], default=(0, 0.0))[1]
        return cls(units, layers, dropout, max(16, min(_IMAGES[kind], _PIXELS[kind] // positions)))

    @property
    def words(self) -> str:
        """What is fitted, for people."""
        return f"PixelCNN of {self.layers} layer{'s' * (self.layers != 1)} of {self.units} units"

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `fit_images` that make it, as plain data."""
        return {"hidden": self.units, "blocks": self.layers}

    @property
    def pace(self) -> Pace:
        """How long and how fast it is fitted by default."""
        return Pace(steps=2_500, most=100, batch=self.batch, rate=1e-2, decay=0.1, average=0.99, optimizer=Muon)

    def build(self, pixels: Pixels, classes: int, seed: int) -> Density:
        """The density, not fitted yet.

        Args:
            pixels: what the images hold.
            classes: of the labels that it is conditioned on, 0 for none.
            seed: of its initial weights.
        """
        family = pixels.family()
        places = (pixels.height, pixels.width)
        with drawing(seed):
            network = PixelCNN(
                # the channels of a pixel one after the other, where the family is of one number
                places if pixels.channels == 1 or isinstance(family, Channels) else (*places, pixels.channels),
                family.parameters_of_one,
                classes,
                self.units,
                self.layers,
                first_kernel_size=7 if min(places) >= 7 else 3,
                dropout=self.dropout,
                zero_start=True,
                channels=family.inputs if family.inputs > 1 else None,
            )
            return Autoregressive(family, network, event_shape=pixels.event_shape)
