"""Every door reads rows in one way: masked cells are gaps, whole numbers beyond 2^53 are kept or refused by name."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import anabranch as ab
from anabranch.arrays import unmasked
from anabranch.estimators import BayesClassifier, DensityEstimator, DensityImputer, SemiSupervisedClassifier
from anabranch.tables import as_table

BIG = np.arange(120).reshape(60, 2) + 2**53


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(60, 2))


def test_masked_cells_of_any_type_are_gaps():
    mask = [True, False]
    for values in ([1, 2], [True, False], [1.5, 2.5], np.array([1.5, 2.5], "f4")):
        found = unmasked(np.ma.array(values, mask=mask))
        assert np.isnan(found[0])
        assert found[1] == values[1]
    assert unmasked(np.ma.array(np.array([1.5, 2.5], "f4"), mask=mask)).dtype == np.float32
    assert np.isnat(unmasked(np.ma.array(np.array(["2024-01-01", "2025-01-01"], "M8[D]"), mask=mask))[0])
    assert unmasked(np.ma.array(["a", "b"], mask=mask)).tolist() == [None, "b"]
    assert unmasked(np.ma.array([1, 2])).dtype == np.int64
    with pytest.raises(ValueError, match=r"x: expected whole numbers up to 2\^53, got 9007199254740993 in row 1"):
        unmasked(np.ma.array([1, 2**53 + 1], mask=mask))


def test_masked_tables():
    x = np.ma.masked_equal(np.array([[1.0, -9999.0], [-9999.0, 2.0]]), -9999.0)
    assert as_table(x).to_pydict() == {"x0": [1.0, None], "x1": [None, 2.0]}
    whole = np.ma.masked_equal(np.array([[2**60 + 1, 7]]), 7)
    assert as_table(whole).to_pydict() == {"x0": [2**60 + 1], "x1": [None]}
    words = np.ma.masked_equal(np.array([["a", "b"]]), "b")
    assert as_table(words).to_pydict() == {"x0": ["a"], "x1": [None]}


def test_masked_rows_of_estimators(rows):
    masked = np.ma.masked_array(np.where(rows < -1, -9999.0, rows), mask=rows < -1)
    gaps = np.where(rows < -1, np.nan, rows)
    for kind in (DensityEstimator, DensityImputer):
        model, other = (kind(epochs=1, random_state=0).fit(x) for x in (masked, gaps))
        method = "score_samples" if kind is DensityEstimator else "transform"
        found = getattr(model, method)(masked)
        np.testing.assert_array_equal(found, getattr(other, method)(gaps))
        assert (np.asarray(found) != -9999.0).all()
    y = np.arange(60) % 2
    with pytest.raises(ValueError, match="got NaN in row"):
        BayesClassifier(epochs=1).fit(masked, y)
    with pytest.raises(ValueError, match=r"y: expected classes, got NaN, None or infinity .*in row 1"):
        BayesClassifier(epochs=1).fit(rows, np.ma.masked_equal(y, 1))
    with pytest.raises(ValueError, match=r"in row 0.*-1 says that a sample has no label"):
        SemiSupervisedClassifier(epochs=1).fit(rows, np.ma.masked_equal(np.array(["a", "b"])[y], "a"))
    with pytest.raises(ValueError, match="sample_weight contains NaN"):
        DensityEstimator(epochs=1).fit(rows, sample_weight=np.ma.masked_equal(y, 1))


def test_masked_rows_of_a_fit_and_of_densities(rows):
    masked = np.ma.masked_array(rows, mask=rows < -1)
    flow = ab.Flow(ab.flows.nsf(2, blocks=1, hidden=(4,)))
    first = int(np.flatnonzero((rows < -1).any(axis=1))[0])
    with pytest.raises(ValueError, match=f"x: expected finite numbers, got nan in row {first}"):
        ab.fit(flow, masked, epochs=1, progress=False)
    gaps = torch.tensor(np.where(rows < -1, np.nan, rows), dtype=torch.float32)
    model = ab.models.AnyOrder(2, 0, 8, 1)
    assert torch.equal(model.log_prob(masked), model.log_prob(gaps))
    history = ab.fit(model, masked, epochs=1, seed=0, progress=False)
    assert np.isfinite(history.epochs[-1].loss)
    mixture = ab.densities.GaussianMixture(torch.eye(2), learnable=True)
    labels = np.ma.masked_equal(np.arange(60) % 2, 1)
    with pytest.raises(ValueError, match=r"labels: expected whole numbers from -1 .*, got a gap in row 1"):
        ab.fit(mixture, rows, labels=labels, epochs=1, progress=False)
    with pytest.raises(ValueError, match="weights: expected finite numbers of at least 0, got nan in row 1"):
        ab.fit(mixture, rows, weights=labels, epochs=1, progress=False)


@pytest.mark.parametrize(
    "rows",
    [
        BIG,
        BIG.astype(np.uint64),
        BIG.astype(object),
        BIG.tolist(),
        [[2**53 + 1, 0.5], [1, 2.0]],
        pd.DataFrame(BIG, columns=["a", "b"]),
        pd.DataFrame(BIG, columns=["a", "b"], dtype="Int64"),
        pd.DataFrame(BIG, columns=["a", "b"]).astype(object),
        pl.DataFrame(BIG, schema=["a", "b"]),
        pa.table({"a": BIG[:, 0], "b": BIG[:, 1]}),
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_whole_numbers_that_floats_do_not_hold_are_refused_by_name(rows):
    with pytest.raises(
        ValueError, match=r"X: expected whole numbers up to 2\^53, got 900719925474099[34] in row [01], column"
    ):
        DensityImputer(epochs=1).fit(rows)


def test_whole_numbers_in_a_fit_and_those_that_fit():
    flow = ab.Flow(ab.flows.nsf(2, blocks=1, hidden=(4,)))
    with pytest.raises(
        ValueError, match=r"x: expected whole numbers up to 2\^53, got 9007199254740993 in row 0, column 1"
    ):
        ab.fit(flow, BIG, epochs=1, progress=False)
    exact = np.array([[2**53, 1], [-(2**53), 2], [5, 3]])
    assert DensityImputer(epochs=1, random_state=0).fit(exact).transform(exact).tolist() == exact.tolist()
    # a frame whose columns are declared keeps every digit
    frame = pd.DataFrame({"id": BIG[:, 0], "b": np.random.default_rng(0).normal(size=60)})
    frame.loc[3, "b"] = np.nan
    imputer = DensityImputer(epochs=1, kinds={"id": "integer"}, random_state=0).fit(frame)
    assert imputer.transform(frame)["id"].tolist() == BIG[:, 0].tolist()


def test_frames_of_nullable_numbers_in_a_fit(rows):
    flow = ab.Flow(ab.flows.nsf(2, blocks=1, hidden=(4,)))
    histories = [
        ab.fit(flow, x, epochs=1, learning_rate=1e-9, seed=0, progress=False)
        for x in (rows, pd.DataFrame(rows, dtype="Float64"))
    ]
    assert histories[0].epochs[0].loss == pytest.approx(histories[1].epochs[0].loss, rel=1e-4)
