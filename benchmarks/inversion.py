"""What inverting an autoregressive layer costs: steps that reuse earlier work, against one full pass a feature.

python benchmarks/inversion.py [-o benchmarks/results/inversion.json]

The two are timed in turn, in one process, and compared pair by pair.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from anabranch.networks import MaskedMLP
from anabranch.testing import randomize
from anabranch.transforms import Autoregressive, RationalQuadraticSpline


def full_passes(layer: Autoregressive, z: torch.Tensor) -> torch.Tensor:
    """The inverse as one full pass of the layer for each feature: after pass i the first i features are right."""
    columns = z.mT.contiguous()  # as the layer itself lays them
    x = torch.zeros_like(columns)
    for _ in range(z.shape[-1]):
        x, _ = layer.univariate.inverse(columns, layer.network(x.mT).transpose(0, 1))
    return x.mT


def network_passes(layer: Autoregressive, z: torch.Tensor) -> torch.Tensor:
    """The same with the map inverted for one feature a pass: the whole network still runs for each."""
    x = torch.zeros_like(z)
    for i in range(z.shape[-1]):
        column, _ = layer.univariate.inverse(z[:, i], layer.network(x)[:, i])
        x[:, i] = column
    return x


def timed(function: object, *arguments: object) -> float:
    begun = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - begun) * 1000


def main(
    features: int = 63,
    rows: int = 1024,
    runs: int = 11,
    output: Annotated[Path, typer.Option("-o", "--output")] = Path(__file__).parent / "results" / "inversion.json",
) -> None:
    """Time both, count both, print and write the result."""
    torch.manual_seed(0)
    spline = RationalQuadraticSpline(bins=8)
    layer = randomize(Autoregressive(spline, MaskedMLP(features, spline.size, hidden=(128, 128))), scale=0.05)
    z = torch.randn(rows, features)
    with torch.no_grad():
        difference = (layer.inverse(z)[0] - full_passes(layer, z)).abs().max().item()
        with FlopCounterMode(display=False) as steps_count:
            layer.inverse(z)
        with FlopCounterMode(display=False) as forward_count:
            layer(z)
        ways = [layer.inverse, lambda z: full_passes(layer, z), lambda z: network_passes(layer, z), layer]
        rounds = [[timed(way, z) for way in ways] for _ in range(runs)]
    steps, passes, network, forward = (statistics.median(column) for column in zip(*rounds, strict=True))
    result = {
        "features": features,
        "rows": rows,
        "threads": torch.get_num_threads(),
        "steps_ms": steps,
        "full_passes_ms": passes,
        "network_passes_ms": network,
        "forward_ms": forward,
        "full_passes_over_steps": statistics.median(b / a for a, b, _, _ in rounds),
        "network_passes_over_steps": statistics.median(c / a for a, _, c, _ in rounds),
        "steps_over_forward": statistics.median(a / d for a, _, _, d in rounds),
        "multiply_adds_of_steps_over_forward": steps_count.get_total_flops() / forward_count.get_total_flops(),
        "largest_difference": difference,
    }
    for name, value in result.items():
        print(f"{name:40s} {value:.4g}")
    output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
