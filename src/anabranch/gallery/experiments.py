"""The experiments by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from anabranch.checks import one_of, positive_int
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.gallery import clusters, naive, plane, toys
from anabranch.gallery.arm import Arm
from anabranch.gallery.data import LevelledImages, load_levelled
from anabranch.gallery.diffusion import Diffusions
from anabranch.gallery.diffusion_drawing import draw_diffusion
from anabranch.gallery.drawing import draw, draw_curves
from anabranch.gallery.image_flow_drawing import draw_image_flows
from anabranch.gallery.image_flows import ImageFlows
from anabranch.gallery.panels import require_matplotlib
from anabranch.gallery.results import Result, write_results
from anabranch.gallery.vae import Vae
from anabranch.gallery.vae_drawing import draw_vae

NAMES = (
    *toys.TOYS,
    *("mnist-clusters", "table-clusters", "depth-against-naive", "plane", "arm", "images", "vae", "diffusion"),
)
# the experiments that take an option
TAKING: dict[str, tuple[str, ...]] = {
    "epochs": ("arm", "images", "vae", "diffusion"),
    "minutes": ("images",),
    "file": ("images", "vae"),
}


def run_experiment(
    name: str,
    folder: Path,
    seeds: int = 4,
    data: Path = Path("../shared/data"),
    report: Callable[[Result], object] | None = None,
    epochs: int | None = None,
    images: str = "digits",
    file: Path | None = None,
    minutes: float | None = None,
) -> list[Result]:
    """Run an experiment on several seeds, and write `NAME.json` and its pictures.

    The file of results is written anew with each result, so that nothing that is done is lost.

    Args:
        name: one of `NAMES`.
        folder: where to write; made if it is not there.
        seeds: how many, from 0.
        data: where `mnist.npz`, `penbased.npz` and `satimage.npz` lie, arrays x and y each; without them scikit-learn's
            digits and wines are taken.
        report: called with every result as it comes.
        epochs: at most so many in each fit of "arm" and "diffusion", for a quick look, and so many in each of "vae"; None
            for as many as their recipes say. Of "images" so many in place of minutes.
        images: of "images" and "vae": "digits", "fashion" or "mnist".
        file: of the last two, .npz; see `data.load_levelled`.
        minutes: of each fit of "images"; None for 3 (digits), 20 on a CPU or 12 on a GPU.

    Raises:
        ValueError: an unknown name; epochs, minutes or a file for another experiment.
    """
    one_of("name", name, NAMES)
    positive_int("seeds", seeds)
    if epochs is not None:
        positive_int("epochs", epochs)
    for option, value in (("epochs", epochs), ("minutes", minutes), ("file", file)):
        taking = TAKING[option]
        if value is not None and name not in taking:
            who = f"{', '.join(taking)} alone take{'s' * (len(taking) == 1)} it"
            raise ValueError(f"{option}: expected None for {name}, since {who}, got {value}")
    require_matplotlib()  # said before the fits, not after them
    levelled = load_levelled(images, file) if name in TAKING["file"] else None
    run = _runs(name, data, seeds, epochs, levelled, minutes)
    folder.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    fitted: dict[str, Density] = {}
    for seed in range(seeds):
        with drawing(seed):
            for result, density in run(seed):
                results.append(result)
                write_results(folder / f"{name}.json", results)
                if report is not None:
                    report(result)
                if seed == 0 and density is not None:
                    fitted[result.method] = density
        if seed == 0:
            _draw(name, folder, data, levelled, fitted, results)
    draw_curves(name, folder, results, fitted)
    return results


def _runs(
    name: str, data: Path, seeds: int, epochs: int | None, levelled: LevelledImages | None, minutes: float | None
) -> Callable[[int], Iterator[tuple[Result, Density | None]]]:
    """What runs one seed."""
    if levelled is not None:
        return Vae(levelled, epochs) if name == "vae" else ImageFlows(levelled, minutes, epochs)
    if name == "mnist-clusters":
        return lambda seed: clusters.run_images(data, seed)
    if name == "table-clusters":
        return lambda seed: clusters.run_tables(data, seed)
    if name == "depth-against-naive":
        return naive.run
    if name == "plane":
        return plane.run
    if name == "arm":
        return Arm(seeds, epochs)
    if name == "diffusion":
        return Diffusions(epochs)
    return lambda seed: toys.run(name, seed)


def _draw(
    name: str,
    folder: Path,
    data: Path,
    levelled: LevelledImages | None,
    fitted: Mapping[str, Density],
    results: Sequence[Result],
) -> None:
    """The pictures of the first seed."""
    if name == "diffusion":
        draw_diffusion(folder, fitted)
    elif levelled is None:
        draw(name, folder, data, fitted)
    elif name == "vae":
        draw_vae(folder, levelled, fitted, results)
    else:
        bits = {row.method: row.bits_per_dimension for row in results if row.bits_per_dimension is not None}
        draw_image_flows(folder, levelled, fitted, bits)
