"""The simple descriptions beside which a fit to images is reported: independent pixels, normal densities, a compressor."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.densities import Dequantized
from anabranch.draws import drawing
from anabranch.images.collection import Bytes
from anabranch.models import Flow
from anabranch.training.baseline import choose_gaussian_mixture
from anabranch.transforms import Reshape

# weights of the mean distribution beside a pixel's frequencies, in images, of which the validation images choose
_WEIGHTS = (0.5, 2.0, 8.0, 32.0)
# counts at once
_AT_ONCE = 2**24
ZSTD = 19
_SIZES = (1, 2, 4, 8, 16, 32)


def independent_pixels(train: Bytes, validate: Bytes, test: Bytes, count: int) -> NDArray[np.float64]:
    r"""log p of images (n, *event) if every number were independent, in nats: (n).

    .. math:: P(x_d = k) = \frac{n_{dk} + a q_k}{n + a}, \qquad q_k \propto 1 + \sum_d n_{dk},

    where n_dk counts the training images whose number d is k, and q is the distribution of all numbers together. The
    validation images choose its weight a.

    Args:
        train, validate, test: levels.
        count: how many levels there are.
    """
    train, validate, test = (x.reshape(len(x), -1) for x in (train, validate, test))
    counts = np.bincount(train.ravel(), minlength=count) + 1.0
    pooled = np.asarray(counts / counts.sum(), dtype=np.float64)
    chosen = np.array([_log_p(train, validate, pooled, weight).mean() for weight in _WEIGHTS])
    return _log_p(train, test, pooled, _WEIGHTS[int(chosen.argmax())])


def gaussian_mixture(train: Tensor, validate: Tensor, count: int, seed: int) -> Dequantized:
    """The Gaussian mixture of (x + u) / count, of one draw of uniform noise u for each image: a density of levels.

    Args:
        train: images (n, *event) to fit.
        validate: images that choose the number of components, of 1 to 32.
        count: how many levels there are.
        seed: of the noise and of the fits.
    """
    with drawing(seed):
        fitted, chosen_by = (((x + torch.rand(x.shape)) / count).flatten(1).double().numpy() for x in (train, validate))
    mixture = choose_gaussian_mixture(fitted, chosen_by, _SIZES, seed=seed).float()
    shape = train.shape[1:]
    return Dequantized(Flow(Reshape(shape, shape.numel()), mixture), count)


def zstd_bytes(images: Bytes, count: int) -> int:
    """Bytes of all images together, compressed by zstd at level 19 as one block, a byte for each number.

    Two levels are tried as one bit for each number too; the lesser one counts.
    """
    import pyarrow as pa  # noqa: PLC0415 (slow to import)

    codec = pa.Codec("zstd", compression_level=ZSTD)
    forms = [images.tobytes()] + ([np.packbits(images).tobytes()] if count == 2 else [])
    return min(len(codec.compress(form, asbytes=True)) for form in forms)


def _log_p(train: Bytes, x: Bytes, pooled: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    n, dimensions = train.shape
    count = len(pooled)
    result = np.zeros(len(x))
    step = max(1, _AT_ONCE // count)
    for begin in range(0, dimensions, step):
        part = train[:, begin : begin + step]
        width = part.shape[1]
        places = part + count * np.arange(width)
        frequencies = np.bincount(places.ravel(), minlength=count * width).reshape(width, count)
        log_p = np.log((frequencies + weight * pooled) / (n + weight))
        result += log_p[np.arange(width), x[:, begin : begin + step]].sum(axis=1)
    return result
