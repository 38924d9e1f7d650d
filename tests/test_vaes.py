"""Variational autoencoders: recipes, priors that share the posterior, decoders, what a fit says of them."""

import copy
import math
import warnings
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import anabranch as ab
from anabranch import vaes
from anabranch.densities import CollapseWarning, FloorWarning, Normal
from anabranch.families import Bernoulli, DiscretizedLogistics, Gaussians, Levels, Logistics, SeparateChannels
from anabranch.models import VAE, Factorized, LatentVariable, Marginals, VampPrior
from anabranch.networks import MLP
from anabranch.objectives import LowerBound
from anabranch.objectives.objective import Batch
from anabranch.testing import linear_gaussian, randomize
from anabranch.vaes import posteriors, priors, vae

PRIORS = [*priors.NAMED, "vamp"]


def digits(count=40, shape=(2, 2), levels=4, seed=0):
    return torch.randint(levels, (count, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def small(prior="normal", posterior="diagonal", family=None, shape=(2, 2), **more):
    return vae(shape, family or Levels(4), 2, prior, posterior, hidden=(8, 8), **more)


def test_the_fields_name_is_the_same_class():
    assert VAE is LatentVariable and ab.VAE is ab.LatentVariable


@pytest.mark.parametrize("prior", PRIORS)
def test_every_prior_learns_with_the_model_and_comes_back_from_a_file(prior, tmp_path):
    torch.manual_seed(0)
    model, x = small(prior), digits()
    before = {name: p.clone() for name, p in model.prior.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        ab.fit(model, x, epochs=2, validation=0, seed=0, progress=False, compile=False)
    after = dict(model.prior.named_parameters())
    assert prior == "normal" or any(not torch.equal(p, after[name]) for name, p in before.items())
    ab.save(model, tmp_path / "vae.safetensors")
    again = ab.load(tmp_path / "vae.safetensors")
    assert torch.equal(model.eval().lower_bound(x, generator=0), again.eval().lower_bound(x, generator=0))


@pytest.mark.parametrize("posterior", list(posteriors.NAMED))
def test_every_posterior_scores_what_it_draws_and_can_be_trained(posterior):
    torch.manual_seed(0)
    model, x = randomize(small(posterior=posterior), 0.1), digits()
    encoded = x.float()
    z, log_q = model.posterior.sample_and_log_prob(context=encoded)
    assert torch.allclose(model.posterior.log_prob(z, encoded), log_q, atol=1e-3)
    (-model.lower_bound(x, generator=0).mean()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.posterior.parameters())


def test_what_the_posteriors_cost():
    assert (
        posteriors.iaf(3, 4).transform.inversion == "closed" and posteriors.radial(3, 4).transform.scoring == "closed"
    )
    assert posteriors.planar(3, 4).transform.inversion == "closed"
    covariance = posteriors.full(3, 4)._moments(torch.ones(4)).covariance
    assert not torch.equal(covariance, torch.diag(covariance.diagonal()))


def test_a_recipe_takes_any_density_or_a_function_of_the_posterior():
    given = Normal(torch.zeros(2), context=4, learnable=True)
    model = vae((2, 2), Bernoulli(), 2, Normal([0.0, 1.0]), given)
    assert model.posterior is given and model.prior.theta.loc.tolist() == [0.0, 1.0]
    made = small(lambda q: priors.vamp(q, 7), lambda latent, features: posteriors.iaf(latent, features, blocks=1))
    assert made.prior.posterior is made.posterior and made.prior.components == 7
    with pytest.raises(ValueError, match=r"prior: expected one of .*'vamp'"):
        small("best")
    with pytest.raises(ValueError, match=r"posterior: expected one of .*'iaf'"):
        small(posterior="best")
    with pytest.raises(ValueError, match=r"event_shape: expected \(1,\), a column for each family, got \(2,\)"):
        small(shape=(2,), family=[Levels(2)])
    with pytest.raises(ValueError, match=r"event_shape: expected .* for convolutions"):
        vae((4, 4), Bernoulli(), channels=(4,))


@pytest.mark.parametrize(
    ("family", "shape", "more"),
    [
        (Bernoulli(), (4,), {}),
        (DiscretizedLogistics(4, 2), (1, 2, 2), {"channels": (4, 4)}),
        (SeparateChannels(Levels(4), 3), (3, 2, 2), {"channels": (4, 4)}),
        (SeparateChannels(Levels(4), 3), (3, 2, 2), {}),
        (Gaussians(1, floor=0.1), (3,), {}),
        ([Logistics(2), Levels(3), Gaussians(1)], (3,), {}),
    ],
)
def test_decoders_of_every_kind_of_number(family, shape, more):
    torch.manual_seed(0)
    model = small(shape=shape, family=family, **more)
    x = model.sample((6,), generator=0)
    model.initialize(x)
    assert x.shape == (6, *shape) and bool(model.lower_bound(x, generator=0).isfinite().all())


# VampPrior


def test_a_vamp_prior_is_the_mean_of_the_posterior_at_its_pseudo_inputs():
    prior = VampPrior(randomize(Normal(torch.zeros(2), context=3), 0.5), 4)
    posterior = prior.posterior
    z = torch.randn(5, 2)
    inputs = prior.pseudo_inputs()
    assert inputs.shape == (4, 3)
    wanted = torch.stack([posterior.log_prob(z, u) for u in inputs]).logsumexp(0) - math.log(4)
    assert torch.allclose(prior.log_prob(z), wanted, atol=1e-6)
    with pytest.raises(
        ValueError, match=r"posterior: expected a density with a context .* got a Normal without a context"
    ):
        VampPrior(Normal([0.0]))
    with pytest.raises(ValueError, match=r"posterior: .* got a LatentVariable of which less is known"):
        VampPrior(linear_gaussian(context=2))


def test_pseudo_inputs_start_at_rows_of_whole_numbers_and_are_trained():
    torch.manual_seed(0)
    model, x = small("vamp"), digits(200)
    model.initialize(x)
    rows = {tuple(row.flatten().tolist()) for row in x.float()}
    inputs = model.prior.pseudo_inputs()
    assert inputs.is_floating_point() and {tuple(u.flatten().round(decimals=4).tolist()) for u in inputs} <= rows
    model.initialize(x.flip(0))
    assert torch.equal(model.prior.pseudo_inputs(), inputs)
    (-model.lower_bound(x, generator=0).mean()).backward()
    assert float(model.prior.pseudo_inputs.values.grad.abs().sum()) > 0
    few = VampPrior(Normal(torch.zeros(1), context=2), 5)
    few.pseudo_inputs.start(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert len(few.pseudo_inputs().detach().unique(dim=0)) == 5


def test_prior_and_posterior_stay_one_in_a_file_and_in_a_copy(tmp_path):
    model = small("vamp")
    ab.save(model, tmp_path / "vamp.safetensors")
    for again in (ab.load(tmp_path / "vamp.safetensors"), copy.deepcopy(model)):
        assert again.prior.posterior is again.posterior and again.posterior is not model.posterior
    count = sum(p.numel() for p in model.parameters())
    assert count == sum(p.numel() for p in again.parameters())


# a floor under scales


def test_without_a_floor_the_likelihood_has_no_bound_and_with_one_it_has():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, x[:, :1]], dim=1)  # the third column tells the first
    tight = LatentVariable(
        Normal.standard(3),
        Normal(torch.zeros(3), network=_Tight(-9.0)),
        Normal(torch.zeros(3), network=_Tight(-9.0)),
    )
    tighter = LatentVariable(
        Normal.standard(3),
        Normal(torch.zeros(3), network=_Tight(-18.0)),
        Normal(torch.zeros(3), network=_Tight(-9.0)),
    )
    # x itself for z: of three columns, two of which vary, the likelihood of the narrower decoder is higher at the means
    means = [model.decoder.log_prob(x.double(), x.double()).mean() for model in (tight.double(), tighter.double())]
    assert float(means[1] - means[0]) == pytest.approx(27.0, abs=1e-3)
    family = Gaussians(1, floor=0.1)
    theta = torch.tensor([[0.0, 0.0, -50.0], [0.0, 0.0, 3.0]])
    most = -math.log(0.1 * math.sqrt(2 * math.pi))
    assert family.log_prob(torch.zeros(2), theta)[0] == pytest.approx(most, abs=1e-4)
    assert family.floored(theta).tolist() == [True, False]
    start = family.start(torch.tensor([1.0, 1.0, 1.0]))
    assert 0.1 < float(family.variance(start).sqrt()) < 0.2
    spread = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert float(family.variance(family.start(spread)).sqrt()) == pytest.approx(float(spread.std()), rel=1e-2)


class _Tight(ab.networks.Network):
    """z or x itself for the mean, and one log-scale."""

    def __init__(self, log_scale):
        super().__init__(3, 6)
        self.log_scale = log_scale

    def forward(self, x, context=None):
        return torch.cat([x, torch.full_like(x, self.log_scale)], dim=-1)


def test_a_fit_that_runs_to_its_floor_warns():
    torch.manual_seed(0)
    x = torch.randn(200, 1).expand(200, 2) * torch.tensor([1.0, 0.0])  # one column that does not vary
    decoder = Factorized(Gaussians(1, floor=0.05), 2, MLP(1, 6, hidden=(8,)))
    model = LatentVariable(Normal.standard(1), decoder, Normal(torch.zeros(1), context=2, learnable=True))
    options = {
        "epochs": 60,
        "validation": 0,
        "batch_size": 100,
        "learning_rate": 3e-2,
        "progress": False,
        "compile": False,
    }
    # z is of no use either
    with (
        pytest.warns(CollapseWarning),
        pytest.warns(FloorWarning, match=r"come to the floor under it.* family's floor"),
    ):
        ab.fit(model, x, seed=0, **options)
    fine = Factorized(Gaussians(1, floor=0.05), 1, MLP(1, 3, hidden=(8,)))
    assert fine.symptoms(x[:, :1], torch.zeros(200, 1)) == []


# collapse


def test_a_collapsed_model_warns_and_another_does_not():
    torch.manual_seed(0)
    x = torch.randn(300, 2)
    model = linear_gaussian()
    assert model.symptoms(x) == []
    with torch.no_grad():
        model.posterior.theta.network.slope.zero_()
        model.decoder.theta.network.slope.zero_()
    assert [type(symptom) for symptom in model.symptoms(x)] == [CollapseWarning]
    with pytest.warns(CollapseWarning, match="x explains less than 1% of the variance of every number of z"):
        ab.fit(model, x, epochs=1, validation=0, learning_rate=1e-6, seed=0, progress=False, compile=False)


# columns of a context


def test_columns_of_a_context_are_those_of_each_family():
    torch.manual_seed(0)
    network = MLP(2, 6 + 3, hidden=(8,))
    density = Marginals([Logistics(2), Levels(3)], network)
    x = torch.tensor([[0.5, 2.0], [-1.0, 0.0]])
    density.initialize(x)
    theta = density.theta.detach().clone()
    density.initialize(x + 1)
    assert torch.equal(density.theta, theta)
    context = torch.randn(4, 1, 2)
    given = density.log_prob(x, context)
    each = density.theta + network(context)
    wanted = Logistics(2).log_prob(x[:, 0], each[..., :6]) + Levels(3).log_prob(x[:, 1], each[..., 6:])
    assert given.shape == (4, 2) and torch.allclose(given, wanted, atol=1e-6)
    assert density.sample((5,), context).shape == (5, 4, 1, 2)
    with pytest.raises(ValueError, match="network: expected 9 outputs, the parameters of 2 columns, got 8"):
        Marginals([Logistics(2), Levels(3)], MLP(2, 8))
    with pytest.raises(ValueError, match="marginals: expected columns that know of no context"):
        ab.models.GaussianCopula(density, torch.eye(2))


# objectives


def test_cycles_warm_up_again_and_again():
    objective = LowerBound(beta=2.0, warmup=0.5, cycles=2)
    assert [objective.warmth(share) for share in (0.0, 0.125, 0.25, 0.4, 0.5, 0.625, 0.75, 0.99)] == [
        0.0,
        0.5,
        1.0,
        1.0,
        0.0,
        0.5,
        1.0,
        1.0,
    ]
    assert not objective.static and LowerBound().static
    with pytest.raises(ValueError, match="warmup: expected the share of a fit, from 0 to 1, got 3"):
        LowerBound(warmup=3.0)
    assert LowerBound(warmup=0.5).warmth(1.0) == LowerBound(warmup=1.0).warmth(1.0) == 1
    with pytest.raises(ValueError, match="cycles: expected 1 without a warm-up, got 2"):
        LowerBound(cycles=2)


def test_aggressive_steps_move_the_posterior_alone_until_z_says_no_more():
    torch.manual_seed(0)
    model = linear_gaussian(features=3, latents=2)
    x = model.sample((300,), generator=0)
    objective = LowerBound(encoder_steps=2)
    rows = Batch(model, x, None, None, torch.arange(300), 0.0)
    objective.prepare(rows, 5)
    moved = []
    for _ in range(4):
        model.zero_grad()
        objective(rows).mean().backward()
        moved.append({name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None})
    assert moved == [{"posterior"}, {"posterior"}, {"decoder", "posterior"}, {"posterior"}]
    assert all(p.requires_grad for p in model.decoder.parameters())
    objective.after_epoch(model, 300)
    assert objective.state()["_aggressive"]
    with torch.no_grad():
        model.posterior.theta.network.slope.zero_()
    objective.after_epoch(model, 300)
    assert not objective.state()["_aggressive"]
    model.zero_grad()
    objective(rows).mean().backward()
    assert all(p.grad is not None for p in model.decoder.parameters())
    with pytest.raises(ValueError, match="density: expected a LatentVariable for steps of its posterior alone"):
        mixture = ab.FlowMixture([Normal.standard(2), Normal([1.0, 0.0])], posterior=MLP(2, 2))
        objective.prepare(Batch(mixture, x[:, :2], None, None, torch.arange(300), 0.0), 5)


def test_an_aggressive_fit_is_the_same_from_a_checkpoint(tmp_path):
    def fitted(checkpoint=None, **more):
        torch.manual_seed(0)
        model = linear_gaussian()
        x = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
        ab.fit(
            model, x, epochs=4, batch_size=50, validation=0, seed=0, progress=False, compile=False, checkpoint=checkpoint,
            objective=LowerBound(encoder_steps=1, warmup=0.5, cycles=2), **more,
        )  # fmt: skip
        return model

    whole = fitted()
    fitted(tmp_path / "fit", callback=lambda epoch: epoch.epoch == 2)
    again = fitted(tmp_path / "fit")
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_a_bound_reads_the_encoder_once_also_where_the_divergence_is_a_formula(posterior):
    torch.manual_seed(0)
    model, x, read = small(posterior=posterior), digits(5), []
    for part in model.posterior.modules():
        if isinstance(part, MLP):
            part.register_forward_hook(lambda part, inputs, y: read.append(part))
    model.lower_bound(x)
    assert read and len(read) == len(set(read))


@pytest.mark.parametrize("posterior", list(vaes.posteriors.NAMED))
def test_a_posterior_makes_its_layers_once_for_all_draws_at_one_context(posterior):
    """Of 50 draws at 5 contexts no operation on a matrix, or of a network of the context, sees more than 5."""
    with ab.drawing(0):
        q = randomize(vaes.posteriors.NAMED[posterior](3, 4), 0.3).double().eval()
        given = torch.randn(5, 4, dtype=torch.float64)
    sizes = []

    class Matrices(TorchDispatchMode):
        def __torch_dispatch__(self, call, types, args=(), kwargs=None):
            if (
                str(call)
                .removeprefix("aten.")
                .startswith(("linalg_qr", "linalg_solve", "tril.", "triu.", "diag_embed"))
            ):
                sizes.append(args[0].shape[:-2].numel())
            return call(*args, **(kwargs or {}))

    def read(part, inputs, y):
        sizes.append(y.shape[:-1].numel())

    for part in q.modules():
        if isinstance(part, MLP):
            part.register_forward_hook(read)
    repeated = given.expand(50, 5, 4)
    with torch.no_grad(), ab.drawing(1), Matrices():
        z, log_q = q.sample_and_log_prob(context=repeated)
    assert sizes and max(sizes) <= 5
    with torch.no_grad(), ab.drawing(1):
        again, wanted = q.sample_and_log_prob(context=repeated.clone())
    assert torch.allclose(z, again) and torch.allclose(log_q, wanted)
    assert float(z.std(0).min()) > 0.01


def test_what_a_decoder_makes_of_x_alone_is_made_once_for_all_z():
    """Rows that only repeat give what rows written out give, of every family, gaps and values that can't be among them."""
    families_ = [Bernoulli(), Levels(3), Gaussians(2), Levels(300), DiscretizedLogistics(5)]
    z = torch.randn(40, 1, 2, generator=torch.Generator().manual_seed(0)).expand(40, 6, 2)
    rows = torch.tensor([[1.0, 2.0, 0.3, -0.5, 3.0]]).repeat(6, 1)
    rows[torch.arange(5), torch.arange(5)] = torch.nan
    rows[5] = torch.tensor([2.0, 7.0, 1.0, 1.0, 9.0])
    table = randomize(vaes.decoder(5, families_, 2, hidden=(4,)), 0.3)
    x = rows.expand(40, 6, 5)
    for decoder in (table, *(randomize(vaes.decoder(5, family, 2, hidden=(4,)), 0.3) for family in families_)):
        assert torch.allclose(decoder.terms(x, z), decoder.terms(x.clone(), z))
        assert decoder.log_prob(x, z).shape == (40, 6)
        # and where contexts are fewer than rows
        assert torch.allclose(decoder.terms(x, z[0]), decoder.terms(x.clone(), z[0]))


@pytest.mark.parametrize("make", [small, lambda **options: vaes.m2((2, 2), Levels(4), 2, 2, hidden=(8, 8), **options)])
def test_an_encoder_reads_each_row_once_for_all_draws_of_it(make):
    torch.manual_seed(0)
    model, x, read = randomize(make(), 0.3), digits(5), []
    for name, part in model.named_modules():
        if isinstance(part, MLP) and "decoder" not in name:
            part.register_forward_hook(lambda part, inputs, y: read.append(y.shape[:-1].numel()))
    repeated = x.expand(50, *x.shape)
    with torch.no_grad(), ab.drawing(1):
        found = model._log_weight(repeated, None)
    assert read and max(read) <= 2 * len(x)
    with torch.no_grad(), ab.drawing(1):
        wanted = model._log_weight(repeated.clone(), None)
    assert max(read) >= repeated.shape[:2].numel()
    assert torch.allclose(found, wanted, atol=1e-5) and float(found.std(0).min()) > 0.01


def test_what_repeats_is_differentiated_at_each_place():
    """Also where only the base of an expanded tensor is stored: the gradient belongs to each of its events."""
    torch.manual_seed(0)
    decoder = randomize(vaes.decoder(3, Gaussians(1, floor=0.1), 2, hidden=(4,)), 0.5).double()
    flow = randomize(posteriors.planar(3, 2, blocks=2), 0.5).double()
    x, rows = torch.randn(3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    for density in (decoder, flow):
        wanted = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
        (one,) = torch.autograd.grad(density.log_prob(rows, wanted).sum(), wanted)
        repeated = torch.ones(1, 2, dtype=torch.float64).expand(4, 2).requires_grad_()
        (other,) = torch.autograd.grad(density.log_prob(rows, repeated).sum(), repeated)
        assert torch.allclose(one, other) and float(one.std(0).min()) > 1e-3
        spread = x.expand(4, 3).requires_grad_()
        contexts = torch.randn(4, 2, dtype=torch.float64)
        (score,) = torch.autograd.grad(density.log_prob(spread, contexts).sum(), spread)
        copied = x.repeat(4, 1).requires_grad_()
        assert torch.allclose(score, torch.autograd.grad(density.log_prob(copied, contexts).sum(), copied)[0])
        spread = torch.ones(1, 2, dtype=torch.float64).expand(4, 2)
        wanted = torch.func.jacrev(partial(density.log_prob, rows))(spread.clone())
        assert torch.allclose(torch.func.jacrev(partial(density.log_prob, rows))(spread), wanted)
