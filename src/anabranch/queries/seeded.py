"""Random numbers of a query's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from anabranch.checks import reference_tensor, seed_number
from anabranch.densities import Density


@contextmanager
def seeded(density: Density, seed: int | None) -> Iterator[None]:
    """Draws inside are those of a seed, and the global generators go on as if there had been none; None changes nothing."""
    if seed is None:
        yield
        return
    like = reference_tensor(density)
    devices = [like.device] if like is not None and like.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed_number(seed))
        yield
