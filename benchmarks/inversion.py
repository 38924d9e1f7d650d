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
    """The inverse as one pass of the whole network for each feature."""
    x = torch.zeros_like(z)
    for i in range(z.shape[-1]):
        parameters = layer.network(x)
        column, _ = layer.univariate.inverse(z[:, i], parameters[:, i])
        x = torch.cat([x[:, :i], column[:, None], x[:, i + 1 :]], dim=-1)
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
    layer = randomize(Autoregressive(spline, MaskedMLP(features, spline.size, hidden=(128, 128))), seed=0)
    z = torch.randn(rows, features)
    with torch.no_grad():
        difference = (layer.inverse(z)[0] - full_passes(layer, z)).abs().max().item()
        with FlopCounterMode(display=False) as steps_count:
            layer.inverse(z)
        with FlopCounterMode(display=False) as forward_count:
            layer(z)
        pairs = [(timed(layer.inverse, z), timed(full_passes, layer, z), timed(layer, z)) for _ in range(runs)]
    steps, passes, forward = (statistics.median(column) for column in zip(*pairs, strict=True))
    result = {
        "features": features,
        "rows": rows,
        "steps_ms": steps,
        "full_passes_ms": passes,
        "forward_ms": forward,
        "full_passes_over_steps": statistics.median(b / a for a, b, _ in pairs),
        "steps_over_forward": statistics.median(a / c for a, _, c in pairs),
        "multiply_adds_of_steps_over_forward": steps_count.get_total_flops() / forward_count.get_total_flops(),
        "largest_difference": difference,
        "threads": torch.get_num_threads(),
    }
    for name, value in result.items():
        print(f"{name:40s} {value:.4g}")
    output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
