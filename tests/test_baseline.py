"""Gaussian mixtures by EM."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import mixture

from anabranch.training import baseline
from anabranch.training.baseline import choose_gaussian_mixture, conditional_log_prob, fit_gaussian_mixture


def clusters(rows, seed=0):
    rng = np.random.default_rng(seed)
    means = np.array([[-6.0, 0.0], [0.0, 5.0], [6.0, 0.0], [0.0, -5.0], [0.0, 0.0]])
    return means[rng.integers(0, 5, rows)] + rng.normal(size=(rows, 2)) @ [[0.5, 0.3], [0.0, 0.4]]


def test_has_the_numbers_of_scikit_learn():
    x = clusters(500)
    ours = fit_gaussian_mixture(x, 5, seed=3)
    theirs = mixture.GaussianMixture(5, random_state=3, max_iter=200).fit(x)
    np.testing.assert_allclose(ours.log_prob(torch.from_numpy(x)).numpy(), theirs.score_samples(x))


def test_one_component_is_the_gaussian_of_all_rows(monkeypatch):
    monkeypatch.setattr(baseline, "EM_ROWS", 50)
    x = clusters(300)
    got = fit_gaussian_mixture(x, 1).log_prob(torch.from_numpy(x)).numpy()
    want = stats.multivariate_normal(x.mean(0), np.cov(x, rowvar=False, ddof=0)).logpdf(x)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    # several components are fitted to a seeded draw
    again = [fit_gaussian_mixture(x, 2, seed=seed).weights()[0].item() for seed in (0, 0, 1)]
    assert again[0] == again[1] != again[2]


def test_the_size_is_chosen_on_validation_rows():
    x, validation = clusters(2000), clusters(500, seed=1)
    assert choose_gaussian_mixture(x, validation, sizes=(1, 2, 5)).components == 5
    # with few rows many components fit the training rows best, and others worst
    assert choose_gaussian_mixture(clusters(70), validation, sizes=(5, 20)).components == 5
    # too few rows for most
    assert choose_gaussian_mixture(clusters(10), validation, sizes=(1, 40)).components == 1
    with pytest.raises(ValueError, match="sizes: expected one that 10 rows"):
        choose_gaussian_mixture(clusters(10), validation, sizes=(40,))


def test_conditional_is_normalised_and_agrees_with_the_exact_conditional():
    x = clusters(500)
    fitted = fit_gaussian_mixture(x, 5)
    got = conditional_log_prob(fitted, x[:7], given=1)
    exact = fitted.conditional([0]).log_prob(torch.from_numpy(x[:7, 1:]), torch.from_numpy(x[:7, :1]))
    np.testing.assert_allclose(got, exact.detach().numpy(), rtol=1e-8)
    grid = np.linspace(-12, 12, 4001)
    line = np.stack([np.full_like(grid, 1.3), grid], axis=1)
    assert np.trapezoid(np.exp(conditional_log_prob(fitted, line, given=1)), grid) == pytest.approx(1)


def test_scikit_learns_warnings_do_not_leak(recwarn):
    # k-means, the start of EM, finds fewer clusters than asked for and warns of it
    few = np.tile(np.random.default_rng(0).normal(size=(10, 3)), (40, 1))
    assert fit_gaussian_mixture(few, 20).components == 20
    assert not recwarn.list


@pytest.mark.parametrize("x", [np.zeros(3), np.full((5, 2), np.nan), np.zeros((1, 2))])
def test_bad_input(x):
    with pytest.raises(ValueError, match="x: expected"):
        fit_gaussian_mixture(x, 2)
