"""Estimators of data frames whose columns are of any kind."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import anabranch as ab
from anabranch.estimators import (
    BayesClassifier,
    DensityEstimator,
    DensityImputer,
    DensityOutlierDetector,
    MixtureClusterer,
    SemiSupervisedClassifier,
)

KINDS = [DensityEstimator, DensityImputer, DensityOutlierDetector, BayesClassifier]


def rows(count=160, seed=0, gaps=0.1):
    """A frame of all kinds of columns, and two classes that most of them tell apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    frame = pd.DataFrame(
        {
            "price": np.exp(rng.normal(size=count) + 2 * y),
            "cut": np.where(rng.uniform(size=count) < 0.2 + 0.6 * y, "Fair", "Ideal"),
            "grade": pd.Categorical(
                np.where(y == 1, "b", rng.choice(["a", "b"], count)), ["a", "b", "c"], ordered=True
            ),
            "new": pd.array(rng.uniform(size=count) < 0.5, dtype="boolean"),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, count), "D"),
            "rooms": pd.array(rng.integers(1, 8, count), dtype="Int64"),
            "same": "x",
            "single": rng.normal(size=count).astype(np.float32),
        }
    )
    for name in ("price", "cut", "grade", "new", "day", "rooms"):
        frame.loc[rng.uniform(size=count) < gaps, name] = None
    return frame, y


def as_library(frame, library):
    if library == "pandas":
        return frame
    if library == "pyarrow":
        return pa.Table.from_pandas(frame, preserve_index=False)
    return pl.from_pandas(frame).with_columns(
        pl.col("cut").cast(pl.Categorical), pl.col("grade").cast(pl.Enum(["a", "b", "c"]))
    )


def same_types(one, other, library):
    if library == "pandas":
        return one.dtypes.equals(other.dtypes) and list(one.columns) == list(other.columns)
    return one.schema == other.schema if library == "polars" else one.schema.equals(other.schema)


def answer(estimator, x):
    for method in ("score_samples", "predict_proba"):
        if hasattr(estimator, method):
            return getattr(estimator, method)(x)
    return estimator.transform(x)


def equal(one, other):
    return one.equals(other) if hasattr(one, "equals") else bool(np.array_equal(one, other))


@pytest.mark.parametrize(
    "library", ["pandas", *(pytest.param(name, marks=pytest.mark.slow) for name in ("polars", "pyarrow"))]
)
def test_frames_come_back_as_they_were(library):
    frame = as_library(rows(60)[0], library)
    drawn = DensityEstimator(epochs=1, random_state=0).fit(frame).sample(7, random_state=0)
    assert type(drawn) is type(frame)
    assert len(drawn) == 7
    assert same_types(drawn, frame, library)
    imputer = DensityImputer(epochs=1, random_state=0).fit(frame)
    filled = imputer.transform(frame)
    assert same_types(filled, frame, library)
    draws = imputer.impute(frame, draws=2, random_state=0)
    assert len(draws) == 2
    for found in (filled, *draws):
        before, after = (pl.from_pandas(t) if library == "pandas" else pl.DataFrame(t) for t in (frame, found))
        assert after.null_count().sum_horizontal()[0] == 0
        for name in before.columns:  # what was observed stays, bit for bit
            seen = before[name].is_not_null()
            assert after[name].filter(seen).equals(before[name].filter(seen))
    for wanted, kind in (("pandas", pd.DataFrame), ("polars", pl.DataFrame)):
        converted = imputer.set_output(transform=wanted).transform(frame)
        assert isinstance(converted, kind)
        assert list(converted.columns) == imputer.get_feature_names_out().tolist()
    with pytest.raises(ValueError, match=r"'day'.*got ndarray"), pytest.warns(UserWarning, match="feature names"):
        imputer.transform(np.zeros((2, 8)))


@pytest.mark.parametrize("kind", KINDS)
def test_files_pickles_and_clones(kind, tmp_path):
    from sklearn.base import clone

    frame, y = rows(60)
    estimator = kind(epochs=1, random_state=0).fit(frame, y)
    assert estimator.feature_names_in_.tolist() == list(frame.columns)
    estimator.save(tmp_path / "estimator.safetensors")
    found = answer(estimator, frame)
    for other in (
        kind.load(tmp_path / "estimator.safetensors"),
        pickle.loads(pickle.dumps(estimator)),
        clone(estimator).fit(frame, y),
    ):
        assert equal(answer(other, frame), found)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused_is_named(kind):
    frame, y = rows(60)
    estimator = kind(epochs=1, random_state=0).fit(frame, y)
    with pytest.raises(ValueError, match=r"'cut': 'Bad' in row 3 .* none of the 2 values that were fitted"):
        answer(estimator, frame.assign(cut=["Good" if i < 0 else "Bad" if i == 3 else "Fair" for i in range(60)]))
    with pytest.raises(ValueError, match="'price': expected numbers above 0"):
        answer(estimator, frame.assign(price=-1.0))
    with pytest.raises(ValueError, match="feature names"):
        answer(estimator, frame[["price", "cut"]])
    with pytest.raises(ValueError, match="'cut' is empty"):
        kind(epochs=1).fit(frame.assign(cut=pd.Series([None] * 60, dtype="str")), y)
    with pytest.raises(ValueError, match="one and the same row"):
        kind(epochs=1).fit(frame[["same"]], y)
    with pytest.raises(ValueError, match="'odd' holds values of different types"):
        kind(epochs=1).fit(frame.assign(odd=[1, "a"] * 30), y)
    for odd in ([[1, 2]] * 60, pd.period_range("2020", periods=60, freq="D")):
        with pytest.raises(ValueError, match=r"'odd' holds .*no kind of column; leave it out"):
            kind(epochs=1).fit(frame.assign(odd=odd), y)
    with pytest.raises(ValueError, match=r"got a LazyFrame, .*collect\(\)"):
        kind(epochs=1).fit(pl.from_pandas(frame).lazy(), y)
    with pytest.raises(ValueError, match=r"'same'.* 2 times|'same' is there twice"):
        kind(epochs=1).fit(pd.concat([frame, frame[["same"]]], axis=1), y)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_what_the_messages_ask_for(kind, tmp_path):
    from sklearn.base import clone

    frame, y = rows(60)
    new = frame.assign(price=-1.0, single=np.nan)
    with pytest.raises(ValueError, match=r"'price': expected numbers above 0.*kinds='continuous'"):
        answer(kind(epochs=1, random_state=0).fit(frame, y), new)
    estimator = clone(kind(epochs=1, random_state=0, kinds={"price": "continuous .."})).fit(frame, y)
    estimator.save(tmp_path / "estimator.safetensors")
    assert equal(answer(kind.load(tmp_path / "estimator.safetensors"), new), answer(estimator, new))
    numbers = pd.DataFrame({"a": frame["single"], "code": np.arange(60) % 3})
    declared = kind(epochs=1, random_state=0, kinds={"code": "categorical"}).fit(numbers, y)
    with pytest.raises(ValueError, match=r"'code': .*none of the 3 values"):
        answer(declared, numbers.assign(code=7))
    for wrong, message in (("continuous", "expected a mapping"), ({"b": "continuous"}, "got 'b'"), ({"a": "x"}, "'x'")):
        with pytest.raises(ValueError, match=f"kinds.*{message}"):
            kind(epochs=1, kinds=wrong).fit(numbers, y)
    with pytest.raises(ValueError, match="kinds: expected None, or X to be a data frame, got ndarray"):
        kind(epochs=1, kinds={"a": "continuous"}).fit(numbers.to_numpy(), y)


def test_flows_and_mixtures_say_what_they_need():
    frame, y = rows(40)
    numbers = frame[["single"]].assign(truth=y == 1)
    assert MixtureClusterer(2, starts=1, epochs=1).fit(numbers).n_features_in_ == 2  # truth values are 0 and 1
    for estimator in (MixtureClusterer(2), SemiSupervisedClassifier()):
        with pytest.raises(ValueError, match=f"column 'cut'.* {type(estimator).__name__}.*OneHotEncoder"):
            estimator.fit(frame, y)
    with pytest.raises(ValueError, match=r"'auto' or 'any order' for a data frame .*'flow'"):
        DensityEstimator("flow").fit(frame)
    own = ab.densities.Normal(torch.zeros(8))
    with pytest.raises(ValueError, match=r"expected None for a data frame .*'Normal'"):
        BayesClassifier(density=own).fit(frame, y)


def test_log_p_is_of_densities_and_probabilities_in_the_own_units():
    frame, _ = rows(gaps=0.0)
    frame = frame[["price", "cut"]]
    model = DensityEstimator(epochs=2, random_state=0).fit(frame)
    assert model.unit_ == "nats per row; density in price; probability of cut"
    log_price = np.linspace(-12, 14, 4001)
    total = 0.0
    for cut in ("Fair", "Ideal"):
        line = pd.DataFrame({"price": np.exp(log_price), "cut": cut})
        p = np.exp(model.score_samples(line) + log_price)  # dx = x d log x
        total += p.sum() * (log_price[1] - log_price[0])
    assert total == pytest.approx(1.0, abs=2e-3)
    alone = pd.DataFrame({"price": [None, None], "cut": ["Fair", "Ideal"]}, dtype=object).astype({"price": float})
    assert np.exp(model.score_samples(alone)).sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_gaps_get_the_most_probable_category_and_the_mean():
    rng = np.random.default_rng(0)
    a = rng.normal(size=800)
    frame = pd.DataFrame(
        {"a": a, "sign": np.where(a > 0, "plus", "minus"), "grown": np.exp(a + 0.3 * rng.normal(size=800))}
    )
    hidden = frame.copy()
    hidden.loc[:100, "sign"] = None
    hidden.loc[50:200, "grown"] = np.nan
    hidden.index = np.arange(800)[::-1]
    imputer = DensityImputer(random_state=0).fit(hidden)
    filled = imputer.transform(hidden)
    assert filled.index.equals(hidden.index)
    assert (filled["sign"].to_numpy()[:101] == frame["sign"].to_numpy()[:101]).mean() > 0.95
    # of a column that is encoded by its logarithm, the mean and not the exponential of a mean
    medians = imputer.set_params(strategy="median").transform(hidden)
    ratio = filled["grown"].to_numpy()[50:201] / medians["grown"].to_numpy()[50:201]
    assert np.median(ratio) == pytest.approx(np.exp(0.3**2 / 2), abs=0.03)
    assert np.median(medians["grown"].to_numpy()[50:201] / np.exp(a[50:201])) == pytest.approx(1.0, abs=0.1)
    assert set(imputer.set_params(strategy="draw").transform(hidden)["sign"]) == {"plus", "minus"}


@pytest.mark.slow
def test_ordinal_numbers_get_the_level_next_to_the_mean():
    levels = np.random.default_rng(0).choice([0.5, 5.5, 10.5, 20.5], 400, p=[0.45, 0.02, 0.23, 0.3])
    frame = pd.DataFrame({"level": levels, "word": ["u", "v"] * 200})  # of mean 8.9 and median 10.5
    frame.loc[:20, "level"] = np.nan
    for strategy in ("mean", "median"):
        imputer = DensityImputer(strategy, epochs=100, random_state=0).fit(frame)
        assert imputer.encoding_.schema.parts[0].kind == "ordinal"
        assert set(imputer.transform(frame)["level"][:20]) == {10.5}  # the most probable is 0.5


@pytest.mark.slow
def test_rows_with_a_value_that_contradicts_the_others_are_outliers():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=400)})
    frame["sign"] = np.where(frame["a"] > 0, "plus", "minus")
    frame.loc[0] = [2.0, "minus"]
    frame.loc[1:40, "a"] = np.nan
    detector = DensityOutlierDetector(0.02, epochs=40, random_state=0).fit(frame)
    # one value of the others is 3.8 deviations out
    assert 0 in detector.score_samples(frame).argsort()[:6]
    assert detector.predict(frame)[0] == -1
    # a gap is worth what its column is on average
    assert -1 not in detector.predict(frame[1:41])


@pytest.mark.slow
def test_classes_of_frames_with_gaps():
    frame, y = rows(300)
    new, truth = rows(300, seed=1)
    model = BayesClassifier(epochs=8, random_state=0).fit(frame, np.array(["no", "yes"])[y])
    assert (model.predict(new) == np.array(["no", "yes"])[truth]).mean() > 0.85
    joint = model.predict_joint_log_proba(new)
    np.testing.assert_allclose(model.score_samples(new), np.logaddexp.reduce(joint, axis=1))
    lonely = np.where(np.arange(300) == 7, 2, y)
    assert BayesClassifier(epochs=1, random_state=0).fit(frame, lonely).predict_proba(new).shape == (300, 3)


def test_weights_order_and_copies():
    frame, y = rows(60)
    weights = np.arange(60) % 3
    extra = pd.concat([frame, frame[:1].assign(cut="Unseen")], ignore_index=True)
    for kind in (DensityEstimator, DensityImputer):
        one = kind(epochs=1, random_state=0).fit(frame, y)
        order = np.random.default_rng(1).permutation(60)
        assert equal_numbers(
            answer(kind(epochs=1, random_state=0).fit(frame.iloc[order], y[order]), frame), answer(one, frame)
        )
        weighted = kind(epochs=1, random_state=0).fit(frame, y, sample_weight=weights)
        # rows of weight 0 are as if not there, an unseen category of theirs included
        without = kind(epochs=1, random_state=0).fit(extra, [*y, 0], sample_weight=[*weights, 0])
        assert equal(answer(weighted, frame), answer(without, frame))
        with pytest.raises(ValueError, match="Unseen"):
            answer(without, extra)


def equal_numbers(one, other):
    if hasattr(one, "equals"):
        return one.drop(columns="day").round(3).equals(other.drop(columns="day").round(3))
    return np.allclose(one, other)


@pytest.mark.slow
def test_pipelines_and_searches():
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

    frame, y = rows(80)
    found = GridSearchCV(DensityEstimator(epochs=1), {"random_state": [0, 1]}, cv=2, error_score="raise").fit(frame)
    assert np.isfinite(found.best_score_)
    assert found.best_estimator_.sample(2).dtypes.equals(frame.dtypes)
    pipeline = make_pipeline(
        DensityImputer(epochs=1, random_state=0),
        OneHotEncoder(handle_unknown="ignore"),
        DecisionTreeClassifier(random_state=0),
    )
    few = frame[["cut", "grade", "price"]]
    for library in ("pandas", "polars", "pyarrow"):
        cells = as_library(few, library)
        assert cross_val_score(pipeline, cells, y, cv=2, error_score="raise").mean() > 0.5
    folds = cross_val_score(BayesClassifier(epochs=5, random_state=0), few, y, cv=2, error_score="raise")
    assert folds.mean() > 0.7


def test_declared_categories_are_known_without_a_row():
    frame, _ = rows(80)
    model = DensityEstimator(epochs=1, random_state=0).fit(frame)
    rare = frame[:1].assign(grade=pd.Categorical(["c"], ["a", "b", "c"], ordered=True))
    assert np.isfinite(model.score_samples(rare)).all()


def test_numbers_in_objects_and_numbered_columns():
    x = np.random.default_rng(0).normal(size=(40, 2))
    plain = pd.DataFrame(x, columns=["a", "b"])
    one = DensityEstimator(members=1, epochs=1, random_state=0).fit(plain)
    other = DensityEstimator(members=1, epochs=1, random_state=0).fit(plain.astype(object))
    np.testing.assert_array_equal(one.score_samples(plain), other.score_samples(plain.astype(object)))
    assert isinstance(one.sample(2), np.ndarray)
    assert one.unit_ == "nats per row; density in a, b"
    numbered = pd.DataFrame({0: x[:, 0], 1: np.where(x[:, 1] > 0, "u", "v")})
    drawn = DensityEstimator(epochs=1, random_state=0).fit(numbered).sample(3)
    assert list(drawn.columns) == [0, 1]
