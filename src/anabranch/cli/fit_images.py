"""`anabranch fit` on images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anabranch.cli.files import check_not_read
from anabranch.cli.images import about_images, refuse_options
from anabranch.cli.keeping import show_and_save, unfinished
from anabranch.cli.reports import show_report


def for_images(path: Path, only_images: Mapping[str, Any], only_tables: Mapping[str, Any]) -> bool:
    """Whether a fit is to images, and not to a table.

    Args:
        path: of what is fitted.
        only_images, only_tables: options that go with one of the two alone, by name; None for those that are not set.

    Raises:
        ValueError: an option is set that does not go with what the file holds.
    """
    from anabranch.images import holds_images  # noqa: PLC0415 (slow to import)

    images = holds_images(path) or only_images["array"] is not None
    if images:
        refuse_options(path, only_tables, "images")
    else:
        refuse_options(path, only_images, "a table", "images")
    return images


def fit_image_file(
    path: Path,
    output: Path,
    *,
    hidden: str | None,
    blocks: int | None,
    labels: str | None,
    array: str | None,
    levels: int | None,
    checkpoint: Path | None,
    **pace: Any,
) -> None:
    """Fit a density to images, and write it to a file.

    Args:
        path: of the images.
        output: where to write the model.
        hidden: units of a layer, as they were typed.
        blocks, levels, checkpoint, pace: as of `images.fit_images`.
        labels, array: as of `images.read_images`.

    Raises:
        ValueError: images or options that cannot be fitted; one line, which names the file.
    """
    from anabranch.images import fit_images, read_images  # noqa: PLC0415 (slow to import)

    units = None if hidden is None else _read_units(hidden)
    with about_images(path):
        images = read_images(path, array, labels)
    check_not_read(output, "the model", images=path)
    with unfinished(output, path.name, checkpoint), about_images(path, named=False):
        fitted, report = fit_images(images, levels=levels, hidden=units, blocks=blocks, checkpoint=checkpoint, **pace)
    plain = report.to_dict()
    show_and_save(fitted, output, {"images": path.name, "report": plain}, lambda: show_report(path.name, plain))


def _read_units(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--hidden: expected one whole number for images, such as 32, got {text!r}") from None
