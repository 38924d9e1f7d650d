"""The section of a report about hidden numbers: what is drawn is where rows lie and what the decoder says."""

import json
import re
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import anabranch as ab
from anabranch.densities import Normal
from anabranch.models import LatentVariable
from anabranch.networks import MLP
from anabranch.report.blocks import Cards, Paragraph
from anabranch.report.decoded import _of_levels, _of_numbers
from anabranch.report.hidden import hidden
from anabranch.report.page import page as html_page
from anabranch.report.view import View
from anabranch.tables import Schema, TableModel, as_table
from anabranch.tables.columns import Angle, Categorical, Continuous, Time
from anabranch.testing import randomize

pytest.importorskip("plotly", reason="plotly, the extra 'report', is not installed")


def linear(slopes, latents, noise=0.1):
    """x = slopes z + noise, as a table: z of each row is nearly known, and so is what a move of z does."""
    columns, weights = len(slopes), torch.tensor(slopes)
    decoder = Normal(torch.zeros(columns), noise, network=MLP(latents, 2 * columns, hidden=()))
    posterior = Normal(torch.zeros(latents), 0.1, network=MLP(columns, 2 * latents, hidden=()))
    with torch.no_grad():
        for part, matrix in ((decoder, weights), (posterior, torch.linalg.pinv(weights))):
            layer = part.theta.network.layers[0]
            layer.weight.zero_()[: len(matrix)] = matrix
            layer.bias.zero_()
    model = LatentVariable(Normal.standard(latents), decoder, posterior)
    schema = Schema([Continuous(f"x{i}", 100.0 * i, 10.0) for i in range(columns)])
    x = model.sample((300,), generator=0).double().numpy()
    table = {name: 100.0 * i + 10.0 * x[:, i] for i, name in enumerate(schema.columns)}
    return TableModel(schema, model), pa.table(table)


def view_of(model, table):
    return View.of(model, as_table(table), None, 20_000, len(as_table(table)), 0)


def cards(section):
    return [card for block in section.blocks if isinstance(block, Cards) for card in block.cards]


def test_rows_lie_where_the_posterior_has_them_and_moves_do_what_the_decoder_says():
    model, table = linear([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], latents=2)
    view = view_of(model, table)
    section = hidden(view)
    clouds, *maps, moved_first, moved_second, way = cards(section)
    assert [len(maps), clouds.title, way.title[:8]] == [3, "Rows and the prior", "From row"]
    x = (table.column("x0").to_numpy()) / 10
    xy = np.array(maps[0].figure.data[0]["x"])
    assert np.corrcoef(x[view.pictured], xy)[0, 1] > 0.999
    assert maps[2].title == "By x2"  # of which z says nothing
    moved = {moved_first.title: moved_first.figure, moved_second.title: moved_second.figure}
    for unit, name in (("z1 moves", "x0"), ("z2 moves", "x1")):
        figure = moved[unit]
        steps = [float(text) for text in figure.layout["xaxis"]["ticktext"]]
        first = [float(text) for text in figure.data[1]["text"][: len(steps)]]
        assert figure.layout["yaxis"]["ticktext"][0] == name
        offset = 100.0 * int(name[1])
        np.testing.assert_allclose(first, [offset + 10 * step for step in steps], atol=0.8)
        assert np.ptp(figure.data[0]["z"][0]) > 0.9 and np.ptp(figure.data[0]["z"][1]) < 0.1
    ends = [int(row) for row in re.findall(r"\d+", way.title)]
    shown = {
        name: way.figure.data[1]["text"][7 * k : 7 * k + 7]
        for k, name in enumerate(way.figure.layout["yaxis"]["ticktext"])
    }
    for end, place in zip(ends, (0, -1), strict=True):
        assert abs(float(shown["x0"][place]) - table.column("x0")[end].as_py()) < 5


def test_of_many_numbers_the_axes_are_principal_and_of_one_there_is_no_map():
    model, table = linear([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]], latents=3)
    section = hidden(view_of(model, table))
    text = " ".join(block.text for block in section.blocks if isinstance(block, Paragraph))
    assert "two principal ones of the means" in text and "3 of 3 are in use" in text
    model, table = linear([[1.0], [-1.0]], latents=1)
    titles = [card.title for card in cards(hidden(view_of(model, table)))]
    assert titles == ["z1 moves"]


def test_a_collapsed_model_and_other_densities_have_nothing_to_draw():
    model, table = linear([[0.0, 0.0], [0.0, 0.0]], latents=2)
    section = hidden(view_of(model, table))
    assert not cards(section) and "has collapsed" in section.blocks[-1].text
    other = TableModel(model.schema, Normal.standard(2))
    assert hidden(view_of(other, table)) is None
    assert hidden(view_of(model, table.slice(0, 1))) is None


def test_what_depends_on_given_values_moves_at_those_of_one_row():
    decoder = Normal(torch.zeros(1), network=MLP(2, 2, hidden=(4,)))
    posterior = Normal(torch.zeros(1), 0.2, network=MLP(2, 2, hidden=()))
    with torch.no_grad():
        posterior.theta.network.layers[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    schema = Schema([Continuous("x", 0.0, 1.0)], [Continuous("age", 0.0, 1.0)])
    model = TableModel(schema, LatentVariable(Normal.standard(1), decoder, posterior))
    rng = np.random.default_rng(0)
    section = hidden(view_of(model, pa.table({"x": rng.normal(size=50), "age": rng.normal(size=50)})))
    assert [card.title for card in cards(section)] == ["z1 moves"]


def test_values_along_a_path_are_in_the_words_of_their_column():
    draws = np.array([[0.1, 3.0], [2 * np.pi - 0.1, 3.2]])
    (wind,) = _of_numbers(Angle("wind"), draws, np.array([0.0, 3.0]))
    assert float(wind.texts[0]) % 360 == pytest.approx(0, abs=1e-3) and float(wind.texts[1]) == pytest.approx(
        177.6, abs=1
    )
    day = Time.infer("day", pa.array(pd.date_range("2020-01-01", periods=50).date))
    z = day.encode(pa.array(pd.date_range("2020-01-01", periods=50).date))
    (days,) = _of_numbers(day, np.tile(z[[10, 20]], (5, 1)), z)
    assert list(days.texts) == ["2020-01-11", "2020-01-21"]
    assert days.change == pytest.approx(10 / 44, abs=0.02)
    kind = Categorical("kind", ["a", "b", "c"])
    levels = _of_levels(kind, np.array([[0.0, 1.0], [0.0, 1.0], [2.0, 1.0]]), np.zeros(3))
    assert [track.name for track in levels] == ["kind = b", "kind = a", "kind = c"]
    assert [list(track.texts) for track in levels][:2] == [["0 %", "100 %"], ["67 %", "0 %"]]


def test_a_page_of_a_table_of_all_kinds_has_figures_that_plotly_knows():
    import plotly.graph_objects as go

    rng = np.random.default_rng(0)
    size = rng.normal(size=80)
    frame = pd.DataFrame(
        {
            "size": size,
            "kind": np.where(size > 0, "<b>large</b>", "small").astype(object),
            "day": pd.date_range("2020-01-01", periods=80),
            "yes": size > 1,
            "wide": np.exp(3 * size),
        }
    )
    frame = frame.mask(rng.random(frame.shape) < 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        schema = Schema.infer(frame)
    torch.manual_seed(0)
    density = randomize(ab.vaes.vae(5, schema.families(), latent=3, hidden=(8,), gaps=True), 0.7)
    with torch.no_grad():  # a posterior that is sure of z
        density.posterior.density.theta.log_scale.fill_(-3.0)
    section = hidden(view_of(TableModel(schema, density), frame))
    text = html_page("title", "subtitle", [section])
    assert '<section id="hidden">' in text and '<a href="#hidden">' in text
    drawn = [
        json.loads(data) for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)
    ]
    assert len(drawn) == len(cards(section)) >= 6
    for figure in drawn:
        go.Figure(figure["data"], figure["layout"])
        assert set(re.findall(r"<[^>]*>", json.dumps(figure))) <= {"<br>"}
