"""The rows of simple baselines beside models of images."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from anabranch.densities import Density
from anabranch.gallery.results import Result, Stopwatch, estimated
from anabranch.images.baselines import gaussian_mixture, independent_pixels
from anabranch.images.bits_per_dimension import as_bits_per_dimension

PIXELS, GAUSSIANS = "independent pixels", "Gaussian mixture"
_SIDE = 16  # of images whose pixels a full covariance can hold
_DRAWS = 50  # of the noise, for each image


def baselines(
    prefix: str, x: Tensor, validation: Tensor, test: Tensor, levels: int, seed: int
) -> Iterator[tuple[Result, Density | None]]:
    """Independent pixels; and a Gaussian mixture of pixels with noise, where these are few and have more than two levels.

    Args:
        prefix: of the methods' names.
        x, validation: images (rows, channels, height, width) to fit, and to choose sizes by.
        test: images to score.
        levels: how many a pixel may have.
        seed: of the mixture.
    """
    log_p = float(independent_pixels(x.numpy(), validation.numpy(), test.numpy(), levels).mean())
    dimensions = x[0].numel()
    bits = float(as_bits_per_dimension(log_p, dimensions))
    yield (
        Result(f"{prefix}{PIXELS}", seed, log_p, parameters=dimensions * (levels - 1), bits_per_dimension=bits),
        None,
    )
    if levels > 2 and max(x.shape[-2:]) <= _SIDE:
        watch = Stopwatch()
        mixture = gaussian_mixture(x, validation, levels, seed)
        seconds = watch()
        result = estimated(f"{prefix}{GAUSSIANS}", seed, mixture, test, _DRAWS)
        result.seconds = seconds
        yield result, mixture
