"""Bias and variance of gradients with a discrete hidden variable, on models whose exact gradient is a sum.

python benchmarks/discrete_latents.py [--seeds 0,1,2,3,4] [--rows 5000]

Two hidden numbers of three values each (one-hot), or four of two, two observed ones; weights are random, and there are eight
points x. The gradient is that of the bound with respect to the logits of q(z | x). Bias is |E g - exact| / |exact|, where
the squares are means over the points, and what the standard error of the mean explains is taken off; noise is the root of
the total variance of one draw's gradient, beside |exact|; floor is the noise of the mean, below which a bias cannot be seen.
Draws are passes of the decoder for a row. float64, one thread.
"""

import argparse
from pathlib import Path

import torch
from trials import note, over_seeds, write

from anabranch.densities import Bernoulli, Normal, OneHot
from anabranch.draws import drawing
from anabranch.models import LatentVariable
from anabranch.networks import MLP
from anabranch.objectives import Enumerated, Objective, Relaxed, ScoreFunction
from anabranch.objectives.objective import Batch
from anabranch.testing import randomize

PAGE = Path(__file__).parent.parent / "docs" / "discrete_latents.md"


def build(kind: str, seed: int) -> LatentVariable:
    """A model with random weights."""
    with drawing(seed):
        if kind == "4 of 2":
            prior, posterior, size = (
                Bernoulli(torch.zeros(4)),
                Bernoulli(torch.zeros(4), network=MLP(2, 4, hidden=(8,))),
                4,
            )
        else:
            prior, posterior, size = (
                OneHot(torch.zeros(2, 3)),
                OneHot(torch.zeros(2, 3), network=MLP(2, 6, hidden=(8,))),
                6,
            )
        decoder = Normal(torch.zeros(2), network=MLP(size, 4, hidden=(8,)))
        return randomize(LatentVariable(prior, decoder, posterior), 0.5).double()


def points() -> torch.Tensor:
    """The points x: (8, 2)."""
    return torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradients(model: LatentVariable, objective: Objective, rows: int, seed: int) -> torch.Tensor:
    """Of so many rows at each of the points: (rows, points, logits)."""
    x = points().expand(rows, -1, -1).flatten(0, 1)
    seen: list[torch.Tensor] = []

    def keep(module: object, inputs: object, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.retain_grad()
            seen.append(output)

    hook = model.posterior.theta.network.register_forward_hook(keep)
    with drawing(seed):
        objective(Batch(model, x, None, None, torch.arange(len(x)), 0.0)).sum().backward()
    hook.remove()
    model.zero_grad()
    each = [y.grad for y in seen if y.grad is not None]
    return sum(g.reshape(-1, len(x), g.shape[-1]).sum(0) for g in each).unflatten(0, (rows, -1))


def objectives() -> dict[str, tuple[Objective, int]]:
    """By name, with the decoder's passes for a row."""
    return {
        "score function": (ScoreFunction("none", draws=1), 1),
        "score function, running mean": (ScoreFunction("mean", draws=1, decay=0.9), 1),
        "score function, network": (ScoreFunction(MLP(2, 1, hidden=(16,)), draws=1), 1),
        "score function, the others of 2": (ScoreFunction("others", draws=2), 2),
        "score function, the others of 8": (ScoreFunction("others", draws=8), 8),
        "relaxed, T = 1": (Relaxed(1.0), 1),
        "relaxed, T = 0.5": (Relaxed(0.5), 1),
        "relaxed, T = 0.1": (Relaxed(0.1), 1),
        "straight through, T = 1": (Relaxed(1.0, straight_through=True), 1),
        "straight through, T = 0.5": (Relaxed(0.5, straight_through=True), 1),
    }


def main() -> None:
    """Measure all of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--rows", type=int, default=5_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for kind in ("4 of 2", "2 of 3"):
        for seed in map(int, options.seeds.split(",")):
            model = build(kind, seed)
            exact = gradients(model, Enumerated(), 1, 0)[0]
            size = float(exact.square().sum(-1).mean().sqrt())
            for name, (objective, draws) in objectives().items():
                objective.prepare(Batch(model, points(), None, None, torch.arange(8), 0.0), 1)
                learns = isinstance(objective, ScoreFunction) and objective.baseline not in ("none", "others")
                for step in range(300 if learns else 0):
                    gradients(model, objective, 8, 1000 + step)
                g = gradients(model, objective, options.rows, 1)
                variance = float(g.var(0).sum(-1).mean())
                excess = float((g.mean(0) - exact).square().sum(-1).mean()) - variance / options.rows
                row = {"hidden": kind, "gradient": name, "draws": draws, "seed": seed, "exact": size}
                row |= {"bias": max(0.0, excess) ** 0.5 / size, "noise": variance**0.5 / size}
                note(rows, row | {"floor": row["noise"] / options.rows**0.5})
    table = over_seeds(rows, ["hidden", "gradient", "draws"], {"bias": ".3f", "floor": ".3f", "noise": ".2f"})
    write("discrete_latents", {"rows": options.rows}, rows, table, PAGE)


if __name__ == "__main__":
    main()
