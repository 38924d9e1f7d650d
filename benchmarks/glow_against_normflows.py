"""Our Glow and normflows' Glow of equal size on images of 28 x 28, fitted for equal processor time, one thread each.

python benchmarks/glow_against_normflows.py run --file fashion.npz [--minutes 8] [--rate 1e-3] [--seeds 0,1] [-o runs.jsonl]
python benchmarks/glow_against_normflows.py summary glow.jsonl [--page]

The file has x (images, height, width) in uint8, and a test set xt if there is one, else the last sixth of x is the test set.
normflows is no dependency: pip install --target normflows-there normflows --no-deps, and PYTHONPATH=normflows-there.

Both have the same levels and steps, the same optimiser, schedule, batches and noise. The width of normflows' networks is the
one that makes its parameters as many as ours: its networks are three convolutions (3 x 3, 1 x 1, 3 x 3), ours gated and
residual. Both read (x + u) / 256 with u uniform, as in normflows' example, and start their activation normalisation at the
first batch. They are fitted in turns in one process, some seconds each. Bits per dimension are of the discrete likelihood of
the first test images, by importance weighting with the same draws of u; "bound" is by one draw.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from runs import Runs, command_line
from torch import Tensor, nn
from trials import Row, over_seeds

import anabranch as ab
from anabranch.draws import drawing
from anabranch.gallery.data import load_levelled

PAGE = Path(__file__).parent.parent / "docs" / "image_flows.md"
OURS, THEIRS = "anabranch", "normflows"
LEVELS, STEPS, HIDDEN, BLOCKS = 2, 8, 32, 1
BATCH, CLIP, WARM = 64, 50.0, 100
# processor seconds of one at a stretch
TURN = 5.0


def glow_of_anabranch(shape: tuple[int, int, int], hidden: int = HIDDEN) -> nn.Module:
    """A flow, not fitted yet."""
    return ab.Flow(ab.flows.glow(shape, levels=LEVELS, steps=STEPS, hidden=hidden, blocks=BLOCKS))


def glow_of_normflows(shape: tuple[int, int, int], hidden: int) -> nn.Module:
    """The model of normflows' example, without classes."""
    try:
        import normflows as nf  # noqa: PLC0415 (a peer need not be installed)
    except ImportError:
        raise SystemExit(
            "normflows is missing: pip install --target normflows-there normflows --no-deps, then PYTHONPATH=normflows-there"
        ) from None

    channels, height, width = shape
    bases, flows, merges = [], [], []
    for i in range(LEVELS):  # from the noise on
        wide = channels * 2 ** (LEVELS + 1 - i)
        steps = [nf.flows.GlowBlock(wide, hidden, split_mode="channel", scale=True) for _ in range(STEPS)]
        flows.append([*steps, nf.flows.Squeeze()])
        side = 2 ** (LEVELS - i)
        if i:
            merges.append(nf.flows.Merge())
            wide //= 2
        bases.append(nf.distributions.DiagGaussian((wide, height // side, width // side)))
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False)


def log_prob_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The log-density of images; normflows asks for classes too, none here."""
    return model.log_prob if isinstance(model, ab.Flow) else lambda x: model.log_prob(x, None)


def parameters_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def width_like(count: int, shape: tuple[int, int, int]) -> int:
    """The width at which normflows' Glow has nearest to so many parameters."""
    return min(range(16, 257, 4), key=lambda hidden: abs(parameters_of(glow_of_normflows(shape, hidden)) - count))


@dataclass
class Fit:
    """One model while it is fitted.

    Attributes:
        name: whose it is.
        model: of images on [0, 1).
        budget: processor seconds.
        rate: the largest learning rate.
        seed: of batches and noise.
        used: processor seconds so far.
        course: (processor seconds, bits per dimension of the batches since the last entry).
    """

    name: str
    model: nn.Module
    budget: float
    rate: float
    seed: int
    used: float = 0.0
    steps: int = 0
    course: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=self.rate)
        self.generator = torch.Generator().manual_seed(self.seed)

    def go_on(self, batches: Iterator[Tensor]) -> None:
        """Steps for one turn."""
        begun, losses = time.process_time(), []
        while (now := self.used + time.process_time() - begun) < self.budget and time.process_time() - begun < TURN:
            x = noisy(next(batches), self.generator)
            if self.steps == 0 and isinstance(self.model, ab.Flow):
                self.model.initialize(x)  # normflows does so by itself
            # up at once, and down to 0 with the time that is left
            warm = min(1.0, (self.steps + 1) / WARM)
            self.optimiser.param_groups[0]["lr"] = self.rate * warm * 0.5 * (1 + math.cos(math.pi * now / self.budget))
            loss = -log_prob_of(self.model)(x).mean()
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimiser.step()
            losses.append(float(loss.detach()))
            self.steps += 1
        self.used += time.process_time() - begun
        if losses:
            self.course.append((round(self.used, 1), bits(-sum(losses) / len(losses), x[0].numel())))


def noisy(levels: Tensor, generator: torch.Generator) -> Tensor:
    return (levels + torch.rand(levels.shape, generator=generator)) / 256


def bits(log_density: float, dimensions: int) -> float:
    """Bits per dimension of levels, for the log-density of (x + u) / 256."""
    return (math.log(256) - log_density / dimensions) / math.log(2)


def batches_of(x: Tensor, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(x), generator=generator)
        for rows in order.split(BATCH)[: len(x) // BATCH]:
            yield x[rows].float()


def scored(log_prob: Callable[[Tensor], Tensor], x: Tensor, draws: int) -> Row:
    """Bits per dimension by importance weighting, with the same noise for every model."""
    generator = torch.Generator().manual_seed(123)
    dimensions, values, bounds = x[0].numel(), [], []
    with torch.no_grad():
        for some in x.float().split(100):
            each = torch.stack([log_prob(noisy(some, generator)).double() for _ in range(draws)])
            values.append(torch.logsumexp(each, dim=0) - math.log(draws))
            bounds.append(each[0])
    value, bound = (float(torch.cat(some).mean()) for some in (values, bounds))
    return {"bits": bits(value, dimensions), "bound": bits(bound, dimensions)}


def run(arguments: argparse.Namespace, runs: Runs) -> None:
    """The models of every seed that have no line yet."""
    images = load_levelled(arguments.data, Path(arguments.file))
    shape = tuple(images.x.shape[1:])
    width = width_like(parameters_of(glow_of_anabranch(shape)), shape)
    hidden = {OURS: HIDDEN, THEIRS: width}
    for seed in map(int, arguments.seeds.split(",")):
        with drawing(seed):
            models = {OURS: glow_of_anabranch(shape), THEIRS: glow_of_normflows(shape, width)}
        of_seed = (arguments.data, arguments.minutes, arguments.rate, seed)
        fits = [
            Fit(name, model, 60 * arguments.minutes, arguments.rate, seed)
            for name, model in models.items()
            if name in arguments.models.split("|") and (*of_seed, name) not in runs
        ]
        batches = {one.name: batches_of(images.x, seed) for one in fits}
        while any(one.used < one.budget for one in fits):
            for one in fits:
                one.go_on(batches[one.name])
        for one in fits:
            row: Row = {"data": arguments.data, "minutes": arguments.minutes, "seed": seed, "model": one.name}
            row |= {"parameters": parameters_of(one.model), "hidden": hidden[one.name], "rate": one.rate}
            row |= {"steps": one.steps, "milliseconds a step": 1000 * one.used / one.steps}
            row |= scored(log_prob_of(one.model.eval()), images.test[: arguments.scored], arguments.draws)
            row |= {"fitted": one.course[-1][1], "scored": arguments.scored, "draws": arguments.draws}
            runs.add(row | {"course": one.course[:: max(1, len(one.course) // 20)]})


def summary(rows: list[Row]) -> str:
    """A line for each model at each rate and time."""
    by = ("data", "minutes", "rate", "model")
    counts = [sum(all(other[key] == row[key] for key in by) for other in rows) for row in rows]
    columns = {"bits": ".3f", "bound": ".3f", "parameters": ",.0f", "milliseconds a step": ".0f", "steps": ",.0f"}
    return over_seeds([{**row, "seeds": n} for row, n in zip(rows, counts, strict=True)], (*by, "seeds"), columns)


if __name__ == "__main__":
    setting = {"levels": LEVELS, "steps": STEPS, "blocks": BLOCKS, "batch": BATCH, "clip": CLIP, "warm": WARM}
    options: dict[str, str | float] = {"file": "fashion.npz", "data": "fashion", "models": f"{OURS}|{THEIRS}"}
    options |= {"minutes": 8.0, "rate": 1e-3, "scored": 1000, "draws": 10}
    command_line(__doc__, PAGE, ("data", "minutes", "rate", "seed", "model"), run, summary, setting, **options)
