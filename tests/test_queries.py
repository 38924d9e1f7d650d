"""Queries: against the closed form of a Gaussian mixture that pretends to have none, and against integrals on a grid."""

import copy
import functools
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import anabranch as ab
from anabranch import queries
from anabranch.densities import (
    Bernoulli,
    Categorical,
    Density,
    DistributionFunction,
    GaussianMixture,
    Independent,
    Moments,
    Normal,
    Regardless,
    StudentT,
    Uniform,
)
from anabranch.families import Atoms, Lattice, Levels, Logistics
from anabranch.models import AnyOrder, Embedded
from anabranch.queries import EstimatedSubset, Interval, QueryWarning
from anabranch.queries.diagnostics import effective_samples, r_hat
from anabranch.queries.importance import Joint
from anabranch.queries.moves import Moves, noise_space
from anabranch.queries.student_mixture import StudentMixture
from anabranch.testing import randomize
from anabranch.transforms import Chain, Elementwise, Inverse, LULinear, Permutation, Sigmoid

LOC = [[-1.5, 0.0, 1.0], [1.0, 1.0, -1.0], [0.5, -1.5, 0.0]]
TRIL = [
    [[1.0, 0.0, 0.0], [0.5, 0.7, 0.0], [-0.3, 0.2, 0.6]],
    [[0.6, 0.0, 0.0], [-0.4, 0.8, 0.0], [0.2, 0.1, 1.0]],
    [[0.8, 0.0, 0.0], [0.0, 0.5, 0.0], [0.4, -0.5, 0.7]],
]


def gaussians(dtype=torch.float64):
    options = {"scale_tril": torch.tensor(TRIL, dtype=dtype), "weights": torch.tensor([0.5, 0.3, 0.2], dtype=dtype)}
    return GaussianMixture(torch.tensor(LOC, dtype=dtype), **options)


@functools.cache  # what stands in for a density is fitted once for each object
def secret(density=None):
    """The same density as a flow over it, whose closed form no query knows: of an inverse it is not known what it reads."""
    chain = Chain([Permutation([2, 0, 1]), Inverse(Permutation([2, 0, 1]))])
    return ab.Flow(chain, gaussians() if density is None else density)


@functools.cache
def flow(context=0):
    """Two features, curved, in float64."""
    torch.manual_seed(0)
    chain = ab.flows.nsf(features=2, context=context, blocks=2, hidden=(8,), bins=4)
    return randomize(ab.Flow(chain), 0.3, seed=3).double()


GRID = torch.linspace(-10, 10, 501, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])


def grid_density(model):
    """p on a grid: rows are x_0, columns x_1."""
    points = torch.cartesian_prod(GRID, GRID)
    with torch.no_grad():
        return torch.cat([model.log_prob(some).exp() for some in points.split(200_000)]).reshape(len(GRID), len(GRID))


@pytest.fixture(scope="module")
def on_grid():
    model = flow()
    p = grid_density(model)
    assert abs(float(p.sum()) * STEP**2 - 1) < 1e-3
    return model, p


def mixed(context=0, order=None):
    """A category, a continuous column, a lattice and one with an atom, any order."""
    torch.manual_seed(0)
    families = [Levels(3), Logistics(2), Lattice(1.0, 0.0, 0.0, 4.0, components=2), Atoms(Logistics(2), [0.0])]
    return randomize(AnyOrder(families, context=context, hidden=16, blocks=1, order=order), 0.4, seed=1)


def test_the_page_of_docs_runs(capsys):
    page = (Path(__file__).parent.parent / "docs" / "queries.md").read_text()
    torch.manual_seed(0)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == re.search(r"# (\[3\.5.*\(exact\))", page)[1] and printed[1] == "0 (exact)"
    assert bool((names["mean"].standard_error <= 0.05).all()) and "P(price > 2, depth < 1 | carat = 3.5)" in printed[-3]


# marginal


def test_marginals_of_closed_forms_are_exact():
    x = torch.randn(5, 2, dtype=torch.float64)
    known = gaussians().marginal([2, 0]).log_prob(x)
    assert torch.allclose(queries.marginal(gaussians(), [2, 0]).log_prob(x), known)
    assert torch.allclose(queries.marginal(ab.Flow(Permutation([2, 0, 1]), gaussians()), [1, 2]).log_prob(x), known)
    half = ab.Ensemble([gaussians(), gaussians().double()]).double()
    assert torch.allclose(queries.marginal(half, [2, 0]).log_prob(x), known)
    normal = Normal(torch.tensor(LOC[0]), scale_tril=torch.tensor(TRIL[0]))
    covariance = torch.tensor(TRIL[0]) @ torch.tensor(TRIL[0]).mT
    wanted = stats.norm(LOC[0][1], math.sqrt(covariance[1, 1])).logpdf(0.3)
    assert float(queries.marginal(normal, 1).log_prob(torch.tensor([0.3]))) == pytest.approx(wanted, abs=1e-5)


def test_marginals_of_products_keep_their_order():
    parts = [gaussians(torch.float32), Categorical(torch.tensor([0.1, 0.5, -1.0])), StudentT([1.0, 2.0], df=[3.0, 5.0])]
    product = Independent([*parts, Bernoulli([0.3]), Uniform([0.0], [2.0])])
    chosen = [7, 5, 3, 1, 0, 6]
    derived = queries.marginal(product, chosen)
    x = torch.tensor([[0.5, 0.2, 2.0, -0.1, 0.4, 1.0]])
    terms = [
        parts[0].marginal([1, 0]).log_prob(torch.tensor([[-0.1, 0.4]])),
        parts[1].log_prob(torch.tensor([[2.0]])),
        StudentT([2.0], df=5.0).log_prob(torch.tensor([[0.2]])),
        Bernoulli([0.3]).log_prob(torch.tensor([[1.0]])),
        torch.tensor([math.log(0.5)]),
    ]
    assert torch.allclose(derived.log_prob(x), sum(terms))
    assert derived.sample((4,)).shape == (4, 6)
    given = queries.conditional(product, {3: 1.0, 0: 0.2, 7: 0.3})
    parted = torch.tensor([[0.4, -0.1, 0.2, 0.5, 1.0]])
    exact = parts[0].conditional([0], [0.2]).log_prob(parted[:, :2])
    exact = exact + parts[2].log_prob(parted[:, 2:4]) + Bernoulli([0.3]).log_prob(parted[:, 4:])
    assert torch.allclose(given.log_prob(parted), exact)


def test_an_estimated_marginal_is_within_its_error():
    x = gaussians().sample((200,))[:, [2, 0]]
    estimated = queries.marginal(secret(), [2, 0], proposals=256)
    assert isinstance(estimated, EstimatedSubset)
    found = estimated.log_prob_with_error(x)
    assert not found.exact and bool((found.standard_error > 0).all())
    z = (found.value - gaussians().marginal([2, 0]).log_prob(x)) / found.standard_error
    assert float(z.abs().max()) < 4.5 and float((z.abs() < 2).double().mean()) > 0.8
    assert float(found.standard_error.max()) < 0.2
    assert torch.equal(estimated.log_prob(x[3]), estimated.log_prob(x)[3])


def test_a_marginal_of_a_flow_is_that_of_the_grid(on_grid):
    model, p = on_grid
    wanted = (p.sum(dim=1) * STEP).log()
    estimated = queries.marginal(model, 0)
    some = torch.arange(190, 330, 10)
    found = estimated.log_prob_with_error(GRID[some].unsqueeze(-1))
    assert float(((found.value - wanted[some]) / found.standard_error).abs().max()) < 5
    assert float(found.standard_error.max()) < 0.1


def test_a_poor_marginal_warns_and_says_what_to_raise():
    torch.manual_seed(0)
    wide = secret(GaussianMixture(torch.tensor(LOC, dtype=torch.float64)))
    with pytest.warns(QueryWarning, match="raise proposals, now 20"):
        queries.marginal(wide, [0], proposals=20).log_prob(torch.zeros(2, 1, dtype=torch.float64))


# conditional


def test_conditionals_of_closed_forms_are_exact():
    x = torch.randn(5, 1, dtype=torch.float64)
    wanted = gaussians().conditional([0, 2], [0.3, -0.5]).log_prob(x)
    assert torch.allclose(queries.conditional(gaussians(), {2: -0.5, 0: 0.3}).log_prob(x), wanted)
    shuffled = ab.Flow(Permutation([2, 0, 1]), gaussians())  # its columns are 1, 2, 0 of the mixture
    assert torch.allclose(queries.conditional(shuffled, {2: 0.3, 1: -0.5}).log_prob(x), wanted)
    # a mixture of mixtures, weighted by the likelihoods of what was observed, is the mixture of all
    parts = [GaussianMixture(torch.tensor(LOC[k : k + 1]), scale_tril=torch.tensor(TRIL[k : k + 1])) for k in range(3)]
    for whole in (ab.FlowMixture(parts, weights=[0.5, 0.3, 0.2]), ab.Ensemble(parts, weights=[0.5, 0.3, 0.2])):
        derived = queries.conditional(whole.double(), {2: -0.5, 0: 0.3})
        assert torch.allclose(derived.log_prob(x), wanted, atol=1e-6)
    once = queries.conditional(queries.conditional(gaussians(), {0: 0.3}), {1: -0.5})
    assert torch.allclose(once.log_prob(x), wanted)


def test_an_estimated_conditional_is_that_of_the_closed_form():
    derived = queries.conditional(secret(), {2: -0.5})
    exact = gaussians().conditional([2], [-0.5])
    x = exact.sample((100,))
    found = derived.log_prob_with_error(x)
    assert float((found.value - exact.log_prob(x)).abs().max()) < 4.5 * float(found.standard_error.max())
    assert 0 < float(found.standard_error.max()) < 0.02
    diagnosis = derived.diagnosis()
    assert float(diagnosis.r_hat.max()) < 1.02 and float(diagnosis.effective_samples.min()) > 1000
    exact_evidence = gaussians().marginal([2]).log_prob([-0.5])
    assert float((diagnosis.log_p.value - exact_evidence).abs()) < 4.5 * float(diagnosis.log_p.standard_error)
    torch.manual_seed(1)
    drawn = derived.sample((4000,))
    first = exact.sample((4000,))
    for column in range(2):
        assert stats.ks_2samp(drawn[:, column], first[:, column]).pvalue > 1e-3
    # marginals of a conditional, and conditionals of it, are what they are in one step
    y = torch.tensor([[0.4]], dtype=torch.float64)
    wanted = exact.marginal([1]).log_prob(y)
    both = queries.marginal(derived, 1).log_prob_with_error(y)
    assert float((both.value - wanted).abs()) < 4.5 * float(both.standard_error)
    twice = queries.conditional(derived, {0: 0.1}).log_prob_with_error(y)
    wanted = gaussians().conditional([0, 2], [0.1, -0.5]).log_prob(y)
    assert float((twice.value - wanted).abs()) < 4.5 * float(twice.standard_error)


@pytest.mark.parametrize("value", [0.3, 1.5])
def test_a_conditional_of_a_flow_is_that_of_the_grid(on_grid, value):
    model, _ = on_grid
    rows = torch.stack([torch.full_like(GRID, value), GRID], dim=-1)
    with torch.no_grad():
        p = model.log_prob(rows).exp()
    p = p / (p.sum() * STEP)
    derived = queries.conditional(model, {0: value})
    found = derived.log_prob_with_error(GRID[200:300:10].unsqueeze(-1))
    assert float(((found.value - p[200:300:10].log()) / found.standard_error).abs().max()) < 4.5
    torch.manual_seed(0)
    x = derived.sample((4000,))[:, 0]
    below = (p.cumsum(0) * STEP).numpy()
    assert stats.kstest(x.numpy(), lambda v: np.interp(v, GRID.numpy(), below)).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["_independent", "_in_noise", "_hamiltonian"])
def test_every_move_leaves_the_conditional_as_it_is(kind):
    """Started from exact draws, the chains stay distributed as they were; the proposals are made poor first."""
    torch.manual_seed(0)
    chain = ab.flows.nsf(features=3, blocks=1, hidden=(8,), bins=4)
    model = randomize(ab.Flow(chain), 0.3, seed=1).double()
    stand_in = StudentMixture.of(model, seed=0)
    moves = Moves(Joint(model, [1], [0, 2]), stand_in, torch.tensor([[0.4]], dtype=torch.float64))
    chains, _ = moves.start(3000, 30_000)
    before = chains.x[:, 0].clone()
    assert moves.noise is not None and noise_space(secret()) is None
    moves.log_angle, moves.log_step = math.log(0.4), math.log(0.5)
    step = getattr(moves, kind)
    for _ in range(12):
        chains = step(chains, *moves.noise) if kind == "_in_noise" else step(chains)
    (accepted,) = moves.accepted.values()
    assert 0.1 < accepted < 0.995
    for column in range(2):
        assert stats.ks_2samp(before[:, column], chains.x[:, 0, column]).pvalue > 1e-3
    assert float((before == chains.x[:, 0]).double().mean()) < 0.3


def test_chains_that_start_badly_still_come_to_the_conditional():
    """From a stand-in of another density, far too wide and beside it: a Gaussian, as a linear flow with a noise space."""
    torch.manual_seed(0)
    model = randomize(ab.Flow(Chain([LULinear(4), LULinear(4)])), 0.3, seed=1).double()
    w = torch.func.jacrev(lambda x: model.transform(x)[0])(torch.zeros(4).double()).detach()
    loc = -torch.linalg.solve(w, model.transform(torch.zeros(4).double())[0].detach())
    exact = Normal(loc, scale_tril=torch.linalg.cholesky(torch.linalg.inv(w.mT @ w)))
    wide = StudentMixture.of(Normal(torch.full((4,), 2.0), scale=3.0).double(), seed=0)
    values = torch.tensor([[0.5]], dtype=torch.float64)
    moves = Moves(Joint(model, [1], [0, 2, 3]), wide, values)
    chains, (log_p, error, effective) = moves.start(256, 4096)
    wanted = queries.marginal(exact, 1).log_prob(values)
    assert not moves.proposals_only and 5 < float(effective) < 400
    assert float((log_p - wanted).abs()) < 4 * float(error)
    chains = moves.warm_up(chains, 30)
    assert set(moves.accepted) == {"independent", "noise", "hamiltonian"}
    assert 0.6 < moves.accepted["hamiltonian"] < 0.9 and moves.accepted["independent"] < 0.2
    torch.manual_seed(1)
    drawn = queries.conditional(exact, {1: 0.5}).sample((4000,))
    for column in range(3):
        assert stats.ks_2samp(chains.x[:, 0, column], drawn[:, column]).pvalue > 1e-3
        assert len(chains.x[:, 0, column].unique()) > 250


def test_impossible_and_wrong_observations_are_refused():
    bounded = ab.Flow(Chain({"in": Inverse(Elementwise(Sigmoid(), 2))}), secret2())
    for density in (Independent([Uniform([0.0], [1.0]), Normal.standard(1)]), mixed(), bounded):
        with pytest.raises(queries.ImpossibleError, match=r"possible, got 7\.5 in column 0"):
            queries.conditional(density, {0: 7.5})
    for observed, text in (
        ({0: math.nan}, "leave out"),
        ({0: math.inf}, "finite"),
        ({3: 1.0}, "from 0 to 2"),
        ({-1: 1.0}, "from 0 to 2"),
        ({"a": 1.0}, "whole numbers"),
        ({0: "high"}, "expected a number for column 0"),
        ({0: 0.0, 1: 0.0, 2: 0.0}, "some column to be left"),
        ([0], "mapping"),
    ):
        for density in (gaussians(), secret()):
            with pytest.raises(ValueError, match=text):
                queries.conditional(density, observed)
    for columns in ([], [0, 0], [3], [True], ["a"], [0.5]):
        with pytest.raises(ValueError, match="columns: expected different whole numbers"):
            queries.marginal(secret(), columns)
    assert queries.conditional(gaussians(), {}).event_shape == (3,)
    image = ab.densities.Normal.standard(2)
    image.event_shape = torch.Size([2, 1])
    with pytest.raises(ValueError, match="over vectors"):
        queries.marginal(image, 0)


def secret2():
    torch.manual_seed(0)
    return randomize(ab.Flow(ab.flows.realnvp(features=2, blocks=2, hidden=(8,))), 0.3)


# contexts, dtypes, copies


def test_contexts_are_fixed_first():
    torch.manual_seed(0)
    c = torch.tensor([0.3, -1.0])
    many = randomize(GaussianMixture(torch.tensor(LOC), scale_tril=torch.tensor(TRIL), context=2), 0.3)
    x = torch.randn(4, 1)
    assert torch.allclose(queries.marginal(many, [1], c).log_prob(x), many.marginal([1]).log_prob(x, c), atol=1e-5)
    wanted = many.conditional([0, 2]).log_prob(x, torch.cat([torch.tensor([0.1, 0.2]), c]))
    assert torch.allclose(queries.conditional(many, {0: 0.1, 2: 0.2}, c).log_prob(x), wanted, atol=1e-5)
    curved, one = flow(context=2), torch.tensor([0.3, -1.0], dtype=torch.float64)
    rows = torch.tensor([[0.2, 0.5], [0.2, -0.5]], dtype=torch.float64)
    derived = queries.conditional(curved, {0: 0.2}, one)
    difference = derived.log_prob(rows[:, 1:]) - curved.log_prob(rows, one)
    assert torch.allclose(difference[0], difference[1])
    ordered = mixed(context=2, order=[1, 3, 0, 2])  # what is observed comes first
    values = torch.tensor([[1.0, 2.0]])
    derived = queries.conditional(ordered, {1: 0.4}, c)
    wanted = ordered.conditional([1])
    full = torch.tensor([[1.0, 2.0, 0.0]])
    assert torch.allclose(derived.log_prob(full), wanted.log_prob(full, torch.cat([torch.tensor([0.4]), c])))
    twice = queries.conditional(derived, {2: 0.0})
    terms = ordered.terms(torch.tensor([[1.0, 0.4, 2.0, 0.0]]), [0, 2], [1, 3], c)
    assert torch.allclose(twice.log_prob(values), terms.sum(-1))
    one_flow = randomize(ab.Flow(ab.flows.realnvp(features=2, blocks=2, context=3, hidden=(8,))), 0.2)
    embedded = ab.FlowMixture(Embedded(one_flow, components=2, size=1))
    assert queries.conditional(embedded, {0: 0.1}, c).sample((3,)).shape == (3, 1)
    for bad in (None, torch.zeros(3), torch.zeros(4, 2)):
        with pytest.raises(ValueError, match="context: expected"):
            queries.marginal(many, [0], bad)
    with pytest.raises(ValueError, match="context: expected None"):
        queries.marginal(gaussians(), [0], c)


def test_dtypes_copies_and_changes(tmp_path):
    derived = queries.conditional(copy.deepcopy(flow()), {0: 0.3}, proposals=64, chains=32, moves=16)
    x = torch.tensor([[0.2], [1.0]], dtype=torch.float64)
    assert derived.log_prob(x).dtype == torch.float64 and derived.sample().shape == (1,)
    before = derived.log_prob(x)
    ab.save(derived, tmp_path / "conditional.safetensors")
    assert torch.equal(ab.load(tmp_path / "conditional.safetensors").log_prob(x), before)
    assert derived.float().sample((0,)).shape == (0, 1)
    model = copy.deepcopy(flow())
    derived = queries.marginal(model, 1, proposals=256)
    old = derived.log_prob(x)
    randomize(model, 0.3, seed=9)
    new = derived.log_prob_with_error(x)
    fresh = queries.marginal(model, 1, proposals=256).log_prob(x)
    assert torch.equal(new.value, fresh) and not torch.allclose(old, fresh)
    assert bool(queries.marginal(flow(), 0).log_prob(torch.tensor([[math.nan], [0.0]]).double()).isnan()[0])


# expectation, probability, quantile


def test_moments_of_closed_forms():
    exact = queries.expectation(gaussians(), "covariance")
    x = gaussians().sample((200_000,))
    assert exact.exact and torch.allclose(exact.value, torch.cov(x.mT), atol=0.05)
    given = queries.expectation(gaussians(), "mean", {1: 0.2})
    assert float(given.value[1]) == pytest.approx(0.2) and given.exact
    torch.manual_seed(0)
    sampled = gaussians().conditional([1], [0.2]).sample((100_000,))
    assert torch.allclose(given.value[[0, 2]], sampled.mean(0), atol=0.02)
    spread = queries.expectation(gaussians(), "variance", {1: 0.2}, columns=[1, 2])
    assert float(spread.value[0]) == 0 and float(spread.value[1]) == pytest.approx(float(sampled[:, 1].var()), rel=0.03)
    product = Independent([StudentT([1.0], scale=2.0, df=5.0), Uniform([0.0], [3.0]), Categorical([0.0, 0.0])])
    found = queries.expectation(product, "variance").value
    assert torch.allclose(found, torch.tensor([4 * 5 / 3, 0.75, 0.25]).double(), atol=1e-5)
    assert bool(queries.expectation(StudentT([0.0], df=1.5), "variance").value.isinf())
    assert bool(queries.expectation(StudentT([0.0], df=0.5), "mean").value.isnan())
    one = queries.expectation(mixed(), "mean", {0: 1.0}, columns=2, seed=0)
    torch.manual_seed(0)
    drawn = ab.models.Subset(mixed(), [2], [0], [1.0]).sample((40_000,)).double()
    error = 4 * math.hypot(float(drawn.std()) / len(drawn) ** 0.5, float(one.standard_error[0]))
    assert float(one.value[0]) == pytest.approx(float(drawn.mean()), abs=error)


def test_expectations_by_draws_come_with_honest_errors():
    def f(x):
        return torch.stack([x[:, 0] * x[:, 1], (x[:, 2] > 0).double()], dim=-1)

    torch.manual_seed(0)
    wanted = f(gaussians().sample((1_000_000,))).mean(0)
    z = []
    for seed in range(12):
        found = queries.expectation(secret(), f, samples=1000, seed=seed)
        z.append((found.value - wanted) / found.standard_error)
    z = torch.stack(z)
    assert float(z.abs().max()) < 4 and 0.5 < float(z.square().mean()) < 1.8
    precise = queries.expectation(secret(), f, tolerance=0.01, samples=1000, seed=0)
    assert float(precise.standard_error.max()) <= 0.01 and float(precise.effective_samples.min()) > 10_000
    with pytest.warns(QueryWarning, match="above the tolerance of 0.0001; raise most, now 4,000"):
        queries.expectation(secret(), f, tolerance=1e-4, samples=1000, most=4000, seed=0)
    with pytest.raises(ValueError, match="f: expected finite"):
        queries.expectation(secret(), lambda x: x[:, 0].log(), seed=0)
    with pytest.raises(ValueError, match="one number or more for each"):
        queries.expectation(secret(), lambda x: x.sum(), seed=0)
    with pytest.raises(ValueError, match="f: expected one of 'mean'"):
        queries.expectation(secret(), "median")


def test_expectations_given_what_was_observed_by_chains():
    exact = queries.expectation(gaussians(), "mean", {1: 0.2}).value
    z = []
    for seed in range(3):
        found = queries.expectation(secret(), "mean", {1: 0.2}, samples=1500, seed=seed, chains=64, moves=12)
        assert not found.exact and float(found.value[1]) == pytest.approx(0.2)
        z.append(((found.value - exact) / found.standard_error)[[0, 2]])
    assert float(torch.stack(z).abs().max()) < 4
    # f sees whole rows, with what was observed in its place
    whole = queries.expectation(secret(), lambda x: x[:, 1], {1: 0.2}, samples=500, seed=0, chains=100, moves=8)
    assert float(whole.value) == pytest.approx(0.2) and float(whole.standard_error) == 0
    assert float(whole.effective_samples) == 500


def test_probabilities(on_grid):
    mixture = gaussians()
    w = torch.tensor([0.5, 0.3, 0.2])
    scale = torch.tensor(TRIL).square().sum(-1).sqrt()[:, 1]
    cdf = stats.norm(torch.tensor(LOC)[:, 1], scale).cdf
    found = queries.probability(mixture, {1: (-0.5, 0.7)})
    assert found.exact and float(found.value) == pytest.approx(
        float(w @ torch.tensor(cdf(0.7) - cdf(-0.5)).float()), abs=1e-6
    )
    assert float(queries.probability(mixture, {1: 0.3}).value) == 0
    assert float(queries.probability(mixture, {1: (1.0, -1.0)}).value) == 0
    assert float(queries.probability(mixture, {}).value) == 1
    assert float(queries.probability(mixture, {1: (0, 1), 0: Interval()}, {1: 3.0}).value) == 0
    torch.manual_seed(0)
    x = mixture.sample((400_000,))
    share = float(((x[:, 0] > 0) & (x[:, 2] <= 0.5)).double().mean())
    region = {0: Interval(low=0.0), 2: Interval(high=0.5)}
    for density in (mixture, secret()):
        both = queries.probability(density, region, tolerance=0.005, seed=0)
        assert abs(float(both.value) - share) < 4 * float(both.standard_error) and float(both.standard_error) <= 0.005
        same = queries.probability(density, lambda x: (x[:, 0] > 0) & (x[:, 2] <= 0.5), samples=5000, seed=1)
        assert abs(float(same.value) - share) < 4 * float(same.standard_error)
    model, p = on_grid
    inside = (GRID > 0.5).unsqueeze(1) & (GRID < 1.0)
    found = queries.probability(model, {0: Interval(low=0.5), 1: Interval(high=1.0)}, samples=20_000, seed=0)
    assert abs(float(p[inside].sum() / p.sum()) - float(found.value)) < 4 * float(found.standard_error)
    with pytest.warns(QueryWarning, match=r"about 0 of 1,000 effective draws fell in the region.*raise samples"):
        none = queries.probability(secret(), {0: Interval(low=50.0)}, samples=1000, seed=0)
    assert float(none.value) == 0 and float(none.standard_error) > 5e-4
    for wrong in ({0: "low"}, {0: (1, 2, 3)}, {0: (math.nan, 1.0)}, 3.0, {4: 1.0}):
        with pytest.raises(ValueError, match=r"region|columns"):
            queries.probability(secret(), wrong)
    with pytest.raises(ValueError, match="a boolean for each row"):
        queries.probability(secret(), lambda x: x[:, 0])


def test_probabilities_of_discrete_columns_are_those_of_samples():
    model = mixed()
    torch.manual_seed(0)
    x = {columns: model.marginal(columns).sample((40_000,)).T for columns in ((0,), (2,), (3,), (0, 2, 1))}
    cases = [
        ({0: 1.0}, x[0,][0] == 1),
        ({0: Interval(without=(1.0,))}, x[0,][0] != 1),
        ({2: Interval(low=1.0, low_included=False)}, x[2,][0] > 1),
        ({2: Interval(low=1.0)}, x[2,][0] >= 1),
        ({2: 1.5}, torch.zeros(4)),
        ({3: 0.0}, x[3,][0] == 0),
        ({3: 0.1}, torch.zeros(4)),
        ({3: Interval(high=0.0, high_included=False)}, x[3,][0] < 0),
        ({0: 1.0, 2: 2.0, 1: Interval(low=0.0)}, (x[0, 2, 1][0] == 1) & (x[0, 2, 1][1] == 2) & (x[0, 2, 1][2] >= 0)),
    ]
    for density in (model, ab.Ensemble([model, model])):
        for region, hits in cases:
            share = float(hits.double().mean())
            if density is not model and share < 0.01:  # of a mixture draws say little of it, and warn
                continue
            found = queries.probability(density, region, seed=0)
            assert abs(float(found.value) - share) < 0.012 + 4 * float(found.standard_error), region
    assert queries.probability(model, {0: 1.0}).exact and queries.probability(model, {2: 1.5}).exact
    joint, error = model.marginal([0, 2]).estimate(torch.tensor([1.0, 2.0]))
    found = queries.probability(model, {0: 1.0, 2: 2.0}, seed=0)
    error = math.hypot(float(error), float(found.standard_error / found.value))
    assert abs(float(found.value.log() - joint)) < 4 * error


def test_quantiles(on_grid):
    levels = [0.05, 0.5, 0.9]
    exact = queries.quantile(gaussians(), 1, levels, {0: 0.3})
    known = queries.marginal(gaussians().conditional([0], [0.3]), 0)
    assert exact.exact
    for q, u in zip(exact.value, levels, strict=True):
        assert float(queries.probability(known, {0: Interval(high=float(q))}).value) == pytest.approx(u, abs=1e-9)
    found = queries.quantile(secret(), 1, levels, {0: 0.3}, samples=8000, seed=0)
    assert float(((found.value - exact.value) / found.standard_error).abs().max()) < 4
    model, p = on_grid
    below = p.sum(0).cumsum(0) / p.sum()
    estimated = queries.quantile(model, 1, levels, tolerance=0.02, samples=1000, seed=0)
    wanted = torch.tensor(np.interp(levels, below.numpy(), GRID.numpy()))
    assert float((estimated.value - wanted).abs().max()) < 0.1
    assert float(estimated.standard_error.max()) <= 0.02
    for density in (mixed(), ab.Ensemble([mixed(), mixed()])):
        assert queries.quantile(density, 0, [0.01, 0.99]).value.tolist() == [0, 2]
        for column in (2, 3) if isinstance(density, ab.models.AnyOrder) else ():
            q = queries.quantile(density, column, 0.5, seed=0)
            at_most = queries.probability(density, {column: Interval(high=float(q.value))}, seed=0)
            less = queries.probability(density, {column: Interval(high=float(q.value), high_included=False)}, seed=0)
            assert float(less.value) <= 0.5 + 1e-6 and float(at_most.value) >= 0.5 - 1e-6
    t = queries.quantile(StudentT([1.0], scale=2.0, df=3.0), 0, 0.8)
    assert float(t.value) == pytest.approx(stats.t(3, 1, 2).ppf(0.8), rel=1e-5)
    assert float(queries.quantile(Uniform([0.0], [4.0]), 0, 0.25).value) == pytest.approx(1.0)
    assert float(queries.quantile(Bernoulli([0.0]), 0, 0.6).value) == 1
    for u in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            queries.quantile(gaussians(), 0, u)
    with pytest.raises(ValueError, match="not observed"):
        queries.quantile(gaussians(), 0, 0.5, {0: 1.0})


# mode


def test_modes(on_grid):
    exact = queries.mode(gaussians())
    near = queries.mode(secret(), starts=16, steps=80)
    assert torch.allclose(exact.x, near.x, atol=1e-4)
    assert float(near.log_prob.value) == pytest.approx(float(exact.log_prob.value), abs=1e-8)
    assert near.agreed >= 4 and near.starts == 16
    gradient = torch.func.grad(lambda x: gaussians().log_prob(x))(exact.x)
    assert float(gradient.abs().max()) < 1e-6
    given = queries.mode(gaussians(), {1: 0.2})
    by_chains = queries.mode(secret(), {1: 0.2}, starts=16, steps=80)
    assert torch.allclose(given.x, by_chains.x, atol=1e-4) and float(given.x[1]) == pytest.approx(0.2)
    difference = by_chains.log_prob.value - given.log_prob.value
    assert float(difference.abs()) < 5 * float(by_chains.log_prob.standard_error)
    model, p = on_grid
    found = queries.mode(model, starts=32, steps=100)
    i, j = divmod(int(p.argmax()), len(GRID))
    assert float(found.log_prob.value) >= float(p.max().log()) - 1e-6
    assert torch.allclose(found.x, torch.stack([GRID[i], GRID[j]]), atol=0.03)
    one = queries.mode(gaussians(), columns=[2, 1])
    assert torch.allclose(one.x, queries.mode(gaussians().marginal([2, 1])).x)
    with pytest.raises(ValueError, match="not observed"):
        queries.mode(gaussians(), {1: 0.2}, columns=[1])


def test_the_mode_of_a_marginal_that_is_estimated(on_grid):
    model, p = on_grid
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QueryWarning)
        found = queries.mode(model, columns=[1], starts=4, steps=40, proposals=128)
    wanted = GRID[p.sum(0).argmax()]
    assert abs(float(found.x - wanted)) < 0.1 and float(found.log_prob.standard_error) > 0


def test_modes_of_mixed_columns_are_the_best_of_all_combinations():
    model = mixed()
    found = queries.mode(model, starts=24, steps=80)
    grid = torch.linspace(-4, 4, 81)
    points = torch.cartesian_prod(torch.arange(3.0), grid, torch.arange(5.0), torch.cat([grid, torch.zeros(1)]))
    with torch.no_grad():
        log_p = torch.cat([model.log_prob(some) for some in points.split(50_000)])
    assert float(found.log_prob.value) >= float(log_p.max()) - 1e-3
    assert float(found.x[0]) in (0, 1, 2) and float(found.x[2]) in range(5)


# impute


def gappy(density, count=60):
    torch.manual_seed(2)
    x = density.sample((count,))
    mask = torch.rand(x.shape) < 0.4
    mask[0], mask[1] = True, False
    return torch.where(mask, torch.nan, x)


@pytest.mark.parametrize("make", [gaussians, secret, mixed, lambda: ab.Ensemble([mixed(), mixed()])])
def test_imputations_keep_what_was_observed_and_have_its_distribution(make):
    density = make()
    rows = gappy(density)
    drawn = queries.impute(density, rows, draws=2, seed=0, moves=6)
    assert drawn.shape == (2, *rows.shape) and bool(drawn.isfinite().all()) and drawn.dtype == rows.dtype
    seen = ~rows.isnan()
    assert torch.equal(drawn[:, seen], rows[seen].expand(2, -1))
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn, queries.impute(density, rows, draws=2, seed=0, moves=6))
    assert bool(density.support.check(drawn).all())
    if make not in (gaussians, secret):
        return
    # rows of the density with gaps, filled from it, are rows of the density again
    torch.manual_seed(4)
    full = density.sample((300,))
    holes = torch.where(torch.rand(full.shape) < 0.5, torch.nan, full)
    filled = queries.impute(density, holes, seed=1, moves=4, proposals=256)[0]
    fresh = density.sample((3000,))
    for column in range(full.shape[1]):
        assert stats.ks_2samp(filled[:, column], fresh[:, column]).pvalue > 1e-3, column
    together = [torch.stack([x[:, 0] * x[:, 1], x[:, 1] * x[:, 2]], -1).double() for x in (filled, fresh)]
    error = (together[0].var(0) / len(filled) + together[1].var(0) / len(fresh)).sqrt()
    assert float(((together[0].mean(0) - together[1].mean(0)) / error).abs().max()) < 4


def test_imputations_of_one_row_follow_its_conditional():
    row = torch.tensor([[0.3, math.nan, -0.5]], dtype=torch.float64)
    exact = gaussians().conditional([0, 2], [0.3, -0.5])
    for density in (gaussians(), secret()):
        drawn = queries.impute(density, row, draws=1500, seed=0)[:, 0, 1]
        torch.manual_seed(1)
        assert stats.ks_2samp(drawn, exact.sample((1500,))[:, 0]).pvalue > 1e-3
    best = queries.impute(gaussians(), row, best=True)
    assert float(best[0, 1]) == pytest.approx(float(queries.expectation(exact, "mean").value), abs=1e-6)
    ordered = mixed(order=[1, 3, 0, 2])
    gap = torch.tensor([[math.nan, 0.4, math.nan, 0.0]])
    for density in (ordered, ab.Ensemble([ordered, ordered])):
        filled = queries.impute(density, gap, draws=8000, seed=0)[:, 0, [0, 2]]
        fresh = ordered.conditional([1, 3], [0.4, 0.0]).sample((8000,))
        for level in range(3):
            for cell in range(5):
                share = [float(((x[:, 0] == level) & (x[:, 1] == cell)).double().mean()) for x in (filled, fresh)]
                assert abs(share[0] - share[1]) < 0.03
    near = queries.impute(secret(), row, best=True, seed=0)
    assert float(near[0, 1]) == pytest.approx(float(best[0, 1]), abs=0.15)
    middle = queries.impute(gaussians(), row, best="median", seed=0)
    below = queries.probability(exact, {0: Interval(high=float(middle[0, 1]))})
    assert float(below.value) == pytest.approx(0.5, abs=0.12)


def test_the_single_best_of_mixed_columns():
    model = mixed(order=[3, 0, 1, 2])
    row = torch.tensor([[math.nan, math.nan, math.nan, 0.0]])
    best = queries.impute(model, row, best=True)
    p = [float(queries.probability(model, {0: float(k)}, {3: 0.0}).value) for k in range(3)]
    assert float(best[0, 0]) == max(range(3), key=p.__getitem__)
    assert float(best[0, 2]) in range(5)
    # a gap next after what was observed is exact, which the network says directly; before it weighted draws correct that
    direct = queries.impute(mixed(order=[3, 1, 0, 2]), row, best="mean")[0, 1]
    for order, off in (([3, 1, 0, 2], 0.0), ([1, 3, 0, 2], 0.1)):
        model = mixed(order=order)
        best, middle = (queries.impute(model, row, best=kind) for kind in ("mean", "median"))
        mean = queries.expectation(model, "mean", {3: 0.0}, columns=1, samples=40_000, seed=0)
        away = 5 * off * abs(float(direct - mean.value[0]))
        assert abs(float(best[0, 1] - mean.value[0])) < 4 * float(mean.standard_error[0]) + away
        below = queries.probability(model, {1: Interval(high=float(middle[0, 1]))}, {3: 0.0}, samples=40_000, seed=0)
        assert abs(float(below.value) - 0.5) < 4 * float(below.standard_error) + off
    drawn = queries.impute(ab.Ensemble([model, model]), row, best=True, seed=0)
    assert float(drawn[0, 0]) in (0, 1, 2)


def test_imputation_with_contexts_and_wrong_rows():
    ordered, c = mixed(context=2), torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    row = torch.tensor([[1.0, math.nan, 2.0, math.nan]]).expand(4, -1)
    assert queries.impute(ordered, row, 3, context=c, seed=0).shape == (3, 4, 4)
    assert queries.impute(ordered, row, best=True, context=c[0]).isfinite().all()
    rows = torch.tensor([[0.1, math.nan], [math.nan, 0.4], [0.1, 0.2]], dtype=torch.float64)
    filled = queries.impute(flow(context=2), rows, 2, context=c[:3].double(), moves=8, seed=0)
    assert filled.isfinite().all() and torch.equal(filled[:, 2], rows[2].expand(2, -1))
    assert queries.impute(gaussians(), torch.empty(0, 3, dtype=torch.float64), 2).shape == (2, 0, 3)
    for bad, text in (
        (torch.zeros(3), "of shape"),
        (torch.zeros(2, 3), "torch.float64"),
        (torch.full((2, 3), math.inf).double(), "finite"),
    ):
        with pytest.raises(ValueError, match=text):
            queries.impute(gaussians(), bad)
    with pytest.raises(ValueError, match="got 9 in row 1, column 0"):
        queries.impute(mixed(), torch.tensor([[1.0, 0.0, 0.0, math.nan], [9.0, 0.0, 0.0, math.nan]]))
    with pytest.raises(ValueError, match="what row 0 has is 0"):
        queries.impute(Independent([Uniform([0.0, 0.0], [1.0, 1.0])]), torch.tensor([[4.0, math.nan]]))
    with pytest.raises(ValueError, match="best: expected one of 'mean', 'median'"):
        queries.impute(gaussians(), torch.zeros(1, 3).double(), best="mode")


# diagnostics


def test_diagnostics_tell_chains_that_mix_from_chains_that_do_not():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(400, 8, generator=generator, dtype=torch.float64)
    assert 0.99 < float(r_hat(noise)) < 1.01
    assert 2400 < float(effective_samples(noise)) < 4000
    slow = torch.zeros_like(noise)
    for t in range(1, 400):
        slow[t] = 0.9 * slow[t - 1] + math.sqrt(1 - 0.81) * noise[t]
    # the autocorrelation time of an AR(1) process is (1 + a) / (1 - a) = 19
    assert 3200 / 19 / 1.6 < float(effective_samples(slow)) < 3200 / 19 * 1.6
    assert float(r_hat(noise + torch.arange(8))) > 1.5
    assert float(r_hat(torch.ones(10, 4))) == 1


# questions


class Diamonds:
    """Names, an affine price, a logarithmic weight and a category."""

    names = ("price", "carat", "cut")

    def number(self, name):
        if name not in self.names:
            raise KeyError(name)
        return self.names.index(name)

    def encode(self, column, value):
        if column == 2:
            if value not in ("Fair", "Very Good", "Ideal"):
                raise ValueError(f"column 'cut': expected Fair, Very Good or Ideal, got {value!r}")
            return float(("Fair", "Very Good", "Ideal").index(value))
        number = queries.Plain(self.names).encode(column, value)
        return (number - 4000) / 1000 if column == 0 else math.log(number)

    def interval(self, column, relation, value):
        return Interval.of(relation, self.encode(column, value))

    def decode(self, column, x):
        if column == 2:
            return np.array(["Fair", "Very Good", "Ideal"])[np.asarray(x).astype(int)]
        return 4000 + 1000 * x if column == 0 else np.exp(x)

    def levels(self, column):
        return [0.0, 1.0, 2.0] if column == 2 else None

    def affine(self, column):
        return (4000.0, 1000.0) if column == 0 else None

    def log_det(self, column, x):
        return {0: -math.log(1000), 1: -x, 2: 0.0}[column]


@pytest.fixture(scope="module")
def diamonds():
    torch.manual_seed(0)
    return Independent([Normal([1.0, 0.5], scale_tril=[[1.0, 0.0], [0.4, 0.3]]), Categorical([0.1, 0.2, 0.9])])


def ask(model, text, **options):
    return queries.ask(model, text, Diamonds(), **options).lines


def test_questions_are_answered_in_the_columns_own_units(diamonds):
    (mean,) = ask(diamonds, "E[price | cut = Very Good]")
    assert mean.value == pytest.approx(5000) and mean.exact
    (log_normal,) = ask(diamonds, "E[carat]", samples=20_000)
    assert abs(log_normal.value - math.exp(0.5 + 0.25 / 2)) < 4 * log_normal.standard_error and not log_normal.exact
    (p,) = ask(diamonds, 'P(price > 5000, "cut" = Ideal | carat=1)')
    ideal = float(torch.tensor([0.1, 0.2, 0.9]).softmax(0)[2])
    wanted = queries.probability(diamonds, {0: Interval(low=1.0)}, {1: 0.0}).value
    assert p.value == pytest.approx(ideal * float(wanted), abs=1e-5) and p.exact
    (rest,) = ask(diamonds, "P(cut != Ideal)")
    assert rest.value == pytest.approx(1 - ideal, abs=1e-6)
    (between,) = ask(diamonds, "P(price > 4000, price <= 6000)")
    assert between.value == pytest.approx(stats.norm.cdf(1) - stats.norm.cdf(-1), abs=1e-6)
    low, high = ask(diamonds, "Q[0.1, 0.9](carat)")
    assert low.value == pytest.approx(math.exp(stats.norm(0.5, 0.5).ppf(0.1)), rel=1e-5)
    assert high.value == pytest.approx(math.exp(stats.norm(0.5, 0.5).ppf(0.9)), rel=1e-5)
    density, log_density = ask(diamonds, "p(carat = 2)")
    assert density.value == pytest.approx(stats.lognorm(0.5, scale=math.exp(0.5)).pdf(2), rel=1e-5)
    assert log_density.value == pytest.approx(math.log(density.value))
    (mass, _) = ask(diamonds, "p(cut = Ideal | price = 5000)")
    assert mass.value == pytest.approx(ideal, rel=1e-5)
    price, carat, *_ = ask(diamonds, "mode(price, carat | cut = Fair)")
    assert price.value == pytest.approx(5000, abs=1) and carat.value == pytest.approx(math.exp(0.5), rel=1e-3)
    by_level = ask(diamonds, "marginal(cut)")
    assert [line.name for line in by_level] == ["P(cut = Fair)", "P(cut = Very Good)", "P(cut = Ideal)"]
    (named,) = ask(diamonds, "P(price>5000|carat=1,cut=Very Good)")
    assert named.name == "P(price > 5000 | carat = 1, cut = Very Good)"
    assert sum(line.value for line in by_level) == pytest.approx(1)
    summary = ask(diamonds, "marginal[price | carat = 1.5]")
    assert len(summary) == 6 and summary[3].name == "Q[0.5](price | carat = 1.5)"
    assert "±" in str(log_normal) and "±" not in str(mean)
    with pytest.raises(queries.QuestionError, match="'price' is given"):
        ask(diamonds, "E[price | price = 4500]")


@pytest.mark.parametrize(
    ("text", "reason", "at"),
    [
        ("", "expected a question", 0),
        ("F(price)", "expected one of E, SD, Var, P, Q, p, mode, marginal, got 'F'", 0),
        ("E price", "got 'E price'", 0),
        ("E[price", "expected ] to close", 7),
        ("E[price)", "expected ] to close the question, got '\\)'", 7),
        ("E[price | carat]", "after the column 'carat'", 15),
        ("E[price | carat = ]", "expected a value", 18),
        ("E[price > 3]", "a column alone", 8),
        ("E[price] and more", "the question to end", 9),
        ("E[pric | carat = 1]", "did you mean 'price'", 2),
        ("E[cut]", "categories, which have no mean", 2),
        ("E[price | cut = Perfect]", "expected Fair", 16),
        ("E[price | carat = low]", "expected a finite number, got 'low'", 18),
        ("E[price | carat = 1, carat = 2]", "each column once", 21),
        ("P(price 5000)", "expected one of = ", 12),
        ("P(cut > Fair)", "no order", 2),
        ("mode(price | carat < 2)", "expected = in what is given to a mode, got <", 19),
        ("p(price > 1)", "expected = in p", 8),
        ("p(price in (1, 2))", "expected = in p", 2),
        ("P(price > 1 | carat = 1, carat > 0)", "each column once", 25),
        ("P(price > 1 | carat = 1 or cut = Ideal)", "'or' joins conditions of one column, got 'carat' and 'cut'", 27),
        ("P(cut = Ideal or Fair)", r"several values are written cut in \(Ideal, Fair\)", 8),
        ("P(price > 1 and carat > 2)", "a comma between conditions that all hold, got 'and'", 12),
        ("P(1 < carat > 2)", "a range such as 1 <= carat < 2", 12),
        ("P(cut in ())", "expected a value", 10),
        ("P(cut in (Fair)", "to close the question", 15),
        ("P(cut not in (Nice))", "expected Fair", 14),
        ("SD[cut]", "no standard deviation", 3),
        ("P(price > 1 | carat > 2, carat < 1)", "impossible that carat > 2, carat < 1", 14),
        ("Q[1.5](price)", "between 0 and 1", 2),
        ("Q[0.5](price, carat)", "one column", 7),
        ("Q(0.5)", "expected \\( or \\[, got the end", 6),
        ("mode(price | price = 1)", "is given", 5),
        ('E["price]', "closing", 2),
        ("p(price = 1 | price = 1)", "is given", 2),
    ],
)
def test_questions_that_cannot_be_asked_say_where(diamonds, text, reason, at):
    with pytest.raises(queries.QuestionError, match=reason) as caught:
        ask(diamonds, text)
    assert caught.value.position == at
    assert str(caught.value).splitlines()[1:] == [f"  {text}", f"  {' ' * at}^"]


def test_impossible_givens_are_pointed_at():
    box = Independent([Uniform([0.0], [1.0]), Normal.standard(1)])
    with pytest.raises(queries.QuestionError, match="impossible that width = 3") as caught:
        queries.ask(box, "E[x | width = 3]", queries.Plain(["width", "x"]))
    assert caught.value.position == 6


# closed forms of one's own


class Laplace(Density):
    """Independent numbers, p(x_i) = exp(-|x_i - loc_i|) / 2: a density that no file of the library names."""

    def __init__(self, loc):
        super().__init__((len(loc),))
        self.register_buffer("loc", torch.as_tensor(loc, dtype=torch.float64))

    def _log_prob(self, x, context):
        return (-(x - self.loc).abs() - math.log(2)).sum(-1)

    def _sample(self, shape, context):
        u = torch.rand(2, *shape, *self.event_shape, dtype=torch.float64)
        return self.loc + u[0].log() - u[1].log()

    def _given(self, wanted, observed, values, context):
        return Laplace(self.loc[wanted])

    def _moments(self, context):
        return Moments(self.loc, 2 * torch.eye(len(self.loc), dtype=torch.float64))

    def _distribution_function(self, context):
        law = stats.laplace(self.loc.numpy())
        return DistributionFunction.continuous(
            lambda x: torch.as_tensor(law.cdf(x.numpy())), lambda u: torch.as_tensor(law.ppf(u.numpy()))
        )


def test_a_closed_form_of_ones_own_is_asked_whatever_holds_it():
    """Every query of it is exact: alone, in a product, behind a permutation, and in a mixture."""
    near, far = Laplace([0.0, 1.0, 2.0]), Laplace([5.0, 6.0, 7.0])
    whole = {
        "alone": near,
        "product": Independent([Laplace([0.0, 1.0]), Laplace([2.0])]),
        "reordered": ab.Flow(Permutation([2, 0, 1]), Laplace([2.0, 0.0, 1.0])),
        "at a context": Independent([Laplace([0.0, 1.0]), Regardless(Laplace([2.0]), context=2)]),
    }
    x = torch.tensor([0.3, -0.5, 4.0]).double()
    for name, density in whole.items():
        told = {"context": torch.zeros(2).double()} if density.context_shape is not None else {}
        assert float(queries.marginal(density, [2, 0], **told).log_prob(x[[2, 0]])) == pytest.approx(
            float(Laplace([2.0, 0.0]).log_prob(x[[2, 0]]))
        ), name
        conditional = queries.conditional(density, {1: -0.5}, **told)
        assert float(conditional.log_prob(x[[0, 2]])) == pytest.approx(float(near.marginal([0, 2]).log_prob(x[[0, 2]])))
        spread = queries.expectation(density, "covariance", {1: 9.0}, **told)
        assert spread.exact and torch.allclose(spread.value, torch.diag(torch.tensor([2.0, 0.0, 2.0])).double())
        p = queries.probability(density, {1: (1.0, math.inf)}, {0: 1.0}, **told)
        assert p.exact and float(p.value) == pytest.approx(0.5)
        q = queries.quantile(density, 2, [0.5, 0.9], {0: 1.0}, **told)
        assert q.exact and q.value.tolist() == pytest.approx(stats.laplace(2.0).ppf([0.5, 0.9]).tolist())
        if not told:
            assert queries.leave_one_out(density, x.unsqueeze(0)).exact
        rows = x.repeat(4000, 1)
        rows[:2000, 2], rows[2000:, 0] = math.nan, math.nan
        filled = queries.impute(density, rows, seed=0, **told)[0]
        assert float(filled[:2000, 2].median()) == pytest.approx(2, abs=0.1)
        assert float(filled[2000:, 0].median()) == pytest.approx(0, abs=0.1)
    mixture = ab.Ensemble([near, far], weights=[0.25, 0.75])
    found = queries.expectation(mixture, "mean", {0: 5.0})
    w = torch.tensor([0.25 * math.exp(-5), 0.75]).double()
    assert found.exact and float(found.value[1]) == pytest.approx(
        float(w @ torch.tensor([1.0, 6.0]).double() / w.sum())
    )
    assert queries.quantile(mixture, 0, [0.3]).exact and not isinstance(queries.marginal(mixture, 0), EstimatedSubset)
    assert float(queries.probability(mixture, {0: (5.0, math.inf)}).value) == pytest.approx(
        0.25 * float(stats.laplace.sf(5.0)) + 0.375
    )
    with pytest.raises(queries.ImpossibleError):
        queries.conditional(Independent([Uniform([0.0], [1.0]), Normal([0.0])]), {0: 2.0})
    assert near.conditional([0]) is None  # its values cannot be left open
