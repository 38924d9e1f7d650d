"""FlowMixture: bound and gap, trunk, heads and embeddings, what pruning and ending leave, and data that are hardly any."""

import math

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

import anabranch as ab
from anabranch.densities import Categorical, GaussianMixture, Normal, Uniform
from anabranch.densities.mixture import evidence_lower_bound
from anabranch.densities.score import ByLogProb
from anabranch.models import Embedded
from anabranch.networks import MLP, Network
from anabranch.objectives import Annihilation, Consistency, Information, Likelihood
from anabranch.testing import randomize


def rows(count=20, features=2, seed=1):
    return torch.randn(count, features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mixture(components=3, posterior=True, **options):
    torch.manual_seed(0)
    parts = [ab.Flow(ab.flows.realnvp(2, blocks=2, hidden=(8,))) for _ in range(components)]
    network = MLP(2, components, hidden=(8,)) if posterior else None
    return randomize(ab.FlowMixture(parts, posterior=network, **options), 0.5).double()


def clusters(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    return torch.randn(count, 2, generator=generator) + 8.0 * labels.unsqueeze(-1), labels


def sound(model, x):
    parameters = all(bool(torch.isfinite(p).all()) for p in model.parameters())
    with torch.no_grad():
        return parameters and bool(torch.isfinite(model.log_prob(x)).all() & torch.isfinite(model.loss(x)).all())


class ExactPosterior(Network):
    """The responsibilities of a Gaussian mixture of unit scales and equal weights, which are linear in x."""

    def __init__(self, loc):
        super().__init__(loc.shape[1], len(loc))
        self.loc = loc

    def forward(self, x, context=None):
        return x @ self.loc.mT - 0.5 * self.loc.square().sum(-1)


def test_the_gap_is_the_divergence_from_the_responsibilities():
    model, x = mixture(), rows()
    log_q = torch.log_softmax(model.posterior(x), -1)
    log_r = torch.log_softmax(model.joint_log_prob(x), -1)
    divergence = (log_q.exp() * (log_q - log_r)).sum(-1)
    assert torch.allclose(model.gap(x), divergence)
    assert torch.allclose(model.elbo(x), model.log_prob(x) - divergence)
    assert torch.allclose(model.loss(x), -model.elbo(x))
    assert torch.equal(model.log_posterior(x), log_q)
    assert torch.allclose(model.lower_bound(x), model.elbo(x))
    assert bool((divergence > 0.001).all()) and model.likelihood == "exact"


def test_the_gap_closes_where_q_is_the_responsibilities():
    loc = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0]], dtype=torch.float64)
    model = ab.FlowMixture([Normal(m) for m in loc], posterior=ExactPosterior(loc)).double()
    x = 3 * rows()
    assert torch.allclose(model.log_posterior(x).exp(), model.responsibilities(x))
    assert torch.allclose(model.gap(x), torch.zeros(20, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(model.log_prob(x), GaussianMixture(loc).log_prob(x))


def test_without_a_network_the_bound_is_the_likelihood():
    model, x = mixture(posterior=False), rows()
    assert torch.allclose(model.elbo(x), model.log_prob(x))
    assert torch.allclose(model.loss(x), -model.log_prob(x))
    assert torch.allclose(model.gap(x), torch.zeros(20, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(model.log_posterior(x), model.responsibilities(x).log())
    assert torch.allclose(model.lower_bound(x), model.log_prob(x))
    with pytest.raises(ValueError, match=r"log_q: expected shape \(\.\.\., 3\), got \(20, 2\)"):
        model.elbo(x, torch.zeros(20, 2, dtype=torch.float64))


def test_a_q_of_one_s_own_in_the_bound():
    model, x = mixture(), rows()
    one = torch.tensor([0.0, -math.inf, -math.inf], dtype=torch.float64).expand(20, 3)
    assert torch.allclose(model.elbo(x, one), model.joint_log_prob(x)[:, 0])


@pytest.mark.parametrize("heads", ["none", "diagonal", "affine"])
def test_trunk_and_heads_are_changes_of_variables(heads):
    torch.manual_seed(0)
    trunk = ab.flows.realnvp(2, blocks=2, hidden=(8,))
    parts = [Normal([0.0, 0.0]), ab.Flow(ab.flows.realnvp(2, blocks=2, hidden=(8,)))]
    model = randomize(ab.FlowMixture(parts, weights=[0.2, 0.8], trunk=trunk, heads=heads), 0.4).double()
    x = rows(3)
    joint = model.joint_log_prob(x)
    for k, part in enumerate(parts):

        def through(v, k=k):
            z = trunk(v)[0]
            return z if model.heads is None else model.heads(z)[0][k]

        for i in range(len(x)):
            slope = torch.linalg.slogdet(jacobian(through, x[i])).logabsdet
            wanted = model.weights()[k].log() + part.log_prob(through(x[i])) + slope
            assert torch.allclose(joint[i, k], wanted)
    if heads != "none":
        z, k = trunk(x)[0], torch.tensor([1, 0, 1])
        back = model.heads.inverse(model.heads(z)[0][k, torch.arange(3)], k)
        assert torch.allclose(back, z)


def test_embedded_components_are_one_density_told_which():
    shared = randomize(ab.Flow(ab.flows.realnvp(2, blocks=2, context=3, hidden=(8,))), 0.5)
    model = ab.FlowMixture(Embedded(shared, components=4, size=2)).double()
    x, c = rows(5), rows(5, 1, seed=2)
    joint = model.joint_log_prob(x, c)
    for k in range(4):
        vector = torch.cat([model.component_densities.embeddings[k].expand(5, 2), c], -1)
        assert torch.allclose(joint[:, k], shared.log_prob(x, vector) - math.log(4))


def test_some_of_embedded_components_keep_their_vectors_and_the_density():
    shared = ab.Flow(ab.flows.realnvp(2, blocks=2, context=3, hidden=(8,)))
    parts = Embedded(shared, components=4, size=2).double()
    fewer = parts.only([3, 1])
    assert torch.equal(fewer.embeddings, parts.embeddings[[3, 1]])
    assert fewer.embeddings.dtype == torch.float64
    assert fewer.density is shared and fewer.count == 2
    assert fewer.context_shape == parts.context_shape == torch.Size([1])
    x, c = rows(5).expand(4, 5, 2), rows(5, 1, seed=2)
    by_log_prob = ByLogProb()
    assert torch.allclose(fewer.scores(x[:2], c, by_log_prob), parts.scores(x, c, by_log_prob)[:, [3, 1]])


def test_embeddings_that_do_not_fit():
    for density, size, message in [
        (ab.Flow(ab.flows.nsf(2)), None, "expected one with a context of at least 1 numbers, got 0"),
        (ab.Flow(ab.flows.nsf(2, context=2)), 3, "expected one with a context of at least 3 numbers, got 2"),
        (MLP(2, 2), None, "density: expected a Density, got MLP"),
    ]:
        with pytest.raises(ValueError, match=message):
            Embedded(density, 2, size)


def with_weights(weights, **options):
    model = mixture(len(weights), **options)
    with torch.no_grad():
        model.logits.copy_(torch.tensor(weights, dtype=torch.float64).log())
    return model


@pytest.mark.parametrize("heads", ["none", "diagonal", "affine"])
def test_pruning_renormalises_weights_and_q_and_keeps_the_rest(heads):
    model, x = with_weights([0.2, 0.005, 0.795], heads=heads), rows()
    pruned = model.prune(0.01)
    assert pruned.components == 2
    assert torch.allclose(pruned.weights(), model.weights()[[0, 2]] / 0.995)
    joint = model.joint_log_prob(x)[:, [0, 2]]
    assert torch.allclose(pruned.joint_log_prob(x), joint - math.log(0.995))
    assert torch.allclose(pruned.log_posterior(x), model.log_posterior(x)[:, [0, 2]].log_softmax(-1))
    # a copy: what happens to it does not touch the mixture
    before = model.log_prob(x)
    with torch.no_grad():
        for p in pruned.parameters():
            p.add_(1.0)
    assert torch.equal(model.log_prob(x), before)


def test_pruning_a_weight_of_next_to_nothing_changes_nothing():
    model, x = with_weights([0.4, 1e-14, 0.6]), rows()
    assert torch.allclose(model.prune(1e-6).log_prob(x), model.log_prob(x), atol=1e-9)
    assert model.prune(0).components == 3


def test_pruning_embedded_components():
    shared = ab.Flow(ab.flows.realnvp(2, blocks=2, context=3, hidden=(8,)))
    model = randomize(ab.FlowMixture(Embedded(shared, 3), weights=[0.5, 0.0, 0.5]), 0.3).double()
    x = rows()
    assert torch.allclose(model.prune(0).log_prob(x), model.log_prob(x))
    assert torch.equal(model.prune(0).component_densities.embeddings, model.component_densities.embeddings[[0, 2]])


def test_the_largest_component_stays_whatever_the_threshold():
    model = with_weights([0.3, 0.4, 0.3])
    pruned, x = model.prune(0.9), rows()
    assert pruned.components == 1
    assert torch.allclose(pruned.log_prob(x), model.joint_log_prob(x)[:, 1] - math.log(0.4))
    with pytest.raises(ValueError, match=r"threshold: expected a fraction in \[0, 1\), got 1.5"):
        model.prune(1.5)


def test_ended_components_are_gone_from_weights_and_q_and_never_drawn():
    model, x = with_weights([0.2, 0.3, 0.5]), rows()
    joint, log_q = model.joint_log_prob(x), model.log_posterior(x)
    model.annihilate([1])
    assert torch.allclose(model.weights(), torch.tensor([0.2, 0.0, 0.5], dtype=torch.float64) / 0.7)
    assert torch.allclose(model.joint_log_prob(x)[:, [0, 2]], joint[:, [0, 2]] - math.log(0.7))
    assert torch.allclose(model.log_posterior(x)[:, [0, 2]], log_q[:, [0, 2]].log_softmax(-1))
    assert bool((model.gap(x) > -1e-12).all())
    assert model.prune(0).components == 2
    assert torch.allclose(model.prune(0).log_prob(x), model.log_prob(x))
    model.annihilate([1])  # once more changes nothing
    assert model.alive.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ([0, 1, 2], "numbers: expected some components to stay alive, got all 3"),
        ([3], r"numbers: expected numbers from 0 to 2, got \[3\]"),
        ([-1], r"numbers: expected numbers from 0 to 2, got \[-1\]"),
        ([True], r"numbers: expected numbers from 0 to 2, got \[True\]"),
        (1, "numbers: expected a list of numbers from 0 to 2, got 1"),
        (torch.tensor(1), r"numbers: expected a list of numbers from 0 to 2, got tensor\(1\)"),
    ],
)
def test_ending_what_cannot_be_ended(components, message):
    model = mixture()
    with pytest.raises(ValueError, match=message):
        model.annihilate(components)
    assert model.alive.all()


@pytest.mark.parametrize("chosen", [[np.int64(1)], np.array([1]), torch.tensor([1]), (1,)], ids=repr)
def test_components_to_end_are_numbers_of_any_kind(chosen):
    model = mixture()
    model.annihilate(chosen)
    assert model.alive.tolist() == [True, False, True]


def test_the_last_one_alive_stays():
    model = mixture()
    model.annihilate([0, 2])
    with pytest.raises(ValueError, match="expected some components to stay alive, got all 1"):
        model.annihilate([1])
    assert model.weights().tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("posterior", [True, False])
@pytest.mark.parametrize("weights", [[1, 0], [0, 1]])
def test_a_weight_that_vanishes_gives_no_nan(posterior, weights):
    x, _ = clusters()
    torch.manual_seed(0)
    network = MLP(2, 2, hidden=(8,)) if posterior else None
    model = ab.FlowMixture(
        [Normal([0.0, 0.0], learnable=True), Normal([8.0, 8.0], learnable=True)], weights=weights, posterior=network
    )
    live = weights.index(1)
    assert torch.allclose(model.log_prob(x), list(model.component_densities.densities)[live].log_prob(x))
    assert torch.allclose(model.gap(x), torch.zeros(len(x)), atol=1e-5)
    objective = Likelihood() + Consistency() + Information() + Annihilation(3)
    labels = torch.full((len(x),), -1)
    labels[:5] = live
    ab.fit(model, x, labels=labels, objective=objective, validation=0, epochs=2, batch_size=10, seed=0)
    assert sound(model, x) and model.weights().tolist() == [float(w) for w in weights]


def small(components, heads="affine"):
    torch.manual_seed(0)
    parts = [ab.Flow(ab.flows.realnvp(2, blocks=2, hidden=(8,))) for _ in range(components)]
    return ab.FlowMixture(parts, posterior=MLP(2, components, hidden=(8,)), heads=heads)


def test_more_components_than_rows():
    x, _ = clusters(3)
    model = small(7)
    ab.fit(model, x, validation=0, epochs=3, seed=0)
    assert sound(model, x)


@pytest.mark.parametrize(
    "objective",
    [
        None,
        Likelihood(temperature=5),
        Likelihood() + Consistency() + Information() + Annihilation(2),
        Likelihood() + Consistency("neighbours", neighbours=3),
    ],
    ids=["likelihood", "temperature", "sum", "neighbours"],
)
def test_batches_of_one_row(objective):
    x, labels = clusters(12)
    labels[::2] = -1
    model = small(2)
    ab.fit(model, x, labels=labels, objective=objective, validation=0, epochs=2, batch_size=1, seed=0)
    assert sound(model, x)


def test_one_row_alone():
    model = small(2)
    x = torch.ones(1, 2)
    ab.fit(model, x, objective=Likelihood() + Consistency() + Information(), validation=0, epochs=3, seed=0)
    assert sound(model, x)


@pytest.mark.parametrize("heads", ["none", "diagonal", "affine"])
def test_every_row_twice(heads):
    x, _ = clusters(10)
    x = x.repeat(2, 1)
    model = small(2, heads)
    ab.start_from(model, x)
    objective = Likelihood() + Consistency("neighbours", neighbours=2)
    ab.fit(model, x, objective=objective, validation=0, epochs=3, batch_size=5, seed=0)
    assert sound(model, x)


@pytest.mark.parametrize("heads", ["none", "diagonal", "affine"])
def test_a_column_that_is_constant(heads):
    x, labels = clusters()
    x[:, 1] = 3.0
    model = small(2, heads)
    ab.start_from(model, x, labels)
    ab.fit(model, x, validation=0, epochs=3, batch_size=10, seed=0)
    assert sound(model, x)


def test_a_class_without_a_labelled_row():
    x, labels = clusters(60)
    labels[labels == 1] = -1
    model = small(3)
    history = ab.fit(model, x, labels=labels, epochs=10, batch_size=10, seed=0)
    assert sound(model, x) and history.best_epoch > 0
    # what is labelled goes to its component; the unlabelled rows, far from them, need not
    assert float((model.log_posterior(x)[labels == 0].argmax(-1) == 0).float().mean()) > 0.9


def test_shapes_that_do_not_fit():
    normal = Normal.standard
    for build, message in [
        (lambda: ab.FlowMixture([]), "densities: expected at least one density"),
        (lambda: ab.FlowMixture([MLP(2, 2)]), "densities: expected densities, got a MLP"),
        (lambda: ab.FlowMixture([normal(2), normal(3)]), "densities: event_shape"),
        (lambda: ab.FlowMixture([normal(2)] * 2, weights=[1, -1]), "weights: expected numbers of at least 0"),
        (lambda: ab.FlowMixture([normal(2)] * 2, weights=[0, 0]), "weights: expected numbers of at least 0, not all 0"),
        (lambda: ab.FlowMixture([normal(2)] * 2, weights=[1]), r"weights: expected shape \(2,\), got \(1,\)"),
        (lambda: ab.FlowMixture([normal(2)] * 2, posterior=MLP(2, 3)), "of 2 features and 2 outputs, got 2 and 3"),
        (lambda: ab.FlowMixture([normal(2)] * 2, trunk=ab.flows.nsf(3)), r"densities: expected event shape \(3,\)"),
        (lambda: ab.FlowMixture([normal(2)] * 2, heads="full"), "heads: expected one of 'none', 'diagonal', 'affine'"),
        (lambda: ab.FlowMixture([ab.densities.Uniform([0.0], [1.0])], heads="affine"), "heads: expected 'none'"),
    ]:
        with pytest.raises(ValueError, match=message):
            build()


@pytest.mark.parametrize("what", ["log_prob", "loss"])
@pytest.mark.parametrize("far", [5.0, 9e9, 1e20])
def test_an_impossible_row_leaves_the_gradient_of_the_others(what, far):
    """log p = -inf in every component: the row has no gradient, and others have theirs."""

    def uniform(low):
        return Uniform([low, low], [low + 1.0, low + 1.0])

    torch.manual_seed(0)
    flow = ab.Flow(ab.flows.realnvp(features=2, blocks=2, hidden=(8,)))
    models = [
        ab.FlowMixture([uniform(0.0), uniform(0.5)], weights=[0.3, 0.7]),
        ab.FlowMixture([uniform(0.0), uniform(0.5)], posterior=MLP(2, 2, hidden=(4,))),
        ab.FlowMixture([uniform(-2.0), uniform(-1.5)], trunk=flow.transform),
        ab.FlowMixture([ab.FlowMixture([uniform(0.0), uniform(0.5)]), uniform(0.2)]),
        ab.FlowMixture([Categorical(torch.zeros(2, 2), learnable=True), Categorical(torch.zeros(2, 3))]),
        ab.DepthMixture(ab.flows.realnvp(features=2, blocks=2, hidden=(8,)), base=uniform(0.0)),
        ab.PiecewiseFlow(ab.models.pieces.fold(2), base=uniform(0.0)),
        GaussianMixture([[0.0, 0.0], [1.0, 1.0]], learnable=True),
    ]
    good, bad = torch.tensor([[0.6, 0.7], [1.0, 1.0]]), torch.tensor([[far, far]])
    for model in models:
        alone, together = [], []
        for x, found in ((good, alone), (torch.cat([good, bad]), together)):
            model.zero_grad()
            value = getattr(model, what)(x)
            assert not value.isnan().any(), type(model).__name__
            torch.where(value.isfinite(), value, 0.0).sum().backward()
            found += [p.grad for p in model.parameters() if p.grad is not None]
        if not value[-1].isfinite():
            pairs = zip(alone, together, strict=True)
            assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs), type(model).__name__


def test_a_bound_is_minus_infinity_where_q_has_mass_on_what_cannot_be():
    joint = torch.tensor([[-1.0, -torch.inf], [-1.0, -torch.inf], [-torch.inf, -torch.inf]], requires_grad=True)
    log_q = torch.tensor([[0.0, -1e9], [-0.7, -0.7], [-0.7, -0.7]], requires_grad=True)
    bound = evidence_lower_bound(joint, log_q)
    assert bound.tolist() == [-1.0, -torch.inf, -torch.inf]
    bound.sum().backward()
    assert joint.grad.tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert log_q.grad.isfinite().all()
