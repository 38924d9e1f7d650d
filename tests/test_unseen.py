"""Values that a model was not fitted to: an error, a gap, or an impossible row."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

import anabranch as ab
from anabranch.cli.app import app
from anabranch.models import AnyOrder
from anabranch.tables import Schema, TableError, TableModel, TableWarning, detect
from anabranch.tables.columns import Continuous, Positive


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "price": np.exp(rng.normal(size=120)),
            "weight": np.round(rng.normal(50.0, 5.0, 120), 3),
            "cut": rng.choice(["Fair", "Ideal"], 120),
            "rooms": rng.integers(1, 4, 120),
        }
    )


@pytest.fixture(scope="module")
def model(frame):
    torch.manual_seed(0)
    schema = Schema.infer(frame, kinds={"weight": "rounded"})
    density = AnyOrder(schema.families(), 0, 16, 1)
    density.initialize(schema.tensor(schema.encode(frame)[0], torch.float32))
    return TableModel(schema, density)


@pytest.fixture
def new(frame):
    some = frame.head(8).copy()
    some.loc[2, "cut"] = "Good"
    some.loc[5, "cut"] = "Good"
    some.loc[3, "weight"] = 50.00051
    some.loc[4, "price"] = -1.0
    return some


TOLD = (
    r"1 in column 'price' \(-1.0 in row 4\), 1 in column 'weight' \(50.00051 in row 3\), "
    r"2 in column 'cut' \('Good' in row 2\)"
)


def test_an_error_by_default(model, new):
    with pytest.raises(TableError, match="column 'price': expected numbers above 0"):
        model.log_prob(new)
    with pytest.raises(ValueError, match="unseen: expected one of 'error', 'null', '-inf', got 'gap'"):
        model.log_prob(new, unseen="gap")


def test_a_gap(model, new):
    gaps = new.copy()
    gaps.loc[[2, 5], "cut"] = None
    gaps.loc[3, "weight"] = np.nan
    gaps.loc[4, "price"] = np.nan
    with pytest.warns(TableWarning, match=TOLD + ".*taken for gaps"):
        found = model.log_prob(new, unseen="null")
    np.testing.assert_array_equal(found, model.log_prob(gaps))
    with pytest.warns(TableWarning):
        np.testing.assert_array_equal(model.surprise(new, unseen="null"), model.surprise(gaps))


def test_an_impossible_row(model, new, frame):
    with pytest.warns(TableWarning, match=TOLD + ".*probability 0"):
        found = model.log_prob(new, unseen="-inf")
    some = [0, 1, 6, 7]
    np.testing.assert_allclose(found[some], model.log_prob(frame.head(8))[some], rtol=1e-6)
    assert np.isneginf(found[[2, 3, 4, 5]]).all()
    with pytest.warns(TableWarning):
        surprise = model.surprise(new, unseen="-inf")
    assert np.argwhere(np.isposinf(surprise)).tolist() == [[2, 2], [3, 1], [4, 0], [5, 2]]
    # where none is new all is as ever
    np.testing.assert_array_equal(model.log_prob(frame, unseen="-inf"), model.log_prob(frame))


def test_a_word_among_numbers_and_another_type(model, frame):
    some = frame.head(4).copy()
    some["weight"] = some["weight"].astype(str)
    some.loc[1, "weight"] = "about 50"
    some["rooms"] = some["rooms"].astype(float)
    some.loc[2, "rooms"] = 2.5
    with pytest.warns(
        TableWarning, match=r"1 in column 'weight' \('about 50' in row 1\), 1 in column 'rooms' \(2.5 in row 2\)"
    ):
        found = model.log_prob(some, unseen="null")
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[[0, 3]], model.log_prob(frame.head(4))[[0, 3]], rtol=1e-6)
    # what is no column of the kind is still an error
    with pytest.raises(TableError, match="cut"):
        model.log_prob(frame.assign(cut=1.5), unseen="null")
    with pytest.raises(TableError, match="no column 'cut'"):
        model.log_prob(frame.drop(columns="cut"), unseen="null")


def test_imputing_leaves_such_a_value_as_it_is(model, new):
    new.loc[2, "price"] = np.nan
    with pytest.raises(TableError, match=r"got -1.0 in row 4"):
        model.impute(new)
    with pytest.warns(TableWarning, match="'Good' in row 2"):
        filled = model.impute(new, seed=0, unseen="null")
    assert filled["cut"].tolist() == new["cut"].tolist()
    assert filled.loc[4, "price"] == -1.0
    assert filled.loc[2, "price"] > 0
    with pytest.raises(ValueError, match="unseen: expected one of 'error', 'null'"):
        model.impute(new, unseen="-inf")


def test_detecting_names_them_first(model, new):
    with pytest.warns(TableWarning) as caught:
        found = detect(model, new, top=5, unseen="-inf")
    assert len(caught) == 1
    assert [one.row for one in found[:4]] == [2, 3, 4, 5]
    assert [(one.cells[0].column, one.cells[0].value) for one in found[:3]] == [
        ("cut", "Good"),
        ("weight", 50.00051),
        ("price", -1.0),
    ]
    assert np.isfinite(found[4].excess)


def test_densities_without_gaps_and_given_columns():
    schema = Schema([Continuous("a", 0.0, 1.0), Positive("b", 0.0, 1.0)])
    model = TableModel(schema, ab.densities.Normal.standard(2))
    table = pa.table({"a": [0.0, 1.0], "b": [-1.0, 2.0]})
    with pytest.raises(ValueError, match="unseen: expected 'error' or '-inf', since a Normal takes no gaps"):
        model.log_prob(table, unseen="null")
    with pytest.warns(TableWarning, match="column 'b'"):
        assert np.isneginf(model.log_prob(table, unseen="-inf")).tolist() == [True, False]
    given = Schema([Continuous("a", 0.0, 1.0)], [Positive("b", 0.0, 1.0)])
    conditional = TableModel(given, ab.Flow(ab.flows.nsf(1, context=1, blocks=1, hidden=(4,))))
    with pytest.warns(TableWarning, match="column 'b'"):
        found = conditional.log_prob(table, unseen="-inf")
    assert np.isneginf(found).tolist() == [True, False]
    mixed = TableModel(given, AnyOrder(given.families(), 1, 8, 1))
    with pytest.raises(TableError, match="column 'b': expected numbers above 0"):
        mixed.log_prob(table, unseen="null")


@pytest.mark.parametrize("command", ["score", "detect", "impute"])
def test_commands(command, model, new, tmp_path):
    path, table, output = tmp_path / "model.safetensors", tmp_path / "new.csv", tmp_path / "out.csv"
    ab.save(model, path)
    new.to_csv(table, index=False)
    run = CliRunner().invoke(app, [command, str(path), str(table), "-o", str(output)])
    assert run.exit_code == 2
    assert "--unseen null" in run.stderr
    assert not output.exists()
    run = CliRunner().invoke(app, [command, str(path), str(table), "-o", str(output), "--unseen", "null"])
    assert run.exit_code == 0, run.stderr
    assert "2 in column 'cut' ('Good' in row 2)" in run.stderr
    assert len(pd.read_csv(output)) == 8
    if command == "score":
        run = CliRunner().invoke(app, [command, str(path), str(table), "-o", str(output), "--unseen", "-inf"])
        assert "scored 8 rows" in run.stderr
        assert "but 4 of probability 0" in run.stderr
        assert np.isneginf(pd.read_csv(output)["log_likelihood"]).sum() == 4


def test_values_and_names_with_new_lines_and_tabs_can_be_asked_about():
    frame = pd.DataFrame({"first\nname": ["a\nb", "a\tb", "a b"] * 30, "x\ty": np.arange(90.0) % 7})
    schema = Schema.infer(frame)
    density = AnyOrder(schema.families(), 0, 8, 1)
    density.initialize(schema.tensor(schema.encode(frame)[0], torch.float32))
    asked = TableModel(schema, density)
    each = [float(asked.ask(f'P("first\nname" = "{value}")').lines[0].value) for value in ("a\nb", "a\tb", "a b")]
    assert sum(each) == pytest.approx(1.0, abs=1e-4)
    assert len(asked.ask('E["x\ty" | "first\nname" = "a\tb"]').lines) == 1
    # between words a new line is a space
    plain = ab.queries.parse("P(price > 5000\n\t| cut =\n Very\nGood)")
    assert plain == ab.queries.parse("P(price > 5000  | cut =  Very Good)")
    with pytest.raises(ab.queries.QuestionError, match=r"(?s)expected one of .*\n  P\(price  5000\)\n"):
        ab.queries.parse("P(price\n 5000)")
