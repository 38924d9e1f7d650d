"""Pyro's variational autoencoder of images of bits, of the size of ours and for as much processor time, one thread.

python benchmarks/vaes_against_pyro.py DATA --seconds 180 [--models "normal|flow"] [--seeds 0,1,2] [-o pyro.jsonl]
python benchmarks/vaes.py summary vaes.jsonl pyro.jsonl --page

DATA: see vaes.py, whose lines these are. Pyro is no dependency: pip install --target pyro-there --no-deps pyro-ppl pyro-api
opt_einsum, and PYTHONPATH=pyro-there.

Encoder and decoder are the MLPs of vaes.py's "mnist", the prior a standard normal density or a masked autoregressive flow of
as many layers as ours (`affine_autoregressive`, permuted in between). The optimiser, the largest rate, the batches, the
clipping and the warm-up of the divergence are those of ours, by share of the time; it begins at 0.1, since weights became
NaN from 0 on. The divergence of a normal prior is a formula (`TraceMeanField_ELBO`). Ours keeps the best epoch and an
average of weights, as `fit` does; Pyro's example does not.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from autoregressive import read
from fits import SAME, Row, rows_of
from torch import Tensor, nn
from vaes import SETTINGS

try:
    import pyro
    import pyro.distributions as dist
    from pyro import poutine
    from pyro.distributions.transforms import affine_autoregressive, permute
    from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
except ImportError:
    raise SystemExit(
        "Pyro is missing: pip install --target pyro-there --no-deps pyro-ppl pyro-api opt_einsum, then PYTHONPATH=pyro-there"
    ) from None

LAYERS, OF_LAYER, CLIP = 4, 64, 5.0
# where the warm-up begins
LEAST = 0.1


class Autoencoder(nn.Module):
    """Pyro's model and guide of rows (rows, 784) of bits.

    Args:
        prior: "normal" or "flow".
        options: of vaes.py.
        pixels: how many.
    """

    def __init__(self, prior: str, options: Row, pixels: int) -> None:
        super().__init__()
        (wide,), features, self.latent = options["hidden"], options["features"], options["latent"]
        self.read = nn.Sequential(
            nn.Linear(pixels, wide),
            nn.SiLU(),
            nn.Linear(wide, features),
            nn.SiLU(),
            nn.Linear(features, 2 * self.latent),
        )
        self.write = nn.Sequential(
            nn.Linear(self.latent, options["decoder"][0]), nn.SiLU(), nn.Linear(options["decoder"][0], pixels)
        )
        self.layers: list[Any] = []
        if prior == "flow":
            for k in range(LAYERS):
                if k:
                    self.layers.append(permute(self.latent, torch.arange(self.latent).flip(0)))
                # its inverse scores in one pass
                self.layers.append(affine_autoregressive(self.latent, [OF_LAYER]).inv)
        self.learned = nn.ModuleList(layer.inv for layer in self.layers if isinstance(layer.inv, nn.Module))
        self.beta = 1.0

    def prior(self, rows: int) -> Any:
        normal = dist.Normal(torch.zeros(rows, self.latent), 1.0).to_event(1)
        return dist.TransformedDistribution(normal, self.layers) if self.layers else normal

    def posterior(self, x: Tensor) -> Any:
        mean, log_scale = self.read(2 * x - 1).chunk(2, dim=-1)
        return dist.Normal(mean, log_scale.exp()).to_event(1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            with poutine.scale(scale=self.beta):
                z = pyro.sample("z", self.prior(len(x)))
            pyro.sample("x", dist.Bernoulli(logits=self.write(z), validate_args=False).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("rows", len(x)), poutine.scale(scale=self.beta):
            pyro.sample("z", self.posterior(x))


def fitted(vae: Autoencoder, x: Tensor, options: Row, seconds: float, seed: int) -> int:
    """Fit for so many seconds of the processor; the number of steps."""
    elbo = (Trace_ELBO if vae.layers else TraceMeanField_ELBO)()
    rate, batch = options["learning_rate"], options["batch_size"]
    optimiser = torch.optim.AdamW(vae.parameters(), lr=rate, weight_decay=options["weight_decay"])
    generator = torch.Generator().manual_seed(seed)
    begun, steps = time.process_time(), 0
    while True:
        for rows in torch.randperm(len(x), generator=generator).split(batch)[: len(x) // batch]:
            share = (time.process_time() - begun) / seconds
            if share >= 1:
                return steps
            falling = 0.5 * (1 + math.cos(math.pi * max(0.0, (share - 0.05) / 0.95)))
            optimiser.param_groups[0]["lr"] = rate * min(share / 0.05, falling)
            vae.beta = max(LEAST, min(1.0, share / options["warmup"]))
            loss = elbo.differentiable_loss(vae.model, vae.guide, x[rows]) / len(rows)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(vae.parameters(), CLIP)
            optimiser.step()
            steps += 1


def weights(vae: Autoencoder, x: Tensor, particles: int) -> Tensor:
    """log p(x, z) - log q(z | x) at draws of z, (particles, rows)."""
    q = vae.posterior(x)
    z = q.sample((particles,))
    logits = vae.write(z)
    log_x = (nn.functional.logsigmoid((2 * x - 1) * logits)).sum(dim=-1)
    return (log_x + vae.prior(len(x)).log_prob(z) - q.log_prob(z)).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--models", default="normal|flow")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--particles", type=int, default=5000)
    parser.add_argument("--scored", type=int, default=500)
    parser.add_argument("-o", "--output", type=Path, default=Path("pyro.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = SETTINGS["mnist"]
    train, _, test, _ = read("mnist", arguments.folder)
    train, scored = (x.flatten(1).float() for x in (train, test[: arguments.scored]))
    done = {tuple(row[key] for key in SAME) for row in rows_of(arguments.output)}
    for seed in map(int, arguments.seeds.split(",")):
        for prior in arguments.models.split("|"):
            row: Row = {"data": "mnist", "model": f"Pyro, {prior}", "seed": seed}
            if tuple(row.values()) in done:
                continue
            pyro.clear_param_store()
            pyro.set_rng_seed(seed)
            vae = Autoencoder(prior, options, train.shape[1])
            begun, used = time.monotonic(), time.process_time()
            row["steps"] = fitted(vae, train, options, arguments.seconds, seed)
            row |= {"seconds": time.monotonic() - begun, "processor seconds": time.process_time() - used}
            vae.beta = 1.0
            with torch.no_grad():
                parts = [weights(vae, some, arguments.particles) for some in scored.split(4)]
                log_w = torch.cat(parts, dim=1)
            value = log_w.logsumexp(dim=0) - math.log(arguments.particles)
            row |= {"nats": -float(value.mean()), "error": float(value.std()) / len(value) ** 0.5}
            row |= {"particles": arguments.particles, "bound": -float(log_w.mean())}
            row |= {"parameters": sum(p.numel() for p in vae.parameters()), "device": "cpu"}
            with arguments.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
