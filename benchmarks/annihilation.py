"""How many components are found, from ten: annihilation beside scikit-learn's two ways.

python benchmarks/annihilation.py [--seeds 4] [--first 8] [-o benchmarks/results/annihilation.json]

Gaussian data get Gaussian components; wings get flows, of which one is told by a vector which component it is. Seeds 0 to 7
were in view while `Annihilation` was written, so the run begins with 8; the support of 20 comes from trials on them.
"""

import json
import time
import warnings
from pathlib import Path
from typing import Annotated

import torch
import typer
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from torch import Tensor

import anabranch as ab
from anabranch.datasets import Pinwheel
from anabranch.densities import Normal
from anabranch.objectives import Annihilation, Likelihood

COMPONENTS = 10
# rows, standard deviation and mean of each
BLOBS = {
    "one Gaussian": [(768, 1.0, (0.0, 0.0))],
    "three blobs": [(256, 0.5, (-3.0, 0.0)), (256, 0.5, (3.0, 0.0)), (256, 0.5, (0.0, 4.0))],
    "five blobs, unequal": [
        (400, 0.8, (-4.0, 0.0)),
        (200, 0.5, (4.0, 0.0)),
        (100, 0.6, (0.0, 4.0)),
        (60, 0.4, (0.0, -4.0)),
        (40, 0.3, (4.0, 5.0)),
    ],
}
# (name, data, the truth, support, epochs)
CASES = [
    ("one Gaussian", "one Gaussian", 1, None, 60),
    ("three blobs", "three blobs", 3, None, 60),
    ("five blobs, unequal", "five blobs, unequal", 5, None, 60),
    ("three wings, support 20", "wings", 3, 20.0, 200),
    ("three wings, support by default", "wings", 3, None, 200),
]


def rows(data: str, seed: int) -> Tensor:
    if data == "wings":
        x, _ = Pinwheel(3, 0.25).rows(512, seed)
        return (x - x.mean(dim=0)) / x.std(dim=0)
    generator = torch.Generator().manual_seed(seed)
    return torch.cat(
        [torch.randn(n, 2, generator=generator) * scale + torch.tensor(mean) for n, scale, mean in BLOBS[data]]
    )


def mixture(data: str) -> ab.FlowMixture:
    if data != "wings":
        return ab.FlowMixture([Normal.standard(2) for _ in range(COMPONENTS)], heads="affine")
    chain = ab.flows.realnvp(2, context=4, blocks=4, hidden=(32, 32), activation="silu", max_scale=5.0)
    return ab.FlowMixture(ab.models.Embedded(ab.Flow(chain), COMPONENTS), heads="affine")


def annihilated(data: str, x: Tensor, seed: int, support: float | None, epochs: int) -> dict[str, object]:
    torch.manual_seed(seed)
    model = mixture(data)
    ab.start_from(model, x, "k-means", seed=seed)
    annihilation = Annihilation(support)
    begun = time.process_time()
    ab.fit(
        model,
        x,
        objective=Likelihood() + annihilation,
        epochs=epochs,
        batch_size=256,
        noise=0.1 if data == "wings" else 0.0,
        patience=None,
        seed=seed,
        compile=False,
        progress=False,
    )
    return {
        "found": annihilation.found,
        "weights": sorted((round(w, 4) for w in model.prune(0).weights().tolist()), reverse=True),
        "lengths": {k: round(length, 1) for k, length in sorted(annihilation.lengths.items())},
        "seconds": round(time.process_time() - begun, 1),
    }


def bayesian(x: Tensor, seed: int) -> int:
    fitted = BayesianGaussianMixture(n_components=COMPONENTS, max_iter=1000, random_state=seed).fit(x.double().numpy())
    return int((fitted.weights_ > 0.01).sum())


def by_bic(x: Tensor, seed: int) -> int:
    array = x.double().numpy()
    sizes = range(1, COMPONENTS + 1)
    fits = [GaussianMixture(k, n_init=3, random_state=seed).fit(array) for k in sizes]
    return min(sizes, key=lambda k: fits[k - 1].bic(array))


def main(
    seeds: int = 4,
    first: int = 8,
    output: Annotated[Path, typer.Option("-o", "--output")] = Path(__file__).parent / "results" / "annihilation.json",
) -> None:
    """Fit all, print a table, write every seed down."""
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    results = []
    print("| data | truth | annihilation | Bayesian mixture | Gaussian mixture by BIC | seconds |")
    print("| - | - | - | - | - | - |")
    for name, data, truth, support, epochs in CASES:
        found = []
        for seed in range(first, first + seeds):
            x = rows(data, seed)
            mine = annihilated(data, x, seed, support, epochs)
            others = {"bayesian": bayesian(x, seed), "bic": by_bic(x, seed)}
            found.append({"case": name, "truth": truth, "support": support, "seed": seed, **mine, **others})
        results += found
        columns = [", ".join(str(one[key]) for one in found) for key in ("found", "bayesian", "bic")]
        seconds = sum(one["seconds"] for one in found) / len(found)
        print(f"| {name} | {truth} | {' | '.join(columns)} | {seconds:.0f} |", flush=True)
        output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
