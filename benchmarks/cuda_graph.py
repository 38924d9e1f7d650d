"""A step of a spline flow on a GPU: one operation at a time, replayed as a CUDA graph, compiled, and both.

PYTHONPATH=src python3 benchmarks/cuda_graph.py [-o benchmarks/results/cuda_graph.json]

Five spline blocks of 7 features, 512 rows a step: milliseconds a step of `fit`, with all that it does (rows gathered on the
host and moved, rates, clipping, checks). The median over the later passes of 50 steps, in which nothing is compiled or
recorded any more.
"""

import json
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

import anabranch as ab

FEATURES, BATCH, STEPS, PASSES = 7, 512, 50, 8
# the first passes compile and record
LATER = 4
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"graph": False, "compile": False},
    "captured": {"graph": True, "compile": False},
    "compiled": {"graph": False, "compile": True},
    "compiled + captured": {"graph": True, "compile": True},
}


def measured(model: str, there: str, options: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds a step of a fit to rows that lie on a device."""
    with ab.drawing(0):
        chain = ab.flows.nsf(FEATURES, blocks=5)
        density = ab.Flow(chain) if model == "flow" else ab.DepthMixture(chain)
    x = torch.randn(BATCH * STEPS, FEATURES, generator=torch.Generator().manual_seed(0))
    begun = time.perf_counter()
    history = ab.fit(
        density,
        x.to(there),
        validation=0,
        epochs=PASSES,
        batch_size=BATCH,
        device="cuda",
        seed=0,
        progress=False,
        **options,
    )
    ends = [epoch.seconds for epoch in history.epochs]
    each = [1000 * (b - a) / STEPS for a, b in pairwise(ends)][LATER - 1 :]
    return {
        "model": model,
        "rows on": there,
        "milliseconds a step": round(median(each), 3),
        "seconds of the fit": round(time.perf_counter() - begun, 1),
        "graphs": history.graphs,
        "loss": history.epochs[-1].loss,
        **options,
    }


def main(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON.")] = None,
    models: Annotated[str, typer.Option(help="flow, depth mixture, by commas.")] = "flow,depth mixture",
) -> None:
    """Measure, print and write."""
    result: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "fits": []}
    print(f"{result['device']}, torch {torch.__version__}: {BATCH} rows of {FEATURES} features, 5 spline blocks")
    for model in models.split(","):
        for name, options in WAYS.items():
            for there in ("cpu", "cuda") if name == "compiled + captured" else ("cpu",):
                try:
                    done = measured(model, there, options)
                except Exception as error:  # the others are still worth their time
                    done = {"model": model, "rows on": there, "error": f"{type(error).__name__}: {error}", **options}
                    print(f"{model:14s} {name:20s} rows on {there:5s} {done['error']}", flush=True)
                else:
                    print(
                        f"{model:14s} {name:20s} rows on {there:5s} {done['milliseconds a step']:8.3f} ms a step, "
                        f"{done['graphs']} graphs, loss {done['loss']:.5f}, the fit took {done['seconds of the fit']} s",
                        flush=True,
                    )
                result["fits"].append({"way": name, **done})
                if output is not None:
                    output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
