"""Autoregressive models of images: networks beside each other, held-out nats an image, time of fitting and of sampling.

python benchmarks/autoregressive.py run digits [--models "pixelcnn|made"] [--seeds 0,1,2] [--processes 2] [-o runs.jsonl]
python benchmarks/autoregressive.py run letters DATA ...        DATA: a folder with ocr_letters.npz
python benchmarks/autoregressive.py run mnist DATA [--minutes 30] [--device cuda] ...       DATA: a folder with mnist.npz
python benchmarks/autoregressive.py ensemble digits [--of pixelcnn] ...
python benchmarks/autoregressive.py summary runs.jsonl [--page]

A model is a name below, with settings of its network and of the fit after a colon: `pixelcnn:hidden=64,epochs=40`. Every
fit is a process of one thread, and a line of the JSON lines; a fit whose line is there is not run again.

digits: scikit-learn's, 8x8, 17 levels, rows 1000/350/447 in order. letters: 16x8 bits, folds 0 to 8 are fitted (a tenth of
them says when to stop), 9 is scored. mnist: 28x28, each pixel drawn once as a bit with the probability of its grey
(`numpy.random.default_rng(0)`); the first 50,000 rows are fitted (the last 2,000 of them say when to stop), the last 10,000
scored. With the setting `redrawn=N` the fitted rows are drawn N times, by seeds 1 to N, and an epoch sees all of these
drawings; the rows that are scored stay as they are.
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

import numpy as np
import torch
from fits import Row, rows_of, run_missing, table_of

import anabranch as ab
from anabranch import families, networks
from anabranch.densities import Density

MUON: Row = {"optimizer": "muon", "learning_rate": 1e-2, "weight_decay": 0.1}
# of networks and fits, for each kind of data
SETTINGS: dict[str, dict[str, Row]] = {
    "digits": {
        "finite memory": {"memory": (2, 2), "hidden": 96, "layers": 2, "embed_positions": True, "epochs": 25},
        "recurrent": {"hidden": 96, "layers": 2, "embed_positions": True, "epochs": 25},
        "wavenet": {"hidden": 32, "skip": 64, "layers": 8, "kernel_size": 2, "embed_positions": True, "epochs": 30},
        "pixelcnn": {"hidden": 32, "layers": 4, "dropout": 0.3, "epochs": 60},
        "transformer": {"hidden": 64, "layers": 3, "dropout": 0.3, "epochs": 80},
        "made": {"hidden": (128,), "epochs": 60},
        "made of 8 orders": {"hidden": (256, 256), "epochs": 80},
        "any order": {"hidden": 128, "blocks": 2, "epochs": 40},
        "any order, mean of 8": {"hidden": 128, "blocks": 2, "epochs": 40, "orders": 8},
    },
    "letters": {
        "made": {"hidden": (512, 512), "epochs": 15},
        "pixelcnn": {"hidden": 16, "layers": 8, "epochs": 8, "batch_size": 32, "learning_rate": 1e-2},
        "transformer": {"hidden": 64, "layers": 3, "epochs": 3, "batch_size": 64, **MUON},
    },
    "mnist": {
        "made": {"hidden": (1024, 1024), "epochs": 5, "redrawn": 3},
        "pixelcnn": {
            "hidden": 24,
            "layers": 8,
            "epochs": 3,
            "redrawn": 3,
            "batch_size": 32,
            **MUON,
        },
        "transformer": {"hidden": 64, "layers": 3, "epochs": 1, "batch_size": 32, **MUON},
    },
}
FIT: dict[str, Row] = {
    "digits": {"batch_size": 64, "learning_rate": 2e-3, "average": 0.99},
    "letters": {"batch_size": 128, "learning_rate": 3e-3, "average": 0.99, "precision": "bfloat16", "compile": False},
    "mnist": {"batch_size": 128, "learning_rate": 3e-3, "average": 0.99, "precision": "bfloat16", "compile": False},
}
KINDS = {
    "finite memory": "FiniteMemory",
    "recurrent": "Recurrent",
    "wavenet": "CausalConvolution",
    "pixelcnn": "PixelCNN",
    "transformer": "CausalTransformer",
    "made": "MaskedMLP",
}
OPTIMIZERS = {"muon": ab.training.Muon}
SAMPLES = 64
PAGE = Path(__file__).parent.parent / "docs" / "autoregressive.md"


def read(data: str, folder: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, families.Family]:
    """Rows to fit, to stop by and to score, (rows, height, width) in uint8, and the family of a pixel."""
    if data == "digits":
        from sklearn.datasets import load_digits  # noqa: PLC0415

        x = torch.from_numpy(load_digits().images.astype(np.uint8))
        return x[:1000], x[1000:1350], x[1350:], families.Levels(17)
    if data == "letters":
        arrays = np.load(folder / "ocr_letters.npz", allow_pickle=False)
        x = torch.from_numpy(np.unpackbits(arrays["bits"], axis=1).reshape(-1, 16, 8))
        fitted = torch.from_numpy(arrays["fold"] < 9)
        known = x[fitted][torch.randperm(int(fitted.sum()), generator=torch.Generator().manual_seed(0))]
        return known[len(known) // 10 :], known[: len(known) // 10], x[~fitted], families.Bernoulli()
    x = torch.from_numpy(bits_of_mnist(folder))
    return x[:48_000], x[48_000:50_000], x[50_000:], families.Bernoulli()


def bits_of_mnist(folder: Path) -> np.ndarray:
    """Every pixel drawn once, with the probability of its grey: (60000, 28, 28) in uint8."""
    packed = folder / "mnist_bits.npz"
    if packed.exists():
        return np.unpackbits(np.load(packed, allow_pickle=False)["bits"], axis=1).reshape(-1, 28, 28)
    return drawn(folder, slice(None), 0)


def drawn(folder: Path, rows: slice, seed: int) -> np.ndarray:
    """Rows of MNIST, every pixel drawn with the probability of its grey: (rows, 28, 28) in uint8."""
    grey = np.load(folder / "mnist.npz", allow_pickle=False)["x"].reshape(-1, 28, 28)[rows]
    return (np.random.default_rng(seed).random(grey.shape) < grey / 255).astype(np.uint8)


def build(data: str, model: str, family: families.Family, shape: torch.Size) -> tuple[Density, Row]:
    """A density, and the settings of its fit."""
    name, _, given = model.partition(":")
    options = dict(SETTINGS[data][name])
    for pair in filter(None, re.split(r",(?=\w+=)", given)):
        key, _, value = pair.partition("=")
        options[key] = json.loads(value)
    of_fit = ("batch_size", "learning_rate", "average", "precision", "compile", "epochs", "weight_decay", "optimizer")
    fit = {**FIT[data], **{key: options.pop(key) for key in list(options) if key in (*of_fit, "redrawn")}}
    if "optimizer" in fit:
        fit["optimizer"] = OPTIMIZERS[fit["optimizer"]]
    channels = None if family.inputs == 1 else family.inputs
    numbers = shape.numel()
    if name.startswith("any order"):
        columns = ab.models.AnyOrder([families.Levels(family.count) for _ in range(numbers)], **options)
        return ab.Flow(ab.transforms.Reshape(tuple(shape), (numbers,)), base=columns), fit
    if name == "made of 8 orders":
        shared = networks.MaskedMLP(numbers, family.parameters_of_one, channels=channels, zero_start=True, **options)
        orders = [list(range(numbers)), *(torch.randperm(numbers).tolist() for _ in range(7))]
        members = [
            ab.models.Autoregressive(family, networks.InOrder(shared, order), order=order, event_shape=tuple(shape))
            for order in orders
        ]
        return ab.Ensemble(members), {**fit, "objective": ab.objectives.RandomMember()}
    features = numbers if name == "made" else tuple(shape)
    network = getattr(networks, KINDS[name])(
        features, family.parameters_of_one, channels=channels, zero_start=True, **options
    )
    return ab.models.Autoregressive(family, network, event_shape=tuple(shape)), fit


def nats(density: Density, rows: torch.Tensor, at_once: int = 250) -> torch.Tensor:
    """log_prob of every row."""
    with torch.no_grad():
        return torch.cat([density.log_prob(some).double().cpu() for some in rows.split(at_once)])


def work(job: tuple[Any, ...]) -> None:
    """One fit, and its line."""
    data, folder, model, seed, arguments = job
    threads = arguments["threads"]
    torch.set_num_threads(threads)
    train, validation, test, family = read(data, folder)
    device = torch.device(arguments["device"])
    torch.manual_seed(seed)
    density, options = build(data, model, family, train.shape[1:])
    density = density.to(device)
    if redrawn := options.pop("redrawn", None):
        drawings = [drawn(folder, slice(len(train)), 1 + number) for number in range(redrawn)]
        train = torch.from_numpy(np.concatenate(drawings))
    if density.event_dtype == "floating":
        train, validation, test = train.float(), validation.float(), test.float()
    if arguments["minutes"]:
        options.pop("epochs")
        options["minutes"] = arguments["minutes"]
    begun, used = time.monotonic(), time.process_time()
    history = ab.fit(
        density,
        train.to(device),
        validation=validation.to(device),
        seed=seed,
        progress=arguments["progress"],
        patience=None,
        device=device,
        checkpoint=arguments["checkpoint"],
        **options,
    )
    seconds, processor = time.monotonic() - begun, time.process_time() - used
    density.eval()
    log_p = nats(density, test.to(device))
    density.sample((1,))
    begun = time.monotonic()
    density.sample((SAMPLES,), generator=0)
    sampling = time.monotonic() - begun
    row: Row = {"data": data, "model": model, "seed": seed, "nats": -float(log_p.mean())}
    row |= {"error": float(log_p.std()) / math.sqrt(len(log_p)), "best": history.best_epoch}
    row |= {
        name: -float(nats(density, some.to(device)).mean())
        for name, some in (("validation", validation), ("fitted rows", train[:1000]))
    }
    epochs = len(history.epochs)
    row |= {"validation by epoch": [epoch.validation for epoch in history.epochs]}
    row |= {"epochs": epochs, "parameters": sum(p.numel() for p in density.parameters())}
    row |= {"seconds": seconds, "processor seconds": processor, "seconds an epoch": processor / max(1, epochs)}
    row |= {"sampling ms an image": 1000 * sampling / SAMPLES}
    row |= {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}
    with Path(arguments["output"]).open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
    if arguments["keep"]:
        folder = Path(arguments["keep"])
        folder.mkdir(exist_ok=True)
        ab.save(density.cpu(), folder / f"{data}-{model.replace(':', '-')}-{seed}.safetensors")


def run(arguments: argparse.Namespace) -> None:
    """All fits that have no line yet."""
    keys = ("threads", "device", "minutes", "progress", "checkpoint", "output", "keep")
    run_missing(arguments, list(SETTINGS[arguments.data]), keys, work)


def ensemble(arguments: argparse.Namespace) -> None:
    """The mean of the densities that `run --keep` kept, weighted equally, as one density."""
    _, _, test, _ = read(arguments.data, arguments.folder)
    names = [f"{arguments.data}-{name}-*.safetensors" for name in arguments.of.split("|")]
    found = sorted(path for name in names for path in Path(arguments.keep).glob(name))
    each = torch.stack([nats(ab.load(path), test) for path in found])
    log_p = torch.logsumexp(each, dim=0) - math.log(len(found))
    row = {"data": arguments.data, "model": f"ensemble of {len(found)}: {arguments.of}", "seed": 0}
    row |= {
        "nats": -float(log_p.mean()),
        "error": float(log_p.std()) / math.sqrt(len(log_p)),
        "members": [path.stem for path in found],
    }
    print(json.dumps(row))
    with arguments.output.open("a") as file:
        file.write(json.dumps(row) + "\n")


def summary(arguments: argparse.Namespace) -> None:
    """A Markdown table for each data; with --page also on the page of the docs, and the runs in results/."""
    from trials import write  # noqa: PLC0415 (it loads more than the fits need)

    rows = [row for path in arguments.runs for row in rows_of(path)]
    columns = {
        "parameters": ("parameters", ",.0f"),
        "seconds an epoch": ("seconds an epoch", ".1f"),
        "sampling ms an image": ("sampling, ms an image", ".1f"),
    }
    for data in dict.fromkeys(row["data"] for row in rows):
        of_data = [row for row in rows if row["data"] == data]
        table = table_of(of_data, columns)
        if arguments.page:
            settings = {"models": SETTINGS[data], "fit": FIT[data]}
            write(f"autoregressive_{data}", settings, of_data, table, PAGE)
        else:
            print(f"\n{data}\n\n{table}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, call in (("run", run), ("ensemble", ensemble)):
        command = commands.add_parser(name)
        command.set_defaults(call=call)
        command.add_argument("data", choices=list(SETTINGS))
        command.add_argument("folder", type=Path, nargs="?", default=Path())
        command.add_argument("--models", help="separated by |")
        command.add_argument("--of", default="pixelcnn")
        command.add_argument("--seeds", default="0,1,2")
        command.add_argument("--minutes", type=float)
        command.add_argument("--device", default="cpu")
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--processes", type=int, default=1)
        command.add_argument("--progress", action="store_true")
        command.add_argument("--checkpoint", type=Path)
        command.add_argument("--keep", help="a folder for the fitted densities")
        command.add_argument("-o", "--output", type=Path, default=Path("autoregressive.jsonl"))
    command = commands.add_parser("summary")
    command.set_defaults(call=summary)
    command.add_argument("runs", type=Path, nargs="+")
    command.add_argument("--page", action="store_true", help="write the tables to docs/autoregressive.md")
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
