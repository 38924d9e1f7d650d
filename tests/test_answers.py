"""Answers: ranges, sets and 'or', exact zeros and ones, what is said of their errors, and means that do not exist."""

import itertools
import json
import math
import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats

import anabranch as ab
from anabranch.densities import Categorical, GaussianMixture, Independent, Normal, StudentT
from anabranch.densities.tails import pareto_k
from anabranch.families import Atoms, Lattice, Levels, Logistics
from anabranch.models import AnyOrder
from anabranch.queries import AnyOf, Interval, Plain, QueryWarning, QuestionError, ask, expectation, parse, probability
from anabranch.queries.possible import settled_by_family
from anabranch.queries.region import disjoint
from anabranch.tables import Schema, TableModel
from anabranch.tables.columns import Continuous, Positive

# regions


@pytest.mark.parametrize(
    "values",
    [
        AnyOf((Interval(1.0, 2.0, True, False), Interval(1.5, 3.0), Interval(5.0, 5.0))),
        AnyOf((Interval(without=(0.0, 2.0)), Interval(2.0, 2.0))).and_(Interval(-1.0, 4.0)),
        AnyOf((Interval(high=1.0), Interval(low=1.0, low_included=False), Interval(3.0, 4.0))),
        AnyOf((Interval(high=1.0, high_included=False), Interval(low=1.0, low_included=False))),
        Interval(without=(2.0,)),
        Interval(3.0, 2.0),
    ],
)
def test_disjoint_intervals_hold_the_same_numbers(values):
    x = torch.tensor([-1.0, 0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 4.5, 5.0, 6.0], dtype=torch.float64)
    runs = disjoint(values)
    counts = sum((torch.tensor([run.holds(v) for v in x.tolist()]).long() for run in runs), torch.zeros(len(x)).long())
    assert counts.tolist() == values.contains(x).long().tolist()
    assert values.empty == (not runs)
    for left, right in itertools.pairwise(runs):  # what touches is one, but for numbers taken out
        assert left.high < right.low or not (left.high_included or right.low_included)


def test_everything_and_a_single_number_are_seen_through():
    assert AnyOf.read([Interval(high=1.0), Interval(low=0.5)]).everything
    assert not AnyOf.read([Interval(high=1.0, high_included=False), Interval(low=1.0, low_included=False)]).everything
    assert AnyOf.read([Interval.of("=", 1.0), Interval.of("=", 2.0)]).and_(Interval(low=1.5)).point == 2.0
    assert Interval(low=math.inf, low_included=False).empty


def test_of_a_union_a_closed_form_stays_exact():
    normal = Normal.standard(1)
    union = AnyOf((Interval(-1.0, 1.0), Interval(0.5, 2.0), Interval(low=3.0)))
    found = probability(normal, {0: union})
    assert found.exact
    assert float(found.value) == pytest.approx(stats.norm.cdf(2) - stats.norm.cdf(-1) + stats.norm.sf(3), abs=1e-6)
    two = probability(
        Independent([Categorical([0.0, 1.0, 2.0]), Normal.standard(1)]), {0: AnyOf((Interval(0, 0), Interval(2, 2)))}
    )
    p = torch.tensor([0.0, 1.0, 2.0]).softmax(0)
    assert two.exact and float(two.value) == pytest.approx(float(p[0] + p[2]), abs=1e-6)


# what can be


@pytest.mark.parametrize(
    ("family", "values", "wanted"),
    [
        (Levels(3), Interval(0.0, 2.0), True),
        (Levels(3), AnyOf((Interval(0, 0), Interval(1, 1), Interval(2, 2))), True),
        (Levels(3), Interval(low=2.5), False),
        (Levels(3), Interval(1.0, 1.0), None),
        (Lattice(1.0, low=0.0, high=9.0), Interval(high=-0.5), False),
        (Lattice(1.0, low=0.0, high=9.0), Interval(low=0.0), True),
        (Lattice(1.0, low=0.0, high=9.0), Interval(low=0.0, low_included=False), None),
        (Lattice(1.0, low=0.0, high=9.0), Interval(2.5, 2.5), False),
        (Lattice(1.0, low=0.0), Interval(high=20.0), None),
        (Lattice(1.0, low=0.0, high=100.0, bend=2.0), Interval(low=2.5), None),
        (Lattice(1.0, low=0.0, high=100.0, bend=2.0), Interval(low=3.1), False),  # asinh(200) / 2 = 2.996
        (Logistics(), Interval(1.0, 1.0), False),
        (Logistics(), Interval(), True),
        (Logistics(), Interval(high=5.0), None),
        (Atoms(Logistics(), [0.0]), Interval(0.0, 0.0), None),
    ],
)
def test_what_a_family_never_or_always_is(family, values, wanted):
    assert settled_by_family(family, values) is wanted


# ranges and sets that are given


@pytest.fixture(scope="module")
def correlated():
    """Two columns correlated by 0.8."""
    return Normal([0.0, 0.0], scale_tril=[[1.0, 0.0], [0.8, 0.6]])


XY = Plain(["x", "y"])


def one(density, question, columns=XY, **options):
    (line,) = ask(density, question, columns, **options).lines
    return line


class TestGivenRanges:
    def test_of_a_closed_form(self, correlated):
        above = stats.norm.pdf(1) / stats.norm.sf(1)  # E[X | X > 1]
        line = one(correlated, "E[y | x > 1]")
        assert not line.exact
        assert abs(line.value - 0.8 * above) < 4 * line.standard_error < 0.2
        line = one(correlated, "E[x | x > 1]")  # of the column itself
        assert abs(line.value - above) < 4 * line.standard_error
        line = one(correlated, "SD[y | x > 1]")
        wanted = math.sqrt(0.64 * (1 + above - above**2) + 0.36)
        assert abs(line.value - wanted) < 4 * line.standard_error < 0.2
        line = one(correlated, "P(y > 0 | x <= -1 or x >= 1)")
        assert abs(line.value - 0.5) < 4 * line.standard_error
        line = one(correlated, "Q[0.5](x | 0 < x < 1)")
        assert abs(line.value - stats.norm.ppf(0.5 * (0.5 + stats.norm.cdf(1)))) < 4 * line.standard_error

    def test_a_density_given_a_range(self, correlated):
        line, log = ask(correlated, "p(y = 0.5 | x > 0)", XY).lines
        wanted = 2 * stats.norm.pdf(0.5) * stats.norm.cdf(0.8 * 0.5 / 0.6)
        assert line.value == pytest.approx(wanted, rel=1e-4)
        assert log.value == pytest.approx(math.log(wanted), abs=1e-4)
        inside, _ = ask(correlated, "p(x = 0.5 | x > 0)", XY).lines
        assert inside.value == pytest.approx(2 * stats.norm.pdf(0.5), rel=1e-4)
        outside, log = ask(correlated, "p(x = -0.5 | x > 0)", XY).lines
        assert (outside.value, log.value) == (0.0, -math.inf)

    def test_equalities_alone_stay_exact(self, correlated):
        assert one(correlated, "E[y | x = 1]").exact
        assert one(correlated, "SD[y | x = 1]").value == pytest.approx(0.6, abs=1e-5)
        assert one(correlated, "Var[y]").exact
        assert one(correlated, "P(y > 0 or y < -1 | x = 1)").exact

    def test_rare_ranges_take_more_draws_and_then_warn(self, correlated):
        line = one(correlated, "E[y | x > 2.5]", samples=2_000)
        assert line.effective_samples >= 200
        with pytest.warns(QueryWarning, match="of 512,000 draws are in what is given"):
            assert one(correlated, "E[y | x > 4]", samples=1_000).value > 2
        with pytest.raises(QuestionError, match="impossible, or nearly so, that x > 9"):
            ask(correlated, "E[y | x > 9]", XY, samples=1_000)

    def test_in_a_model_of_any_order_they_are_events_of_one_joint(self):
        torch.manual_seed(0)
        model = AnyOrder([Levels(3), Logistics(2), Logistics(2)], hidden=8, order=[1, 0, 2])
        for parameter in model.network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        columns = Plain(["k", "x", "y"])
        p = lambda text: float(ask(model, text, columns, samples=4_000))  # noqa: E731
        both = p("P(k = 1, x > 0)") + p("P(k = 2, x > 0)")
        assert p("P(k in (1, 2), x > 0)") == pytest.approx(both, rel=1e-9)
        assert p("P(k = 1 or k = 2 | x > 0)") * p("P(x > 0)") == pytest.approx(both, rel=1e-9)
        assert p("P(x > 0 | k not in (1, 2))") == pytest.approx(p("P(x > 0 | k = 0)"), rel=1e-9)
        drawn = model.sample((40_000,))
        kept = drawn[(drawn[:, 0] != 0) & (drawn[:, 1] > 0) & (drawn[:, 1] < 2)]
        line = one(model, "E[y | k in (1, 2), 0 < x < 2]", columns)
        error = math.hypot(line.standard_error, float(kept[:, 2].std()) / math.sqrt(len(kept)))
        assert abs(line.value - float(kept[:, 2].mean())) < 4 * error
        assert p("P(k in (0, 1, 2))") == 1.0
        assert p("P(x > 1 | x > 2)") == 1.0
        assert p("P(x > 1 | x < 0)") == 0.0
        line = one(model, "P(k in (0, 1, 2))", columns)
        assert line.exact
        # no draw at all, or all of them, is no certainty, whatever comes first in the order
        for question in ("P(x < 1e6)", "P(x > 1e6)", "P(y > 1e6 | k = 1)"):
            line = one(model, question, columns)
            assert not line.exact
            assert 0 < line.standard_error < 0.01
        first = AnyOrder([Levels(3), Logistics(2)], hidden=8)
        line = one(first, "P(k != 1)", Plain(["k", "x"]))
        assert line.exact
        assert line.effective_samples == math.inf
        for question in ("P(x > 1e6)", "P(k != 1, x < 1e6)"):
            assert one(first, question, Plain(["k", "x"])).standard_error > 0

    def test_rare_values_of_a_lattice_add_up(self):
        torch.manual_seed(0)
        model = AnyOrder([Logistics(2), Lattice(0.01, components=2)], hidden=8)
        columns = Plain(["x", "n"])
        p = lambda text: float(ask(model, text, columns, samples=2_000))  # noqa: E731
        one_, two = p("P(n = 0.1, x > 0)"), p("P(n = 0.2, x > 0)")
        assert 0 < one_ < 0.01
        assert p("P(n in (0.1, 0.2), x > 0)") == pytest.approx(one_ + two, rel=1e-9)
        assert p("P(n = 0.1 or n = 0.2 or n = 0.255, x > 0)") == pytest.approx(one_ + two, rel=1e-9)
        assert p("P(n not in (0.1, 0.2), x > 0)") == pytest.approx(p("P(x > 0)") - one_ - two, rel=1e-9)
        assert p("P(n = 0.1) ") + p("P(n != 0.1)") == pytest.approx(1.0, abs=1e-9)
        ten = [f"{0.01 * k:.2f}" for k in range(12, 22)]
        summed = sum(p(f"P(n = {k})") for k in ten)
        assert p(f"P(n in ({', '.join(ten)}))") == pytest.approx(summed, rel=1e-9)


# what an answer says


@pytest.fixture(scope="module")
def words():
    """Categories and a name with a new line and a tab."""
    rng = np.random.default_rng(0)
    kind = rng.choice(["a\nb", 'c\t"d', "plain or not"], 300)
    table = pa.table({"two\nlines": kind, "x": rng.normal(size=300) + (kind == "a\nb")})
    schema = Schema.infer(table)
    torch.manual_seed(0)
    return TableModel(schema, AnyOrder(schema.families(), hidden=8), rows=300)


class TestAnswers:
    def test_names_repeat_the_question_and_can_be_asked_again(self, words):
        answer = words.ask("P('two\nlines' in ('a\nb', 'c\t\"d')|-1<=x<1 or x=2.5)", samples=500)
        (line,) = answer.lines
        assert answer.given == ("-1 <= x < 1 or x = 2.5",)
        assert words.ask(line.name, samples=500).lines == answer.lines
        assert "\n" not in str(answer)
        for line in words.ask("marginal('two\nlines')", samples=500).lines:
            assert words.ask(line.name, samples=500).lines[0].value == line.value

    def test_floats_and_json(self, correlated):
        answer = ask(correlated, "E[y | x = 1]", XY)
        assert float(answer) == float(answer.lines[0]) == answer.lines[0].value
        density = ask(correlated, "p(y = 1 | x > 5)", XY, samples=100)
        assert float(density) == density.lines[0].value
        with pytest.raises(ValueError, match=r"one number, got 2 lines; read float\(answer.lines\[0\]\)"):
            float(ask(correlated, "E[x, y]", XY))
        told = json.loads(json.dumps(ask(correlated, "p(y = 1 | x < 0, y < 0)", XY).to_dict(), allow_nan=False))
        assert told["question"] == "p(y = 1 | x < 0, y < 0)"
        assert told["given"] == ["x < 0", "y < 0"]
        assert [line["value"] for line in told["lines"]] == [0.0, None]

    def test_times_are_no_floats_and_their_deviation_is_a_span(self):
        rng = np.random.default_rng(0)
        days = np.datetime64("2020-01-01") + rng.integers(0, 100, 200)
        schema = Schema.infer(pa.table({"day": days, "x": rng.normal(size=200)}))
        model = TableModel(schema, AnyOrder(schema.families(), hidden=8))
        with pytest.raises(ValueError, match="expected a number, got '"):
            float(model.ask("E[day]"))
        line = model.ask("SD[day]").lines[0]
        assert line.unit == "days"
        drawn = model.sample(4_000, seed=0).column("day").to_numpy().astype("datetime64[D]").astype(int)
        assert line.value == pytest.approx(drawn.std(), rel=0.1)
        with pytest.raises(QuestionError, match="variance has no unit"):
            model.ask("Var[day]")

    def test_few_training_rows_are_told(self, correlated):
        few = ask(correlated, "E[y | x = 3.5]", XY, rows=200)
        assert few.note.endswith("of 200 training rows are like what is given")
        assert str(few).endswith(f"({few.note})")
        assert ask(correlated, "E[y | x = 0]", XY, rows=10_000).note == ""
        assert ask(correlated, "E[y]", XY, rows=10).note == ""
        # a fortieth of the distribution on each side, and a share of the rows within a range
        note = ask(correlated, "E[y | x = 0]", XY, rows=400).note
        assert abs(int(note.split()[1]) - 0.05 * 400) <= 4
        note = ask(correlated, "E[y | x > 1.5]", XY, rows=300).note
        assert abs(int(note.split()[1]) - 300 * stats.norm.sf(1.5)) <= 4

    def test_nothing_is_near_what_is_far_beyond_or_between_all_rows(self):
        far = ask(Normal.standard(2), "E[y | x = 100]", XY, rows=10_000)
        assert far.note == "hardly any of 10,000 training rows are like what is given"
        assert ask(Normal.standard(2), "E[y | x = 2]", XY, rows=10_000).note == ""
        two = GaussianMixture([[-5.0, 0.0], [5.0, 0.0]], scale=[[0.5, 1.0], [0.5, 1.0]])
        assert "hardly any" in ask(two, "E[y | x = 0]", XY, rows=10_000).note
        assert ask(two, "E[y | x = 4.5]", XY, rows=10_000).note == ""
        torch.manual_seed(0)
        counts = AnyOrder([Lattice(1.0, low=0.0, components=2), Logistics(2)], hidden=8)
        assert "hardly any" in ask(counts, "E[y | k = 100000]", Plain(["k", "y"]), rows=2_000, samples=1_000).note

    def test_a_density_that_takes_a_context_does_not_count_rows(self):
        model = AnyOrder([Logistics(2), Logistics(2)], context=1, hidden=8)
        assert ask(model, "E[y | x = 100]", XY, rows=200, context=[0.0], samples=500).note == ""

    def test_without_a_seed_every_density_draws_anew(self, correlated):
        flow = ab.Flow(ab.flows.nsf(features=2, blocks=1, hidden=(4,)))
        model = AnyOrder([Logistics(2), Logistics(2)], hidden=8)
        for density, question in ((flow, "P(x > 0)"), (model, "P(y > 0)"), (correlated, "P(y > 0 | x > 0)")):
            torch.manual_seed(0)
            found = [float(ask(density, question, XY, samples=500, seed=None)) for _ in range(3)]
            assert len(set(found)) > 1
            torch.manual_seed(0)
            assert [float(ask(density, question, XY, samples=500, seed=None)) for _ in range(3)] == found
            assert len({float(ask(density, question, XY, samples=500, seed=1)) for _ in range(2)}) == 1

    def test_models_of_tables_remember_their_rows(self, words, tmp_path):
        answer = words.ask("E[x | 'two\nlines' = 'a\nb', x > 3]", samples=2_000)
        assert "of 300 training rows" in answer.note
        ab.save(words, tmp_path / "model.safetensors")
        assert ab.load(tmp_path / "model.safetensors").rows == 300
        assert words.marginal(["x"]).rows == 300


# tails


def of_uniforms(f, n, seed=0):
    u = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return f(u.clamp(1e-12, 1 - 1e-12))


class TestTails:
    @pytest.mark.parametrize(
        ("f", "k"),
        [
            (lambda u: -u.log(), 0.0),
            (lambda u: u**-0.5, 0.5),
            (lambda u: 1 / u, 1.0),
            (lambda u: -(u**-0.5), 0.5),  # the other side
            (lambda u: u, -1.0),
        ],
        ids=["exponential", "Pareto 2", "Pareto 1", "below", "uniform"],
    )
    def test_pareto_k_of_known_tails(self, f, k):
        found = [pareto_k(of_uniforms(f, 20_000, seed)) for seed in range(8)]
        assert np.mean(found) == pytest.approx(k, abs=0.1)
        assert np.std(found) < 0.2

    def test_what_is_bounded_or_constant_is_not_heavy(self):
        assert pareto_k(torch.ones(1000)) == -math.inf
        assert pareto_k(torch.arange(10.0)) == -math.inf
        assert pareto_k((torch.arange(1000) % 2).float()) == -math.inf

    def test_a_mean_that_does_not_exist_is_said_to(self):
        student = StudentT([0.0], [1.0], df=3.0)
        with pytest.warns(QueryWarning, match=r"Pareto k \d"):
            found = expectation(student, lambda x: x[:, 0].double().exp(), seed=0)
        assert found.heavy
        assert float(found.effective_samples) < 100
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not expectation(student, lambda x: x[:, 0], seed=0).heavy
            expectation(Normal.standard(1), lambda x: x[:, 0].exp(), seed=0)

    def test_of_a_column_the_mean_of_cut_values_is_given(self):
        schema = Schema([Positive("amount", loc=5.0, scale=4.0), Continuous("x", loc=0.0, scale=1.0)])
        model = TableModel(schema, GaussianMixture([[0.0, 0.0]]))
        with pytest.warns(QueryWarning, match=r"E\[amount\]: .*Pareto k .* cannot be told from draws") as caught:
            (line,) = model.ask("E[amount]").lines
        assert len(caught) == 1
        assert line.note.startswith("of values cut at ")
        low, high = np.exp(5 + 4 * stats.norm.ppf([0.0003, 0.9997]))
        wanted = stats.norm.expect(lambda z: np.clip(np.exp(5 + 4 * z), low, high), lb=-9, ub=9)
        assert line.value == pytest.approx(wanted, rel=0.5)
        assert line.effective_samples < 500
        light = TableModel(schema, GaussianMixture([[0.0, 0.0]], scale_tril=0.1 * torch.eye(2)[None]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert light.ask("E[amount]").lines[0].note == ""

    def test_a_model_of_any_order_cuts_at_the_ends_of_what_was_seen(self, monkeypatch):
        # the tails of columns are hardly ever so heavy, so the bound is moved
        monkeypatch.setattr("anabranch.densities.tails.HEAVY", 0.3)
        monkeypatch.setattr("anabranch.queries.estimate.HEAVY", 0.3)
        rng = np.random.default_rng(0)
        amount = np.exp(3.0 + 2.0 * rng.normal(size=2_000))
        table = pa.table({"amount": amount, "k": rng.choice(["u", "v"], 2_000)})
        schema = Schema.infer(table)
        torch.manual_seed(0)
        density = AnyOrder(schema.families(), hidden=8)
        x = schema.tensor(schema.encode(table)[0], torch.float32)
        density.initialize(x)
        for parameter in density.network.parameters():  # wider than the data
            parameter.data += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            drawn = TableModel(schema, density).sample(10_000, seed=0).column("amount").to_numpy().copy()
        with pytest.warns(QueryWarning, match="ends of what was seen"):
            (line,) = TableModel(schema, density).ask("E[amount]").lines
        assert amount.min() <= line.value <= amount.max()
        cut = np.clip(drawn, amount.min(), amount.max())
        assert abs(line.value - cut.mean()) < 5 * (line.standard_error + cut.std() / 100)
        assert "ends of what was seen" in line.note


def test_parse_shows_what_it_understood():
    (condition,) = parse("P(1 < x <= 2 or x not in (3, 4) or x = 5)").conditions
    relations = [[(one.relation, one.value.text) for one in every] for every in condition.alternatives]
    assert relations == [[(">", "1"), ("<=", "2")], [("!=", "3"), ("!=", "4")], [("=", "5")]]
    assert parse("P(answer = yes or no)").conditions[0].text == 'answer = "yes or no"'
