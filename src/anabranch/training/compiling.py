"""Whether a fit is worth a compilation."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from importlib.util import find_spec
from typing import Literal

import torch

from anabranch.checks import one_of
from anabranch.densities import Density
from anabranch.densities.compilation import unrolls

_LOG = logging.getLogger("anabranch")

# Measured on two CPU cores (benchmarks/results/speed.md): to compile a spline autoregressive flow takes up to a minute when
# nothing lies in PyTorch's cache, and a compiled step saves about a second for every 6e10 floating-point operations of the
# matrix products (95 ms of 6.5e9 at 63 features, 23 ms of 1.3e9 at 8).
_OPERATIONS_THAT_PAY = 60 * 6e10
# and such a step that is not compiled makes so many in a second
_OPERATIONS_A_SECOND = 3e10


def shall_compile(
    compile: bool | Literal["auto"], density: Density, device: torch.device, rows: int, steps: int
) -> bool:
    """Decide, and say in one line of the log why not, if "auto" says no.

    The choice depends on the work alone, 6 operations for each parameter and row of a step, so the
    same fit is compiled or not on every machine that has a compiler.

    Raises:
        ValueError: neither a truth value nor "auto", or True where there is no compiler.
    """
    if not isinstance(compile, bool):
        one_of("compile", compile, ("auto",))
    missing = _missing_compiler(device)
    if compile is True and missing:
        raise ValueError(f"compile: expected {missing}, found none; install one or pass compile=False")
    if compile != "auto":
        return compile
    operations = _operations(density, rows) * steps
    if missing:
        _LOG.info("fit: not compiled, since there is no %s", missing)
    elif operations < _OPERATIONS_THAT_PAY:
        _LOG.info("fit: not compiled, since %.1e operations are too few to pay it back", operations)
    elif unrolls(density):
        _LOG.info("fit: not compiled, since log_prob takes one step per feature")
    elif any(isinstance(part, Density) and part.slow_to_compile for part in density.modules()):
        _LOG.info("fit: not compiled, since that takes about as long as the fit")
    else:
        return True
    return False


def steps_within(seconds: float, density: Density, rows: int) -> int:
    """About how many steps are made in so much time, by the work alone: on every machine the same."""
    return max(1, int(seconds * _OPERATIONS_A_SECOND / _operations(density, rows)))


def _operations(density: Density, rows: int) -> float:
    """Of a step: forward, and twice that backward."""
    return 6.0 * rows * sum(parameter.numel() for parameter in density.parameters() if parameter.requires_grad)


def _missing_compiler(device: torch.device) -> str:
    """What `torch.compile` needs for the device and does not find, in words; "" if nothing."""
    if device.type == "cpu":
        names = [os.environ.get("CXX", ""), *(("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++"))]
        return "" if any(name and shutil.which(name) for name in names) else "C++ compiler (such as g++)"
    return "" if device.type != "cuda" or find_spec("triton") else "Triton"
