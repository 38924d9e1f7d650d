"""Classes with few labels, by any mixture: those with a name, and one that is handed over."""

import numpy as np
import pytest
import torch

import anabranch as ab
from anabranch.densities import CollapseWarning, GaussianMixture
from anabranch.estimators import SemiSupervisedClassifier
from anabranch.estimators.mixture_of_classes import estimate, mixture_of_classes
from anabranch.families import Gaussians
from anabranch.models import FlowMixture, LatentMixture
from anabranch.testing import randomize

BOUNDS = ["m2", "mixture prior"]
quiet = pytest.mark.filterwarnings("ignore::anabranch.densities.CollapseWarning")


def two_curves(rows=200, labels=8, seed=0):
    """Two half circles, and which have a label."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    turn = rng.uniform(0, np.pi, size=rows)
    x = np.column_stack([np.cos(turn) + 3 * y, np.sin(turn) * (1 - 2 * y)]) + 0.1 * rng.normal(size=(rows, 2))
    return x, np.where(np.arange(rows) < labels, y, -1), y


@quiet
@pytest.mark.parametrize("neighbours", [0, 10])
@pytest.mark.parametrize("density", ["flow", *BOUNDS])
def test_every_density_tells_classes_with_and_without_neighbours(density, neighbours):
    x, few, y = two_curves()
    options = {"members": 1, "neighbours": neighbours, "epochs": 20, "random_state": 0}
    model = SemiSupervisedClassifier(density, **options).fit(x, few)
    assert (model.predict(x) == y).mean() > 0.95
    assert type(model.densities_[0]) is (LatentMixture if density == "mixture prior" else FlowMixture)


@quiet
@pytest.mark.parametrize("density", BOUNDS)
def test_an_estimate_is_of_the_density_in_the_units_of_the_columns(density):
    x, few, _ = two_curves(60)
    model = SemiSupervisedClassifier(density, members=2, epochs=2, random_state=0).fit(100 * x, few)
    value, error = model.estimate(100 * x[:5], samples=2000)
    z = torch.from_numpy(model.encoding_.encode(100 * x[:5]))
    each = [part.estimate(z, samples=20_000, generator=1) for part in model.densities_]
    wanted = torch.stack([log_p for log_p, _ in each]).logsumexp(0) - np.log(2)
    wanted = wanted.numpy() + model.encoding_.log_det(z.numpy())
    assert (error > 0).all()
    assert (np.abs(value - wanted) < 5 * error).all()
    np.testing.assert_allclose(model.score_samples(100 * x[:5])[2:3], model.score_samples(100 * x[2:3]), rtol=1e-12)
    more = model.estimate(100 * x[:5], samples=4)[1]
    assert error.mean() < more.mean()


@quiet
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("density", BOUNDS)
def test_rows_are_estimated_together_where_they_can_be_as_each_alone(density, together, monkeypatch):
    torch.manual_seed(0)
    mixture = randomize(mixture_of_classes(density, columns=2, classes=2, seed=0).double(), 0.3)
    z, calls, weigh = torch.randn(9, 2).double().numpy(), [], type(mixture)._joint_log_weight

    def watched(self, x, context):
        calls.append(x.shape)
        if not together and float(x.sum()) > torch.inf:  # what rows that are scored together cannot be asked
            raise AssertionError
        return weigh(self, x, context)

    alone = [mixture.estimate(torch.from_numpy(row), samples=50, generator=3) for row in z]
    monkeypatch.setattr(type(mixture), "_joint_log_weight", watched)
    value, error = estimate(mixture, z, samples=50, seed=3)
    assert len(calls) == (1 if together else 10)
    np.testing.assert_allclose(value, [float(v) for v, _ in alone], rtol=1e-12)
    np.testing.assert_allclose(error, [float(e) for _, e in alone], rtol=1e-9)
    value, _ = estimate(mixture, np.array([[np.nan, 0.0], [0.0, 0.0]]), samples=50, seed=3)
    assert value[0] == -np.inf and np.isfinite(value[1])


def test_the_error_of_an_exact_density_is_nothing():
    x, few, _ = two_curves(40)
    model = SemiSupervisedClassifier(members=1, epochs=1, random_state=0).fit(x, few)
    value, error = model.estimate(x)
    np.testing.assert_array_equal(value, model.score_samples(x))
    assert (error == 0).all()


@quiet
@pytest.mark.parametrize("density", BOUNDS)
def test_rows_at_the_end_of_what_floats_hold_have_classes_and_no_nan(density):
    x, few, _ = two_curves(24)
    model = SemiSupervisedClassifier(density, members=2, epochs=1, random_state=0).fit(1e-3 * x, few)
    most = np.finfo(np.float64).max
    far = np.array([[1e12, -1e12], [0.0, 1e24], [-1e24, 1e24], [1e200, 1.0], [most, -most]])
    assert np.allclose(model.predict_proba(far).sum(axis=1), 1.0)
    value, error = model.estimate(far, samples=10)
    assert not np.isnan(value).any()
    assert not np.isnan(error).any()


@quiet
def test_a_mixture_of_your_making_is_copied_and_fitted_and_comes_back_from_a_file(tmp_path):
    x, few, y = two_curves(80)
    given = ab.vaes.m2(2, Gaussians(1, floor=0.1), classes=2, latent=1, hidden=(8,))
    before = [parameter.clone() for parameter in given.parameters()]
    model = SemiSupervisedClassifier(given, members=1, epochs=2, random_state=0).fit(x, few)
    assert all(torch.equal(a, b) for a, b in zip(before, given.parameters(), strict=True))
    model.save(tmp_path / "model.safetensors")
    again = SemiSupervisedClassifier.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    np.testing.assert_array_equal(again.score_samples(x[:3]), model.score_samples(x[:3]))
    exact = SemiSupervisedClassifier(GaussianMixture([[-1.0, 0.0], [1.0, 0.0]], learnable=True), members=1, epochs=20)
    assert (exact.set_params(random_state=0).fit(x, few).predict(x) == y).mean() > 0.9


def test_a_mixture_that_has_collapsed_says_so():
    x, few, _ = two_curves(40)
    with pytest.warns(CollapseWarning, match="collapsed"):
        SemiSupervisedClassifier("m2", members=1, epochs=1, neighbours=0, random_state=0).fit(x, few)


@pytest.mark.parametrize(
    ("density", "message"),
    [
        ("auto", "density: expected 'flow', 'm2', 'mixture prior' or a Mixture, got 'auto'"),
        (ab.densities.Normal.standard(2), "density: expected .* or a Mixture, got Normal"),
        (GaussianMixture(torch.randn(3, 2)), "a Mixture of 2 components, one for each class, got 3"),
        (GaussianMixture(torch.randn(2, 3)), "rows of 2 numbers"),
    ],
)
def test_densities_that_do_not_fit_are_refused(density, message):
    x, few, _ = two_curves(20)
    with pytest.raises(ValueError, match=message):
        SemiSupervisedClassifier(density, members=1, epochs=1).fit(x, few)


def test_classes_told_by_a_draw_are_refused():
    x, few, _ = two_curves(20)
    prior = ab.vaes.priors.gaussian_mixture(2, components=2)
    drawn = LatentMixture(ab.vaes.vae(2, Gaussians(1, floor=0.1), 2, prior, hidden=(8,)))
    with pytest.raises(ValueError, match="give it a posterior, q"):
        SemiSupervisedClassifier(drawn, members=1, epochs=1).fit(x, few)


def test_one_class_is_none_for_m2():
    x, few, _ = two_curves(20)
    with pytest.raises(ValueError, match="classes: expected"):
        SemiSupervisedClassifier("m2", members=1, epochs=1).fit(x, np.where(few == 1, -1, few))
