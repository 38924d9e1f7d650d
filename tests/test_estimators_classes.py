"""What the classifiers take for classes, and for rows that have none."""

import numpy as np
import pytest

from anabranch.estimators import BayesClassifier, MixtureClusterer, SemiSupervisedClassifier
from anabranch.estimators.classes import log_shares

QUICK = {"members": 1, "epochs": 1, "random_state": 0}


def blobs(rows=24):
    classes = np.arange(rows) % 2
    return np.random.default_rng(0).normal(size=(rows, 2)) + 4.0 * (2 * classes[:, None] - 1), classes


def test_the_word_for_minus_one_is_refused():
    x, y = blobs()
    words = np.array(["left", "right"])[y]
    few = np.arange(len(y)) < 4
    mixed = [word if i < 4 else -1 for i, word in enumerate(words)]
    # NumPy makes the word '-1' of the number in a list, which would be a class of its own
    for y in (mixed, np.array(mixed), np.array(mixed).astype(object)):
        with pytest.raises(ValueError, match=r"expected the number -1 .* array of objects"):
            SemiSupervisedClassifier(**QUICK).fit(x, y)
    model = SemiSupervisedClassifier(**QUICK).fit(x, np.where(few, words.astype(object), -1))  # as the message says
    assert model.classes_.tolist() == ["left", "right"]
    assert set(model.transduction_) == {"left", "right"}


@pytest.mark.parametrize("dtype", [int, bool])
def test_objects_of_one_type_are_classes(dtype):
    x, y = blobs()
    objects = y.astype(dtype).astype(object)
    assert BayesClassifier(**QUICK).fit(x, objects).classes_.dtype == np.array([], dtype).dtype
    few = np.where(np.arange(len(y)) < 4, objects, -1)
    model = SemiSupervisedClassifier(**QUICK).fit(x, few)
    assert model.classes_.tolist() == [dtype(0), dtype(1)]
    assert model.transduction_.dtype == model.classes_.dtype


def test_classes_that_are_missing_or_of_two_types_are_refused():
    x, y = blobs()
    for none in (None, np.nan):
        gaps = np.array(["left", "right"], dtype=object)[y]
        gaps[3] = none
        with pytest.raises(ValueError, match=f"{none} in row 3.*leave it out"):
            BayesClassifier(**QUICK).fit(x, gaps)
        with pytest.raises(ValueError, match=f"{none} in row 3.*-1 says that"):
            SemiSupervisedClassifier(**QUICK).fit(x, gaps)
    both = np.array([0, "right"], dtype=object)[y]
    for kind in (BayesClassifier, SemiSupervisedClassifier):
        with pytest.raises(ValueError, match="classes of one type, got int and str"):
            kind(**QUICK).fit(x, both)


def test_shares_of_classes_have_sum_one_however_far_the_row():
    joint = np.array([[-1e24, -1e24, -np.inf], [-1e300, -1e300, -1e300], [0.0, -1.0, -np.inf], [-np.inf] * 3])
    shares = np.exp(log_shares(joint, np.log([0.2, 0.3, 0.5])))
    assert np.allclose(shares.sum(axis=1), 1.0, atol=1e-12)
    assert np.allclose(shares[:2], [[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    assert np.allclose(shares[3], [0.2, 0.3, 0.5])


@pytest.mark.parametrize("kind", [BayesClassifier, MixtureClusterer, SemiSupervisedClassifier])
def test_rows_at_the_end_of_what_floats_hold_have_probabilities(kind):
    x, y = blobs()
    x[:, 1] = x[:, 0]
    x[0, 1] += 1e-3
    model = kind(2, epochs=1, random_state=0) if kind is MixtureClusterer else kind(**QUICK)
    model.fit(1e-3 * x, y)
    most = np.finfo(np.float64).max
    far = np.array([[1e12, -1e12], [0.0, 1e24], [-1e24, 1e24], [1e200, 1.0], [most, most], [most, -most], [-most, 0.0]])
    p = model.predict_proba(far)
    assert np.allclose(p.sum(axis=1), 1.0)
    assert (p >= 0).all()
    assert set(model.predict(far)) <= {0, 1}
    assert not np.isnan(model.score_samples(far)).any()
