"""Our flow as the prior of an autoencoder of images of bits beside Pyro's, by one loop of as many steps: is it the flow?

python benchmarks/flow_priors.py DATA [--steps 6000] [--seeds 0,1,2] [--priors "ours, 0|Pyro, 0.1"] [-o flow_priors.jsonl]

DATA, and how to have Pyro: see vaes_against_pyro.py, whose encoder, decoder and flow these are. A prior is "ours", "ours,
random" (first weights as PyTorch has them, in place of an identity) or "Pyro", and where the warm-up of the divergence
begins. The optimiser, the rates, the batches and the clipping are those of vaes.py, the bound takes one draw, and the last
weights are scored. A fit whose gradients become NaN has no line. Each line has nats an image by 1,000 particles, of
500 images.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from autoregressive import read
from fits import Row
from pyro.distributions import Normal, TransformedDistribution
from torch import Tensor, nn
from vaes import SETTINGS
from vaes_against_pyro import CLIP, Autoencoder, weights

from anabranch import vaes

PARTICLES, SCORED = 1000, 500


class Model(Autoencoder):
    """Pyro's encoder and decoder, with a prior by name."""

    def __init__(self, name: str, options: Row, pixels: int) -> None:
        super().__init__("flow" if name == "Pyro" else "normal", options, pixels)
        self.flow = None if name == "Pyro" else vaes.priors.flow(self.latent)
        if name == "ours, random" and self.flow is not None:
            for layer in self.flow.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))

    def prior(self, rows: int) -> TransformedDistribution:
        """p(z), with log_prob."""
        if self.flow is not None:
            return self.flow
        for layer in self.layers:  # what they remember is of other weights
            layer.clear_cache()
        return TransformedDistribution(Normal(torch.zeros(self.latent), 1.0).to_event(1), self.layers)


def fitted(model: Model, x: Tensor, options: Row, steps: int, least: float, seed: int) -> bool:
    """Fit for so many steps; whether all gradients were finite."""
    rate, batch = options["learning_rate"], options["batch_size"]
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=options["weight_decay"])
    generator, step = torch.Generator().manual_seed(seed), 0
    while step < steps:
        for rows in torch.randperm(len(x), generator=generator).split(batch)[: min(len(x) // batch, steps - step)]:
            share = step / steps
            falling = 0.5 * (1 + math.cos(math.pi * max(0.0, (share - 0.05) / 0.95)))
            optimiser.param_groups[0]["lr"] = rate * min(share / 0.05, falling)
            q = model.posterior(x[rows])
            z = q.rsample()
            log_likelihood = nn.functional.logsigmoid((2 * x[rows] - 1) * model.write(z)).sum(dim=-1)
            divergence = q.log_prob(z) - model.prior(len(z)).log_prob(z)
            loss = (max(least, min(1.0, share / options["warmup"])) * divergence - log_likelihood).mean()
            optimiser.zero_grad()
            loss.backward()
            if not bool(nn.utils.clip_grad_norm_(model.parameters(), CLIP).isfinite()):
                return False
            optimiser.step()
            step += 1
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--priors", default="ours, 0|ours, 0.1|ours, random, 0.1|Pyro, 0.1")
    parser.add_argument("-o", "--output", type=Path, default=Path("flow_priors.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train, _, test, _ = read("mnist", arguments.folder)
    train, test = (x.flatten(1).float() for x in (train, test[:SCORED]))
    for seed in map(int, arguments.seeds.split(",")):
        for prior in arguments.priors.split("|"):
            name, _, least = prior.rpartition(", ")
            torch.manual_seed(seed)
            model, used = Model(name, SETTINGS["mnist"], train.shape[1]), time.process_time()
            if not fitted(model, train, SETTINGS["mnist"], arguments.steps, float(least), seed):
                print(f"{prior}, seed {seed}: the gradients became NaN or infinite", flush=True)
                continue
            row: Row = {
                "prior": prior,
                "seed": seed,
                "steps": arguments.steps,
                "processor seconds": time.process_time() - used,
            }
            with torch.no_grad():
                log_w = torch.cat([weights(model, some, PARTICLES) for some in test.split(4)], dim=1)
            row |= {
                "nats": -float((log_w.logsumexp(dim=0) - math.log(PARTICLES)).mean()),
                "bound": -float(log_w.mean()),
            }
            with arguments.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
