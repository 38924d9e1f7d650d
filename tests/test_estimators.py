"""The estimators: scikit-learn's own checks, and what those do not look at."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from anabranch.estimators import (
    BayesClassifier,
    DensityEstimator,
    DensityImputer,
    DensityOutlierDetector,
    MixtureClusterer,
    SemiSupervisedClassifier,
)
from anabranch.tables import TableWarning

MANY_FITS = [
    SemiSupervisedClassifier(members=1, epochs=2),
    SemiSupervisedClassifier("m2", members=1, epochs=2),
    SemiSupervisedClassifier("mixture prior", members=1, epochs=2, neighbours=0),
    MixtureClusterer(2, starts=1, epochs=2),
]
QUICK = [
    DensityEstimator(members=1, epochs=1),
    BayesClassifier(members=1, epochs=1),
    DensityImputer(epochs=1),
    DensityOutlierDetector(members=1, epochs=1),
]


def expected_failures(estimator):
    if not isinstance(estimator, SemiSupervisedClassifier):
        return {}
    reason = "-1 is no class but says that there is none, as in scikit-learn's own, which the check leaves out by name"
    return {"check_classifiers_classes": reason}


@parametrize_with_checks(QUICK)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::anabranch.densities.CollapseWarning")  # two epochs warm up to nothing
@parametrize_with_checks(MANY_FITS, expected_failed_checks=expected_failures)
def test_scikit_learn_checks_of_many_fits(estimator, check):
    check(estimator)


def blobs(rows=120, seed=0, apart=4.0):
    rng = np.random.default_rng(seed)
    classes = np.arange(rows) % 2
    return rng.normal(size=(rows, 2)) + apart * (2 * classes[:, None] - 1), classes


def cheap(kind, **options):
    small = {
        DensityEstimator: {"members": 1},
        BayesClassifier: {"members": 1},
        SemiSupervisedClassifier: {"members": 1},
        MixtureClusterer: {"n_clusters": 2, "starts": 1},
        DensityOutlierDetector: {"members": 1},
        DensityImputer: {},
    }[kind]
    return kind(**{"epochs": 2, "random_state": 0, **small, **options})


ALL = [type(estimator) for estimator in QUICK]


def fitted(kind, x, y, **options):
    return cheap(kind, **options).fit(x, y)


def with_gaps(kind, x):
    """Rows with gaps for the imputer, which gives others back as they are whatever it was fitted to."""
    if kind is DensityImputer:
        x = np.where((np.arange(len(x)) % 3 == 0)[:, None] & (np.arange(x.shape[1]) == 0), np.nan, x)
    return x


def answer(estimator, x):
    for method in ("score_samples", "predict_proba", "transform"):
        if hasattr(estimator, method):
            return np.asarray(getattr(estimator, method)(x))
    raise AssertionError


@pytest.mark.parametrize("kind", ALL)
def test_a_file_gives_the_same_estimator(kind, tmp_path):
    x, y = blobs()
    x = np.column_stack([x, np.full(len(x), 3.0)])  # and a column that never changes
    if kind is DensityImputer:
        x[::5, 0] = np.nan
    names = np.array(["left", "right"], dtype=object)[y]
    estimator = fitted(kind, x, names, random_state=np.random.RandomState(3))
    path = tmp_path / "estimator.safetensors"
    estimator.save(path)
    again = kind.load(path)
    np.testing.assert_array_equal(answer(again, x), answer(estimator, x))
    assert again.get_params()["epochs"] == 2
    assert again.random_state == estimator.seed_
    for name, value in vars(estimator).items():
        if name.endswith("_") and isinstance(value, np.ndarray):
            found = getattr(again, name)
            assert found.dtype.kind == value.dtype.kind
            np.testing.assert_array_equal(found, value)
    other = DensityEstimator if kind is not DensityEstimator else DensityImputer
    with pytest.raises(ValueError, match=f"expected a {other.__name__}, got a {kind.__name__}"):
        other.load(path)


def test_a_file_holds_settings_and_classes_of_any_kind(tmp_path):
    import torch

    import anabranch as ab

    x, y = blobs(20)
    days = np.array(["2024-01-01", "2025-01-01"], dtype="datetime64[D]")[y]
    model = cheap(BayesClassifier, priors=pd.Series([0.3, 0.7]), device=torch.device("cpu"), random_state=None)
    model.fit(x, days).save(tmp_path / "estimator.safetensors")
    again = BayesClassifier.load(tmp_path / "estimator.safetensors")
    assert again.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    np.testing.assert_array_equal(again.priors, [0.3, 0.7])
    assert again.random_state is None
    imputer = cheap(DensityImputer).set_output(transform="pandas").fit(x)
    imputer.save(tmp_path / "imputer.safetensors")
    assert isinstance(DensityImputer.load(tmp_path / "imputer.safetensors").transform(x), pd.DataFrame)
    ab.save(ab.densities.Normal(torch.zeros(2)), tmp_path / "normal.safetensors")
    with pytest.raises(ValueError, match=r"got a Normal; read it with anabranch\.load"):
        DensityImputer.load(tmp_path / "normal.safetensors")


@pytest.mark.parametrize("kind", ALL)
def test_frames_give_names(kind):
    import polars as pl

    x, y = blobs(40)
    x = with_gaps(kind, x)
    of_array = answer(fitted(kind, x, y), x)
    for frame in (pd.DataFrame(x, columns=["a", "b"]), pl.DataFrame({"a": x[:, 0], "b": x[:, 1]})):
        estimator = fitted(kind, frame, y)
        assert estimator.feature_names_in_.tolist() == ["a", "b"]
        np.testing.assert_allclose(answer(estimator, frame), of_array)
    with pytest.raises(ValueError, match="feature names"):
        answer(estimator, pd.DataFrame(x, columns=["a", "c"]))


@pytest.mark.parametrize("kind", ALL)
def test_neither_order_nor_copies_matter(kind):
    x, y = blobs(60)
    x = with_gaps(kind, x)
    order = np.random.default_rng(1).permutation(60)
    one = fitted(kind, x, y)
    np.testing.assert_allclose(answer(fitted(kind, x[order], y[order]), x), answer(one, x))
    weights = np.arange(60) % 3
    many = fitted(kind, x.repeat(weights, axis=0), y.repeat(weights))
    weighted = cheap(kind).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(answer(weighted, x), answer(many, x))
    assert not np.allclose(answer(weighted, x), answer(one, x))


@pytest.mark.parametrize("kind", ALL)
def test_odd_rows_give_numbers(kind):
    x, y = blobs(40)
    for odd in (
        np.column_stack([x, np.ones(40)]),  # constant
        x[:, :1],
        x[:6],
        np.tile(x[:4], (10, 1)),  # copies
        x * 1e150,
        1e9 + x,
        x.astype(np.float32),
        np.round(x).astype(int),
    ):
        rows = with_gaps(kind, odd)
        found = answer(fitted(kind, rows, y[: len(rows)]), rows)
        assert np.isfinite(found).all()
    rows = with_gaps(kind, np.where(np.arange(40)[:, None] == 39, 1e12, x))  # far out
    with pytest.warns(TableWarning, match=r"column 'x[01]' holds 1e\+12 in row 39.*set apart"):
        estimator = fitted(kind, rows, y)
    assert np.isfinite(answer(estimator, rows)).all()


@pytest.mark.parametrize("kind", ALL)
def test_refuses_what_it_cannot_take(kind):
    x, y = blobs(40)
    bad = x.copy()
    bad[3, 1] = np.inf
    with pytest.raises(ValueError, match=r"got infinity in row 3, column 1 \(1 of 40 rows holds one\); remove"):
        fitted(kind, bad, y)
    with pytest.raises(ValueError, match="one and the same row"):
        fitted(kind, np.ones((40, 2)), y, **({"n_clusters": 1} if kind is MixtureClusterer else {}))
    with pytest.raises(ValueError, match="convert string"):
        fitted(kind, np.column_stack([x.astype(object), ["a"] * 40]), y)
    with pytest.raises(ValueError, match="epochs: expected a whole number"):
        fitted(kind, x, y, epochs=0)
    gaps = x.copy()
    gaps[3, 1] = np.nan
    if kind in (MixtureClusterer, SemiSupervisedClassifier, BayesClassifier):
        with pytest.raises(ValueError, match=r"got NaN in row 3, column 1 .*fill them first"):
            fitted(kind, gaps, y)
    elif kind is not DensityImputer:
        with pytest.raises(ValueError, match=r"got NaN in row 3, column 1 .*; fit .*gaps"):
            answer(fitted(kind, x, y), gaps)
    if kind in (DensityEstimator, DensityOutlierDetector, DensityImputer):
        empty = pd.DataFrame({"a": x[:, 0], "b": np.full(40, np.nan)})
        with pytest.raises(ValueError, match="gaps alone in column 'b'; leave it out"):
            fitted(kind, empty, y)
        # a row of weight 0 is as if not there
        with pytest.raises(ValueError, match="gaps alone in column 1"):
            cheap(kind).fit(np.column_stack([x[:, 0], np.where(np.arange(40) == 5, 1, np.nan)]), y, np.arange(40) != 5)


def test_the_density_integrates_to_one_in_the_own_units():
    x, _ = blobs(200, apart=1.0)
    x = x * [3.0, 0.1] + [10.0, -5.0]
    model = cheap(DensityEstimator, members=2).fit(x)
    a, b = np.linspace(-30, 50, 300), np.linspace(-6.5, -3.5, 300)
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2)
    integral = np.exp(model.score_samples(grid)).sum() * (a[1] - a[0]) * (b[1] - b[0])
    assert integral == pytest.approx(1.0, abs=0.01)
    assert model.score(x) == pytest.approx(model.score_samples(x).mean())
    drawn = model.sample(2000, random_state=0)
    assert drawn.mean(axis=0) == pytest.approx(x.mean(axis=0), abs=0.6)
    np.testing.assert_array_equal(drawn, model.sample(2000, random_state=0))


def test_few_rows_get_about_a_normal():
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(60, 3)), rng.normal(size=(2000, 3))
    model = DensityEstimator(members=2, epochs=10, random_state=0).fit(x)
    truth = (-0.5 * (new**2).sum(axis=1) - 1.5 * np.log(2 * np.pi)).mean()
    assert truth - 0.35 < model.score(new) < truth


def test_the_density_of_rows_with_gaps_is_that_of_what_they_have():
    x, _ = blobs(200, apart=1.0)
    model = cheap(DensityEstimator, density="any order").fit(x)
    half = np.column_stack([x[:5, 0], np.full(5, np.nan)])
    a = np.linspace(-12, 12, 2001)
    joint = [
        np.exp(model.score_samples(np.column_stack([np.full(2001, v), a]))).sum() * (a[1] - a[0]) for v in half[:, 0]
    ]
    np.testing.assert_allclose(model.score_samples(half), np.log(joint), atol=1e-3)


def test_another_value_in_a_constant_column_has_no_density():
    x, classes = blobs(40)
    x = np.column_stack([x, np.full(40, 7.0)])
    model = cheap(DensityEstimator).fit(x)
    other = x[:2] + np.array([[0, 0, 0], [0, 0, 1]])
    assert np.isfinite(model.score_samples(other)).tolist() == [True, False]
    assert (model.sample(5)[:, 2] == 7.0).all()
    for kind in (BayesClassifier, SemiSupervisedClassifier, MixtureClusterer):
        model = cheap(kind).fit(x, classes)
        assert np.isfinite(model.score_samples(other)).tolist() == [True, False]
        np.testing.assert_allclose(model.predict_proba(other), model.predict_proba(x[:2]))
    detector = cheap(DensityOutlierDetector).fit(x)
    assert detector.score_samples(other)[1] < detector.score_samples(x).min()
    assert detector.predict(other)[1] == -1


def test_a_density_of_ones_own_is_copied_and_fitted():
    import torch

    import anabranch as ab

    x, _ = blobs(60)
    own = ab.densities.Normal(torch.zeros(2), learnable=True)
    model = DensityEstimator(own, members=1, epochs=5, random_state=0).fit(x)
    assert own.theta.loc.tolist() == [0.0, 0.0]
    assert isinstance(model.density_.members[0], ab.densities.Normal)
    with pytest.raises(ValueError, match="rows of 1 numbers"):
        DensityEstimator(own, epochs=1).fit(x[:, :1])
    with pytest.raises(ValueError, match="'auto', 'flow', 'any order' or a Density"):
        DensityEstimator("flows").fit(x)
    with pytest.raises(ValueError, match="'auto', 'flow', 'any order' or a Density, got 3"):
        DensityEstimator(3).fit(x)
    y = np.arange(60) % 2
    wrong = ab.densities.Normal(torch.zeros(3))
    for rows in (60, 10):  # few rows get a normal, but what is wrong is wrong
        with pytest.raises(ValueError, match="rows of 2 numbers"):
            BayesClassifier(density=wrong, epochs=1).fit(x[:rows], y[:rows])
        with pytest.raises(ValueError, match="density: expected None or a Density, got 'flow'"):
            BayesClassifier(density="flow", epochs=1).fit(x[:rows], y[:rows])


def test_searches_and_pipelines():
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = blobs(60)
    pipeline = make_pipeline(StandardScaler(), cheap(BayesClassifier))
    search = GridSearchCV(pipeline, {"bayesclassifier__members": [1, 2]}, cv=2).fit(x, y)
    assert search.best_score_ > 0.9
    found = GridSearchCV(cheap(DensityEstimator), {"epochs": [1, 2]}, cv=2).fit(x)
    assert np.isfinite(found.best_score_)


def test_classes_are_found_and_their_probabilities_are_calibrated():
    x, y = blobs(300, apart=1.0)
    new, truth = blobs(2000, seed=1, apart=1.0)
    model = cheap(BayesClassifier, priors=[0.5, 0.5]).fit(x, np.array(["no", "yes"])[y])
    exact = 1 / (1 + np.exp(-4 * new.sum(axis=1) / 2))
    assert np.abs(model.predict_proba(new)[:, 1] - exact).mean() < 0.06
    assert (model.predict(new) == np.array(["no", "yes"])[truth]).mean() > 0.9
    assert model.score_samples([[50.0, -50.0]]) < model.score_samples(new).min()
    for wrong in ([0.5, 0.6], [1.0], {0: 0.5, 1: 0.5}, "no"):
        with pytest.raises(ValueError, match="priors: expected 2 numbers"):
            cheap(BayesClassifier, priors=wrong).fit(x[:20], y[:20])


def test_a_class_of_one_row_and_one_class_alone():
    x, y = blobs(40)
    y = np.where(np.arange(40) == 0, 2, y)
    x[0] = [20.0, -20.0]
    for kind in (BayesClassifier, SemiSupervisedClassifier):
        model = fitted(kind, x, y)
        assert model.classes_.tolist() == [0, 1, 2]
        assert kind is SemiSupervisedClassifier or model.predict([[20.0, -20.0]]) == [2]
        assert np.isfinite(model.predict_proba(x)).all()
        one = fitted(kind, x, np.zeros(40, dtype=int))
        assert one.predict(x).tolist() == [0] * 40
        assert one.predict_proba(x).tolist() == [[1.0]] * 40


def test_few_labels_among_many_rows():
    x, classes = blobs(200)
    names = np.array(["left", "right"], dtype=object)[classes]
    y = np.full(200, -1, dtype=object)
    y[:4] = names[:4]
    model = cheap(SemiSupervisedClassifier).fit(x, y)
    assert model.classes_.tolist() == ["left", "right"]
    assert (model.transduction_ == names).mean() > 0.98
    assert model.label_distributions_.shape == (200, 2)
    numbers = cheap(SemiSupervisedClassifier).fit(x, np.where(np.arange(200) < 4, classes, -1))
    assert numbers.classes_.tolist() == [0, 1]
    assert (numbers.predict(x) == classes).mean() > 0.98
    with pytest.raises(ValueError, match="expected a label for some samples"):
        cheap(SemiSupervisedClassifier).fit(x, np.full(200, -1))


def test_clusters_of_very_different_size_and_more_than_there_are_rows():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(180, 2)), rng.normal(size=(20, 2)) * 0.5 + [9, 0]])
    labels = cheap(MixtureClusterer, epochs=15).fit_predict(x)
    assert len({*labels[:180]}) == len({*labels[180:]}) == 1
    with pytest.raises(ValueError, match="balance: expected a number of at least 0, got None"):
        cheap(MixtureClusterer, balance=None).fit(x)
    with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=4"):
        cheap(MixtureClusterer, n_clusters=4).fit(x[:3])
    with pytest.warns(UserWarning, match="only 3 rows are different"):
        few = cheap(MixtureClusterer, n_clusters=4).fit(np.tile(x[[0, 1, 190]], (5, 1)))
    assert few.predict_proba(x).shape == (200, len(set(few.labels_)))


@pytest.mark.slow
def test_gaps_are_filled_by_what_the_rest_of_the_row_says():
    rng = np.random.default_rng(0)
    a = rng.normal(size=600)
    x = np.column_stack([5 + a, -100 * a + 30 * rng.normal(size=600)])
    hidden = x.copy()
    hidden[:200, 1] = np.nan
    imputer = DensityImputer(epochs=40, random_state=0).fit(hidden)
    filled = imputer.transform(hidden)
    np.testing.assert_array_equal(filled[200:], x[200:])
    np.testing.assert_array_equal(filled[:, 0], x[:, 0])
    assert np.sqrt(np.mean((filled[:200, 1] + 100 * a[:200]) ** 2)) < 20
    draws = imputer.impute(hidden, draws=30, random_state=0)
    spread = draws[:, :200, 1].std(axis=0).mean()
    assert 22 < spread < 40
    np.testing.assert_array_equal(draws, imputer.impute(hidden, draws=30, random_state=0))
    framed = imputer.set_output(transform="pandas").transform(hidden)
    assert framed.columns.tolist() == ["x0", "x1"]


def test_the_share_of_outliers_is_what_was_asked_for():
    x, _ = blobs(200)
    x[:5] = [[0.0, 9.0], [9.0, 0.0], [-9.0, 9.0], [0.0, -12.0], [15.0, 15.0]]
    detector = cheap(DensityOutlierDetector, contamination=0.025, epochs=20).fit(x)
    assert np.flatnonzero(detector.predict(x) == -1).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="contamination"):
        cheap(DensityOutlierDetector, contamination=0.6).fit(x)


def test_power_transforms_are_those_of_scikit_learn():
    from sklearn.preprocessing import PowerTransformer

    from anabranch.estimators.power import Power

    x = np.random.default_rng(0).gamma(4.0, size=(300, 3)) * [1.0, 10.0, -0.1]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    power = Power.of(x, np.ones(300))
    other = PowerTransformer().fit(x)
    np.testing.assert_allclose(power.powers, other.lambdas_, atol=1e-4)
    np.testing.assert_allclose(power.forward(x), other.transform(x), atol=1e-4)
    np.testing.assert_allclose(power.inverse(power.forward(x)), x, atol=1e-9)


def test_expectation_maximisation_with_weights():
    import torch
    from sklearn.mixture import GaussianMixture

    from anabranch.training.expectation_maximisation import fit_by_em

    x, _ = blobs(90)
    weights = np.arange(90) % 3 + 1.0
    found = fit_by_em(x, weights, 2, shrink=0.0)
    repeated = x.repeat(weights.astype(int), axis=0)
    theirs = GaussianMixture(2, random_state=0, tol=1e-6).fit(repeated)
    assert found.log_prob(torch.from_numpy(repeated)).mean() == pytest.approx(theirs.score(repeated), abs=1e-3)


def test_stacking_weights_are_the_most_probable():
    from anabranch.estimators.stacking import stacking_weights

    rng = np.random.default_rng(0)
    log_p = np.log(rng.uniform(size=(200, 2)))
    weights = rng.uniform(size=200)
    a = np.linspace(0.001, 0.999, 999)[:, None]
    value = (weights * np.log(a * np.exp(log_p[:, 0]) + (1 - a) * np.exp(log_p[:, 1]))).sum(1) + np.log(
        a * (1 - a)
    ).ravel()
    assert stacking_weights(log_p, weights)[0] == pytest.approx(a[value.argmax(), 0], abs=0.003)
