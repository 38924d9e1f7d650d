"""Diffusions against cases whose truth is known: normal data, linear networks, levels by quadrature."""

import math
from itertools import pairwise

import pytest
import torch

import anabranch as ab
import anabranch.images
from anabranch.densities import Categorical, GaussianMixture, Normal
from anabranch.densities.log_weights import log_mean_weight
from anabranch.families import Levels, Logistics
from anabranch.models import (
    CosineSchedule,
    Diffusion,
    EarlierStarts,
    Factorized,
    LatentDepthMixture,
    LinearSchedule,
    MonotoneSchedule,
)
from anabranch.models.denoising import signal_and_noise
from anabranch.models.denoising_steps import earlier
from anabranch.networks import MLP, LevelPlaces, LevelScores, VelocityMLP
from anabranch.testing import diffusion_marginal, linear_diffusion, randomize
from anabranch.testing.linear_diffusion import ExactDenoiser, diffusion_depths
from anabranch.transforms import ActNorm, Adaptive, Fixed

MEAN, COVARIANCE = torch.tensor([0.3, -0.5]), torch.tensor([[0.8, 0.3], [0.3, 0.4]])


def exact(steps=250, low=-10.0, high=8.0, **more):
    """A diffusion of normal data whose network is the true one, in float64."""
    denoiser = ExactDenoiser(MEAN, COVARIANCE, low, high)
    return Diffusion(denoiser, schedule=LinearSchedule(low, high), predicts="noise", steps=steps, **more).double()


def blurred(low=-10.0):
    """The data's density with the last level of noise."""
    covariance = COVARIANCE.double() + math.exp(low) * torch.eye(2, dtype=torch.float64)
    return Normal(MEAN.double(), scale_tril=torch.linalg.cholesky(covariance)).double()


def small(features=2, **more):
    with ab.drawing(0):
        return randomize(Diffusion(VelocityMLP(features, hidden=(8,)), schedule=LinearSchedule(-2.0, 3.0), **more))


def test_a_chain_of_other_steps_keeps_the_dtype_of_the_model():
    model = small().double()
    for other in (model.at_steps(4), model.from_depth(0.5, model.prior)):
        assert other.sample((3,), generator=0).dtype == other.flow().sample((3,), generator=0).dtype == torch.float64
        assert other.estimate(torch.zeros(2, 2, dtype=torch.float64), samples=2)[0].dtype == torch.float64


def mean_and_error(draws):
    return draws.mean(dim=0), draws.std(dim=0) / len(draws) ** 0.5


@pytest.mark.parametrize("schedule", [LinearSchedule, CosineSchedule, MonotoneSchedule])
def test_a_schedule_rises_between_its_ends_at_the_rate_that_it_names(schedule):
    made = randomize(schedule(-8.0, 4.0), 0.1).double()
    time = torch.linspace(0, 1, 200, dtype=torch.float64, requires_grad=True)
    gamma = made.ends()[0] + (made.ends()[1] - made.ends()[0]) * made.inside(time)[0]
    assert torch.allclose(torch.stack([gamma[0], gamma[-1]]), torch.stack(made.ends()), atol=1e-9)
    (rate,) = torch.autograd.grad(gamma.sum(), time)
    assert torch.allclose(made(time)[1], rate, rtol=1e-6)
    assert bool((rate > 0).all())


def test_steering_is_the_gradient_of_the_mean_square():
    """Against autodiff of the integral of e^2 / r over gamma, by quadrature."""
    schedule = MonotoneSchedule(-3.0, 2.0, hidden=4).double()
    time = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000

    def size(gamma):
        return 1 + gamma.square()

    inside = [schedule.centre, schedule.log_steepness, schedule.weight]
    n, rate = schedule.inside(time)
    losses = size(-3 + 5 * n) * 5 * rate
    wanted = torch.autograd.grad(losses.square().mean(), inside)
    gamma, rate = schedule(time)
    losses = size(gamma) * rate
    steered = schedule.steered(time, losses)
    assert float(steered.detach().abs().max()) == 0
    got = torch.autograd.grad(steered.mean() * losses.detach().square().mean(), inside)
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_fit_lowers_the_scatter_of_the_loss_by_the_inside_of_the_schedule():
    schedule = MonotoneSchedule(-10.0, 8.0, learnable=False)
    denoiser = ExactDenoiser(MEAN, COVARIANCE, -10.0, 8.0)
    model = Diffusion(denoiser, schedule=schedule, predicts="noise")
    x = Normal(MEAN, scale_tril=torch.linalg.cholesky(COVARIANCE)).sample((400,), generator=0)

    def scatter():
        bounds = model.continuous_bound(x.expand(20, *x.shape), generator=1)
        return float(bounds.mean()), float(bounds.std(dim=0).mean())

    before = scatter()
    ab.fit(model, x, epochs=8, learning_rate=0.05, batch_size=100, validation=0, seed=0, progress=False, compile=False)
    after = scatter()
    assert after[1] < 0.93 * before[1]
    assert abs(after[0] - before[0]) < 0.05


@pytest.mark.parametrize("predicts", ["noise", "velocity"])
def test_bound_and_estimate_of_a_linear_chain_agree_with_its_density(predicts):
    model = randomize(linear_diffusion(steps=5), 0.2).double()
    model = Diffusion(model.denoiser, schedule=LinearSchedule(-1.0, 1.5), predicts=predicts, steps=5).double()
    x = model.sample((4,), generator=0)
    known = diffusion_marginal(model).log_prob(x)
    value, error = model.estimate(x, samples=20_000, generator=0)
    assert bool(((value - known).abs() < 5 * error + error.square()).all())
    assert float(error.max()) < 0.2
    bound, error = mean_and_error(model.lower_bound(x.expand(4000, 4, 2), generator=0).detach())
    assert bool((bound < known + 5 * error).all())


def test_one_step_of_the_bound_is_the_mean_log_weight_of_the_chain():
    model = small(steps=4).double()
    x = model.sample((3,), generator=0).expand(20_000, 3, 2)
    with torch.no_grad(), ab.drawing(1):
        (one, one_error), (chain, chain_error) = (
            mean_and_error(score(x, None)) for score in (model._lower_bound, model._log_weight)
        )
    assert bool(((one - chain).abs() < 5 * (one_error.square() + chain_error.square()).sqrt()).all())


def test_bounds_of_more_steps_rise_to_the_bound_in_continuous_time():
    model = exact()
    x = blurred().sample((3,), generator=0).expand(4000, 3, 2)
    few, many = (model.at_steps(n).lower_bound(x, generator=0).mean(dim=0) for n in (10, 2000))
    limit, error = mean_and_error(model.continuous_bound(x, generator=0))
    assert bool((few < many).all())
    assert bool(((many - limit).abs() < 5 * error + 0.02).all())
    # where the network knows the noise, the bound is log p itself up to the noise that the prior and decoder leave
    assert bool(((limit - blurred().log_prob(x[0])).abs() < 5 * error + 0.02).all())


def test_the_flow_of_the_exact_network_has_the_density_of_the_data():
    x = blurred().sample((20,), generator=0)
    flow = exact(high=20.0).flow(solver=Adaptive(1e-8))
    assert float((flow.log_prob(x) - blurred().log_prob(x)).abs().max()) < 2e-4
    estimated = exact(high=20.0).flow(trace="hutchinson", solver=Adaptive(1e-6))
    assert estimated.likelihood == "estimate"


def test_the_flow_shares_the_parameters():
    model = small()
    flow = model.flow()
    x = torch.zeros(1, 2)
    before = flow.log_prob(x)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            parameter.add_(0.1)
    assert float((flow.log_prob(x) - before).detach().abs()) > 1e-3


def test_levels_by_quadrature():
    """p(x) of a chain of two steps over one number: the integral over all z on a grid."""
    with ab.drawing(0):
        model = Diffusion(
            VelocityMLP(1, hidden=(8,)),
            Factorized(Levels(2), (1,), LevelScores(1, 2, scale=0.6)),
            LevelPlaces(1, 2),
            LinearSchedule(-1.0, 1.5),
            steps=2,
        )
    model = randomize(model, 0.3).double()
    z = torch.linspace(-8, 8, 1601, dtype=torch.float64).unsqueeze(-1)
    width = float(z[1] - z[0])
    with torch.no_grad():
        log_p = Normal.standard(1).double().log_prob(z)
        levels = model._levels()
        for gamma, before in pairwise(levels):
            # the mean and the deviation of a step, off the step itself
            noise = model._noise(z, gamma, None)
            with ab.drawing(0):
                drawn = earlier(z, noise, before, gamma)
            (_, sigma), share = signal_and_noise(before), -(before - gamma).expm1()
            deviation = sigma * share.sqrt()
            mean = drawn[0] - deviation * drawn[1]
            step = -0.5 * ((z.T - mean) / deviation).square() - deviation.log() - 0.5 * math.log(2 * math.pi)
            log_p = torch.logsumexp(log_p.unsqueeze(-1) + step, dim=0) + math.log(width)
        u = z / signal_and_noise(levels[-1])[0]
        x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        each = torch.stack([model.decoder.log_prob(value.expand(len(z), 1), u) for value in x])
        known = torch.logsumexp(log_p + each, dim=-1) + math.log(width)
    assert abs(float(known.exp().sum()) - 1) < 1e-6
    value, error = model.estimate(x, samples=20_000, generator=0)
    assert bool(((value - known).abs() < 5 * error).all())
    assert float(error.max()) < 0.05
    bound, error = mean_and_error(model.lower_bound(x.expand(20_000, 2, 1), generator=0).detach())
    assert bool((bound < known + 5 * error).all())


def test_steps_without_noise_come_to_the_solution_the_faster_the_higher_their_order():
    """The solution carries normal noise to normal data: its covariance is known."""
    model = exact(high=8.0)
    with torch.no_grad():
        errors, fine = {}, model.draw((2000,), steps=200, generator=0)
        for order in (1, 2):
            for steps in (20, 40):
                x = model.draw((2000,), steps=steps, order=order, generator=0)
                errors[order, steps] = float((x - fine).square().mean().sqrt())
    assert errors[2, 20] < errors[1, 20] / 2
    assert errors[2, 40] < errors[2, 20] / 3
    assert float((fine.T.cov() - COVARIANCE).abs().max()) < 0.1


def test_chains_of_random_steps_have_the_moments_of_the_chain():
    model = exact(steps=30)
    x, known = model.sample((4000,), generator=0), diffusion_marginal(model)._moments(None)
    assert float((x.T.cov() - known.covariance).abs().max()) < 0.06
    assert float((x.mean(dim=0) - known.mean).abs().max()) < 0.06


def test_a_mixture_from_depth_has_the_likelihood_of_its_chains():
    """Two chains over one network, one that begins at an earlier level with a prior of its own: exact, since normal."""
    whole = randomize(linear_diffusion(steps=4), 0.2)
    prior = Normal([0.5, -0.2], scale=0.9, learnable=True)
    early = whole.from_depth(0.5, prior)
    mixture = ab.FlowMixture([whole, early], weights=[0.4, 0.6], posterior=MLP(2, 2, hidden=(4,))).double()
    assert early.steps == 2
    x = mixture.sample((3,), generator=0)
    known = torch.logsumexp(
        torch.stack(
            [
                math.log(0.4) + diffusion_marginal(whole).log_prob(x),
                math.log(0.6) + diffusion_marginal(early).log_prob(x),
            ]
        ),
        dim=0,
    )
    value, error = mixture.estimate(x, samples=20_000, generator=0)
    assert bool(((value - known).abs() < 5 * error + error.square()).all())
    bound, error = mean_and_error(mixture.lower_bound(x.expand(4000, 3, 2), generator=0).detach())
    assert bool((bound < known + 5 * error).all())
    # the network is in it once
    names = [name for name, _ in mixture.named_parameters() if "denoiser" in name]
    assert len(names) == len(list(whole.denoiser.parameters()))


def test_a_fit_learns_two_points_and_their_levels():
    with ab.drawing(0):
        model = Diffusion(
            VelocityMLP(2, hidden=(32, 32)),
            Factorized(Levels(3), (2,), LevelScores(2, 3, scale=0.3)),
            LevelPlaces(2, 3),
            MonotoneSchedule(-3.0, 4.0),
            steps=20,
        )
    x = torch.tensor([[0, 2], [2, 0]], dtype=torch.uint8).repeat(100, 1)
    ab.fit(
        model, x, epochs=100, learning_rate=1e-2, batch_size=100, validation=0, seed=0, progress=False, compile=False
    )
    model.eval()
    value, _ = model.estimate(x[:2], samples=100, generator=0)
    assert bool((value > math.log(0.5) - 0.25).all())
    assert float(value.exp().sum()) < 1.1
    drawn = model.draw((200,), steps=10, generator=0)
    assert float((drawn.sum(dim=1) == 2).float().mean()) > 0.9


def test_x_that_is_no_level_is_impossible_and_nan_is_a_row_of_its_own():
    model = Diffusion(
        VelocityMLP(2, hidden=(8,)),
        Factorized(Levels(3), (2,), LevelScores(2, 3, scale=0.3)),
        LevelPlaces(2, 3),
        steps=4,
    )
    bound = model.lower_bound(torch.tensor([[0.0, 2.0], [0.0, 3.0], [0.25, 0.5], [math.nan, 0.0]]), generator=0)
    assert bool(bound[0].isfinite())
    assert bool(bound[1:3].isneginf().all())
    assert bool(bound[3].isnan())
    with pytest.raises(ValueError, match=r"expected whole numbers from 0 to 2.*\(x \* 2\)"):
        ab.fit(model, torch.rand(10, 2), epochs=1, progress=False)


def test_what_does_not_fit_is_refused_in_a_line():
    network = VelocityMLP(2, hidden=(8,))
    refused = {
        "steps: expected": lambda: Diffusion(network, steps=0),
        "steps: expected a whole": lambda: small().at_steps(0),
        "steps": lambda: small().draw((2,), steps=0),
        "order": lambda: small().draw((2,), order=3),
        "depth": lambda: Diffusion(network, depth=0.0),
        "depth: expected": lambda: small().from_depth(1.5, Normal.standard(2)),
        "denoiser: expected a network whose outputs": lambda: Diffusion(MLP(2, 3, 1)),
        "denoiser: expected a network whose context": lambda: Diffusion(MLP(2, 2)),
        "decoder": lambda: Diffusion(network, Categorical(torch.zeros(2, 3))),
        "embedding: expected a network from x": lambda: Diffusion(
            network, Factorized(Levels(3), (4,), MLP(2, 12, hidden=()))
        ),
        "prior: expected": lambda: Diffusion(network, prior=Normal.standard(3)),
        "prior: expected a context": lambda: Diffusion(network, prior=Normal(torch.zeros(2), context=3)),
        "low, high": lambda: LinearSchedule(3.0, -3.0),
        "context: expected None": lambda: small().lower_bound(torch.zeros(1, 2), torch.zeros(1, 1)),
        "x: expected numbers of a mean square": lambda: ab.fit(
            small(), 1e4 * torch.randn(50, 2), epochs=1, progress=False
        ),
        "log_prob: expected": lambda: small().log_prob(torch.zeros(1, 2)),
    }
    for words, call in refused.items():
        with pytest.raises(ValueError, match=words):
            call()


def test_a_prior_is_started_on_noisy_data():
    model = small(prior=GaussianMixture(torch.zeros(2, 2), learnable=True), depth=0.5)
    model.initialize(torch.randn(100, 2))
    assert model.lower_bound(torch.zeros(3, 2)).shape == (3,)


RECIPES = {
    "vectors": (lambda: ab.diffusions.vectors(2, context=3, hidden=8, blocks=1, steps=3), (4, 2), 3),
    "images": (
        lambda: ab.diffusions.images((1, 4, 4), 5, context=3, hidden=4, blocks=1, powers=(1,), steps=3),
        (4, 1, 4, 4),
        3,
    ),
    "images by an MLP": (
        lambda: ab.diffusions.images((1, 4, 4), 5, network="mlp", hidden=8, blocks=1, steps=3),
        (4, 1, 4, 4),
        0,
    ),
    "rows": (lambda: ab.diffusions.rows([Logistics(2), Levels(3), Levels(4)], hidden=8, blocks=1, steps=3), (4, 3), 0),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_what_can_be_fitted_and_kept(name, tmp_path):
    build, shape, context = RECIPES[name]
    with ab.drawing(0):
        model = build()
        c = torch.randn(len(x := model.sample((4,), torch.zeros(context) if context else None)), context)
    c = c if context else None
    assert x.shape == shape
    ab.fit(model, x, context=c, epochs=1, validation=0, seed=0, progress=False, compile=False)
    model.eval()
    assert bool(model.lower_bound(x, c, generator=0).isfinite().all())
    assert model.draw((2,), None if c is None else c[0], steps=2, generator=0).shape == (2, *shape[1:])
    ab.save(model, tmp_path / "model.safetensors")
    again = ab.load(tmp_path / "model.safetensors")
    assert torch.equal(again.lower_bound(x, c, generator=0), model.lower_bound(x, c, generator=0))
    flow = model.flow(solver=Fixed(steps=2))
    ab.save(flow, tmp_path / "flow.safetensors")
    z = torch.zeros(1, *model.denoiser.in_shape)
    some = None if c is None else c[:1]
    assert torch.equal(ab.load(tmp_path / "flow.safetensors").log_prob(z, some), flow.log_prob(z, some))


def test_a_mixture_from_depth_is_kept_with_one_network(tmp_path):
    model = small()
    mixture = ab.FlowMixture([model, model.from_depth(0.5, GaussianMixture([[0.0, 0.0]], learnable=True))])
    ab.save(mixture, tmp_path / "mixture.safetensors")
    again, x = ab.load(tmp_path / "mixture.safetensors"), torch.zeros(2, 2)
    assert torch.equal(again.lower_bound(x, generator=0), mixture.lower_bound(x, generator=0))
    assert len(list(again.parameters())) == len(list(mixture.parameters()))


def test_bits_of_images_are_those_of_the_estimate():
    with ab.drawing(0):
        model = ab.diffusions.images((1, 2, 2), 3, network="mlp", hidden=8, blocks=1, steps=3)
    x = torch.randint(3, (3, 1, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    bits, _ = ab.images.bits_per_dimension(model, x, samples=50, generator=0)
    value, _ = model.eval().estimate(x, samples=50, generator=0)
    assert torch.allclose(torch.tensor(bits).float(), -value / (4 * math.log(2)), atol=1e-5)


def test_a_flow_scales_what_a_diffusion_reads():
    """Rows far from deviation 1, behind a layer that scales them: the bound is that of the scaled rows and their log-det."""
    layer, model = ActNorm(2), small()
    flow = ab.Flow(layer, base=model)
    x = 1e3 + 200 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    flow.initialize(x)
    z, log_det = layer(x)
    assert torch.allclose(flow.lower_bound(x, generator=0), model.lower_bound(z, generator=0) + log_det, atol=1e-4)


def test_depths_of_a_diffusion_have_the_bounds_and_weights_of_its_chains():
    """Of one pass and one walk, against each chain by itself, and against its density."""
    model = randomize(linear_diffusion(steps=4), 0.2)
    depths = EarlierStarts(model, [1, 3], [Normal([0.5, -0.2], scale=0.9), Normal.standard(2)]).double()
    mixture = LatentDepthMixture(depths, posterior=MLP(2, 3, hidden=(4,))).double()
    assert [chain.steps for chain in depths.chains] == [1, 3, 4]
    x = mixture.sample((2,), generator=0)
    with torch.no_grad(), ab.drawing(0):
        many = x.expand(20_000, 2, 2)
        weights = depths.log_weights(many, None)
        for k, (chain, terms) in enumerate(zip(depths.chains, depths.terms(many, None), strict=True)):
            known = diffusion_marginal(chain).log_prob(x)
            value, error = log_mean_weight(weights[..., k])
            assert bool(((value - known).abs() < 5 * error + error.square()).all())
            assert float(error.max()) < 0.1
            (one, one_error), (other, other_error) = (
                mean_and_error(bound) for bound in (terms.bound(), chain.lower_bound(many))
            )
            assert bool(((one - other).abs() < 5 * (one_error.square() + other_error.square()).sqrt()).all())
    value, error = mixture.estimate(x, samples=20_000, generator=0)
    known = diffusion_depths(mixture).log_prob(x)
    assert bool(((value - known).abs() < 5 * error + error.square()).all())
    with pytest.raises(ValueError, match="steps: expected increasing"):
        EarlierStarts(model, [3, 1], [Normal.standard(2)] * 2)
    with pytest.raises(ValueError, match="priors: expected 1"):
        EarlierStarts(model, [3], [])
