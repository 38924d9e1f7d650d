"""Flow and the mixture from depth: formula, sampling, work, and what truncation keeps."""

import itertools
import math

import pytest
import torch

import anabranch as ab
from anabranch.densities import Density, GaussianMixture, Independent, Normal
from anabranch.networks import MLP, Constant
from anabranch.queries import AtContext
from anabranch.testing import check_normalised, randomize


def mixture(seed=0, **options):
    torch.manual_seed(seed)
    chain = ab.flows.nsf(2, blocks=3, bins=4, hidden=(8,))
    options = {"lead": 0.0} | options
    return randomize(ab.DepthMixture(chain, hidden=(8,), **options), scale=0.4, seed=seed).double()


@pytest.mark.parametrize("heads", ["none", "linear", "spline"])
@pytest.mark.parametrize("gate", ["network", "constant"])
def test_the_joint_is_the_formula(gate, heads):
    model = mixture(gate=gate, heads=heads)
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    joint = model.joint_log_prob(x)
    z = x
    log_det = torch.zeros(6, dtype=torch.float64)
    for k, block in enumerate(model.chain):
        z, step = block(z)
        log_det = log_det + step
        u, more = (z, 0.0) if model.heads is None else model.heads[k](z)
        base = (-0.5 * u.square() - 0.5 * math.log(2 * math.pi)).sum(-1)
        weight = torch.log_softmax(model.gate(u), -1)[:, k]
        assert torch.allclose(joint[:, k], weight + base + log_det + more, atol=1e-10)
    assert torch.allclose(model.weights(z).sum(-1), torch.ones(6, dtype=torch.float64))


def test_samples_come_from_each_depth_as_often_as_the_density_says():
    model = mixture(seed=2)
    torch.manual_seed(0)
    with torch.no_grad():
        x = model.sample((20_000,))
        # E_x[p(l | x)] is the share of depth l, and so is E_z[p(l | z)]
        shares = model.responsibilities(x).mean(0)
        z = torch.randn(20_000, 2, dtype=torch.float64)
        wanted = model.weights(z).mean(0)
    assert torch.allclose(shares, wanted, atol=0.01)
    depth = (wanted * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).sum()
    assert model.expected_depth(20_000) == pytest.approx(float(depth), abs=0.02)


@pytest.mark.parametrize("gate", ["network", "constant"])
def test_the_work_of_sampling_is_the_sum_of_the_depths_drawn(gate, monkeypatch):
    model = mixture(gate=gate)
    rows = []
    for block in model.chain:

        def count(z, context=None, inverse=block.inverse):
            rows.append(len(z))
            return inverse(z, context)

        monkeypatch.setattr(block, "inverse", count)
    torch.manual_seed(0)
    model.sample((5000,))
    assert rows[0] < rows[1] < rows[2] == 5000  # deepest block first: few rows, then more join
    assert sum(rows) / 5000 == pytest.approx(model.expected_depth(), abs=0.05)


def test_every_sample_runs_through_as_many_blocks_as_its_depth_and_no_more(monkeypatch):
    from anabranch.models import depth_mixture

    model = mixture(depths=[0, 2, 3])
    drawn, rows = [], {}

    def remember(logits, *rest, draw=depth_mixture.draw_levels):
        drawn.append(draw(logits, *rest))
        return drawn[-1]

    monkeypatch.setattr(depth_mixture, "draw_levels", remember)
    for depth, block in enumerate(model.chain, start=1):

        def count(z, context=None, depth=depth, inverse=block.inverse):
            rows[depth] = len(z)
            return inverse(z, context)

        monkeypatch.setattr(block, "inverse", count)
    torch.manual_seed(0)
    model.sample((500,))
    depths = torch.tensor(model.depths)[drawn[0]]
    assert rows == {depth: int((depths >= depth).sum()) for depth in (1, 2, 3)}
    assert sum(rows.values()) == int(depths.sum())


def probabilities_of_cells(density, edges):
    """Probabilities of the cells between the same edges along both axes, from log_prob alone."""
    axis = [torch.linspace(a, b, 101, dtype=torch.float64) for a, b in itertools.pairwise(edges)]
    cells = torch.zeros(len(axis), len(axis), dtype=torch.float64)
    for (i, a), (j, b) in itertools.product(enumerate(axis), enumerate(axis)):
        with torch.no_grad():
            heights = density.log_prob(torch.cartesian_prod(a, b)).exp().reshape(len(a), len(b))
        cells[i, j] = torch.trapezoid(torch.trapezoid(heights, b), a)
    return cells


@pytest.mark.parametrize("options", [{}, {"gate": "constant"}, {"depths": [0, 2]}, {"heads": "none"}], ids=str)
def test_samples_fall_into_regions_as_often_as_the_density_says(options):
    # a gate and blocks far from their start, so that no depth looks like another
    torch.manual_seed(3)
    chain = ab.flows.nsf(2, blocks=3, bins=4, hidden=(8,))
    model = randomize(ab.DepthMixture(chain, hidden=(8,), lead=0.0, **options), 0.7).double()
    with torch.no_grad():  # heads so far off as the blocks would leave the square that is looked at
        for parameter in model.heads.parameters() if model.heads else []:
            parameter.mul_(0.3)
    edges = torch.tensor([-3.0, -1.0, -0.3, 0.3, 1.0, 3.0], dtype=torch.float64)
    cells = probabilities_of_cells(model, edges.tolist()).flatten()
    count = 40_000
    torch.manual_seed(4)
    x = model.sample((count,))
    inside = x[(x.abs() < 3).all(dim=-1)]
    i, j = (torch.bucketize(inside, edges) - 1).unbind(-1)
    seen = torch.bincount(5 * i + j, minlength=25) / count
    error = (cells * (1 - cells) / count).sqrt() + 1e-4
    assert float(((seen - cells).abs() / error).max()) < 4.5
    assert 0.15 < float(cells.sum()) < 0.999


def test_sampling_keeps_rows_with_their_contexts():
    torch.manual_seed(0)
    loc = torch.tensor([[-50.0], [0.0], [50.0]])
    chain = ab.transforms.Chain(
        [ab.transforms.Elementwise(ab.transforms.Shift(), 1, randomize(MLP(1, 1, hidden=()), 0.0)) for _ in range(2)]
    )
    for block in chain:
        block.network.layers[0].weight.data.fill_(1.0)
        block.network.layers[0].bias.data.zero_()
    model = ab.DepthMixture(chain, gate="constant")
    x = model.sample((200,), loc)
    # depth 1 moves by c, depth 2 by 2 c
    near = torch.minimum((x - loc).abs(), (x - 2 * loc).abs())
    assert float(near.max()) < 6


def test_expected_depth_of_constant_weights_is_exact():
    model = mixture(gate="constant")
    with torch.no_grad():
        model.gate.values.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    assert model.expected_depth(10) == pytest.approx(2.3)


@pytest.mark.parametrize("gate", ["network", "constant"])
def test_truncation_renormalises_and_copies(gate):
    model = mixture(gate=gate)
    shallow = model.truncate(2)
    assert shallow.components == 2 and len(shallow.chain) == 2
    check_normalised(shallow.float(), draws=1000)
    model = model.float()
    shallow = model.truncate(2)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    difference = shallow.joint_log_prob(x) - model.joint_log_prob(x)[:, :2]
    assert bool((difference > 0).all())
    before = model.log_prob(x)
    with torch.no_grad():
        for parameter in shallow.parameters():
            parameter.add_(1.0)
    assert torch.equal(model.log_prob(x), before)
    assert shallow.truncate(1).components == 1


def test_expected_depth_of_chosen_depths():
    model = mixture(depths=[0, 2], gate="constant")
    with torch.no_grad():
        model.gate.values.copy_(torch.tensor([0.25, 0.75]).log())
    assert model.expected_depth(10) == pytest.approx(1.5)


def test_a_cut_mixture_integrates_to_one_and_shares_the_rest_at_every_point():
    model = mixture(seed=5)
    shallow = model.truncate(2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        check_normalised(shallow)
    z = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = model.weights(z)[:, :2]
    assert torch.allclose(shallow.weights(z), weights / weights.sum(-1, keepdim=True))


def test_truncation_to_the_full_depth_changes_nothing():
    model = mixture()
    x = torch.randn(5, 2, dtype=torch.float64)
    assert torch.allclose(model.truncate(3).log_prob(x), model.log_prob(x), atol=1e-12)


def test_truncation_of_chosen_depths():
    model = mixture(depths=[0, 2], heads="none")
    assert model.truncate(1).depths == (0,)
    x = torch.randn(5, 2, dtype=torch.float64)
    assert torch.allclose(model.truncate(0).log_prob(x), model.base.log_prob(x))


def test_depth_zero_is_the_base_itself():
    model = mixture(depths=[0, 2], gate="constant", heads="none")
    x = torch.randn(5, 2, dtype=torch.float64)
    assert torch.allclose(model.joint_log_prob(x)[:, 0], model.base.log_prob(x) + model.gate.values.log_softmax(-1)[0])


class Bounded(Density):
    """A normal density of which only a bound is known, half a nat below, and a loss that is a nat off."""

    likelihood = "bound"

    def __init__(self):
        super().__init__((2,))
        self.normal = Normal(torch.zeros(2), learnable=True)

    def _log_weight(self, x, context):
        return self.normal.log_prob(x) - 0.5

    def _loss(self, x, context):
        return 1 - self.normal.log_prob(x)

    def _sample(self, shape, context):
        return self.normal._sample(shape, context)


@pytest.mark.parametrize(
    "around",
    [
        lambda base: ab.Flow(ab.flows.nsf(2, blocks=2, hidden=(8,)), base=base),
        lambda base: ab.DepthMixture(ab.flows.nsf(2, blocks=2, hidden=(8,)), base=base, hidden=(8,)),
        lambda base: ab.PiecewiseFlow([ab.flows.nsf(2, blocks=2, hidden=(8,))], base=base, hidden=(8,)),
        lambda base: ab.Ensemble([base, base]),
        lambda base: ab.Ensemble([ab.FlowMixture([base, base]), ab.FlowMixture([base, base])], aligned=True),
        lambda base: ab.FlowMixture([base, base], heads="affine"),
        lambda base: ab.FlowMixture([base, base], posterior=ab.networks.MLP(2, 2)),
        lambda base: Independent([base]),
        lambda base: AtContext(ab.Flow(ab.flows.nsf(2, 1, blocks=2, hidden=(8,)), base=base), [0.5]),
    ],
)
def test_a_bound_stays_a_bound_and_its_loss_is_the_part_s(around):
    def built(base):
        with ab.drawing(0):
            return randomize(around(base))

    model, exact = built(Bounded()), built(Normal(torch.zeros(2), learnable=True))
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    assert (model.likelihood, exact.likelihood) == ("bound", "exact")
    assert torch.allclose(model.lower_bound(x), exact.lower_bound(x) - 0.5, atol=1e-5)
    assert torch.allclose(model.estimate(x)[0], exact.log_prob(x) - 0.5, atol=1e-5)
    assert torch.allclose(model.loss(x), 1 + exact.loss(x), atol=1e-5)
    for refused in (model.log_prob, model.distribution().log_prob):
        with pytest.raises(ValueError, match=r"log_prob: expected .* exact, got .*; use lower_bound, or estimate"):
            refused(x)
    with pytest.raises(
        ValueError, match=r"sample_and_log_prob: expected .* exact, got .*; use lower_bound, or estimate"
    ):
        model.sample_and_log_prob((3,))


def test_gradients_reach_chain_gate_and_base():
    base = GaussianMixture([[0.0, 0.0], [1.0, 1.0]], learnable=True)
    chain = ab.flows.nsf(2, blocks=2, bins=4, hidden=(8,), activation="tanh")
    model = randomize(ab.DepthMixture(chain, base=base, hidden=(8,)))
    model.loss(torch.randn(50, 2, generator=torch.Generator().manual_seed(0))).mean().backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []


def test_initialize_reaches_chain_and_base_once():
    chain = ab.transforms.Chain([ab.transforms.ActNorm(2), ab.transforms.LULinear(2)])
    inner = ab.DepthMixture(ab.transforms.Chain([ab.transforms.ActNorm(2)]), gate="constant")
    flow = ab.Flow(chain, base=inner)
    x = 5 + 3 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    flow.initialize(x)
    z, _ = inner.chain(chain(x)[0])
    assert torch.allclose(z.mean(0), torch.zeros(2), atol=1e-4)
    assert torch.allclose(z.std(0, correction=0), torch.ones(2), atol=1e-4)
    before = flow.log_prob(x)
    flow.initialize(x + 100)
    assert torch.equal(flow.log_prob(x), before)


def test_nested_mixtures_sum_over_all_pairs():
    inner = mixture(seed=1)
    outer = ab.DepthMixture(mixture(seed=2).chain, base=inner, gate="constant", lead=0.0).double()
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total = []
    for z, log_det in outer.chain.prefixes(x):
        total.append(inner.joint_log_prob(z) + log_det[:, None] - math.log(3))
    assert torch.allclose(outer.log_prob(x), torch.cat(total, -1).logsumexp(-1))


def test_shapes_that_do_not_fit():
    chain = ab.flows.nsf(2, blocks=3, hidden=(8,))
    for build, message in [
        (lambda: ab.DepthMixture(ab.transforms.LULinear(2)), "chain: expected a Chain"),
        (lambda: ab.DepthMixture(chain, base=Normal.standard(3)), r"base: expected event shape \(2,\)"),
        (lambda: ab.DepthMixture(chain, gate="soft"), "gate: expected one of 'network', 'constant'"),
        (lambda: ab.DepthMixture(chain, gate=MLP(2, 4)), "gate: expected a network of 2 features and 3 outputs"),
        (lambda: ab.DepthMixture(chain, depths=[1, 4]), "depths: expected increasing numbers from 0 to 3"),
        (lambda: ab.DepthMixture(chain, depths=[2, 1]), "depths"),
        (lambda: ab.DepthMixture(chain).truncate(0), "depth: expected at least 1"),
        (lambda: ab.Flow(ab.transforms.Elementwise(ab.transforms.Exp())), "base: expected one"),
        (lambda: ab.Flow(chain, base=MLP(2, 2)), "base: expected a Density, got MLP"),
        (lambda: ab.Flow(MLP(2, 2)), "transform: expected a Transform, got MLP"),
        (lambda: Independent([]), "at least one density"),
        (lambda: GaussianMixture([[0.0]], weights=[-1.0]), "weights: expected numbers of at least 0"),
        (lambda: GaussianMixture([[0.0]], scale=0.0), "scale: expected finite numbers above 0, got 0"),
        (lambda: Normal([0.0], scale_tril=[[-1.0]]), "positive diagonal"),
        (lambda: Normal([0.0], scale=math.inf), "scale: expected finite numbers above 0, got inf"),
        (lambda: ab.densities.StudentT([0.0], df=-1), "df: expected finite numbers above 0, got -1"),
        (lambda: Normal([0.0, 0.0], scale_tril=[[1.0, 0.0], [math.nan, 1.0]]), "scale_tril: expected finite"),
        (lambda: Normal([0.0], network=MLP(2, 2, context=3)), "network: expected one that takes the context as its x"),
        (lambda: Normal([0.0], network=torch.nn.Linear(2, 2)), "network: expected a Network, got Linear"),
        (
            lambda: ab.transforms.Elementwise(ab.transforms.Affine(), 1, MLP(2, 2, context=3)),
            "network: expected one that",
        ),
        (lambda: ab.transforms.Elementwise(ab.transforms.Affine(), 1, torch.nn.ReLU()), "network: expected a Network"),
        (lambda: ab.transforms.Elementwise(MLP(1, 1), 1), "univariate: expected a UnivariateMap, got MLP"),
        (lambda: Normal([0.0, math.nan]), "loc: expected finite numbers"),
        (lambda: GaussianMixture([[0.0, 1.0]]).conditional([0, 1]), "expected some column to be left"),
        (lambda: GaussianMixture([[0.0, 1.0]]).marginal([2]), "columns: expected different numbers from 0 to 1"),
        (lambda: GaussianMixture([[0.0, 1.0]]).conditional([0], [1.0, 2.0]), "values"),
        (lambda: ab.densities.Uniform([0.0], [0.0]), "high: expected finite numbers above low"),
    ]:
        with pytest.raises(ValueError, match=message):
            build()


def full_mixture():
    generator = torch.Generator().manual_seed(0)
    loc = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    tril = torch.randn(4, 3, 3, dtype=torch.float64, generator=generator).tril(-1) + torch.eye(3, dtype=torch.float64)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    return GaussianMixture(loc, scale_tril=tril, weights=weights), loc, tril @ tril.mT, weights


def test_marginals_against_the_textbook():
    model, loc, covariance, weights = full_mixture()
    columns = [2, 0]
    wanted = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(weights),
        torch.distributions.MultivariateNormal(loc[:, columns], covariance[:, columns][:, :, columns]),
    )
    x = torch.randn(7, 2, dtype=torch.float64)
    assert torch.allclose(model.marginal(columns).log_prob(x), wanted.log_prob(x))


def test_conditionals_are_joint_over_marginal():
    model, *_ = full_mixture()
    x = torch.randn(7, 3, dtype=torch.float64)
    wanted = model.log_prob(x) - model.marginal([1]).log_prob(x[:, [1]])
    of_context = model.conditional([1])
    assert torch.allclose(of_context.log_prob(x[:, [0, 2]], x[:, [1]]), wanted)
    for row in range(3):
        at_values = model.conditional([1], x[row, [1]])
        assert torch.allclose(at_values.log_prob(x[row, [0, 2]]), wanted[row])
    diagonal = GaussianMixture([[0.0, 1.0], [2.0, -1.0]], scale=[[1.0, 0.5], [0.3, 2.0]]).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    wanted = diagonal.log_prob(x) - diagonal.marginal([0]).log_prob(x[:, [0]])
    assert torch.allclose(diagonal.conditional([0]).log_prob(x[:, [1]], x[:, [0]]), wanted)


def test_a_conditional_far_out_is_still_a_density():
    model, *_ = full_mixture()
    far = model.conditional([0], [1e4])
    assert bool(torch.isfinite(far.log_prob(far.sample((5,)))).all())


def test_a_constant_gate_is_saved_and_cut(tmp_path):
    model = mixture(gate="constant").truncate(2).truncate(1)
    ab.save(model, tmp_path / "m.safetensors")
    x = torch.randn(3, 2, dtype=torch.float64)
    assert torch.equal(ab.load(tmp_path / "m.safetensors").log_prob(x), model.log_prob(x))
    assert isinstance(mixture(gate="constant").gate, Constant)


@pytest.mark.parametrize("z", [[0.0], torch.zeros(3, 5), torch.zeros(3, 2, dtype=torch.float64), "text"])
def test_weights_at_what_is_no_z(z):
    with pytest.raises(ValueError, match=r"z: expected .* got"):
        ab.DepthMixture(ab.flows.nsf(2, blocks=2, hidden=(8,))).weights(z)


def test_weights_at_an_array():
    weights = ab.DepthMixture(ab.flows.nsf(2, blocks=2, hidden=(8,)), lead=0.0).weights([[0.0, 1.0]])
    assert weights.tolist() == [[0.5, 0.5]]


def test_a_flow_is_zero_outside_the_domain_of_its_transform_and_nan_for_nan():
    transforms = ab.transforms
    x = torch.tensor([[0.5, 0.5], [1.5, 0.5], [0.0, 0.5], [0.5, 1.0], [-1.0, math.nan]])
    flow = ab.Flow(transforms.Chain([transforms.Elementwise(transforms.Logit()), transforms.LULinear(2)]))
    log_p = flow.log_prob(x)
    assert log_p[1:4].tolist() == 3 * [-math.inf] and log_p[4].isnan() and torch.isfinite(log_p[0])
    assert flow.loss(x)[1:4].tolist() == 3 * [math.inf]
    assert flow.support.check(x).tolist() == [True, False, False, False, False]
    assert repr(flow.support) == "Preimage(IndependentConstraint(Real(), 1))"
    assert ab.Flow(ab.flows.nsf(2)).support is torch.distributions.constraints.real_vector


def test_a_depth_that_is_not_defined_adds_nothing_and_breaks_no_gradient():
    transforms = ab.transforms
    chain = transforms.Chain([transforms.LULinear(1), transforms.Elementwise(transforms.Log())])
    model = ab.DepthMixture(chain, hidden=(8,), depths=[0, 1, 2])
    x = torch.tensor([[-2.0], [0.0], [3.0]])
    joint = model.joint_log_prob(x)
    assert joint.isneginf().tolist() == [[False, False, True]] * 2 + [[False, False, False]]
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(model.loss(x).mean(), parameters, allow_unused=True, materialize_grads=True)
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert model.support.check(x).all()


def test_whole_numbers_for_a_flow_over_categories():
    flow = ab.Flow(ab.transforms.Permutation([1, 0]), base=ab.densities.Categorical(logits := torch.eye(2, 3)))
    x = torch.tensor([[0, 2], [1, 1], [0, 3]])
    assert torch.equal(flow.log_prob(x), ab.densities.Categorical(logits).log_prob(x.flip(-1)))
    assert flow.support.check(x.float()).tolist() == [True, True, False]


def test_responsibilities_are_nan_where_no_component_has_any_mass():
    mixture = GaussianMixture([[-2.0], [2.0]])
    far = torch.tensor([[1e30], [0.0]])
    assert mixture.log_prob(far)[0] == -math.inf
    assert mixture.responsibilities(far).isnan().tolist() == [[True, True], [False, False]]


def test_what_pruning_costs_is_said_before_and_after(caplog):
    torch.manual_seed(0)
    model = randomize(ab.DepthMixture(ab.flows.realnvp(2, blocks=3, hidden=(8,)), gate="constant"), 0.3)
    x = torch.randn(50, 2)
    with caplog.at_level("INFO", "anabranch"):
        fewer = model.truncate(2, x=x)
        model.prune(0.0, x=x)
    before, after = (float(m.log_prob(x).detach().mean()) for m in (model, fewer))
    assert abs(before - after) > 1e-3
    assert caplog.messages == [
        f"depths [1, 2] of [1, 2, 3] stay: mean log-likelihood {before:.4f} nats before, {after:.4f} after",
        f"depths [1, 2, 3] of [1, 2, 3] stay: mean log-likelihood {before:.4f} nats before, {before:.4f} after",
    ]
