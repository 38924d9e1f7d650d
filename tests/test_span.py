"""Where numbers lie, told from block to block: a base that leaves what a transform reaches is refused, and no other."""

import math

import pytest
import torch

import anabranch as ab
from anabranch.densities import Independent, Normal, Uniform
from anabranch.densities.reordered import in_order
from anabranch.families import Gaussians, Mapped
from anabranch.networks import MLP
from anabranch.transforms import (
    CDF,
    Affine,
    Blockwise,
    Chain,
    CircularSpline,
    Elementwise,
    HalfSpace,
    Inverse,
    Logit,
    LULinear,
    OnPart,
    Permutation,
    Pointwise,
    RationalQuadraticSpline,
    Reshape,
    Sigmoid,
    Softplus,
    Squeeze,
    TorchTransform,
)
from anabranch.transforms.span import span_of, span_of_any, unknown_span, whole_span

TURN = 2 * math.pi
PAIR, IMAGE = torch.Size([2]), torch.Size([2, 4, 4])


def circle(features=2):
    return Elementwise(CircularSpline(bins=4), features)


def sigmoid():
    return Elementwise(Sigmoid(), 2)


def box(low, high, features=2):
    return Uniform([low] * features, [high] * features)


def mixed():
    return Independent([Normal([0.0]), box(0.0, TURN, 1)])


REFUSED = {
    "a map of the circle over a normal": lambda: ab.Flow(circle()),
    "with an affine layer before": lambda: ab.Flow([Elementwise(Affine(), 2), circle()]),
    "with an affine layer behind": lambda: ab.Flow([circle(), Elementwise(Affine(), 2)]),
    "with a mix of the features behind": lambda: ab.Flow([sigmoid(), LULinear(2)]),
    "the recipe": lambda: ab.Flow(ab.flows.circular(2, blocks=2, hidden=(4,))),
    "the recipe of one feature": lambda: ab.Flow(ab.flows.circular(1)),
    "of a context": lambda: ab.Flow(ab.flows.circular(2, 3, blocks=2, hidden=(4,))),
    "a larger circle": lambda: ab.Flow(circle(), box(0.0, 7.0)),
    "a circle elsewhere": lambda: ab.Flow(circle(), box(-math.pi, math.pi)),
    "one feature of two": lambda: ab.Flow(OnPart(circle(1), [0]), mixed()),
    "one feature of two, swapped": lambda: ab.Flow([OnPart(circle(1), [1]), Permutation([1, 0])], mixed()),
    "a reordered base": lambda: ab.Flow(OnPart(circle(1), [1]), in_order(mixed(), [1, 0])),
    "a box that a context moves": lambda: ab.Flow(circle(), Uniform([0.0] * 2, [TURN] * 2, network=MLP(2, 4))),
    "a logit turned round": lambda: ab.Flow(Inverse(Elementwise(Logit(), 2))),
    "a chain turned round": lambda: ab.Flow(Inverse(Chain([HalfSpace(2), LULinear(2)]))),
    "a positive one": lambda: ab.Flow(Elementwise(Softplus(), 2)),
    "a flow as the base": lambda: ab.Flow(sigmoid(), ab.Flow(LULinear(2))),
    "a base of another shape": lambda: ab.Flow(circle(4), Normal(torch.zeros(2, 2))),
    "every block of an image": lambda: ab.Flow(Blockwise(Elementwise(Sigmoid()), 3), Normal(torch.zeros(IMAGE))),
    "by itself on every block": lambda: ab.Flow(Elementwise(Sigmoid()), Normal(torch.zeros(IMAGE))),
    "every position": lambda: ab.Flow(Pointwise(sigmoid()), Normal(torch.zeros(IMAGE))),
    "squeezed": lambda: ab.Flow([Elementwise(Sigmoid()), Squeeze()], Normal(torch.zeros(8, 2, 2))),
    "a distribution function": lambda: ab.Flow(Elementwise(CDF(torch.distributions.Normal(0.0, 1.0)), 2)),
    "a torch transform": lambda: ab.Flow(TorchTransform(torch.distributions.transforms.SigmoidTransform(), 2)),
    "a mixture from depth": lambda: ab.DepthMixture(Chain([circle()])),
    "its first depth": lambda: ab.DepthMixture(Chain([circle(), Elementwise(Logit(), 2)])),
    "its heads": lambda: ab.DepthMixture(Chain([LULinear(2)]), heads=[sigmoid()]),
    "a mixture with a trunk": lambda: ab.FlowMixture([Normal([0.0, 0.0]), box(0.0, 1.0)], trunk=sigmoid()),
    "a piecewise flow of one branch": lambda: ab.PiecewiseFlow([Elementwise(Softplus(), 1)]),
}

TAKEN = {
    "the circle": lambda: ab.Flow(circle(), box(0.0, TURN)),
    "half of it": lambda: ab.Flow(circle(), box(0.0, math.pi)),
    "in float64": lambda: ab.Flow(circle().double(), box(0.0, TURN).double()),
    "the recipe": lambda: ab.Flow(ab.flows.circular(2, 3, blocks=2, hidden=(4,)), box(0.0, TURN)),
    "one feature of two": lambda: ab.Flow(OnPart(circle(1), [1]), mixed()),
    "one feature of two, swapped": lambda: ab.Flow([OnPart(circle(1), [0]), Permutation([1, 0])], mixed()),
    "a reordered base": lambda: ab.Flow(OnPart(circle(1), [0]), in_order(mixed(), [1, 0])),
    "a logit first": lambda: ab.Flow([Elementwise(Logit(), 2), LULinear(2)]),
    "a logit behind a mix": lambda: ab.Flow([LULinear(2), Elementwise(Logit(), 2)]),
    "a logit behind a sigmoid": lambda: ab.Flow([sigmoid(), Elementwise(Logit(), 2)]),
    "a sigmoid turned round": lambda: ab.Flow(Inverse(sigmoid())),
    "a sigmoid over a box, as a mix may fill it": lambda: ab.Flow([sigmoid(), LULinear(2)], box(0.25, 0.75)),
    "a flow as the base": lambda: ab.Flow(sigmoid(), ab.Flow(Elementwise(Logit(), 2))),
    "a flow of a context as the base": lambda: ab.Flow(
        sigmoid(), ab.Flow([Elementwise(Logit(), 2), Elementwise(Affine(), 2, MLP(2, 4))])
    ),
    "half a space": lambda: ab.Flow([HalfSpace(2), LULinear(2)]),
    "an image": lambda: ab.Flow(
        [Elementwise(Sigmoid()), Squeeze()], Uniform(torch.zeros(8, 2, 2), torch.ones(8, 2, 2))
    ),
    "a mixture of boxes": lambda: ab.FlowMixture([box(0.0, 1.0), box(0.0, 1.0)], trunk=sigmoid()),
    "a mixture from depth": lambda: ab.DepthMixture(Chain([circle(), circle()]), box(0.0, TURN)),
    "two halves": lambda: ab.PiecewiseFlow(
        [Elementwise(Softplus(), 1), Chain([Elementwise(Softplus(), 1), LULinear(1)])]
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_base_that_leaves_the_transform_is_refused(name):
    with pytest.raises(
        ValueError, match=r"^(base|densities): expected one that stays within what the transform"
    ) as error:
        REFUSED[name]()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", TAKEN)
def test_a_base_that_stays_within_is_taken(name):
    TAKEN[name]()


def test_the_refusal_names_block_place_and_numbers():
    said = (
        r"CircularSpline takes numbers from 0 to 6\.28319 there, got some from -inf to inf at place \[0\], of a Indep"
    )
    with pytest.raises(ValueError, match=said):
        ab.Flow([OnPart(circle(1), [1]), Reshape(2, 2)], Independent([box(0.0, 1.0, 1), Normal([0.0])]))


def test_a_refused_flow_has_less_mass_than_one(monkeypatch):
    """The integral that gave rise to the rule: half of a normal lies off the circle."""
    monkeypatch.setattr("anabranch.models.flow.span_through", lambda *parts: whole_span(torch.Size([1])))
    flow = ab.Flow(circle(1))
    x = torch.linspace(1e-4, TURN - 1e-4, 20_001).unsqueeze(-1)
    assert abs(float(torch.trapezoid(flow.log_prob(x).exp(), x[:, 0]).detach()) - 0.5) < 1e-3


def test_supports_follow_from_the_base():
    assert ab.Flow([sigmoid()], box(0.0, 1.0)).support.check(torch.tensor([[50.0, -50.0]])).all()
    spans = {
        "half space": (ab.Flow([HalfSpace(2, 1), LULinear(2)]), [-math.inf, 0.0], [math.inf, math.inf]),
        "circle": (ab.Flow(circle(), box(0.0, TURN)), [0.0, 0.0], [TURN, TURN]),
        "unknown": (ab.Flow(LULinear(2), box(0.0, 1.0)), [math.nan] * 2, [math.nan] * 2),
        "swapped": (
            ab.Flow([OnPart(Elementwise(Logit(), 1), [0]), Permutation([1, 0])]),
            [0.0, -math.inf],
            [1.0, math.inf],
        ),
    }
    for name, (flow, low, high) in spans.items():
        span = span_of(flow.support, PAIR)
        for got, wanted in ((span.low, low), (span.high, high)):
            torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), equal_nan=True, msg=name)


def test_spans_of_several():
    zero, one = span_of(box(0.0, 1.0).support, PAIR), span_of(box(0.0, 2.0).support, PAIR)
    assert span_of_any([zero, zero]).equal(zero).all()
    assert span_of_any([zero, whole_span(PAIR)]).everything
    assert not span_of_any([zero, one]).known.any()
    assert not span_of_any([unknown_span(PAIR), zero]).known.any()
    assert span_of(torch.distributions.constraints.simplex, PAIR).known.logical_not().all()


def test_a_family_takes_a_map_of_all_numbers_alone():
    with pytest.raises(ValueError, match=r"^map: expected one from all numbers to all, .* got CircularSpline"):
        Mapped(CircularSpline(bins=4))
    assert Mapped(RationalQuadraticSpline(bins=4)).map.size
    assert span_of(ab.models.Autoregressive(Gaussians(2), ab.networks.MaskedMLP(2, 6)).support, PAIR).everything
