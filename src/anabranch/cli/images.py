"""Images read, scored and drawn by commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import anabranch as ab
from anabranch.array_files import ARRAYS
from anabranch.atomic import check_new_folder
from anabranch.cli.array_files import check_array_output, write_array
from anabranch.cli.errors import complain, naming
from anabranch.models import Autoregressive
from anabranch.training.progress import waiting

if TYPE_CHECKING:
    import pyarrow

    from anabranch.images import ImageModel

# of options in the help
PANEL = "Images"
LABELS = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The array in .npz with a label for each image.", rich_help_panel=PANEL),
]
ARRAY = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The array in .npz of the images; by default x, or the only one of 3 or 4 dimensions.",
        rich_help_panel=PANEL,
    ),
]


def refuse_options(path: Path, options: Mapping[str, Any], got: str, expected: str = "tables") -> None:
    """Raise ValueError if one of these options is set, which go with what is `expected`, not with what was `got`."""
    wrong = [name for name, value in options.items() if value is not None]
    if wrong:
        raise ValueError(f"{path}: --{wrong[0].replace('_', '-')}: expected for {expected} alone, got {got}")


def score_images(model_file: Path, path: Path, array: str | None, labels: str | None) -> tuple[pyarrow.Table, str]:
    """A table with a row for each image of a file or folder: its name or number, nats, and bits per dimension.

    Also a sentence with the means.

    Raises:
        ValueError: images that the model does not take; one line, which names the file.
    """
    import pyarrow as pa  # noqa: PLC0415 (slow to import)

    from anabranch.images import read_images  # noqa: PLC0415

    with about_images(path):
        images = read_images(path, array, labels)
    model: ImageModel = ab.load(model_file)
    with about_images(path, named=False):
        log_p = model.log_prob(images)
    bits = -log_p / (model.pixels.dimensions * np.log(2))
    names = pa.array(np.arange(len(images))) if images.names is None else pa.array(images.names)
    scores = {"image": names, "log_likelihood": pa.array(log_p), "bits_per_dimension": pa.array(bits)}
    told = f"scored {len(images):,} images, {log_p.mean():.3f} nats per image, {bits.mean():.3f} bits per dimension"
    return pa.table(scores), told


def sample_images(model_file: Path, n: int, folder: Path | None, label: str | None, seed: int | None) -> None:
    """Draw images into a new folder of PNG files, with a contact sheet.

    Raises:
        ValueError: no folder, one that holds files, or a label that was not fitted.
    """
    from anabranch.images import write_folder  # noqa: PLC0415 (slow to import)
    from anabranch.images.png import require_pillow  # noqa: PLC0415

    if folder is None:
        raise ValueError("--output: expected a folder for the images, got none; name a new one with -o")
    require_pillow()
    _check_folder(folder)
    model: ImageModel = ab.load(model_file)
    with waiting("drawing", shown=True):
        images = model.sample(n, label, seed)
    write_folder(model.shown(images), folder, images.labels)
    complain(f"wrote {n:,} images and a contact sheet to {folder}")


def images_as_levels(model: ImageModel, path: Path, array: str | None) -> tuple[NDArray[np.uint8], Autoregressive]:
    """The levels of the images in a file or folder, and their density, for what is compressed.

    Raises:
        ValueError: images that the model does not take, or a model of images with labels.
    """
    from anabranch.images import read_images  # noqa: PLC0415 (slow to import)

    if model.classes is not None:
        raise ValueError(f"{path}: expected a model of images that was fitted without labels, got one with labels")
    if not isinstance(model.density, Autoregressive):
        raise ValueError(f"{path}: expected an autoregressive model, got a {type(model.density).__name__} of images")
    with about_images(path):
        images = read_images(path, array)
    with about_images(path, named=False):
        return model.pixels.levels(images), model.density


def check_image_output(path: Path | None, **read: Path | None) -> None:
    """Raise ValueError unless images can be written there: to .npy, to .npz, to a new folder, or to a pipe, which None is.

    Nor may it be one of the files that are `read`, by name.
    """
    from anabranch.images.png import require_pillow  # noqa: PLC0415 (slow to import)

    if path is None or path.suffix in ARRAYS:
        check_array_output(path, **read)
    else:
        require_pillow()
        _check_folder(path)


def _check_folder(path: Path) -> None:
    """Raise ValueError unless images can be written into a folder of that name, which is not that of a file."""
    from anabranch.images.folder import IMAGE_FILES  # noqa: PLC0415 (slow to import)
    from anabranch.tables.formats import FORMATS  # noqa: PLC0415

    if not path.is_dir() and path.name.lower().endswith((*IMAGE_FILES, *FORMATS)):
        raise ValueError(f"{path}: expected a folder for the images, got the name of a file; leave out {path.suffix!r}")
    check_new_folder(path)


def write_levels(model: ImageModel, levels: NDArray[Any], path: Path | None) -> None:
    """Write images, the numbers as they were stored: an array (n, H, W) or (n, H, W, 3), or a folder of PNG files."""
    from anabranch.images import Images, write_folder  # noqa: PLC0415 (slow to import)

    pictures = Images(model.pixels.stored(levels)).pictures
    if path is None or path.suffix in ARRAYS:
        write_array(pictures, path)
    else:
        write_folder(pictures, path)


@contextmanager
def about_images(path: Path, named: bool = True) -> Iterator[None]:
    """Errors and warnings about images inside name this file or folder.

    Args:
        path: of the file or folder.
        named: whether errors name it already.
    """
    from anabranch.images import ImageWarning  # noqa: PLC0415 (slow to import)

    def in_words(error: ValueError) -> str | None:
        return None if named or not str(error).startswith(("images:", "labels:")) else str(error)

    with naming(path, ImageWarning, in_words):
        yield
