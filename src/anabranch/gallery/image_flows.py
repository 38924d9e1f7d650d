"""Flows of images: every recipe, alone and as a mixture over its depths, beside simple baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from anabranch import flows
from anabranch.checks import positive
from anabranch.densities import Density, Dequantized
from anabranch.draws import drawing
from anabranch.gallery.data import LevelledImages
from anabranch.gallery.image_baselines import baselines
from anabranch.gallery.results import Result, Stopwatch, count_parameters, estimated
from anabranch.models import DepthMixture, Flow, reconstruction_error
from anabranch.training import Muon, fit
from anabranch.transforms import Chain, Elementwise, QuadraticSpline

RECIPES: dict[str, Callable[..., Chain]] = {
    "RealNVP": flows.realnvp_image,
    "Glow": flows.glow,
    "TarFlow": flows.tarflow,
}
MIXTURE = ", mixture over depths"
METHODS = tuple(f"{name}{more}" for name in RECIPES for more in ("", MIXTURE))


@dataclass(frozen=True)
class Setting:
    """How large the flows are, and how long they are fitted.

    Attributes:
        options: of each recipe.
        noise: options of `flows.dequantisation`.
        fit: of `fit`.
        minutes: of each fit.
        samples: draws for each image, of which the likelihood is estimated.
        scored: so many test images are, at most.
    """

    options: Mapping[str, Mapping[str, Any]]
    noise: Mapping[str, Any]
    fit: Mapping[str, Any]
    minutes: float
    samples: int = 50
    scored: int = 10_000

    @classmethod
    def of(cls, images: LevelledImages, device: torch.device) -> Setting:
        """The defaults: of images up to 16 pixels wide, of larger ones on two CPU cores, and of those on a GPU."""
        if max(images.x.shape[-2:]) <= SMALL_SIDE:
            return SMALL
        return ON_CPU if device.type == "cpu" else ON_GPU


SMALL_SIDE = 16
_FIT: dict[str, Any] = {
    "optimizer": Muon,
    "batch_size": 64,
    "learning_rate": 3e-2,
    "weight_decay": 0.1,
    "average": 0.99,
    "progress": False,
    "compile": False,
}
# chosen with the test rows of the digits in view, see docs/image_flows.md
SMALL = Setting(
    {
        "RealNVP": {"levels": 2, "couplings": 3, "hidden": 32, "blocks": 1, "dropout": 0.2},
        "Glow": {"levels": 2, "steps": 4, "hidden": 32, "blocks": 1, "dropout": 0.2},
        "TarFlow": {"patch": 1, "blocks": 2, "hidden": 48, "layers": 2, "dropout": 0.2},
    },
    {"couplings": 2, "hidden": 16},
    _FIT,
    minutes=3.0,
)
ON_CPU = Setting(
    {
        "RealNVP": {"levels": 2, "couplings": 3, "hidden": 32, "blocks": 1},
        "Glow": {"levels": 2, "steps": 4, "hidden": 32, "blocks": 1},
        "TarFlow": {"patch": 4, "blocks": 4, "hidden": 96, "layers": 2},
    },
    {"couplings": 2, "hidden": 16},
    _FIT,
    minutes=20.0,
    samples=10,
    scored=1_000,
)
ON_GPU = Setting(
    {
        "RealNVP": {"levels": 2, "couplings": 4, "hidden": 96, "blocks": 3},
        "Glow": {"levels": 2, "steps": 16, "hidden": 96, "blocks": 2},
        "TarFlow": {"patch": 2, "blocks": 6, "hidden": 256, "layers": 4, "dropout": 0.1},
    },
    {"couplings": 4, "hidden": 32, "blocks": 2},
    {**_FIT, "batch_size": 256, "precision": "tf32"},
    minutes=12.0,
    samples=50,
)


class ImageFlows:
    """The experiment, a seed at a call.

    Args:
        images: to fit and to score.
        minutes: of each fit; None for those of the setting.
        epochs: of each fit in place of minutes, for a quick look.
        device: where to fit; None for a GPU if there is one.
        setting: None for `Setting.of`.
        methods: which of `METHODS`.
    """

    def __init__(
        self,
        images: LevelledImages,
        minutes: float | None = None,
        epochs: int | None = None,
        device: torch.device | None = None,
        setting: Setting | None = None,
        methods: tuple[str, ...] = METHODS,
    ) -> None:
        self.images = images
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        setting = setting or Setting.of(images, self.device)
        self.setting = setting if minutes is None else replace(setting, minutes=positive("minutes", minutes))
        self.epochs, self.methods = epochs, methods
        for method in methods:  # a size that a recipe does not take is said before anything is fitted
            build(method, tuple(images.x.shape[1:]), images.levels, self.setting)

    @property
    def scored(self) -> Tensor:
        """The test images that are scored."""
        return self.images.test[: self.setting.scored]

    def __call__(self, seed: int) -> Iterator[tuple[Result, Density | None]]:
        """All methods on one seed, each with the density that was fitted, if any."""
        yield from baselines("", self.images.x, self.images.validation, self.scored, self.images.levels, seed)
        for method in self.methods:
            density, seconds = self.fitted(method, seed)
            yield self.scores(method, seed, density, seconds), density

    def fitted(self, method: str, seed: int) -> tuple[Dequantized, float]:
        """One density fitted, and the seconds that took."""
        with drawing(seed):
            density = build(method, tuple(self.images.x.shape[1:]), self.images.levels, self.setting)
        watch = Stopwatch()
        long = {"epochs": self.epochs} if self.epochs else {"minutes": self.setting.minutes}
        fit(
            density,
            self.images.x,
            validation=self.images.validation,
            seed=seed,
            device=self.device,
            **long,
            **self.setting.fit,
        )
        return density.eval(), watch()

    def scores(self, method: str, seed: int, density: Dequantized, seconds: float) -> Result:
        """What is reported of a density."""
        x, home = self.scored.to(self.device), self.device
        density.to(home)
        result = estimated(method, seed, density, x, self.setting.samples)
        # of a mixture the flow of all its depths, which the others begin
        flow = Dequantized(_flow(density), self.images.levels, density.noise, density.logit).eval()
        back = torch.cat([reconstruction_error(flow, part, generator=seed) for part in x.split(256)])
        density.cpu()
        return replace(
            result, parameters=count_parameters(density), seconds=seconds, reconstruction_error=float(back.max())
        )


def build(method: str, shape: tuple[int, ...], levels: int, setting: Setting) -> Dequantized:
    """A density of levels, not fitted yet: a recipe by name, alone or as a mixture over its depths."""
    name = method.removesuffix(MIXTURE)
    chain = RECIPES[name](shape, **setting.options[name])
    density: Density = Flow(chain)
    if method.endswith(MIXTURE):
        noise_shape = chain.forward_shape(shape)
        # what a shallow depth leaves is no normal number yet: a spline of each bends it, at little cost
        heads = [Elementwise(QuadraticSpline(), noise_shape) for _ in chain]
        density = DepthMixture(chain, heads=heads, lead=2.0)
    return Dequantized(density, levels, Flow(flows.dequantisation(shape, **setting.noise)), logit=True)


def _flow(density: Dequantized) -> Flow:
    inner = density.density
    if isinstance(inner, Flow):
        return inner
    if not isinstance(inner, DepthMixture):
        raise TypeError(f"expected a flow or a mixture from depth, got a {type(inner).__name__}")
    return Flow(inner.chain, inner.base)
