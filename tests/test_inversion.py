"""`families.inversion.least_at`: the least x at which a rising function has reached u."""

from __future__ import annotations

import math

import torch

from anabranch.families import Logistics
from anabranch.families.inversion import least_at


def test_smooth_functions_are_inverted_to_rounding_in_few_calls() -> None:
    x = torch.linspace(-6, 6, 241, dtype=torch.float64)
    low, high = torch.full_like(x, -40.0), torch.full_like(x, 90.0)
    asked = 0

    def rising(z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += len(rows)
        return torch.sigmoid(z)

    torch.testing.assert_close(least_at(rising, torch.sigmoid(x), low, high), x, rtol=1e-12, atol=1e-12)
    assert asked < 30 * len(x)  # bisection takes 60


def test_a_step_is_met_from_the_right_and_flat_parts_at_their_beginning() -> None:
    at = torch.tensor([0.0, 1.0, 3.0])
    p = torch.tensor([0.2, 0.5, 1.0])

    def steps(z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.where(z < at[0], 0.0, torch.where(z < at[1], p[0], torch.where(z < at[2], p[1], p[2])))

    u = torch.tensor([0.1, 0.2, 0.3, 0.5, 0.7, 1.0])
    x = least_at(steps, u, torch.full_like(u, -2.0), torch.full_like(u, 5.0))
    assert bool((steps(x, u) >= u).all())
    torch.testing.assert_close(x, torch.tensor([0.0, 0.0, 1.0, 1.0, 3.0, 3.0]), rtol=1e-6, atol=1e-6)


def test_a_narrow_step_in_a_wide_bracket() -> None:
    for far, scale in ((1e5, 1.8e-3), (1e7, 1.8e-3), (0.0, 1e5)):
        # two logistics of equal weight: a narrow one at 0, and one far away or wide
        s = torch.tensor([1.8e-3, scale]).log()
        theta = torch.cat([torch.zeros(2), torch.tensor([0.0, far]), (s + 7).expm1().log() - 7])
        family = Logistics(components=2)
        u = torch.linspace(0.05, 0.45, 9)
        x = family.quantile(u, theta.expand(9, -1))
        torch.testing.assert_close(family.below(x, theta.expand(9, -1))[1], u, rtol=0, atol=1e-5)


def test_nan_stays_nan_and_dtypes_may_differ() -> None:
    ends = torch.zeros(2), torch.ones(2)
    x = least_at(lambda z, rows: z, torch.tensor([math.nan, 0.25], dtype=torch.float64), *ends)
    assert x[0].isnan() and x[1] == 0.25 and x.dtype == torch.float32
    assert bool(least_at(lambda z, rows: z * torch.nan, torch.full((2,), 0.5), *ends).isnan().all())
    assert least_at(lambda z, rows: z, torch.zeros(0), torch.zeros(0), torch.ones(0)).shape == (0,)


def test_elements_keep_their_numbers_and_ends_are_answers() -> None:
    slopes = torch.tensor([1.0, 10.0, 100.0, 1.0])
    u = torch.tensor([0.5, 5.0, 50.0, 0.0])
    x = least_at(lambda z, rows: slopes[rows] * z, u, torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(x, torch.tensor([0.5, 0.5, 0.5, 0.0]))
    assert float(least_at(lambda z, rows: z, torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([1.0]))) == 1.0
