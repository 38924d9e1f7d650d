"""Clusters of very different sizes that lie apart."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from anabranch.estimators import MixtureClusterer
from anabranch.estimators.islands import islands


def unequal(seed):
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(0, 1, (880, 2)), rng.normal(9, 0.5, (15, 2)), rng.normal(-9, 0.5, (5, 2))])
    return x, np.repeat([0, 1, 2], [880, 15, 5])


@pytest.mark.parametrize("balance", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_clusters_of_very_different_sizes(balance):
    x, truth = unequal(int(balance))
    model = MixtureClusterer(3, balance=balance, epochs=30, random_state=0).fit(x)
    assert adjusted_rand_score(truth, model.labels_) > 0.99
    assert np.bincount(model.labels_).tolist() == [880, 15, 5]
    assert model.predict([[9.0, 9.0], [-9.0, -9.0], [0.0, 0.0]]).tolist() == [1, 2, 0]


def test_islands_of_any_shape_and_none():
    rng = np.random.default_rng(0)
    for seed in range(5):
        x, truth = unequal(seed)
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        assert adjusted_rand_score(truth, islands(z, np.ones(900), 3)) == 1.0
        assert all(islands(z, np.ones(900), count) is None for count in (1, 2, 4, 8))
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    rings = np.concatenate([ring, 0.3 * ring[::10], [[0.0, 5.0]]])  # and a stray row
    assert np.bincount(islands(rings, np.ones(221), 2)).tolist() == [201, 20]
    assert islands(rng.normal(size=(500, 3)), np.ones(500), 2) is None
    assert islands(np.zeros((2, 2)), np.ones(2), 2) is None


def test_a_row_of_weight_five_is_five_rows():
    z = np.concatenate([np.linspace(0.0, 1.0, 40), np.linspace(9.0, 9.1, 4)])[:, None]
    weights = np.r_[np.ones(40), 5 * np.ones(4)]
    assert islands(z, weights, 2).tolist() == [0] * 40 + [1] * 4
