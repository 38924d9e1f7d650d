"""The chain rule over positions: by hand, prefixes, orders, draws at a temperature, colours, parts of other densities."""

import itertools

import pytest
import torch

import anabranch as ab
from anabranch.densities import Bernoulli as BernoulliDensity
from anabranch.densities import Normal
from anabranch.families import (
    Bernoulli,
    DiscretizedLogistics,
    Gaussians,
    Levels,
    Mapped,
    SeparateChannels,
    SubPixels,
)
from anabranch.models import Autoregressive, SequenceDepthMixture, StepDepthMixture, Stretch
from anabranch.networks import CausalConvolution, FiniteMemory, MaskedMLP, PixelCNN, Recurrent
from anabranch.testing import randomize
from anabranch.transforms import RationalQuadraticSpline


def model(family, positions=4, context=0, network=MaskedMLP, seed=0, options=None, **keywords):
    torch.manual_seed(seed)
    channels = None if family.inputs == 1 else family.inputs
    made = network(positions, family.parameters_of_one, context, channels=channels, **(options or {}))
    return randomize(Autoregressive(family, made, **keywords), seed=seed).requires_grad_(False)


def all_events(levels, count):
    return torch.tensor(list(itertools.product(range(levels), repeat=count)), dtype=torch.uint8)


class TestChainRule:
    @pytest.mark.parametrize("order", [None, [2, 0, 3, 1]])
    def test_probabilities_sum_to_one_and_are_products_of_terms(self, order):
        density = model(Levels(3), order=order)
        x = all_events(3, 4)
        log_p = density.log_prob(x)
        assert float(log_p.detach().exp().sum()) == pytest.approx(1, abs=1e-5)
        assert torch.allclose(density.terms(x).sum(dim=-1), log_p)

    def test_terms_are_conditionals_in_the_order(self):
        order = [2, 0, 3, 1]
        density = model(Levels(3), order=order)
        x = all_events(3, 4)
        p = density.log_prob(x).exp().reshape(3, 3, 3, 3)
        # p(x_2), then p(x_0 | x_2)
        first = p.sum(dim=(0, 1, 3))
        second = p.sum(dim=(1, 3)) / first
        terms = density.terms(x).exp()
        assert torch.allclose(terms[:, 0], first[x[:, 2].long()], atol=1e-5)
        assert torch.allclose(terms[:, 1], second[x[:, 0].long(), x[:, 2].long()], atol=1e-5)

    @pytest.mark.parametrize("network", [MaskedMLP, CausalConvolution, FiniteMemory])
    def test_steps_draw_what_whole_passes_draw(self, network):
        density = model(Levels(3), 6, network=network)
        with ab.drawing(0):
            x = density.sample((20,))
        with ab.drawing(0), torch.no_grad():
            # naive: a whole pass for each position
            y = torch.zeros(20, 6)
            for d in range(6):
                y[:, d] = density.chain.family.sample(density.chain.theta(y, None)[:, d])
        assert torch.equal(x, y)

    @pytest.mark.parametrize("family", [Gaussians(1), Gaussians(3), Mapped(RationalQuadraticSpline(4))])
    def test_draws_of_unfitted_networks_do_not_overflow(self, family):
        # a scale is the exponential of what a network makes of the last draw: unbounded, scales grew from draw to draw
        for seed in range(5):
            torch.manual_seed(seed)
            density = Autoregressive(family, Recurrent(64, family.parameters_of_one, hidden=32))
            with torch.no_grad():
                x, log_p = density.sample_and_log_prob((200,), generator=seed)
            assert bool(x.isfinite().all()) and bool(log_p.isfinite().all())

    def test_whole_numbers_stay_whole(self):
        density = model(Levels(5), (4, 4), network=PixelCNN, options={"hidden": 8, "layers": 2}, event_shape=(1, 4, 4))
        x = torch.randint(5, (7, 1, 4, 4), dtype=torch.uint8)
        assert density.event_dtype == "whole"
        assert torch.equal(density.log_prob(x), density.log_prob(x.float()))
        assert bool(density.log_prob(x + 5).isneginf().all())

    def test_a_fit_starts_at_independent_positions(self):
        x = torch.randint(4, (500, 6), generator=torch.Generator().manual_seed(0))
        x[:, 2] = 3
        density = Autoregressive(Levels(4), MaskedMLP(6, 4, channels=4, zero_start=True))
        density.initialize(x)
        shares = torch.stack([((x == level).sum(dim=0) + 0.5) / 502 for level in range(4)], dim=-1)
        wanted = torch.stack([shares[d, x[:, d]].log() for d in range(6)]).sum(dim=0)
        assert torch.allclose(density.log_prob(x), wanted, atol=1e-5)


class TestPrefixes:
    def test_completions_keep_the_prefix_and_follow_the_conditional(self):
        order = [2, 0, 3, 1]
        density = model(Levels(3), order=order)
        prefix = torch.tensor([[1, 2], [0, 0]])
        x = density.complete(prefix, (4000,), generator=0)
        assert x.shape == (4000, 2, 4)
        assert bool((x[..., 2] == prefix[:, 0]).all()) and bool((x[..., 0] == prefix[:, 1]).all())
        every = all_events(3, 4)
        p = density.log_prob(every).exp()
        given = (every[:, 2] == 1) & (every[:, 0] == 2)
        share = (x[:, 0, 1] == 2).double().mean()
        wanted = p[given & (every[:, 1] == 2)].sum() / p[given].sum()
        assert float(share) == pytest.approx(float(wanted), abs=4 * 0.5 / 4000**0.5)

    def test_a_number_of_draws_is_a_shape(self):
        density = model(Levels(3))
        assert density.complete([1, 2], 5).shape == (5, 4)
        assert density.draws_at_temperature(0.5).sample(5).shape == (5, 4)
        with pytest.raises(ValueError, match=r"shape: expected a whole number of at least 0, got 2\.5"):
            density.complete([1, 2], (2.5,))

    def test_prefixes_and_contexts_are_one_batch(self):
        density = model(Levels(3), context=2)
        assert density.complete(torch.ones(3, 1), 2, torch.zeros(5, 1, 2)).shape == (2, 5, 3, 4)
        with pytest.raises(ValueError, match="context"):
            density.complete(torch.ones(3, 1), 2, torch.zeros(5, 2))

    def test_all_or_nothing_may_be_known(self):
        density = model(Levels(3))
        assert density.complete(torch.zeros(5, 0), generator=0).shape == (5, 4)
        known = torch.tensor([[0, 1, 2, 0]])
        assert density.complete(known).tolist() == [[0, 1, 2, 0]]

    def test_conditionals_and_marginals_of_first_positions_are_exact(self):
        density = model(Levels(3), order=[2, 0, 3, 1])
        every = all_events(3, 4)
        p = density.log_prob(every).exp().reshape(3, 3, 3, 3)
        marginal = density.marginal([0, 2])
        pairs = all_events(3, 2)
        assert torch.allclose(marginal.log_prob(pairs).exp(), p.sum(dim=(1, 3)).flatten(), atol=1e-5)
        given = density.conditional([0, 2], [1.0, 2.0])  # of columns 1 and 3
        wanted = p[1, :, 2, :] / p[1, :, 2, :].sum()
        assert torch.allclose(given.log_prob(pairs).exp(), wanted.flatten(), atol=1e-5)
        assert density.marginal([1]) is None  # not first in the order

    def test_stretches_of_stretches_are_exact(self):
        density = model(Levels(3), order=[2, 0, 3, 1])
        p = density.log_prob(all_events(3, 4)).exp().reshape(3, 3, 3, 3)
        rest = density.conditional([2], [1.0])  # of columns 0, 1, 3
        wanted = p[:, :, 1].sum(dim=1) / p[:, :, 1].sum()  # of columns 0 and 3
        assert torch.allclose(rest.marginal([2, 0]).log_prob(all_events(3, 2)).exp(), wanted.mT.flatten(), atol=1e-5)
        given = rest.conditional([0], [2.0]).marginal([1])
        assert torch.allclose(given.log_prob(all_events(3, 1)).exp(), wanted[2] / wanted[2].sum(), atol=1e-5)
        assert rest.marginal([1]) is None

    def test_the_next_position_has_the_distribution_function_of_its_family(self):
        density = model(Gaussians(2), context=1, order=[2, 0, 3, 1])
        for first in (density.marginal([2], [0.5]), Stretch(density.chain, [0], [2], [1.5], [0.5])):
            known = first.distribution_function()
            u = torch.tensor([0.1, 0.5, 0.9]).double()
            x = known.quantile(u)
            assert torch.allclose(known.below(x)[1], u, atol=1e-5)
            grid = torch.linspace(-60, float(x[1]), 200_001)
            mass = torch.trapezoid(first.log_prob(grid.unsqueeze(-1)).exp().double(), grid.double())
            assert float(mass) == pytest.approx(0.5, abs=1e-4)

    @pytest.mark.parametrize("value", [3.0, 0.5, float("nan")])
    def test_nothing_follows_values_that_cannot_be(self, value):
        with pytest.raises(ValueError, match=r"values: expected values that Levels can be, got .* at \(0,\)"):
            model(Levels(3)).conditional([0], [value])

    def test_a_stretch_takes_one_context(self):
        chain = model(Levels(3), context=2).chain
        assert Stretch(chain, [0, 1], context=[0.0, 1.0]).sample(3).shape == (3, 2)
        for context, got in ((None, "None"), (torch.zeros(3), r"\(3,\)"), (torch.zeros(5, 2), r"\(5, 2\)")):
            with pytest.raises(ValueError, match=rf"context: expected shape \(2,\), got {got}"):
                Stretch(chain, [0, 1], context=context)

    @pytest.mark.parametrize(
        ("prefix", "message"),
        [
            (torch.zeros(2, 5), "prefix: expected at most 4 positions, got 5"),
            (torch.tensor(1.0), r"prefix: expected shape \(..., k\), got \(\)"),
            (torch.tensor([[0.0, 3.0]]), r"prefix: expected values that Levels can be, got 3 at \(0, 1\)"),
        ],
    )
    def test_prefixes_that_cannot_be(self, prefix, message):
        with pytest.raises(ValueError, match=message):
            model(Levels(3)).complete(prefix)


class TestDrawsAtTemperature:
    def test_probabilities_are_sharpened_at_each_position(self):
        density = model(Levels(4), 2)
        x = density.draws_at_temperature(0.5).sample((8000,), generator=0)
        p = density.chain.theta(torch.zeros(1, 2), None)[0, 0].softmax(-1).square()
        share = torch.bincount(x[:, 0].long(), minlength=4) / 8000
        assert torch.allclose(share, p / p.sum(), atol=4 * 0.5 / 8000**0.5)

    def test_a_nucleus_is_the_fewest_likely_values(self):
        density = model(Levels(4), 1)
        said = density.chain.theta(torch.zeros(1, 1), None)[0].detach() - density.chain.start.b.detach()
        density.chain.start.b.data = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log() - said

        def values(nucleus):
            return set(density.draws_at_temperature(nucleus=nucleus).sample((500,), generator=0).flatten().tolist())

        assert values(0.65) == {0.0, 1.0}
        assert values(0.75) == {0.0, 1.0, 2.0}
        assert values(1e-9) == {0.0}

    def test_at_one_they_are_the_models_own(self):
        density = model(Levels(4))
        assert torch.equal(density.draws_at_temperature().sample((9,), generator=1), density.sample((9,), generator=1))

    def test_next_to_zero_the_likeliest_value_is_drawn(self):
        density = model(Levels(4))
        likeliest = density.draws_at_temperature(nucleus=1e-9).sample((3,), generator=0)
        for temperature in (1e-3, 1e-30, 1e-42):
            assert torch.equal(density.draws_at_temperature(temperature).sample((3,), generator=0), likeliest)

    def test_bad_numbers(self):
        with pytest.raises(ValueError, match="temperature: expected a number above 0"):
            model(Levels(3)).draws_at_temperature(0)
        with pytest.raises(ValueError, match=r"nucleus: expected a probability above 0 and up to 1, got 1\.5"):
            model(Levels(3)).draws_at_temperature(nucleus=1.5)
        with pytest.raises(ValueError, match="expected 1, since Gaussians has no list of values"):
            model(Gaussians(2)).draws_at_temperature(0.5)


class TestColours:
    def test_the_chain_over_channels_is_the_mixture_over_components(self):
        family = SubPixels(6, channels=3, components=3).double()
        theta = torch.randn(family.parameters_of_one, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        x = all_events(6, 3)
        p = family.log_prob(x, theta).exp()
        assert float(p.sum()) == pytest.approx(1, abs=1e-9)
        # PixelCNN++'s formula, one component at a time
        k = 3
        log_w = theta[:k].log_softmax(0)
        loc, raw = theta[k : k + 9].reshape(3, k), theta[k + 9 : k + 18].reshape(3, k)
        slopes = theta[k + 18 :].reshape(3, k).tanh()
        t = x * (2 / 5) - 1.0
        total = torch.zeros(len(x), dtype=torch.float64)
        for c in range(k):
            means = [
                loc[0, c].expand(len(x)),
                loc[1, c] + slopes[0, c] * t[:, 0],
                loc[2, c] + slopes[1, c] * t[:, 0] + slopes[2, c] * t[:, 1],
            ]
            one = DiscretizedLogistics(6, 1).double()
            each = [
                one.log_prob(x[:, i], torch.stack([torch.zeros_like(m), m, raw[i, c].expand(len(x))], dim=-1))
                for i, m in enumerate(means)
            ]
            total = total + (log_w[c] + sum(each)).exp()
        assert torch.allclose(p, total, atol=1e-12)

    def test_one_channel_is_a_mixture_of_logistics(self):
        family, plain = SubPixels(5, channels=1, components=3), DiscretizedLogistics(5, 3)
        theta = torch.randn(4, family.parameters_of_one, generator=torch.Generator().manual_seed(3))
        x = torch.arange(5).unsqueeze(-1)
        assert torch.allclose(family.log_prob(x, theta[:, None, :]), plain.log_prob(x[:, 0], theta[:, None, :]))
        assert family.sample(theta).shape == (4, 1)
        assert torch.equal(family.start(x), plain.start(x[:, 0]))

    def test_draws_have_the_distribution(self):
        family = SubPixels(3, channels=2, components=2)
        theta = torch.randn(family.parameters_of_one, generator=torch.Generator().manual_seed(2))
        torch.manual_seed(0)
        x = family.sample(theta.expand(20_000, -1)).long()
        share = torch.bincount(3 * x[:, 0] + x[:, 1], minlength=9) / 20_000
        assert torch.allclose(share, family.log_prob(all_events(3, 2), theta).exp(), atol=0.015)

    def test_channels_of_an_image_come_with_their_pixel(self):
        torch.manual_seed(0)
        family = SeparateChannels(Levels(4), 3)
        network = PixelCNN((2, 2), family.parameters_of_one, hidden=8, layers=2, channels=family.inputs)
        density = randomize(Autoregressive(family, network, event_shape=(3, 2, 2)))
        x = torch.randint(4, (1, 3, 2, 2), dtype=torch.uint8)
        terms = density.terms(x)
        changed = x.clone()
        changed[:, :, 1, 0] = (changed[:, :, 1, 0] + 1) % 4  # the third pixel, in all of its channels
        moved = (density.terms(changed) - terms).abs().flatten() > 1e-7
        assert terms.shape == (1, 2, 2)
        assert moved.tolist() == [False, False, True, True]


class TestAsAPart:
    """An autoregressive density stands wherever a density does, with no line written for it."""

    def test_as_the_base_of_a_flow(self):
        flow = ab.Flow(
            ab.flows.realnvp(features=4, blocks=2, hidden=(8,)), base=model(Mapped(RationalQuadraticSpline(4)))
        )
        x, log_p = flow.sample_and_log_prob((50,), generator=0)
        assert torch.allclose(flow.log_prob(x), log_p, atol=1e-4)

    def test_as_prior_and_decoder_of_a_latent_variable(self):
        prior = model(Gaussians(2), 2)
        decoder = model(Bernoulli(), 6, context=2)
        latent = ab.LatentVariable(prior, decoder, Normal([0.0, 0.0], context=6, learnable=True))
        x = latent.sample((100,), generator=0)
        bound = latent.lower_bound(x, generator=0)
        value, error = latent.estimate(x, samples=500, generator=0)
        assert float(bound.detach().mean()) < float(value.mean()) + 3 * float(error.mean())
        assert bool(bound.isfinite().all())

    def test_as_a_component(self):
        parts = [model(Bernoulli(), 6, seed=1), BernoulliDensity(torch.zeros(6), learnable=True)]
        mixture = ab.FlowMixture(parts)
        x = all_events(2, 6)
        assert float(mixture.log_prob(x).detach().exp().sum()) == pytest.approx(1, abs=1e-5)
        assert mixture.responsibilities(x).shape == (64, 2)


class TestDepths:
    def test_a_mixture_over_sequences_is_the_sum_of_its_layers(self):
        family = Levels(3)
        torch.manual_seed(0)
        network = FiniteMemory(4, 3, channels=3, memory=3, hidden=8, layers=3)
        density = randomize(SequenceDepthMixture(family, network)).requires_grad_(False)
        x = all_events(3, 4)
        each = density.joint_log_prob(x) - density.logits.log_softmax(0)
        assert torch.allclose(each.exp().sum(dim=0), torch.ones(3), atol=1e-5)  # each depth is a density
        assert float(density.log_prob(x).exp().sum()) == pytest.approx(1, abs=1e-5)

    def test_positions_leave_where_the_gate_says(self):
        torch.manual_seed(0)
        network = FiniteMemory(4, 3, channels=3, memory=3, hidden=8, layers=3)
        density = randomize(StepDepthMixture(Levels(3), network)).requires_grad_(False)
        x = all_events(3, 4)
        assert float(density.log_prob(x).exp().sum()) == pytest.approx(1, abs=1e-5)
        drawn, depths = density.sample_with_depth(6000, generator=0)
        assert torch.equal(drawn, density.sample((6000,), generator=0))
        assert torch.allclose(depths.double().mean(dim=0), density.depth_of(drawn).double().mean(dim=0), atol=0.06)
        share = torch.zeros(81).index_add_(0, (drawn @ torch.tensor([27.0, 9.0, 3.0, 1.0])).long(), torch.ones(6000))
        assert torch.allclose(share / 6000, density.log_prob(x).exp(), atol=0.03)

    @pytest.mark.parametrize("kind", [SequenceDepthMixture, StepDepthMixture])
    def test_an_impossible_row_leaves_the_gradient_of_others_alone(self, kind):
        torch.manual_seed(0)
        density = randomize(kind(Levels(3), FiniteMemory(4, 3, channels=3, hidden=8))).train()
        losses = density.loss(torch.tensor([[0, 1, 2, 0], [0, 7, 1, 1]]))
        losses.sum().backward()
        assert losses.isinf().tolist() == [False, True]
        assert all(bool(p.grad.isfinite().all()) for p in density.parameters() if p.grad is not None)

    def test_positions_that_leave_are_drawn_under_autocast(self):
        density = StepDepthMixture(Levels(3), FiniteMemory(4, 3, channels=3, hidden=8))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert density.sample((5,)).dtype == torch.float32

    def test_a_price_makes_samples_shorter(self):
        x = torch.randint(2, (300, 6), generator=torch.Generator().manual_seed(0)).float()
        depths = []
        for price in (0.0, 0.5):
            torch.manual_seed(0)
            network = FiniteMemory(6, 1, memory=3, hidden=8, layers=3)
            density = StepDepthMixture(Bernoulli(), network, price=price)
            ab.fit(density, x, epochs=5, batch_size=50, learning_rate=2e-2, seed=0, progress=False, compile=False)
            depths.append(float(density.depth_of(x).mean()))
        assert depths[1] < depths[0] - 0.5


class TestBadInput:
    def test_networks_that_do_not_fit(self):
        with pytest.raises(ValueError, match="network: expected 3 outputs a position, the parameters of Levels, got 2"):
            Autoregressive(Levels(3), MaskedMLP(4, 2, channels=3))
        with pytest.raises(
            ValueError, match="network: expected channels=3, what it reads of a position of Levels, got None"
        ):
            Autoregressive(Levels(3), MaskedMLP(4, 3))
        with pytest.raises(ValueError, match="order: expected each of 0 to 3 once"):
            Autoregressive(Bernoulli(), MaskedMLP(4, 1), order=[0, 1, 1, 2])
        with pytest.raises(ValueError, match=r"order: expected numbers from 0 on, got \[0.5, 1, 2, 3\]"):
            Autoregressive(Bernoulli(), MaskedMLP(4, 1), order=[0.5, 1, 2, 3])
        with pytest.raises(ValueError, match="family: expected a Family, got int"):
            SeparateChannels(3, 2)
        with pytest.raises(ValueError, match="lead: expected a number of at least 0, got -1"):
            StepDepthMixture(Bernoulli(), FiniteMemory(4, 1), lead=-1)
        with pytest.raises(ValueError, match=r"event_shape: expected 4 numbers, those of \(4,\), got \(5,\)"):
            Autoregressive(Bernoulli(), MaskedMLP(4, 1), event_shape=(5,))

    def test_images_that_are_not_whole_numbers(self):
        density = model(Levels(17), (2, 2)).requires_grad_()
        with pytest.raises(
            ValueError, match=r"x: expected whole numbers from 0 to 16, got 0.5 in row 1, position \(0, 1\)"
        ):
            ab.fit(
                density, torch.tensor([[[0.0, 1.0], [2.0, 3.0]], [[1.0, 0.5], [0.0, 0.0]]]), epochs=1, progress=False
            )
        with pytest.raises(ValueError, match="x: expected whole numbers from 0 to 16, got 17 in row 2"):
            ab.fit(density, torch.tensor([0, 5, 17]).repeat_interleave(4).reshape(3, 2, 2), epochs=1, progress=False)

    @pytest.mark.parametrize("family", [Bernoulli(), Levels(5), DiscretizedLogistics(5, 2), SubPixels(5, 2, 2)])
    def test_infinite_levels_have_no_probability(self, family):
        density = model(family)
        x = torch.ones(2, *density.event_shape)
        x[0].flatten()[0], x[1].flatten()[0] = torch.inf, 3e38
        assert density.log_prob(x).tolist() == [-torch.inf, -torch.inf]
        x[0].flatten()[0] = torch.nan
        assert density.log_prob(x).isnan().tolist() == [True, False]

    def test_far_from_the_mean_probabilities_stay_logarithms(self):
        density = model(DiscretizedLogistics(256, 1), 2)
        density.chain.start.b.data = torch.tensor([[0.0, -400.0, -6.0], [0.0, 0.0, 0.0]])
        log_p = density.log_prob(torch.tensor([255, 3], dtype=torch.uint8))
        assert bool(log_p.isfinite()) and float(log_p) < -1e4
