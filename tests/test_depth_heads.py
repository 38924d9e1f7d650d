"""What stands between each depth and the base, and where the gate of a mixture from depth starts."""

import math

import pytest
import torch

import anabranch as ab
from anabranch.densities import Categorical, Normal, Uniform
from anabranch.models import depth_mixture
from anabranch.models.depth_heads import alike, side_by_side
from anabranch.networks import MLP
from anabranch.testing import check_normalised, randomize
from anabranch.transforms import (
    Affine,
    Autoregressive,
    Chain,
    Elementwise,
    Householder,
    Log,
    Logit,
    LULinear,
    Permutation,
    QuadraticSpline,
    RationalQuadraticSpline,
    Sigmoid,
)


def chain(blocks=3):
    torch.manual_seed(0)
    return ab.flows.nsf(2, blocks=blocks, bins=4, hidden=(8,))


def different():
    """A head of another kind for each depth."""
    return [
        Householder(2),
        Chain([LULinear(2), Elementwise(RationalQuadraticSpline(bins=4), 2)]),
        Elementwise(Affine(), 2),
    ]


HEADS = {"spline": lambda: "spline", "linear": lambda: "linear", "different": different}


@pytest.fixture(params=HEADS, ids=str)
def model(request):
    made = ab.DepthMixture(chain(), hidden=(8,), heads=HEADS[request.param](), lead=0.0)
    return randomize(made, scale=0.3).double()


def rows(count=6):
    return torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_heads_that_are_alike_run_side_by_side_as_one_by_one():
    model = randomize(ab.DepthMixture(chain(), hidden=(8,)), scale=0.5).double()
    assert model._alike
    for batch in [rows(), rows(12).reshape(3, 4, 2), rows(1)[0], rows(0)]:
        us, log_dets = model._components(batch, None)
        for k, (u, log_det) in enumerate(model._images(batch)):
            assert us.shape == (3, *batch.shape) and log_dets.shape == (*batch.shape[:-1], 3)
            assert torch.allclose(us[k], u, atol=1e-12) and torch.allclose(log_dets[..., k], log_det, atol=1e-12)


def test_what_is_alike():
    def spline(bins=4):
        return Elementwise(QuadraticSpline(bins), 2)

    assert alike([LULinear(2), LULinear(2)]) and alike([spline(), spline()])
    assert alike([Chain([LULinear(2), spline()]), Chain([LULinear(2), spline()])])
    assert not alike([spline(4), spline(5)]) and not alike([LULinear(2), spline()])
    assert not alike([Chain([LULinear(2), spline()]), Chain([LULinear(2)])])
    assert not alike([Householder(2), Householder(2)])
    assert not alike([Elementwise(Affine(), 2, MLP(1, 4)) for _ in range(2)])


def test_rational_splines_run_side_by_side_too():
    heads = [randomize(Elementwise(RationalQuadraticSpline(bins=4), 3), 0.5, seed).double() for seed in (0, 1)]
    x = torch.randn(2, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    columns, log_det = side_by_side(heads, x)
    for k, head in enumerate(heads):
        z, wanted = head(x[k].mT)
        assert torch.allclose(columns[k].mT, z) and torch.allclose(log_det[k], wanted)


def test_log_dets_are_those_of_autodiff(model):
    x = rows()
    for k in range(model.components):
        jacobian = torch.func.vmap(torch.func.jacrev(lambda one, k=k: model._images(one)[k][0]))(x)
        wanted = torch.linalg.slogdet(jacobian).logabsdet
        assert torch.allclose(model._components(x, None)[1][:, k], wanted, atol=1e-9)


@pytest.mark.slow
def test_the_mixture_and_every_depth_alone_integrate_to_one(model):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        check_normalised(model)
        for k, depth in enumerate(model.depths):
            check_normalised(
                ab.DepthMixture(model.chain, depths=[depth], heads=[model._heads()[k]], hidden=(8,)).double()
            )


def test_a_sample_of_each_depth_leads_back_to_its_draw_from_the_base(model, monkeypatch):
    drawn = {}

    def remember(logits, draw=depth_mixture.draw_levels):
        drawn["component"] = draw(logits)
        return drawn["component"]

    def base_sample(shape, context, sample=model.base._sample):
        drawn["u"] = sample(shape, context)
        return drawn["u"]

    monkeypatch.setattr(depth_mixture, "draw_levels", remember)
    monkeypatch.setattr(model.base, "_sample", base_sample)
    x = model.sample((60,), generator=0)
    images = torch.stack([u for u, _ in model._images(x)])
    assert drawn["component"].unique().tolist() == [0, 1, 2]
    assert torch.allclose(images[drawn["component"], torch.arange(60)], drawn["u"], atol=1e-8)


def test_nothing_is_drawn_where_nothing_is_asked_for():
    assert ab.DepthMixture(chain(), hidden=(8,)).sample((0,)).shape == (0, 2)


def test_samples_are_scored_as_a_mean_says(model):
    # E_x[p(l | x)] over samples is E_u[p(l | u)] over draws of the base, which the gate must read in the base's space
    with torch.no_grad():
        x = model.sample((20_000,), generator=1)
        u = model.base.sample((20_000,), generator=2)
        assert torch.allclose(model.responsibilities(x).mean(0), model.weights(u).mean(0), atol=0.012)


def test_the_deepest_starts_ahead_as_the_flow_with_heads_that_change_nothing():
    blocks = randomize(chain(), 0.3)
    model = ab.DepthMixture(blocks, hidden=(8,), lead=5.0).double()
    x = rows()
    weights = torch.tensor([math.exp(-5), math.exp(-5), 1.0], dtype=torch.float64)
    assert torch.allclose(model.weights(x), (weights / weights.sum()).expand(6, 3))
    deepest = ab.Flow(blocks).double().log_prob(x) - math.log(1 + 2 * math.exp(-5))
    assert torch.allclose(model.joint_log_prob(x)[:, 2], deepest)
    for gate in ("network", "constant"):
        equal = ab.DepthMixture(chain(), gate=gate, hidden=(8,), lead=0).double()
        assert torch.allclose(equal.weights(x), torch.full((6, 3), 1 / 3, dtype=torch.float64))
    given = MLP(2, 3, hidden=(), zero_start=True)
    weights = ab.DepthMixture(chain(), gate=given).double().weights(x)
    assert torch.allclose(weights, torch.full((6, 3), 1 / 3, dtype=torch.float64))


def test_gradients_reach_every_head():
    model = randomize(ab.DepthMixture(chain(), hidden=(8,)), 0.3)
    model.loss(rows(50).float()).mean().backward()
    heads = list(model.heads.named_parameters())
    assert len(heads) == 15
    assert all(bool(p.grad.any()) for name, p in heads)


def test_heads_are_none_where_base_or_blocks_reach_a_part_only():
    turned = Permutation([1, 0])
    categories = Categorical(torch.zeros(2, 3))
    assert ab.DepthMixture(Chain([turned, turned]), base=categories).heads is None
    square = Uniform([0.0, 0.0], [1.0, 1.0])
    assert ab.DepthMixture(Chain([LULinear(2), Elementwise(Sigmoid())]), base=square).heads is None
    there_and_back = Chain([Elementwise(Sigmoid()), Elementwise(Logit())])
    assert ab.DepthMixture(there_and_back, base=Normal.standard(2), depths=[2]).heads is None
    assert len(ab.DepthMixture(chain()).heads) == 3


def test_what_is_cut_keeps_its_heads_and_files_do(model, tmp_path):
    x = rows()
    fewer = model.up_to(2)
    assert fewer._heads()[1] is model._heads()[1]
    again = torch.stack([u for u, _ in fewer._images(x)])
    assert torch.equal(again, torch.stack([u for u, _ in model._images(x)][:2]))
    assert bool((fewer.joint_log_prob(x) > model.joint_log_prob(x)[:, :2]).all())  # weights are shared out anew
    ab.save(fewer, tmp_path / "m.safetensors")
    assert torch.equal(ab.load(tmp_path / "m.safetensors").log_prob(x), fewer.log_prob(x))


def test_heads_of_a_context_and_a_context_of_heads():
    head = Elementwise(Affine(), 2, MLP(3, 4, hidden=(8,)))
    model = randomize(ab.DepthMixture(chain(2), heads=[LULinear(2), head], hidden=(8,))).double()
    assert model.context_shape == (3,)
    contexts = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = model.sample((4,), contexts, generator=0)
    assert x.shape == (4, 5, 2) and model.log_prob(x, contexts).shape == (4, 5)
    one = model.log_prob(x[:, 3], contexts[3])
    assert torch.allclose(model.log_prob(x, contexts)[:, 3], one)


def test_a_sequential_head_is_inverted():
    head = randomize(Autoregressive(Affine(), ab.networks.MaskedMLP(2, 2, hidden=(8,))), 0.3)
    model = ab.DepthMixture(chain(1), heads=[head], hidden=(8,)).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        check_normalised(model)


def test_in_training_the_deepest_component_learns_of_every_row_too():
    model = randomize(ab.DepthMixture(chain(), hidden=(8,), flow_weight=0.5), 0.3).double()
    x = rows()
    u, log_det = model._images(x)[-1]
    flow = model.base.log_prob(u) + log_det
    assert torch.allclose(model.loss(x), -(model.log_prob(x) + 0.5 * flow) / 1.5)
    assert torch.allclose(model.eval().loss(x), -model.log_prob(x))
    assert torch.allclose(
        model.up_to(2).train().loss(x), -(model.up_to(2).log_prob(x) + 0.5 * deepest(model, x, 1)) / 1.5
    )
    alone = ab.DepthMixture(chain(), hidden=(8,), flow_weight=0).double()
    assert torch.allclose(alone.loss(x), -alone.log_prob(x))


def deepest(model, x, k):
    u, log_det = model._images(x)[k]
    return model.base.log_prob(u) + log_det


def test_blocks_that_a_shallow_depth_leaves_without_rows_learn_all_the_same():
    size = {}
    for weight in (0.0, 1.0):
        model = ab.DepthMixture(chain(), gate="constant", flow_weight=weight)
        with torch.no_grad():  # hardly a row for the deepest
            model.gate.values.copy_(torch.tensor([0.0, 0.0, -60.0]))
        model.loss(rows(50).float() + 2).mean().backward()
        size[weight] = max(float(p.grad.abs().max()) for p in list(model.chain)[-1].parameters())
    assert size[0.0] < 1e-20 and size[1.0] > 1e-3


def test_a_row_where_the_deepest_is_not_defined_trains_the_others():
    blocks = Chain([LULinear(1), Elementwise(Log())])
    model = ab.DepthMixture(blocks, hidden=(8,), depths=[0, 1, 2])
    loss = model.loss(torch.tensor([[-2.0], [3.0]]))
    loss.mean().backward()
    assert torch.isfinite(loss).all() and torch.isclose(loss[0], -model.log_prob(torch.tensor([[-2.0]]))[0])
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": "affine"}, "heads: expected one of 'auto', 'spline', 'linear', 'none', got 'affine'"),
        ({"heads": [LULinear(2)]}, "heads: expected 3 transforms, one for each depth, got 1"),
        (
            {"heads": [LULinear(2), LULinear(3), LULinear(2)]},
            r"heads: expected event shape \(2,\), the base's, got \(3,\)",
        ),
        ({"heads": [MLP(2, 2)] * 3}, "heads: expected transforms, got a MLP"),
        ({"heads": "spline", "base": Uniform([0.0] * 2, [1.0] * 2)}, "heads: expected 'none' or a transform for each"),
        ({"lead": -1.0}, "lead: expected"),
        ({"lead": math.nan}, "lead: expected"),
        ({"flow_weight": -1.0}, "flow_weight: expected"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_heads_and_leads_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        ab.DepthMixture(chain(), **options)


class Scaled(ab.transforms.UnivariateMap):
    """z = k x + theta, with a k that is a tensor."""

    def __init__(self, k):
        super().__init__(size=1)
        self.register_buffer("k", k)

    def forward(self, x, parameters):
        return x * self.k + parameters[..., 0], self.k.log().expand(x.shape)

    def inverse(self, z, parameters):
        return (z - parameters[..., 0]) / self.k, -self.k.log().expand(z.shape)


def test_heads_whose_maps_hold_tensors_are_run_each_by_itself():
    heads = [ab.transforms.Elementwise(Scaled(torch.tensor(k)), 2) for k in (1.0, 4.0)]
    swap = ab.transforms.Permutation([1, 0])
    mixture = ab.DepthMixture(ab.transforms.Chain([swap, swap]), gate="constant", lead=0, heads=heads)
    x = torch.zeros(1, 2)
    wanted = math.log(0.5 * (1 + 16)) - math.log(2 * math.pi)
    assert torch.allclose(mixture.log_prob(x), torch.tensor([wanted]))
