"""What the experiment with autoencoders draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.gallery.arm_drawing import in_nats
from anabranch.gallery.arm_pictures import samples_picture, strips_picture
from anabranch.gallery.data import LevelledImages
from anabranch.gallery.latent_pictures import Plane, latent_picture
from anabranch.gallery.results import Result
from anabranch.gallery.vae import PRIORS, Form, forms_of
from anabranch.models import Factorized, LatentVariable
from anabranch.queries import encode, latent_report

_SHEET, _STRIP, _PAIRS, _MAP, _ROWS = 36, 12, 3, 20, 1000
_STANDARD = next(iter(PRIORS))


def draw_vae(folder: Path, images: LevelledImages, fitted: Mapping[str, Density], results: Sequence[Result]) -> None:
    """Priors beside aggregated posteriors, samples, a map of the plane, and ways through it.

    Args:
        folder: where to write.
        images: the data.
        fitted: by method, on one seed.
        results: of that seed.
    """
    scores = {row.method: row.log_likelihood for row in results if row.log_likelihood is not None}
    maps: dict[str, tuple[Tensor, str]] = {}
    ways: dict[str, list[Tensor]] = {}
    for form in forms_of(images):
        models: dict[str, LatentVariable] = {}
        for method in PRIORS:
            model = fitted.get(f"{form.name}: {method}")
            if isinstance(model, LatentVariable):
                models[method] = model
        _draw_planes(folder, form, models, images.test_classes)
        _draw_samples(folder, form, models, scores)
        maps[form.name] = (_map(models[_STANDARD], form), "z at quantiles of the prior")
        ways |= _ways(models[_STANDARD], form)
    samples_picture(
        folder / "vae-map.png", maps, darkest=1, title="The mean of x at points z of the plane", columns=2, side=6.0
    )
    strips_picture(folder / "vae-ways.png", ways, darkest=1, title="Ways through the plane: the mean of x at points z")


def _draw_planes(folder: Path, form: Form, models: Mapping[str, LatentVariable], classes: Tensor | None) -> None:
    x = form.test[:_ROWS]
    planes = {}
    for method, model in models.items():
        gap = latent_report(model, x, seed=0).gap
        below = f"gap of prior and draws: {float(gap.value):.2f} ± {float(gap.standard_error):.2f} nats"
        planes[method] = Plane(model.prior, encode(model, x, samples=1, seed=0)[0], below)
    known = None if classes is None else classes[:_ROWS]
    path = folder / f"vae-plane-{_short(form)}.png"
    latent_picture(path, planes, known, title=f"{form.name}: priors, and the posterior at {len(x)} test images")


def _draw_samples(folder: Path, form: Form, models: Mapping[str, LatentVariable], scores: Mapping[str, float]) -> None:
    """Two lines of panels: data beside draws of x, and data as they are decoded beside means of x at the same z."""
    x = form.test[:_SHEET]
    standard = models[_STANDARD]
    draws = {"data": (_shown(x, form), f"the first {_SHEET} test images")}
    means = {"data, decoded": (mean_of(standard, encode(standard, x), form), f"means at their z, {_STANDARD}")}
    for method, model in models.items():
        with torch.no_grad(), drawing(0):
            z = model.prior.sample((_SHEET,))
            drawn = model.decoder.sample(context=model.decoder_context(z))
        draws[method] = (_shown(drawn, form), in_nats(scores[f"{form.name}: {method}"]))
        means[f"{method.removesuffix(' prior')}, means"] = (mean_of(model, z, form), "of x at the same z")
    path = folder / f"vae-samples-{_short(form)}.png"
    title = f"{form.name}: images, and samples of each prior and decoder"
    samples_picture(path, draws | means, darkest=1, title=title)


def _map(model: LatentVariable, form: Form) -> Tensor:
    """The mean of x on a grid of quantiles of the standard normal prior, the second number of z rising upwards."""
    at = torch.special.ndtri((torch.arange(_MAP) + 0.5) / _MAP)
    up, across = torch.meshgrid(at.flip(0), at, indexing="ij")
    return mean_of(model, torch.stack([across, up], dim=-1).flatten(0, 1), form)


def _ways(model: LatentVariable, form: Form) -> dict[str, list[Tensor]]:
    """Along each number of z with the other at 0, and along lines between the z of test images, these at the ends."""
    at = torch.special.ndtri(torch.linspace(0.01, 0.99, _STRIP))
    zero = torch.zeros_like(at)
    along = [mean_of(model, torch.stack(pair, dim=-1), form) for pair in ((at, zero), (zero, at))]
    codes = encode(model, form.test[: 2 * _PAIRS])
    share = torch.linspace(0, 1, _STRIP - 2).unsqueeze(-1)
    between = []
    for i in range(0, 2 * _PAIRS, 2):
        inner = mean_of(model, torch.lerp(codes[i], codes[i + 1], share), form)
        ends = _shown(form.test[i : i + 2], form)
        between.append(torch.cat([ends[:1], inner, ends[1:]]))
    return {f"{form.name}:\neach number of z": along, f"{form.name}:\nbetween images": between}


def mean_of(model: LatentVariable, z: Tensor, form: Form) -> Tensor:
    """E[x | z] of z (n, 2), from 0 to 1: (n, height, width)."""
    decoder = model.decoder
    if not isinstance(decoder, Factorized):
        raise TypeError(f"expected a decoder of independent pixels, got a {type(decoder).__name__}")
    with torch.no_grad():
        return _shown(form.family.mean(decoder.numbers(model.decoder_context(z))), form)


def _short(form: Form) -> str:
    """The form in names of files: levels or bits."""
    return form.name.split()[-1]


def _shown(x: Tensor, form: Form) -> Tensor:
    """(n, height, width), from 0 to 1."""
    return x.to(torch.float32).mean(dim=-3) / (form.levels - 1)
