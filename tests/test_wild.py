"""Values that are far beyond all others: which they are, and that they ruin no fit."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import anabranch as ab
from anabranch.cli.app import app
from anabranch.estimators import (
    BayesClassifier,
    DensityEstimator,
    DensityImputer,
    DensityOutlierDetector,
    MixtureClusterer,
    SemiSupervisedClassifier,
)
from anabranch.tables import Schema, TableStream, TableWarning, fit_table
from anabranch.tables.columns import Continuous
from anabranch.tables.encoded_stream import EncodedStream
from anabranch.tables.wild import Usual

FAR = [50.0, 1e3, 1e6, 1e9, -1e9]


def three_blobs(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    places = np.repeat([[0.0, 0.0], [8.0, 8.0], [0.0, 9.0]], rows, axis=0)
    return places + rng.normal(size=places.shape), np.repeat([0, 1, 2], rows)


SETTINGS = {
    DensityEstimator: {"members": 1, "epochs": 2},
    BayesClassifier: {"members": 1, "epochs": 4},
    DensityOutlierDetector: {"members": 1, "epochs": 2},
    MixtureClusterer: {"n_clusters": 3, "starts": 1, "epochs": 4},
    SemiSupervisedClassifier: {"members": 1, "epochs": 4},
}


def fitted(kind, x, y, **more):
    return kind(**SETTINGS[kind], random_state=0, **more).fit(x, y)


@pytest.mark.parametrize("far", FAR)
def test_one_value_far_beyond_all_others_is_wild(far):
    x, _ = three_blobs(300)
    usual = Usual.of(np.concatenate([x, [[far, 1.0]]]))
    assert not usual.wild(x).any()
    assert usual.wild(np.array([[far, 1.0]])).tolist() == [[True, False]]
    # whatever the units
    moved = Usual.of(np.concatenate([x, [[far, 1.0]]]) * [1e-3, 1e200] + [5.0, 0.0])
    assert moved.wild(np.array([[far * 1e-3 + 5.0, 1e200]])).tolist() == [[True, False]]


def test_heavy_tails_small_clusters_and_rare_values_are_not_wild():
    rng = np.random.default_rng(0)
    samples = {
        "normal": rng.normal(size=3000),
        "lognormal": np.exp(2.0 * rng.normal(size=3000)),
        "t of 2": rng.standard_t(2, 3000),
        "Cauchy": rng.standard_cauchy(3000),
        "Pareto": rng.pareto(1.0, 3000),
        "counts": rng.poisson(0.05, 3000).astype(float),
        "rare ones": (rng.uniform(size=3000) < 0.003).astype(float),
        "a small cluster": np.r_[rng.normal(size=2980), rng.normal(9.0, 0.5, 20)],
        "rain": np.where(rng.uniform(size=3000) < 0.9, 0.0, np.exp(rng.normal(size=3000))),
        "one value": np.ones(3000),
        "few rows": np.r_[rng.normal(size=18), 1e9],
    }
    for name, sample in samples.items():
        assert Usual.of(sample[:, None]).everything, name


def test_several_wild_values_of_a_sentinel_and_gaps_and_weights():
    x = np.random.default_rng(0).normal(size=1000)
    x[:30], x[40], x[50:100] = -9999.0, 1e12, np.nan
    wild = np.flatnonzero(Usual.of(x[:, None]).wild(x[:, None])[:, 0])
    assert wild.tolist() == [*range(30), 40]
    seen = x[np.isfinite(x)]
    values, counts = np.unique(seen, return_counts=True)
    weighed = Usual.of(values[:, None], counts.astype(float))
    np.testing.assert_allclose(weighed.high, Usual.of(seen[:, None]).high)
    # more rows than a twentieth are no accident
    x[:200] = -9999.0
    assert not Usual.of(x[:, None]).wild(np.array([[-9999.0]])).any()


@pytest.mark.parametrize("kind", list(SETTINGS))
@pytest.mark.parametrize("far", [1e9])
def test_a_fit_is_that_without_the_wild_row(kind, far):
    x, y = three_blobs(40)
    plain = fitted(kind, x, y)
    with pytest.warns(
        TableWarning, match=rf"X: column 'x0' holds {re.escape(f'{far:g}')} in row 40 .*set apart"
    ) as caught:
        model = fitted(kind, np.insert(x, 40, [far, 1.0], axis=0), np.insert(y, 40, 0))
    assert len(caught) == 1
    if kind in (BayesClassifier, SemiSupervisedClassifier, MixtureClusterer):
        np.testing.assert_allclose(model.predict_proba(x)[:, :3], plain.predict_proba(x), atol=0.01)
        assert model.predict_proba([[far, 1.0]]).sum() == pytest.approx(1.0)
    if kind is DensityOutlierDetector:
        np.testing.assert_array_equal(model.score_samples(x), plain.score_samples(x))
        assert model.predict([[far, 1.0]]).tolist() == [-1]
    else:
        np.testing.assert_allclose(model.score_samples(x), plain.score_samples(x), atol=0.05)
        assert -120 < model.score_samples([[far, 1.0]])[0] < plain.score_samples(x).min()
    if kind is DensityEstimator:
        np.testing.assert_array_equal(model.sample(50, random_state=0), plain.sample(50, random_state=0))


def test_what_is_set_apart_is_in_the_file(tmp_path):
    x, _ = three_blobs(30)
    with pytest.warns(TableWarning):
        model = fitted(DensityEstimator, np.append(x, [[1e6, 1e6]], axis=0), None)
    model.save(tmp_path / "density.safetensors")
    again = DensityEstimator.load(tmp_path / "density.safetensors")
    new = np.array([[1e6, 1e6], [0.0, 0.0]])
    np.testing.assert_array_equal(again.score_samples(new), model.score_samples(new))


def test_the_density_with_a_background_integrates_to_one():
    from anabranch.estimators.apart import Apart

    z = np.linspace(-2e4, 2e4, 4_000_001)[:, None]
    normal = -0.5 * z[:, 0] ** 2 - 0.5 * np.log(2 * np.pi)
    log_p = Apart([-50.0], [50.0], [-4.0], [4.0], share=0.1).log_prob(normal, z)
    assert np.exp(log_p).sum() * (z[1, 0] - z[0, 0]) == pytest.approx(1.0, abs=1e-4)
    assert np.isfinite(
        Apart([-50.0], [50.0], [-4.0], [4.0], 0.1).log_prob(np.array([-np.inf]), np.array([[1e300]]))
    ).all()


@pytest.mark.slow
def test_wild_cells_of_rows_with_gaps():
    rng = np.random.default_rng(0)
    a = rng.normal(size=300)
    x = np.column_stack([a, 2 * a + 0.1 * rng.normal(size=300)])
    holes = np.where((np.arange(300) % 3 == 0)[:, None] & np.array([False, True]), np.nan, x)
    bad = holes.copy()
    bad[0, 0] = 999_999.0
    plain = DensityImputer(epochs=16, random_state=0).fit(holes)
    with pytest.warns(TableWarning, match="column 'x0' holds 999999 in row 0"):
        imputer = DensityImputer(epochs=16, random_state=0).fit(bad)
    filled, wanted = imputer.transform(bad), plain.transform(holes)
    assert filled[0, 0] == 999_999.0
    # nothing is concluded from the wild value: what is filled in beside it is what is usual
    assert abs(filled[0, 1]) < 2.0
    gaps = np.isnan(holes[1:, 1])
    assert np.abs(filled[1:][gaps, 1] - wanted[1:][gaps, 1]).mean() < 0.3
    for kind, more in ((DensityEstimator, {}), (DensityOutlierDetector, {"members": 1})):
        with pytest.warns(TableWarning):
            model = kind(epochs=30, random_state=0, **more).fit(bad)
        scores = model.score_samples(bad)
        assert np.isfinite(scores).all()
        assert scores.argmin() == 0
        without = kind(epochs=30, random_state=0, **more).fit(holes).score_samples(holes)
        assert scores[1:].mean() > without[1:].mean() - 0.1


def test_a_class_whose_only_row_is_wild_is_a_class():
    x, y = three_blobs()
    x, y = np.append(x, [[1e6, 1e6]], axis=0), np.append(y, 7)
    for kind in (BayesClassifier, SemiSupervisedClassifier):
        with pytest.warns(TableWarning):
            model = fitted(kind, x, y)
        assert model.classes_.tolist() == [0, 1, 2, 7]
        assert (model.predict(x[:-1]) == y[:-1]).mean() > 0.95
        assert np.isfinite(model.predict_proba(x)).all()


def test_wild_rows_are_a_cluster_if_the_others_need_no_more():
    x, y = three_blobs(100)
    rows = np.append(x, [[1e6, 1e6]], axis=0)
    settings = {"starts": 1, "epochs": 10, "random_state": 0}
    with pytest.warns(TableWarning):
        four = MixtureClusterer(4, **settings).fit(rows)
    assert four.wild_cluster_
    assert four.labels_[-1] == 3
    assert len({tuple(np.unique(four.labels_[:300][y == k])) for k in range(3)}) == 3
    with pytest.warns(TableWarning):
        three = MixtureClusterer(3, **settings).fit(rows)
    assert not three.wild_cluster_
    assert len(np.unique(three.labels_)) == 3


@pytest.mark.parametrize("far", [1e6, 1e39])
def test_tables_of_numbers_set_wild_rows_apart(far):
    x, _ = three_blobs(100)
    frame = pd.DataFrame(x, columns=["a", "b"])
    options = {"blocks": 1, "hidden": (16,), "epochs": 3, "progress": False}
    said = rf"column 'b' holds {re.escape(f'{far:g}')} in row 300 .*set apart"
    with pytest.warns(TableWarning, match=said) as caught:
        model, report = fit_table(
            pd.concat([frame, pd.DataFrame({"a": [0.0], "b": [far]})], ignore_index=True), **options
        )
    assert len(caught) == 1
    assert report.set_apart == [300]
    assert sum(report.rows[name] for name in ("training", "validation", "test")) == 300
    plain, reported = fit_table(frame, **options)
    assert model.log_prob(frame).mean() == pytest.approx(plain.log_prob(frame).mean(), abs=0.1)
    assert report.scores[0].mean == pytest.approx(reported.scores[0].mean, abs=0.5)
    assert model.schema.column("b").scale == pytest.approx(x[:, 1].std(), rel=0.1)
    assert model.sample(500, seed=0).to_pandas().abs().max().max() < 100


def test_the_page_finds_the_held_out_rows_again():
    from anabranch.report.view import _test_rows

    x, _ = three_blobs(100)
    with pytest.warns(TableWarning):
        _, report = fit_table(np.append(x, [[1e6, 0.0]], axis=0), blocks=1, hidden=(8,), epochs=1, progress=False)
    found = _test_rows(301, report.to_dict())
    assert found is not None
    assert 300 not in found


def test_a_stream_leaves_wild_rows_out(tmp_path):
    import torch

    x, _ = three_blobs(100)
    x[5, 0] = 1e6
    path = tmp_path / "rows.parquet"
    pd.DataFrame(x, columns=["a", "b"]).to_parquet(path)
    schema = Schema.standardised(pd.DataFrame(x, columns=["a", "b"]))
    usual = Usual.of(schema.encode(pd.DataFrame(x, columns=["a", "b"]))[0])
    rows = EncodedStream(TableStream(path), schema, np.array([7]), torch.float32, usual)
    numbers = torch.cat([batch.numbers for batch in rows.batches_of(64, torch.Generator().manual_seed(0))])
    assert sorted(numbers.tolist()) == [i for i in range(300) if i not in (5, 7)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, report = fit_table(TableStream(path), blocks=1, hidden=(8,), epochs=1, progress=False)
    assert "column 'a' holds 1e+06 in row 5" in str([str(one.message) for one in caught])
    assert report.scores[0].mean > -10


def test_mixed_tables_set_apart_what_float32_does_not_hold():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "c": rng.choice(["x", "y"], 200)})
    frame.loc[[20, 150], "a"] = 1e39, -1e30
    options = {"kinds": {"a": Continuous("a", 0.0, 1.0)}, "hidden": 8, "epochs": 1, "progress": False}
    with pytest.warns(
        TableWarning, match=r"'a' holds 1e\+39 in row 20, column 'a' holds -1e\+30 in row 150 .*set apart"
    ) as caught:
        model, report = fit_table(frame, **options)
    assert len(caught) == 1
    assert sorted(report.set_apart) == [20, 150]
    assert sum(report.rows[name] for name in ("training", "validation", "test")) == 198
    assert np.isfinite(report.scores[0].mean)
    assert np.isfinite(model.log_prob(frame.drop(index=[20, 150]))).all()


def test_too_far_for_the_density_is_named_by_row_and_column():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "c": rng.choice(["x", "y"], 200)})
    model, _ = fit_table(frame, hidden=8, epochs=1, progress=False)
    frame.loc[150, "a"] = 1e39
    with pytest.warns(TableWarning, match=r"row 150 .*-inf \(1 of 200 rows\), furthest in column 'a', 1e\+39"):
        assert np.isneginf(model.log_prob(frame)[150])
    x, context = model.schema.encode(frame)
    with pytest.warns(TableWarning, match="row 1150 "):
        model.log_prob_encoded(x, context, np.arange(1000, 1200))


def test_the_commands_name_the_file_the_column_and_the_row(tmp_path):
    x, _ = three_blobs(40)
    table = tmp_path / "heights.csv"
    pd.DataFrame(np.append(x, [[999_999.0, 0.0]], axis=0), columns=["height", "w"]).to_csv(table, index=False)
    run = CliRunner().invoke(app, ["cluster", str(table), "-k", "4", "--epochs", "2", "-o", str(tmp_path / "out.csv")])
    assert run.exit_code == 0, run.stderr
    assert f"warning: {table}: column 'height' holds 999999 in row 120" in run.stderr
    fit = ["fit", str(table), "-o", str(tmp_path / "m.safetensors"), "--epochs", "1", "--hidden", "8"]
    run = CliRunner().invoke(app, fit)
    assert run.exit_code == 0, run.stderr
    assert "column 'height' holds 999999 in row 120" in run.stderr
    again = ab.load(tmp_path / "m.safetensors")
    assert again.schema.column("height").scale < 10
