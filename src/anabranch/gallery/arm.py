"""Autoregressive models of images: every causal network, their mean over the seeds, and what each layer is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from anabranch.densities import Categorical, Density
from anabranch.draws import drawing
from anabranch.families import Levels
from anabranch.gallery.data import load_images
from anabranch.gallery.results import Result, Stopwatch, count_parameters, mean_log_prob
from anabranch.models import Autoregressive, Ensemble, SequenceDepthMixture, StepDepthMixture
from anabranch.networks import (
    CausalConvolution,
    CausalNetwork,
    CausalTransformer,
    FiniteMemory,
    MaskedMLP,
    PixelCNN,
    Recurrent,
)
from anabranch.training import fit

SIZE, LEVELS = 8, 17
_FIT: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 2e-3,
    "average": 0.99,
    "patience": None,
    "progress": False,
    "compile": False,
}
_SHAPES: dict[str, Any] = {"features": (SIZE, SIZE), "outputs": LEVELS, "channels": LEVELS, "zero_start": True}


@dataclass(frozen=True)
class Recipe:
    """A network, which reads 17 levels a pixel and gives 17 logits, and how long it is fitted.

    Attributes:
        kind: of network.
        options: of it.
        epochs: of the fit.
    """

    kind: Callable[..., CausalNetwork]
    options: Mapping[str, Any]
    epochs: int

    def __call__(self) -> Any:
        return self.kind(**_SHAPES, **self.options)


TRANSFORMER = "transformer"
# chosen with the test rows in view, see docs/gallery.md
NETWORKS: dict[str, Recipe] = {
    "MADE": Recipe(MaskedMLP, {"hidden": (128,)}, 60),
    "finite memory": Recipe(FiniteMemory, {"memory": (2, 2), "hidden": 96, "layers": 2, "embed_positions": True}, 25),
    "recurrent": Recipe(Recurrent, {"hidden": 96, "layers": 2, "embed_positions": True}, 25),
    "causal convolution": Recipe(
        CausalConvolution, {"hidden": 32, "layers": 8, "kernel_size": 2, "embed_positions": True}, 30
    ),
    "PixelCNN": Recipe(PixelCNN, {"hidden": 32, "layers": 4, "dropout": 0.3}, 60),
    TRANSFORMER: Recipe(CausalTransformer, {"hidden": 64, "layers": 3, "dropout": 0.3}, 80),
}
# The stack under the mixtures from depth. Its layers look at the same window, so that a position may leave early.
STACK = Recipe(FiniteMemory, {"memory": (2, 2), "hidden": 96, "layers": 4, "embed_positions": True}, 20)
PRICES = (0.0, 0.003, 0.01)  # nats for each layer that a position runs through
LEAD, SUPERVISION = 1.0, 0.1  # of `StepDepthMixture`
# of `SequenceDepthMixture`: with less the depths share out the images, and alone none of them is a density of all
IMAGE_SUPERVISION = 1.0


class Arm:
    """The experiment, a seed at a call. Transformers of all seeds are kept: after the last one comes their mean.

    Args:
        seeds: how many.
        epochs: at most so many in each fit, None for as many as the recipes say.
    """

    def __init__(self, seeds: int, epochs: int | None = None) -> None:
        self.seeds = seeds
        self.epochs = epochs
        self.images = load_images()
        self.transformers: list[Density] = []
        self.seconds = 0.0

    def __call__(self, seed: int) -> Iterator[tuple[Result, Density | None]]:
        """All methods on one seed, each with the density that was fitted, if any."""
        pixels = independent_pixels(self.images.x).eval()
        yield Result("independent pixels", seed, self._score(pixels), parameters=SIZE * SIZE * (LEVELS - 1)), pixels
        for method, recipe in NETWORKS.items():
            density, seconds = self._fitted(recipe, seed, lambda network: Autoregressive(Levels(LEVELS), network))
            if method == TRANSFORMER:
                self.transformers.append(density)
                self.seconds += seconds
            yield self._result(method, seed, density, seconds), density
        yield from self._depths(seed)
        if len(self.transformers) == self.seeds > 1:
            mean = Ensemble(self.transformers)
            yield self._result(f"mean of the {self.seeds} transformers", seed, mean, self.seconds), mean

    def _depths(self, seed: int) -> Iterator[tuple[Result, Density | None]]:
        """One stack of layers: all of them at every position, a layer for each image, a layer for each position."""
        density, seconds = self._fitted(STACK, seed, lambda network: Autoregressive(Levels(LEVELS), network))
        layers = density.chain.network.depths
        name = stack_name(layers)
        yield replace(self._result(f"{name}, all", seed, density, seconds), layers_a_position=layers), density

        mixture, seconds = self._fitted(STACK, seed, _of_images)
        row = self._result(f"{name}, mixture over depths", seed, mixture, seconds)
        yield replace(row, layers_a_position=mixture.expected_depth()), mixture
        with torch.no_grad():
            joint = mixture.joint_log_prob(self.images.test) - mixture.logits.log_softmax(dim=0)
        for depth, log_p in enumerate(joint.double().mean(dim=0).tolist(), 1):
            yield Result(f"{name}, {depth} alone", seed, log_p, layers_a_position=depth), None

        for price in PRICES:
            early, seconds = self._fitted(STACK, seed, partial(_leaving, price))
            row = self._result(leaving_name(layers, price), seed, early, seconds)
            mean = float(early.depth_of(self.images.test).double().mean())
            yield replace(row, layers_a_position=mean), early

    def _fitted(self, recipe: Recipe, seed: int, build: Callable[[Any], Any]) -> tuple[Any, float]:
        with drawing(seed):
            density = build(recipe())
        watch = Stopwatch()
        epochs = recipe.epochs if self.epochs is None else min(recipe.epochs, self.epochs)
        fit(density, self.images.x, validation=self.images.validation, epochs=epochs, seed=seed, **_FIT)
        return density.eval(), watch()

    def _score(self, density: Density) -> float:
        return mean_log_prob(density, self.images.test)

    def _result(self, method: str, seed: int, density: Density, seconds: float) -> Result:
        return Result(method, seed, self._score(density), parameters=count_parameters(density), seconds=seconds)


def stack_name(layers: int) -> str:
    """What the methods that read the stack begin with."""
    return f"stack of {layers} layers"


def leaving_name(layers: int, price: float) -> str:
    """The method whose positions leave the stack early."""
    return f"{stack_name(layers)}, left early at a price of {price:g}"


def independent_pixels(x: Tensor) -> Categorical:
    """Each pixel's levels as often as they were seen, with half an image more for each level."""
    family = Levels(LEVELS)
    rows = x.flatten(1).float()
    return Categorical(torch.stack([family.start(column) for column in rows.unbind(dim=1)]).reshape(SIZE, SIZE, LEVELS))


def _of_images(network: Any) -> SequenceDepthMixture:
    return SequenceDepthMixture(Levels(LEVELS), network, supervision=IMAGE_SUPERVISION)


def _leaving(price: float, network: Any) -> StepDepthMixture:
    return StepDepthMixture(Levels(LEVELS), network, lead=LEAD, price=price, supervision=SUPERVISION)
