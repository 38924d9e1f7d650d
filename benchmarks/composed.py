"""A depth mixture as the base of another: how its modes multiply, that it is a density, what it costs and what it fits.

python benchmarks/composed.py

Inner blocks L1, outer blocks L2. A log_prob runs the L2 outer blocks once, and the L1 inner ones for each of the L2 depths:
L2 (1 + L1) block evaluations a row for L1 L2 components, where one depth mixture of all blocks has L1 + L2 of both.
"""

import math
import statistics
from collections.abc import Callable, Sequence

import torch
from components import WORKS, timed, works_of
from trials import OPTIONS, Row, fitted, note, over_seeds, write

import anabranch as ab
from anabranch.densities import Density, Normal
from anabranch.draws import drawing
from anabranch.gallery.grids import Extent, density_grid
from anabranch.gallery.results import count_parameters, mean_log_prob
from anabranch.gallery.toys import TOYS, Rows
from anabranch.transforms import Chain, LULinear

EPOCHS, INNER, OUTER = 80, 3, 3
WHOLE: Extent = (-7.0, 3.0, -7.0, 3.0)  # of what is built by hand
AROUND: Extent = (-5.0, 5.0, -5.0, 5.0)  # of standardised rows
FITTED = {"log-likelihood": ".3f", "blocks a sample": ".2f", "integral": ".4f", "chi-squared / cells": ".2f"}
FITTED |= {"parameters": ",.0f", "seconds": ".0f"}
COSTS = {"parameters": ",.0f"} | dict.fromkeys(
    ["blocks a row", *(f"{work}, flow is 1" for work in (*WORKS, "sample"))], ".3g"
)


def affine(blocks: int) -> Chain:
    return ab.flows.realnvp(2, blocks=blocks, hidden=(32, 32), activation="silu")


MODELS: dict[str, Callable[[], Density]] = {
    f"flow of {INNER + OUTER} blocks": lambda: ab.Flow(affine(INNER + OUTER)),
    f"depth mixture of {INNER + OUTER}": lambda: ab.DepthMixture(affine(INNER + OUTER)),
    f"composed, {INNER} under {OUTER}": lambda: ab.DepthMixture(affine(OUTER), base=ab.DepthMixture(affine(INNER))),
}


def shifts(*steps: Sequence[float]) -> Chain:
    """One block for each step, which moves x by it."""
    blocks = []
    for step in steps:
        block = LULinear(2)
        with torch.no_grad():
            block.bias.copy_(torch.tensor(step))
        blocks.append(block)
    return Chain(blocks)


def by_hand(inner: int, outer: int) -> dict[str, Density]:
    """Inner blocks that move a narrow normal to the left and outer ones that move it down, composed and in one chain."""
    left, down = [(1.0, 0.0)] * inner, [(0.0, 1.0)] * outer
    narrow = Normal([0.0, 0.0], scale=[0.15, 0.15])
    base = ab.DepthMixture(shifts(*left), narrow, gate="constant", heads="none", lead=0)
    return {
        "composed": ab.DepthMixture(shifts(*down), base, gate="constant", heads="none", lead=0),
        "one depth mixture": ab.DepthMixture(shifts(*left, *down), narrow, gate="constant", heads="none", lead=0),
    }


def modes(density: Density, size: int = 201) -> int:
    """Cells of a grid that are above all eight neighbours, and not far below the highest.

    The size is such that no mode lies midway between cells, which would then tie and be counted twice.
    """
    grid = torch.as_tensor(density_grid(density, WHOLE, size))
    around = torch.nn.functional.max_pool2d(grid[None, None], 3, stride=1, padding=1)[0, 0]
    return int(((grid == around) & (grid > 0.1 * grid.max())).sum())


def checked(density: Density, whole: Extent, cells: int = 40, draws: int = 100_000) -> Row:
    """The integral over a grid, and how far samples are from the density: chi-squared over the number of cells."""
    fine = 20 * cells
    left, right, bottom, _ = whole
    mass = torch.as_tensor(density_grid(density, whole, fine)) * ((right - left) / fine) ** 2
    expected = draws * mass.reshape(cells, 20, cells, 20).sum(dim=(1, 3)).flatten()
    with drawing(0):
        x = density.sample((draws,))
    place = ((x - torch.tensor([left, bottom])) / (right - left) * cells).floor().long()
    place = place[((place >= 0) & (place < cells)).all(dim=-1)]
    counts = torch.bincount(place[:, 1] * cells + place[:, 0], minlength=cells**2)
    often = expected >= 10
    chi = ((counts - expected).square() / expected)[often].sum()
    return {"integral": float(mass.sum()), "chi-squared / cells": float(chi / often.sum()), "cells": int(often.sum())}


def evaluations(density: Density, rows: int = 64) -> float:
    """How many blocks a log_prob runs for each row, counted."""
    ran = []
    blocks = [block for chain in density.modules() if isinstance(chain, Chain) for block in chain]
    handles = [b.register_forward_hook(lambda _, x, __: ran.append(math.prod(x[0].shape[:-1]))) for b in blocks]
    density.log_prob(torch.randn(rows, 2))
    for handle in handles:
        handle.remove()
    return sum(ran) / rows


def costs(rounds: int = 15) -> list[Row]:
    """Counts, and times as ratios to the flow's of the same round."""
    x = torch.randn(1024, 2, generator=torch.Generator().manual_seed(0))
    with drawing(0):
        models = {method: build() for method, build in MODELS.items()}
    times: dict[str, dict[str, list[float]]] = {method: {} for method in models}
    works = {m: works_of(d, x) | {"sample": lambda d=d: d.sample((1024,))} for m, d in models.items()}
    for turn in range(rounds + 1):
        for method in models:
            for work, run in works[method].items():
                spent = timed(run)
                if turn:
                    times[method].setdefault(work, []).append(spent)
    first = times[next(iter(models))]
    rows = []
    for method, density in models.items():
        row: Row = {"part": "cost", "method": method, "parameters": count_parameters(density)}
        row |= {"blocks a row": evaluations(density)}
        for work, mine in times[method].items():
            row[f"{work}, flow is 1"] = statistics.median(a / b for a, b in zip(mine, first[work], strict=True))
        note(rows, row)
    return rows


def depth_of_samples(density: Density) -> float:
    """Blocks that a sample runs through, on average."""
    if not isinstance(density, ab.DepthMixture):
        return float(INNER + OUTER)
    inner = density.base.expected_depth() if isinstance(density.base, ab.DepthMixture) else 0.0
    return density.expected_depth() + inner


def main(seeds: int = 4) -> None:
    """Build, check, time, fit, print and write."""
    rows: list[Row] = []
    for inner, outer in ((2, 3), (3, 4), (5, 5)):
        for method, density in by_hand(inner, outer).items():
            row: Row = {"part": "by hand", "L1": inner, "L2": outer, "method": method, "modes": modes(density)}
            note(rows, row | checked(density, WHOLE))
    rows += costs()
    for toy in ("pinwheel-3", "circles"):
        for seed in range(seeds):
            data = Rows(TOYS[toy](), seed)
            start = {"part": "fit", "toy": toy, "seed": seed}
            best = mean_log_prob(TOYS[toy]().density, data.test * data.scale + data.mean)
            note(rows, start | {"method": "optimum", "log-likelihood": best})
            for method, build in MODELS.items():
                density, seconds = fitted(build, data.x, seed, EPOCHS)
                row = start | {"method": method, "log-likelihood": data.score(density), "seconds": seconds}
                row |= {"parameters": count_parameters(density), "blocks a sample": depth_of_samples(density)}
                if seed == 0:
                    row |= checked(density, AROUND)
                note(rows, row)
    tables = []
    for part, by, columns in (
        ("by hand", ("L1", "L2", "method"), {"modes": ".0f", "integral": ".5f", "chi-squared / cells": ".2f"}),
        ("cost", ("method",), COSTS),
        ("fit", ("toy", "method"), FITTED),
    ):
        tables.append(over_seeds([row for row in rows if row["part"] == part], by, columns))
    write("composed", OPTIONS | {"epochs": EPOCHS}, rows, "\n\n".join(tables))


if __name__ == "__main__":
    main()
