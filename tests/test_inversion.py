"""`families.inversion.least_at`: the least x at which a rising function has reached u."""

from __future__ import annotations

import torch

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
    assert asked < 20 * len(x)  # bisection takes 53


def test_a_step_is_met_from_the_right_and_flat_parts_at_their_beginning() -> None:
    at = torch.tensor([0.0, 1.0, 3.0])
    p = torch.tensor([0.2, 0.5, 1.0])

    def steps(z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.where(z < at[0], 0.0, torch.where(z < at[1], p[0], torch.where(z < at[2], p[1], p[2])))

    u = torch.tensor([0.1, 0.2, 0.3, 0.5, 0.7, 1.0])
    x = least_at(steps, u, torch.full_like(u, -2.0), torch.full_like(u, 5.0))
    assert bool((steps(x, u) >= u).all())
    torch.testing.assert_close(x, torch.tensor([0.0, 0.0, 1.0, 1.0, 3.0, 3.0]), rtol=1e-6, atol=1e-6)


def test_elements_keep_their_numbers_and_ends_are_answers() -> None:
    slopes = torch.tensor([1.0, 10.0, 100.0, 1.0])
    u = torch.tensor([0.5, 5.0, 50.0, 0.0])
    x = least_at(lambda z, rows: slopes[rows] * z, u, torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(x, torch.tensor([0.5, 0.5, 0.5, 0.0]))
    assert float(least_at(lambda z, rows: z, torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([1.0]))) == 1.0
