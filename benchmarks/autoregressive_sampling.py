"""What sampling from a causal network costs: steps that reuse earlier work, against one full pass for each position.

python benchmarks/autoregressive_sampling.py [--page]        # with --page also into results/ and docs/autoregressive.md
python benchmarks/autoregressive_sampling.py --only WaveNet --rows 16

Samples are binary, drawn from the same uniform numbers in both ways. All full passes cost the same, so a few of them are
timed, in turns with whole samplings by steps, and multiplied by the number of positions.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from trials import write

from anabranch.networks import (
    CausalConvolution,
    CausalNetwork,
    CausalTransformer,
    FiniteMemory,
    MaskedMLP,
    PixelCNN,
    Recurrent,
)
from anabranch.testing import randomize

PAGE = Path(__file__).parent.parent / "docs" / "autoregressive.md"
# A network over 28 x 28 positions with one output each: a line for each that takes part.
NETWORKS: dict[str, Callable[[], CausalNetwork]] = {
    "WaveNet": lambda: CausalConvolution(784, 1, hidden=64, skip=64, layers=10),
    "finite memory": lambda: FiniteMemory((28, 28), 1, memory=(5, 5), hidden=128),
    "recurrent": lambda: Recurrent(784, 1, hidden=128),
    "PixelCNN": lambda: PixelCNN((28, 28), 1, hidden=32, layers=8),
    "transformer": lambda: CausalTransformer((28, 28), 1, hidden=64, layers=4, heads=4),
    "MADE": lambda: MaskedMLP(784, 1, hidden=(512, 512)),
}


def by_steps(network: CausalNetwork, uniform: Tensor) -> Tensor:
    """(rows, positions) of zeros and ones."""
    state = network.start(uniform.shape[:1])
    previous, values = None, []
    for u in uniform.unbind(1):
        y, state = network.step(state, previous)
        previous = (u < torch.sigmoid(y.squeeze(-1))).to(uniform)
        values.append(previous)
    return torch.stack(values, dim=1)


def by_passes(network: CausalNetwork, uniform: Tensor, passes: int | None = None) -> Tensor:
    """The same by one full pass for each position; of so many of them alone, if given."""
    x = torch.zeros_like(uniform)
    for d in range(uniform.shape[1] if passes is None else passes):
        y = network(x.reshape(-1, *network.event_shape)).reshape(*uniform.shape)
        x[:, d] = (uniform[:, d] < torch.sigmoid(y[:, d])).to(x)
    return x


def seconds(function: Callable[..., Tensor], *arguments: object) -> float:
    begun = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begun


def compare(network: CausalNetwork, rows: int, passes: int, rounds: int) -> dict[str, float]:
    uniform = torch.rand(rows, network.features)
    by_steps(network, uniform[:, :8]), by_passes(network, uniform, 1)
    pairs = [(seconds(by_steps, network, uniform), seconds(by_passes, network, uniform, passes)) for _ in range(rounds)]
    scale = network.features / passes
    return {
        "steps_s": statistics.median(a for a, _ in pairs),
        "full_passes_s": statistics.median(b for _, b in pairs) * scale,
        "full_passes_over_steps": statistics.median(b / a for a, b in pairs) * scale,
        "steps_over_one_pass": statistics.median(a / b for a, b in pairs) * passes,
    }


def main(
    only: Annotated[str, typer.Option(help="Networks, by commas.")] = ",".join(NETWORKS),
    rows: Annotated[str, typer.Option(help="Numbers of samples at once, by commas.")] = "16,256",
    passes: Annotated[int, typer.Option(help="How many full passes are timed in a round.")] = 3,
    rounds: Annotated[int, typer.Option(help="In how many rounds the two take turns.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    check: Annotated[bool, typer.Option(help="Draw one sample in both ways whole, and compare.")] = True,
    page: Annotated[bool, typer.Option(help="Write the result, and the table on the page of the docs.")] = False,
) -> None:
    """Time both, print and write the result."""
    torch.set_num_threads(threads)
    results = []
    for name in only.split(","):
        torch.manual_seed(0)
        network = randomize(NETWORKS[name](), scale=0.02).eval()
        with torch.no_grad():
            if check:
                uniform = torch.rand(1, network.features)
                equal = torch.equal(by_steps(network, uniform), by_passes(network, uniform))
                print(f"{name}: samples of both ways are {'equal' if equal else 'NOT equal'}", flush=True)
            for count in [int(c) for c in rows.split(",")]:
                result = compare(network, count, passes, rounds)
                results.append({"network": name, "rows": count, "threads": threads, **result})
                print(
                    f"{name:16s} {count:4d} rows: steps {result['steps_s']:.3g} s, {network.features} full passes "
                    f"{result['full_passes_s']:.3g} s, {result['full_passes_over_steps']:.3g} times as long; "
                    f"steps take {result['steps_over_one_pass']:.3g} times one pass",
                    flush=True,
                )
    head = ("network", *(f"{count} samples by steps, s" for count in rows.split(",")))
    head += tuple(f"784 passes, steps are 1, {count} samples" for count in rows.split(","))
    lines = [f"| {' | '.join(head)} |", "| - " * len(head) + "|"]
    for name in dict.fromkeys(row["network"] for row in results):
        some = [row for row in results if row["network"] == name]
        cells = [name, *(f"{row['steps_s']:.2f}" for row in some)]
        cells += [f"{row['full_passes_over_steps']:.0f}" for row in some]
        lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines)
    if page:
        settings = {"passes": passes, "rounds": rounds, "threads": threads}
        write("autoregressive_sampling", settings, results, table, PAGE)
    else:
        print(f"\n{table}")


if __name__ == "__main__":
    typer.run(main)
