"""Tables fitted by an autoencoder: columns of all kinds, gaps, an estimate of log p with its error, and the commands."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import anabranch as ab
from anabranch.cli import app
from anabranch.models import LatentVariable
from anabranch.queries import QueryWarning
from anabranch.tables import TableModel, fit_table
from anabranch.tables.architecture import Architecture
from anabranch.tables.columns import TableWarning


def frame(rows=240, seed=0):
    """A number that says much of a category and of another number, with a fifth of the cells missing."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows)
    kind = np.where(size + 0.3 * rng.normal(size=rows) > 0, "large", "small").astype(object)
    table = pd.DataFrame({"size": 10 + 2 * size, "weight": np.exp(size + 0.2 * rng.normal(size=rows)), "kind": kind})
    return table.mask(rng.random(table.shape) < 0.2)


@pytest.fixture(scope="module")
def fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return fit_table(frame(), model="vae", hidden=(16,), latent=2, epochs=60, learning_rate=1e-2, progress=False)


def test_the_report_says_estimate_and_how_the_model_was_made(fitted):
    model, report = fitted
    assert isinstance(model.density, LatentVariable) and model.density.gaps
    assert [score.name for score in report.scores] == [
        "autoencoder, estimated",
        "Gaussian copula",
        "independent columns",
    ]
    assert report.model == "autoencoder, 2 hidden numbers, networks of 16"
    assert {"model": "vae", "hidden": [16], "latent": 2}.items() <= report.options.items()
    assert report.scores[0].gain == 0 and np.isfinite(report.scores[0].mean)
    assert report.scores[2].gain > 0


def test_log_p_is_an_estimate_with_its_error_and_that_of_what_was_observed(fitted):
    model, _ = fitted
    rows = frame(20, seed=1)
    value, error = model.estimate(rows, samples=300)
    again, finer = model.estimate(rows, samples=3000, seed=1)
    assert value.shape == error.shape == (20,) and bool((np.abs(value - again) < 5 * error + 1e-3).all())
    assert float(finer.mean()) < float(error.mean())
    nothing = pd.DataFrame({"size": [None], "weight": [None], "kind": [None]}, dtype=object)
    value, error = model.estimate(nothing.astype({"size": float, "weight": float}))
    assert abs(float(value[0])) < 4 * float(error[0]) + 1e-6
    for refused in (model.log_prob, model.surprise):
        with pytest.raises(
            ValueError, match=r"log_prob: expected a model whose log p is exact, .* TableModel.estimate"
        ):
            refused(rows)
    # an exact model has an estimate too, without an error
    exact = TableModel(model.schema, ab.models.Marginals(model.schema.families()))
    value, error = exact.estimate(rows)
    assert np.array_equal(value, exact.log_prob(rows)) and not error.any()


def test_gaps_are_filled_in_units_of_the_columns(fitted):
    model, _ = fitted
    rows = pd.DataFrame({"size": [14.0, 6.0, np.nan], "weight": [np.nan] * 3, "kind": [None, None, "large"]})
    rows = rows.astype({"kind": object})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QueryWarning)
        best = model.impute(rows, best=True, seed=0)
        drawn = model.impute(rows, draws=3, seed=0)
    assert best["kind"].tolist() == ["large", "small", "large"] and best["size"].iloc[:2].tolist() == [14.0, 6.0]
    assert best["weight"].iloc[0] > 2 * best["weight"].iloc[1] > 0 and best["size"].iloc[2] > 10
    assert len(drawn) == 3 and not any(one.isna().any().any() for one in drawn)
    assert model.sample(5, seed=0).num_rows == 5


def test_a_file_gives_the_same_estimate(fitted, tmp_path):
    model, _ = fitted
    ab.save(model, tmp_path / "vae.safetensors")
    again = ab.load(tmp_path / "vae.safetensors")
    for mine, other in zip(model.estimate(frame(5)), again.estimate(frame(5)), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_what_is_refused():
    table = frame(60)
    with pytest.raises(ValueError, match=r"given: expected none with model='vae', .* got \['size'\]"):
        fit_table(table, given=["size"], model="vae")
    with pytest.raises(ValueError, match="latent: expected None with model='depth'"):
        Architecture.chosen("depth", "autoregressive", None, None, 8, 1, latent=3)
    with pytest.raises(ValueError, match="blocks: expected None with model='vae'"):
        Architecture.chosen("vae", "autoregressive", 3, None, 8, 1)
    with pytest.raises(ValueError, match="orders: expected 1 with model='vae'"):
        Architecture.chosen("vae", "autoregressive", None, None, 8, 2)


def test_the_commands(tmp_path):
    table, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    frame(80).to_csv(table, index=False)
    runner = CliRunner()

    def call(*words):
        return runner.invoke(app, [str(word) for word in words])

    fit = call("fit", table, "-o", model, "--model", "vae", "--latent", 1, "--hidden", 8, "--epochs", 2)
    assert fit.exit_code == 0 and "autoencoder, estimated" in fit.stdout
    scored = call("score", model, table)
    columns = pd.read_csv(pd.io.common.StringIO(scored.stdout))
    assert scored.exit_code == 0 and columns.columns[-2:].tolist() == ["log_likelihood", "standard_error"]
    assert "nats per row, estimated" in scored.stderr and (columns["standard_error"] > 0).any()
    filled = call("impute", model, table, "--best", "mean")
    assert filled.exit_code == 0 and not pd.read_csv(pd.io.common.StringIO(filled.stdout)).isna().any().any()
    assert call("sample", model, "-n", 3).exit_code == 0
    for question in ("E[size]", "E[size | kind = large]"):
        assert call("query", model, question).exit_code == 0
    assert call("report", model, table, "-o", tmp_path / "r.html").exit_code == 0
    for refused in (
        ("compress", table, "-o", tmp_path / "t.anb", "--model", model),
        ("detect", model, table),
    ):
        result = call(*refused)
        assert result.exit_code == 2, (refused, result.output)
        assert "exact" in result.stderr or "any order" in result.stderr, (refused, result.stderr)
        assert "Traceback" not in result.output and len(result.stderr.strip().splitlines()) <= 3, result.stderr


def test_the_page_calls_estimates_so_and_says_what_is_left_out(fitted, tmp_path):
    pytest.importorskip("plotly", reason="plotly, the extra 'report', is not installed")
    from anabranch.report import write_report

    model, report = fitted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(model, frame(), tmp_path / "page.html", fit=report.to_dict())
    text = (tmp_path / "page.html").read_text()
    assert "Every log p on this page is an estimate" in text
    assert "The lower bound, which a fit trains, has a mean of" in text
    assert "What needs exact densities is left out" in text
    assert "mean estimated log p" in text
    assert "This is the table that was fitted" in text  # which the mean of the held-out rows confirms
    assert "What fills the gaps" in text
    assert '<section id="hidden">' in text and "Rows and the prior" in text
    assert "anabranch detect" not in text
    assert "= None" not in text.split('id="surprises"')[1].split("</section>")[0]


def test_the_view_scores_rows_as_the_model_does_and_exact_ones_without_error(fitted):
    from anabranch.report.view import View
    from anabranch.tables import as_table

    model, report = fitted
    view = View.of(model, as_table(frame()), report.to_dict(), 20_000, 240, 0)
    value, error = model.estimate(frame())
    assert np.array_equal(view.log_p, value) and np.array_equal(view.error, error)
    other = frame(seed=1)
    assert View.of(model, as_table(other), report.to_dict(), 20_000, 240, 0).held_out is None


def test_an_estimate_that_rests_on_few_draws_is_named(fitted):
    """The posterior is off here."""
    model = TableModel(fitted[0].schema, copy.deepcopy(fitted[0].density))
    with torch.no_grad():
        for parameter in model.density.posterior.parameters():
            parameter.mul_(2)
    with pytest.warns(
        TableWarning, match=r"standard error of log p is above 0.3 at .* a few of the 50 draws outweigh the others"
    ):
        model.estimate(frame(20, seed=1), samples=50)
