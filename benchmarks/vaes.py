"""Variational autoencoders of images: priors and posteriors beside each other, by the estimate of many particles.

python benchmarks/vaes.py run digits [--models "vamp|normal/iaf"] [--seeds 0,1,2] [--particles 1000] [-o vaes.jsonl]
python benchmarks/vaes.py run mnist DATA [--particles 5000] [--scored 1000] [--device cuda] ...   DATA: see autoregressive.py
python benchmarks/vaes.py summary vaes.jsonl [--page]

A model is PRIOR or PRIOR/POSTERIOR, names of `anabranch.vaes`, with settings after a colon: `vamp/iaf:latent=8,epochs=40`.
"PRIOR after" is the model of a standard normal prior whose prior is fitted to the aggregated posterior afterwards. Every fit
is a process of one thread, and a line of the JSON lines; a fit whose line is there is not run again.

digits: scikit-learn's, 8x8, 17 levels, rows 1000/350/447 in order (fitted / to stop by / scored). mnist: bits, as in
autoregressive.py. Nats are those of the estimate; its two errors are that over rows, which all models share for the most
part, and that of the particles, over all rows together.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import time
from pathlib import Path
from typing import Any

import torch
from autoregressive import read
from fits import Row, rows_of, run_missing, table_of

import anabranch as ab
from anabranch import vaes
from anabranch.densities import Encoded
from anabranch.families import Family

# of the networks, and of the fit
SETTINGS: dict[str, Row] = {
    "digits": {
        "latent": 16,
        "features": 128,
        "hidden": (128,),
        "channels": (32, 32),
        "drop": 0.2,
        "epochs": 160,
        "batch_size": 64,
        "learning_rate": 3e-2,
        "weight_decay": 0.1,
        "optimizer": "Muon",
        "average": 0.99,
        "warmup": 0.3,
    },
    # for minutes of one processor core: MLPs, whose matrices are too large for steps of Muon in that time
    "mnist": {
        "latent": 32,
        "features": 128,
        "hidden": (400,),
        "decoder": (400,),
        "channels": None,
        "drop": 0.0,
        "epochs": 16,
        "batch_size": 128,
        "learning_rate": 4e-3,
        "weight_decay": 1e-5,
        "optimizer": "AdamW",
        "average": 0.995,
        "warmup": 0.2,
    },
}
OPTIMIZERS = {"AdamW": None, "Muon": ab.training.Muon}
OF_FIT = ("epochs", "batch_size", "learning_rate", "weight_decay", "average")
MODELS = [
    *("normal", "gaussian mixture", "vamp", "flow", "autoregressive", "depth mixture", "resampled"),
    *("normal/full", "normal/planar", "normal/radial", "normal/sylvester", "normal/householder", "normal/iaf"),
    *("vamp/full", "flow after"),
]
PAGE = Path(__file__).parent.parent / "docs" / "autoencoders.md"


def settings_of(data: str, model: str) -> tuple[str, str, Row]:
    """Prior, posterior and settings of a model's name."""
    name, _, given = model.partition(":")
    options = dict(SETTINGS[data])
    for pair in filter(None, re.split(r",(?=\w+=)", given)):
        key, _, value = pair.partition("=")
        options[key] = json.loads(value)
    prior, _, posterior = name.partition("/")
    return prior, posterior or "diagonal", options


def build(prior: str, posterior: str, family: Family, shape: torch.Size, options: Row) -> ab.VAE:
    """A model whose encoder is an MLP, and whose decoder is convolutional where there are channels, which takes longer."""
    latent, features = options["latent"], options["features"]
    encoder = vaes.encoder(shape, family, features, options["hidden"])
    return vaes.vae(
        shape,
        family,
        latent,
        prior,
        Encoded(vaes.posteriors.NAMED[posterior](latent, features), encoder),
        hidden=options.get("decoder", ()),
        channels=options["channels"],
        drop=options["drop"],
    )


def work(job: tuple[Any, ...]) -> None:
    """One fit, and its line."""
    data, folder, model, seed, arguments = job
    torch.set_num_threads(arguments["threads"])
    parts = read(data, folder)
    family = parts[3]
    device = torch.device(arguments["device"])
    train, validation, test = (x.unsqueeze(1).to(device) for x in parts[:3])
    prior, posterior, options = settings_of(data, model)
    afterwards = prior.removesuffix(" after") if prior.endswith(" after") else None
    torch.manual_seed(seed)
    density = build("normal" if afterwards else prior, posterior, family, train.shape[1:], options).to(device)
    begun, used = time.monotonic(), time.process_time()
    history = ab.fit(
        density,
        train,
        validation=validation,
        seed=seed,
        objective=ab.objectives.LowerBound(warmup=options["warmup"]),
        patience=None,
        progress=arguments["progress"],
        compile=False,
        device=device,
        optimizer=OPTIMIZERS[options["optimizer"]],
        **{key: options[key] for key in OF_FIT},
    )
    density.eval()
    if afterwards:
        replaced = vaes.priors.NAMED[afterwards](options["latent"]).to(device)
        density, _ = ab.training.fit_prior(
            density, train, replaced, epochs=60, learning_rate=2e-3, seed=seed, progress=False, compile=False
        )
        density.eval()
    row: Row = {"data": data, "model": model, "seed": seed}
    row |= {"seconds": time.monotonic() - begun, "processor seconds": time.process_time() - used}
    scored, particles = test[: arguments["scored"]], arguments["particles"]
    value, error = estimate(density, scored, particles)
    row |= {"nats": -float(value.mean()), "error": float(value.std()) / math.sqrt(len(value)), "particles": particles}
    row |= {"error of particles": float(error.square().sum().sqrt()) / len(error)}
    row |= {"validation": -float(estimate(density, validation[:1000], max(2, particles // 10))[0].mean())}
    row |= {"fitted rows": -float(estimate(density, train[:350], max(2, particles // 10))[0].mean())}
    report = ab.queries.latent_report(density, scored, rows=447 if posterior == "diagonal" else 100, seed=1)
    row |= {"bound": -report.lower_bound, "active": report.active}
    row |= {name: float(getattr(report, name).value) for name in ("rate", "distortion", "information", "gap")}
    row |= {"gap error": float(report.gap.standard_error), "best": history.best_epoch, "epochs": len(history.epochs)}
    row |= {"parameters": sum(p.numel() for p in density.parameters())}
    row |= {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}
    with Path(arguments["output"]).open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
    if arguments["keep"]:
        kept = Path(arguments["keep"])
        kept.mkdir(exist_ok=True)
        name = re.sub(r"\W+", "-", model)
        ab.save(density.cpu(), kept / f"{data}-{name}-{seed}.safetensors")


def estimate(density: ab.VAE, x: torch.Tensor, particles: int) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(x) and its error, some rows at a time, in double precision."""
    found = [density.estimate(some, samples=particles, generator=0) for some in x.split(50)]
    return torch.cat([value for value, _ in found]).double(), torch.cat([error for _, error in found]).double()


def run(arguments: argparse.Namespace) -> None:
    """All fits that have no line yet."""
    keys = ("threads", "device", "particles", "scored", "progress", "output", "keep")
    run_missing(arguments, MODELS, keys, work)


def summary(arguments: argparse.Namespace) -> None:
    """A Markdown table for each data; with --page also on the page of the docs, and the runs in results/."""
    from trials import write  # noqa: PLC0415 (it loads more than the fits need)

    rows = [row for path in arguments.runs for row in rows_of(path)]
    forms = {
        "bound": ".2f",
        "rate": ".2f",
        "gap": ".2f",
        "active": ".1f",
        "parameters": ",.0f",
        "processor seconds": ".0f",
    }
    for data in dict.fromkeys(row["data"] for row in rows):
        of_data = [row for row in rows if row["data"] == data]
        table = table_of(of_data, {key: (key, form) for key, form in forms.items()})
        if arguments.page:
            write(f"vaes_{data}", SETTINGS[data], of_data, table, PAGE)
        else:
            print(f"\n{data}\n\n{table}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run")
    command.set_defaults(call=run)
    command.add_argument("data", choices=list(SETTINGS))
    command.add_argument("folder", type=Path, nargs="?", default=Path())
    command.add_argument("--models", help="separated by |")
    command.add_argument("--seeds", default="0,1,2")
    command.add_argument("--particles", type=int, default=1000)
    command.add_argument("--scored", type=int, default=10_000, help="so many of the rows to score at most")
    command.add_argument("--device", default="cpu")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--processes", type=int, default=1)
    command.add_argument("--progress", action="store_true")
    command.add_argument("--keep", help="a folder for the fitted densities")
    command.add_argument("-o", "--output", type=Path, default=Path("vaes.jsonl"))
    command = commands.add_parser("summary")
    command.set_defaults(call=summary)
    command.add_argument("runs", type=Path, nargs="+")
    command.add_argument("--page", action="store_true", help="write the tables to docs/autoencoders.md")
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
