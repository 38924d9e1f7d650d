"""Objectives by hand: labels, temperature, consistency, information, annihilation, depth, and how they add up."""

import logging
import math
from contextlib import nullcontext

import pytest
import torch

import anabranch as ab
from anabranch.densities import Normal, Uniform
from anabranch.families import Bernoulli
from anabranch.models import Autoregressive
from anabranch.networks import MLP, InOrder, MaskedMLP
from anabranch.objectives import (
    Annihilation,
    Batch,
    Consistency,
    Depth,
    Information,
    Likelihood,
    Objective,
    RandomMember,
)
from anabranch.objectives.message_length import message_length
from anabranch.testing import randomize


def rows(count=20, features=2, seed=1):
    return torch.randn(count, features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mixture(components=3, posterior=True, weights=None):
    torch.manual_seed(0)
    parts = [ab.Flow(ab.flows.realnvp(2, blocks=2, hidden=(8,))) for _ in range(components)]
    network = MLP(2, components, hidden=(8,)) if posterior else None
    model = randomize(ab.FlowMixture(parts, posterior=network), 0.5)
    if weights is not None:
        with torch.no_grad():
            model.logits.copy_(torch.tensor(weights).log())
    return model.double()


def normals(components=4, posterior=False, scale=3.0):
    torch.manual_seed(0)
    parts = [Normal(m, learnable=True) for m in scale * torch.randn(components, 2)]
    return ab.FlowMixture(parts, posterior=MLP(2, components, hidden=(8,)) if posterior else None)


def batch(model, x, labels=None, progress=0.0, numbers=None):
    labels = None if labels is None else torch.tensor(labels)
    return Batch(model, x, None, labels, torch.arange(len(x)) if numbers is None else numbers, progress)


LABELS = [0, -1, 2, 1, -1]


@pytest.mark.parametrize("posterior", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 7.0])
def test_a_labelled_row_has_the_loss_of_both_and_no_other_row_notices(posterior, alpha):
    model, x = mixture(posterior=posterior), rows(5)
    loss = Likelihood(classification=alpha)(batch(model, x, LABELS))
    joint = model.joint_log_prob(x)
    log_q = torch.log_softmax(model.posterior(x) if posterior else joint, -1)
    for i, label in enumerate(LABELS):
        wanted = model.loss(x)[i] if label < 0 else -joint[i, label] - alpha * log_q[i, label]
        assert torch.allclose(loss[i], wanted)


def test_without_labels_it_is_the_loss():
    x = rows()
    for model in (mixture(), mixture(posterior=False), mixture().component_densities.densities[0]):
        assert torch.allclose(Likelihood()(batch(model, x)), model.loss(x))
    assert torch.allclose(Likelihood()(batch(mixture(), x, [-1] * 20)), mixture().loss(x))


def test_rows_without_a_label_keep_the_loss_of_a_base_with_a_network():
    chain = randomize(ab.flows.nsf(2, blocks=2, hidden=(8,)))
    model, x = ab.DepthMixture(chain, base=mixture(), hidden=(8,)).double(), rows()
    assert torch.allclose(Likelihood()(batch(model, x, [-1] * 20)), model.loss(x))


def test_labels_that_are_guesses_count_less_and_less():
    model, x = mixture(), rows(5)
    objective = Likelihood(labels_until=0.4)
    held, free = Likelihood()(batch(model, x, LABELS)), model.loss(x)
    for progress, share in [(0.0, 1.0), (0.1, 0.75), (0.3, 0.25), (0.4, 0.0), (0.9, 0.0)]:
        wanted = free + share * (held - free)
        assert torch.allclose(objective(batch(model, x, LABELS, progress)), wanted)


@pytest.mark.parametrize("progress", [0.4, 0.7])
def test_a_guess_that_counts_no_more_may_be_of_a_component_that_has_ended(progress):
    model, x = mixture(), rows(5)
    model.annihilate([1])
    loss = Likelihood(labels_until=0.4)(batch(model, x, LABELS, progress))
    assert torch.allclose(loss, model.loss(x))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_label_of_a_component_that_has_ended_is_impossible_and_no_nan(alpha):
    model, x = mixture(), rows(5)
    model.annihilate([1])
    loss = Likelihood(classification=alpha)(batch(model, x, LABELS))
    assert loss[3] == math.inf and torch.isfinite(loss[[0, 1, 2, 4]]).all()


def test_rows_without_a_label_are_spared_where_the_first_component_has_ended():
    model, x = mixture(), rows(3)
    model.annihilate([0])
    loss = Likelihood()(batch(model, x, [-1, 2, 1]))
    assert torch.isfinite(loss).all()
    gradients = torch.autograd.grad(loss.sum(), list(model.parameters()), allow_unused=True, materialize_grads=True)
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 4, 0], r"expected numbers from -1 \(none\) to 3, the mixture's components, got 4 in row 2"),
        ([0, -2, 1, 0], r"expected numbers from -1 \(none\) to 3, the mixture's components, got -2 in row 1"),
        ([0, 1], r"expected one for each of the 4 rows, got shape \(2,\)"),
        ([[0], [1], [0], [1]], r"expected one for each of the 4 rows, got shape \(4, 1\)"),
        ([0, 0.5, 1, 0], r"expected whole numbers from -1 \(none\) to 3, got others"),
        ([0, math.nan, 1, 0], r"expected whole numbers from -1 \(none\) to 3, got a gap in row 1"),
        ([0, math.inf, 1, 0], "expected"),
        ([True, False, True, True], r"expected whole numbers from -1 \(none\) to 3, got others"),
        (["a", "b", "a", "b"], "expected a tensor or an array of numbers"),
    ],
    ids=str,
)
def test_labels_that_are_none(labels, message):
    with pytest.raises(ValueError, match=f"^labels: {message}"):
        ab.fit(normals(), torch.randn(4, 2), labels=labels, validation=0, epochs=1)


def test_labels_for_what_has_no_components():
    with pytest.raises(ValueError, match=r"^labels: expected None, since a Normal has no components, got some"):
        ab.fit(Normal([0.0], learnable=True), torch.randn(4, 1), labels=[0] * 4, validation=0, epochs=1)


def test_labels_as_whole_floats_and_arrays_are_read():
    x = torch.randn(4, 2)
    for labels in ([0.0, -1.0, 1.0, 3.0], torch.tensor([0, -1, 1, 3], dtype=torch.int8)):
        assert ab.fit(normals(), x, labels=labels, validation=0, epochs=1, seed=0).stopped == "epochs"


def test_labels_decide_which_component_is_which():
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(200) % 2
    x = torch.randn(200, 2, generator=generator) + 4.0 * truth.unsqueeze(-1)
    for names in ([0, 1], [1, 0]):
        named = torch.tensor(names)[truth]
        labels = torch.where(torch.arange(200) < 40, named, -1)
        model = normals(2, posterior=True, scale=0.5)
        ab.fit(model, x, labels=labels, validation=0, epochs=30, batch_size=40, learning_rate=0.1, seed=0)
        assert float((model.log_posterior(x).argmax(-1) == named).float().mean()) > 0.95
        assert float((model.responsibilities(x).argmax(-1) == named).float().mean()) > 0.95


def test_a_fit_takes_labels_to_their_rows_through_split_and_shuffle():
    x = rows(30).float()
    labels = torch.arange(30) % 4
    seen = {}

    class Look(Objective):
        def __call__(self, batch):
            seen.update({tuple(row): int(label) for row, label in zip(batch.x.tolist(), batch.labels, strict=True)})
            return batch.density.loss(batch.x)

    ab.fit(normals(), x, labels=labels, objective=Look(), validation=0.2, epochs=1, batch_size=7, seed=0)
    assert len(seen) == 24
    assert all(seen.get(tuple(row), int(label)) == label for row, label in zip(x.tolist(), labels, strict=True))


def test_the_temperature_weighs_the_entropy_of_q_and_falls_to_one():
    model, x = mixture(), rows(5)
    joint, log_q = model.joint_log_prob(x), model.log_posterior(x)
    for progress, temperature in [(0.0, 16.0), (0.25, 4.0), (0.375, 2.0), (0.5, 1.0), (0.9, 1.0)]:
        loss = Likelihood(temperature=16, until=0.5)(batch(model, x, progress=progress))
        assert torch.allclose(loss, -(log_q.exp() * (joint - temperature * log_q)).sum(-1))


def test_a_high_temperature_spreads_q():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=generator) + 6.0 * (torch.arange(200) % 2).unsqueeze(-1)
    entropy = {}
    for temperature in (1.0, 100.0):
        model = normals(2, posterior=True)
        objective = Likelihood(temperature=temperature, until=1e6)
        ab.fit(model, x, objective=objective, validation=0, epochs=10, batch_size=50, learning_rate=0.02, seed=0)
        log_q = model.log_posterior(x).detach()
        entropy[temperature] = float(-(log_q.exp() * log_q).sum(-1).mean())
    assert entropy[100.0] > 0.65 > entropy[1.0] + 0.2


def test_a_temperature_without_a_network_is_refused():
    x = torch.randn(10, 2)
    with pytest.raises(ValueError, match="temperature: expected 1, since the density has no posterior network"):
        ab.fit(normals(), x, objective=Likelihood(temperature=2), validation=0, epochs=1)
    with pytest.raises(ValueError, match="temperature: expected 1, since the density has no posterior network"):
        ab.fit(Normal([0.0, 0.0], learnable=True), x, objective=Likelihood(temperature=2), validation=0, epochs=1)


@pytest.mark.parametrize("option", ["classification", "temperature", "until", "labels_until"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, True])
def test_numbers_that_are_no_weights(option, value):
    with pytest.raises(ValueError, match=f"^{option}: expected a number above 0, got {value}"):
        Likelihood(**{option: value})


def test_consistency_with_a_change_of_nothing_is_zero():
    model = mixture()
    assert torch.equal(Consistency(lambda x: x)(batch(model, rows())), torch.zeros(20, dtype=torch.float64))


def test_consistency_is_half_of_both_divergences():
    for model in (mixture(), mixture(posterior=False)):
        x = rows()
        p, q = model.log_posterior(x), model.log_posterior(x + 1)
        wanted = 0.5 * ((p.exp() - q.exp()) * (p - q)).sum(-1)
        loss = Consistency(lambda x: x + 1)(batch(model, x))
        assert torch.allclose(loss, wanted) and bool((loss > 0).all())


def test_the_gradient_of_consistency_reaches_both_ends():
    # q of x reads the first column of the weights, q of x' the second
    posterior = MLP(2, 3, hidden=())
    model = ab.FlowMixture([Normal.standard(2)] * 3, posterior=posterior)
    x, changed = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    Consistency(lambda x: x.flip(-1))(batch(model, x)).sum().backward()
    q, other = model.log_posterior(x)[0].exp(), model.log_posterior(changed)[0].exp()
    gradient = posterior.layers[0].weight.grad
    assert torch.allclose(gradient[:, 0], 0.5 * (q - other), atol=1e-6)
    assert torch.allclose(gradient[:, 1], 0.5 * (other - q), atol=1e-6)
    assert float(gradient.abs().max()) > 1e-3


def test_a_component_that_has_ended_leaves_consistency_and_information_finite():
    model, x = mixture(), rows()
    model.annihilate([1])
    loss = (Consistency(lambda x: x + 1) + Information())(batch(model, x))
    parameters = list(model.posterior.parameters())
    gradients = torch.autograd.grad(loss.sum(), parameters)
    assert torch.isfinite(loss).all() and all(bool(torch.isfinite(g).all()) for g in gradients)


class Watched(Consistency):
    """Remembers what x was changed to."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seen = []

    def _changed(self, batch):
        changed = super()._changed(batch)
        self.seen += list(zip(batch.x, changed[0], strict=True))
        return changed


@pytest.mark.filterwarnings("ignore:after the fit the density is")
def test_noise_is_in_units_of_each_column():
    x = torch.randn(2000, 2) * torch.tensor([1.0, 50.0]) + 7
    objective = Watched(0.1)
    ab.fit(normals(posterior=True), x, objective=objective, validation=0, epochs=1, batch_size=10, seed=0)
    noise = torch.stack([b - a for a, b in objective.seen]).std(0) / x.std(0)
    assert torch.allclose(noise, torch.full((2,), 0.1), atol=0.01)


@pytest.mark.parametrize("validation", [0, 0.5])
def test_neighbours_are_the_nearest_training_rows_whatever_is_held_out(validation):
    x = rows(60).float()
    objective = Watched("neighbours", neighbours=3)
    model = normals(posterior=True)
    ab.fit(model, x, objective=objective, validation=validation, epochs=4, batch_size=10, seed=0)
    training = torch.stack(list({tuple(a.tolist()): a for a, _ in objective.seen}.values()))
    assert len(training) == (60 if validation == 0 else 30)
    met = {}
    for a, b in objective.seen:
        near = (training - a).square().sum(-1).argsort()[1:4]
        place = (training[near] == b).all(-1).nonzero().flatten().tolist()
        assert place, "not one of the three nearest training rows"
        met.setdefault(place[0], 0)
    assert set(met) == {0, 1, 2}


def test_neighbours_of_very_few_rows():
    model = normals(posterior=True)
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    objective = Watched("neighbours", neighbours=10)
    ab.fit(model, x, objective=objective, validation=0, epochs=2, batch_size=1, seed=0)
    assert all(torch.equal(b, 1 - a) for a, b in objective.seen) and len(objective.seen) == 4
    with pytest.raises(ValueError, match="x: expected at least two rows for neighbours, got one"):
        ab.fit(model, x[:1], objective=objective, validation=0, epochs=1)


def test_a_fit_with_consistency_smooths_q():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    model = normals(2, posterior=True)
    randomize(model.posterior, 0.5)

    def disagreement():
        torch.manual_seed(0)
        return Consistency(0.5)(batch(model, x)).mean().item()

    before = disagreement()
    ab.fit(model, x, objective=Consistency(0.5), validation=0, epochs=10, batch_size=50, learning_rate=0.02, seed=0)
    assert disagreement() < 0.3 * before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("neighbors", "change: expected a number, a function or 'neighbours', got 'neighbors'"),
        (0, "change: expected a number above 0, got 0"),
        (-0.1, "change: expected a number above 0"),
        (math.nan, "change: expected a number above 0"),
        (None, "change: expected a number above 0, got None"),
    ],
)
def test_changes_that_are_none(change, message):
    with pytest.raises(ValueError, match=message):
        Consistency(change)


def test_neighbours_is_a_count():
    with pytest.raises(ValueError, match="neighbours: expected a whole number of at least 1, got 0"):
        Consistency("neighbours", neighbours=0)


@pytest.mark.parametrize("sureness", [0, 0.5, 1.0])
def test_information_by_hand(sureness):
    model, x = mixture(), rows()
    q = model.log_posterior(x).exp()
    balance = -(q.mean(0) * q.mean(0).log()).sum()
    spread = -(q * q.log()).sum(-1).mean()
    value = Information(sureness)(batch(model, x))
    assert torch.allclose(value, (sureness * spread - balance).expand(20))


def test_information_of_sure_and_balanced_posteriors_is_the_logarithm_of_k():
    posterior = MLP(2, 2, hidden=())
    with torch.no_grad():
        posterior.layers[0].weight.copy_(torch.tensor([[1e4, 0.0], [-1e4, 0.0]]))
        posterior.layers[0].bias.zero_()
    model = ab.FlowMixture([Normal.standard(2)] * 2, posterior=posterior)
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    value = Information()(batch(model, x))
    assert torch.allclose(value, torch.tensor(-math.log(2.0)).expand(2))
    gradients = torch.autograd.grad(value.sum(), list(posterior.parameters()))
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    # one row says nothing of balance
    assert Information()(batch(model, x[:1])).abs().item() < 1e-6


def test_annihilation_by_hand():
    weights = [0.1, 0.2, 0.7]
    model, x = mixture(weights=weights), rows(50)
    objective = Annihilation(support=5)
    objective.prepare(batch(model, x), epochs=100)
    value = objective(batch(model, x[:4]))
    assert torch.allclose(value, torch.tensor(5 / 50 * math.log(0.1 * 0.2 * 0.7), dtype=torch.float64).expand(4))
    # d/d logit_j of sum_k log w_k = 1 - K w_j: a step down takes weight from those below 1 / K
    gradient = torch.autograd.grad(value.mean(), model.logits)[0]
    assert torch.allclose(gradient, 5 / 50 * (1 - 3 * model.weights()))
    assert (gradient > 0).tolist() == [True, True, False]


def test_annihilation_of_those_alive_only():
    model, x = mixture(weights=[0.1, 0.2, 0.7]), rows(50)
    objective = Annihilation(support=5)
    objective.prepare(batch(model, x), epochs=100)
    model.annihilate([0])
    value = objective(batch(model, x[:4]))
    wanted = 5 / 50 * (math.log(0.2 / 0.9) + math.log(0.7 / 0.9))
    assert torch.allclose(value, torch.tensor(wanted, dtype=torch.float64).expand(4))
    gradient = torch.autograd.grad(value.mean(), model.logits)[0]
    alive = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    assert torch.allclose(gradient, 5 / 50 * (alive - 2 * model.weights()), atol=1e-12)


@pytest.mark.parametrize("logit", [-50.0, -200.0, -1e6])
def test_annihilation_of_weights_of_next_to_nothing_is_finite(logit):
    model, x = mixture(), rows(50)
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.0, logit, 0.0]))
    objective = Annihilation(support=5)
    objective.prepare(batch(model, x), epochs=100)
    value = objective(batch(model, x))
    gradient = torch.autograd.grad(value.sum(), model.logits)[0]
    assert torch.isfinite(value).all() and torch.isfinite(gradient).all()
    assert float(value[0].detach()) > 5 / 50 * 3 * math.log(5 / 50 / 10)


def gaussians(components, heads="affine"):
    return ab.FlowMixture([Normal.standard(2) for _ in range(components)], heads=heads)


def blobs(centres, count=150, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([0.5 * torch.randn(count, 2, generator=generator) + torch.tensor(c) for c in centres])


THREE = [[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]]


def found(x, components=8, annihilation=None, epochs=40, **options):
    model = gaussians(components)
    ab.start_from(model, x, seed=0)
    annihilation = Annihilation() if annihilation is None else annihilation
    objective = Likelihood() + annihilation
    history = ab.fit(model, x, objective=objective, **{"epochs": epochs, "batch_size": 100, "seed": 0, **options})
    assert annihilation.found == int(model.alive.sum()) and torch.isfinite(model.log_prob(x)).all()
    assert not model.weights()[~model.alive].any()
    return model, annihilation, history


def test_a_message_length_by_hand():
    length = message_length(-1000.0, torch.tensor([0.25, 0.0, 0.75]), torch.tensor([5, 7, 3]), 480)
    wanted = 2.5 * math.log(120) + 1.5 * math.log(360) + 0.5 * math.log(480) + 1000
    assert length == pytest.approx(wanted)


def test_a_component_of_few_rows_is_not_told_in_less_than_nothing():
    wide = message_length(0.0, torch.tensor([1e-9, 1.0]), torch.tensor([100, 4]), 12)
    assert wide == pytest.approx(2 * math.log(12) + 0.5 * math.log(12), rel=1e-5)


def test_what_a_component_has_for_itself():
    assert gaussians(3).own_parameters().tolist() == [5, 5, 5]
    assert gaussians(2, heads="diagonal").own_parameters().tolist() == [4, 4]
    parts = [Normal([0.0, 0.0], learnable=True), Normal([0.0, 0.0], scale_tril=torch.eye(2), learnable=True)]
    assert ab.FlowMixture(parts).own_parameters().tolist() == [4, 5]
    shared = ab.Flow(ab.flows.realnvp(2, context=3, blocks=2, hidden=(8,)))
    assert ab.FlowMixture(ab.models.Embedded(shared, 2), heads="affine").own_parameters().tolist() == [8, 8]
    assert ab.FlowMixture([Normal.standard(2)] * 2).own_parameters().tolist() == [2, 2]


@pytest.mark.parametrize("recipe", [ab.flows.maf, ab.flows.nsf])
def test_weights_of_masked_networks_are_no_component_s_own_numbers(recipe):
    small, large = (ab.Flow(recipe(2, blocks=2, hidden=hidden)) for hidden in ((4,), (64, 64)))
    counts = ab.FlowMixture([small, large]).own_parameters().tolist()
    assert counts[0] == counts[1] < 20
    # so few rows as there are do not end all but one at once
    model, x = ab.FlowMixture([ab.Flow(recipe(2, blocks=2)) for _ in range(3)]), rows(90).float()
    ab.fit(model, x, objective=Likelihood() + Annihilation(until=0.99), validation=0, epochs=10, seed=0, callback=bool)
    assert int(model.alive.sum()) == 3


def test_what_is_frozen_is_no_number_of_a_component_and_does_not_move():
    x, model = blobs(THREE), gaussians(3)
    ab.start_from(model, x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shares = model.responsibilities(x).detach()
    other = shares.roll(1, dims=-1)
    model.heads.packed.requires_grad_(False)
    assert model.own_parameters().tolist() == [4, 4, 4]
    model.logits.requires_grad_(False)
    model.follow(x, shares, other)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    told = ab.models.Embedded(ab.Flow(ab.flows.realnvp(2, context=3, blocks=2, hidden=(8,))), 2)
    told.embeddings.requires_grad_(False)
    assert ab.FlowMixture(told).own_parameters().tolist() == [2, 2]


def test_a_component_has_at_least_one_number_for_each_feature():
    shared = ab.Flow(ab.flows.realnvp(4, context=1, blocks=2, hidden=(8,)))
    assert ab.FlowMixture(ab.models.Embedded(shared, 2)).own_parameters().tolist() == [4, 4]


@pytest.mark.parametrize(
    ("name", "shares", "message"),
    [
        ("before", torch.ones(4, 3), r"expected shape \(4, 2\), got \(4, 3\)"),
        ("after", torch.ones(3, 2), r"expected shape \(4, 2\), got \(3, 2\)"),
        ("after", [[0.5, 0.5]] * 3 + [[math.nan, 1]], "expected finite numbers, got nan in row 3, column 0"),
        ("before", [[0.5, 0.5]] * 3 + [[-1, 1]], "expected shares of at least 0, got -1.0"),
    ],
)
def test_shares_that_cannot_be_followed(name, shares, message):
    model, good = gaussians(2), {"before": torch.full((4, 2), 0.5), "after": torch.full((4, 2), 0.5).numpy()}
    before = model.heads.loc.clone()
    with pytest.raises(ValueError, match=f"^{name}: {message}"):
        model.follow(torch.randn(4, 2).numpy(), **(good | {name: shares}))
    assert torch.equal(model.heads.loc, before)
    model.follow(torch.randn(4, 2).numpy(), **good)


@pytest.mark.parametrize("heads", ["diagonal", "affine"])
def test_components_follow_their_rows_as_in_the_m_step(heads):
    x = blobs(THREE)
    model = gaussians(2, heads)
    before = torch.nn.functional.one_hot((torch.arange(450) >= 225).long(), 2).float()
    model.place(x, before)
    for k in range(2):  # exactly: without the shrinkage of `place`
        mean, centred = x[before[:, k] > 0].mean(0), x[before[:, k] > 0] - x[before[:, k] > 0].mean(0)
        covariance = centred.mT @ centred / 225
        factor = torch.linalg.cholesky(torch.diag(covariance.diagonal()) if heads == "diagonal" else covariance)
        with torch.no_grad():
            model.heads.loc[k], model.heads.log_scale[k] = mean, factor.diagonal().log()
            if heads == "affine":
                model.heads.packed[k, 0] = factor[1, 0]
    after = torch.rand(450, 2, generator=torch.Generator().manual_seed(0))
    after = after / after.sum(-1, keepdim=True)
    model.follow(x, before, after)
    assert torch.allclose(model.weights(), after.mean(0), atol=1e-5)
    for k in range(2):
        share = after[:, k : k + 1] / after[:, k].sum()
        mean = (share * x).sum(0)
        covariance = (share * (x - mean)).mT @ (x - mean)
        lower = model.heads._lower()[k]
        wanted = torch.diag(covariance.diagonal()) if heads == "diagonal" else covariance
        assert torch.allclose(model.heads.loc[k], mean, atol=1e-3)
        assert torch.allclose(lower @ lower.mT, wanted, rtol=5e-3, atol=5e-3)


def test_a_component_whose_rows_have_not_changed_stays_where_it_is():
    x = blobs(THREE)
    model = gaussians(3)
    ab.start_from(model, x)
    shares = model.responsibilities(x).detach()
    before = {name: value.clone() for name, value in model.heads.state_dict().items()}
    model.follow(x, shares, shares)
    assert all(torch.allclose(value, before[name], atol=1e-5) for name, value in model.heads.state_dict().items())


@pytest.mark.parametrize(("centres", "wanted"), [(THREE, 3), (THREE[:2], 2), (THREE[:1], 1)], ids=str)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_surplus_components_vanish(centres, wanted, seed, caplog):
    x = blobs(centres, seed=seed)
    with caplog.at_level(logging.INFO, "anabranch"):
        model, annihilation, _ = found(x)
    assert annihilation.found == wanted and f"{wanted} components found" in caplog.text
    assert min(annihilation.lengths, key=annihilation.lengths.get) == wanted
    assert set(annihilation.lengths) == set(range(1, 9))
    pruned = model.prune(0)
    assert pruned.components == wanted and torch.allclose(pruned.log_prob(x), model.log_prob(x), atol=1e-5)


def test_a_small_cluster_is_not_taken_for_a_surplus():
    x = torch.cat([blobs(THREE[:2], count=200), blobs(THREE[2:], count=20)])
    model, annihilation, _ = found(x, components=6)
    assert annihilation.found == 3 and model.weights()[model.alive].min().item() == pytest.approx(20 / 420, abs=0.02)


def test_what_was_found_stays_and_no_earlier_weights_come_back():
    seen, annihilation = [], Annihilation(until=0.5)
    model = None

    def look(epoch):
        seen.append((annihilation.found, model.alive.tolist()))

    x = blobs(THREE[:2])
    model = gaussians(6)
    ab.start_from(model, x)
    # next to no patience: the search must not be cut short by it
    objective = Likelihood() + annihilation
    history = ab.fit(model, x, objective=objective, epochs=30, batch_size=100, patience=1, seed=0, callback=look)
    first = next(i for i, (number, _) in enumerate(seen) if number is not None)
    assert 12 <= first <= 16 and all(alive == model.alive.tolist() for _, alive in seen[first:])
    assert history.best_epoch > first


def is_the_shortest_so_far(model, annihilation, x):
    shortest = min(annihilation.lengths, key=annihilation.lengths.get)
    assert annihilation.found == shortest == int(model.alive.sum())
    total, weights = float(model.log_prob(x).detach().double().sum()), model.weights().detach()
    length = message_length(total, weights, torch.full((len(weights),), 5), len(x))
    assert length == pytest.approx(annihilation.lengths[shortest], abs=0.01)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_fit_too_short_for_a_search_has_the_shortest_message_so_far_and_says_so(epochs, caplog):
    model, annihilation = gaussians(6), Annihilation()
    x = blobs(THREE, count=20)
    ab.start_from(model, x)
    with caplog.at_level(logging.WARNING, "anabranch"):
        ab.fit(model, x, objective=Likelihood() + annihilation, epochs=epochs, batch_size=15, validation=0, seed=0)
    is_the_shortest_so_far(model, annihilation, x)
    assert "too few epochs to search from 6 components: expected 15 at least" in caplog.text
    assert "the search was cut short" in caplog.text
    assert not hasattr(annihilation, "_x") and not annihilation._states


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("how", [True, RuntimeError, KeyboardInterrupt])
def test_a_search_cut_short_leaves_no_collapsed_mixture(how, average, caplog):
    x, model, annihilation, seen = blobs(THREE, count=50), gaussians(5), Annihilation(), []
    ab.start_from(model, x)

    def stop(epoch):
        seen.append(int(model.alive.sum()))
        if seen[-1] > 1:
            return False
        if how is True:
            return True
        raise how

    options = {"epochs": 15, "batch_size": 75, "validation": 0, "seed": 0, "average": average, "callback": stop}
    with caplog.at_level(logging.INFO, "anabranch"), nullcontext() if how is True else pytest.raises(how):
        history = ab.fit(model, x, objective=Likelihood() + annihilation, **options)
        assert history.best_epoch == 0 and math.isnan(history.best_loss)
    assert seen[-1] == 1 and annihilation.found == 3
    is_the_shortest_so_far(model, annihilation, x)
    assert "too few epochs" not in caplog.text and "the search was cut short" in caplog.text


def test_a_search_that_ends_says_nothing_of_an_end_cut_short(caplog):
    _, annihilation, history = found(blobs(THREE[:1], count=50), components=2, epochs=12)
    assert history.best_epoch > 0 and annihilation.found == 1
    assert not hasattr(annihilation, "_x") and not annihilation._states
    assert "cut short" not in caplog.text and "too few epochs" not in caplog.text


def test_components_of_labels_that_hold_are_kept_and_those_of_guesses_are_not():
    x, labels = blobs(THREE[:1], count=60), torch.full((60,), -1)
    labels[:3] = torch.tensor([0, 2, 2])
    for until, kept in [(None, {0, 2}), (0.1, set())]:
        model, annihilation = gaussians(4), Annihilation()
        ab.start_from(model, x)
        objective = Likelihood(labels_until=until) + annihilation
        ab.fit(model, x, labels=labels, objective=objective, validation=0, epochs=12, batch_size=60, seed=0)
        alive = set(model.alive.nonzero().flatten().tolist())
        assert alive == kept if kept else len(alive) == 1


@pytest.mark.parametrize("support", [None, 100])
def test_components_that_rows_cannot_do_without_stay(support):
    parts = [Uniform([0.0], [1.0]), Uniform([2.0], [3.0]), Uniform([2.0], [3.0]), Uniform([0.0], [3.0])]
    x = torch.rand(40, 1, generator=torch.Generator().manual_seed(0))
    x[20:] += 2
    for components, wanted in [(parts[:2], 2), (parts[:3], 2), ([parts[3], parts[0]], 1)]:
        model, annihilation = ab.FlowMixture(components), Annihilation(support=support)
        ab.fit(model, x, objective=Likelihood() + annihilation, validation=0, epochs=12, batch_size=40, seed=0)
        assert annihilation.found == wanted == int(model.alive.sum()) and torch.isfinite(model.log_prob(x)).all()


def test_a_small_support_is_what_was_asked_for():
    model, x = mixture(weights=[0.1, 0.2, 0.7]), rows(50)
    objective = Annihilation(support=0.1)
    objective.prepare(batch(model, x), epochs=100)
    wanted = 0.1 / 50 * math.log(0.1 * 0.2 * 0.7)
    assert float(objective(batch(model, x))[0].detach()) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (3, "keep: expected a list of numbers from 0 on, got 3"),
        ("12", "keep: expected a list of numbers from 0 on, got '12'"),
        ([0.5], r"keep: expected numbers from 0 on, got \[0.5\]"),
        ([-1], r"keep: expected numbers from 0 on, got \[-1\]"),
    ],
)
def test_what_cannot_be_kept(keep, message):
    with pytest.raises(ValueError, match=message):
        Annihilation(keep=keep)
    assert Annihilation(keep=torch.tensor([1, 2])).keep == [1, 2]


def test_least_and_keep_bound_the_search():
    x = blobs(THREE[:1])
    model, annihilation, _ = found(x, components=4, annihilation=Annihilation(least=3))
    assert annihilation.found == 3 and set(annihilation.lengths) == {3, 4}
    model, annihilation, _ = found(x, components=4, annihilation=Annihilation(keep=[1, 2]))
    assert model.alive.tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match=r"keep: expected numbers from 0 to 3, got \[4\]"):
        found(x, components=4, annihilation=Annihilation(keep=[4]))


def test_more_support_leaves_fewer():
    x = torch.cat([blobs(THREE[:1], count=150), blobs([[-1.2, 0.0]], count=30)])
    few = [found(x, 4, Annihilation(support=support))[1].found for support in (2.5, 100.0)]
    assert few == [2, 1]


def test_a_component_without_support_ends_at_once():
    x = blobs(THREE)
    model = gaussians(4)
    ab.start_from(model, x)
    with torch.no_grad():
        model.logits[0] = model.logits[1:].logsumexp(0) + math.log(4 / 446)
    objective = Annihilation(support=5)
    objective.prepare(batch(model, x), epochs=100)
    assert objective.after_epoch(model, 450) is True
    assert model.alive.tolist() == [False, True, True, True]
    assert objective.after_epoch(model, 450) is False


def test_more_components_than_rows_and_rows_many_times():
    annihilation = Annihilation()
    model = gaussians(12)
    x = blobs(THREE[:1], count=5)
    ab.fit(model, x, objective=Likelihood() + annihilation, validation=0, epochs=12, batch_size=1, seed=0)
    assert annihilation.found is not None and torch.isfinite(model.log_prob(x)).all()
    x = x.repeat(20, 1)
    model, annihilation, _ = found(x, components=5, validation=0, epochs=12)
    assert 1 <= annihilation.found <= 5
    model, annihilation, same = gaussians(3), Annihilation(), torch.ones(30, 2)
    ab.start_from(model, same, torch.arange(30) % 3)
    ab.fit(model, same, objective=Likelihood() + annihilation, validation=0, epochs=12, seed=0)
    assert annihilation.found == 1 and torch.isfinite(model.log_prob(same)).all()


@pytest.mark.parametrize("validation", [0, pytest.param(0.2, marks=pytest.mark.slow)])
def test_annihilation_of_flows_with_a_posterior_network_and_running_means(validation):
    x = blobs(THREE[:2])
    torch.manual_seed(0)
    shared = ab.Flow(ab.flows.realnvp(2, context=2, blocks=2, hidden=(8,)))
    model = ab.FlowMixture(ab.models.Embedded(shared, 5), posterior=MLP(2, 5, hidden=(8,)), heads="affine")
    ab.start_from(model, x)
    annihilation = Annihilation()
    ab.fit(
        model,
        x,
        objective=Likelihood() + annihilation,
        validation=validation,
        average=0.9,
        epochs=60,
        batch_size=50,
        learning_rate=0.02,
        seed=0,
    )
    assert annihilation.found == int(model.alive.sum()) == 2
    assert (model.log_posterior(x).exp() - model.responsibilities(x)).abs().mean().item() < 0.05


def test_weights_that_an_objective_has_set_are_not_averaged_with_those_before():
    class Set(Objective):
        settled = False

        def __call__(self, batch):
            return batch.density.loss(batch.x)

        def after_epoch(self, density, rows):
            with torch.no_grad():
                density.theta.loc.fill_(100.0)
            return True

    normal = Normal([0.0], learnable=True)
    ab.fit(normal, torch.randn(20, 1), objective=Set(), average=0.9, validation=0.5, epochs=3, seed=0)
    assert normal.theta.loc.item() == 100.0


@pytest.mark.parametrize("weights", [[0.2, 0.5, 0.3], [1 / 3, 1 / 3, 1 / 3]], ids=str)
def test_one_component_stays_however_few_the_rows(weights):
    model, x = mixture(weights=weights), rows(10)
    objective = Annihilation(support=1000)
    objective.prepare(batch(model, x), epochs=100)
    for _ in range(3):
        objective.after_epoch(model, 10)
    assert int(model.alive.sum()) == 1 and torch.equal(model.weights(), model.alive.double())


def test_annihilation_on_a_fit_that_has_ended_all_but_one_goes_on():
    x = torch.randn(20, 2)
    model = normals(3, posterior=True)
    ab.fit(model, x, objective=Likelihood() + Annihilation(support=100), validation=0, epochs=4, batch_size=5, seed=0)
    assert int(model.alive.sum()) == 1 and torch.isfinite(model.loss(x)).all()


def test_guesses_to_start_from_and_annihilation_go_together():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 2, generator=generator)
    labels = torch.zeros(60, dtype=torch.long)
    labels[-1] = 1
    model = normals(2, posterior=True)
    with torch.no_grad():
        model.logits.copy_(torch.tensor([3.0, 0.0]))
    objective = Likelihood(labels_until=0.05) + Annihilation(support=15)
    ab.fit(model, x, labels=labels, objective=objective, validation=0, epochs=10, batch_size=60, seed=0)
    assert model.alive.tolist() == [True, False] and torch.isfinite(model.loss(x)).all()


def depth_mixture(gate="constant"):
    torch.manual_seed(0)
    return ab.DepthMixture(ab.flows.nsf(2, blocks=3, bins=4, hidden=(8,)), gate=gate, hidden=(8,), lead=0.0)


def test_depth_is_the_mean_depth_and_its_gradient_goes_to_the_gate_alone():
    model, x = depth_mixture(), torch.randn(6, 2)
    with torch.no_grad():
        model.gate.values.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    value = Depth()(batch(model, x))
    assert torch.allclose(value, torch.tensor(0.2 + 0.6 + 1.5).expand(6))
    value.mean().backward()
    p, depth = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([1.0, 2.0, 3.0])
    assert torch.allclose(model.gate.values.grad, p * (depth - 2.3), atol=1e-6)
    assert all(p.grad is None for p in model.chain.parameters())


def test_depth_of_a_gate_network_is_what_sampling_costs():
    model = randomize(depth_mixture("network"), 0.5)
    torch.manual_seed(0)
    value = Depth(samples=20_000)(batch(model, torch.randn(2, 2))).detach()
    assert float(value[0]) == pytest.approx(model.expected_depth(20_000), abs=0.03)


def test_depth_at_contexts_is_the_mean_over_them():
    torch.manual_seed(0)
    model = randomize(ab.DepthMixture(ab.flows.nsf(2, blocks=2, context=1, hidden=(8,)), hidden=(8,)), 1.0)
    x, context = torch.randn(50, 2), torch.tensor([[-3.0], [3.0]]).repeat(25, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        value = Depth(samples=20_000)(Batch(model, x, context, None, torch.arange(50), 0.0))
    assert value.shape == (50,)
    assert float(value[0]) == pytest.approx(model.expected_depth(20_000, context[:2]), abs=0.03)


@pytest.mark.parametrize("gate", [pytest.param("constant", marks=pytest.mark.slow), "network"])
def test_a_price_on_depth_lowers_it(gate):
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    depth = {}
    for price in (0.0, 5.0):
        model = depth_mixture(gate)
        ab.fit(
            model,
            x,
            objective=Likelihood() + price * Depth(),
            validation=0,
            epochs=10,
            batch_size=20,
            learning_rate=0.03,
            seed=0,
        )
        torch.manual_seed(0)
        depth[price] = model.expected_depth()
    assert depth[5.0] < depth[0.0] - 0.1


def test_objectives_add_up_and_take_weights():
    model, x = mixture(), rows(5)
    likelihood, information, consistency = Likelihood(), Information(), Consistency(lambda x: x + 1)
    objective = 2 * (likelihood + 3 * information) + consistency * 0.5
    mine = batch(model, x, LABELS)
    wanted = 2 * likelihood(mine) + 6 * information(mine) + 0.5 * consistency(mine)
    assert torch.allclose(objective(mine), wanted)
    with pytest.raises(ValueError, match="objective: expected an Objective, got int"):
        likelihood + 3


def test_what_several_objectives_need_is_computed_once(monkeypatch):
    model, x = mixture(posterior=False), rows(5)
    calls = []
    joint = model._joint_log_prob
    monkeypatch.setattr(model, "_joint_log_prob", lambda *arguments: calls.append(1) or joint(*arguments))
    monkeypatch.setattr(model, "_joint_loss", lambda *arguments: calls.append(1) or -joint(*arguments))
    for labels in (LABELS, None):
        calls.clear()
        (Likelihood() + Information() + Information(0))(batch(model, x, labels))
        assert len(calls) == 1


def test_labels_train_parts_by_their_losses_where_those_are_no_log_probs():
    torch.manual_seed(0)
    posterior = randomize(ab.networks.MLP(2, 2), 1.0)
    inner = ab.FlowMixture([ab.densities.Normal([0.0, 0.0]), ab.densities.Normal([1.0, 0.0])], posterior=posterior)
    model, x = ab.FlowMixture([inner, ab.densities.Normal([0.0, 2.0])]), rows(5).float()
    labels = [0, 1, 0, -1, -1]
    mine = Likelihood(classification=0)(batch(model, x, labels))
    labels = torch.tensor(labels)
    bound, outer = inner.elbo(x) + math.log(0.5), ab.densities.Normal([0.0, 2.0]).log_prob(x) + math.log(0.5)
    wanted = -torch.where(labels == 0, bound, torch.where(labels == 1, outer, torch.logaddexp(bound, outer)))
    assert torch.allclose(mine, wanted, atol=1e-5)
    assert float((inner.log_prob(x) - inner.elbo(x)).detach().min()) > 1e-3


def test_parts_of_a_sum_are_prepared_and_told_of_epochs_and_of_the_end():
    told = []

    class Mine(Objective):
        def __init__(self, name):
            self.name = name

        def prepare(self, rows, epochs):
            told.append((self.name, "prepare", len(rows.x), epochs))

        def after_epoch(self, density, rows):
            told.append((self.name, "epoch", rows))

        def finish(self, density):
            told.append((self.name, "finish"))

        def __call__(self, batch):
            return batch.density.loss(batch.x, batch.context)

    ab.fit(normals(), torch.randn(10, 2), objective=Mine("a") + 2 * Mine("b"), validation=0.2, epochs=2, seed=0)
    epoch = [("a", "epoch", 8), ("b", "epoch", 8)]
    start, end = [("a", "prepare", 8, 2), ("b", "prepare", 8, 2)], [("a", "finish"), ("b", "finish")]
    assert told == [*start, *epoch, *epoch, *end]


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Consistency(), "density: expected a Mixture for this objective, got a Normal"),
        (Information(), "density: expected a Mixture for this objective, got a Normal"),
        (Annihilation(), "density: expected a FlowMixture for annihilation, got a Normal"),
        (Depth(), "density: expected a DepthMixture for a price on depth, got a Normal"),
        (Likelihood() + Information(), "density: expected a Mixture for this objective, got a Normal"),
        (lambda batch: batch.x, "objective: expected a Objective, got function"),
    ],
)
def test_objectives_for_another_density(objective, message):
    with pytest.raises(ValueError, match=message):
        ab.fit(Normal([0.0, 0.0], learnable=True), torch.randn(9, 2), objective=objective, validation=0, epochs=1)


@pytest.mark.parametrize("value", [3e38, math.inf, math.nan])
def test_an_objective_that_overflows_is_one_clear_error(value):
    class Huge(Objective):
        def __call__(self, batch):
            return batch.density.loss(batch.x) * 0 + value

    with pytest.raises(ab.NonFiniteError, match="at step 1"):
        ab.fit(normals(), torch.randn(10, 2), objective=Huge(), validation=0, epochs=1, seed=0)


def test_a_random_member_s_loss_is_drawn_as_often_as_its_weight_says():
    members = [Normal([0.0]), Normal([3.0]), Normal([-5.0])]
    ensemble, objective, x = ab.Ensemble(members, weights=[0.25, 0.75, 0.0]), RandomMember(), torch.tensor([[0.5]])
    losses = torch.stack([member.loss(x) for member in members]).squeeze(-1)
    with ab.drawing(0):
        drawn = torch.stack([objective(batch(ensemble, x)) for _ in range(400)])
    times = (drawn == losses).sum(dim=0)
    assert times.sum() == 400 and times[2] == 0
    assert abs(int(times[0]) - 100) < 30


def test_a_fit_by_random_members_trains_what_they_share():
    torch.manual_seed(0)
    shared = MaskedMLP(3, 1, hidden=(16,))
    orders = [[0, 1, 2], [2, 1, 0]]
    ensemble = ab.Ensemble([Autoregressive(Bernoulli(), InOrder(shared, order), order=order) for order in orders])
    x = torch.tensor([[0, 0, 0], [1, 1, 1]], dtype=torch.uint8).repeat(100, 1)
    ab.fit(ensemble, x, objective=RandomMember(), epochs=15, batch_size=20, learning_rate=0.03, seed=0)
    # both orders know that the three are alike: log 2 would be the best
    for member in ensemble.members:
        assert -member.log_prob(x).mean().item() < math.log(2) + 0.1


def test_a_random_member_is_one_of_an_ensemble():
    with pytest.raises(ValueError, match="density: expected an Ensemble, got a Normal"):
        ab.fit(Normal([0.0], learnable=True), torch.zeros(20, 1), objective=RandomMember(), epochs=1)
