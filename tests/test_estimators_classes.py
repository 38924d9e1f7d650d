"""What the classifiers take for classes, and for rows that have none."""

import numpy as np
import pytest

from anabranch.estimators import BayesClassifier, SemiSupervisedClassifier

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
