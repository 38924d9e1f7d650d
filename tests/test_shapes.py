"""Events and contexts of any shape: multi-scale chains, images as contexts, and what does not fit."""

import math

import pytest
import torch

import anabranch as ab
from anabranch.densities import Bernoulli, Categorical, Normal
from anabranch.networks import MLP, Convolutional, MaskedMLP
from anabranch.testing import check_density, check_transform, randomize
from anabranch.transforms import (
    CDF,
    Affine,
    Autoregressive,
    Blockwise,
    Chain,
    Coupling,
    Elementwise,
    Identity,
    Inverse,
    Logit,
    LULinear,
    OnPart,
    Pointwise,
    Reshape,
    Softplus,
    Squeeze,
)

F64 = torch.float64


def multi_scale() -> Chain:
    """Two levels on (1, 8, 8)."""

    def coupling(channels: int, size: int) -> Coupling:
        moved = (torch.arange(channels) % 2 == 0).reshape(-1, 1, 1).expand(channels, size, size)
        half = (channels // 2, size, size)
        return Coupling(moved, Affine(), Convolutional(half, (channels, size, size), hidden=(8,)))

    with ab.drawing(0):  # the same weights in whatever order the tests run
        second = Chain([Squeeze(), coupling(8, 2), Pointwise(LULinear(8)), coupling(8, 2), Inverse(Squeeze())])
        return Chain([Squeeze(), coupling(4, 4), Pointwise(LULinear(4)), coupling(4, 4), OnPart(second, range(2))])


def images(rows: int = 3, shape: tuple[int, ...] = (1, 8, 8)) -> torch.Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


class TestMultiScale:
    def test_the_chain_conforms(self):
        chain = randomize(multi_scale(), scale=0.1)
        assert (chain.event_shape, chain.noise_shape) == ((1, 8, 8), (4, 4, 4))
        check_transform(chain, images(), compiles=False)

    @pytest.mark.parametrize("base", [None, Normal.standard(64), Normal.standard((1, 8, 8))])
    def test_a_flow_reads_the_noise_in_the_shape_of_its_base(self, base):
        flow = randomize(ab.Flow(multi_scale(), base=base), scale=0.1).double()
        x = images().double()
        z, log_det = flow.transform(x)
        wanted = -0.5 * z.flatten(1).square().sum(1) - 32 * math.log(2 * math.pi) + log_det
        assert flow.event_shape == (1, 8, 8)
        assert torch.allclose(flow.log_prob(x), wanted)
        drawn, log_p = flow.sample_and_log_prob((5,))
        assert drawn.shape == (5, 1, 8, 8)
        assert torch.allclose(flow.log_prob(drawn), log_p)

    def test_the_flow_conforms(self):
        check_density(randomize(ab.Flow(multi_scale()), scale=0.02), compiles=False, draws=5_000)

    @pytest.mark.parametrize("base", [Normal.standard(64), Normal.standard((4, 4, 4))])
    @pytest.mark.parametrize("heads", ["auto", "none"])
    def test_every_depth_reads_the_shared_base(self, base, heads):
        mixture = randomize(ab.DepthMixture(multi_scale(), base=base, hidden=(8,), heads=heads), scale=0.1).double()
        x = images().double()
        terms = []
        for k, (z, log_det) in enumerate(mixture.chain.prefixes(x)):
            u, more = z.reshape(3, *base.event_shape), 0.0
            if mixture.heads is not None:
                u, more = mixture.heads[k](u)
            terms.append(mixture.base.log_prob(u) + log_det + more + mixture.weights(u)[:, k].log())
        assert torch.allclose(mixture.log_prob(x), torch.stack(terms, -1).logsumexp(-1))
        drawn, log_p = mixture.sample_and_log_prob((40,), generator=0)
        assert drawn.shape == (40, 1, 8, 8)
        assert torch.allclose(mixture.log_prob(drawn), log_p)
        assert mixture.truncate(1).log_prob(x).shape == (3,)

    def test_the_depth_mixture_conforms(self):
        mixture = ab.DepthMixture(multi_scale(), gate="constant", lead=0.0)
        check_density(randomize(mixture, scale=0.02), compiles=False, draws=5_000)

    def test_shapes_fold(self):
        chain = multi_scale()
        assert chain.prefix_shapes((1, 8, 8)) == [(1, 8, 8)] + [(4, 4, 4)] * 5
        assert chain.inverse_shape((4, 4, 4)) == (1, 8, 8)
        assert Chain([Reshape((1, 2, 2), 4), LULinear(4)])[:1].noise_shape == (4,)


def test_an_image_is_a_context():
    network = Convolutional((1, 4, 4), 4, hidden=(4,))
    density = randomize(Normal(torch.zeros(2), network=network), scale=0.3)
    context = images(3, (1, 4, 4))
    check_density(density, context, draws=4_000)
    x = torch.randn(3, 2)
    each = torch.stack([density.log_prob(one, c) for one, c in zip(x, context, strict=True)])
    assert torch.allclose(density.log_prob(x, context), each, atol=1e-5)
    assert density.sample((2, 5), context).shape == (2, 5, 3, 2)
    assert density.distribution(context).expand((7, 3)).sample().shape == (7, 3, 2)


def test_a_map_of_any_shape_adds_up_over_the_event_of_its_flow():
    flow = ab.Flow(Elementwise(Logit()), base=Normal.standard((3, 8, 8))).double()
    x = torch.rand(5, 3, 8, 8, dtype=F64)
    wanted = (Normal.standard(1).double().log_prob(x.logit().unsqueeze(-1)) - (x * (1 - x)).log()).sum(dim=(1, 2, 3))
    assert torch.allclose(flow.log_prob(x), wanted)
    assert Elementwise(Logit(), event_dim=3).double()(x)[1].shape == (5,)
    assert Chain([Elementwise(Logit()), Identity()], event_dim=3).double()(x)[1].shape == (5,)


def test_every_block_has_the_same_transform():
    inner = randomize(LULinear(4)).double()
    x = images(3, (2, 3, 4)).double()
    z, log_det = Blockwise(inner, 3)(x)
    assert torch.equal(z, inner(x)[0])
    assert torch.allclose(log_det, 6 * inner.log_diagonal.sum().expand(3))
    z, log_det = Pointwise(inner)(x.movedim(-1, 1))
    assert torch.allclose(z, inner(x)[0].movedim(-1, 1))
    assert torch.allclose(log_det, 6 * inner.log_diagonal.sum().expand(3))


@pytest.mark.parametrize(("out", "shape"), [((4, 2, 2), (2, 2, 2)), (16, (2, 2, 2))])
def test_parameters_come_as_channels_or_as_one_vector(out, shape):
    network = randomize(Convolutional((1, 2, 2), out, hidden=(4,))).double()
    layer = Elementwise(Affine(), shape, network).double()
    x, context = images(3, shape).double(), images(3, (1, 2, 2)).double()
    y = network(context)
    theta = y.reshape(3, 2, 2, 2, 2).movedim(2, -1) if isinstance(out, tuple) else y.reshape(3, *shape, 2)
    wanted, _ = Affine()(x, theta)
    assert torch.allclose(layer(x, context)[0], wanted)


def test_positions_with_channels_do_not_see_each_others_channels():
    layer = randomize(Autoregressive(Affine(), MaskedMLP(3, 4, channels=2, hidden=(16,)))).double()
    x = images(1, (3, 2)).double()
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v)[0][0], x[0][None])[:, :, 0]
    for position in range(3):
        own = jacobian[position, :, position]
        assert torch.equal(own, torch.diag(own.diagonal()))
        assert not jacobian[position, :, position + 1 :].any()


def test_a_list_of_transforms_is_a_chain():
    flow = ab.Flow([LULinear(2), LULinear(2)])
    assert isinstance(flow.transform, Chain)
    assert len(flow.transform) == 2


def test_a_part_outside_its_domain_has_no_density():
    softplus = Elementwise(Softplus(), 1)
    flow = ab.Flow(Inverse(OnPart(softplus, [1])), Normal.standard(2))
    x = torch.tensor([[0.0, -1.0], [0.0, 1.0]])
    assert flow.log_prob(x).isneginf().tolist() == [True, False]
    assert flow.support.check(x).tolist() == [False, True]
    images = torch.tensor([1.0, -1.0]).reshape(2, 1, 1)
    assert Inverse(Blockwise(softplus, 2))(images)[1].isneginf().tolist() == [False, True]
    assert Inverse(Pointwise(softplus, 2))(images)[1].isneginf().tolist() == [False, True]


def test_every_channel_has_the_bounds_of_its_own():
    low = torch.tensor([0.0, 10.0, 20.0])
    bounded = Pointwise(Elementwise(CDF(torch.distributions.Uniform(low, low + 1)), 3), 3)
    x = low.reshape(3, 1, 1) + torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    z, log_det = bounded(x)
    assert torch.allclose(z, x - low.reshape(3, 1, 1), atol=1e-5)
    assert torch.allclose(log_det, torch.zeros(4), atol=1e-4)
    x[1, 2, 0, 0] = 5.0
    assert bounded(x)[1].isneginf().tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Squeeze()(torch.zeros(1, 3, 4)), "x: .* multiples of 2, for Squeeze, got 3 x 4; pad them to 4 x 4"),
        (lambda: Squeeze().inverse(torch.zeros(2, 2, 2)), "z: expected a multiple of 4 channels"),
        (lambda: Reshape((1, 2, 2), 5), "noise_shape: expected one of 4 entries, .* got .5,. of 5"),
        (
            lambda: Coupling(torch.eye(2).bool(), Affine(), MLP(3, 4)),
            r"network: expected one that reads .* the whole event \(2, 2\), the shape of the mask, got .* shape \(3,\)",
        ),
        (lambda: Coupling(torch.eye(2).bool(), Affine(), MLP((2, 2), 5)), r"network: expected .* outputs, of shape"),
        (lambda: Coupling("mask", Affine(), MLP(1, 2)), "mask: expected booleans"),
        (lambda: Coupling([True, False], Affine(), MLP(1, 2))(torch.zeros(3)), "x: expected shape"),
        (lambda: ab.Flow(multi_scale(), base=Normal.standard(63)), "base: expected event shape .* of 64 entries, got"),
        (lambda: Chain([Squeeze(), LULinear(2), Reshape((4, 2, 3), 24)]), "block '1': z: expected events of shape"),
        (lambda: OnPart(Squeeze(), [0, 1])(torch.zeros(3, 2, 2)), "transform: expected one that keeps the shape"),
        (lambda: OnPart(Identity(), [0, 5])(torch.zeros(3)), "x: expected events of at least 6 entries"),
        (lambda: OnPart(LULinear(2), [1]), "index: expected 2 numbers"),
        (lambda: OnPart(Identity(), [1, 1]), "index: expected different numbers"),
        (lambda: Pointwise(Squeeze()), "transform: expected one whose events are vectors"),
        (lambda: Blockwise(Squeeze(), 2), "event_dim: expected at least 3"),
        (
            lambda: Normal(torch.zeros(1, 2), scale_tril=torch.eye(2)),
            "scale_tril: expected None for events that are no",
        ),
        (lambda: Convolutional((1, 4), 2), "features: expected the shape"),
        (lambda: Convolutional((1, 4, 4), (2, 3, 3)), "outputs: expected"),
        (lambda: Convolutional((1, 4, 4), 2, kernel_size=2), "kernel_size: expected an odd number"),
        (lambda: Bernoulli(torch.zeros(1, 2, 2)).log_prob(torch.zeros(2, 2)), "x: expected shape"),
        (
            lambda: Categorical(torch.zeros(1, 2, 3), context=(1, 2)).sample((), torch.zeros(2)),
            "context: expected shape",
        ),
        (lambda: ab.Flow(Squeeze()), "base: expected one, such as Normal.standard"),
    ],
)
def test_what_does_not_fit_is_one_line(build, message):
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
