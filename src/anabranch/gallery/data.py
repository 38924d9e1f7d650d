"""The images and tables of the gallery: files if they are there, scikit-learn's digits if not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.checks import one_of


@dataclass
class Labelled:
    """Rows with classes that no fit sees.

    Attributes:
        name: of the data.
        x: training rows.
        classes: of the training rows, for pictures alone.
        test: rows to score on.
        test_classes: their classes.
        shape: height and width, if the rows are images.
    """

    name: str
    x: NDArray[np.float64]
    classes: Tensor
    test: NDArray[np.float64]
    test_classes: Tensor
    shape: tuple[int, int] | None = None


@dataclass
class Images:
    """Images of whole levels, (rows, height, width) in uint8.

    Attributes:
        x: training rows.
        validation: which say when a fit is at its best.
        test: rows to score on.
        test_classes: their classes, for pictures alone.
    """

    x: Tensor
    validation: Tensor
    test: Tensor
    test_classes: Tensor


def load_images() -> Images:
    """scikit-learn's digits, 8 x 8 pixels of 17 levels: 1,000 rows, 350 and 447, in their order."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 (slow to import)

    digits = load_digits()
    x, y = torch.as_tensor(digits.images.astype(np.uint8)), torch.as_tensor(digits.target)
    return Images(x[:1000], x[1000:1350], x[1350:], y[1350:])


@dataclass
class LevelledImages:
    """Images of whole levels, (rows, channels, height, width) in uint8, in the order of their file.

    Attributes:
        name: of the data.
        levels: how many a pixel may have.
        x: training rows.
        validation: which say when a fit is at its best.
        test: rows to score on.
        test_classes: their classes, for pictures alone; None if they are not known.
    """

    name: str
    levels: int
    x: Tensor
    validation: Tensor
    test: Tensor
    test_classes: Tensor | None = None


LEVELLED = ("digits", "fashion", "mnist")


def load_levelled(name: str, file: Path | None = None) -> LevelledImages:
    """Images by name: scikit-learn's digits, or those of a file of 256 levels.

    Args:
        name: "digits" (17 levels, rows 1000/350/447); "fashion" or "mnist".
        file: of the latter: .npz with x (rows, height, width) in uint8, and xt, a test set; without that the last sixth of x
            is the test set. The last twenty-fifth of the other rows say when a fit is at its best. y, or yt of xt, are the
            classes, if they are there.

    Raises:
        ValueError: another name, no file, a file of digits, or one without such arrays.
    """
    if one_of("data", name, LEVELLED) == "digits":
        if file is not None:
            raise ValueError(f"file: expected None for digits, which come with scikit-learn, got {file}")
        images = load_images()
        x, validation, test = (rows[:, None] for rows in (images.x, images.validation, images.test))
        return LevelledImages(name, 17, x, validation, test, images.test_classes)
    if file is None:
        raise ValueError(f"file: expected the .npz file of {name}, with x (rows, height, width) in uint8, got None")
    opened = np.load(file, allow_pickle=False)
    if isinstance(opened, np.ndarray):
        raise ValueError(f"{file}: expected an .npz file with x, got one array; write it with numpy.savez(file, x=...)")
    with opened as arrays:
        found = {key: arrays[key] for key in ("x", "xt") if key in arrays.files}
        of_test = "yt" if "xt" in found else "y"
        classes = arrays[of_test] if of_test in arrays.files else None
    for key, value in found.items():
        if value.dtype != np.uint8 or value.ndim != 3:
            raise ValueError(
                f"{file}: expected {key} (rows, height, width) in uint8, got shape {value.shape} in {value.dtype}"
            )
    if "x" not in found:
        raise ValueError(f"{file}: expected an array x, got none")
    x = torch.from_numpy(found["x"])[:, None]
    if "xt" not in found:
        x, test = x[: len(x) - len(x) // 6], x[len(x) - len(x) // 6 :]
    else:
        test = torch.from_numpy(found["xt"])[:, None]
    kept = len(x) - len(x) // 25
    if kept == len(x) or not len(test):
        raise ValueError(
            f"{file}: expected at least 25 images to fit and 1 to score, got {len(x)} and {len(test)} (without xt the last "
            "sixth of x is scored)"
        )
    known = None
    if classes is not None:
        known = torch.from_numpy(classes.astype(np.int64))[-len(test) :]
        if known.shape != (len(test),):
            raise ValueError(f"{file}: expected {of_test} with a class for each image, got shape {classes.shape}")
    return LevelledImages(name, 256, x[:kept], x[kept:], test, known)


def load_digits_0_to_4(folder: Path, rows: int = 8000) -> Labelled:
    """MNIST's digits 0 to 4 from `mnist.npz` (x, y; pixels 0 to 255), scikit-learn's smaller ones if there is no such file.

    Of MNIST `rows` of the first 50,000 images are to fit, and all of the last 10,000 to score.
    """
    path = folder / "mnist.npz"
    if path.exists():
        x, y = _read(path)
        x = x.reshape(len(x), -1)
        keep = y < 5
        first = np.arange(len(y)) < len(y) - 10_000
        training, test = np.flatnonzero(keep & first)[:rows], np.flatnonzero(keep & ~first)
        return _labelled("mnist", x / 255.0, y, training, test, (28, 28))
    from sklearn.datasets import load_digits  # noqa: PLC0415 (slow to import)

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(np.flatnonzero(y < 5))
    return _labelled("scikit-learn's digits", x / 16.0, y, order[len(order) // 4 :], order[: len(order) // 4], (8, 8))


def load_tables(folder: Path) -> list[Labelled]:
    """`penbased.npz` and `satimage.npz` (x, y), all rows both to fit and to score; digits and wines without them."""
    found = []
    for name in ("penbased", "satimage"):
        path = folder / f"{name}.npz"
        if path.exists():
            x, y = _read(path)
            found.append(_labelled(name, x, y, np.arange(len(y)), np.arange(len(y))))
    if not found:
        from sklearn.datasets import load_digits, load_wine  # noqa: PLC0415 (slow to import)

        for name, load in (("scikit-learn's digits", load_digits), ("scikit-learn's wines", load_wine)):
            x, y = load(return_X_y=True)
            found.append(_labelled(name, x, y, np.arange(len(y)), np.arange(len(y))))
    return found


def _read(path: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        if not {"x", "y"} <= set(file.files):
            raise ValueError(f"{path}: expected arrays x and y, got {', '.join(file.files)}")
        return file["x"].astype(np.float64), file["y"]


def _labelled(
    name: str,
    x: NDArray[np.float64],
    y: NDArray[Any],
    training: NDArray[Any],
    test: NDArray[Any],
    shape: tuple[int, int] | None = None,
) -> Labelled:
    classes = torch.as_tensor(np.unique(y[np.union1d(training, test)], return_inverse=True)[1])
    of_all = torch.zeros(len(y), dtype=torch.long)
    of_all[torch.as_tensor(np.union1d(training, test))] = classes
    return Labelled(name, x[training], of_all[training], x[test], of_all[test], shape)
