"""Descriptions: what is recorded, what is rebuilt, what is refused."""

import datetime
import json
import math
from decimal import Decimal

import numpy as np
import pytest
import torch
from torch import nn

import anabranch as ab
from anabranch.described import Described, class_name, describe, rebuild
from anabranch.networks import MLP
from anabranch.transforms import (
    CDF,
    Affine,
    Chain,
    Coupling,
    Elementwise,
    Exp,
    Inverse,
    LULinear,
    TorchTransform,
    Transform,
)


class Part(Described):
    def __init__(self, *values, scale=1.0, **named):
        super().__init__()
        self.values, self.scale, self.named = values, scale, named


class Gap(Described):
    def __init__(self, a=1, b=2, c=3):
        super().__init__()
        self.abc = (a, b, c)


def round_trip(part):
    description, tensors = describe(part)
    return rebuild(json.loads(json.dumps(description)), tensors)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2.5,
        "word",
        (1, (2, 3)),
        [1, [2]],
        {"a": 1, "b": (2,)},
        torch.Size([2, 3]),
        math.inf,
        -math.inf,
        (),
        Decimal("7.00"),
        datetime.date(2024, 2, 29),
        datetime.time(1, 2, 3, 4),
        datetime.datetime(2024, 2, 29, 1, 2, tzinfo=datetime.UTC),
    ],
)
def test_plain_values(value):
    back = round_trip(Part(value)).values[0]
    assert back == value
    assert type(back) is type(value)


def test_nan_tensors_arrays_and_numbers_of_numpy():
    assert math.isnan(round_trip(Part(math.nan)).values[0])
    tensor = torch.tensor([1.5, 2.5], dtype=torch.float64)
    assert torch.equal(round_trip(Part(tensor)).values[0], tensor)
    assert round_trip(Part(np.float64(0.1))).values[0] == 0.1
    assert np.array_equal(round_trip(Part(np.arange(3))).values[0], np.arange(3))
    assert round_trip(Part(range(3))).values[0] == [0, 1, 2]


def test_variable_arguments_and_gaps():
    back = round_trip(Part(1, 2, scale=3.0, other="x"))
    assert (back.values, back.scale, back.named) == ((1, 2), 3.0, {"other": "x"})
    assert round_trip(Gap(c=9)).abc == (1, 2, 9)
    assert round_trip(Gap(5, c=9)).abc == (5, 2, 9)


def test_a_list_changed_later_does_not_change_the_record():
    values = [1, 2]
    part = Part(values)
    values.append(3)
    assert round_trip(part).values[0] == [1, 2]


def test_shared_parts_stay_shared():
    inner = Part(1)
    back = round_trip(Part(inner, [inner]))
    assert back.values[0] is back.values[1][0]


def test_a_network_shared_by_two_layers_stays_one_and_equal_ones_stay_two():
    def chain(first, second):
        layers = [Coupling([True, False], Affine(), network) for network in (first, second)]
        return Chain(layers)

    def count(module):
        return sum(p.numel() for p in module.parameters())

    one, other = MLP(1, 2, hidden=(4,)), MLP(1, 2, hidden=(4,))
    shared, apart = round_trip(chain(one, one)), round_trip(chain(one, other))
    assert shared.blocks["0"].network is shared.blocks["1"].network
    assert apart.blocks["0"].network is not apart.blocks["1"].network
    assert (count(shared), count(apart)) == (count(one), 2 * count(one))


class Stretch(Transform):
    def __init__(self, *factors):
        super().__init__((len(factors),))
        self.register_buffer("factors", torch.tensor(factors), persistent=False)

    def _forward(self, x, context):
        return x * self.factors, self.factors.log().sum().expand(x.shape[:-1])

    def _inverse(self, z, context):
        return z / self.factors, -self.factors.log().sum().expand(z.shape[:-1])


def test_a_transform_of_ones_own_deep_inside_a_model():
    base = ab.DepthMixture(Chain({"stretch": Stretch(0.5, 2.0)}), gate="constant")
    model = ab.Flow(Inverse(Chain([Stretch(3.0, 1.0), LULinear(2)])), base=base)
    back = round_trip(model)
    back.load_state_dict(model.state_dict())
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(back.log_prob(x), model.log_prob(x))


def test_a_description_that_does_not_fit_the_code():
    description, tensors = describe(Gap(1))
    description["arguments"]["colour"] = 3
    with pytest.raises(ValueError, match=r"Gap does not take the described arguments: unexpected colour"):
        rebuild(description, tensors)
    description["arguments"] = {"a": {"pickle": "..."}}
    with pytest.raises(ValueError, match="an unknown kind of value, 'pickle'"):
        rebuild(description, tensors)


def test_parts_of_torch_distributions():
    for distribution in [
        torch.distributions.Normal(1.0, 2.0),
        torch.distributions.Uniform(torch.zeros(2), torch.ones(2)),
        torch.distributions.Categorical(logits=torch.zeros(3)),
        torch.distributions.MultivariateNormal(torch.zeros(2), covariance_matrix=2 * torch.eye(2)),
    ]:
        back = round_trip(Part(distribution)).values[0]
        x = distribution.sample()
        assert type(back) is type(distribution)
        assert torch.equal(back.log_prob(x), distribution.log_prob(x))
    affine = torch.distributions.transforms.AffineTransform(torch.tensor([1.0, 2.0]), 3.0, event_dim=1)
    both = torch.distributions.transforms.ComposeTransform([affine, torch.distributions.transforms.ExpTransform()])
    x = torch.randn(2)
    assert torch.equal(round_trip(TorchTransform(both))(x)[0], both(x))
    assert isinstance(round_trip(Elementwise(CDF(torch.distributions.Laplace(0.0, 2.0)))).univariate, CDF)


def test_a_module_that_is_not_described_is_refused_by_name():
    with pytest.raises(TypeError, match=r"Part\.values\[1\]\[0\] is a torch\.nn\.modules\.linear\.Linear"):
        describe(Part(1, [nn.Linear(1, 1)]))
    with pytest.raises(TypeError, match="cannot be described"):
        describe(Part(lambda: 1))


def test_only_classes_that_are_defined_are_built():
    description, tensors = describe(Part(1))
    description["class"] = "subprocess.Popen"
    with pytest.raises(ValueError, match=r"subprocess\.Popen, which is not defined"):
        rebuild(description, tensors)
    description, tensors = describe(Part(torch.distributions.Normal(0.0, 1.0)))
    description["arguments"]["values"]["tuple"][0]["torch distribution"] = "kl_divergence"
    with pytest.raises(ValueError, match=r"kl_divergence, which is no torch distribution"):
        rebuild(description, tensors)


def test_wrong_arguments_are_python_s_own_error():
    with pytest.raises(TypeError, match="unexpected keyword"):
        Exp(nonsense=1)


def test_names_are_the_public_import_paths():
    assert class_name(Exp) == "anabranch.transforms.Exp"
    assert class_name(Part).endswith("test_described.Part")


def test_a_tensor_or_array_changed_later_does_not_change_the_record():
    tensor, array = torch.ones(2), np.ones(2)
    part = Part([tensor], array)
    tensor.zero_()
    array[:] = 0
    back = round_trip(part)
    assert back.values[0][0].tolist() == back.values[1].tolist() == [1.0, 1.0]


def test_cdf_of_distributions_that_forget_their_arguments():
    distributions = torch.distributions
    for distribution in (
        distributions.ContinuousBernoulli(torch.tensor(0.3)),
        distributions.TransformedDistribution(
            distributions.Normal(0.0, 1.0), [distributions.transforms.ExpTransform()]
        ),
    ):
        with pytest.raises(ValueError, match="distribution: expected one that keeps its arguments"):
            CDF(distribution)
