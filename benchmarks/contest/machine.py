"""Where and with what a benchmark ran."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path

import torch

PACKAGES = (
    "anabranch",
    "torch",
    "numpy",
    "zuko",
    "nflows",
    "normflows",
    "flowjax",
    "jax",
    "jaxlib",
    "equinox",
    "optax",
)


def description(device: torch.device) -> dict[str, object]:
    """Processor, threads, versions, date and command."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch_threads": torch.get_num_threads(),
        "jax_threads": "XLA's own pool, one thread a core",
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES if version(name)},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv]),
    }


def processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
