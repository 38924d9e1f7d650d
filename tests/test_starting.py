"""Starts from clusterings, the best of several starts, averaged weights and noise that fades."""

import math

import numpy as np
import pytest
import torch

import anabranch as ab
from anabranch.densities import Normal
from anabranch.networks import MLP
from anabranch.objectives import Likelihood, Objective
from anabranch.training.averaging import Average
from anabranch.training.background import background_weight, before_background, broad_density

METHODS = ("k-means", "Gaussian mixture", "spectral")


def blobs(count=90, components=3, seed=0, features=2):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(components, (count,), generator=generator)
    centres = 8.0 * torch.eye(components, features)
    return torch.randn(count, features, generator=generator) + centres[truth], truth


def mixture(components=3, heads="affine", posterior=True, trunk=None, features=2, context=0):
    torch.manual_seed(0)
    parts = [ab.Flow(ab.flows.realnvp(features, blocks=2, hidden=(8,), context=context)) for _ in range(components)]
    network = MLP(features, components, hidden=(16,)) if posterior else None
    return ab.FlowMixture(parts, posterior=network, heads=heads, trunk=trunk)


def same_partition(one, other):
    return bool(((one[:, None] == one) == (other[:, None] == other)).all())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_blobs_and_places_the_components(method):
    x, truth = blobs()
    model = mixture()
    assigned = ab.start_from(model, x, method, epochs=400)
    assert same_partition(assigned, truth)
    shares = assigned.bincount() / len(x)
    assert torch.allclose(model.weights(), shares, atol=2e-3)
    for k in range(3):
        own = x[assigned == k]
        assert torch.allclose(model.heads.loc[k], own.mean(0), atol=1e-4)
        u = model.heads(own)[0][k].detach()
        assert torch.allclose(u.std(0, correction=0), torch.ones(2), atol=0.6)
    # the components' own densities and the network agree with the clusters before any fit
    assert float((model.responsibilities(x).argmax(-1) == assigned).float().mean()) > 0.95
    assert float((model.log_posterior(x).argmax(-1) == assigned).float().mean()) > 0.95


def test_the_posterior_alone_is_trained():
    x, truth = blobs()
    placed, trained = mixture(), mixture()
    ab.start_from(placed, x, truth, epochs=0)
    ab.start_from(trained, x, truth, epochs=3)
    for (name, before), after in zip(placed.named_parameters(), trained.parameters(), strict=True):
        assert torch.equal(before, after) != name.startswith("posterior"), name


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list])
def test_assignments_of_one_s_own(kind):
    x, truth = blobs()
    model = mixture(posterior=False)
    assert torch.equal(ab.start_from(model, x, kind(truth.tolist())), truth)
    for k in range(3):
        assert torch.allclose(model.heads.loc[k], x[truth == k].mean(0), atol=1e-4)


def test_a_cluster_without_rows_is_kept_small_and_finite():
    x, _ = blobs()
    for heads in ("none", "diagonal", "affine"):
        model = mixture(heads=heads)
        ab.start_from(model, x, torch.zeros(90, dtype=torch.long))
        assert 0 < float(model.weights().detach()[1]) < 0.01
        assert torch.isfinite(model.log_prob(x)).all()
        ab.fit(model, x, epochs=2, batch_size=30, seed=0)
        assert torch.isfinite(model.log_prob(x)).all()


@pytest.mark.parametrize("method", METHODS)
def test_clusters_are_numbered_as_most_known_labels_are(method):
    x, truth = blobs()
    for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2]):
        named = torch.tensor(order)[truth]
        labels = torch.full((90,), -1)
        labels[:30] = named[:30]
        labels[0] = (named[0] + 1) % 3  # one of them wrong
        assert torch.equal(ab.start_from(mixture(posterior=False), x, method, labels=labels), named)


def test_labels_of_some_classes_or_none_leave_a_numbering():
    x, truth = blobs()
    for labels in (torch.full((90,), -1), torch.where(truth == 1, 2, -1)):
        assigned = ab.start_from(mixture(posterior=False), x, labels=labels)
        assert same_partition(assigned, truth)
    assert bool((assigned[truth == 1] == 2).all())


@pytest.mark.parametrize("method", ["k-means", "spectral"])
def test_columns_are_standardised_first(method):
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(100) % 2
    x = torch.stack(
        [0.001 * (truth + 0.1 * torch.randn(100, generator=generator)), 1e4 * torch.rand(100, generator=generator)], -1
    )
    assert same_partition(ab.start_from(mixture(2, posterior=False), x, method, runs=10), truth)


def test_spectral_finds_rings():
    from anabranch.datasets import Circles

    x, ring = Circles().rows(100, seed=0)
    model = mixture(2)
    assert same_partition(ab.start_from(model, x, "spectral"), ring)
    assert not same_partition(ab.start_from(model, x, "k-means"), ring)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_start(method):
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    one, two = mixture(), mixture()
    torch.manual_seed(1)
    first = ab.start_from(one, x, method, seed=7)
    torch.manual_seed(2)
    assert torch.equal(ab.start_from(two, x, method, seed=7), first)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_a_start_leaves_the_global_generators_alone(method):
    x, _ = blobs()
    torch.manual_seed(5)
    np.random.seed(5)
    wanted = torch.rand(1), np.random.rand()
    model = mixture()
    torch.manual_seed(5)
    np.random.seed(5)
    ab.start_from(model, x, method)
    assert (torch.rand(1), np.random.rand()) == wanted


def test_a_trunk_a_context_and_arrays():
    x, truth = blobs()
    trunk = ab.flows.realnvp(2, blocks=2, hidden=(8,))
    model = mixture(trunk=trunk, context=1)
    context = torch.randn(90, 1)
    assigned = ab.start_from(model, x.numpy(), "k-means", context.numpy())
    assert same_partition(assigned, truth)
    z = trunk(x)[0]
    for k in range(3):
        assert torch.allclose(model.heads.loc[k], z[assigned == k].mean(0), atol=1e-4)
    assert torch.isfinite(model.log_prob(x, context)).all()


def test_float64_stays_float64():
    x, _ = blobs()
    model = mixture().double()
    ab.start_from(model, x.double())
    assert {p.dtype for p in model.parameters()} == {torch.float64}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_as_many_rows_as_components(method, count):
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    model = mixture(count)
    assigned = ab.start_from(model, x, method)
    assert sorted(assigned.tolist()) == list(range(count))
    assert torch.isfinite(model.log_prob(x)).all()


@pytest.mark.parametrize("method", METHODS)
def test_rows_that_are_there_many_times(method):
    x = torch.tensor([[0.0, 0.0], [5.0, 1.0], [1.0, 9.0]]).repeat(10, 1)
    model = mixture()
    assigned = ab.start_from(model, x, method)
    assert same_partition(assigned, torch.arange(3).repeat(10))
    ab.fit(model, x, validation=0, epochs=2, batch_size=7, seed=0)
    assert torch.isfinite(model.log_prob(x)).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("heads", ["none", "diagonal", "affine"])
@pytest.mark.parametrize("method", METHODS)
def test_rows_that_are_all_the_same(method, heads):
    x = torch.full((20, 2), 3.0)
    model = mixture(2, heads=heads)
    assert set(ab.start_from(model, x, method).tolist()) <= {0, 1}
    assert torch.isfinite(model.log_prob(x)).all() and torch.isfinite(model.loss(x)).all()
    ab.fit(model, x, validation=0, epochs=2, batch_size=5, seed=0)
    assert torch.isfinite(model.log_prob(x)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": torch.zeros(2, 2)}, "^x: expected at least 3 rows, one for each component, got 2"),
        ({"x": torch.zeros(9, 3)}, r"^x: expected shape"),
        ({"x": torch.full((9, 2), math.nan)}, "^x: expected finite numbers, got nan in row 0, column 0"),
        ({"method": "kmeans"}, "^method: expected one of 'k-means', 'Gaussian mixture', 'spectral', got 'kmeans'"),
        ({"method": [0, 1, 2]}, r"expected one for each of the 90 rows, got shape \(3,\)"),
        ({"method": [0, 1, 3] * 30}, r"expected numbers from -1 \(none\) to 2.*got 3 in row 2"),
        ({"method": [0, 1, -1] * 30}, "^method: expected a component for every row, got -1 for some"),
        ({"method": [0, 1, math.nan] * 30}, "expected whole numbers"),
        ({"labels": [0, 1, 3] * 30}, r"^labels: expected numbers from -1 \(none\) to 2.*got 3 in row 2"),
        ({"labels": [0, 1]}, r"^labels: expected one for each of the 90 rows, got shape \(2,\)"),
        ({"runs": 0}, "^runs: expected a whole number of at least 1, got 0"),
        ({"seed": -1}, "^seed: expected a whole number of at least 0, got -1"),
        ({"method": "spectral", "neighbours": 0}, "neighbours: expected a whole number of at least 1, got 0"),
        ({"mixture": Normal([0.0, 0.0])}, "^mixture: expected a FlowMixture, got Normal"),
    ],
)
def test_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        ab.start_from(**{"mixture": mixture(), "x": blobs()[0], **options})


def normal_at(loc):
    return Normal(torch.full((2,), float(loc)), learnable=True)


def test_the_start_of_lowest_loss_is_built_again_and_fitted():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    places = {5: 40.0, 6: 9.0, 7: -3.0, 8: 20.0}
    built = []

    def build(seed):
        built.append(seed)
        return normal_at(places[seed])

    options = {"learning_rate": 1e-3, "batch_size": 10, "validation": 0}
    density, history = ab.fit_best_of(build, x, starts=4, screening=2, seed=5, epochs=3, **options)
    assert built == [5, 6, 7, 8, 7]
    assert len(history.epochs) == 3 and history.seed == 7
    alone = normal_at(-3.0)
    ab.fit(alone, x, seed=7, epochs=3, **options)
    assert all(torch.equal(p, q) for p, q in zip(density.parameters(), alone.parameters(), strict=True))


@pytest.mark.parametrize("bad", [1e30, math.nan])
def test_a_start_that_comes_to_no_finite_loss_is_passed_over(bad):
    x = torch.randn(50, 2)

    def build(seed):
        density = normal_at(2.0)
        if seed != 1:
            with torch.no_grad():
                density.theta.loc.fill_(bad)
        return density

    density, history = ab.fit_best_of(build, x, starts=3, screening=1, epochs=2)
    assert history.seed == 1 and torch.isfinite(density.log_prob(x)).all()


@pytest.mark.parametrize("starts", [1, 2])
def test_no_start_with_a_finite_loss(starts):
    with pytest.raises(ab.NonFiniteError):
        ab.fit_best_of(lambda seed: normal_at(1e30), torch.randn(50, 2), starts=starts, screening=1, epochs=2)


def test_a_callback_hears_of_the_last_fit_alone():
    heard = []
    ab.fit_best_of(normal_at, torch.randn(20, 2), epochs=3, callback=heard.append, validation=0)
    assert [record.epoch for record in heard] == [1, 2, 3]


@pytest.mark.parametrize("option", ["starts", "screening", "epochs"])
def test_starts_are_counts(option):
    with pytest.raises(ValueError, match="expected a whole number of at least 1, got 0"):
        ab.fit_best_of(lambda seed: normal_at(0), torch.randn(20, 2), **{option: 0})


def test_the_average_by_hand():
    module = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)
    average = Average(module, 0.4)
    mean = 1.0
    for step, value in enumerate([3.0, -2.0, 5.0, 0.5, 8.0, 1.0], start=1):
        with torch.no_grad():
            module.weight.fill_(value)
        average.step()
        decay = min(0.4, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * value
        with average.applied():
            assert module.weight.item() == pytest.approx(mean, rel=1e-5)
        assert module.weight.item() == value
    average.restart()
    with average.applied():
        assert module.weight.item() == 1.0


def test_averaged_weights_come_back_after_an_error():
    module = torch.nn.Linear(1, 1)
    average = Average(module, 0.9)
    before = module.weight.clone()
    with torch.no_grad():
        module.weight.add_(1)
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert torch.equal(module.weight, before + 1)


class Watch(Objective):
    """The loss; it remembers the means before every step, rows, their numbers and how far the fit was."""

    def __init__(self):
        self.locs, self.batches = [], []

    def __call__(self, batch):
        self.locs.append(batch.density.theta.loc.detach().clone())
        self.batches.append((batch.x, batch.numbers, batch.progress))
        return batch.density.loss(batch.x)


def averaged(locs, decay):
    mean = locs[0]
    for step, loc in enumerate(locs[1:], start=1):
        d = min(decay, (1 + step) / (10 + step))
        mean = d * mean + (1 - d) * loc
    return mean


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99])
def test_a_fit_ends_with_the_average_of_its_steps(decay):
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    density, watch, ends = normal_at(3.0), Watch(), []

    def at_the_end_of_an_epoch(record):
        ends.append(density.theta.loc.detach().clone())

    options = {"epochs": 5, "batch_size": 10, "learning_rate": 0.1, "validation": 0, "seed": 0}
    ab.fit(density, x, objective=watch, average=decay, callback=at_the_end_of_an_epoch, **options)
    assert len(watch.locs) == 20
    wanted = averaged([*watch.locs, ends[-1]], decay)
    assert torch.allclose(density.theta.loc, wanted, atol=1e-6)
    assert torch.equal(density.theta.loc, ends[-1]) == (decay == 0)


def test_the_best_weights_are_averaged_ones():
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    held_out = torch.full((1, 2), 1.5)
    density, watch, ends = normal_at(3.0), Watch(), []
    density.theta.log_scale.requires_grad_(False)

    def at_the_end_of_an_epoch(record):
        ends.append(density.theta.loc.detach().clone())

    options = {"epochs": 8, "batch_size": 10, "learning_rate": 0.3, "seed": 0}
    history = ab.fit(
        density, x, objective=watch, average=0.8, validation=held_out, callback=at_the_end_of_an_epoch, **options
    )
    best = history.best_epoch
    assert 1 < best < 8
    wanted = averaged([*watch.locs[: 4 * best], ends[best - 1]], 0.8)
    assert torch.allclose(density.theta.loc, wanted, atol=1e-6)
    assert density.loss(held_out).mean().item() == pytest.approx(history.best_loss, rel=1e-5)
    assert not torch.allclose(density.theta.loc, ends[best - 1], atol=1e-2)


def test_averaging_does_not_change_the_steps():
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    steps = []
    for decay in (0.0, 0.9):
        watch = Watch()
        ab.fit(normal_at(3.0), x, objective=watch, average=decay, epochs=3, batch_size=10, seed=0)
        steps.append(torch.stack(watch.locs))
    assert torch.equal(*steps)


def test_weights_set_from_the_first_batch_are_where_the_average_begins():
    torch.manual_seed(0)
    x = 100 + 30 * torch.randn(40, 2)
    flow = ab.Flow(ab.transforms.Chain([ab.transforms.ActNorm(2)]), base=Normal([0.0, 0.0]))
    ab.fit(flow, x, average=0.999, epochs=1, batch_size=40, learning_rate=1e-4, validation=0, seed=0)
    z = flow.transform(x)[0].detach()
    assert float(z.mean().abs()) < 0.05 and float((z.std() - 1).abs()) < 0.05


def test_averages_are_fractions():
    for value in (1.0, -0.1, math.nan, True):
        with pytest.raises(ValueError, match=r"average: expected a fraction in \[0, 1\)"):
            ab.fit(normal_at(0), torch.randn(9, 2), average=value, validation=0, epochs=1)


@pytest.mark.filterwarnings("ignore::anabranch.training.ScaleWarning")  # ten epochs do not widen a normal to 50
def test_noise_fades_in_units_of_each_column():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 50.0])
    watch = Watch()
    ab.fit(normal_at(0), x, objective=watch, noise=0.4, epochs=10, batch_size=100, validation=0, seed=0)
    assert [progress for *_, progress in watch.batches] == pytest.approx([i / 50 for i in range(50)])
    for noisy, numbers, progress in watch.batches:
        size = (noisy - x[numbers]).square().mean(0).sqrt() / x.std(0)
        wanted = 0.4 * max(0.0, 1 - progress / 0.7)
        assert size.tolist() == pytest.approx([wanted, wanted], rel=0.35, abs=1e-6)
        if progress >= 0.7:
            assert torch.equal(noisy, x[numbers])
    assert any(progress >= 0.7 for *_, progress in watch.batches)


def test_no_noise_on_what_is_held_out_and_none_by_default():
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    held_out = torch.randn(10, 2, generator=torch.Generator().manual_seed(1))
    watch, density = Watch(), normal_at(0)
    ab.fit(density, x, objective=watch, validation=held_out, epochs=2, batch_size=20, seed=0)
    assert all(torch.equal(noisy, x[numbers]) for noisy, numbers, _ in watch.batches)
    history = ab.fit(density, x, noise=5.0, validation=held_out, epochs=1, batch_size=20, seed=0)
    assert density.loss(held_out).mean().item() == pytest.approx(history.best_loss, rel=1e-6)


def test_noise_is_a_size():
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="noise: expected a number above 0"):
            ab.fit(normal_at(0), torch.randn(9, 2), noise=value, validation=0, epochs=1)


def test_a_start_held_on_to_by_labels_that_fade():
    x, truth = blobs()
    model = mixture(heads="none")
    assigned = ab.start_from(model, x, labels=truth)
    objective = Likelihood(labels_until=0.5)
    ab.fit(model, x, labels=assigned, objective=objective, epochs=20, batch_size=10, learning_rate=0.01, seed=0)
    assert float((model.log_posterior(x).argmax(-1) == truth).float().mean()) > 0.95


def test_a_background_has_the_weight_that_unseen_rows_ask_for():
    p, b = torch.full((98,), 0.0), torch.full((98,), -3.0)
    assert background_weight(p, b) == pytest.approx(0.0104, abs=1e-3)  # hardly more than the one row of a hundred
    p[:20] = -500.0
    # 20 rows belong to the background, and it to hardly any other
    assert background_weight(p, b) == pytest.approx(21 / 100, abs=0.015)
    grid = torch.linspace(0.001, 0.999, 9981, dtype=torch.float64)
    rest = torch.logaddexp(torch.log1p(-grid)[:, None] + p.double(), grid.log()[:, None] + b.double()).sum(-1)
    best = grid[(rest + grid.log() + torch.log1p(-grid)).argmax()]
    assert background_weight(p, b) == pytest.approx(float(best), abs=2e-4)


def test_an_ensemble_with_a_background_is_a_density_that_fears_no_stray_row():
    x, truth = blobs(components=2)

    def build(seed):
        torch.manual_seed(seed)
        return ab.FlowMixture([Normal([8.0, 0.0], learnable=True), Normal([0.0, 8.0], learnable=True)])

    options = {"labels": truth, "members": 2, "folds": 5, "epochs": 3, "progress": False}
    plain, _ = ab.fit_ensemble(build, x, **options)
    behind, _ = ab.fit_ensemble(build, x, background=True, **options)
    assert behind.components == 2 and len(behind.members) == 3
    shares = behind.log_weights.exp()
    assert torch.allclose(shares[:2], (1 - shares[2]) / 2 * torch.ones(2)) and 0.005 < float(shares[2]) < 0.2
    torch.manual_seed(0)
    drawn = behind.members[2].sample((20_000,))
    inside = torch.cov(drawn[(drawn.abs() < 40).all(dim=1)].T)
    assert torch.allclose(inside, 3 * torch.cov(x.T), rtol=0.25, atol=1.0)
    stray = torch.tensor([[20.0, -12.0]])
    with torch.no_grad():
        assert float(plain.log_prob(stray)) < -100 and float(behind.log_prob(stray)) > -30
        cost = (plain.log_prob(x) - behind.log_prob(x)).mean()
        assert float(cost) < -math.log(1 - float(shares[2])) + 1e-4
        joint = behind.joint_log_prob(stray)[0]  # which belongs to no component
    assert float((joint[0] - joint[1]).abs()) < 1e-4
    with pytest.raises(ValueError, match="background: expected densities of all vectors and without a context"):
        ab.fit_ensemble(lambda seed: ab.densities.Uniform([0.0], [1.0]), torch.rand(20, 1), background=True)


def test_an_ensemble_weighs_its_members():
    one, two = Normal([0.0]), Normal([4.0])
    x = torch.tensor([[1.0], [3.0]])
    ensemble = ab.Ensemble([one, two], weights=[1.0, 3.0])
    wanted = torch.logaddexp(one.log_prob(x) + math.log(0.25), two.log_prob(x) + math.log(0.75))
    assert torch.allclose(ensemble.log_prob(x), wanted)
    torch.manual_seed(0)
    assert float((ensemble.sample((4000,)) > 2).float().mean()) == pytest.approx(0.25 * 0.023 + 0.75 * 0.977, abs=0.03)
    with pytest.raises(ValueError, match="weights: expected numbers of at least 0"):
        ab.Ensemble([one, two], weights=[1.0, -1.0])


def test_with_a_background_one_row_does_not_decide_which_weights_are_best():
    torch.manual_seed(0)
    x, held_out = 3 * torch.randn(200, 1), 3 * torch.randn(50, 1)
    held_out[0] = 400.0

    def best(background):
        model = Normal(
            [0.0], scale=[12.0], learnable=True
        )  # too broad: a fit narrows it, and calls the stray row impossible
        ab.fit(
            model, x, validation=held_out, epochs=30, learning_rate=0.1, background=background, seed=0, progress=False
        )
        return math.exp(-float(model.log_prob(torch.zeros(1)).detach())) / math.sqrt(
            2 * math.pi
        )  # its scale, at its centre

    assert best(background=False) > 11
    assert best(background=True) == pytest.approx(3.0, abs=0.4)
    losses, broad = torch.tensor([1.0, 1000.0]), torch.tensor([-5.0, -6.0])
    wanted = [-math.log(51 / 52 * math.exp(-1.0) + math.exp(-5.0) / 52), 6.0 + math.log(52)]
    assert before_background(losses, broad, 50).tolist() == pytest.approx(wanted, rel=1e-5)


def test_components_that_ended_in_all_members_leave_gradients_and_the_background_alone():
    model = ab.FlowMixture([Normal([0.0, 0.0]), Normal([1.0, 0.0]), Normal([0.0, 1.0])])
    model.annihilate([2])
    x = torch.tensor([[0.3, 0.1], [12.0, 0.0]], requires_grad=True)
    for members in ([model, model], [model, model, Normal([0.0, 0.0], scale=[5.0, 5.0])]):
        ensemble = ab.Ensemble(members, aligned=True)
        (gradient,) = torch.autograd.grad(ensemble.log_prob(x).sum(), x)
        assert bool(gradient.isfinite().all())
        r = ensemble.responsibilities(x).detach()
        assert torch.equal(r[:, 2], torch.zeros(2)) and torch.allclose(r.sum(-1), torch.ones(2))
    mean = torch.stack([torch.full((2,), 2 / 3).log() + model.log_prob(x), members[2].log_prob(x) - math.log(3)])
    assert torch.allclose(ensemble.log_prob(x), mean.logsumexp(0), atol=1e-5)


def test_an_ensemble_has_the_dtype_of_its_members():
    parts = [ab.densities.GaussianMixture(torch.randn(3, 2).double()) for _ in range(3)]
    x = torch.randn(4, 2).double()
    one = ab.Ensemble([parts[0]] * 3)
    assert torch.allclose(one.log_prob(x), parts[0].log_prob(x), rtol=0, atol=1e-14)
    assert one.sample((2,)).dtype == torch.float64
    weighted = ab.Ensemble(parts, weights=[0.2, 0.3, 0.5])
    wanted = sum(w * part.log_prob(x).exp() for w, part in zip((0.2, 0.3, 0.5), parts, strict=True)).log()
    assert torch.allclose(weighted.log_prob(x), wanted, rtol=0, atol=1e-14)


def test_a_broad_density_has_the_size_of_every_column():
    torch.manual_seed(0)
    x = torch.randn(2000, 2) * torch.tensor([1.0, 1e4])
    drawn = broad_density(x).sample((20_000,))
    ratio = (drawn.quantile(0.75, dim=0) - drawn.quantile(0.25, dim=0)) / (x.quantile(0.75, 0) - x.quantile(0.25, 0))
    # 1.13 of a t density of 3 degrees, more of sums of two, as columns that are alike are of their principal axes
    assert bool(((ratio > 1.05) & (ratio < 1.4)).all()) and float(ratio[0] / ratio[1]) == pytest.approx(1, abs=0.06)
    assert bool(broad_density(x[:1]).log_prob(x).isfinite().all())
