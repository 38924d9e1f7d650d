"""Questions to models of tables: in own units, against closed forms and shares of rows; gaps filled; odd rows found."""

import datetime
import math
import operator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import stats

import anabranch as ab
from anabranch.densities import GaussianMixture
from anabranch.models import AnyOrder
from anabranch.queries import Interval, QuestionError
from anabranch.tables import Schema, TableError, TableModel, detect
from anabranch.tables.columns import Categorical, Continuous, Ordinal
from anabranch.tables.questions import SchemaColumns
from anabranch.testing import randomize

ROWS = 400


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    n = ROWS
    days = [datetime.date(1950, 1, 1) + datetime.timedelta(days=int(d)) for d in rng.integers(0, 20_000, n)]
    seconds = [datetime.datetime(2020, 1, 1) + datetime.timedelta(seconds=int(d)) for d in rng.integers(0, 10**7, n)]
    columns = {
        "x": rng.normal(size=n),
        "heavy": 100 * rng.standard_t(1.2, size=n),
        "price": np.exp(5 + 1.5 * rng.normal(size=n)),
        "share": np.where(rng.random(n) < 0.2, 1.0, rng.beta(2, 3, size=n)),
        "age": rng.integers(18, 90, n),
        "weight": np.round(rng.normal(70, 12, n), 1),
        "big": rng.integers(0, 1000, n) + 10**17,
        "grade": rng.choice([1, 2, 5], n),
        "cut": rng.choice(["Fair", "Very Good", "Ideal"], n),
        "smoker": rng.random(n) < 0.3,
        "born": pa.array(days),
        "at": pa.array(seconds, pa.timestamp("us", "Europe/Berlin")),
        "clock": pa.array([datetime.time(int(m) // 60, int(m) % 60) for m in rng.integers(0, 1440, n)]),
        "took": pa.array([datetime.timedelta(seconds=float(s)) for s in np.round(rng.exponential(100, n))]),
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def model(table):
    gappy = {name: pc_mask(table.column(name), k) for k, name in enumerate(table.column_names)}
    return quickly(pa.table(gappy), kinds={"share": "bounded"})


def quickly(table, columns=None, given=(), kinds=None):
    """A model of any order, a few steps from its start."""
    schema = Schema.infer(table, columns, given, kinds=kinds)
    torch.manual_seed(0)
    density = AnyOrder(schema.families(), schema.context_size, hidden=16, blocks=1)
    x, context = schema.encode(table)
    context = None if context is None else context.astype(np.float32)
    options = {"epochs": 2, "batch_size": 100, "seed": 0, "progress": False}
    ab.fit(density, schema.tensor(x, torch.float32), context, **options)
    return TableModel(schema, density)


def pc_mask(column, k):
    gaps = pa.array(np.arange(ROWS) % 20 == k)
    return pa.compute.if_else(gaps, None, column)


RELATIONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NUMBERS = ["x", "heavy", "price", "share", "age", "weight", "grade", "big"]
TIMES = {
    "born": str,
    "clock": str,
    "took": lambda value: str(value.total_seconds()),
    "at": lambda value: str(value.replace(tzinfo=None)),
}


class TestColumns:
    @pytest.mark.parametrize("name", NUMBERS)
    def test_a_relation_holds_of_values_where_it_holds_of_encoded_ones(self, table, name):
        values = table.column(name).to_pylist()
        between = [] if name == "big" else [value + 0.3 for value in values[:20]]
        self.compare(table, name, [(v, repr(v)) for v in [*values[:20], *between, 0, 1, 18, 89, -(10**9), 10**18]])

    @pytest.mark.parametrize("name", TIMES)
    def test_so_it_does_of_times(self, table, name):
        self.compare(table, name, [(value, TIMES[name](value)) for value in table.column(name).to_pylist()[:20]])

    def test_the_ends_of_the_calendar(self, table):
        ends = [(datetime.date(1, 1, 1), "0001-01-01"), (datetime.date(9999, 12, 31), "9999-12-31")]
        self.compare(table, "born", ends)

    def compare(self, table, name, probes):
        schema = Schema.infer(table.select([name]))
        z = torch.from_numpy(schema.encode(table)[0][:, 0])
        values = table.column(name).to_pylist()
        for (value, text), (relation, holds) in [(p, r) for p in probes for r in RELATIONS.items()]:
            found = SchemaColumns(schema).interval(0, relation, text).contains(z)
            assert found.tolist() == [holds(one, value) for one in values], (relation, text)

    def test_of_single_values(self, table):
        schema = Schema.infer(table)
        columns = SchemaColumns(schema)
        assert columns.interval(columns.number("smoker"), "=", "yes") == Interval(1.0, 1.0)
        cut = columns.number("cut")
        assert columns.interval(cut, "!=", "Ideal") == Interval(without=(columns.encode(cut, "Ideal"),))
        assert columns.levels(cut) == [0.0, 1.0, 2.0]
        assert columns.levels(columns.number("grade")) is None
        assert columns.decode(cut, np.array([1.0])).tolist() == ["Ideal"]
        with pytest.raises(TableError, match="did you mean 'Ideal'"):
            columns.encode(cut, "ideal")
        with pytest.raises(TableError, match="no order"):
            columns.interval(cut, "<", "Ideal")
        with pytest.raises(TableError, match="'age': expected a finite number, got 'nan'"):
            columns.interval(columns.number("age"), "<", "nan")
        with pytest.raises(TableError, match=r"expected whole numbers, got 30.5; round"):
            columns.encode(columns.number("age"), "30.5")


def gaussians():
    """Two columns in their own units: mean (1.5, 6000), deviations (1, 2000), correlated by 0.6, as one encoded normal."""
    schema = Schema([Continuous("carat", loc=1.5, scale=1.0), Continuous("price", loc=6000.0, scale=2000.0)])
    covariance = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    mixture = GaussianMixture(torch.zeros(1, 2).double(), scale_tril=torch.linalg.cholesky(covariance)[None])
    return TableModel(schema, mixture)


class TestAsk:
    def test_against_a_normal_in_its_own_units(self):
        model = gaussians()
        given = stats.norm(6000 + 0.6 * 2000 * (2.0 - 1.5), 2000 * 0.8)
        assert model.ask("E[price | carat = 2]").lines[0].value == pytest.approx(given.mean())
        assert model.ask("P(price > 7000 | carat = 2)").lines[0].value == pytest.approx(given.sf(7000))
        assert model.ask("P(price < 1e9)").lines[0].value == 1.0
        quantiles = [line.value for line in model.ask("Q[0.1, 0.9](price | carat = 2)").lines]
        assert quantiles == pytest.approx(given.ppf([0.1, 0.9]))
        assert model.ask("p(price = 5000 | carat = 2)").lines[0].value == pytest.approx(given.pdf(5000))
        assert model.ask("mode(price | carat = 2)").lines[0].value == pytest.approx(given.mean(), rel=1e-4)

    @pytest.mark.slow
    def test_shares_of_an_any_order_model_are_those_of_its_samples(self, model):
        # each column drawn by itself: an order of its own, which is another density until the model is well fitted
        names = ("age", "born", "share", "cut", "grade", "clock")
        drawn = {name: model.marginal([name]).sample(20_000, seed=0).column(name) for name in names}
        for question, share in {
            "P(age < 40)": pa.compute.less(drawn["age"], 40),
            "P(age <= 39.5)": pa.compute.less(drawn["age"], 40),
            "P(born >= 1990-06-01)": pa.compute.greater_equal(drawn["born"], datetime.date(1990, 6, 1)),
            "P(share = 1)": pa.compute.equal(drawn["share"], 1.0),
            "P(cut = Very Good)": pa.compute.equal(drawn["cut"], "Very Good"),
            "P(grade > 1)": pa.compute.greater(drawn["grade"], 1),
            "P(clock < 06:00)": pa.compute.less(drawn["clock"], datetime.time(6)),
        }.items():
            found = model.ask(question).lines[0]
            assert found.value == pytest.approx(pa.compute.mean(share).as_py(), abs=0.015 + found.standard_error), (
                question
            )

    def test_numbers_far_out(self, model):
        assert model.ask("P(x < 1e30)").lines[0].value == pytest.approx(1.0)
        assert math.isfinite(model.ask("E[age | x = 1e30]").lines[0].value)

    @pytest.mark.parametrize("kind", ["bent", "atoms", "plain", "fine"])
    def test_single_values_of_lattices_have_the_probability_that_the_model_gives_them(self, kind):
        rng = np.random.default_rng(0)
        values = {
            "bent": np.round(np.exp(2 + 1.5 * rng.normal(size=ROWS))).astype(int),
            "atoms": np.where(rng.random(ROWS) < 0.5, 40, rng.integers(10, 80, ROWS)),
            "plain": rng.integers(10, 80, ROWS),
            "fine": np.round(rng.normal(100, 1, ROWS), 3),
        }[kind]
        table = pa.table({"n": values, "c": rng.choice(["u", "v"], ROWS)})
        fitted = quickly(table, kinds={"n": "rounded"} if kind == "fine" else None)
        assert fitted.schema.parts[0].discrete
        assert fitted.schema.parts[0].bend > 0 or kind != "bent"
        assert fitted.schema.parts[0].atoms or kind != "atoms"
        some = values[3]
        for value in (some, 40) if kind == "atoms" else (some,):
            p = fitted.ask(f"p(n = {value})").lines[0].value
            assert fitted.ask(f"P(n = {value})").lines[0].value == pytest.approx(p, rel=1e-3)
            assert fitted.ask(f"P(n != {value})").lines[0].value == pytest.approx(1 - p, abs=1e-4)
            both = fitted.ask(f"p(n = {value}, c = u)").lines[0].value
            assert fitted.ask(f"P(n = {value}, c = u)").lines[0].value == pytest.approx(both, rel=1e-3)

    def test_ties_of_draws_fall_on_the_side_that_was_asked_for(self):
        rng = np.random.default_rng(0)
        fitted = quickly(pa.table({"n": rng.integers(10, 30, ROWS), "x": rng.normal(size=ROWS)}))
        for relation, other in (("<=", ">"), (">=", "<"), ("!=", "=")):
            one = fitted.ask(f"P(n {relation} 20)").lines[0]
            drawn = fitted.ask(f"P(n {relation} 20, x < 1e9)").lines[0]
            assert drawn.value == pytest.approx(one.value, abs=0.02)
            assert drawn.value + fitted.ask(f"P(n {other} 20, x < 1e9)").lines[0].value == pytest.approx(1, abs=0.02)

    def test_relations_of_levels_of_32_bits(self):
        grade = pa.array(np.tile([0.1, 0.2, 0.3], 100).astype(np.float32))
        fitted = quickly(pa.table({"grade": grade, "x": np.arange(300.0) % 7.3}))
        each = [fitted.ask(f"P(grade = {v})").lines[0].value for v in (0.1, 0.2, 0.3)]
        assert sum(each) == pytest.approx(1, abs=1e-5)
        assert fitted.ask("P(grade <= 0.1)").lines[0].value == pytest.approx(each[0], abs=1e-5)
        assert fitted.ask("P(grade > 0.2)").lines[0].value == pytest.approx(each[2], abs=1e-5)

    def test_what_cannot_be_has_no_probability(self, model):
        assert model.ask("P(share > 2)").lines[0].value == 0.0
        assert model.ask("P(price > -5)").lines[0].value == 1.0
        assert model.ask("P(age < -1)").lines[0].value == 0.0
        assert sum(line.value for line in model.ask("marginal(cut | smoker = no)").lines) == pytest.approx(1, abs=1e-5)

    def test_means_of_what_is_bent_and_of_times(self, model, table):
        line = model.ask("E[price]").lines[0]
        drawn = model.sample(20_000, seed=1).column("price").to_numpy()
        assert not line.exact
        assert abs(line.value - drawn.mean()) < 5 * (line.standard_error + drawn.std() / math.sqrt(len(drawn)))
        line = model.ask("E[born]").lines[0]
        assert line.unit == "days"
        days = [value.toordinal() for value in table.column("born").to_pylist()]
        mean = datetime.date.fromordinal(round(np.mean(days)))
        assert abs(datetime.date.fromisoformat(line.value) - mean) < datetime.timedelta(days=3000)
        assert str(model.ask("Q[0.5](at)").lines[0]).startswith("Q[0.5](at)  2020-0")
        assert ":" in model.ask("Q[0.5](took)").lines[0].value

    @pytest.mark.parametrize(
        ("question", "reason", "place"),
        [
            ("E[prise | age = 30]", "no column 'prise'; did you mean 'price'", "prise"),
            ("E[cut]", "no mean", "cut"),
            ("E[age | age = 30]", "'age' is given", "age"),
            ("P(cut < Ideal)", "no order", "cut"),
            ("E[x | share = 2]", "'share': expected numbers between 0 and 1, got 2", "2]"),
            ("E[x | price = -3]", "'price': expected numbers above 0, got -3", "-3"),
            ("E[x | born = tomorrow]", "'born': expected a date such as 2024-05-17, got 'tomorrow'", "tomorrow"),
            ("E[x | age = old]", "'age': expected a finite number, got 'old'", "old"),
        ],
    )
    def test_errors_show_where(self, model, question, reason, place):
        with pytest.raises(QuestionError, match=reason) as found:
            model.ask(question)
        assert found.value.position == question.index(place)

    def test_given_columns_become_the_context(self, table):
        fitted = quickly(table, ["x", "cut"], ["age", "grade"])
        shares = {"P(cut = Fair | age = 20, grade = 5)", "P(cut = Fair | age = 80, grade = 1, x = 0.5)"}
        for question in shares:
            assert 0 < fitted.ask(question).lines[0].value < 1
        context = fitted.schema.encode_given(pa.table({"age": [20], "grade": [5]}))
        columns = SchemaColumns(fitted.schema)
        direct = ab.queries.ask(fitted.density, "P(cut = Fair)", columns, context=context[0].astype(np.float32))
        assert fitted.ask("P(cut = Fair | age = 20, grade = 5)").lines[0].value == direct.lines[0].value
        with pytest.raises(QuestionError, match="what is given of 'grade' too"):
            fitted.ask("P(cut = Fair | age = 20)")
        with pytest.raises(QuestionError, match="no column 'age'"):
            fitted.ask("E[age | age = 20, grade = 5]")
        inside = fitted.conditional({"age": 20, "grade": 5})
        assert inside.schema.given == ()
        one = pa.table({"x": [0.3], "cut": ["Fair"], "age": [20], "grade": [5]})
        assert inside.log_prob(one) == pytest.approx(fitted.log_prob(one), abs=1e-4)


class TestMarginalAndConditional:
    def test_of_densities_of_real_numbers(self):
        model = gaussians()
        one = pa.table({"price": [5000.0]})
        assert model.marginal(["price"]).log_prob(one) == pytest.approx(stats.norm(6000, 2000).logpdf(5000))
        given = model.conditional({"carat": 2.0})
        assert given.log_prob(one) == pytest.approx(stats.norm(6600, 1600).logpdf(5000))
        assert given.schema.columns == ("price",)
        with pytest.raises(ValueError, match="some column to be left"):
            model.conditional({"carat": 2.0, "price": 1.0})

    def test_a_flow_is_estimated(self):
        x = np.random.default_rng(0).normal(size=(200, 2))
        schema = Schema.standardised(x)
        torch.manual_seed(0)
        fitted = TableModel(schema, randomize(ab.Flow(ab.flows.nsf(2, blocks=1, hidden=(8,))), 0.3, seed=0))
        given = fitted.conditional({"x0": 0.5})
        assert given.sample(5, seed=0).column_names == ["x1"]
        joint = fitted.log_prob(pa.table({"x0": [0.5], "x1": [0.1]}))
        apart = given.log_prob(pa.table({"x1": [0.1]})) + fitted.marginal(["x0"]).log_prob(pa.table({"x0": [0.5]}))
        assert joint == pytest.approx(apart, abs=0.05)

    def test_a_conditional_model_is_saved_in_its_own_precision(self, tmp_path):
        schema = Schema([Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0)])
        given = TableModel(schema, AnyOrder(2, hidden=8).double()).conditional({"a": 0.1})
        ab.save(given, tmp_path / "given.safetensors")
        again = ab.load(tmp_path / "given.safetensors")
        row = pa.table({"b": [0.3]})
        assert again.log_prob(row) == given.log_prob(row)


class TestImpute:
    def test_fills_gaps_and_leaves_the_rest(self, model, table):
        rows, names = ROWS // 4, table.column_names
        table = table.slice(0, rows)
        rng = np.random.default_rng(1)
        gaps = {name: rng.random(rows) < 0.2 for name in names}
        holed = pa.table({name: pa.compute.if_else(pa.array(gaps[name]), None, table.column(name)) for name in names})
        holed = holed.append_column("note", pa.array([None, "a"] * (rows // 2)))
        draws = model.impute(holed, draws=2, seed=0)
        assert len(draws) == 2
        for filled in (*draws, model.impute(holed, best=True), model.impute(holed, best="median")):
            assert filled.schema.names == holed.schema.names
            assert filled.column("note").equals(holed.column("note"))
            for name in names:
                assert filled.column(name).null_count == 0
                kept = pa.array(~gaps[name])
                assert filled.column(name).filter(kept).equals(table.column(name).filter(kept))
        assert model.impute(holed, draws=2, seed=0)[1].equals(draws[1])
        assert not draws[0].equals(draws[1])

    def test_types_of_other_libraries(self):
        frame = pd.DataFrame({"x": [1.0, np.nan, 3.5], "c": pd.Categorical(["u", None, "v"]), "n": [1.0, np.nan, 4.0]})
        schema = Schema.infer(frame)
        filled = TableModel(schema, AnyOrder(schema.families(), hidden=8)).impute(frame, seed=0)
        assert isinstance(filled["c"].dtype, pd.CategoricalDtype)
        assert filled.notna().all(axis=None)
        assert filled["n"].dtype == np.float64

    def test_categories_keep_their_order(self):
        levels = ["low", "mid", "high", "never"]
        ranked = pd.Series(pd.Categorical(["mid", "low", None, "high"] * 5, levels, ordered=True))
        frame = pd.DataFrame({"rank": ranked, "x": np.arange(20.0)})
        schema = Schema.infer(frame)
        filled = TableModel(schema, AnyOrder(schema.families(), hidden=8)).impute(frame, seed=0)
        assert filled["rank"].dtype == frame["rank"].dtype
        assert filled["rank"].notna().all()

    def test_the_median_of_ordered_levels_is_no_mode(self):
        schema = Schema([Ordinal("grade", [1, 2, 5]), Continuous("x", 0.0, 1.0)])
        density = AnyOrder(schema.families(), hidden=4, blocks=1)
        with torch.no_grad():
            density.network.heads.weight.zero_()
            density.network.heads.bias[:3] = torch.tensor([0.45, 0.15, 0.4]).log()
        table = pa.table({"grade": pa.nulls(1, pa.int64()), "x": [0.1]})
        assert TableModel(schema, density).impute(table, best="median").column("grade").to_pylist() == [2]

    def test_a_table_whose_column_is_nothing_but_gaps_is_scored(self, model, table):
        row = table.slice(0, 1)
        for name in table.column_names:
            empty = row.set_column(row.column_names.index(name), name, pa.nulls(1))
            assert np.isfinite(model.log_prob(empty)).all()
            assert model.impute(empty, seed=0).column(name).null_count == 0

    def test_a_column_of_nothing_but_gaps(self):
        schema = Schema([Continuous("a", 0.0, 1.0), Categorical("b", ["u", "v"])])
        model = TableModel(schema, AnyOrder(schema.families(), hidden=8))
        filled = model.impute(pa.table({"a": [0.1, 0.2], "b": pa.nulls(2)}), seed=0)
        assert set(filled.column("b").to_pylist()) <= {"u", "v"}

    def test_densities_without_gaps_of_their_own(self):
        filled = gaussians().impute(pa.table({"carat": [2.0, None], "price": [None, 6000.0]}), best="mean")
        assert filled.column("price")[0].as_py() == pytest.approx(6600)
        assert filled.column("carat")[1].as_py() == pytest.approx(1.5)

    def test_given_columns(self, table):
        fitted = quickly(table, ["x", "cut"], ["age"])
        filled = fitted.impute(pa.table({"x": [None, 0.1], "cut": ["Fair", None], "age": [20, 80]}), seed=0)
        assert filled.column_names == ["x", "cut", "age"]
        assert filled.column("x").null_count == filled.column("cut").null_count == 0

    def test_a_value_beyond_float32(self, model, table):
        far = table.slice(0, 2).set_column(0, "x", pa.array([1e300, None]))
        far = far.set_column(1, "heavy", pa.array([None, 1.0], pa.float64()))
        with pytest.raises(TableError, match=r"'x': expected a value .* got 1e\+300 in row 0"):
            model.impute(far)

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="one of both"):
            gaussians().impute(pa.table({"carat": [None], "price": [1.0]}), draws=2, best=True)
        with pytest.raises(TableError, match="no column 'price'"):
            gaussians().impute(pa.table({"carat": [1.0]}))


class TestSurprise:
    def test_of_a_normal_is_that_of_its_conditionals(self):
        model = gaussians()
        row = pa.table({"carat": [2.0], "price": [5000.0]})
        by_hand = [-stats.norm(1.5 + 0.6 * -0.5, 0.8).logpdf(2.0), -stats.norm(6600, 1600).logpdf(5000)]
        assert model.surprise(row)[0] == pytest.approx(by_hand)

    def test_of_a_density_without_closed_form_is_estimated(self):
        torch.manual_seed(0)
        model = gaussians()
        hidden = ab.Flow(
            ab.transforms.Chain([ab.transforms.Permutation([1, 0]), ab.transforms.Permutation([1, 0])]), model.density
        )
        row = pa.table({"carat": [2.0, 1.0], "price": [5000.0, 9000.0]})
        estimated = TableModel(model.schema, hidden).surprise(row)
        assert estimated == pytest.approx(model.surprise(row), abs=0.1)

    def test_detect_names_the_row_and_the_column(self):
        rng = np.random.default_rng(0)
        carat = rng.normal(1.5, 1.0, 300)
        price = 6000 + 1200 * (carat - 1.5) + 1600 * rng.normal(size=300)
        price[17] = 25_000.0
        found = detect(gaussians(), pa.table({"carat": carat, "price": price}), top=3)
        assert found[0].row == 17
        assert found[0].cells[0].column == "price"
        assert found[0].cells[0].value == 25_000.0
        assert found[0].excess > found[1].excess > 0

    def test_rows_with_gaps_are_compared_with_their_like(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(400, 6))
        x[rng.random(x.shape) < 0.3] = np.nan
        x[5] = [6.0, *[np.nan] * 5]  # one number, which is far out; complete rows cost more nats
        schema = Schema([Continuous(f"x{i}", 0.0, 1.0) for i in range(6)])
        model = TableModel(schema, AnyOrder(6, hidden=8))
        model.density.initialize(torch.from_numpy(x).float())
        table = pa.table({f"x{i}": pa.array(x[:, i], from_pandas=True) for i in range(6)})
        found = detect(model, table, top=1)[0]
        assert (found.row, found.cells[0].column) == (5, "x0")
        assert np.isnan(model.surprise(table)[5, 1:]).all()
