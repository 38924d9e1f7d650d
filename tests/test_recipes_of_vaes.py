"""Recipes put together of parts: a compressed image first, and decoders that see what lies near."""

import math
import re
from itertools import product

import pytest
import torch

import anabranch as ab
from anabranch.families import Bernoulli, Gaussians, Levels, Logistics
from anabranch.networks import MLP, Certain, Coarse, Within
from anabranch.testing import randomize


def made(build, seed=0):
    with ab.drawing(seed):
        return randomize(build(), 0.3).double().eval()


GRID = torch.linspace(-80, 80, 8001, dtype=torch.float64).unsqueeze(1)


def exact(model, x, context=None):
    """log p(x) of a model with one hidden number, by the rectangle rule, which is as good as exact for smooth densities."""
    given = None if context is None else context.expand(len(GRID), -1) if model.prior.context_shape else None
    with torch.no_grad():
        prior = model.prior.log_prob(GRID, given)
        step = math.log(float(GRID[1] - GRID[0]))
        logs = []
        for event in x:
            seen = GRID if context is None else torch.cat([GRID, context.expand(len(GRID), -1)], dim=-1)
            logs.append(
                (prior + step + model.decoder.log_prob(event.expand(len(GRID), *event.shape), seen)).logsumexp(0)
            )
    return torch.stack(logs)


def check_against(model, x, truth):
    """Bounds lie below the truth in the mean, and estimates come to it."""
    with torch.no_grad(), ab.drawing(1):
        drawn = model.lower_bound(x.expand(4000, *x.shape))
        value, error = model.estimate(x, samples=20_000)
    assert bool((drawn.mean(0) < truth + 4 * drawn.std(0) / 4000**0.5).all())
    assert bool((drawn.mean(0) < truth).any())
    assert bool(((value - truth).abs() < 5 * error + 1e-9).all())


def test_a_decoder_that_sees_what_lies_near_gives_the_exact_density_of_bits():
    model = made(lambda: ab.vaes.vlae(3, Bernoulli(), latent=1, reach=1, width=4, hidden=(4,)))
    x = torch.tensor(list(product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    truth = exact(model, x)
    assert truth.exp().sum().item() == pytest.approx(1, abs=1e-6)
    check_against(model, x, truth)


def test_what_lies_far_is_told_by_z_alone():
    vector = made(lambda: ab.vaes.autoregressive_decoder(6, Bernoulli(), latent=2, reach=2, hidden=4))
    z = torch.zeros(2, dtype=torch.float64)
    x = torch.zeros(6, dtype=torch.float64)
    changed = vector.terms(x.index_fill(0, torch.tensor([1]), 1.0), z) - vector.terms(x, z)
    assert (changed != 0).tolist() == [False, True, True, True, False, False]
    image = made(lambda: ab.vaes.autoregressive_decoder((1, 6, 6), Levels(3), latent=2, reach=2, hidden=4))
    x = torch.zeros(1, 6, 6, dtype=torch.float64)
    other = x.clone()
    other[0, 2, 2] = 1
    changed = (image.terms(other, z) - image.terms(x, z)).reshape(6, 6) != 0
    wanted = torch.zeros(6, 6, dtype=torch.bool)
    wanted[2, 2:5] = True
    wanted[3:5, :5] = True
    assert torch.equal(changed, wanted)
    assert bool((image.terms(x, z) != image.terms(x, z + 1)).all())


@pytest.mark.parametrize(
    ("shape", "family"),
    [(4, Levels(3)), ((1, 4, 4), Levels(3)), ((4, 4, 2), Levels(3)), (3, Logistics()), ((1, 4, 4), Bernoulli())],
)
def test_near_decoders_of_every_kind_of_number(shape, family):
    with ab.drawing(0):
        model = ab.vaes.vlae(shape, family, latent=2, width=4, hidden=(8,))
    x = model.sample((5,), generator=0)
    model.loss(x).mean().backward()
    assert all(
        p.grad is not None and bool(p.grad.isfinite().all()) for p in model.decoder.parameters() if p.requires_grad
    )


def test_a_flow_is_a_decoder_too():
    flow = ab.Flow(ab.flows.maf(2, blocks=1, hidden=(4,), context=1))
    model = made(lambda: ab.vaes.vae(2, Gaussians(1), latent=1, hidden=(4,), decoder=flow))
    x = torch.tensor([[0.3, -0.5], [1.0, 1.0]], dtype=torch.float64)
    check_against(model, x, exact(model, x))


def stages():
    return made(lambda: ab.vaes.self_supervised((1, 2, 2), levels=3, coarse=2, stride=2, latents=(1, 1), hidden=(4,)))


def test_two_stages_give_the_exact_density_of_images():
    model = stages()
    x = torch.tensor(list(product(range(3), repeat=4)), dtype=torch.float64).reshape(-1, 1, 2, 2)
    with torch.no_grad():
        y = model.posterior.sample(context=x).flatten(1)
    assert torch.equal(y[:, 0], (x[:, 0, 0, 0] == 2).double())  # of three levels the last is the upper half
    truth = torch.empty(len(x), dtype=torch.float64)
    of_y = exact(model.prior, torch.tensor([[[[0.0]]], [[[1.0]]]], dtype=torch.float64))
    assert of_y.exp().sum().item() == pytest.approx(1, abs=1e-6)
    for level in (0, 1):
        here = y[:, 0] == level
        context = torch.tensor([float(level)], dtype=torch.float64)
        truth[here] = of_y[level] + exact(model.decoder, x[here], context)
    assert truth.exp().sum().item() == pytest.approx(1, abs=1e-6)
    check_against(model, x[::27], truth[::27])


@pytest.mark.filterwarnings("ignore::anabranch.densities.CollapseWarning")  # two epochs
def test_every_image_drawn_has_the_coarse_image_it_was_drawn_for():
    with ab.drawing(0):
        model = ab.vaes.self_supervised(
            (1, 5, 4), levels=7, coarse=3, stride=2, latents=(2, 2), channels=(4, 4), hidden=(8,)
        )
    with torch.no_grad(), ab.drawing(1):
        y = model.prior.sample((20,))
        z = model.decoder.sample(context=y.flatten(1))
    assert torch.equal(model.posterior.sample(context=z), y)
    assert y.shape == (20, 1, 3, 2)
    other = (y + 1) % 3
    assert bool((model.decoder.lower_bound(z, other.flatten(1)) < -9_000).all())
    before = model.lower_bound(z).mean()
    ab.fit(model, z, epochs=5, seed=0, progress=False)
    assert model.lower_bound(z).mean() > before + 1


def test_three_stages_are_two_of_which_the_first_has_two(tmp_path):
    with ab.drawing(0):
        small = ab.vaes.self_supervised((1, 2, 2), levels=4, coarse=2, latents=(1, 1), hidden=(8,))
        model = ab.vaes.self_supervised((1, 4, 4), levels=16, coarse=4, latents=(1, 1), prior=small, hidden=(8,))
    x = model.sample((5,), generator=0).to(torch.uint8)
    ab.save(model, tmp_path / "model.safetensors")
    again = ab.load(tmp_path / "model.safetensors")
    assert torch.equal(again.estimate(x, samples=10, generator=0)[0], model.estimate(x, samples=10, generator=0)[0])


@pytest.mark.parametrize("levels", [3, 4, 5, 7, 16, 17, 256])
def test_coarse_levels_are_those_of_whole_numbers(levels):
    x = torch.arange(levels)
    for coarse in range(2, levels + 1, max(1, levels // 7)):
        found = Coarse((1, 1, levels), levels, coarse)(x.float().reshape(1, 1, -1)).flatten().long()
        assert found.tolist() == [k * coarse // levels for k in range(levels)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Coarse((4, 4), 4, 2), "features: expected .channels, height, width"),
        (lambda: Coarse((1, 4, 4), 4, 5), "coarse: expected at most 4 levels"),
        (lambda: Within(MLP(3, 4), Coarse((1, 2, 2), 4, 2)), "network: expected one from a vector of at least 4"),
        (lambda: Certain(torch.nn.Linear(2, 2), 2), "network: expected a Network"),
        (lambda: ab.vaes.vlae(2, [Logistics(), Levels(3)]), "family: expected one Family"),
        (lambda: ab.vaes.vlae((4, 4), Levels(3)), "event_shape: expected that of a vector or of images"),
        (lambda: ab.vaes.vlae((1, 4, 4), Levels(3), reach=1), "reach: expected a whole number of at least 2"),
        (lambda: ab.vaes.self_supervised((1, 4, 4), 4, 2, latents=(3,)), "latents: expected two"),
        (
            lambda: ab.vaes.vae(3, Gaussians(1), 1, decoder=ab.densities.Normal(torch.zeros(2), context=1)),
            r"decoder: expected one of events of shape \(3,\), got \(2,\)",
        ),
        (lambda: ab.vaes.vae(3, Gaussians(1), 1, decoder="flow"), "decoder: expected a Density, got str"),
        (
            lambda: ab.vaes.vae(3, Gaussians(1), 2, decoder=ab.vaes.decoder(3, Gaussians(1), 3)),
            r"decoder: expected one whose context is z, of 2 numbers, got a context of shape \(3,\)",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def at_its_floor(decoder, number):
    """A decoder whose deviation of one number has come to the floor, whatever z is."""
    theta = decoder.chain.start if hasattr(decoder, "chain") else decoder.start
    with torch.no_grad():
        for parameter in theta.parameters():
            parameter.view(-1, 3)[number, -1] = -60.0
    return decoder


@pytest.mark.parametrize("build", [ab.vaes.decoder, ab.vaes.autoregressive_decoder])
@pytest.mark.parametrize(("shape", "number", "name"), [(3, 1, r"x\[1\]"), ((1, 2, 2), 3, r"x\[0, 1, 1\]")])
def test_a_deviation_at_its_floor_is_named(build, shape, number, name):
    with ab.drawing(0):
        decoder = build(shape, Gaussians(1, floor=0.02), latent=2)
        x = torch.randn(8, *([shape] if isinstance(shape, int) else shape))
    z = torch.zeros(8, 2)
    assert decoder.symptoms(x, z) == []
    found = at_its_floor(decoder, number).symptoms(x, z)
    assert [type(symptom) for symptom in found] == [ab.densities.FloorWarning]
    assert re.search(f"of (33|25)% of the numbers, in most rows of {name}, the standard deviation", str(found[0]))


def test_columns_at_their_floor_are_named():
    decoder = ab.vaes.decoder(3, [Levels(2), Gaussians(1, floor=0.02), Gaussians(1, floor=0.02)], latent=1, hidden=())
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
        decoder.network.layers[-1].bias[-1] = -60.0
    (found,) = decoder.symptoms(torch.zeros(4, 3), torch.zeros(4, 1))
    assert "of 33% of the numbers, in most rows of x[2]," in str(found)
