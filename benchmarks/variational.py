"""Variational inference: flows beside normal densities on targets of known normaliser, and beside long chains.

python benchmarks/variational.py run [--targets "energy 1,..."] [--models "planar,..."] [--seeds 0,1,2] [--steps 600]
python benchmarks/variational.py chains
python benchmarks/variational.py table

`run` adds to benchmarks/results/variational.json what is not there yet, a fit at a time; `chains` draws coefficients of the
logistic regression by long Markov chains; `table` writes the tables of docs/variational.md.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import torch
import typer
from targets import Target, targets
from torch import Tensor
from trials import RESULTS, earlier, fill, note, over_seeds, write

import anabranch as ab
from anabranch.densities import Density, Normal
from anabranch.draws import drawing
from anabranch.gallery.results import Stopwatch
from anabranch.queries.diagnostics import effective_samples, r_hat
from anabranch.queries.importance import Joint
from anabranch.queries.moves import Moves
from anabranch.queries.student_mixture import StudentMixture
from anabranch.transforms import Affine, Elementwise, Transform

PAGE = RESULTS.parent.parent / "docs" / "variational.md"
CHAINS = RESULTS / "variational_chains.json"
BATCH, ANNEAL, RATE = 128, 0.5, 1e-2

app = typer.Typer(add_completion=False)


def normal(features: int) -> Normal:
    """A diagonal normal density that begins at a random place: 0 is a saddle of symmetric targets."""
    return Normal(torch.randn(features), learnable=True)


def placed(features: int, chain: Transform) -> Density:
    """A flow whose layers act around 0, behind a place and a scale that are fitted too, and begin as those of `normal`."""
    place = Elementwise(Affine(), features)
    with torch.no_grad():
        place.constants[:, 0] = torch.randn(features)
    return ab.Flow([place, chain])


# annealed, a normal density stays broad over two modes; not annealed, it finds one of them
COLD = "diagonal normal without annealing"
MODELS: dict[str, Callable[[int], Density]] = {
    "diagonal normal": normal,
    COLD: normal,
    "full normal": lambda d: placed(d, ab.flows.householder(d)),
    "planar": lambda d: placed(d, ab.flows.planar(d, blocks=8)),
    "Sylvester": lambda d: placed(d, ab.flows.sylvester(d, blocks=4)),
    "iaf": lambda d: placed(d, ab.flows.iaf(d, blocks=4, hidden=(32,))),
    "coupling splines": lambda d: placed(
        d, ab.flows.nsf(d, blocks=4, hidden=(32,), structure="coupling", linear=False)
    ),
}


def fitted(target: Target, model: str, seed: int, steps: int) -> tuple[ab.training.Variational, float]:
    """A fit and its seconds."""
    with drawing(seed):
        density = MODELS[model](target.features)
    watch = Stopwatch()
    result = ab.fit_variational(
        density,
        target.log_prob,
        steps=steps,
        batch_size=BATCH,
        learning_rate=RATE,
        anneal=0.0 if model == COLD else ANNEAL,
        average=0.98,
        samples=20_000,
        seed=seed,
        progress=False,
    )
    return result, watch()


@app.command()
def run(
    targets_: str = typer.Option("", "--targets"), models: str = "", seeds: str = "0,1,2", steps: int = 600
) -> None:
    """Fit what is not there yet."""
    known = targets()
    rows = earlier("variational")
    chains = json.loads(CHAINS.read_text()) if CHAINS.exists() else None
    for seed in map(int, seeds.split(",")):
        for name in targets_.split(",") if targets_ else known:
            for model in models.split(",") if models else MODELS:
                place = {"target": name, "model": model, "seed": seed}
                if any(all(row[key] == value for key, value in place.items()) for row in rows):
                    continue
                target = known[name]
                result, seconds = fitted(target, model, seed, steps)
                truth = target.log_normaliser
                row: dict[str, Any] = place | {
                    "log Z": result.log_normaliser,
                    "error": result.error,
                    "log Z off": None if truth is None else result.log_normaliser - truth,
                    "KL": None if truth is None else truth - result.lower_bound,
                    "lower bound": result.lower_bound,
                    "efficiency": result.efficiency,
                    "Pareto k": result.pareto_k,
                    "steps": steps,
                    "seconds": seconds,
                }
                if name == "penguins" and chains is not None:
                    row |= beside(result.density, chains, seed)
                note(rows, row)
                save(rows)


def save(rows: list[dict[str, Any]]) -> None:
    """Write the rows down, without the tables."""
    write("variational", {"batch": BATCH, "anneal": ANNEAL, "learning rate": RATE}, rows, "", page=RESULTS / "no page")


def beside(density: Density, chains: dict[str, Any], seed: int) -> dict[str, float]:
    """How far means and deviations of draws are from those of the chains: in deviations, and as the least ratio."""
    with torch.no_grad():
        x = density.sample((100_000,), generator=seed).double()
    mean, deviation = (torch.tensor(chains[name], dtype=torch.float64) for name in ("mean", "deviation"))
    return {
        "means off": float(((x.mean(dim=0) - mean) / deviation).abs().max()),
        "deviation ratio": float((x.std(dim=0) / deviation).min()),
    }


class Unnormalised(Density):
    """A target as a density for the chains, which ask it for ratios alone; it draws near its mode (Laplace)."""

    def __init__(self, target: Target) -> None:
        super().__init__((target.features,))
        self.target = target
        at = torch.zeros(target.features, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([at], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = -target.log_prob(at.unsqueeze(0)).sum()
            value.backward()
            return value

        optimiser.step(loss)
        hessian = torch.autograd.functional.hessian(lambda w: -target.log_prob(w.unsqueeze(0)).sum(), at.detach())
        self.register_buffer("at", at.detach())
        self.register_buffer("factor", torch.linalg.cholesky(torch.linalg.inv(hessian)))

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        noise = torch.randn(*shape, len(self.at), dtype=torch.float64)
        return self.at + noise @ self.factor.mT

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.target.log_prob(x)


@app.command()
def chains(count: int = 16, sweeps: int = 1_000) -> None:
    """Long chains of the logistic regression: Hamiltonian trajectories, and moves from a stand-in."""
    target = targets()["penguins"]
    density = Unnormalised(target)
    mixture = StudentMixture.of(density, seed=0)
    moves = Moves(Joint(density, [], list(range(target.features))), mixture, torch.zeros(1, 0, dtype=torch.float64))
    kept = []
    with drawing(0):
        begun, (log_z, error, _) = moves.start(count, 20_000)
        moves.proposals_only = False
        state = moves.warm_up(begun, 200)
        for _ in range(sweeps):
            state = moves.sweep(state)
            kept.append(state.x[:, 0])
    x = torch.stack(kept)
    found = {
        "draws": count * sweeps,
        "mean": x.flatten(0, 1).mean(dim=0).tolist(),
        "deviation": x.flatten(0, 1).std(dim=0).tolist(),
        "R-hat": max(float(r_hat(column)) for column in x.unbind(dim=-1)),
        "effective": min(float(effective_samples(column)) for column in x.unbind(dim=-1)),
        "log Z": float(log_z[0]),
        "log Z error": float(error[0]),
        "accepted": moves.accepted,
    }
    CHAINS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


@app.command()
def table() -> None:
    """Write the tables of the page."""
    rows = earlier("variational")
    known = json.loads(CHAINS.read_text()) if CHAINS.exists() else None
    for row in rows:
        if row["target"] == "penguins" and known is not None:
            row |= {"log Z off": row["log Z"] - known["log Z"], "KL": known["log Z"] - row["lower bound"]}
        row["KL"] = None if row["KL"] is None or not math.isfinite(row["KL"]) else row["KL"]
    columns = {"log Z off": "+.3f", "error": ".3f", "KL": ".3f", "efficiency": ".3f", "Pareto k": ".2f"}
    text = over_seeds(rows, ["target", "model"], columns)
    setting = {"batch": BATCH, "anneal": ANNEAL, "learning rate": RATE}
    write("variational", setting, rows, text, page=PAGE)
    regression = [row for row in rows if "means off" in row]
    if regression:
        text = over_seeds(regression, ["model"], {"means off": ".3f", "deviation ratio": ".3f", "efficiency": ".3f"})
        fill(PAGE, "variational_chains", text)
        print(f"\n{text}")


if __name__ == "__main__":
    app()
