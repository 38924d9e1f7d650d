"""Fits that are killed at random moments, and go on from their checkpoint: do they end as one that was left alone?

python benchmarks/kills.py [--kills 50] [--seed 0] [--only flow,completion]

Each fit runs in a process of its own, which gets SIGKILL after a random time, again and again, until it has been killed
so many times; then it is left to end. Every weight of it is compared, bit for bit, with those of a fit that nobody killed,
and so are the records of its epochs, and what the finished checkpoint gives. Checkpoints are written after every step, so
that many kills meet a file being written.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer

import anabranch as ab
from anabranch.fingerprint import fingerprint
from anabranch.objectives import Annihilation, Consistency, Likelihood
from anabranch.tables import TableStream, fit_table
from anabranch.testing import randomize

# a fingerprint of the weights, and the records of the epochs as text
Outcome = list[str]


def rows(count: int, features: int = 2) -> torch.Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(0)) * 2 + 3


def outcome(density: torch.nn.Module, epochs: list[Any]) -> Outcome:
    """What two fits have in common if they are the same: weights and records, but for the seconds."""
    return [fingerprint(density.state_dict()), *(repr((e.step, e.loss, e.validation, e.learning_rate)) for e in epochs)]


def flow(checkpoint: Path | None) -> Outcome:
    """A spline flow with noise and averaged weights."""
    with ab.drawing(0):
        density = ab.Flow(ab.flows.nsf(features=2, blocks=2, hidden=(16,)))
    options = {"noise": 0.1, "average": 0.9, "epochs": 15, "batch_size": 64}
    return outcome(density, fit(density, rows(1000), checkpoint, **options).epochs)


def budget(checkpoint: Path | None) -> Outcome:
    """A fit with a budget of time that it does not use up, so that the passes over the rows end it."""
    with ab.drawing(0):
        density = ab.Flow(ab.flows.maf(features=2, blocks=2, hidden=(16,)))
    options = {"minutes": 60.0, "epochs": 40, "average": 0.99, "batch_size": 64}
    return outcome(density, fit(density, rows(1000), checkpoint, **options).epochs)


def completion(checkpoint: Path | None) -> Outcome:
    """A model of any order of rows with gaps, which are drawn on the way."""
    with ab.drawing(0):
        density = ab.models.AnyOrder(3, hidden=16)
    x = rows(400, 3)
    x[torch.rand(400, 3, generator=torch.Generator().manual_seed(1)) < 0.2] = torch.nan
    return outcome(density, fit(density, x, checkpoint, epochs=15, batch_size=50).epochs)


def annihilation(checkpoint: Path | None) -> Outcome:
    """A mixture whose components end one by one."""
    with ab.drawing(0):
        components = [ab.densities.Normal.standard(2) for _ in range(5)]
        posterior = ab.networks.MLP(2, 5, hidden=(8,))
        density = ab.FlowMixture(components, heads="affine", posterior=posterior)
        randomize(density, 0.3)
    objective = Likelihood() + Consistency(0.1) + Annihilation(support=2)
    return outcome(density, fit(density, rows(400), checkpoint, objective=objective, epochs=25, batch_size=50).epochs)


def stream(checkpoint: Path | None) -> Outcome:
    """A table in a Parquet file, read in pieces."""
    path = Path(tempfile.gettempdir()) / f"anabranch-kills-{os.getuid()}.parquet"
    if not path.exists():
        x = np.random.default_rng(0).normal(size=(3000, 3))
        pq.write_table(pa.table({name: x[:, i] for i, name in enumerate("abc")}), path)
    options = {"blocks": 1, "hidden": (8,), "model": "flow", "epochs": 6, "batch_size": 100, "progress": False}
    kept = {} if checkpoint is None else {"checkpoint": checkpoint, "checkpoint_seconds": 0.0}
    model, _ = fit_table(TableStream(path, sample=1000, buffer=500), **options, **kept)
    return outcome(model.density, [])


FITS: dict[str, Callable[[Path | None], Outcome]] = {
    function.__name__: function for function in (flow, budget, completion, annihilation, stream)
}


def fit(density: Any, x: torch.Tensor, checkpoint: Path | None, **options: Any) -> Any:
    kept = {} if checkpoint is None else {"checkpoint": checkpoint, "checkpoint_seconds": 0.0}
    return ab.fit(density, x, seed=0, progress=False, **options, **kept)


def run(make: Callable[[Path | None], Outcome], checkpoint: Path, seconds: float | None) -> tuple[bool, Outcome | None]:
    """Run a fit in a process of its own, and kill it after so long. Whether it was killed; what it came to if not."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        try:
            result = make(checkpoint)
            with os.fdopen(writes, "w") as pipe:
                json.dump(result, pipe)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(writes)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reads) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True, None
    if os.WEXITSTATUS(status):
        raise SystemExit("a fit failed")
    return False, json.loads(said)


def killed(name: str, kills: int, rng: random.Random) -> bool:
    """Kill a fit so many times; whether it ends as one that was left alone."""
    make = FITS[name]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        wanted = make(None)
        alone = time.perf_counter() - begun
        done, rounds = 0, 0
        while done < kills:
            # a fit that has ended before its kills are used up is begun anew
            rounds += 1
            checkpoint = Path(folder) / f"{rounds}.ckpt"
            over, result = True, None
            while over and done < kills:
                over, result = run(make, checkpoint, rng.uniform(0, alone / 4))
                done += over
            if over:
                _, result = run(make, checkpoint, None)
            _, again = run(make, checkpoint, None)
            if not (result == again == wanted):
                print(f"{name}: after {done} kills another fit than the one that was left alone")
                return False
    print(f"{name}: killed {done} times in {rounds} fits, and the same bit for bit as one left alone ({alone:.1f} s)")
    return True


def main(
    kills: Annotated[int, typer.Option(help="Of each kind of fit.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    only: Annotated[str, typer.Option(help="Kinds of fit, by commas.")] = ",".join(FITS),
) -> None:
    """Kill fits, and compare."""
    torch.set_num_threads(1)
    rng = random.Random(seed)
    same = [killed(name, kills, rng) for name in only.split(",")]
    if not all(same):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
