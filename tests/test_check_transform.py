"""What `ab.testing.check_transform` says of maps that are valid and of maps that are not: the point where one fails."""

import pytest
import torch
from torch import nn

import anabranch as ab
from anabranch.testing import check_transform, randomize
from anabranch.transforms import Differentiable, Elementwise, Exp, HalfSpace, Inverse, Logit, Planar, Transform


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
    with pytest.raises(AssertionError, match=r"round trip in torch\.float32: .* at x = ") as caught:
        check_transform(WrongInverse(0.0, 2.0), compiles=False)
    assert point_of(str(caught.value)) > 1


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
