"""From images to a density of them, in one call."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from anabranch.checks import device_here, positive, positive_int, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.images.architecture import Architecture
from anabranch.images.baselines import ZSTD, independent_pixels, zstd_bytes
from anabranch.images.bits_per_dimension import as_bits_per_dimension
from anabranch.images.collection import Bytes, Images, ImageWarning, as_images
from anabranch.images.model import ImageModel
from anabranch.images.pixels import MOST_LEVELS, Pixels
from anabranch.images.report import ImageReport
from anabranch.training import Epoch, History, NonFiniteError, fit
from anabranch.training.outcome import Score, outcome
from anabranch.training.pace import MINUTES
from anabranch.training.progress import waiting
from anabranch.training.splitting import split_rows
from anabranch.training.watch import Watch

# 80 % to fit, 10 % to stop by, 10 % to report on: below this, the last two say nothing
_LEAST = 50
_MOST_CLASSES = 1_000


def fit_images(
    images: Images | Tensor | ArrayLike,
    labels: Any = None,
    *,
    levels: int | None = None,
    hidden: int | None = None,
    blocks: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
    callback: Callable[[Epoch], bool | None] | None = None,
    keep: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
) -> tuple[ImageModel, ImageReport]:
    """Fit a PixelCNN to images of one size, and report its held-out likelihood beside independent pixels and zstd.

    The images are shuffled and split: 80 % to fit, 10 % to stop by, 10 % to report on. `Pixels.of` says which levels a
    pixel has. Zeros and ones are Bernoulli, a few levels have a probability each, 256 levels are a mixture of discretised
    logistics; red, green and blue know of each other.

    Args:
        images: as `read_images` gives them, or an array as `as_images` takes it.
        labels: one for each image, to condition the density on: images of a label can be drawn then.
        levels: how many a channel of a pixel has, in place of what the images show.
        hidden: units of each layer of the network; by default as many as let a fit see each image twice within the time on
            two CPU cores, or on a GPU: 16 to 96.
        blocks: layers of the network, by default 8.
        epochs, minutes, batch_size, learning_rate, seed, device, progress, callback, keep, checkpoint, checkpoint_seconds:
            as of `tables.fit_table`; a batch has 16 to 32 images, as many as make 32,768 pixels (on a GPU 128, and
            131,072), and the rate is 1e-2, of `training.Muon`.

    Returns:
        the model, and the report.

    Raises:
        ValueError: images that cannot be fitted, or options that are not as described.
        NonFiniteError: the loss became NaN or infinite.

    Warns:
        ImageWarning: images in colour that are all grey.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from anabranch.images import fit_images
        >>> model, report = fit_images(load_digits().images[:200], hidden=4, blocks=1, epochs=1)
        >>> report.pixels, report.rows
        ('8 x 8 pixels, grey, 17 levels (stored as 0 to 16)', {'all': 200, 'training': 160, 'validation': 20, 'test': 20})
        >>> [score.name for score in report.scores]
        ['PixelCNN', 'independent pixels', 'zstd -19']
    """
    batch_size = None if batch_size is None else positive_int("batch_size", batch_size)
    levels = None if levels is None else positive_int("levels", levels, least=2)
    if levels is not None and levels > MOST_LEVELS:
        raise ValueError(f"levels: expected at most {MOST_LEVELS}, got {levels}")
    epochs = None if epochs is None else positive_int("epochs", epochs)
    minutes = MINUTES if minutes is None and epochs is None else minutes
    minutes = None if minutes is None else positive("minutes", minutes)
    seed = seed_number(seed)
    target = None if device is None else device_here("device", device)
    images = as_images(images, labels)
    if len(images) < _LEAST:
        number = f"{len(images)} image{'s' * (len(images) != 1)}"
        raise ValueError(
            f"images: expected at least {_LEAST}, to fit 80 % and judge on the rest, got {number}; add more"
        )
    pixels = Pixels.of(images, levels)
    _warn_of_grey(images)
    x = pixels.levels(images)
    train, validate, test = split_rows(len(x), seed)
    classes, numbers = _classes(images, train)
    architecture = Architecture.chosen(pixels, len(train), minutes or MINUTES, target, hidden, blocks)
    density = architecture.build(pixels, len(classes or []), seed)
    shares = None if classes is None else np.bincount(numbers[train], minlength=len(classes)) / len(train)

    def model() -> ImageModel:
        return ImageModel(pixels, density, classes, None if shares is None else shares.tolist(), len(train))

    pace = architecture.pace.options(len(train), epochs, batch_size, learning_rate, minutes)
    watch = Watch(model, callback)
    begun = time.perf_counter()
    with watch.handed_on():
        history = _fit(
            density,
            [_tensors(x, numbers, classes, index) for index in (train, validate)],
            **pace,
            seed=seed,
            device=target,
            callback=watch,
            progress=progress,
            keep=keep,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
        )
    fitted = time.perf_counter()
    image_model = model()
    with watch.handed_on(), waiting("baselines", shown=progress):
        log_p = _held_out(image_model, images.take(test), target)
        scores = _scores(log_p, [x[index] for index in (train, validate, test)], pixels)
    paced = ("epochs", "minutes", "batch_size", "learning_rate")
    return image_model, ImageReport(
        model=architecture.words,
        parameters=sum(p.numel() for p in density.parameters() if p.requires_grad),
        pixels=str(pixels),
        dimensions=pixels.dimensions,
        classes=None if classes is None else [str(one) for one in classes],
        rows={"all": len(x), "training": len(train), "validation": len(validate), "test": len(test)},
        seed=seed,
        unit=image_model.unit,
        scores=scores,
        bits_per_dimension={one.name: float(as_bits_per_dimension(one.mean, pixels.dimensions)) for one in scores},
        **outcome(history),
        # with those of the parts before a checkpoint
        seconds={"fit": max(fitted - begun, history.epochs[-1].seconds), "baselines": time.perf_counter() - fitted},
        options=architecture.options | {name: pace[name] for name in paced if pace.get(name) is not None},
    )


def _fit(density: Density, data: list[tuple[Tensor, Tensor | None]], **options: Any) -> History:
    """Fit a density to the first rows, with the second ones to stop by.

    Raises:
        NonFiniteError: the loss became NaN or infinite. It names no row: the loop counts those it was given.
    """
    (x, context), validation = data
    try:
        return fit(density, x, context, validation=validation, **options)
    except NonFiniteError as error:
        raise NonFiniteError(
            f"the loss became infinite or NaN at step {error.step}, first in {error.layer}; lower the learning rate",
            error.step,
            None,
            error.layer,
        ) from error


def _tensors(
    x: Bytes, numbers: NDArray[np.int64], classes: list[Any] | None, index: NDArray[np.int64]
) -> tuple[Tensor, Tensor | None]:
    """Some of the images, and their labels as one-hot vectors."""
    context = None if classes is None else torch.from_numpy(np.eye(len(classes))[numbers[index]])
    # in PyTorch's default dtype, as the density is
    return torch.from_numpy(x[index]), None if context is None else context.to(torch.get_default_dtype())


def _classes(images: Images, train: NDArray[np.int64]) -> tuple[list[Any] | None, NDArray[np.int64]]:
    """The labels in their order, and the number of each image's.

    Raises:
        ValueError: there is one alone, too many, or one that none of the fitted images has.
    """
    if images.labels is None:
        return None, np.zeros(len(images), dtype=np.int64)
    values, numbers = np.unique(images.labels, return_inverse=True)
    if not 2 <= len(values) <= _MOST_CLASSES:
        raise ValueError(f"labels: expected 2 to {_MOST_CLASSES:,} different ones, got {len(values)}")
    lacking = np.setdiff1d(np.arange(len(values)), numbers[train])
    if len(lacking):
        have = int((numbers == lacking[0]).sum())
        raise ValueError(
            f"labels: expected fitted images of each, got none of {values[lacking[0]]}, which {have} of all images "
            "have; leave such images out, or add more"
        )
    return values.tolist(), numbers.reshape(-1)


def _warn_of_grey(images: Images) -> None:
    if images.channels == 3 and bool((images.x == images.x[:, :1]).all()):
        warnings.warn(
            "the three channels are equal in all images; grey images, of one channel, are fitted better and faster",
            ImageWarning,
            stacklevel=3,
        )


def _held_out(model: ImageModel, images: Images, device: torch.device | None) -> NDArray[np.float64]:
    """log p of images, computed where the model was trained."""
    like = reference_tensor(model.density)
    home = None if like is None else like.device
    try:
        return model.to(device or home).log_prob(images)
    finally:
        model.to(home)


def _scores(log_p: NDArray[np.float64], parts: list[Bytes], pixels: Pixels) -> list[Score]:
    """Scores of the held-out images by the model, by independent pixels and by zstd."""
    train, validate, test = parts
    independent = independent_pixels(train, validate, test, pixels.count)
    zstd = -zstd_bytes(test, pixels.count) * 8 * math.log(2) / len(test)
    mean = float(log_p.mean())
    return [
        Score.of("PixelCNN", log_p, log_p),
        Score.of("independent pixels", independent, log_p),
        Score(f"zstd -{ZSTD}", zstd, math.nan, mean - zstd, math.nan),
    ]
