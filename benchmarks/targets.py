"""Unnormalised log-densities that variational inference is tried on, with their normalisers where those are known."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from anabranch.datasets import path


@dataclass(frozen=True)
class Target:
    """log p~ of vectors (rows, features), and log Z where it is known otherwise than by draws."""

    features: int
    log_prob: Callable[[Tensor], Tensor]
    log_normaliser: float | None = None


def _wave(x: Tensor) -> Tensor:
    return torch.sin(math.pi * x / 2)


def _wall(x: Tensor) -> Tensor:
    """Energies 2 to 4 are periodic, and have no integral: beyond |x_1| = 4 they rise."""
    return 0.5 * (functional.relu(x[..., 0].abs() - 4) / 0.4).square()


def energy_1(x: Tensor) -> Tensor:
    """Two arcs of a ring."""
    arcs = torch.stack([-0.5 * ((x[..., 0] - at) / 0.6).square() for at in (-2.0, 2.0)])
    return -0.5 * ((x.norm(dim=-1) - 2) / 0.4).square() + torch.logsumexp(arcs, dim=0)


def energy_2(x: Tensor) -> Tensor:
    """A wave."""
    return -0.5 * ((x[..., 1] - _wave(x[..., 0])) / 0.4).square() - _wall(x)


def _split_wave(x: Tensor, apart: Tensor, width: float) -> Tensor:
    d = x[..., 1] - _wave(x[..., 0])
    ways = torch.stack([-0.5 * (d / width).square(), -0.5 * ((d + apart) / 0.35).square()])
    return torch.logsumexp(ways, dim=0) - _wall(x)


def energy_3(x: Tensor) -> Tensor:
    """A wave that parts and meets again."""
    return _split_wave(x, 3 * torch.exp(-0.5 * ((x[..., 0] - 1) / 0.6).square()), 0.35)


def energy_4(x: Tensor) -> Tensor:
    """A wave that forks."""
    return _split_wave(x, 3 * torch.sigmoid((x[..., 0] - 1) / 0.3), 0.4)


def on_a_grid(log_prob: Callable[[Tensor], Tensor], reach: float = 8.0, points: int = 2_001) -> float:
    """log Z of two features, by the trapezoidal rule, which is exact to many digits for what falls off smoothly."""
    line = torch.linspace(-reach, reach, points, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1)
    return float(torch.logsumexp(log_prob(grid).flatten(), dim=0) + 2 * math.log(2 * reach / (points - 1)))


def funnel(x: Tensor) -> Tensor:
    """Neal's: v of deviation 3, and nine numbers of deviation exp(v / 2); it is normalised."""
    v, rest = x[..., 0], x[..., 1:]
    log_scale = 0.5 * v.unsqueeze(-1)
    of_rest = -0.5 * (rest * torch.exp(-log_scale)).square() - log_scale - 0.5 * math.log(2 * math.pi)
    return -0.5 * (v / 3).square() - math.log(3) - 0.5 * math.log(2 * math.pi) + of_rest.sum(dim=-1)


def double_wells(x: Tensor) -> Tensor:
    """Five pairs: -a^4 + 6 a^2 + a / 2 - b^2 / 2 of each, 32 modes."""
    a, b = x[..., 0::2], x[..., 1::2]
    return (-a.pow(4) + 6 * a.square() + 0.5 * a - 0.5 * b.square()).sum(dim=-1)


def _of_double_wells() -> float:
    a = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    well = torch.logsumexp(-a.pow(4) + 6 * a.square() + 0.5 * a, dim=0) + math.log(12 / 20_000)
    return 5 * (float(well) + 0.5 * math.log(2 * math.pi))


def penguins() -> Target:
    """Whether a penguin is male, by its four measurements and species: logistic regression of 333 birds, 7 coefficients.

    Measurements are standardised; the coefficients are normal with deviation 5 beforehand.
    """
    from anabranch.tables import read_table  # noqa: PLC0415 (pyarrow)

    table = read_table(path("penguins")).to_pandas().dropna()
    names = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    measured = table[names].to_numpy(dtype=np.float64)
    measured = (measured - measured.mean(0)) / measured.std(0)
    kinds = [(table["species"] == kind).to_numpy(dtype=np.float64) for kind in ("Chinstrap", "Gentoo")]
    x = torch.tensor(np.column_stack([np.ones(len(table)), measured, *kinds]))
    y = torch.tensor((table["sex"] == "male").to_numpy(dtype=np.float64))

    def log_prob(w: Tensor) -> Tensor:
        logit = w @ x.to(w).mT
        likely = y.to(w) * logit - functional.softplus(logit)
        prior = -0.5 * (w / 5).square() - math.log(5) - 0.5 * math.log(2 * math.pi)
        return likely.sum(dim=-1) + prior.sum(dim=-1)

    return Target(x.shape[1], log_prob)


def targets() -> dict[str, Target]:
    """All of them."""
    energies = {"energy 1": energy_1, "energy 2": energy_2, "energy 3": energy_3, "energy 4": energy_4}
    return {
        **{name: Target(2, energy, on_a_grid(energy)) for name, energy in energies.items()},
        "funnel": Target(10, funnel, 0.0),
        "double wells": Target(10, double_wells, _of_double_wells()),
        "penguins": penguins(),
    }
