"""A density together with the images it is a density of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from anabranch.checks import positive_int, reference_tensor
from anabranch.densities import Density
from anabranch.described import Described
from anabranch.draws import drawing
from anabranch.images.bits_per_dimension import as_bits_per_dimension
from anabranch.images.collection import Bytes, Images, as_images
from anabranch.images.pixels import Pixels

Float64 = NDArray[np.float64]
# pixels that are scored or drawn at once
_AT_ONCE = 2**17


class ImageModel(Described):
    """A density of images, with what they hold. `fit_images` and `anabranch fit` make one.

    `anabranch.save` writes it and `anabranch.load` reads it, sizes, levels and labels included.

    Args:
        pixels: size, channels and levels.
        density: of levels (*event), with a one-hot vector of the label as context if there are classes.
        classes: the labels, or None.
        shares: of the images, that have each label; equal by default.
        images: to how many it was fitted; None if not known.

    Raises:
        ValueError: the density has another event or context than the images and classes.

    Example:
        >>> import numpy, torch
        >>> import anabranch as ab
        >>> from anabranch.families import Bernoulli
        >>> from anabranch.images import ImageModel, Pixels
        >>> density = ab.models.Autoregressive(Bernoulli(), ab.networks.PixelCNN((4, 4), outputs=1, zero_start=True))
        >>> model = ImageModel(Pixels(4, 4, count=2), density)
        >>> model.log_prob(numpy.zeros((3, 4, 4))).round(3), model.bits_per_dimension(numpy.ones((1, 4, 4)))
        (array([-11.09, -11.09, -11.09]), array([1.]))
        >>> model.sample(5, seed=0).x.shape
        (5, 4, 4)
    """

    def __init__(
        self,
        pixels: Pixels,
        density: Density,
        classes: Sequence[Any] | None = None,
        shares: Sequence[float] | None = None,
        images: int | None = None,
    ) -> None:
        super().__init__()
        if density.event_shape != pixels.event_shape:
            raise ValueError(
                f"density: expected event shape {tuple(pixels.event_shape)}, got {tuple(density.event_shape)}"
            )
        wanted = None if classes is None else torch.Size([len(classes)])
        if density.context_shape != wanted:
            raise ValueError(
                f"density: expected context shape {wanted and tuple(wanted)}, "
                f"got {density.context_shape and tuple(density.context_shape)}"
            )
        self.pixels = pixels
        self.density = density
        self.classes = None if classes is None else list(classes)
        count = len(self.classes or [])
        self.shares = [1 / max(count, 1)] * count if shares is None else [float(share) for share in shares]
        if len(self.shares) != count:
            raise ValueError(f"shares: expected one for each of the {count} classes, got {len(self.shares)}")
        self.images = None if images is None else positive_int("images", images)

    @property
    def unit(self) -> str:
        """The unit of `log_prob`, in words."""
        return "nats per image, a probability" + ("" if self.classes is None else " given its label")

    def log_prob(self, images: Images | ArrayLike | Tensor, labels: Any = None) -> Float64:
        """log p of every image, (n,), in nats: a probability, since levels are whole numbers.

        Of a model with classes: log p(image | label) with labels, those of `images` too; without them the log of
        p(image) = sum over the classes of their share times p(image | class), which takes a pass for each class.

        Args:
            images: as they were stored; images that were read from PNG files may have their levels spread from 0 to 255.
            labels: one for each image.

        Raises:
            ValueError: another size, other channels, a number that is no level, a label that was not fitted; labels for a
                model without classes.
        """
        images = as_images(images, labels)
        x = self.pixels.levels(images, spread=images.names is not None)
        if self.classes is None and images.labels is None:
            return self._log_prob(x, None)
        if images.labels is not None:
            return self._log_prob(x, self.one_hot(images.labels))
        with np.errstate(divide="ignore"):
            shares = np.log(self.shares)
        each = [self._log_prob(x, np.eye(len(shares))[[k] * len(x)]) + shares[k] for k in range(len(shares))]
        return np.asarray(np.logaddexp.reduce(each, axis=0), dtype=np.float64)

    def bits_per_dimension(self, images: Images | ArrayLike | Tensor, labels: Any = None) -> Float64:
        """-log2 p(image) / (height x width x channels), (n,); see `log_prob`."""
        return np.asarray(as_bits_per_dimension(self.log_prob(images, labels), self.pixels.dimensions))

    def sample(self, n: int, label: Any = None, seed: int | None = None) -> Images:
        """New images, with numbers as they were stored, and with labels if the model has classes.

        Args:
            n: how many.
            label: of all of them; by default labels are drawn, as often as they were among the images.
            seed: makes the draws repeatable; by default torch's global generator goes on.

        Raises:
            ValueError: a label that was not fitted, or any for a model without classes.
        """
        n = positive_int("n", n)
        if label is not None and self.classes is None:
            raise ValueError("label: expected None, since the model was fitted without labels")
        some = max(1, _AT_ONCE // self.pixels.dimensions)
        drawn = []
        labels: NDArray[Any] | None = None
        with torch.no_grad(), self._evaluated(), drawing(seed):
            contexts: Tensor | None = None
            if self.classes is not None:
                numbers = (
                    torch.multinomial(torch.tensor(self.shares), n, replacement=True).numpy()
                    if label is None
                    else np.repeat(self._numbers(np.asarray([label])), n)
                )
                labels = np.asarray(self.classes)[numbers]
                contexts = self._tensor(np.eye(len(self.classes))[numbers])
            for begin in range(0, n, some):
                if contexts is None:
                    drawn.append(self.density.sample((min(some, n - begin),)).cpu().numpy())
                else:
                    drawn.append(self.density.sample((), contexts[begin : begin + some]).cpu().numpy())
        return Images(self.pixels.stored(np.concatenate(drawn).astype(np.uint8)), None, labels)

    def shown(self, images: Images) -> Bytes:
        """Images of the model as pictures, (n, H, W) or (n, H, W, 3), their levels as brightness from 0 to 255."""
        return Images(self.pixels.shown(self.pixels.levels(images))).pictures

    def one_hot(self, labels: NDArray[Any]) -> Float64:
        """Labels as vectors (n, classes).

        Raises:
            ValueError: one that was not fitted, or any of a model without classes.
        """
        if self.classes is None:
            raise ValueError("labels: expected none, since the model was fitted without labels")
        return np.eye(len(self.classes))[self._numbers(labels)]

    def _numbers(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        known = {str(one): number for number, one in enumerate(self.classes or [])}
        unknown = [str(label) for label in labels if str(label) not in known]
        if unknown:
            raise ValueError(f"labels: expected some of {', '.join(list(known)[:40])}, got {unknown[0]}")
        return np.array([known[str(label)] for label in labels])

    def _log_prob(self, x: NDArray[np.uint8], context: Float64 | None) -> Float64:
        some = max(1, _AT_ONCE // self.pixels.dimensions)
        parts = []
        with torch.no_grad(), self._evaluated():
            for begin in range(0, len(x), some):
                rows = slice(begin, begin + some)
                given = None if context is None else self._tensor(context[rows])
                parts.append(self.density.log_prob(self._tensor(x[rows]), given).double().cpu().numpy())
        return np.concatenate(parts)

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        like = reference_tensor(self.density)
        return torch.as_tensor(np.ascontiguousarray(values)).to(torch.get_default_dtype() if like is None else like)

    @contextmanager
    def _evaluated(self) -> Iterator[None]:
        """Nothing is silenced at random."""
        was_training = self.density.training
        self.density.eval()
        try:
            yield
        finally:
            self.density.train(was_training)
