"""The page about a model and a table: what it says is right, what it holds is safe, and a browser draws it."""

import datetime
import inspect
import json
import re
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest
import torch
from typer.testing import CliRunner

import anabranch as ab
from anabranch.cli import app
from anabranch.densities import GaussianMixture, Normal
from anabranch.families import Levels, Logistics
from anabranch.models import AnyOrder
from anabranch.report import write_report
from anabranch.report.axes import axis_of
from anabranch.report.blocks import Card, Cards, Figure, Section
from anabranch.report.calibration import Checks
from anabranch.report.columns import Pictured
from anabranch.report.dependence import mutual_information
from anabranch.report.histograms import histograms
from anabranch.report.likelihood import _consistency, _verdict
from anabranch.report.maps import two_maps
from anabranch.report.page import page as html_page
from anabranch.report.pit import among_draws, band, distance, given_the_rest, nothing_special, within
from anabranch.report.slices import can_be_sliced, slices
from anabranch.report.view import View
from anabranch.report.wording import shown
from anabranch.tables import Schema, TableModel, TableWarning, write_table
from anabranch.tables.columns import Categorical, Continuous, Integer, Positive, Time
from anabranch.tables.stream import TableStream

pytest.importorskip("plotly", reason="plotly, the extra 'report', is not installed")

NASTY = "</script><script>alert('x')</script> \"&amp; %{x}"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def mixed(rows=240, seed=0):
    """Columns of every kind, gaps, heavy tails, an atom, and names and texts that try to break out."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=rows)
    start = datetime.date(2020, 1, 1)
    words = np.array(["plain", NASTY, "<b>bold</b>"])[(g > 0).astype(int) + (g > 1)]
    return pa.table(
        {
            "x": pa.array(g, mask=rng.random(rows) < 0.2),
            NASTY: pa.array(words.tolist(), mask=rng.random(rows) < 0.1),
            "price": np.where(rng.random(rows) < 0.3, 0.0, np.exp(2 * g + rng.normal(size=rows))),
            "count": rng.poisson(np.exp(g)),
            "day": [start + datetime.timedelta(days=int(d)) for d in rng.integers(0, 900, rows)],
            "yes": rng.random(rows) < 0.4,
        }
    )


def numbers(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=rows)
    return pa.table(
        {"height": 170 + 10 * g, "weight": 60 + 5 * g + rng.normal(size=rows), "age": rng.uniform(size=rows)}
    )


def keep(folder, name, model, table):
    """Fit a little, and write model and table."""
    x, context = model.schema.encode(table)
    given = None if context is None else torch.from_numpy(context).float()
    rows = model.schema.tensor(x, torch.float32)
    ab.fit(model.density, rows, context=given, epochs=2, batch_size=64, validation=0.1, compile=False, progress=False)
    ab.save(model, folder / f"{name}.safetensors")
    write_table(table, folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three models in files, one of them as `anabranch fit` leaves it, and a page of each."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("report")
    write_table(numbers(), folder / "depth.parquet")
    options = ["--blocks", "2", "--hidden", "8", "--bins", "4", "--epochs", "2"]
    assert run("fit", folder / "depth.parquet", "-o", folder / "depth.safetensors", *options).exit_code == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)
        schema = Schema.infer(mixed())
    any_order = AnyOrder(schema.families(), hidden=16, blocks=1)
    keep(folder, "mixed", TableModel(schema, any_order), mixed())
    schema = Schema.standardised(numbers(), given=["age"])
    chain = ab.flows.nsf(features=2, context=1, blocks=2, hidden=(8,), bins=4)
    keep(folder, "given", TableModel(schema, ab.DepthMixture(chain)), numbers())
    for name in ("mixed", "depth", "given"):
        made = run("report", folder / f"{name}.safetensors", folder / f"{name}.parquet", "-o", folder / f"{name}.html")
        assert made.exit_code == 0, made.output
    return folder


def page(folder, name):
    return (folder / f"{name}.html").read_text(encoding="utf-8")


def figures(text):
    return [json.loads(data) for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)]


def own(text):
    """The page without plotly's own code."""
    from plotly.offline import get_plotlyjs

    assert text.count(get_plotlyjs()) == 1
    return text.replace(get_plotlyjs(), "")


class Elements(HTMLParser):
    """What a parser makes of a page: names of tags, scripts, and text elsewhere."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts, self.text, self.inside = set(), [], "", None

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        self.tags.add(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data


class TestPage:
    @pytest.mark.parametrize("name", ["mixed", "depth", "given"])
    def test_has_its_sections_and_valid_figures(self, folder, name):
        import plotly.graph_objects as go

        text = page(folder, name)
        wanted = {
            "mixed": ["overview", "likelihood", "columns", "pairs", "calibration", "gaps", "surprises"],
            "depth": ["overview", "likelihood", "columns", "pairs", "calibration", "depth", "surprises"],
            "given": ["overview", "likelihood", "columns", "pairs", "calibration", "depth", "surprises"],
        }[name]
        assert re.findall(r'<section id="(\w+)">', text) == wanted
        assert re.findall(r'<a href="#(\w+)">', text) == wanted
        drawn = figures(text)
        assert len(drawn) == text.count('class="figure"') > 10
        for figure in drawn:
            go.Figure(figure["data"], figure["layout"])  # raises for what plotly does not know
            assert figure["data"]

    def test_needs_nothing_from_elsewhere(self, folder):
        text = own(page(folder, "mixed"))
        assert not re.search(r"""(src|href)\s*=\s*["']?(?!["'#])\S""", text)
        assert "@import" not in text
        assert "url(" not in text
        assert "://" not in text
        assert "default-src 'none'" in text

    def test_names_and_values_do_not_break_out(self, folder):
        text = page(folder, "mixed")
        parsed = Elements()
        parsed.feed(own(text))
        drawn = figures(text)
        # watch, plotly (whose code was cut out), draw, and the figures' data
        assert len(parsed.scripts) == 3 + len(drawn)
        assert sum("alert" in script and not script.startswith("{") for script in parsed.scripts) == 0
        assert parsed.tags.isdisjoint({"b", "img", "iframe"})
        assert NASTY in parsed.text  # what was escaped comes back as it was
        for figure in drawn:  # plotly reads tags and entities in text
            assert set(re.findall(r"<[^>]*>", json.dumps(figure))) <= {"<br>"}

    def test_a_figure_cannot_end_its_script(self):
        figure = Figure([{"text": "</script><!--", "x": [float("nan"), 1e-3]}], {}, "words")
        section = Section("one", "One", [Cards([Card(NASTY, figure)])])
        text = own(html_page("<i>", NASTY, [section]))
        (found,) = figures(text)
        assert found["data"] == [{"text": "</script><!--", "x": [None, 0.001]}]
        assert "<!--" not in text
        assert "<i>" not in text

    def test_the_same_input_gives_the_same_page(self, folder, tmp_path):
        torch.manual_seed(123)
        again = tmp_path / "again.html"
        assert run("report", folder / "depth.safetensors", folder / "depth.parquet", "-o", again).exit_code == 0
        assert again.read_bytes() == (folder / "depth.html").read_bytes()
        other = tmp_path / "other.html"
        run("report", folder / "depth.safetensors", folder / "depth.parquet", "-o", other, "--seed", 1)
        assert other.read_bytes() != (folder / "depth.html").read_bytes()

    def test_says_what_the_fit_reported(self, folder):
        text = page(folder, "depth")
        metadata = ab.storage.read_metadata(folder / "depth.safetensors")["metadata"]
        for score in metadata["report"]["scores"]:
            assert score["name"] in text
            assert f"{score['mean']:.2f}" in text

    def test_rows_held_out_are_found_by_their_likelihood(self, folder, tmp_path):
        assert "20 of the rows were held out" in page(folder, "depth")
        # another table of as many rows, or the same without the record of the fit, is not mistaken for it
        write_table(numbers(seed=1), tmp_path / "other.parquet")
        run("report", folder / "depth.safetensors", tmp_path / "other.parquet", "-o", tmp_path / "other.html")
        assert "is not known" in (tmp_path / "other.html").read_text()
        model = ab.load(folder / "depth.safetensors")
        write_report(model, numbers(), tmp_path / "bare.html")
        bare = (tmp_path / "bare.html").read_text()
        assert "holds no record of its fit" in bare
        assert "held-out rows" not in bare

    def test_gaps_are_filled_given_the_rest(self, folder):
        text = page(folder, "mixed")
        assert "What fills the gaps" in text
        assert re.search(r"\d+ % of the rows have a gap here; [\d,]+ draws", text)
        assert "What fills the gaps" not in page(folder, "depth")

    def test_given_columns_stand_beside_the_modelled(self, folder):
        text = page(folder, "given")
        assert "given age" in text
        assert "height and age" in text  # a pair of a modelled and a given column


class TestOddTables:
    def model(self, columns=1):
        return TableModel(Schema([Continuous(f"c{i}", 0.0, 1.0) for i in range(columns)]), Normal.standard(columns))

    @pytest.mark.parametrize("rows", [1, 2])
    def test_one_column_and_a_row_or_two(self, tmp_path, rows):
        write_report(self.model(), pa.table({"c0": np.arange(rows, dtype=float)}), tmp_path / "r.html")
        assert "Pair by pair" not in (tmp_path / "r.html").read_text()

    def test_one_row_of_a_model_of_any_order(self, folder, tmp_path):
        model = ab.load(folder / "mixed.safetensors")
        write_report(model, mixed().slice(0, 1), tmp_path / "r.html")
        empty = pa.table({name: pa.array([None] * 3, mixed().schema.field(name).type) for name in mixed().column_names})
        write_report(model, empty, tmp_path / "r.html")

    def test_many_columns_are_chosen_and_what_is_left_out_is_said(self, tmp_path):
        x = np.random.default_rng(0).normal(size=(60, 62))
        x[:, 61] = x[:, 0]
        write_report(self.model(62), pa.table({f"c{i}": x[:, i] for i in range(62)}), tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text()
        assert "Not drawn, beyond the first 60: c60" in text
        assert "<h3>c0 and c61</h3>" in text
        assert "Of 1,891 pairs" in text

    def test_long_tables_are_sampled_and_it_is_said(self, folder, tmp_path):
        model = ab.load(folder / "depth.safetensors")
        write_report(model, numbers(3000), tmp_path / "r.html", rows=100)
        assert "3,000 rows; this page looks at 100 of them, drawn at random" in (tmp_path / "r.html").read_text()
        write_table(numbers(500), tmp_path / "t.parquet")
        write_report(model, TableStream(tmp_path / "t.parquet", sample=200), tmp_path / "r.html")
        assert "500 rows; this page looks at 200 of them" in (tmp_path / "r.html").read_text()

    def test_mixtures_of_other_kinds(self, tmp_path):
        mixture = GaussianMixture([[-3.0, 0.0], [3.0, 0.0]], weights=[0.25, 0.75])
        model = TableModel(Schema([Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0)]), mixture)
        write_report(model, model.sample(400, seed=0), tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text()
        assert "mixture of 2 components" in text
        (use,) = [
            f
            for f in figures(text)
            if len(f["data"]) == 2 and f["layout"]["xaxis"].get("title", {}).get("text") == "share of rows"
        ]
        for trace in use["data"]:
            assert trace["x"] == pytest.approx([25, 75], abs=6)

    def test_one_row_is_one_row_and_its_picture_is_not_empty(self, tmp_path):
        model = self.model(3)
        write_report(model, pa.table({"c0": [1.0], "c1": [0.5], "c2": [0.0]}), tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text()
        assert "3 columns, 1 row: what" in text
        for figure in figures(text):
            for trace in figure["data"]:
                assert trace["type"] != "heatmap" or any(z is not None for row in trace["z"] for z in row)

    def test_a_pair_that_no_row_has_is_not_drawn(self, folder, tmp_path):
        names = mixed().column_names
        row = {name: pa.array([None], mixed().schema.field(name).type) for name in names}
        row |= {"count": pa.array([3], mixed().schema.field("count").type), "yes": pa.array([True])}
        write_report(ab.load(folder / "mixed.safetensors"), pa.table(row), tmp_path / "r.html")
        assert "<h3>count and yes</h3>" in (tmp_path / "r.html").read_text()

    def test_nothing_is_left_of_a_page_that_failed(self, folder, tmp_path):
        (tmp_path / "r.html").write_text("old")
        with pytest.raises(ValueError, match="height"):
            write_report(ab.load(folder / "depth.safetensors"), pa.table({"weight": [1.0]}), tmp_path / "r.html")
        assert (tmp_path / "r.html").read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


class TestCalibration:
    """Of a model that is known: two columns of which the second depends on the first."""

    def exact(self):
        """p(x_1) is standard logistic and p(x_2 | x_1) levels with known logits; the network is set by hand."""
        torch.manual_seed(0)
        model = AnyOrder([Logistics(1), Levels(3)], hidden=16).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
        return model

    def test_rows_of_the_model_are_uniform_and_others_are_not(self):
        model = self.exact()
        with torch.no_grad():
            x = model.sample((4000,))
        # a draw in the order of the columns: given the first, the second is exactly calibrated
        u = given_the_rest(model, x, None, seed=0)
        assert distance(u[:, 1]) < nothing_special(4000, 0.999)
        theta = model.parameters_given(torch.full((1, 2), torch.nan, dtype=torch.float64), 0)
        moved = x.clone()
        moved[:, 1] = torch.where(x[:, 1] == 0, 2.0, x[:, 1])
        assert distance(given_the_rest(model, moved, None, seed=0)[:, 1]) > 2 * nothing_special(4000, 0.999)
        assert theta.shape == (1, 3)

    def test_u_of_a_continuous_column_is_its_distribution_function(self):
        model = self.exact()
        x = torch.tensor([[0.3, torch.nan]], dtype=torch.float64)
        u = given_the_rest(model, x, None, seed=0)
        grid = torch.linspace(-60, 0.3, 200_001, dtype=torch.float64)
        theta = model.parameters_given(x, 0).expand(len(grid), -1)
        with torch.no_grad():
            integral = torch.trapezoid(model.family(0).log_prob(grid, theta).exp(), grid)
        assert u[0, 0] == pytest.approx(float(integral), abs=1e-5)
        assert np.isnan(u[0, 1])

    def test_ranks_among_draws_are_uniform_whatever_their_number(self):
        rng = np.random.default_rng(0)
        for draw in (lambda *shape: rng.normal(size=shape), lambda *shape: rng.integers(0, 3, shape).astype(float)):
            u = among_draws(draw(4000), draw(4000, 7), seed=0)
            assert distance(u) < nothing_special(4000, 0.999)
        assert distance(among_draws(rng.normal(size=4000), 2 * rng.normal(size=(4000, 7)), seed=0)) > 0.1

    def test_bands_hold_what_they_say(self):
        rng = np.random.default_rng(0)
        u = rng.random((400, 300))
        low, high = band(300, 10)
        shares = np.stack([np.histogram(row, np.linspace(0, 1, 11))[0] for row in u]) / 300
        inside = ((shares >= low - 1e-9) & (shares <= high + 1e-9)).mean()
        assert 0.94 < inside < 0.98  # counts are whole, so that it is somewhat more than 0.95
        share, error = within(u[0], 0.9)
        assert abs(share - 0.9) < 4 * error

    @pytest.mark.parametrize("given", [False, True])
    def test_columns_and_whole_rows_of_the_truth_are_uniform_and_of_a_wrong_model_not(self, given):
        schema = Schema(
            [Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0)], [Continuous("c", 0.0, 1.0)] if given else []
        )
        rng = np.random.default_rng(0)
        c = rng.normal(size=1500)

        class Shifted(ab.densities.Density):
            """Standard normal about the context."""

            def __init__(self, scale: float) -> None:
                super().__init__((2,), (1,))
                self.scale = scale

            def _log_prob(self, x, context):
                return torch.distributions.Normal(context, self.scale).log_prob(x).sum(dim=-1)

            def _sample(self, shape, context):
                return context + self.scale * torch.randn(*shape, *context.shape[:-1], 2, dtype=context.dtype)

        def model(scale):
            density = Shifted(scale) if given else Normal(torch.zeros(2), torch.full((2,), scale))
            return TableModel(schema, density)

        where = c[:, None] if given else 0.0
        x = where + rng.normal(size=(1500, 2))
        table = pa.table({"a": x[:, 0], "b": x[:, 1], **({"c": c} if given else {})})
        right = Checks.of(View.of(model(1.0), table, None, 10_000, 1500, seed=0))
        wrong = Checks.of(View.of(model(1.5), table, None, 10_000, 1500, seed=0))
        least = nothing_special(1500, 0.999)
        assert all(distance(u) < least for u in (*right.u.T, right.whole))
        assert all(distance(u) > least for u in (*wrong.u.T, wrong.whole))
        # too broad: more than nine tenths in the intervals
        assert within(wrong.u[:, 0], 0.9)[0] > 0.95


class TestAxes:
    def test_every_value_of_the_data_is_on_the_axis_or_said_to_be_apart(self):
        rng = np.random.default_rng(0)
        heavy = rng.standard_cauchy(2000)
        whole = rng.geometric(0.001, 2000) - 1
        days = pa.array(rng.integers(0, 20000, 2000).astype("int32")).view(pa.date32())
        for column, values in (
            (Continuous, pa.array(heavy)),
            (Positive, pa.array(np.exp(3 * rng.normal(size=2000)))),
            (Positive, pa.array(np.where(rng.random(2000) < 0.4, 0.0, np.exp(rng.normal(size=2000))))),
            (Integer, pa.array(whole)),
            (Integer, pa.array(rng.poisson(3, 2000))),
            (Time, days),
        ):
            part = column.infer("c", values)
            z = part.encode(values)
            axis = axis_of(part, z, z)
            assert axis.outside(z) == 0
            apart = sum(axis.at(value, z) for value, _ in axis.apart)
            assert axis.shares(z).sum() == pytest.approx(1 - apart)
            assert len(axis.labels) == len(axis.edges) - 1 == len(axis.bounds) - 1
            assert np.all(np.diff(axis.edges) > 0)

    def test_times_stand_where_the_clock_of_their_zone_has_them(self):
        zone = "America/New_York"
        hours = np.repeat(np.arange(20, 24), 50)  # of 1 March 2021, which in Greenwich is mostly the 2nd
        clock = pa.array([datetime.datetime(2021, 3, 1, int(h)) for h in hours], pa.timestamp("us"))
        values = pa.compute.assume_timezone(clock, zone)
        part = Time.infer("t", values)
        axis = axis_of(part, part.encode(values), np.empty(0))
        assert axis.unit == axis.layout["title"]["text"] == zone
        assert {text[:10] for text in axis.labels} == {"2021-03-01"}
        assert axis.labels[0][11:] == "20:00:00"
        maps = two_maps(
            (axis, axis), ("t", "t"), np.ones((len(axis.labels),) * 2), np.ones((len(axis.labels),) * 2), ""
        )
        assert maps.layout["xaxis"]["title"]["text"] == f"t ({zone})"

    def test_a_zero_that_nobody_has_is_not_said_to_be_left_out(self):
        values = pa.array(np.exp(np.random.default_rng(0).normal(size=500)))
        part = Positive.infer("c", values)
        assert axis_of(part, part.encode(values), part.encode(values)).apart == []

    def test_of_a_few_draws_none_is_beyond_the_axis(self):
        part = Continuous("c", 0.0, 1.0)
        drawn = np.array([-1.0, 0.0, 0.5, 3.0, 4.0])
        assert axis_of(part, np.array([0.2]), drawn).outside(drawn) == 0

    def test_no_bin_holds_nearly_all_of_a_skewed_column(self):
        values = pa.array(np.exp(np.random.default_rng(2).normal(size=500)))
        part = Continuous("c", 0.0, 1.0)
        z = part.encode(values)
        assert axis_of(part, z, z).shares(z).max() < 0.5
        flat = part.encode(pa.array(np.random.default_rng(0).normal(size=20_000)))
        assert "tickvals" not in axis_of(part, flat, flat).layout

    def test_text_below_an_axis_has_room(self):
        heavy = pa.array(1e12 * np.random.default_rng(0).standard_cauchy(500))
        part = Continuous.infer("c", heavy)
        axis = axis_of(part, part.encode(heavy), np.empty(0))
        ticks = axis.layout["tickvals"]
        assert len(ticks) >= 3
        assert axis.bent
        assert min(np.diff(ticks)) >= (axis.edges[-1] - axis.edges[0]) / 6
        shares = axis.shares(part.encode(heavy))
        assert histograms(axis, shares, shares, "words", ("a", "b")).layout["xaxis"]["automargin"]

    def test_heavy_tails_are_bent_so_that_the_middle_is_seen(self):
        heavy = pa.array(np.random.default_rng(0).standard_cauchy(5000))
        part = Continuous.infer("c", heavy)
        shares = axis_of(part, part.encode(heavy), np.empty(0)).shares(part.encode(heavy))
        assert shares.max() < 0.25

    def test_a_heap_of_zeros_stands_apart(self):
        rng = np.random.default_rng(0)
        for kind, values in (
            (Integer, pa.array(np.where(rng.random(1000) < 0.9, 0, rng.integers(1, 9999, 1000)))),
            (Continuous, pa.array(np.where(rng.random(1000) < 0.9, 0.0, rng.normal(size=1000)))),
        ):
            part = kind.infer("c", values)
            axis = axis_of(part, part.encode(values), np.empty(0))
            assert [words for _, words in axis.apart] == ["0"]
            assert axis.at(0.0, part.encode(values)) == pytest.approx(0.9, abs=0.03)
            assert axis.shares(part.encode(values)).max() < 0.05

    def test_few_whole_numbers_have_a_bin_each(self):
        values = pa.array([0, 0, 1, 5])
        part = Integer.infer("c", values)
        axis = axis_of(part, part.encode(values), np.empty(0))
        assert axis.labels == ["0", "1", "2", "3", "4", "5"]
        assert axis.shares(part.encode(values)).tolist() == [0.5, 0.25, 0, 0, 0, 0.25]

    def test_of_many_levels_the_rare_ones_stand_together(self):
        words = [f"w{i:03d}" for i in range(50) for _ in range(50 - i)]
        part = Categorical.infer("c", pa.array(words))
        z = part.encode(pa.array(words))
        axis = axis_of(part, z, z)
        assert len(axis.labels) == 20
        assert axis.labels[-1] == "w000"
        assert axis.labels[0] == "31 others"
        assert axis.shares(z).sum() == pytest.approx(1)


def test_mutual_information_of_what_is_known():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 10, 20_000)
    assert mutual_information(a, rng.integers(0, 10, 20_000)) < 0.005
    assert mutual_information(a, a) == pytest.approx(np.log(10), abs=0.01)
    assert mutual_information(np.where(a > 4, -1, a), a) == pytest.approx(np.log(5), abs=0.01)  # gaps are left out


class TestSurprises:
    def model(self):
        mixture = GaussianMixture([[-3.0, 0.0, 0.0], [3.0, 0.0, 1.0]], weights=[0.25, 0.75])
        return TableModel(
            Schema([Continuous("a", 5.0, 2.0), Continuous("b", 0.0, 1.0), Positive("c", 1.0, 0.5)]), mixture
        )

    def test_slices_agree_with_the_closed_form(self):
        model = self.model()
        table = model.sample(300, seed=0)
        view = View.of(model, table, None, 10_000, 300, seed=0)
        assert can_be_sliced(view)
        exact = model.surprise(table)
        for row in (0, 7):
            found = slices(view, row, Pictured.of(view).drawn)
            for i, name in enumerate(model.schema.columns):
                rest = {one: table.column(one)[row].as_py() for one in model.schema.columns if one != name}
                conditional = model.conditional(rest)
                drawn = conditional.sample(20_000, seed=1)
                expected = -conditional.log_prob(drawn)
                assert found.excess[i] == pytest.approx(exact[row, i] - expected.mean(), abs=0.03)
                z = model.schema.parts[i].encode(drawn.column(name).combine_chunks())
                assert ((z >= found.low[i]) & (z <= found.high[i])).mean() == pytest.approx(0.9, abs=0.01)

    def test_densities_of_numbers_say_which_cell_is_unlikely_given_the_rest(self, folder, tmp_path):
        for name in ("depth", "given"):
            assert "Surprise of every cell" in page(folder, name)
        model = self.model()
        table = model.sample(100, seed=0)
        b = table.column("b").to_numpy().copy()
        b[17] = 9.0
        write_report(model, table.set_column(1, "b", pa.array(b)), tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text()
        first = re.search(r">17</td><td[^>]*>[^<]*</td><td[^>]*>([^<]*)", text)
        # a standard normal expects half a nat of the square
        nats = float(re.match(r"b = 9: \+([\d.]+) nats; expected -1.6\d* to 1.6", first[1])[1])
        assert nats == pytest.approx(9**2 / 2 - 0.5, abs=0.02)

    def test_what_would_take_long_is_not_done(self):
        wide = TableModel(Schema([Continuous(f"c{i}", 0.0, 1.0) for i in range(40)]), Normal.standard(40))
        assert not can_be_sliced(View.of(wide, wide.sample(50, seed=0), None, 100, 50, seed=0))
        part = self.model().marginal(["a", "b"])
        assert can_be_sliced(View.of(part, part.sample(50, seed=0), None, 100, 50, seed=0))
        flow = TableModel(part.schema, ab.Flow(ab.flows.nsf(features=2, blocks=1, hidden=(8,)))).marginal(["a"])
        assert not can_be_sliced(View.of(flow, flow.sample(20, seed=0), None, 100, 20, seed=0))


class TestLikelihood:
    def test_orders_are_in_the_units_of_all_else(self, folder):
        model = TableModel(
            Schema([Continuous("a", 0.0, 1e6), Continuous("b", 0.0, 1e6)]), AnyOrder(2, hidden=8, blocks=1)
        )
        view = View.of(model, model.sample(50, seed=0), None, 100, 50, seed=0)
        said = _consistency(view)
        low, high = (float(text) for text in re.search(r"between (\S+) and (\S+)\.", said).groups())
        assert low - 1 < view.log_p.mean() < high + 1

    def test_a_verdict_knows_its_error(self):
        def verdict(*gains, mean=-1.0):
            scores = [
                {"name": f"B{k}", "gain": gain, "gain_standard_error": error} for k, (gain, error) in enumerate(gains)
            ]
            return _verdict([{"name": "model", "mean": mean}, *scores])

        assert verdict((1.0, 0.1), (None, None)) == "The model is ahead of the baselines."
        assert "They do not tell" in verdict((-0.2, 0.2), (1.0, 0.1))
        assert "ahead of the model: B1, by 0.40" in verdict((-0.5, 0.6), (-0.4, 0.1))
        assert "calls impossible" in verdict((None, None), mean=None)


def test_durations_below_zero_are_written_as_such():
    assert shown(-datetime.timedelta(minutes=1)) == "-0:01:00"
    assert shown(datetime.timedelta(minutes=1)) == "0:01:00"


class TestCommand:
    def complains(self, result, *said):
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith("anabranch: ")
        for text in said:
            assert str(text) in line

    def test_a_missing_column(self, folder, tmp_path):
        write_table(numbers().drop_columns(["weight"]), tmp_path / "t.csv")
        result = run("report", folder / "depth.safetensors", tmp_path / "t.csv", "-o", tmp_path / "r.html")
        self.complains(result, "t.csv", "'weight'")
        assert not (tmp_path / "r.html").exists()

    def test_gaps_where_the_model_takes_none(self, folder, tmp_path):
        table = numbers().set_column(0, "height", pa.array([None, *range(199)], pa.float64()))
        write_table(table, tmp_path / "t.parquet")
        result = run("report", folder / "depth.safetensors", tmp_path / "t.parquet", "-o", tmp_path / "r.html")
        self.complains(result, "'height'", "a gap in row 0")

    def test_missing_plotly(self, folder, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "plotly.offline", None)
        result = run("report", folder / "depth.safetensors", folder / "depth.parquet", "-o", tmp_path / "r.html")
        self.complains(result, 'pip install "anabranch[report]"')

    def test_outputs_that_cannot_be(self, folder, tmp_path):
        model, table = folder / "depth.safetensors", folder / "depth.parquet"
        self.complains(run("report", model, table, "-o", tmp_path / "no" / "r.html"), "does not exist")
        self.complains(run("report", model, table, "-o", table), "is the table itself")
        self.complains(run("report", model, table, "-o", tmp_path / "r.html", "--rows", 0), "rows")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no browser is installed: neither chromium nor google-chrome is found")
def test_a_browser_draws_every_figure_without_errors(folder, tmp_path):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path}"]
    flags += ["--window-size=1280,2000", "--virtual-time-budget=60000", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *flags, (folder / "mixed.html").as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    root = re.search(r"<html[^>]*>", done.stdout)
    assert root, done.stderr[-2000:]
    assert 'data-errors="0"' in root[0], root[0]
    assert 'data-ready="yes"' in root[0]
    expected = figures(page(folder, "mixed"))
    assert f'data-drawn="{len(expected)}"' in root[0]
    drawn = done.stdout.split('<div class="figure')[1:]
    assert len(drawn) == len(expected)
    for figure, dom in zip(expected, drawn, strict=True):
        assert "js-plotly-plot" in dom.split(">")[0]
        assert "main-svg" in dom
        maps = sum(trace["type"] == "heatmap" for trace in figure["data"])
        assert dom.count("<image") == maps  # a map that plotly gives up on has none
        if any(trace["type"] == "bar" for trace in figure["data"]):
            assert 'class="point"' in dom


def test_the_page_on_tables_tells_the_truth():
    """Of what docs/tables.md says about the report."""
    from anabranch.report import calibration, gaps, hidden, pairs, slices, surprises, write

    docs = (Path(__file__).parent.parent / "docs" / "tables.md").read_text()
    told = docs.partition("## A page about a model")[2].partition("\n## ")[0]
    for text in (
        f"of more than {slices._MOST_COLUMNS} columns the values",
        f"the {pairs._STRONGEST} pairs",
        f"the {pairs._MOST_WRONG} where samples miss",
        f"among {calibration._DRAWS} draws",
        f"beside {gaps._DRAWS} draws",
        f"coloured by the {hidden._MAPS} columns",
        f"one of up to {hidden._MOVED} hidden numbers",
        f"the {surprises._ROWS} rows",
        f"more than {write._MOST_COLUMNS} columns",
        "more than 20,000 rows",
    ):
        assert text in told, text
    assert inspect.signature(write_report).parameters["rows"].default == 20_000
