"""`torch.set_default_dtype(torch.float64)` breaks nothing, and decides the dtype of models built under it alone."""

import numpy as np
import pandas as pd
import pytest
import torch

import anabranch as ab
from anabranch.densities import StudentT
from anabranch.estimators import (
    BayesClassifier,
    DensityEstimator,
    DensityImputer,
    DensityOutlierDetector,
    MixtureClusterer,
    SemiSupervisedClassifier,
)
from anabranch.tables import fit_table

X = np.random.default_rng(0).normal(size=(120, 2))
Y = X[:, 0] > 0
GAPS = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
FRAME = pd.DataFrame(X, columns=["a", "b"]).assign(k=np.where(Y, "u", "v"))
FEW = {"proposals": 64, "chains": 8, "moves": 8}
ONE = {"epochs": 1, "random_state": 0}


@pytest.fixture(params=["float32 models", "models built in float64"])
def doubles(request):
    """Models built before, or under, a default of float64."""

    def build():
        return {
            "flow": ab.Flow(ab.flows.realnvp(features=2, blocks=2, hidden=(8,))),
            "depth": ab.DepthMixture(ab.flows.nsf(features=2, blocks=1, hidden=(8,))),
            "any order": ab.models.AnyOrder(2, hidden=8),
            "Student t": StudentT([0.0, 0.0], df=5.0),
        }

    built, dtype = build(), torch.float32
    torch.set_default_dtype(torch.float64)
    if request.param == "models built in float64":
        built, dtype = build(), torch.float64
    yield built, dtype
    torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore::anabranch.queries.QueryWarning")
def test_densities_keep_their_dtype(doubles):
    for name, density in doubles[0].items():
        dtype = doubles[1]
        x = torch.tensor(X, dtype=dtype)
        found = [density.log_prob(x), density.sample((3,), generator=0), density.sample_and_log_prob((3,))[1]]
        found += [ab.queries.marginal(density, [0], proposals=64).log_prob([[0.1]])]
        given = ab.queries.conditional(density, {0: 0.1}, **FEW)
        found += [given.log_prob([[0.1]]), given.sample((2,)), ab.queries.impute(density, x[:3], seed=0)]
        if name != "Student t":
            ab.fit(density, x, epochs=1, seed=0, progress=False)
            found += [density.log_prob(x)]
        assert [value.dtype for value in found] == [dtype] * len(found), name
        mean = ab.queries.expectation(density, "mean", given={0: 0.5}, seed=0, samples=64, **FEW).value
        assert mean.dtype == torch.float64


@pytest.fixture
def default_double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore")  # of fits cut short
@pytest.mark.usefixtures("default_double")
@pytest.mark.parametrize(
    ("name", "run", "dtype"),
    [
        ("density", lambda: DensityEstimator(members=1, **ONE).fit(X).score_samples(X), "float64"),
        ("density of gaps", lambda: DensityEstimator(**ONE).fit(GAPS).score_samples(GAPS), "float64"),
        ("density of a frame", lambda: DensityEstimator(**ONE).fit(FRAME).score_samples(FRAME), "float64"),
        (
            "density of its own",
            lambda: (
                DensityEstimator(ab.Flow(ab.flows.realnvp(features=2, blocks=2)), members=1, **ONE)
                .fit(X)
                .score_samples(X)
            ),
            "float64",
        ),
        ("imputer", lambda: DensityImputer(**ONE).fit(GAPS).transform(GAPS), "float64"),
        ("outliers", lambda: DensityOutlierDetector(members=1, **ONE).fit(X).score_samples(X), "float64"),
        ("clusterer", lambda: MixtureClusterer(2, **ONE).fit(X).predict_proba(X), "float64"),
        ("clusterer, balanced", lambda: MixtureClusterer(2, balance=1.0, starts=2, **ONE).fit(X).labels_, "int64"),
        ("classes", lambda: BayesClassifier(members=1, **ONE).fit(X, Y).predict_proba(X), "float64"),
        ("classes of a frame", lambda: BayesClassifier(**ONE).fit(FRAME, Y).predict_proba(FRAME), "float64"),
        (
            "classes of few labels",
            lambda: (
                SemiSupervisedClassifier(members=1, **ONE)
                .fit(X, np.where(np.arange(120) < 50, Y.astype(int), -1))
                .predict_proba(X)
            ),
            "float64",
        ),
    ],
)
def test_estimators(name, run, dtype):
    del name
    found = run()
    assert found.dtype == dtype
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("default_double")
@pytest.mark.parametrize("options", [{"hidden": 8}, {"hidden": 8, "given": ["k"]}])
def test_tables_of_any_kind(options):
    frame = FRAME.assign(b=GAPS[:, 1])
    model, report = fit_table(frame, epochs=1, progress=False, **options)
    assert model.encoded.dtype == torch.float64
    assert all(np.isfinite(score.mean) for score in report.scores)
    assert "P(a > 0" in str(model.ask("P(a > 0 | k = u)"))
    assert np.isfinite(model.log_prob(frame)).all()
    assert model.impute(frame, seed=0)["b"].isna().sum() == 0


@pytest.mark.usefixtures("default_double")
def test_tables_of_numbers():
    model, _ = fit_table(FRAME[["a", "b"]], epochs=1, progress=False, hidden=(8,))
    assert model.encoded.dtype == torch.float64
    assert "P(a > 0" in str(model.ask("P(a > 0)", seed=0, samples=200))
    assert model.sample(3, seed=0).num_rows == 3
