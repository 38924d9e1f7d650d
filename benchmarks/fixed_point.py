"""The inverse of autoregressive layers by steps, one a feature, against fixed-point (Jacobi) sweeps over all features.

python benchmarks/fixed_point.py table.npz [-o benchmarks/results/fixed_point.json]

A sweep inverts every feature's map with the parameters that the last sweep's x gives. After k sweeps the first k features
are right, so features of them always do, and fewer where features depend weakly on each other. Sweeps end when no value
moved by more than 1e-4. The layers are those of flows fitted to the table, their
splines' loops compiled and their networks not, timed one way after the other.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

import anabranch as ab
from anabranch.transforms import Autoregressive, Chain

TOLERANCE = 1e-4


def sweeps(layer: Autoregressive, z: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The inverse (of features in the layer's order), and how many sweeps it took."""
    x, count, moved = z, 0, torch.inf
    while count < z.shape[-1] and moved > TOLERANCE:
        last, (x, _) = x, layer.univariate.inverse(z.mT.contiguous(), layer.network(x).movedim(-2, 0))
        x = x.mT
        count, moved = count + 1, float((x - last).abs().max())
    return x, count


def median_ms(run: Callable[[], object], runs: int = 7) -> float:
    times = []
    for _ in range(runs + 2):  # the first two compile and warm up
        begun = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times[2:])


def main(
    table: Path,
    epochs: int = 25,
    rows: int = 1024,
    output: Annotated[Path, typer.Option("-o", "--output")] = Path(__file__).parent / "results" / "fixed_point.json",
) -> None:
    """Fit, invert both ways, print and write."""
    x = torch.tensor(np.load(table)["x"], dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    found = []
    for kind, recipe in (("spline", ab.flows.nsf), ("affine", ab.flows.maf)):
        torch.manual_seed(0)
        options = {"linear": False} if kind == "spline" else {}
        flow = ab.Flow(recipe(x.shape[1], blocks=3, **options))
        ab.fit(flow, x, epochs=epochs, learning_rate=2e-3, patience=None, seed=0, compile=False, progress=False)
        flow.compile()
        h = x[:rows]
        with torch.no_grad():
            # the first block standardises, and these rows are standardised already
            layers = [block.blocks["layer"] if isinstance(block, Chain) else block for block in flow.transform]
            for number, layer in enumerate(layers, start=1):
                z, _ = layer(h)
                order = layer.order
                ordered, places = z[:, order], order.argsort()
                by_sweeps, count = sweeps(layer, ordered)
                found.append(
                    {
                        "kind": kind,
                        "layer": number,
                        "features": x.shape[1],
                        "rows": len(h),
                        "sweeps": count,
                        "steps_ms": median_ms(lambda layer=layer, z=z: layer.inverse(z)),
                        "sweeps_ms": median_ms(lambda layer=layer, z=ordered: sweeps(layer, z)),
                        "error_of_steps": float((layer.inverse(z)[0] - h).abs().max()),
                        "error_of_sweeps": float((by_sweeps[:, places] - h).abs().max()),
                    }
                )
                print(json.dumps(found[-1]))
                h = z
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
