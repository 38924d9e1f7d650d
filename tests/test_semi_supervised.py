"""Hidden classes that labels may tell: M2, and priors whose components are classes."""

import copy
import math

import pytest
import torch

import anabranch as ab
from anabranch.densities import Bernoulli, CollapseWarning, FloorWarning, GaussianMixture, Normal
from anabranch.families import Gaussians, Levels, Logistics
from anabranch.models import FlowMixture, LatentMixture, LatentVariable
from anabranch.networks import MLP, Beside
from anabranch.objectives import Likelihood, SemiSupervised
from anabranch.objectives.objective import Batch
from anabranch.testing import (
    classes_marginal,
    linear_gaussian_classes,
    linear_gaussian_m2,
    m2_marginal,
    randomize,
)
from anabranch.training.splitting import hold_out, stratified

MADE = {"m2": (linear_gaussian_m2, m2_marginal), "prior": (linear_gaussian_classes, classes_marginal)}


def made(name):
    build, truth = MADE[name]
    with ab.drawing(0):
        model = randomize(build(), 0.1).double().eval()
    return model, truth(model).double()


def two_clusters(count=200):
    torch.manual_seed(0)
    y = torch.arange(count) % 2
    return torch.randn(count, 2) * 0.5 + torch.where(y[:, None] == 1, 2.0, -2.0), y


@pytest.mark.parametrize("name", MADE)
def test_bounds_lie_below_the_joint_of_every_class_and_weights_have_its_mean(name):
    model, truth = made(name)
    x = truth.sample((4,), generator=0)
    joint = truth.joint_log_prob(x)
    with torch.no_grad(), ab.drawing(1):
        drawn = -model.joint_loss(x.expand(20_000, 4, 2))
        log_w = model._joint_log_weight(x.expand(20_000, 4, 2), None)
    error = drawn.std(dim=0) / 20_000**0.5
    assert bool((drawn.mean(dim=0) < joint + 4 * error).all())
    assert bool((drawn.mean(dim=0) < joint - 0.01).any())  # guesses that are not exact cost nats
    value = log_w.logsumexp(dim=0) - math.log(20_000)
    relative = (log_w - value).exp().std(dim=0) / 20_000**0.5
    assert bool(((value - joint).abs() < 5 * relative).all())


@pytest.mark.parametrize("name", MADE)
def test_the_estimated_posterior_of_classes_is_the_true_one(name):
    model, truth = made(name)
    x = truth.sample((4,), generator=0)
    log_p, error = model.estimate_posterior(x, samples=20_000, generator=0)
    wanted = truth.responsibilities(x)
    assert torch.allclose(log_p.exp(), wanted, atol=0.02) and bool((error < 0.2).all()) and bool((error > 0).all())
    exact, none = truth.estimate_posterior(x)
    assert torch.allclose(exact.exp(), wanted) and not none.any()


def test_the_bound_of_a_row_without_a_label_is_the_exact_sum_over_classes():
    model, _ = made("m2")
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with ab.drawing(3):
        joint, log_q = -model.joint_loss(x), model.log_posterior(x)
        byhand = (log_q.exp() * (joint - log_q)).sum(-1)
    with ab.drawing(3):
        assert torch.allclose(-model.loss(x), byhand)


def test_the_bound_of_the_mixture_is_that_of_the_model():
    mixture, _ = made("prior")
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(mixture.lower_bound(x, generator=0), mixture.model.lower_bound(x, generator=0))


def test_the_objective_weighs_the_classifier_by_rows_for_each_label():
    model, _ = made("m2")
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, -1, 1, -1, -1, 2])
    batch = lambda: Batch(model, x, None, labels, torch.arange(6), 0.0)  # noqa: E731
    objective = SemiSupervised(0.5)
    objective.prepare(batch(), 1)
    with ab.drawing(0):
        got = objective(batch())
    with ab.drawing(0):
        joint, log_q = -model.joint_loss(x), model.log_posterior(x)
    for row, label in enumerate(labels.tolist()):
        if label < 0:
            wanted = -(log_q[row].exp() * (joint[row] - log_q[row])).sum()
        else:
            wanted = -joint[row, label] - 0.5 * 6 / 3 * log_q[row, label]
        assert torch.allclose(got[row], wanted)


@pytest.mark.parametrize("name", MADE)
def test_labels_warm_up_the_divergence(name):
    model, _ = made(name)
    x = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def at(progress, objective):
        given = Batch(model, x, None, torch.tensor([0, 1, 2]), torch.arange(3), progress)
        objective.prepare(given, 1)
        with ab.drawing(0):
            return objective(given), given

    plain, warming = SemiSupervised(0.0), SemiSupervised(0.0, warmup=0.5)
    assert plain.static and not plain.by_epochs and warming.by_epochs and not warming.static
    whole, _ = at(0.25, plain)
    assert torch.allclose(at(0.5, warming)[0], whole)
    cold, given = at(0.0, warming)
    assert "joint" not in vars(given)  # another term of a sum has the whole one
    assert torch.allclose(at(0.25, warming)[0], (cold + whole) / 2) and not torch.allclose(cold, whole, atol=0.1)


@pytest.mark.filterwarnings("ignore::anabranch.densities.CollapseWarning")  # round clusters say nothing
@pytest.mark.parametrize("name", ["m2", "prior", "prior with a network"])
def test_two_labels_name_two_clusters(name):
    x, y = two_clusters()
    labels = torch.full((len(x),), -1)
    labels[:2] = y[:2]
    with ab.drawing(0):
        if name == "m2":
            model = ab.vaes.m2(2, Gaussians(1, floor=0.1), 2, latent=1, hidden=(16,))
        else:
            prior = ab.vaes.priors.gaussian_mixture(2, components=2)
            inner = ab.vaes.vae(2, Gaussians(1, floor=0.1), 2, prior, hidden=(16,))
            model = LatentMixture(inner, MLP(2, 2, hidden=(16,)) if name != "prior" else None)
    ab.fit(
        model,
        x,
        labels=labels,
        objective=SemiSupervised(1.0),
        epochs=30,
        batch_size=50,
        learning_rate=1e-2,
        validation=0,
        seed=0,
        progress=False,
        compile=False,
    )
    model.eval()
    with ab.drawing(0):
        assert float((model.log_posterior(x).argmax(-1) == y).float().mean()) > 0.97
    assert float((model.estimate_posterior(x, samples=20, generator=0)[0].argmax(-1) == y).float().mean()) > 0.97


@pytest.mark.parametrize(
    ("family", "shape", "more"),
    [
        (Levels(4), (1, 2, 2), {"channels": (4, 4)}),
        ([Logistics(2), Levels(3)], (2,), {}),
        (Gaussians(1), (3,), {"prior": "flow", "posterior": "full"}),
    ],
)
def test_m2_of_every_kind_of_number(family, shape, more, tmp_path):
    with ab.drawing(0):
        model = ab.vaes.m2(shape, family, 3, latent=2, hidden=(8, 8), **more)
    x = model.sample((6,), generator=0)
    assert x.shape == (6, *shape)
    assert model.lower_bound(x, generator=0).isfinite().all() and model.log_posterior(x).shape == (6, 3)
    ab.save(model, tmp_path / "m2.safetensors")
    again = ab.load(tmp_path / "m2.safetensors")
    assert torch.equal(model.eval().lower_bound(x, generator=0), again.eval().lower_bound(x, generator=0))


def test_m2_that_has_collapsed_warns_of_it():
    x, y = two_clusters(100)
    with ab.drawing(0):
        model = ab.vaes.m2(2, Gaussians(1, floor=0.1), 2, latent=1, hidden=(8,)).eval()
    told = model.component_densities.density
    with torch.no_grad():
        for parameter in told.posterior.density.parameters():  # the guess of z reads its features no more
            parameter.zero_()
    assert [type(symptom) for symptom in model.symptoms(x)] == [CollapseWarning]
    with pytest.warns(CollapseWarning, match="the posterior has collapsed"):
        ab.fit(model, x, labels=y, learning_rate=1e-9, epochs=1, seed=0, progress=False, compile=False)


def test_a_component_is_asked_at_the_rows_that_are_its():
    asked = []

    def noting(part, x, context):
        asked.append((part, x.clone()))
        return [FloorWarning("at the floor")]

    x, y = two_clusters(20)
    mixture = FlowMixture([Normal([-2.0, -2.0]), Normal([2.0, 2.0]), Normal([99.0, 99.0])])
    for part in mixture.parts():
        object.__setattr__(part, "_symptoms", lambda x, context, part=part: noting(part, x, context))
    (said,) = mixture.symptoms(x)
    assert isinstance(said, FloorWarning) and [part for part, _ in asked] == list(mixture.parts())[:2]
    assert torch.equal(asked[0][1], x[y == 0]) and torch.equal(asked[1][1], x[y == 1])


def test_held_out_rows_leave_each_class_one_to_learn_from_and_are_of_all_classes():
    labels = torch.full((300,), -1)
    labels[7], labels[100:200] = 1, 2
    for seed in range(60):
        order = torch.randperm(300, generator=torch.Generator().manual_seed(seed))
        for start in range(0, 300, 30):
            out, rest = hold_out(stratified(order, labels), slice(start, start + 30), labels)
            assert sorted(torch.cat([out, rest]).tolist()) == list(range(300))
            assert 7 in rest and int((labels[out] == 2).sum()) == 10 and len(out) in (29, 30)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    out, rest = hold_out(stratified(order, None), slice(30), None)
    assert torch.equal(out, order[:30]) and torch.equal(rest, order[30:])  # without labels nothing is rearranged


@pytest.mark.filterwarnings("ignore::anabranch.densities.CollapseWarning")  # one epoch teaches nothing
@pytest.mark.parametrize("several", [False, True])
def test_a_fit_keeps_the_only_label_of_a_class(several):
    x, y = two_clusters(20)
    labels = torch.full((20,), -1)
    labels[:2] = y[:2]

    def build(seed):
        with ab.drawing(seed):
            return ab.vaes.m2(2, Gaussians(1), 2, latent=1, hidden=(4,))

    options = {"objective": SemiSupervised(), "epochs": 1, "progress": False, "compile": False}
    for seed in range(0 if several else 6):
        history = ab.fit(build(seed), x, labels=labels, validation=0.5, seed=seed, **options)
        assert history.validation_rows in (9, 10) and history.rows + history.validation_rows == 20
    if several:
        mean, histories = ab.fit_ensemble(build, x, labels=labels, members=3, folds=3, seed=0, **options)
        assert (
            mean.components == 2 and sum(history.rows for history in histories) == 2 * 20 + 2
        )  # two are never held out
    weights = torch.ones(20)
    weights[0] = 0
    with pytest.raises(ValueError, match="got none of 0"):  # a row that counts for nothing has no label
        ab.fit(build(0), x, labels=labels, weights=weights, **options)
    with pytest.raises(ValueError, match=r"validation: .* each class needs one to train on, which leaves none of 1"):
        ab.fit(build(0), x[:2], labels=y[:2], validation=0.5, **options)


def test_warm_up_weighs_the_divergence_of_a_mixture_as_that_of_the_model():
    mixture, _ = made("prior")
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    half = lambda likely, divergence: likely - 0.5 * divergence.sum(-1)  # noqa: E731
    with ab.drawing(0):
        got = mixture.weighed_bound(x, half)
    with ab.drawing(0):
        assert torch.allclose(got, mixture.model.weighed_bound(x, half))
    guessed = LatentMixture(copy.deepcopy(mixture.model), MLP(2, 3, hidden=(4,)).double())
    with ab.drawing(0):
        got = guessed.weighed_bound(x, lambda likely, divergence: likely - divergence.sum(-1))
    with ab.drawing(0):
        assert torch.allclose(got, guessed.lower_bound(x))


@pytest.mark.filterwarnings("ignore::anabranch.densities.CollapseWarning")  # one epoch teaches nothing
def test_bad_input_is_one_line():
    x, y = two_clusters(20)
    plain = ab.vaes.vae(2, Gaussians(1), 2, hidden=(4,))
    with pytest.raises(ValueError, match=r"labels: expected None, since a LatentVariable has no components.*vaes\.m2"):
        ab.fit(plain, x, labels=y, epochs=1, progress=False)
    model = ab.vaes.m2(2, Gaussians(1), 3, latent=1, hidden=(4,))
    options = {"objective": SemiSupervised(), "epochs": 1, "progress": False, "validation": 0}
    with pytest.raises(ValueError, match=r"labels: expected numbers from -1 \(none\) to 2, .* got 3 in row 0"):
        ab.fit(model, x, labels=torch.full((20,), 3), **options)
    with pytest.raises(
        ValueError, match=r"labels: expected a row of each of the 3 classes, got none of 2; .*Likelihood"
    ):
        ab.fit(model, x, labels=y, **options)
    with pytest.raises(ValueError, match=r"labels: expected one for each row, -1 where there is none, got none"):
        ab.fit(model, x, **options)
    with pytest.raises(ValueError, match=r"classification: expected a number of at least 0, got -1"):
        SemiSupervised(-1)
    with pytest.raises(ValueError, match=r"classes: expected .* at least 2, got 1"):
        ab.vaes.m2(2, Gaussians(1), 1)
    with pytest.raises(ValueError, match=r"model: expected one whose prior is a Mixture, .* got a Normal"):
        LatentMixture(plain)
    unlike = LatentVariable(
        GaussianMixture([[0.0], [1.0]]), Normal(torch.zeros(2), context=1), Bernoulli([0.0], context=2)
    )
    with pytest.raises(ValueError, match=r"model: expected one whose posterior's draws are differentiable"):
        LatentMixture(unlike)
    with pytest.raises(ValueError, match=r"network: expected one to a vector, without a context"):
        Beside(MLP(2, 3, context=1), 1)
    # without the check a component without labels is a cluster
    ab.fit(model, x, labels=y, **{**options, "objective": Likelihood()})
