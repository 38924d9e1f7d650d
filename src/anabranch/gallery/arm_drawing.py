"""What the experiment with autoregressive models draws."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.gallery import arm, arm_pictures
from anabranch.gallery.data import load_images
from anabranch.gallery.influence import influence
from anabranch.gallery.results import Result, mean_log_prob
from anabranch.models import Autoregressive, StepDepthMixture

_SHEET, _DRAWS = 36, 6
_PLACE = (4, 4)  # of the pixel whose receptive field is drawn
_ROWS = 100  # test images over which gradients are averaged
# how a method's name ends, and the line of the picture to which it belongs
_LINES = {
    " alone": "one layer for all pixels",
    ", mixture over depths": "mixture, a depth for each image",
    "left early at a price of": "mixture, a depth for each pixel",
    ", all": "the same stack without a mixture",
}


def draw_arm(folder: Path, fitted: Mapping[str, Density]) -> None:
    """Samples beside data, completions and receptive fields, of what was fitted on one seed."""
    images = load_images()
    shown = {name: fitted[name] for name in ("independent pixels", *arm.NETWORKS) if name in fitted}
    panels: dict[str, tuple[Tensor, str]] = {"data": (images.test[:_SHEET], f"the first {_SHEET} test images")}
    for method, density in shown.items():
        panels[method] = (density.sample((_SHEET,), generator=0), in_nats(mean_log_prob(density, images.test)))
    arm_pictures.samples_picture(
        folder / "arm-samples.png",
        panels,
        darkest=arm.LEVELS - 1,
        title="Images, and samples of each model beside its held-out log-likelihood",
    )
    fields = {
        method: influence(density, images.test[:_ROWS], _PLACE[0] * arm.SIZE + _PLACE[1])
        for method, density in shown.items()
        if isinstance(density, Autoregressive)
    }
    arm_pictures.influence_picture(
        folder / "arm-fields.png", fields, _PLACE, title="What the prediction of the orange pixel looks at"
    )
    transformer = shown.get(arm.TRANSFORMER)
    if isinstance(transformer, Autoregressive):
        _draw_completions(folder / "arm-completions.png", transformer, images.test, images.test_classes)


def draw_depths(folder: Path, fitted: Mapping[str, Density], results: Sequence[Result]) -> None:
    """Likelihood against depth on all seeds, and where positions of one seed leave early."""
    test = load_images().test
    maps: dict[str, tuple[Tensor, str, str]] = {}
    early = [density for density in fitted.values() if isinstance(density, StepDepthMixture)]
    stack = [density for name, density in fitted.items() if name.endswith(", all")]
    if early:
        layers = early[-1].depth_of(test).mean(dim=0)
        below = f"mean over test images and pixels: {layers.mean():.2f} of {early[-1].depths} layers"
        maps[f"Layers a pixel, at a price of {early[-1].price:g}"] = (layers, below, "Blues")
    if stack and isinstance(stack[0], Autoregressive):
        with torch.no_grad():
            nats = -stack[0].terms(test).mean(dim=0)
        maps["How hard a pixel is to predict"] = (nats, f"nats, without a mixture; {nats.sum():.1f} in all", "Oranges")
    arm_pictures.depth_picture(folder / "arm-depth.png", curves(results), maps, title="Likelihood against depth")


def curves(results: Sequence[Result]) -> dict[str, list[tuple[float, float, float | None]]]:
    """For each line of the picture its points: layers a position, nats an image and their spread over the seeds."""
    lines: dict[str, list[tuple[float, float, float | None]]] = {}
    for ending, line in _LINES.items():
        for method in dict.fromkeys(
            r.method for r in results if ending in r.method and r.layers_a_position is not None
        ):
            of_method = [result for result in results if result.method == method]
            layers = [r.layers_a_position for r in of_method if r.layers_a_position is not None]
            nats = [r.log_likelihood for r in of_method if r.log_likelihood is not None]
            spread = statistics.stdev(nats) if len(nats) > 1 else None
            lines.setdefault(line, []).append((statistics.fmean(layers), statistics.fmean(nats), spread))
    return lines


def _draw_completions(path: Path, model: Autoregressive, test: Tensor, classes: Tensor) -> None:
    """Of the first test image of each class."""
    given = arm.SIZE // 2
    firsts = torch.stack([(classes == k).nonzero()[0, 0] for k in classes.unique()])
    images = test[firsts]
    drawn = model.complete(images[:, :given].flatten(1), (_DRAWS,), generator=0)
    with torch.no_grad():
        lower = float(model.terms(test)[:, given:].sum(dim=(1, 2)).double().mean())
    arm_pictures.completions_picture(
        path,
        images,
        drawn,
        given=given,
        darkest=arm.LEVELS - 1,
        title="Upper halves of test images, completed by the transformer",
        below=f"lower halves given the upper ones: {in_nats(lower)} in the mean of {len(test)} test images",
    )


def in_nats(score: float) -> str:
    """A score in words."""
    return f"{score:.1f} nats an image".replace("-", "\N{MINUS SIGN}")
