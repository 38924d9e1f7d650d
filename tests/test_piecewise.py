"""PiecewiseFlow and its half spaces, what a DepthMixture is cut to, resampled bases, and the toys' densities."""

import math

import pytest
import torch
from torch.autograd.functional import jacobian

import anabranch as ab
from anabranch.datasets import Circles, Pinwheel
from anabranch.densities import Normal, Resampled, Uniform
from anabranch.networks import MLP, Constant
from anabranch.testing import randomize
from anabranch.transforms import Elementwise, HalfSpace, LULinear, Softplus


def rows(count=20, features=2, seed=1):
    return torch.randn(count, features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def overlapping():
    torch.manual_seed(0)
    branches = [randomize(LULinear(2), 0.5, seed=k) for k in range(2)]
    base = Normal([0.5, -0.5], scale=[1.0, 2.0])
    return randomize(ab.PiecewiseFlow(branches, base=base, gate=MLP(2, 2, hidden=(8,))), 0.3).double()


def test_the_density_is_the_sum_over_the_preimages():
    model, x = overlapping(), rows(4)
    total = torch.zeros(4, dtype=torch.float64)
    joint = model.joint_log_prob(x)
    for i in range(4):
        for k, branch in enumerate(model.branches):
            z = branch(x[i])[0]
            volume = torch.linalg.det(jacobian(lambda v, f=branch: f(v)[0], x[i])).abs()
            base = torch.distributions.Normal(
                torch.tensor([0.5, -0.5], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
            )
            term = torch.softmax(model.gate(z), -1)[k] * base.log_prob(z).sum().exp() * volume
            assert torch.allclose(joint[i, k].exp(), term)
            total[i] += term
    assert torch.allclose(model.log_prob(x).exp(), total)
    shares = joint.exp() / total.unsqueeze(-1)
    assert torch.allclose(model.responsibilities(x), shares)


def test_a_gate_starts_at_equal_weights():
    for gate in ("network", "constant"):
        model = ab.PiecewiseFlow(ab.models.pieces.fold(2, borders=2), gate=gate)
        assert model.weights(torch.randn(3, 2)).tolist() == [[0.25] * 4] * 3


def test_one_branch_is_a_flow():
    torch.manual_seed(0)
    branch = randomize(ab.flows.realnvp(2, blocks=2, hidden=(8,)), 0.5)
    x = rows()
    for gate in ("network", "constant"):
        model = ab.PiecewiseFlow([branch], gate=gate).double()
        assert torch.allclose(model.log_prob(x), ab.Flow(branch).double().log_prob(x))
        assert model.responsibilities(x).eq(1).all()


def test_a_folded_normal_by_hand():
    x = torch.tensor([[-2.0], [-0.1], [0.3], [4.0]], dtype=torch.float64)
    gate = Constant(1, 2)
    model = ab.PiecewiseFlow([HalfSpace(1), HalfSpace(1, positive=False)], gate=gate).double()
    with torch.no_grad():
        gate.values.copy_(torch.tensor([0.3, 0.7]).log())
    z = torch.expm1(x.abs()).log().squeeze(-1)
    share = torch.where(x.squeeze(-1) > 0, 0.3, 0.7)
    slope = 1 / -torch.expm1(-x.abs().squeeze(-1))
    wanted = share * (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi) * slope
    assert torch.allclose(model.log_prob(x).exp(), wanted, atol=1e-7)


def folded(sides):
    torch.manual_seed(0)
    base = Normal([0.3, -0.2], learnable=True)
    return randomize(ab.PiecewiseFlow(sides, base=base, hidden=(8,)), 0.3).double()


def test_nothing_outside_the_union_of_the_pieces():
    model = folded([HalfSpace(2), HalfSpace(2, 1)])
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [-1e-30, -1e30]], dtype=torch.float64)
    log_p = model.log_prob(x)
    assert log_p.isneginf().tolist() == [False, False, False, True, True]
    assert model.support.check(x).tolist() == [True, True, True, False, False]
    assert model.joint_log_prob(x).isneginf().tolist() == [
        [False, False],
        [False, True],
        [True, False],
        [True, True],
        [True, True],
    ]


def test_at_the_border_and_beyond_gradients_of_the_rows_inside_are_sound():
    model = folded([HalfSpace(2), HalfSpace(2, 1)])
    parameters = list(model.parameters())
    inside = torch.tensor([[1.0, 1.0], [1.0, -1.0], [2.0, 0.0]], dtype=torch.float64)
    outside = torch.tensor([[0.0, 0.0], [-0.0, -1.0], [-3.0, 0.0]], dtype=torch.float64)
    both = torch.cat([inside, outside]).requires_grad_()
    log_p = model.log_prob(both)
    assert log_p[3:].isneginf().all() and torch.isfinite(log_p[:3]).all()
    gradients = torch.autograd.grad(log_p[:3].sum(), [both, *parameters])
    wanted = torch.autograd.grad(model.log_prob(inside).sum(), parameters)
    assert gradients[0][3:].eq(0).all() and torch.isfinite(gradients[0]).all()
    for mine, alone in zip(gradients[1:], wanted, strict=True):
        assert torch.allclose(mine, alone)
    # a probability of 0 has a gradient too: 0
    gradients = torch.autograd.grad(model.log_prob(both).exp().sum(), [both, *parameters])
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_towards_the_border_the_density_vanishes():
    model = ab.PiecewiseFlow([HalfSpace(1), HalfSpace(1, positive=False)], gate="constant")
    x = torch.tensor([[1e-30], [-1e-30], [1e-5], [-1e-5], [0.0]])
    log_p = model.log_prob(x)
    assert torch.isfinite(log_p[:4]).all() and log_p[4] == -math.inf
    assert bool((log_p[:2] < -2000).all()) and bool((log_p[2:4] < -40).all())


def test_far_below_what_softplus_can_tell_from_nothing_the_density_is_no_nan():
    model = ab.PiecewiseFlow([Elementwise(Softplus(), 1)], base=Uniform([0.0], [1.0]), gate="constant")
    x = torch.tensor([[-1.0], [-50.0], [-200.0], [3.0]])
    log_p = model.log_prob(x)
    assert torch.allclose(log_p[:2], torch.nn.functional.logsigmoid(x[:2, 0])) and log_p[3] == -math.inf
    assert not log_p.isnan().any()


def test_a_fold_tells_two_clusters_apart():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=generator) + 6.0 * (torch.arange(200) % 2).unsqueeze(-1) - 3.0
    torch.manual_seed(0)
    model = ab.PiecewiseFlow(ab.models.pieces.fold(2), base=Normal([0.0, 0.0], learnable=True), gate="constant")
    before = model.loss(x).mean().item()
    ab.fit(model, x, validation=0, epochs=10, batch_size=50, learning_rate=0.05, seed=0)
    assert model.loss(x).mean().item() < before - 0.5
    assert bool(torch.isfinite(model.log_prob(x)).all())


def apart(count=60):
    """Rows in three places, two of which only a slanted line tells apart, and the place of each."""
    generator = torch.Generator().manual_seed(3)
    place = torch.arange(3 * count) % 3
    t = 4 * torch.rand(3 * count, generator=generator) - 2
    beside = 0.1 * torch.randn(3 * count, generator=generator)
    strips = torch.stack([t, t + 0.8 * (2 * place - 1) + beside], dim=-1)
    spot = torch.stack([9 + t, beside], dim=-1)
    return torch.where(place.unsqueeze(-1) < 2, strips, spot), place


def test_a_cut_space_has_its_borders_where_there_are_no_rows():
    x, place = apart()
    model = ab.PiecewiseFlow(ab.models.pieces.cut(x, 3), gate="constant")
    shares = model.responsibilities(x)
    assert bool(((shares == 1) | (shares == 0)).all())
    pairs = set(zip(shares.argmax(-1).tolist(), place.tolist(), strict=True))
    assert len(pairs) == 3
    # each piece's rows come to the base with mean 0 and deviation 1, and none lies near a border, where a half space has 0
    for k, branch in enumerate(model.branches):
        z, sides = x[shares[:, k] == 1], []
        for block in branch:
            if isinstance(block, HalfSpace):
                sides.append(z[:, block.feature].abs().min().item())
            z = block(z)[0]
        assert sides and min(sides) >= 3 - 1e-4
        assert torch.allclose(z.mean(0), torch.zeros(2), atol=1e-4)
        assert torch.allclose(z.std(0, correction=0), torch.ones(2), atol=1e-4)
    back = torch.stack(
        [
            branch.inverse(branch(row)[0])[0]
            for row, k in zip(x, shares.argmax(-1), strict=True)
            for branch in [model.branches[int(k)]]
        ]
    )
    assert torch.allclose(back, x, atol=1e-4)


def test_a_cut_space_is_a_density():
    x, _ = apart()
    model = ab.PiecewiseFlow(
        ab.models.pieces.cut(x.double(), 3), base=Normal([0.0, 0.0]).double(), hidden=(8,)
    ).double()
    steps = torch.arange(-14.0, 26.0, 0.05, dtype=torch.float64) + 0.025
    grid = torch.cartesian_prod(steps, steps[steps < 14])
    assert model.log_prob(grid).exp().sum().item() * 0.05**2 == pytest.approx(1, abs=1e-3)
    samples = model.sample((500,))
    assert bool(torch.isfinite(model.log_prob(samples)).all()) and bool(model.support.check(samples).all())


def test_a_cut_space_saves_and_loads(tmp_path):
    x, _ = apart()
    model = ab.PiecewiseFlow(ab.models.pieces.cut(x, 3), gate="constant")
    ab.save(model, tmp_path / "cut.safetensors")
    assert torch.equal(ab.load(tmp_path / "cut.safetensors").log_prob(x), model.log_prob(x))


def test_one_piece_is_all_of_the_space_and_of_one_feature_too():
    x = torch.tensor([[-2.0], [-1.9], [-1.8], [1.0], [1.2], [1.3]])
    whole, two = (ab.PiecewiseFlow(ab.models.pieces.cut(x, pieces), gate="constant") for pieces in (1, 2))
    assert whole.components == 1 and bool(torch.isfinite(whole.log_prob(x)).all())
    assert two.responsibilities(x).argmax(-1).unique_consecutive().numel() == 2


def test_rows_that_cannot_be_cut():
    for x, pieces, message in [
        (torch.zeros(50, 2), 2, "x: expected rows with gaps between them for 2 pieces, got 50 that can be cut into 1"),
        (torch.randn(3, 2), 9, "x: expected rows enough for 9 pieces, got 3 that can be cut into 3"),
        (torch.randn(3), 2, r"x: expected two rows of numbers at least, \(rows, features\), got shape \(3,\)"),
        (torch.zeros(3, 0), 2, r"x: expected two rows of numbers at least, .* got shape \(3, 0\)"),
        (torch.tensor([[0.0], [math.nan]]), 2, "x: expected finite numbers, got nan in row 1, column 0"),
        (["a", "b"], 2, "x: expected a tensor or an array of numbers, got list"),
        ([[1, 2]], 0, "pieces: expected a whole number of at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            ab.models.pieces.cut(x, pieces)
    for directions in (-1, 2.5):
        with pytest.raises(ValueError, match=f"directions: expected a whole number of at least 0, got {directions}"):
            ab.models.pieces.cut(torch.randn(9, 2), 2, directions=directions)


def test_rows_to_be_cut_are_read_whatever_they_are_and_branches_are_of_the_default_dtype():
    x = torch.tensor([[-2, 0], [-3, 1], [-4, 2], [4, 0], [3, 1], [2, 2]])
    want = ab.PiecewiseFlow(ab.models.pieces.cut(x.float(), 2), gate="constant").log_prob(x.float())
    for same in (x, x.double(), x.numpy(), x.double().numpy(), x.tolist()):
        model = ab.PiecewiseFlow(ab.models.pieces.cut(same, 2), base=Normal.standard(2), gate="constant")
        assert torch.equal(model.log_prob(x.float()), want)
    assert len(ab.models.pieces.cut(x, 2, directions=0)) == 2


@pytest.mark.parametrize(("far", "alone"), [(4, False), (5, True)])
def test_a_twentieth_of_the_rows_is_a_piece_and_fewer_are_none(far, alone):
    x = torch.linspace(-1, 1, 100).unsqueeze(-1)
    x[-far:] += 50
    model = ab.PiecewiseFlow(ab.models.pieces.cut(x, 2), gate="constant")
    counts = sorted(model.responsibilities(x).sum(0).round().int().tolist())
    assert (counts == [far, 100 - far]) is alone


def test_branches_that_do_not_fit():
    for build, message in [
        (lambda: ab.PiecewiseFlow([]), "branches: expected at least one transform, got none"),
        (lambda: ab.PiecewiseFlow([MLP(2, 2)]), "branches: expected transforms with an inverse, got a MLP"),
        (lambda: ab.PiecewiseFlow([LULinear(2), LULinear(3)]), "event shape"),
        (lambda: ab.PiecewiseFlow([LULinear(2)], gate="soft"), "gate: expected one of 'network', 'constant'"),
        (lambda: ab.PiecewiseFlow([LULinear(2)], gate=MLP(2, 3)), "of 2 features and 1 output, got 2 and 3"),
        (lambda: HalfSpace(2, 2), "feature: expected a number from 0 to 1, got 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            build()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("dtype", "sizes"), [(torch.float32, [1e-30, 1e-3, 1.0, 1e4, 1e30]), (torch.float64, [1e-300, 1e-30, 1e4, 1e200])]
)
def test_half_spaces_at_extreme_values(sign, dtype, sizes):
    side = HalfSpace(2, 1, positive=sign > 0)
    size = torch.tensor(sizes, dtype=dtype)
    x = torch.stack([torch.full_like(size, -7.0), sign * size], -1).requires_grad_()
    z, log_det = side(x)
    # log(e^x - 1) = x + log(1 - e^-x), in Python's own floats, which reach further
    wanted = [s + math.log(-math.expm1(-s)) for s in size.tolist()]
    slope = [-math.log(-math.expm1(-s)) for s in size.tolist()]
    assert z[:, 1].tolist() == pytest.approx(wanted, rel=1e-5)
    assert log_det.tolist() == pytest.approx(slope, rel=1e-5, abs=1e-6)
    assert z[:, 0].eq(-7).all()
    gradient = torch.autograd.grad(z.sum() + log_det.sum(), x)[0]
    assert torch.isfinite(gradient[size > 1e-20]).all() and not gradient.isnan().any()
    back, log_back = side.inverse(z.detach())
    assert back[:, 1].tolist() == pytest.approx((sign * size).tolist(), rel=1e-4)
    assert log_back.tolist() == pytest.approx([-s for s in slope], rel=1e-4, abs=1e-6)


def test_half_spaces_are_defined_on_their_side_alone():
    x = torch.tensor([[1.0], [0.0], [-0.0], [-1.0], [math.nan]], requires_grad=True)
    for positive, inside in [(True, 0), (False, 3)]:
        side = HalfSpace(1, positive=positive)
        z, log_det = side(x)
        assert log_det.isneginf().tolist() == [i not in (inside, 4) for i in range(5)]
        assert log_det[4].isnan() and torch.isfinite(z[:4]).all()
        assert side.domain.check(x).tolist() == [i == inside for i in range(5)]


def depth_mixture(gate="network", features=2, **options):
    torch.manual_seed(0)
    chain = ab.flows.nsf(features, blocks=3, bins=4, hidden=(8,))
    model = ab.DepthMixture(chain, gate=gate, hidden=(8,), lead=0.0, **options)
    return randomize(model, scale=0.4, seed=0).double()


@pytest.mark.parametrize("gate", ["network", "constant"])
def test_a_mixture_up_to_a_depth_renormalises_the_gate_at_every_u(gate):
    model, x = depth_mixture(gate), rows()
    base = Normal.standard(2).double()
    us = model._images(x)
    for depth in (1, 2, 3):
        terms = []
        for k in range(depth):
            u, log_det = us[k]
            terms.append(torch.log_softmax(model.gate(u)[:, :depth], -1)[:, k] + base.log_prob(u) + log_det)
        wanted = torch.stack(terms, -1).logsumexp(-1)
        assert torch.allclose(model.up_to(depth).log_prob(x), wanted)
        assert torch.allclose(model.truncate(depth).log_prob(x), wanted)
    assert torch.equal(model.up_to(9).log_prob(x), model.log_prob(x))
    with pytest.raises(ValueError, match="depth: expected at least 1, the shallowest component's, got 0"):
        model.up_to(0)


def test_up_to_shares_what_truncate_copies():
    model, x = depth_mixture(), rows()
    shared, copied = model.up_to(2), model.truncate(2)
    before = copied.log_prob(x)
    assert torch.equal(shared.log_prob(x), before)
    mine = {id(p) for p in model.parameters()}
    assert all(id(p) in mine for p in shared.parameters()) and not any(id(p) in mine for p in copied.parameters())
    randomize(model, seed=1)
    assert torch.equal(copied.log_prob(x), before) and not torch.equal(shared.log_prob(x), before)


def test_what_is_cut_is_where_the_mixture_is():
    model = depth_mixture().to("meta")
    for part in (model.up_to(2), model.truncate(2), model.component_base(2)):
        assert {t.device.type for t in [*part.parameters(), *part.buffers()]} == {"meta"}


def test_pruning_a_depth_mixture_keeps_the_depths_that_are_used():
    model, x = depth_mixture("constant"), rows()
    with torch.no_grad():
        model.gate.values.copy_(torch.tensor([0.3, 1e-14, 0.7]).log())
    pruned = model.prune()
    assert pruned.depths == (1, 3) and len(pruned.chain) == 3
    assert torch.allclose(pruned.log_prob(x), model.log_prob(x), atol=1e-9)
    with torch.no_grad():
        model.gate.values.copy_(torch.tensor([0.2, 0.797, 0.003]).log())
    pruned = model.prune(0.01)
    assert pruned.depths == (1, 2) and len(pruned.chain) == 2
    weights = torch.tensor([0.2, 0.797], dtype=torch.float64) / 0.997
    assert torch.allclose(pruned.weights(rows(1))[0], weights)
    assert torch.allclose(pruned.log_prob(x), model.up_to(2).log_prob(x))
    assert model.prune(0.9).depths == (2,)
    with pytest.raises(ValueError, match="threshold"):
        model.prune(-0.1)


def test_pruning_goes_by_the_mean_of_the_gate_over_the_base():
    model = depth_mixture()
    torch.manual_seed(0)
    means = model.weights(torch.randn(20_000, 2, dtype=torch.float64)).mean(0).detach()
    least = int(means.argmin())
    gap = float(means.sort().values[1] - means[least])
    assert gap > 0.02  # so that sampling error cannot decide
    pruned = model.prune(float(means[least]) + gap / 2)
    assert pruned.depths == tuple(d for d in (1, 2, 3) if d != least + 1)


def test_the_base_of_a_depth_is_the_gate_s_share_of_the_base():
    model = depth_mixture(features=1)
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64).unsqueeze(-1)
    base = Normal.standard(1).double()
    with torch.no_grad():
        torch.manual_seed(0)
        for k, depth in enumerate((1, 2, 3)):
            density = base.log_prob(z).exp() * model.weights(z)[:, k]
            share = torch.trapezoid(density, z[:, 0])
            part = model.component_base(depth)
            estimate, error = part.normaliser()
            assert abs(float(estimate - share)) < 5 * float(error) and float(error) < 2e-3
            # up to the error of Z that is common to all z
            assert torch.allclose(part.log_prob(z), (density / share).log(), atol=0.02)
    with pytest.raises(ValueError, match=r"depth: expected one of \[1, 2, 3\], got 4"):
        model.component_base(4)


def resampled(truncation):
    torch.manual_seed(0)
    acceptance = randomize(MLP(1, 1, hidden=(8,), activation="tanh"), 1.0)
    return Resampled(Normal([0.5], scale=[1.5]), acceptance, truncation=truncation, samples=4096).double()


@pytest.mark.parametrize("truncation", [None, 1, 3, 100])
def test_a_resampled_density_against_the_integral(truncation):
    model = resampled(truncation)
    z = torch.linspace(-12, 13, 5001, dtype=torch.float64).unsqueeze(-1)
    with torch.no_grad():
        base = torch.distributions.Normal(0.5, 1.5).log_prob(z[:, 0]).exp()
        accepted = torch.sigmoid(model.acceptance(z)[:, 0])
        total = torch.trapezoid(base * accepted, z[:, 0])
        torch.manual_seed(0)
        estimate, error = model.normaliser()
        assert abs(float(estimate - total)) < 5 * float(error) and 0 < float(error) < 2e-3
        rest = 0.0 if truncation is None else (1 - total) ** (truncation - 1)
        wanted = ((1 - rest) / total * accepted + rest) * base
        log_p = model.log_prob(z)
    assert 0.05 < float(total) < 0.95 and float(accepted.max() - accepted.min()) > 0.1
    assert torch.allclose(log_p.exp(), wanted, rtol=0.01, atol=1e-8)
    assert float(torch.trapezoid(log_p.exp(), z[:, 0])) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("own_base", [False, True])
def test_a_resampled_density_of_one_context_is_what_it_is_among_others(own_base):
    torch.manual_seed(0)
    acceptance = randomize(MLP(2, 1, context=3, hidden=(8,)), 1.0)
    base = ab.Flow(ab.flows.realnvp(2, context=3, blocks=1)) if own_base else Normal.standard(2)
    model = Resampled(base, acceptance, samples=2048).double()
    x, context = torch.randn(8, 2).double(), torch.randn(8, 3).double()
    together = model.log_prob(x, context)
    assert torch.allclose(together[7], model.log_prob(x[7], context[7]), atol=1e-10)
    z, _ = model.normaliser(context, samples=20_000)
    fixed = model._fixed_log_normaliser(context).exp().detach()
    assert z.shape == (8,) and bool(((z - fixed).abs() < 0.01).all()) and float(fixed.std()) > 0.02
    assert model.log_prob(x[:0], context[:0]).shape == (0,)


@pytest.mark.parametrize("truncation", [None, 100])
@pytest.mark.parametrize("log_odds", [-200.0, -25.0, 40.0, 200.0])
def test_acceptance_of_next_to_none_or_all_has_gradients(log_odds, truncation):
    acceptance = MLP(1, 1, hidden=())
    with torch.no_grad():
        acceptance.layers[0].weight.zero_()
        acceptance.layers[0].bias.fill_(log_odds)
    base = Normal.standard(1)
    model = Resampled(base, acceptance, truncation=truncation)
    x = torch.tensor([[0.3], [-2.0]])
    loss = model.loss(x)
    assert torch.allclose(loss, -base.log_prob(x), atol=1e-5)
    gradients = torch.autograd.grad(loss.sum(), list(acceptance.parameters()))
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def shares_of_cells(x, edges):
    i, j = torch.bucketize(x, edges).unbind(-1)
    size = len(edges) + 1
    return torch.bincount(size * i + j, minlength=size * size).reshape(size, size)[1:-1, 1:-1] / len(x)


@pytest.mark.parametrize("toy", [Pinwheel(3, rate=0.6), Circles((0.8, 0.4), noise=0.03)], ids=["pinwheel", "circles"])
def test_rows_of_a_toy_lie_where_its_density_is(toy):
    count = 20_000
    x, labels = toy.rows(count // toy.components, seed=0)
    fine = 14
    edges = torch.linspace(-1.2, 1.2, 11)
    middles = (torch.arange(10 * fine) + 0.5) * (2.4 / (10 * fine)) - 1.2
    heights = toy.log_prob(torch.cartesian_prod(middles, middles)).exp().reshape(10, fine, 10, fine)
    cells = heights.sum(dim=(1, 3)) * (2.4 / (10 * fine)) ** 2
    error = (cells * (1 - cells) / count).sqrt() + 1e-3
    assert float(((shares_of_cells(x, edges) - cells).abs() / error).max()) < 4.5
    assert 0.95 < float(cells.sum()) < 1.001
    assert labels.bincount().tolist() == [count // toy.components] * toy.components
    assert float((toy.responsibilities(x[:2000]).argmax(-1) == labels[:2000]).float().mean()) > 0.97


@pytest.mark.parametrize("wing", [0, 1, 2])
@pytest.mark.parametrize("second", [-0.15, 0.0, 0.15])
def test_a_pinwheel_by_hand(wing, second):
    def place(a):
        angle = 2 * math.pi * wing / 3 + 0.6 * a[0].exp()
        turned = torch.stack([angle.cos() * a[0] - angle.sin() * a[1], angle.sin() * a[0] + angle.cos() * a[1]])
        return 0.5 * turned

    a = torch.tensor([1.1, second], dtype=torch.float64)
    normal = torch.distributions.Normal(a.new_tensor([1.0, 0.0]), a.new_tensor([0.3, 0.05]))
    wanted = normal.log_prob(a).sum() - torch.linalg.det(jacobian(place, a)).abs().log() - math.log(3)
    joint = Pinwheel(3, rate=0.6).double().joint_log_prob(place(a))
    assert torch.allclose(joint[wing], wanted, atol=1e-4)


def test_circles_by_hand():
    toy = Circles((1.0, 0.5), noise=0.05)
    x = torch.tensor([[0.0, 1.0], [0.3, 0.4], [-0.55, 0.0]])
    radius = torch.tensor([[1.0], [0.5], [0.55]])
    normal = torch.distributions.Normal(torch.tensor([1.0, 0.5]), 0.05)
    wanted = normal.log_prob(radius) - math.log(2) - (2 * math.pi * radius).log()
    assert torch.allclose(toy.joint_log_prob(x), wanted, atol=1e-5)


def test_far_from_toys_and_at_their_middle():
    x = torch.tensor([[0.0, 0.0], [1e6, -1e6], [math.nan, 0.0]])
    for toy, middle in ((Pinwheel(), 0.0), (Circles(), -1000.0)):
        log_p = toy.log_prob(x)
        assert float(log_p[0]) < middle and float(log_p[1]) < -1000 and log_p[2].isnan()
