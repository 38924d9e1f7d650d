"""What `ab.testing.check_transform` says of maps that are valid and of maps that are not: the point where one fails."""

import math

import pytest
import torch
from torch import nn

import anabranch as ab
from anabranch.testing import check_transform, randomize
from anabranch.testing.bijection import around_circle, check_bijection
from anabranch.testing.transforms import check_estimate, check_round_trip
from anabranch.transforms import (
    Chain,
    CircularSpline,
    Continuous,
    Differentiable,
    Elementwise,
    Exp,
    Fixed,
    HalfSpace,
    Inverse,
    Logit,
    Permutation,
    Planar,
    Transform,
)


class Line(Transform):
    """f(x) = a + b x."""

    def __init__(self, a, b):
        super().__init__((1,))
        self.a, self.b = a, b

    def _forward(self, x, context):
        return self.a + self.b * x, torch.full_like(x[..., 0], abs(self.b)).log()

    def _inverse(self, z, context):
        return (z - self.a) / self.b, -torch.full_like(z[..., 0], abs(self.b)).log()


@pytest.mark.parametrize(("a", "b"), [(1.0, -1.0), (2.0, -3.0)])
def test_falling_lines_are_valid(a, b):
    check_transform(Line(a, b))


class Pieces(nn.Module):
    """Slopes on both sides of 0.7, and a jump there."""

    def __init__(self, left, right, jump=0.0):
        super().__init__()
        self.left, self.right, self.jump = left, right, jump

    def forward(self, x):
        t = x - 0.7
        return torch.where(t < 0, self.left * t, self.right * t + self.jump)


def point_of(message):
    return float(message.rsplit("[", 1)[1].split("]")[0])


def test_a_piecewise_map_that_turns_round_fails_at_a_point_of_the_other_piece():
    check_transform(Differentiable(Pieces(1.0, 2.0), 1), savable=False, compiles=False)
    with pytest.raises(
        AssertionError, match="Differentiable: expected a determinant of the Jacobian of one sign"
    ) as caught:
        check_transform(Differentiable(Pieces(1.0, -0.5), 1), savable=False, compiles=False)
    first, second = str(caught.value).split(" and ")
    assert sorted([point_of(first) < 0.7, point_of(second) < 0.7]) == [False, True]
    assert "\n" not in str(caught.value)


def test_a_piecewise_map_that_jumps_back_fails_where_it_jumps():
    check_transform(Differentiable(Pieces(1.0, 1.0, jump=2.0), 1), savable=False, compiles=False)
    with pytest.raises(AssertionError, match="a jump back between x = ") as caught:
        check_transform(Differentiable(Pieces(1.0, 1.0, jump=-2.0), 1), savable=False, compiles=False)
    first, second = str(caught.value).split(" and ")
    assert point_of(first) < 0.7 <= point_of(second)


class Triangle(nn.Module):
    """(x_1, x_1 + a x_2, x_1 + x_2 + x_3)."""

    def __init__(self, a):
        super().__init__()
        self.matrix = torch.tensor([[1.0, 0.0, 0.0], [1.0, a, 0.0], [1.0, 1.0, 1.0]])

    def forward(self, x):
        return x @ self.matrix.to(x).mT


@pytest.mark.parametrize("structure", ["full", "triangular"])
def test_a_zero_on_the_diagonal_of_a_triangular_jacobian_fails(structure):
    check_transform(Differentiable(Triangle(-0.5), 3, structure, tolerance=1e-6), savable=False, compiles=False)
    with pytest.raises(AssertionError, match=r"got a determinant of 0 at x = \[[-0-9.e]+, [-0-9.e]+, [-0-9.e]+\]$"):
        check_transform(Differentiable(Triangle(0.0), 3, structure), savable=False, compiles=False)


def test_a_jacobian_that_is_not_triangular_fails_at_a_point():
    with pytest.raises(AssertionError, match=r"log_det of row 0 against autodiff: .* at x = \["):
        check_transform(Differentiable(nn.Linear(3, 3), 3, "triangular"), savable=False, compiles=False)


class WrongInverse(Line):
    """Right between -1 and 1 only."""

    def _inverse(self, z, context):
        x, log_det = super()._inverse(z, context)
        return torch.where(x > 1, x + 0.1, x), log_det


def test_a_wrong_inverse_fails_at_a_point_where_it_is_wrong():
    with pytest.raises(AssertionError, match=r"round trip in torch\.float64: .* at x = ") as caught:
        check_transform(WrongInverse(0.0, 2.0), compiles=False)
    assert point_of(str(caught.value)) > 1


class Solved(Line):
    """A line whose log_det is off by so much, and which says so, or not."""

    def __init__(self, off, error):
        super().__init__(0.0, 2.0)
        self.off, self._error = off, error

    def _forward(self, x, context):
        z, log_det = super()._forward(x, context)
        return z, log_det + self.off


def test_a_map_is_held_to_the_error_that_it_says_and_no_other():
    check_transform(Solved(5e-5, 1e-4))
    with pytest.raises(AssertionError, match=r"within 1e-06, got 2.9.*e-05 at x = [^;]*$"):
        check_transform(Solved(5e-5, 0.0))
    with pytest.raises(AssertionError, match=r"within 0\.0001, got .*; the equation is solved by steps: give Adaptive"):
        check_transform(Solved(5e-4, 1e-4))
    whole = Chain([Solved(0.0, 1e-4), Inverse(Solved(0.0, 1e-4)), Line(0.0, 2.0)])
    assert whole.error == pytest.approx(2e-4) and Chain([Line(0.0, 2.0)]).error == 0
    check_transform(Chain([Solved(5e-5, 1e-4), Line(0.0, 2.0)]))


def test_an_estimate_for_one_number_may_be_exact():
    """Hutchinson's trace of one number is the trace: every draw is the same."""
    with ab.drawing(0):
        layer = randomize(Continuous(ab.networks.VelocityMLP(1, hidden=(4,), waves=0), "hutchinson", Fixed(8)))
    check_estimate(layer, torch.randn(2, 1, generator=torch.Generator().manual_seed(0)), draws=100)


def test_data_are_drawn_for_transforms_that_say_what_they_take():
    check_transform(randomize(ab.flows.realnvp(2, 3, blocks=2, hidden=(4,), activation="tanh")), compiles=False)
    check_transform(Inverse(randomize(Planar(2))), compiles=False)
    check_transform(Inverse(ab.transforms.Blockwise(Elementwise(Exp()), 1)), torch.rand(4, 2) + 0.1, compiles=False)
    chain = ab.transforms.Chain([Elementwise(Logit()), randomize(Planar(2))])
    check_transform(chain, torch.rand(4, 2), compiles=False)
    with pytest.raises(ValueError, match="x: expected rows of data, since the domain of Chain is left to its parts"):
        check_transform(chain)
    with pytest.raises(
        ValueError, match="x: expected rows of data, since Elementwise takes events of any shape, got None"
    ):
        check_transform(Elementwise(Exp()))
    check_transform(HalfSpace(3), compiles=False)


class Square(Transform):
    """z = x^2 of complex numbers: the Jacobian 4 |x|^2 is positive everywhere but at 0, and x and -x have one z."""

    def __init__(self):
        super().__init__((2,))

    def _forward(self, x, context):
        a, b = x.unbind(-1)
        return torch.stack([a * a - b * b, 2 * a * b], dim=-1), (4 * x.square().sum(dim=-1)).log()

    def _inverse(self, z, context):
        x = torch.view_as_real(torch.view_as_complex(z.contiguous()).sqrt())
        return x, -(4 * x.square().sum(dim=-1)).log()


def test_two_points_of_one_z_are_told_apart_around_the_rows(monkeypatch):
    """All rows lie on the side that the inverse knows: points around them lie on the other."""
    x = torch.tensor([[1.0, 0.5], [2.0, -0.5], [1.5, 1.0]])
    monkeypatch.setattr("anabranch.testing.bijection._POINTS", 120)
    square = Square()
    assert torch.allclose(square.inverse(square(x)[0])[0], x, atol=1e-5)
    with pytest.raises(
        AssertionError, match=r"^_AwayFromZero: round trip in torch\.float64: expected every x to come back from its z"
    ) as caught:
        check_transform(_AwayFromZero(), x)
    got, wanted = (
        torch.tensor([float(number) for number in text.split("[")[1].split("]")[0].split(",")])
        for text in str(caught.value).split(" at x = ")
    )
    assert torch.allclose(got, -wanted, atol=1e-2) and float(wanted[0]) < 0
    assert "\n" not in str(caught.value)


class _AwayFromZero(Square):
    """The square with 0, where its Jacobian is singular, cut out of the domain."""

    @property
    def domain(self):
        return AwayFromZero()


class AwayFromZero(torch.distributions.constraints.Constraint):
    event_dim = 1
    lower_bound, upper_bound = 0.5, None

    def check(self, value):
        return value.norm(dim=-1) > 0.05


def test_both_ends_of_a_circle_are_one_point():
    """0 and the period come back as either, and a number in between as itself alone."""
    layer = randomize(Elementwise(CircularSpline(bins=4), 2), 0.5)
    turn = 2 * math.pi
    ends = torch.tensor([[0.0, 1.0], [2.0, 0.0], [3.0, 3.0]])
    for whole in (layer, Chain([Permutation([1, 0]), layer])):
        check_bijection(whole, ends)
        check_round_trip(whole, ends)
    got, wanted = torch.tensor([[turn, 1.0], [1e-6, 3.0]]), torch.tensor([[0.0, 1.0 + turn], [turn, 3.0]])
    back = around_circle(layer, got, wanted)
    assert torch.allclose(back, torch.tensor([[0.0, 1.0], [turn, 3.0]]), atol=1e-5)
    assert torch.equal(around_circle(Planar(2), got, wanted), got)


def test_a_module_that_is_no_transform_is_refused():
    with pytest.raises(ValueError, match="transform: expected a Transform, got Tanh"):
        check_transform(torch.nn.Tanh())
    with pytest.raises(ValueError, match="density: expected a Density, got Tanh"):
        ab.testing.check_density(torch.nn.Tanh())
