"""The parts of the outlier detector's score, and outliers that one density alone does not see."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from anabranch.estimators import DensityOutlierDetector
from anabranch.estimators.kernel_marginals import KernelMarginals
from anabranch.estimators.scaling import Scaling
from anabranch.estimators.trimming import most_usual


def test_kernel_marginals_are_densities():
    z = np.random.default_rng(0).gamma(1.0, size=(60, 1))
    marginals = KernelMarginals.of(z, np.arange(1.0, 61.0))
    grid = np.linspace(-2000, 2000, 400_001)[:, None]
    beyond = 2 * (0.5 - np.arctan(2000) / np.pi) / (marginals.total + 1)
    assert np.exp(marginals.log_prob(grid)).sum() * 0.01 + beyond == pytest.approx(1.0, abs=1e-4)
    w = np.arange(1.0, 61.0) / 1830
    kernel = (w * np.exp(-2 * (z.T - grid[::1000]) ** 2)).sum(axis=1) / (0.5 * np.sqrt(2 * np.pi))
    exact = (1830 * kernel + 1 / (np.pi * (1 + grid[::1000, 0] ** 2))) / 1831
    near = np.abs(grid[::1000, 0]) < 5  # where kernels are cut off, 4 widths from all rows, the Cauchy is left
    np.testing.assert_allclose(np.exp(marginals.log_prob(grid[::1000]))[near], exact[near], atol=2e-3)


def test_a_column_more_adds_its_own_log_density():
    z = np.random.default_rng(0).normal(size=(50, 2))
    both = KernelMarginals.of(z, np.ones(50)).log_prob(z)
    each = sum(KernelMarginals.of(z[:, [j]], np.ones(50)).log_prob(z[:, [j]]) for j in (0, 1))
    np.testing.assert_allclose(both, each)


def test_a_row_of_weight_two_is_the_row_twice():
    rng = np.random.default_rng(0)
    z, twice = rng.normal(size=(101, 3)), np.arange(101) % 3 == 0
    doubled, weights = np.concatenate([z, z[twice]]), 1.0 + twice
    np.testing.assert_array_equal(most_usual(z, weights), most_usual(doubled, np.ones(len(doubled)))[:101])
    a = KernelMarginals.of(z, weights)
    np.testing.assert_allclose(a.log_prob(z), KernelMarginals.of(doubled, np.ones(len(doubled))).log_prob(z))
    a, b = Scaling.of(z, weights, power=True), Scaling.of(doubled, power=True)
    np.testing.assert_allclose(a.encode(z), b.encode(z), rtol=1e-4, atol=1e-5)


def test_values_far_out_do_not_set_the_unit():
    x = np.random.default_rng(0).normal(size=(400, 1))
    x[:4] = 1e6
    inner = Scaling.of(x, power=True)
    assert inner.scale[0] == pytest.approx(1.0, abs=0.2)
    mostly_one_value = np.concatenate([np.zeros((300, 1)), np.ones((20, 1))])
    assert Scaling.of(mostly_one_value, power=True).scale[0] == pytest.approx(mostly_one_value.std())


def test_a_cluster_of_outliers_is_found_and_so_is_a_broken_dependency():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4))
    x[:, 1] = 0.9 * x[:, 0] + 0.2 * x[:, 1]
    x[:60] = [2.5, -2.0, 2.5, 2.5] + 0.1 * rng.normal(size=(60, 4))
    x[60:64, :2] = [[1.5, -1.5], [-1.5, 1.5], [1.7, -1.2], [-1.2, 1.6]]
    scores = DensityOutlierDetector(members=1, epochs=10, random_state=0).fit(x).score_samples(x)
    assert average_precision_score(np.arange(600) < 64, -scores) > 0.95


def test_the_threshold_is_between_two_rows():
    x = np.random.default_rng(0).normal(size=(40, 2))
    for contamination, share in ((0.05, 2), (0.06, 2), (0.5, 20), (0.01, 0)):
        detector = DensityOutlierDetector(contamination, members=1, epochs=1, random_state=0).fit(x)
        found = detector.decision_function(x)
        assert (found < 0).sum() == share
        assert np.abs(found).min() > 1e-10  # further than scores differ by roundings when other rows are beside a row
    with pytest.raises(ValueError, match=r"contamination: expected a number in \(0, 0.5\], got 'auto'"):
        DensityOutlierDetector("auto").fit(x)
