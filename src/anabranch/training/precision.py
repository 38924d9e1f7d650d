"""How precisely a fit multiplies matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from anabranch.densities import Density
from anabranch.networks import CausalNetwork, Network

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")


@contextmanager
def multiplying(density: Density, precision: Precision) -> Iterator[None]:
    """Within it, the density's networks multiply with that precision.

    "float32" leaves things as they are; "tf32" rounds the factors of products to 10 bits of mantissa, on NVIDIA GPUs;
    "bfloat16" runs the networks in it. Everything else, the maps, log-determinants and likelihoods, keeps its dtype.
    """
    networks = [module for module in density.modules() if isinstance(module, (Network, CausalNetwork))]
    dtypes = [network.product_dtype for network in networks]
    before = torch.get_float32_matmul_precision()
    try:
        if precision == "tf32":
            torch.set_float32_matmul_precision("high")
        if precision == "bfloat16":
            for network in networks:
                network.product_dtype = torch.bfloat16
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        for network, dtype in zip(networks, dtypes, strict=True):
            network.product_dtype = dtype
