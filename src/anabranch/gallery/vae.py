"""Autoencoders with two hidden numbers: three priors beside simple baselines, of grey levels and of bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anabranch import flows, vaes
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.families import Bernoulli, Family, Levels
from anabranch.gallery.data import LevelledImages
from anabranch.gallery.image_baselines import baselines
from anabranch.gallery.results import Result, Stopwatch, count_parameters, estimated
from anabranch.models import Flow, LatentVariable
from anabranch.objectives import LowerBound
from anabranch.training import fit

LATENT = 2
PRIORS: dict[str, Callable[[], Density]] = {
    "standard normal prior": lambda: vaes.priors.normal(LATENT),
    "Gaussian mixture prior": lambda: vaes.priors.gaussian_mixture(LATENT, components=10),
    "flow prior": lambda: Flow(flows.nsf(LATENT, blocks=4, hidden=(64,), structure="coupling")),
}
# grey levels up to so many are modelled as they are, and beside them as bits; of more levels the bits alone
MOST_LEVELS = 32


@dataclass(frozen=True)
class Setting:
    """How large the networks are, and how long they are fitted.

    Attributes:
        hidden: hidden sizes of the decoder; the encoder has them the other way round.
        epochs: of each fit.
        fit: options of `fit`.
        warmup: the share of a fit by which the divergence counts in full.
        particles: draws for each image, of which the likelihood is estimated.
        scored: so many test images are, at most.
    """

    hidden: tuple[int, ...]
    epochs: int
    fit: Mapping[str, Any]
    warmup: float = 0.3
    particles: int = 200
    scored: int = 1_000

    @classmethod
    def of(cls, images: LevelledImages) -> Setting:
        """The defaults, for two CPU cores: of images up to 16 pixels wide, and of larger ones."""
        return SMALL if max(images.x.shape[-2:]) <= SMALL_SIDE else LARGE


SMALL_SIDE = 16
_FIT: dict[str, Any] = {"learning_rate": 2e-3, "patience": None, "progress": False, "compile": False}
SMALL = Setting((128, 128), 60, {**_FIT, "batch_size": 100, "weight_decay": 1e-2, "average": 0.99})
LARGE = Setting((512, 256), 25, {**_FIT, "batch_size": 256, "weight_decay": 1e-3, "average": 0.999})


@dataclass(frozen=True)
class Form:
    """Images as a decoder takes them.

    Attributes:
        name: in the names of methods and pictures.
        family: of a pixel.
        levels: how many a pixel may have.
        x, validation, test: images (rows, 1, height, width) in uint8.
    """

    name: str
    family: Family
    levels: int
    x: Tensor
    validation: Tensor
    test: Tensor


def forms_of(images: LevelledImages) -> list[Form]:
    """The images as levels, if these are few, and as bits: each pixel drawn once, with the probability of its grey."""
    forms = []
    parts = (images.x, images.validation, images.test)
    if images.levels <= MOST_LEVELS:
        forms.append(Form(f"{images.levels} levels", Levels(images.levels), images.levels, *parts))
    generator = torch.Generator().manual_seed(0)
    bits = [(torch.rand(x.shape, generator=generator) < x / (images.levels - 1)).to(torch.uint8) for x in parts]
    return [*forms, Form("bits", Bernoulli(), 2, *bits)]


class Vae:
    """The experiment, a seed at a call.

    Args:
        images: to fit and to score.
        epochs: of each fit; None for those of the setting.
        setting: None for `Setting.of`.
    """

    def __init__(self, images: LevelledImages, epochs: int | None = None, setting: Setting | None = None) -> None:
        self.setting = setting or Setting.of(images)
        self.epochs = self.setting.epochs if epochs is None else epochs
        self.forms = forms_of(images)

    def __call__(self, seed: int) -> Iterator[tuple[Result, Density | None]]:
        """All methods on one seed, each with the density that was fitted, if any."""
        for form in self.forms:
            prefix = f"{form.name}: "
            yield from baselines(prefix, form.x, form.validation, self.scored(form), form.levels, seed)
            for method, prior in PRIORS.items():
                watch = Stopwatch()
                model = self.fitted(form, prior, seed)
                seconds = watch()
                result = estimated(f"{prefix}{method}", seed, model, self.scored(form), self.setting.particles)
                result.seconds, result.parameters = seconds, count_parameters(model)
                yield result, model

    def scored(self, form: Form) -> Tensor:
        """The test images that are scored."""
        return form.test[: self.setting.scored]

    def fitted(self, form: Form, prior: Callable[[], Density], seed: int) -> LatentVariable:
        """An autoencoder of one prior."""
        setting = self.setting
        with drawing(seed):
            model = vaes.vae(form.x.shape[1:], form.family, LATENT, prior(), hidden=setting.hidden)
        objective = LowerBound(warmup=setting.warmup)
        fit(
            model,
            form.x,
            validation=form.validation,
            epochs=self.epochs,
            seed=seed,
            objective=objective,
            **setting.fit,
        )
        return model.eval()
