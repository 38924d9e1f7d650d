"""What a generator costs: sampling with a seed beside sampling of the global generator, in turns in one process.

    python benchmarks/draws.py

The block that hands out the generator looks at every operation of PyTorch, which small batches feel most.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

import anabranch as ab

_ROUNDS = 25


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    """Print a table of medians and ratios."""
    torch.set_num_threads(1)
    with ab.drawing(0):
        densities = {
            "normal": ab.densities.Normal.standard(8),
            "coupling flow": ab.Flow(ab.flows.realnvp(features=8)),
            "spline autoregressive flow": ab.Flow(ab.flows.nsf(features=8)),
            "depth mixture": ab.DepthMixture(ab.flows.nsf(features=8, blocks=3)),
            "any order, 8 columns": ab.models.AnyOrder(8),
        }
    print("| density | draws | global, ms | seed, ms | ratio |\n|-|-|-|-|-|")
    for name, density in densities.items():
        for rows in (1, 1_000, 20_000):

            def free(density: ab.densities.Density = density, rows: int = rows) -> object:
                return density.sample((rows,))

            def seeded(density: ab.densities.Density = density, rows: int = rows) -> object:
                return density.sample((rows,), generator=0)

            free(), seeded()
            times = [(_seconds(free), _seconds(seeded)) for _ in range(_ROUNDS)]
            one, other = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
            ratio = statistics.median(b / a for a, b in times)
            print(f"| {name} | {rows:,} | {one:.2f} | {other:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
