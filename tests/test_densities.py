"""Densities against textbook formulas and torch.distributions, and what the suite finds in ones that break the contract."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import constraints

import anabranch as ab
from anabranch.densities import (
    Bernoulli,
    Categorical,
    Density,
    GaussianMixture,
    Independent,
    Mixture,
    Normal,
    Reordered,
    Resampled,
    StudentT,
    Uniform,
)
from anabranch.models import LatentVariable
from anabranch.networks import MLP
from anabranch.testing import check_density, check_mixture, check_normalised, randomize
from anabranch.training.rows import read_rows

D = torch.distributions
F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def factors(components, features, seed=5):
    below = normal(components, features, features, seed=seed).tril(-1)
    return below + torch.diag_embed(0.3 + normal(components, features, seed=seed + 1).abs())


TEXTBOOK = {
    "normal": (
        Normal(normal(2), scale=torch.tensor([0.5, 2.0], dtype=F64)),
        D.Independent(D.Normal(normal(2), torch.tensor([0.5, 2.0], dtype=F64)), 1),
    ),
    "full normal": (
        Normal(normal(2), scale_tril=factors(1, 2)[0]),
        D.MultivariateNormal(normal(2), scale_tril=factors(1, 2)[0]),
    ),
    "Student t": (
        StudentT(normal(2), scale=0.7, df=torch.tensor([2.5, 8.0], dtype=F64)),
        D.Independent(D.StudentT(torch.tensor([2.5, 8.0], dtype=F64), normal(2), 0.7), 1),
    ),
    "Gaussian mixture": (
        GaussianMixture(normal(3, 2), scale=0.6, weights=torch.tensor([1.0, 2.0, 5.0], dtype=F64)),
        D.MixtureSameFamily(
            D.Categorical(torch.tensor([0.125, 0.25, 0.625], dtype=F64)), D.Independent(D.Normal(normal(3, 2), 0.6), 1)
        ),
    ),
    "full Gaussian mixture": (
        GaussianMixture(normal(3, 2), scale_tril=factors(3, 2)),
        D.MixtureSameFamily(
            D.Categorical(torch.ones(3, dtype=F64)), D.MultivariateNormal(normal(3, 2), scale_tril=factors(3, 2))
        ),
    ),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_log_prob_against_torch(name):
    density, wanted = TEXTBOOK[name]
    for spread in (1.0, 30.0):
        x = spread * normal(50, 2, seed=1)
        assert torch.allclose(density.log_prob(x), wanted.log_prob(x), rtol=1e-10)


@pytest.mark.parametrize("build", [Bernoulli, Categorical])
def test_discrete_log_prob_against_torch_for_every_dtype(build):
    logits = normal(3) if build is Bernoulli else normal(3, 4)
    wanted = (D.Bernoulli if build is Bernoulli else D.Categorical)(logits=logits)
    x = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 0, 0]])
    for value in (x, x.bool(), x.to(torch.int32), x.to(F64), x.numpy(), x.tolist()):
        got = build(logits).log_prob(value)
        assert torch.allclose(got, wanted.log_prob(x.to(F64)).sum(dim=-1))


@pytest.mark.parametrize("density", [Bernoulli([0.3]), Categorical([0.3, 0.1])])
def test_between_beside_and_beyond_the_levels(density):
    for value in (0.5, -1.0, 2.0, 1.0001, -0.0001, 1e30, torch.inf, -torch.inf):
        assert density.log_prob(torch.tensor([value])) == -torch.inf, value
    assert density.log_prob(torch.tensor([torch.nan])).isnan()


def test_logits_far_out_lose_no_certainty_and_give_no_nan():
    for logits in (1e4, -1e4):
        assert torch.isfinite(Bernoulli([logits]).log_prob([[0.0], [1.0]])).all()
        assert torch.isfinite(Categorical([logits, 0.0]).log_prob([[0.0], [1.0]])).all()


def test_uniform_at_its_edges_and_beyond():
    box = Uniform([0.0, -1.0], [2.0, 1.0])
    x = torch.tensor([[0.0, -1.0], [2.0, 1.0], [2.0001, 0.0], [-0.0001, 0.0], [torch.inf, 0.0]])
    assert box.log_prob(x).tolist() == pytest.approx([-math.log(4), -math.log(4)] + 3 * [-math.inf])
    assert torch.equal(box.support.check(x), box.log_prob(x) > -torch.inf)


def test_uniform_samples_that_round_to_the_upper_edge_are_inside():
    torch.manual_seed(0)
    x, log_p = Uniform([1e6], [1e6 + 0.5]).sample_and_log_prob((1000,))
    assert bool((x == 1e6 + 0.5).any())
    assert torch.allclose(log_p, torch.full_like(log_p, math.log(2)))


def test_conditionals_and_marginals_against_the_schur_complement():
    loc, tril = normal(3, 4), factors(3, 4)
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=F64)
    covariance = tril @ tril.mT
    mixture = GaussianMixture(loc, scale_tril=tril, weights=weights)
    o, w = [3, 1], [0, 2]
    seen = torch.tensor([0.4, -0.8], dtype=F64)
    c_oo, c_ow, c_ww = (covariance[:, a][:, :, b] for a, b in ((o, o), (o, w), (w, w)))
    gain = torch.linalg.solve(c_oo, c_ow).mT
    means = loc[:, w] + (gain @ (seen - loc[:, o]).unsqueeze(-1)).squeeze(-1)
    evidence = D.MultivariateNormal(loc[:, o], c_oo).log_prob(seen)
    posterior = D.Categorical(logits=weights.log() + evidence)
    wanted = D.MixtureSameFamily(posterior, D.MultivariateNormal(means, c_ww - gain @ c_ow))
    x = normal(20, 2, seed=3)
    assert torch.allclose(mixture.conditional(o, seen).log_prob(x), wanted.log_prob(x))
    assert torch.allclose(mixture.conditional(o).log_prob(x, seen), wanted.log_prob(x))
    assert torch.allclose(mixture.conditional(o, seen).weights(), posterior.probs)
    marginal = D.MixtureSameFamily(D.Categorical(weights), D.MultivariateNormal(loc[:, o], c_oo))
    assert torch.allclose(mixture.marginal(o).log_prob(x), marginal.log_prob(x))


def test_the_conditional_of_a_conditional_is_that_of_both():
    mixture = GaussianMixture(normal(3, 4), scale_tril=factors(3, 4))
    x = normal(5, 2, seed=3)
    both = mixture.conditional([0, 2], torch.tensor([0.5, -0.5], dtype=F64))
    one_by_one = mixture.conditional([0], [0.5]).conditional([1], [-0.5])
    assert torch.allclose(both.log_prob(x), one_by_one.log_prob(x))


def test_a_component_of_weight_zero_is_never_drawn_and_adds_nothing():
    mixture = GaussianMixture([[0.0], [100.0]], weights=[1.0, 0.0], learnable=True)
    torch.manual_seed(0)
    assert float(mixture.sample((2000,)).max()) < 10
    x = torch.zeros(3, 1)
    assert torch.allclose(mixture.log_prob(x), torch.tensor(-0.5 * math.log(2 * math.pi)))
    gradients = torch.autograd.grad(mixture.loss(x).sum(), list(mixture.parameters()))
    assert all(bool(g.isfinite().all()) for g in gradients)


def test_samples_of_a_mixture_have_its_moments():
    mixture = GaussianMixture(normal(3, 2), scale_tril=factors(3, 2), weights=[0.2, 0.3, 0.5])
    torch.manual_seed(0)
    x = mixture.sample((200_000,))
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=F64)
    mean = weights @ normal(3, 2)
    second = factors(3, 2) @ factors(3, 2).mT + normal(3, 2).unsqueeze(-1) * normal(3, 2).unsqueeze(-2)
    covariance = torch.einsum("k,kij->ij", weights, second) - torch.outer(mean, mean)
    assert torch.allclose(x.mean(0), mean, atol=0.02)
    assert torch.allclose(torch.cov(x.T), covariance, atol=0.05)


def test_the_gradient_of_an_elbo_that_excludes_a_component():
    mixture = GaussianMixture([[0.0], [1.0]], learnable=True)
    log_q = torch.tensor([0.0, -torch.inf], requires_grad=True)
    mixture.elbo(torch.zeros(1), log_q).backward()
    assert bool(log_q.grad.isfinite().all())
    assert bool(mixture.theta.loc.grad.isfinite().all())


def test_log_q_of_another_size():
    with pytest.raises(ValueError, match=r"log_q: expected shape \(..., 2\), got \(3,\)"):
        GaussianMixture([[0.0], [1.0]]).elbo(torch.zeros(1), torch.zeros(3))


def mixed():
    mixture = GaussianMixture(normal(2, 1), scale=0.5)
    return Independent([Bernoulli(normal(1)), mixture, Categorical(normal(1, 3))])


def test_a_product_of_discrete_and_continuous_parts_sums_and_integrates_to_one():
    grid = torch.linspace(-9, 9, 4001, dtype=F64)
    flag, level = torch.meshgrid(torch.arange(2.0, dtype=F64), torch.arange(3.0, dtype=F64), indexing="ij")
    total = 0.0
    for b, k in zip(flag.flatten(), level.flatten(), strict=True):
        x = torch.stack([b.expand_as(grid), grid, k.expand_as(grid)], dim=-1)
        total += float(torch.trapezoid(mixed().log_prob(x).exp(), grid))
    assert total == pytest.approx(1, abs=1e-8)


def test_a_product_scores_the_sum_and_knows_its_support():
    density = mixed()
    torch.manual_seed(0)
    x, log_p = density.sample_and_log_prob((50,))
    parts = [part.log_prob(piece) for part, piece in zip(density, x.split(1, dim=-1), strict=True)]
    assert torch.allclose(log_p, sum(parts))
    assert density.support.check(x).tolist() == 50 * [True]
    assert density.support.is_discrete
    assert bool(density.support.check(x[0]))
    outside = x + torch.tensor([0.0, 0.0, 0.5], dtype=F64)
    assert not density.support.check(outside).any()
    assert bool((density.log_prob(outside) == -torch.inf).all())
    assert Independent([Normal([0.0]), Normal([1.0])]).support is constraints.real_vector
    with pytest.raises(ValueError, match="rsample: expected a reparameterized density"):
        density.rsample()


def test_a_network_of_ones_own_gives_the_parameters():
    network = randomize(MLP(2, 4, hidden=(8,))).double()
    density = Normal(torch.zeros(2, dtype=F64), network=network)
    x, c = normal(6, 2), normal(6, 2, seed=1)
    loc, log_scale = network(c).split(2, dim=-1)
    assert torch.allclose(density.log_prob(x, c), D.Normal(loc, log_scale.exp()).log_prob(x).sum(-1))


def test_the_view_works_in_torch_distributions():
    view = Normal(torch.zeros(2), context=3).distribution(torch.ones(4, 3))
    pushed = D.TransformedDistribution(view, [D.transforms.ExpTransform()])
    x = pushed.sample((5,))
    assert x.shape == (5, 4, 2)
    assert torch.allclose(pushed.log_prob(x), view.log_prob(x.log()) - x.log().sum(-1), atol=1e-5)
    assert view.expand((7, 4)).sample().shape == (7, 4, 2)


@pytest.mark.parametrize(
    ("build", "name"), [(Bernoulli, "logits"), (Categorical, "logits"), (lambda x: Uniform(x, [9.0]), "low")]
)
def test_lists_become_the_default_dtype_and_errors_name_the_argument(build, name):
    assert next(build([0.5]).buffers()).dtype == torch.float32
    with pytest.raises(ValueError, match=f"{name}: expected finite numbers"):
        build([math.nan])
    with pytest.raises(ValueError, match=f"{name}: expected at least 1 dimension"):
        build(torch.tensor(0.5))


def test_arrays_numbers_and_shapes_are_read():
    density = Normal(np.array([0, 1]), scale=[1, 2])
    assert density.log_prob(np.zeros((3, 2))).dtype == torch.float32
    assert density.sample(3).shape == (3, 2)
    for value in ("text", None, np.array(["a", "b"]), [[0.0], [1.0, 2.0]]):
        with pytest.raises(ValueError, match="x: expected a tensor or an array of numbers"):
            density.log_prob(value)


class Odd(Density):
    """A correlated normal density in one obvious way; each fault below breaks one promise."""

    def __init__(self, fault=""):
        super().__init__((2,))
        self.fault = fault
        self.loc = torch.nn.Parameter(torch.zeros(2))
        self.reparameterized = fault != "says it has no rsample but has"

    @property
    def support(self):
        ends = {"smaller support": 5.0, "smaller support than samples": 0.1}
        if self.fault not in ends:
            return constraints.real_vector
        return constraints.independent(constraints.interval(-ends[self.fault], ends[self.fault]), 1)

    def _at(self):
        return D.MultivariateNormal(self.loc, torch.tensor([[1.0, 0.7], [0.7, 1.0]]).to(self.loc), validate_args=False)

    def _log_prob(self, x, context):
        value = x.nan_to_num() if self.fault == "hides NaN" else x
        if self.fault == "mixes rows" and x.dim() > 1:
            value = x + 0 * x.flatten(0, -2).sum(dim=0)
        if self.fault == "branches on values" and bool((value > 100).all()):
            value = value * 2
        if self.fault == "fails on an empty batch":
            assert_some = value.flatten(0, -2)[0] if value.dim() > 1 else value
            value = value + 0 * assert_some
        log_p = self._at().log_prob(value)
        if self.fault == "detached":
            log_p = log_p.detach()
        if self.fault == "infinite gradient":
            log_p = log_p + 0 * self.loc.abs().sum().sqrt()
        return log_p + 0.01 if self.fault == "not normalised" else log_p

    def _loss(self, x, context):
        return -2 * self._log_prob(x, context) if self.fault == "another loss" else -self._log_prob(x, context)

    def _sample(self, shape, context):
        x = self._at().rsample(shape)
        if self.fault == "samples too wide":
            return x * 1.15
        if self.fault == "samples of another correlation":
            return x * torch.tensor([1.0, -1.0]).to(x)
        if self.fault == "samples in float32":
            return x.float()
        return x.detach() if self.fault == "rsample without gradients" else x

    def _sample_and_log_prob(self, shape, context):
        x = self._sample(shape, context)
        log_p = self._log_prob(x, context)
        return x, log_p + 0.1 if self.fault == "draws scored wrongly" else log_p


def test_the_suite_accepts_a_density_of_ones_own():
    check_density(Odd())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("not normalised", r"expected a total probability of 1, got 1\.0100"),
        ("samples too wide", "samples against log_prob: expected a share of"),
        ("samples of another correlation", "samples against log_prob: expected a share of"),
        ("draws scored wrongly", "sample_and_log_prob: expected a difference within"),
        ("another loss", "loss against -lower_bound"),
        ("hides NaN", "a NaN at place 0 of x: expected a log_prob of NaN"),
        ("mixes rows", "rows beside one with NaN"),
        ("detached", "log_prob: expected it to depend on some parameter, got none"),
        ("infinite gradient", "log_prob: expected finite gradients"),
        ("smaller support", "log_prob outside the support: expected -inf"),
        ("smaller support than samples", "support: expected all samples within it, got some outside"),
        ("samples in float32", r"sample in float64: expected torch\.float64, got torch\.float32"),
        ("rsample without gradients", "rsample: expected samples that are differentiable"),
        ("branches on values", r"expected torch\.compile\(fullgraph=True\) to take it"),
        ("fails on an empty batch", "samples: expected no error, got IndexError"),
    ],
)
def test_the_suite_finds(fault, message):
    with pytest.raises(AssertionError, match=f"Odd: {message}") as caught:
        check_density(Odd(fault))
    assert "\n" not in str(caught.value)


class OddMixture(Mixture):
    """Two normals; each fault breaks one promise of mixtures."""

    def __init__(self, fault=""):
        super().__init__(2, (1,))
        self.fault = fault
        self.loc = torch.nn.Parameter(torch.tensor([-1.0, 2.0]))

    def _joint_log_prob(self, x, context):
        joint = D.Normal(self.loc, 1.0, validate_args=False).log_prob(x) - math.log(2)
        return joint[..., :1] if self.fault == "misses a component" else joint

    def _joint_loss(self, x, context):
        joint = self._joint_log_prob(x, context)
        return -joint.flip(-1) if self.fault == "trains the other" else -joint

    def _log_prob(self, x, context):
        joint = self._joint_log_prob(x, context)
        return joint.amax(dim=-1) if self.fault == "takes the largest" else torch.logsumexp(joint, dim=-1)

    def _sample(self, shape, context):
        return self.loc[torch.randint(2, (*shape, 1))] + torch.randn(*shape, 1, dtype=self.loc.dtype)


def test_the_suite_accepts_a_mixture_of_ones_own():
    check_density(OddMixture())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("misses a component", r"joint_log_prob: expected shape \(5, 2\), got \(5, 1\)"),
        ("takes the largest", "joint_log_prob summed"),
        ("trains the other", "joint_loss against joint_log_prob"),
    ],
)
def test_the_suite_finds_in_mixtures(fault, message):
    with pytest.raises(AssertionError, match=f"OddMixture: {message}"):
        check_mixture(OddMixture(fault))


def test_a_total_that_a_grid_cannot_tell_is_estimated():
    # so narrow and far apart that every grid point misses both
    spikes = GaussianMixture([[-1.0], [1.0]], scale=1e-5)
    with pytest.raises(AssertionError, match="expected a total probability of 1"):
        check_normalised(spikes)


def test_the_checks_leave_the_generators_alone():
    torch.manual_seed(0)
    wanted = torch.rand(2)
    torch.manual_seed(0)
    check_density(ab.densities.Normal([0.0]))
    assert torch.equal(torch.rand(2), wanted)
    assert torch.get_default_dtype() == torch.float32


def test_the_support_of_a_uniform_moves_with_it():
    box = Uniform([0.0], [1.0]).to("meta")
    assert box.support.base_constraint.lower_bound.device.type == "meta"
    assert Independent([Uniform([0.0], [1.0])]).double().support.supports[0].base_constraint.upper_bound.dtype == F64


def test_the_advice_about_a_dtype_can_be_followed():
    with pytest.raises(ValueError, match=r"convert x with \.to\(torch\.float32\)$"):
        Normal([0.0]).log_prob(torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("scale", lambda other: Normal(torch.zeros(2), scale=other(2))),
        ("scale_tril", lambda other: Normal(torch.zeros(1), scale_tril=other(1, 1))),
        ("weights", lambda other: GaussianMixture(torch.zeros(2, 2), weights=other(2))),
        ("scale_tril", lambda other: GaussianMixture(torch.zeros(2, 1), scale_tril=other(2, 1, 1))),
        ("high", lambda other: Uniform(torch.zeros(2), other(2))),
        ("df", lambda other: StudentT(torch.zeros(2), df=other(2))),
    ],
)
def test_arguments_of_mixed_dtypes(name, build):
    with pytest.raises(ValueError, match=rf"{name}: expected torch\.float32 .* got torch\.float64"):
        build(lambda *shape: torch.ones(*shape, dtype=F64))
    for other in (lambda *shape: torch.ones(*shape, dtype=torch.int64), lambda *shape: np.ones(shape)):
        density = build(other)
        assert {buffer.dtype for buffer in density.buffers()} == {torch.float32}
        assert density.log_prob(density.sample((3,))).dtype == torch.float32


def test_arrays_of_every_kind_are_read():
    density = Normal([0.0, 1.0])
    x = np.random.default_rng(0).normal(size=(4, 2))
    wanted = density.log_prob(torch.from_numpy(x).float())
    for array in (x[::-1], x.astype(">f8"), x.astype(">f4"), x.astype(np.longdouble), x.T.copy().T):
        got = density.log_prob(array)
        assert torch.allclose(got.flip(0) if array.strides[0] < 0 else got, wanted)
    x = np.array(["1", "2"])
    with pytest.raises(ValueError, match="x: expected a tensor or an array of numbers"):
        density.log_prob(x)
    assert Normal(np.zeros(2, dtype=">i2")).log_prob(np.zeros((), dtype=">f4") + np.zeros(2)).dim() == 0


def test_shapes_of_samples():
    density = Normal([0.0, 1.0])
    for shape in (3, np.int64(3), (np.int64(3),), [3], torch.Size([3])):
        assert density.sample(shape).shape == (3, 2)
    for shape in (3.0, (3.0,), "3", None, -1, True):
        with pytest.raises(ValueError, match="shape: expected a whole number of at least 0"):
            density.sample(shape)


def test_marginals_and_conditionals_are_copies():
    mixture = GaussianMixture(normal(3, 3), scale_tril=factors(3, 3), learnable=True)
    values, x = normal(1), normal(5, 2, seed=1)
    derived = [mixture.conditional([0]), mixture.conditional([0], values), mixture.marginal([1, 2])]
    before = [density.log_prob(x, values if density.context_shape else None) for density in derived]
    with torch.no_grad():
        mixture.theta.loc.add_(1.0)
    after = [density.log_prob(x, values if density.context_shape else None) for density in derived]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert {id(p) for p in derived[0].parameters()}.isdisjoint({id(p) for p in mixture.parameters()})


class WithoutTensors(Density):
    """A density that holds no tensor, and one whose first is of whole numbers."""

    reparameterized = False

    def __init__(self, count=None):
        super().__init__((2,))
        if count is not None:
            self.register_buffer("count", torch.tensor(count))
            self.register_buffer("loc", torch.zeros(2))

    def _log_prob(self, x, context):
        return D.StudentT(5.0, validate_args=False).log_prob(x).sum(-1)

    def _sample(self, shape, context):
        x = D.StudentT(5.0).sample((*shape, 2))
        return x.to(self.loc) if hasattr(self, "loc") else x


class Matrices(Density):
    def __init__(self):
        super().__init__((2, 2))
        self.inner = Normal(torch.zeros(4), scale=0.5, learnable=True)

    def _log_prob(self, x, context):
        return self.inner.log_prob(x.flatten(-2))

    def _sample(self, shape, context):
        return self.inner._sample(shape, context).unflatten(-1, (2, 2))


@pytest.mark.parametrize("build", [WithoutTensors, lambda: WithoutTensors(3), Matrices])
def test_the_suite_accepts_densities_of_unusual_make(build):
    check_density(build())


def test_whole_numbers_stay_as_they_are_until_they_are_read():
    images = np.array([[[[0, 255]]], [[[7, 8]]]], dtype=np.uint8)
    density = Categorical(torch.zeros(1, 1, 2, 256), learnable=True)
    assert density.event_dtype == "whole"
    assert Independent([Categorical(torch.zeros(3)), Normal([0.0])]).event_dtype == "floating"
    assert ab.Flow(ab.transforms.Permutation([1, 0]), base=Bernoulli([0.0, 0.0])).event_dtype == "floating"
    rows = read_rows(density, images, None)
    assert rows.x.dtype == torch.uint8
    assert torch.allclose(density.log_prob(images), torch.full((2,), -2 * math.log(256.0)))
    ab.fit(density, images, epochs=1, validation=0, seed=0)


LEVELS = {
    "latent variable": lambda: LatentVariable(
        Normal.standard(1),
        Categorical(torch.zeros(2, 4), context=1, learnable=True),
        Normal(torch.zeros(1), context=2, learnable=True),
    ),
    "mixture": lambda: ab.FlowMixture([four_levels(), four_levels()]),
    "mixture with a posterior": lambda: ab.FlowMixture([four_levels(), four_levels()], posterior=MLP(2, 2)),
    "mixture of one density": lambda: ab.FlowMixture(
        ab.models.Embedded(Categorical(torch.zeros(2, 4), context=3), components=2)
    ),
    "resampled": lambda: Resampled(four_levels(), MLP(2, 1)),
}


def four_levels():
    return Categorical(torch.zeros(2, 4), learnable=True)


@pytest.mark.filterwarnings("ignore::anabranch.densities.symptoms.CollapseWarning")  # few steps teach a guess nothing
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LEVELS)
def test_whole_numbers_stay_as_they_are_until_a_part_or_a_network_reads_them(name, dtype):
    density = LEVELS[name]().to(dtype)
    x = torch.tensor([[0, 3], [2, 1], [1, 1]], dtype=torch.uint8)
    assert density.event_dtype == "whole"
    assert read_rows(density, x, None).x.dtype == torch.uint8
    assert density.eval().lower_bound(x, generator=0).equal(density.lower_bound(x.to(dtype), generator=0))
    ab.fit(density, x, epochs=1, validation=0, seed=0)


def test_what_starts_and_trains_a_mixture_takes_whole_numbers():
    density = ab.FlowMixture([four_levels(), four_levels()], posterior=MLP(2, 2))
    x = torch.tensor([[0, 3], [0, 3], [2, 1], [3, 1]] * 3, dtype=torch.uint8)
    assert ab.start_from(density, x, "k-means", seed=0).unique().tolist() == [0, 1]
    for objective in (ab.objectives.Annihilation(), ab.objectives.Consistency("neighbours")):
        ab.fit(density, x, objective=ab.objectives.Likelihood() + objective, epochs=8, validation=0, seed=0)
    with pytest.raises(ValueError, match="change: expected 'neighbours' or a function for a density of whole numbers"):
        ab.fit(density, x, objective=ab.objectives.Consistency(0.1), epochs=1, validation=0)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[0, 3], [5, 2]], dtype=np.int16), "x: expected whole numbers from 0 to 3, got 5 in row 1, column 0"),
        (
            np.array([[0, 3], [5, 9]], dtype=np.uint16),
            "x: expected whole numbers from 0 to 3, got 5 in row 1, column 0; numbers up to 9 need 10 levels",
        ),
        (np.array([[0, 3], [-1, 2]]), "x: expected whole numbers from 0 to 3, got -1 in row 1, column 0"),
        (torch.tensor([[0.0, 0.5]]), "x: expected whole numbers from 0 to 3, got 0.5 in row 0, column 1"),
    ],
)
def test_a_fit_refuses_what_is_no_level(x, message):
    with pytest.raises(ValueError, match=message):
        ab.fit(Categorical(torch.zeros(2, 4), learnable=True), x, epochs=1, validation=0)


IMPOSSIBLE = LEVELS | {
    "ensemble": lambda: ab.Ensemble([four_levels(), Categorical(torch.zeros(2, 2))]),
    "mixture with a trunk": lambda: ab.FlowMixture([four_levels()] * 2, trunk=ab.transforms.Permutation([1, 0])),
    "flow that rearranges": lambda: ab.Flow(ab.transforms.Permutation([1, 0]), base=four_levels()),
    "depth mixture that rearranges": lambda: ab.DepthMixture(
        ab.transforms.Chain([ab.transforms.Permutation([1, 0])] * 2), four_levels()
    ),
    "branches that rearrange": lambda: ab.PiecewiseFlow([ab.transforms.Permutation([1, 0])] * 2, four_levels()),
    "other numbers beside": lambda: Independent([Normal([0.0]), Categorical(torch.zeros(4), learnable=True)]),
    "levels of other counts": lambda: ab.Flow(
        ab.transforms.Permutation([1, 0]), Independent([Categorical(torch.zeros(4), learnable=True), Bernoulli([0.0])])
    ),
    "reordered": lambda: Reordered(
        Independent([Categorical(torch.zeros(4), learnable=True), Uniform([0.0], [9.0])]), [1, 0]
    ),
}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_fit_names_what_no_composite_of_levels_can_be(name, dtype):
    x = torch.tensor([[1, 3], [1, 7]]).to(dtype)
    with pytest.raises(ValueError, match="x: expected whole numbers from 0 to 3, got 7 in row 1, column 1"):
        ab.fit(IMPOSSIBLE[name](), x, epochs=1, validation=0)


def test_a_byte_is_no_level_too_high_where_there_are_more_levels_than_bytes():
    read_rows(Categorical(torch.zeros(1, 300)), torch.tensor([[0], [200], [255]], dtype=torch.uint8), None)


def test_a_fit_names_the_row_that_no_part_of_a_mixture_of_levels_can_be():
    parts = [Independent([Categorical(torch.zeros(m)), Categorical(torch.zeros(n))]) for m, n in ((2, 4), (4, 2))]
    for density in (ab.Ensemble(parts), ab.Flow(ab.transforms.Permutation([1, 0]), ab.Ensemble(parts))):
        read_rows(density, torch.tensor([[1, 3], [3, 1]]), None)
        with pytest.raises(ValueError, match="x: expected whole numbers that the density can be, got others in row 1"):
            read_rows(density, torch.tensor([[1, 3], [3, 3]]), None)


def test_a_scale_near_0_has_a_finite_density_at_its_mean():
    density = Normal([1e4, -3.0], learnable=True)
    with torch.no_grad():
        density.theta.log_scale.fill_(-160.0)
    log_p = density.log_prob(torch.tensor([1e4, -3.0]))
    assert abs(float(log_p.detach()) - 320 + math.log(2 * math.pi)) < 1e-3
    log_p.backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in density.parameters())
