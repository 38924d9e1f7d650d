"""Write a golden file for every kind of model that has none: a small model, rows, and what it says of them.

Run it after a new kind of model came to be: `python tests/golden/write.py`. Files that are there are never written again:
every later version gives their numbers, or refuses them with a reason (`tests/test_golden.py`).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import anabranch as ab
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.images import fit_images
from anabranch.tables import fit_table
from anabranch.testing import randomize
from anabranch.testing.registry import DENSITIES

FOLDER = Path(__file__).parent

# one for each class of densities, and for the recipes, maps and networks inside them
KINDS = [
    "normal", "full normal of context", "uniform", "Student t", "Bernoulli of context", "categorical",
    "independent, mixed", "full Gaussian mixture", "conditional of a Gaussian mixture", "resampled", "marginals",
    "Gaussian copula", "any order", "any order of several", "any order with ends", "any order around a circle",
    "conditional of any order", "pinwheel", "circles", "mixture of flows with a posterior", "mixture with heads",
    "mixture of one embedded flow", "ensemble of context", "folded branches", "branches that reach a part",
    "flow of context", "coupling flow", "inverse autoregressive flow", "flow through a logit", "flow that inverts",
    "depth mixture", "depth mixture of chosen depths", "base of one depth", "normal of an image", "flow of images",
    "multi-scale flow", "categorical images of an image", "linear Gaussian of two numbers",
    "latent variable with a flow for its posterior", "reordered", "at a context", "regardless of context",
    "autoregressive", "autoregressive of mapped normals, of context", "autoregressive of colours",
    "autoregressive of separate channels", "autoregressive by a masked network in an order",
    "autoregressive by a recurrence, of context", "autoregressive by convolutions",
    "autoregressive by a transformer, of context", "positions after others", "mixture over the depths of a sequence",
    "mixture over the depths of a PixelCNN, one for an image", "mixture over the depths of a step, of context",
    "mixture over the depths of a transformer, one for each step", "planar flow", "Sylvester flow of context",
    "flow of radial, orthogonal and exponential layers", "dequantized", "dequantized by a flow", "residual flow",
    "factorized images by convolutions", "encoded", "VampPrior of levels", "autoencoder of levels with a VampPrior",
    "autoencoder of images by convolutions", "autoencoder of columns", "marginals of context", "hierarchy of context",
    "hierarchy of images", "depths of context", "depths of images", "linear diffusion of context", "diffusion of levels",
    "depths of a linear diffusion", "diffusion with a prior, from a depth", "one-hot of context",
    "autoencoder of gaps", "columns of an autoencoder", "decoded draws", "hierarchy of gaps", "not at random",
    "latent variable of one-hot vectors", "linear Gaussian of a prior of classes, guessed", "classes and numbers of images",
    "prior of classes, of context",
    "residual flow of context, estimated", "flow in continuous time, of context", "flow in continuous time, estimated",
]  # fmt: skip


@dataclass
class Golden:
    """A model, rows, contexts, and the method that scores them."""

    model: Any
    x: Any
    context: Any = None
    method: str = "log_prob"


def of_registry(name: str) -> Golden:
    """A density of the registry."""
    case = DENSITIES[name]
    density = case.make().eval()
    context = case.contexts(3)
    with torch.no_grad(), drawing(3):
        x = density.sample((3,)) if context is None else density.sample((), context)
    method = "log_prob" if density.likelihood == "exact" else "estimate"
    return Golden(density, x, context, method)


def table(method: str = "log_prob", **options: Any) -> Golden:
    """A model of a data frame."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, 200),
            "income": np.where(rng.random(200) < 0.1, np.nan, np.exp(rng.normal(10, 1, 200)).round(2)),
            "sex": rng.choice(["f", "m"], 200),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 200), unit="D"),
        }
    )
    fitted = fit_table(frame, epochs=2, seed=0, progress=False, **options)
    return Golden(fitted[0], frame.head(3), None, method)


def images() -> Golden:
    """A model of images with labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=80)
    x = (rng.random((80, 4, 5)) < (y[:, None, None] + 1) / 4) * 3
    model, _ = fit_images(x, y, hidden=4, blocks=2, epochs=2, seed=0, progress=False)
    return Golden(model, x[:3], y[:3])


def of_flow(make: Callable[[], Any]) -> Golden:
    """A flow of random parameters, of a recipe or a base and a transform."""
    with drawing(4):
        made = make()
        density = randomize(made if isinstance(made, Density) else ab.Flow(made), 0.2).eval()
    with torch.no_grad(), drawing(3):
        return Golden(density, density.sample((3,)), None, "log_prob" if density.likelihood == "exact" else "estimate")


def dequantized_images(chain: Any) -> Density:
    """A flow of images of five levels, with noise that is a flow too."""
    noise = ab.Flow(ab.flows.dequantisation((1, 4, 4), hidden=4, blocks=1))
    return ab.densities.Dequantized(ab.Flow(chain), 5, noise, logit=True)


EXTRA: dict[str, Callable[[], Golden]] = {
    "table": table,
    "table-of-an-autoencoder": lambda: table("estimate", model="vae", latent=2, hidden=(8,)),
    "images": images,
    "flow-of-heavy-tails": lambda: of_flow(lambda: ab.flows.nsf(2, blocks=1, hidden=(8,), bins=4, tails="heavy")),
    "flow-of-monotone-networks": lambda: of_flow(lambda: ab.flows.naf(2, blocks=1, hidden=(8,))),
    "flow-of-polynomials": lambda: of_flow(lambda: ab.flows.bernstein(2, blocks=1, hidden=(8,))),
    "flow-of-angles": lambda: of_flow(
        lambda: ab.Flow(ab.flows.circular(2, blocks=2, hidden=(8,)), ab.densities.Uniform([0.0] * 2, [2 * np.pi] * 2))
    ),
    "flow-of-reflections": lambda: of_flow(lambda: ab.flows.householder(3)),
    "glow": lambda: of_flow(
        lambda: dequantized_images(ab.flows.glow((1, 4, 4), steps=1, hidden=4, blocks=1, attention=2))
    ),
    "real-nvp-of-images": lambda: of_flow(
        lambda: dequantized_images(
            ab.flows.realnvp_image((1, 4, 4), couplings=1, hidden=4, blocks=1, univariate="spline")
        )
    ),
}


def slug(name: str) -> str:
    """The name as that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def as_written(value: Any) -> Any:
    """Rows or contexts as JSON."""
    if value is None:
        return None
    if isinstance(value, pd.DataFrame):
        return value.to_csv(index=False)
    return value.tolist()


def scored(golden: Golden) -> tuple[list[float], list[float]]:
    """What a model says of its rows, in float64 of Python, and the standard errors."""
    arguments = [golden.x] if golden.context is None else [golden.x, golden.context]
    keywords = {"generator": 0} if golden.method == "estimate" and isinstance(golden.model, Density) else {}
    with torch.no_grad():
        result = getattr(golden.model, golden.method)(*arguments, **keywords)
    result = result if isinstance(result, tuple) else (result, np.zeros(len(np.asarray(result))))
    scores, errors = ([float(value) for value in np.asarray(part).ravel()] for part in result)
    return scores, errors


def main() -> None:
    """Write what is missing."""
    path = FOLDER / "expected.json"
    expected = json.loads(path.read_text()) if path.exists() else {}
    makers = {slug(name): (lambda name=name: of_registry(name)) for name in KINDS} | EXTRA
    for name, make in makers.items():
        if name in expected:
            continue
        golden = make()
        scores, errors = scored(golden)
        ab.save(golden.model, FOLDER / f"{name}.safetensors")
        expected[name] = {
            "x": as_written(golden.x),
            "context": as_written(golden.context),
            "method": golden.method,
            "kind": type(golden.model.density if not isinstance(golden.model, Density) else golden.model).__name__,
            "scores": scores,
            "errors": errors,
        }
    text = json.dumps(expected, indent=1, sort_keys=True)
    path.write_text(text.replace("NaN", "null") + "\n")


if __name__ == "__main__":
    main()
