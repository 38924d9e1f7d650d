"""Held-out log-likelihood of a mixture from depth, of the same chain as a plain flow, and of simple baselines.

python benchmarks/likelihood.py table.npz [--seeds 3] [--epochs 16] [-o benchmarks/results/likelihood_NAME.json]

The table is split 80/10/10 by a seeded shuffle and standardised with the training rows' mean and standard deviation; numbers
are nats per row on standardised columns.
"""

import json
import math
import platform
import statistics
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

import anabranch as ab
from anabranch.tables import read_table
from anabranch.training.baseline import choose_gaussian_mixture, fit_gaussian_mixture


def split(x: np.ndarray, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training, validation and test rows, standardised."""
    x = x[np.random.default_rng(seed).permutation(len(x))]
    train, validation, test = np.split(x, [int(0.8 * len(x)), int(0.9 * len(x))])
    loc, scale = train.mean(0), train.std(0)
    return tuple(torch.tensor((rows - loc) / scale, dtype=torch.float32) for rows in (train, validation, test))


def score(density: ab.densities.Density, rows: torch.Tensor) -> tuple[float, float]:
    """Mean log-likelihood and its standard error."""
    with torch.no_grad():
        values = torch.cat([density.log_prob(batch) for batch in rows.split(4096)]).double()
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


def flow_model(kind: str, features: int, seed: int) -> ab.densities.Density:
    """A spline autoregressive chain of 5 blocks, hidden 128x2, 8 bins, as this kind of model."""
    torch.manual_seed(seed)
    linear = "without linear maps" not in kind
    chain = ab.flows.nsf(features=features, context=0, blocks=5, hidden=(128, 128), bins=8, linear=linear)
    return ab.Flow(chain) if kind.startswith("flow") else ab.DepthMixture(chain)


def main(
    table: Path,
    seeds: int = 3,
    epochs: int = 16,
    learning_rate: float = 5e-3,
    output: Annotated[Path | None, typer.Option("-o", "--output")] = None,
    kinds: str = "depth mixture,flow,depth mixture without linear maps,flow without linear maps",
) -> None:
    """Fit, score, print a table and write it as JSON."""
    data = read_table(table)
    x = np.stack([column.to_numpy() for column in data.columns], axis=1).astype(np.float64)
    rows = []

    def note(method: str, seed: int, density: ab.densities.Density, test: torch.Tensor, begun: float, **more) -> None:
        mean, error = score(density, test)
        seconds = time.perf_counter() - begun
        count = sum(p.numel() for p in density.parameters() if p.requires_grad)
        rows.append(
            {"method": method, "seed": seed, "log_likelihood": mean, "standard_error": error, "seconds": seconds}
            | {"parameters": count}
            | more
        )
        print(f"{method:40s} seed {seed}  {mean:8.3f} +- {error:.3f}  {seconds:6.1f} s  {more or ''}", flush=True)

    for seed in range(seeds):
        train, validation, test = split(x, seed)
        begun = time.perf_counter()
        note("Gaussian", seed, fit_gaussian_mixture(train.numpy(), 1, seed=seed).float(), test, begun)
        begun = time.perf_counter()
        mixture = choose_gaussian_mixture(train.numpy(), validation.numpy(), seed=seed).float()
        note("Gaussian mixture", seed, mixture, test, begun, components=mixture.components)
        for kind in kinds.split(","):
            begun = time.perf_counter()
            model = flow_model(kind, x.shape[1], seed)
            history = ab.fit(
                model,
                train,
                validation=validation,
                epochs=epochs,
                batch_size=512,
                learning_rate=learning_rate,
                seed=seed,
            )
            more = {"steps": history.epochs[-1].step, "best_epoch": history.best_epoch}
            if isinstance(model, ab.DepthMixture):
                more["expected_depth"] = round(model.expected_depth(), 3)
            note(kind, seed, model, test, begun, **more)

    print(f"\n| method | test log-likelihood, nats per row (mean and range of {seeds} seeds) |\n|-|-|")
    for method in dict.fromkeys(row["method"] for row in rows):
        values = [row["log_likelihood"] for row in rows if row["method"] == method]
        print(f"| {method} | {statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}) |")
    target = output or Path(__file__).parent / "results" / f"likelihood_{table.stem}.json"
    about = {"anabranch": ab.__version__, "torch": torch.__version__, "processor": platform.machine()}
    setting = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": 512, "rows": len(x)}
    target.write_text(
        json.dumps({"table": table.stem, "about": about, "setting": setting, "rows": rows}, indent=1) + "\n"
    )
    print(f"wrote {target}")


if __name__ == "__main__":
    typer.run(main)
