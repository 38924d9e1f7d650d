"""Flows of images: recipes by level, dequantisation beside masses that are known, bits, temperature, ways between images."""

import math
import warnings

import numpy as np
import pytest
import torch

import anabranch as ab
from anabranch.densities import Categorical, Density, Dequantized, Normal, Uniform
from anabranch.images import bits_per_dimension
from anabranch.models import at_temperature, interpolate, reconstruction_error
from anabranch.networks import MLP
from anabranch.testing import peak_memory, randomize
from anabranch.training import LatticeWarning
from anabranch.transforms import (
    Affine,
    Chain,
    Coupling,
    Elementwise,
    Logit,
    LULinear,
    OnPart,
    Permutation,
    Probit,
    Squeeze,
    checkerboard,
    half_of_channels,
)

LEVELS = 5
RECIPES = {
    "glow": lambda **more: ab.flows.glow((1, 8, 8), steps=2, hidden=8, blocks=1, **more),
    "realnvp_image": lambda **more: ab.flows.realnvp_image((1, 8, 8), couplings=2, hidden=8, blocks=1, **more),
}


class Histogram(Density):
    """Independent numbers on [0, 1), of constant density within each of `LEVELS` equal cells."""

    def __init__(self, masses):
        super().__init__(masses.shape[:-1])
        self.register_buffer("masses", masses)

    def _log_prob(self, x, context):
        cell = (x * LEVELS).long().clamp(0, LEVELS - 1)
        mass = self.masses.expand(*x.shape, LEVELS).gather(-1, cell.unsqueeze(-1)).squeeze(-1)
        return (mass * LEVELS).log().flatten(-3).sum(dim=-1)

    def _sample(self, shape, context):
        cell = torch.multinomial(self.masses.flatten(0, -2), math.prod(shape), replacement=True)
        cell = cell.movedim(-1, 0).reshape(*shape, *self.event_shape)
        return (cell + torch.rand(cell.shape)) / LEVELS


def masses(generator=0):
    numbers = torch.randn(1, 2, 3, LEVELS, generator=torch.Generator().manual_seed(generator))
    return numbers.softmax(dim=-1)


def test_uniform_noise_is_exact_where_the_density_is_constant_within_cells():
    known = Categorical(masses().log())
    levels = Dequantized(Histogram(masses()), LEVELS)
    x = known.sample((20,), generator=0)
    wanted = known.log_prob(x)
    torch.testing.assert_close(levels.lower_bound(x), wanted, atol=1e-5, rtol=0)
    value, error = levels.estimate(x, samples=3)
    torch.testing.assert_close(value, wanted, atol=1e-5, rtol=0)
    assert float(error.max()) < 1e-3
    bits, _ = bits_per_dimension(levels, x.to(torch.uint8))
    np.testing.assert_allclose(bits, -wanted.numpy() / (6 * math.log(2)), atol=1e-6)
    np.testing.assert_allclose(bits_per_dimension(known, x)[0], bits, atol=1e-6)
    shares = torch.stack([(levels.sample((4000,), generator=1) == k).float().mean(dim=0) for k in range(LEVELS)], -1)
    torch.testing.assert_close(shares, masses(), atol=0.04, rtol=0)


def test_noise_that_is_fitted_bends_to_the_density_and_its_bound_is_tighter():
    # one number, two levels: within a cell the density rises and falls steeply
    density = Normal(torch.tensor([0.0]), scale=0.3)
    with ab.drawing(0):
        network = MLP(1, 2, hidden=(8,), zero_start=True)
    coupled = Normal(torch.zeros(1), scale=1.8, context=1, network=network)
    noise = ab.Flow(Elementwise(Logit(), 1), coupled)
    fitted, uniform = Dequantized(density, 2, noise, logit=True), Dequantized(density, 2, logit=True)
    x = torch.tensor([[0.0], [1.0]]).repeat(50, 1)
    ab.fit(
        fitted, x, validation=0, epochs=60, batch_size=100, learning_rate=0.05, progress=False, compile=False, seed=0
    )
    with torch.no_grad():
        tight, loose = (float(one.lower_bound(x.repeat(20, 1), generator=0).mean()) for one in (fitted, uniform))
    truth = math.log(0.5)
    assert loose < truth - 5
    assert truth - 0.25 < tight < truth + 0.02
    for levels in (fitted, uniform):
        value, error = levels.estimate(x[:2], samples=5000, generator=0)
        assert float((value - truth).abs().max()) < 5 * float(error.max())


def test_the_recipe_of_noise_starts_uniform_for_every_image():
    noise = ab.Flow(ab.flows.dequantisation((1, 4, 4), hidden=4))
    x = torch.randint(0, 17, (50, 1, 4, 4), generator=torch.Generator().manual_seed(0)) / 8 - 1
    with torch.no_grad():
        u, log_q = noise.sample_and_log_prob(context=x, generator=0)
    torch.testing.assert_close(log_q, torch.zeros(50), atol=1e-4, rtol=0)
    assert 0.45 < float(u.mean()) < 0.55
    # weights of a density that is level within cells are all one
    levels = Dequantized(Uniform(torch.zeros(1, 4, 4), torch.ones(1, 4, 4)), 17, noise)
    value, error = levels.estimate(((x + 1) * 8).round(), samples=20, generator=0)
    torch.testing.assert_close(value, torch.full((50,), -16 * math.log(17)), atol=1e-4, rtol=0)
    assert float(error.max()) < 1e-4


def test_weights_of_noise_behind_a_probit_have_a_variance():
    # q at scale s against a level density: E[w^2] = int du / q(u) = s^2 / sqrt(2 s^2 - 1)
    s = 0.9
    noise = ab.Flow(Elementwise(Probit(), 1), Normal(torch.zeros(1), scale=s)).double()
    with torch.no_grad():
        u, log_q = noise.sample_and_log_prob((200_000,), generator=0)
    assert float((-log_q).exp().mean()) == pytest.approx(1.0, abs=0.01)
    assert float((-2 * log_q).exp().mean()) == pytest.approx(s**2 / math.sqrt(2 * s**2 - 1), abs=0.02)
    assert 0 < float(u.min()) < float(u.max()) < 1


def test_a_number_that_is_no_level_has_no_mass_and_what_takes_data_says_so():
    levels = Dequantized(Normal(torch.zeros(1, 2, 2), learnable=True), 17, logit=True)
    x = torch.full((3, 1, 2, 2), 4)
    x[1, 0, 0, 1] = 17
    assert levels.lower_bound(x).isneginf().tolist() == [False, True, False]
    with pytest.raises(
        ValueError,
        match=r"^x: expected .* to 16, got 17 in row 1, position \(0, 0, 1\); numbers up to 17 need 18 levels$",
    ):
        bits_per_dimension(levels, x)
    scaled = torch.full((20, 1, 2, 2), 0.25)
    for call in (lambda: bits_per_dimension(levels, scaled), lambda: ab.fit(levels, scaled, epochs=1, progress=False)):
        with pytest.raises(
            ValueError, match=r"got 0\.25 in row \d+, .*; numbers from 0 to 1 become levels by \(x \* 16\)\.round"
        ):
            call()
    image, scaled = x[1], torch.full((1, 2, 2), 0.25)
    made = {
        "x": (levels.dequantize, lambda x: reconstruction_error(levels, x)),
        "start": (lambda x: interpolate(levels, x, x),),
        "end": (lambda x: interpolate(levels, 0 * x, x),),
    }
    for name, calls in made.items():
        for call in calls:
            with pytest.raises(ValueError, match=rf"^{name}: expected whole numbers from 0 to 16, got 17 in row 0"):
                call(image)
            with pytest.raises(ValueError, match=rf"^{name}: .* got 0\.25 .*numbers from 0 to 1 become levels by"):
                call(scaled)
    with pytest.raises(ValueError, match=r"log_prob: .* lower_bound, or estimate"):
        levels.log_prob(x)
    with pytest.raises(
        ValueError, match=r"^density: expected one of levels, got a Normal .*; put it into densities\.Dequantized"
    ):
        bits_per_dimension(levels.density, x)


def test_a_flow_of_real_numbers_says_where_images_of_levels_go():
    images = torch.zeros(20, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"got torch\.uint8; .*; of images of levels, .* into densities\.Dequantized$"):
        ab.fit(ab.Flow(RECIPES["glow"]()), images, epochs=1, progress=False)


@pytest.mark.parametrize("logit", [False, True])
def test_levels_between_which_noise_has_no_digits_are_refused(logit):
    base = Normal(torch.zeros(2, 3), learnable=True)
    x = torch.full((5, 2, 3), 2**16 - 1)
    fine = Dequantized(base, 2**16, logit=logit)
    assert bool((fine.quantize(fine.dequantize(x, generator=0)) == x).all())
    coarse = Dequantized(base, 2**25, logit=logit)
    with pytest.raises(ValueError, match=r"^levels: expected at most 65,536 .*; make the density .*x // 512$"):
        coarse.lower_bound(x)
    assert bool(coarse.double().lower_bound(x).isfinite().all())


def test_noise_must_be_a_density_of_the_gap():
    normal = Normal(torch.zeros(2))
    for noise, said in (
        (Normal(torch.zeros(3)), r"noise: expected event shape \(2,\)"),
        (Normal(torch.zeros(2), context=3), r"noise: expected a context of shape \(2,\)"),
        (Categorical(torch.zeros(2, 3)), "noise: expected a density that is exact and whose draws"),
        (normal, r"noise: expected a density of numbers between 0 and 1, got a Normal of numbers between -inf and inf"),
        (Uniform([0.0, -1.0], [1.0, 3.0]), r"between -1 and 3 at place \[1\]; take a flow that begins with a Probit"),
        (ab.Flow(Elementwise(Affine(), 2)), "got a Flow of numbers between -inf and inf"),
        (ab.Flow([LULinear(2), Elementwise(Affine(), 2, MLP(2, 4))]), "got a Flow of numbers between -inf and inf"),
    ):
        with pytest.raises(ValueError, match=said):
            Dequantized(normal, 4, noise)
    with pytest.raises(ValueError, match="density: expected one of real numbers, got a Categorical"):
        Dequantized(Categorical(torch.zeros(2, 3)), 3)


def test_noise_of_the_gap_is_told_by_its_support():
    """Of a flow the support is where its first layers lead, at every context."""
    told = MLP(2, 4, hidden=(4,))
    logit = Elementwise(Logit(), 2)
    for noise in (
        Uniform([0.0, 0.25], [1.0, 0.5]),
        ab.Flow(logit),
        ab.Flow([logit, Elementwise(Affine(), 2, told), LULinear(2)]),
        ab.Flow([Permutation([1, 0]), OnPart(logit, [1, 0]), LULinear(2)]),
    ):
        assert Dequantized(Normal(torch.zeros(2)), 4, noise).noise is noise
    support = ab.Flow([logit, Elementwise(Affine(), 2, told)]).support
    assert support.check(torch.tensor([[0.5, 0.5], [0.5, 1.5], [-0.1, 0.5], [0.5, math.nan]])).tolist() == [
        True,
        False,
        False,
        False,
    ]


def test_noise_of_one_pixel_has_no_checkerboard():
    with pytest.raises(
        ValueError, match=r"^features: expected images of at least two pixels, .*\(3, 1, 1\); take coup"
    ):
        ab.flows.dequantisation((3, 1, 1))
    assert len(ab.flows.dequantisation((1, 1, 1), couplings=0)) == 3


def test_the_last_level_stays_below_one():
    """x + u may round to the number of levels: one draw in some hundred thousand."""
    density = Dequantized(ab.Flow(Elementwise(Logit(), (1,))), 256)
    with torch.no_grad():
        found = density.lower_bound(torch.full((1_000_000, 1), 255.0), generator=0)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("name", RECIPES)
def test_each_level_is_a_depth(name):
    chain = RECIPES[name](levels=3)
    assert list(chain.blocks) == ["level_1", "level_2", "level_3"]
    mixture = randomize(ab.DepthMixture(chain, hidden=(8,), lead=0.0), 0.1)
    assert mixture.components == 3
    x = mixture.sample((6,), generator=0)
    assert x.shape == (6, 1, 8, 8)
    joint = mixture.joint_log_prob(x)
    shapes = chain.prefix_shapes((1, 8, 8))[1:]
    assert set(shapes) == {torch.Size([4, 4, 4])}
    for depth in (1, 2, 3):
        alone = ab.Flow(chain[:depth], mixture.base)
        z, _ = chain[:depth](x)
        gate = mixture.weights(z)[:, depth - 1].log()
        torch.testing.assert_close(joint[:, depth - 1], alone.log_prob(x) + gate, atol=1e-3, rtol=0)
    # a level leaves alone what the ones before it factored out
    first, second = (chain[:depth](x)[0] for depth in (1, 2))
    assert torch.equal(first[:, 2:], second[:, 2:])
    assert not torch.equal(first[:, :2], second[:, :2])


@pytest.mark.parametrize("name", RECIPES)
def test_odd_sizes_name_the_level_and_the_fix(name):
    recipe = getattr(ab.flows, name)
    with pytest.raises(
        ValueError,
        match=r"^features: expected height and width that are multiples of 8, .* got 28 x 28, of which level_3 meets 7 x 7; "
        r"at most levels=2; pad the images to 32 x 32$",
    ):
        recipe((1, 28, 28), levels=3)
    with pytest.raises(ValueError, match=r"level_1 meets 7 x 8; no level takes them; pad the images to 8 x 8"):
        recipe((1, 7, 8), levels=1)
    with pytest.raises(ValueError, match=r"features: expected the shape \(channels, height, width\), got \(8, 8\)"):
        recipe((8, 8))


def test_what_is_factored_out_is_told_by_what_goes_on():
    chain = randomize(RECIPES["glow"](levels=2), 0.1)
    split = chain.blocks["level_1"].blocks["split"]
    assert isinstance(split, Coupling)
    x = torch.randn(2, 4, 4, 4)
    moved = x.clone()
    moved[:, :2] += 1
    z, again = split(x)[0], split(moved)[0]
    assert torch.equal(again[:, :2], moved[:, :2])
    assert not torch.allclose(z[:, 2:], again[:, 2:])


def test_glow_of_32_steps_that_inverts_trains_in_the_memory_of_4():
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def peak(steps, memory):
        with ab.drawing(0):
            chain = ab.flows.glow((1, 8, 8), levels=1, steps=steps, hidden=8, blocks=1, memory=memory)
        flow = ab.Flow(chain)
        flow.initialize(x)

        def step():
            flow.zero_grad(set_to_none=True)
            flow.loss(x).mean().backward()

        return peak_memory(step)

    few, many = peak(4, "invert"), peak(32, "invert")
    assert many < 1.3 * few
    assert peak(8, "store") > 3 * many


@pytest.mark.parametrize("memory", ["invert", "checkpoint"])
def test_dropout_and_blocks_that_run_again_are_refused(memory):
    with pytest.raises(
        ValueError, match=rf'^memory="{memory}": .* got dropout of 0\.2 in block .*; use dropout=0, or memory="store"'
    ):
        RECIPES["glow"](memory=memory, dropout=0.2)


def test_draws_at_a_temperature_are_of_a_density_whose_base_is_narrower():
    flow = randomize(ab.Flow([Elementwise(Affine(), 2)], Normal([1.0, -1.0], scale=[2.0, 0.5], learnable=True)), 0.3)
    cool = at_temperature(flow, 0.5)
    draws, cooler = flow.sample((4000,), generator=0), cool.sample((4000,), generator=0)
    torch.testing.assert_close(cooler.std(dim=0), draws.std(dim=0) / 2, rtol=0.01, atol=0)
    torch.testing.assert_close(cooler.mean(dim=0), draws.mean(dim=0), rtol=0, atol=0.05)
    assert next(cool.transform.parameters()) is next(flow.transform.parameters())
    mixture = randomize(ab.DepthMixture(ab.flows.nsf(2, blocks=2, hidden=(8,)), hidden=(8,)))
    levels = Dequantized(mixture, 4, logit=True)
    torch.testing.assert_close(at_temperature(levels, 1.0).sample((5,), generator=0), levels.sample((5,), generator=0))
    assert float(at_temperature(mixture, 0.1).sample((99,), generator=0).std()) < float(mixture.sample((99,)).std())
    full = Normal([0.0, 1.0], scale_tril=[[1.0, 0.0], [0.5, 2.0]])
    torch.testing.assert_close(full.at_temperature(2.0).moments().covariance, 4 * full.moments().covariance)
    with pytest.raises(ValueError, match=r"density: expected a flow .*, got a Categorical"):
        at_temperature(Categorical(torch.zeros(2, 3)), 0.5)


def test_the_way_between_two_images_begins_and_ends_with_them():
    flow = randomize(ab.Flow(RECIPES["glow"]()), 0.05)
    start, end = flow.sample((2,), generator=0)
    way = interpolate(flow, start, end, count=5)
    torch.testing.assert_close(way[[0, -1]], torch.stack([start, end]), atol=1e-3, rtol=0)
    with torch.no_grad():
        z = flow.transform(way)[0].flatten(1)
    norms = z.norm(dim=1)
    assert float(norms.min()) > 0.9 * float(norms[[0, -1]].min())  # a line would lead through the middle
    torch.testing.assert_close(interpolate(flow, start, start, count=3), start.expand(3, 1, 8, 8), atol=1e-3, rtol=0)
    levels = Dequantized(flow, 17, logit=True)
    start, end = levels.sample((2,), generator=0)
    way = interpolate(levels, start, end, count=4, generator=0)
    assert torch.equal(way[0], start)
    assert torch.equal(way[-1], end)
    assert float(reconstruction_error(levels, torch.stack([start, end])).max()) < 1e-2
    with pytest.raises(ValueError, match=r"density: expected a flow on a standard normal base.*Flow\(mixture\.chain"):
        interpolate(ab.DepthMixture(flow.transform), start, end)
    both = torch.stack([start, end])
    with pytest.raises(ValueError, match=r"^end: expected one event of shape \(1, 8, 8\), got shape \(2, 1, 8, 8\)$"):
        interpolate(levels, start, both)


def test_what_a_transform_loses_shows_in_the_reconstruction_error():
    flow = ab.Flow(Chain([Squeeze(), Elementwise(Affine(), (4, 4, 4))]))
    with torch.no_grad():
        next(flow.transform.parameters())[..., 0] = 1e6
    assert float(reconstruction_error(flow, torch.rand(3, 1, 8, 8)).max()) > 1e-2


def test_masks_divide_an_image():
    board, channels = checkerboard((3, 4, 5)), half_of_channels((4, 2, 2))
    assert board.shape == (3, 4, 5)
    assert torch.equal(~board, checkerboard((3, 4, 5), 1))
    # no two neighbours move together
    assert not bool((board[:, 1:] == board[:, :-1]).any()) and not bool((board[..., 1:] == board[..., :-1]).any())
    assert channels.flatten(1).all(1).sum() == 2 == (~channels).flatten(1).all(1).sum()
    assert len({tuple(half_of_channels((4, 2, 2), turn)[:, 0, 0].tolist()) for turn in range(4)}) == 4
    for mask in (checkerboard, half_of_channels):
        with pytest.raises(ValueError, match=r"^shape: expected \(channels, height, width\), got \(4, 4\)$"):
            mask((4, 4))
        with pytest.raises(ValueError, match=r"^turn: expected a whole number of at least 0"):
            mask((1, 4, 4), -1)


def test_a_density_of_real_numbers_warns_of_images_of_levels():
    def flow():
        return ab.Flow(ab.flows.glow((1, 4, 4), levels=1, steps=1, hidden=4, blocks=1))

    x = torch.randint(0, 17, (40, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    once = {"epochs": 1, "progress": False, "compile": False}
    with pytest.warns(LatticeWarning, match=r"^x: images of whole numbers from 0 to 16, and Flow is a density of real"):
        ab.fit(flow(), x.float(), **once)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LatticeWarning)
        ab.fit(flow(), x.float(), noise=0.5, **once)
        ab.fit(flow(), x + torch.rand(x.shape), **once)
        ab.fit(Dequantized(flow(), 17), x, **once)
