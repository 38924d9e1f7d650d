"""Rows in as many bits as a model finds them surprising: exact round trips, sizes, and files that are refused."""

import datetime
import decimal
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from typer.testing import CliRunner

import anabranch as ab
from anabranch.cli import app
from anabranch.compression import any_order, compress, compress_array, decompress, decompress_array
from anabranch.compression.coarsest_grid import real_grid
from anabranch.compression.container import CONSTANT, Container
from anabranch.compression.float_grids import DecimalGrid, FloatGrid, ranks
from anabranch.compression.halving import code_numbers
from anabranch.compression.tape import TOTAL, DecodingError, Reading, Writing, quantised
from anabranch.families import Bernoulli, DiscretizedLogistics, Levels, Logistics, SeparateChannels, SubPixels
from anabranch.models import AnyOrder, Autoregressive
from anabranch.networks import CausalConvolution, FiniteMemory, MaskedMLP, PixelCNN, Recurrent
from anabranch.storage import fingerprint_of
from anabranch.tables import Schema, TableError, TableModel, read_table, write_table
from anabranch.tables.columns import Continuous, TableWarning
from anabranch.tables.returned import packed
from anabranch.tables.types import plain_type

ROWS = 150
KINDS = {"wind": "angle", "phase": "angle", "rain": "positive", "share": "bounded"}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def columns(n=ROWS, seed=0):
    """Columns of every kind and of many types, with gaps."""
    rng = np.random.default_rng(seed)

    def gaps(values, kind=None):
        return pa.array(list(values) if kind else values, kind, mask=rng.random(n) < 0.1)

    words = np.array(["red", "blue", "", 'grün, "x"\n'])
    start = datetime.datetime(2020, 1, 1)
    seconds = [datetime.timedelta(seconds=int(s)) for s in rng.integers(0, 10**7, n)]
    hours = [datetime.time(int(h), int(m)) for h, m in zip(rng.integers(0, 24, n), rng.integers(0, 60, n), strict=True)]
    single = rng.normal(size=n).astype(np.float32)
    return {
        "text": gaps(words[rng.integers(0, 4, n)]),
        "dictionary": gaps(words[rng.integers(0, 3, n)]).dictionary_encode(),
        "large": pa.array(words[rng.integers(0, 3, n)], pa.large_string()),
        "truth": gaps(rng.random(n) < 0.3),
        "grade": pa.array(rng.integers(1, 6, n), pa.int8()),
        "gain": pa.array(np.where(rng.random(n) < 0.9, 0, rng.lognormal(8, 1, n)).astype(np.int64)),
        "wide": pa.array(rng.integers(0, 10**6, n)),
        "unsigned": pa.array(rng.integers(2**63, 2**63 + 10**6, n, dtype=np.uint64), pa.uint64()),
        "bent": pa.array(np.exp(rng.normal(6, 1.5, n)).astype(np.int32)),
        "rounded": pa.array(np.where(rng.random(n) < 0.1, np.nan, np.round(rng.normal(170, 10, n), 1))),
        "single": pa.array(np.round(rng.normal(1, 0.3, n), 2).astype(np.float32)),
        "money": pa.array([decimal.Decimal(int(v)) / 100 for v in rng.integers(0, 5000, n)], pa.decimal128(8, 2)),
        "when": gaps([start + s for s in seconds], pa.timestamp("ns", "Europe/Berlin")),
        "date": gaps([start.date() + s for s in seconds], pa.date32()),
        "clock": pa.array(hours, pa.time32("s")),
        "took": pa.array(rng.exponential(1e5, n).astype(np.int64), pa.duration("ms")),
        "real": pa.array(rng.normal(size=n) * 3 + 100),
        "real32": pa.array(np.where(rng.random(n) < 0.05, np.nan, single)).cast(pa.float32()),
        "real16": pa.array(rng.normal(size=n).astype(np.float16)),
        "rain": gaps(np.where(rng.random(n) < 0.4, 0.0, rng.gamma(2, 3, n))),
        "share": pa.array(np.where(rng.random(n) < 0.1, 1.0, rng.beta(2, 3, n))),
        "wind": pa.array(rng.integers(-18, 37, n) * 10),
        "phase": pa.array(rng.vonmises(1, 2, n) * 180 / np.pi),
    }


def model_of(table, kinds=None, dtype=torch.float32, seed=0):
    """A model of any order that has seen a table and was not fitted: its columns begin at their marginals."""
    schema = Schema.infer(table, kinds={k: v for k, v in (kinds or KINDS).items() if k in table.column_names})
    order = np.random.default_rng(seed).permutation(table.num_columns).tolist()
    with ab.draws.drawing(seed):
        density = AnyOrder(schema.families(), hidden=8, order=order).to(dtype)
    x, _ = schema.encode(table)
    density.initialize(schema.tensor(x, dtype))
    return TableModel(schema, density)


@pytest.fixture(scope="module")
def everything():
    names = np.random.default_rng(1).permutation(list(columns())).tolist()
    table = pa.table(columns()).select(names)
    model = model_of(table)
    return table, model, compress(table, model)


def same(table, other):
    """Whether two tables agree in names, types, values to the bit, and gaps of both kinds."""
    assert table.schema.names == other.schema.names
    for name in table.column_names:
        one, two = (t[name].combine_chunks() for t in (table, other))
        assert one.type == two.type, name
        if pa.types.is_floating(one.type):
            assert one.is_null().equals(two.is_null()), name
            x, y = (values.fill_null(0.5).to_numpy() for values in (one, two))
            assert np.array_equal(x, y, equal_nan=True) and np.array_equal(np.signbit(x), np.signbit(y)), name
        else:
            assert one.to_pylist() == two.to_pylist() if pa.types.is_dictionary(one.type) else one.equals(two), name


def test_columns_of_every_kind_come_back_bit_for_bit(everything):
    table, model, found = everything
    same(decompress(found.data, model), table)
    assert found.raw == 0


def test_a_file_is_as_long_as_the_model_is_surprised(everything):
    found = everything[2]
    assert 0.99 < 8 * (len(found.data) - found.described) / (found.model_bits + found.gaps) < 1.01
    assert CONSTANT < found.described < 1000


def test_bits_of_discrete_columns_are_those_of_the_density(everything):
    table, model, found = everything
    x = model.encoded.schema.tensor(model.schema.encode(table)[0], torch.float32)
    told = -model.density.terms(x).double().detach().sum(dim=0) / np.log(2)
    for i, part in enumerate(model.schema.parts):
        if part.discrete:
            assert found.columns[part.name] == pytest.approx(float(told[i]), rel=1e-3)


def test_bits_of_a_precision_are_those_of_the_density():
    table = pa.table({name: columns()[name] for name in ("real", "share", "rain", "phase", "text")})
    model = model_of(table)
    steps = {"real": 1e-3, "share": 1e-4, "rain": 1e-3, "phase": 0.01}
    found = compress(table, model, steps)
    again = decompress(found.data, model)
    log_p = float(model.log_prob(again).sum()) + sum(
        np.log(step) * int(pc.sum(pc.not_equal(again[name], 0.0 if name == "rain" else 1.0)).as_py())
        for name, step in steps.items()
    )
    assert found.model_bits == pytest.approx(-log_p / np.log(2), rel=3e-3)
    assert 8 * (len(found.data) - found.described) < 1.01 * (found.model_bits + found.gaps) + 64


def test_a_precision_is_kept_and_atoms_are_exact():
    table = pa.table({name: columns()[name] for name in ("real", "rain", "share", "real32")})
    model = model_of(table)
    steps = {"real": 0.01, "rain": 0.5, "share": 0.25, "real32": 0.1}
    again = decompress(compress(table, model, steps).data, model)
    for name, step in steps.items():
        one, two = (t[name].combine_chunks() for t in (table, again))
        assert one.is_null().equals(two.is_null())
        x, y = (values.fill_null(0.0).cast(pa.float64()).to_numpy() for values in (one, two))
        assert np.nanmax(np.abs(x - y)) <= 0.5 * step * (1 + 1e-6)
        assert np.nanmax(np.abs(x - y)) > 0.3 * step
    assert pc.equal(table["rain"], 0.0).equals(pc.equal(again["rain"], 0.0))
    assert pc.equal(table["share"], 1.0).equals(pc.equal(again["share"], 1.0))


@pytest.mark.parametrize("step", [5e-324, 1e-310, 1e308])
def test_a_precision_of_any_size_is_kept_or_refused(step):
    table = pa.table({"a": np.linspace(-1.5, 2, 60), "b": range(60)})
    model = model_of(table)
    zeros = table.slice(0, 3).set_column(0, "a", pa.array([0.0] * 3))
    for some in (zeros, zeros.slice(0, 0)):
        same(decompress(compress(some, model, {"a": step}).data, model), some)
    if step < 1:
        with pytest.raises(ValueError, match="one that float64 tells"):
            compress(table, model, {"a": step})


def test_several_blocks_and_another_size_of_block(monkeypatch):
    table = pa.table({name: columns()[name] for name in ("text", "gain", "real")})
    model = model_of(table)
    whole = compress(table, model)
    monkeypatch.setattr(any_order, "_ROWS", 40)
    found = compress(table, model)
    monkeypatch.undo()
    assert len(Container.from_bytes(found.data).checks) == 4
    assert len(found.data) < len(whole.data) + 3 * 8 + 16
    same(decompress(found.data, model), table)


@pytest.mark.parametrize("rows", [0, 1])
def test_one_row_and_none(everything, rows):
    table, model, _ = everything
    some = table.slice(0, rows)
    same(decompress(compress(some, model).data, model), some)


def test_a_model_of_double_precision(everything):
    table = everything[0].select(["real", "text", "wide"])
    model = model_of(table, dtype=torch.float64)
    same(decompress(compress(table, model).data, model), table)


def test_what_the_model_cannot_hold_is_kept_as_it_is():
    table = pa.table({"text": ["a", "b", "a", "b"] * 5, "n": [1, 2, 3, 40] * 5, "x": np.linspace(0, 3, 20) ** 2 / 3})
    kinds = {"n": "integer 0..40", "x": "continuous 0..3"}
    model = model_of(table, kinds)
    odd = pa.table({"text": ["a", "c", None, "d"], "n": [41, -7, 3, None], "x": [-0.0, 9.5, np.nan, 0.25]})
    found = compress(odd, model)
    assert found.raw == 5
    same(decompress(found.data, model), odd)
    dates = pa.table(
        {"day": pa.array([datetime.date(2020, 1, d) for d in range(1, 20)]), "m": [1.25, 2.5] * 9 + [3.75]}
    )
    model = model_of(dates, {"day": "time 2020-01-01..2020-01-31"})
    odd = pa.table({"day": pa.array([datetime.date(2021, 1, 1), datetime.date(2020, 1, 5)]), "m": [1.25, 3.75]})
    same(decompress(compress(odd, model).data, model), odd)


def test_types_other_than_the_fitted_ones_come_back():
    table = pa.table({"a": pa.array(range(50), pa.int64()), "b": np.linspace(0.1, 5, 50)})
    model = model_of(table)
    other = pa.table({"b": pa.array([0.1, 2.6], pa.float32()), "a": pa.array([3, 4], pa.int16())})
    same(decompress(compress(other, model).data, model), other)
    empty = pa.table({"b": pa.nulls(2), "a": pa.array([3, 4], pa.int16())})
    same(decompress(compress(empty, model).data, model), empty)


@pytest.mark.parametrize(
    "kind",
    [
        pa.string_view(),
        pa.large_string(),
        pa.dictionary(pa.int8(), pa.string(), ordered=True),
        pa.dictionary(pa.int32(), pa.string_view()),
        pa.run_end_encoded(pa.int16(), pa.string()),
        pa.json_(),
        pa.bool8(),
        pa.decimal32(6, 2),
        pa.decimal64(6, 2),
    ],
    ids=str,
)
def test_types_that_arrow_does_not_compute_with_come_back(kind):
    plain = plain_type(kind)
    values = {pa.bool_(): [True, False, None], pa.decimal128(6, 2): [decimal.Decimal("1.25"), decimal.Decimal(7), None]}
    cells = pa.array(values.get(plain, ['"red"', '"blue"', None]) * 20, plain)
    table = pa.table({"a": packed(cells, kind, pa.chunked_array([cells.dictionary_encode()])), "b": range(60)})
    back = decompress(compress(table, model_of(table)).data, model_of(table))
    assert back["a"].type == kind and back["a"].to_pylist() == table["a"].to_pylist()
    # a model that has seen them in their plain type
    model = model_of(table.set_column(0, "a", cells))
    assert decompress(compress(table, model).data, model)["a"].type == kind


def test_levels_that_json_does_not_know_come_back_from_a_file(tmp_path):
    dates = pa.array([datetime.date(2024, 2, 29), datetime.date(2025, 1, 1)] * 30)
    prices = pa.array([decimal.Decimal("1.25"), decimal.Decimal("7.00")] * 30, pa.decimal128(6, 2))
    table = pa.table({"date": dates, "price": prices, "b": range(60)})
    ab.save(model_of(table, {"date": "categorical"}), tmp_path / "model.safetensors")
    model = ab.load(tmp_path / "model.safetensors")
    assert [part.kind for part in model.schema.parts] == ["categorical", "ordinal", "integer"]
    same(decompress(compress(table, model).data, model), table)


def test_frequencies_are_whole_numbers_that_sum_up():
    p = np.random.default_rng(0).dirichlet(np.full(50, 0.02), 200)
    frequencies = quantised(p)
    assert (frequencies.sum(axis=1) == TOTAL).all() and frequencies.min() == 1
    assert np.abs(frequencies / TOTAL - p).max() < 50 / TOTAL
    odd = quantised(np.array([[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [-1.0, 1.0], [5e-324, 0.0]]))
    assert (odd.sum(axis=1) == TOTAL).all() and odd.min() >= 1


def test_a_tape_costs_what_its_frequencies_say():
    rng = np.random.default_rng(0)
    frequencies = quantised(rng.dirichlet(np.full(7, 0.3), 5000))
    symbols = np.array([rng.choice(7, p=f / TOTAL) for f in frequencies])
    tape = Writing()
    tape.code(frequencies, symbols)
    bits = -np.log2(frequencies[np.arange(5000), symbols] / TOTAL).sum()
    assert 0 <= 32 * len(tape.words()) - bits < 64
    assert (Reading(tape.words()).code(frequencies, None) == symbols).all()


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 2**63, 2**64 - 1])
def test_numbers_of_every_range_come_back_by_any_distribution(size):
    rng = np.random.default_rng(size % 1000)
    n = np.array([0, size - 1, size // 2, *(int(u * (size - 1)) for u in rng.random(50))], dtype=np.uint64)
    for below in (
        lambda u: u.astype(float) / size,
        lambda u: np.zeros(len(u)),
        lambda u: np.full(len(u), np.nan),
        lambda u: 1 - u.astype(float) / size,
    ):
        tape = Writing()
        code_numbers(tape, below, size, n, len(n))
        assert (code_numbers(Reading(tape.words()), below, size, None, len(n)) == n).all()


def test_floats_keep_their_order_and_their_zeros():
    x = np.array([-np.inf, -1.5, -1e-310, -0.0, 0.0, 5e-324, 1.0, 1e300])
    assert (np.diff(ranks(x, "double")) > 0).all() and ranks(x, "double")[3:5].tolist() == [-1, 0]
    column = Continuous("x", 0.0, 1.0)
    grid = real_grid(column, pa.array(x[1:]), None, "double")
    again = grid.values(grid.numbers(pa.array(x[1:]))).to_numpy()
    assert isinstance(grid, FloatGrid)
    assert np.array_equal(again, x[1:]) and np.array_equal(np.signbit(again), np.signbit(x[1:]))
    assert isinstance(real_grid(column, pa.array([0.125, 7.5]), None, "double"), DecimalGrid)


def test_numbers_that_repeat_are_listed():
    rng = np.random.default_rng(0)
    seen = np.sort(rng.normal(size=60) * 10)
    x = np.append(seen[np.arange(480) % 60], np.full(60, 100.0))
    table = pa.table({"x": x, "y": rng.normal(size=540)})
    with pytest.warns(TableWarning, match="repeat"):
        model = model_of(table, {"x": "continuous"})
    found = compress(table, model)
    same(decompress(found.data, model), table)
    about = Container.from_bytes(found.data).header["grids"][0]
    assert set(about["values"]) <= set(seen)
    assert found.columns["x"] < 540 * 7
    assert 0.99 < 8 * (len(found.data) - found.described) / found.model_bits < 1.01
    changed = {"grids": [{"values": about["values"][::-1]}, *Container.from_bytes(found.data).header["grids"][1:]]}
    box = Container.from_bytes(found.data)
    with pytest.raises(ValueError, match="finite numbers that rise"):
        decompress(Container({**box.header, **changed}, box.model, box.checks, box.words).to_bytes(), model)


def test_other_probabilities_are_refused(everything, monkeypatch):
    table, model, found = everything
    other = model_of(table)
    with torch.no_grad():
        other.density.network.heads.bias.mul_(1 + 1e-6)
    with pytest.raises(ValueError, match="compressed with another model: expected the one whose fingerprint begins"):
        decompress(found.data, other)
    # as if this machine had other floats
    monkeypatch.setattr("anabranch.compression.opening.fingerprint_of", lambda _: fingerprint_of(model))
    with pytest.raises(ValueError, match="refused: the model gives other probabilities here") as caught:
        decompress(found.data, other)
    assert "\n" not in str(caught.value)
    assert "(the same versions are here, so the processor is another)" in str(caught.value)


def test_torn_and_changed_files_are_one_line(everything):
    _, model, found = everything
    data = found.data
    rng = np.random.default_rng(0)
    ends = [0, 1, 7, 8, 20, CONSTANT - 1, CONSTANT, 200, len(data) - 1]
    torn = [data[:end] for end in ends] + [data + b"x"]
    for place in [*range(0, CONSTANT, 3), *rng.integers(0, len(data), 40).tolist()]:
        torn.append(data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :])
    for one in torn:
        with pytest.raises(ValueError, match=r"not a file|truncated|longer|damaged|format") as caught:
            decompress(one, model)
        assert "\n" not in str(caught.value)


def test_made_up_headers_are_one_line():
    table = pa.table({name: columns()[name] for name in ("text", "gain", "real", "rain", "wind")})
    model = model_of(table)
    odd = table.slice(0, 3).set_column(0, "text", pa.array(["red", None, "unseen"]))
    box = Container.from_bytes(compress(odd, model).data)
    rng = np.random.default_rng(0)
    wrong = [None, -1, 0, 2**70, 1e300, "x", [], {}, [[1]], True, "float", {"size": 2, "low": 0}]
    outcomes = set()
    for _ in range(150):
        header = json.loads(json.dumps(dict(box.header)))
        name = list(header)[int(rng.integers(len(header)))]
        at = header
        while isinstance(at.get(name) if isinstance(at, dict) else at[name], dict | list) and rng.random() < 0.8:
            inner = at[name]
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                break
            at, name = inner, keys[int(rng.integers(len(keys)))]
        at[name] = wrong[int(rng.integers(len(wrong)))]
        data = Container(header, box.model, box.checks, box.words).to_bytes()
        try:
            decompress(data, model)
            outcomes.add("read")
        except ValueError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes


def test_made_up_writers_and_types_are_one_line(everything):
    _, model, found = everything
    box = Container.from_bytes(found.data)
    for by in (5, None, {"a": 1}, ["a\nb", [1]], "x"):
        with pytest.raises(ValueError, match="refused") as caught:
            decompress(Container({**box.header, "by": by}, box.model, [bytes(8)], box.words).to_bytes(), model)
        assert len(str(caught.value).splitlines()) == 1
    levels = EVENTS["levels"]()
    box = Container.from_bytes(compress_array(levels.sample((3,)), levels).data)
    for kind in ("(1,", "i4,i4", "O", "(9,)u1", 5):
        with pytest.raises(ValueError, match="damaged: its header is none that was written"):
            decompress_array(
                Container({**box.header, "type": kind}, box.model, box.checks, box.words).to_bytes(), levels
            )


def test_garbage_on_the_tape_is_refused(everything):
    _, model, found = everything
    box = Container.from_bytes(found.data)
    words = np.random.default_rng(0).integers(0, 2**32, len(box.words), dtype=np.uint32)
    for tape in (words, words[:0], np.full(9, 2**32 - 1, np.uint32)):
        with pytest.raises(ValueError, match="refused"):
            decompress(Container(box.header, box.model, box.checks, tape).to_bytes(), model)
    with pytest.raises(DecodingError):
        Reading(np.full(9, 2**32 - 1, np.uint32)).code(quantised(np.ones((30, 2))), None)


def test_tables_and_models_that_do_not_fit(everything):
    table, model, _ = everything
    with pytest.raises(TableError, match="'more' is none of the model's"):
        compress(table.append_column("more", table["wide"]), model)
    with pytest.raises(TableError, match="wide"):
        compress(table.drop_columns(["wide"]), model)
    for rows in (0, 2):
        with pytest.raises(TableError, match="'wide' is there twice"):
            compress(table.append_column("wide", table["wide"]).slice(0, rows), model)
    with pytest.raises(TableError, match="infinity"):
        some = table.set_column(table.column_names.index("real"), "real", pa.array([np.inf] * ROWS))
        compress(some, model)
    for precision, said in (
        ({"wide": 1.0}, "is kept as"),
        ({"nothing": 1.0}, "expected columns"),
        ({"real": 0.0}, "precision of 'real'"),
        ({"real": 1e-18}, "bit for bit"),
    ):
        with pytest.raises(ValueError, match=said):
            compress(table, model, precision)
    flow = TableModel(Schema([Continuous("x", 0.0, 1.0)]), ab.densities.Normal.standard(1))
    with pytest.raises(ValueError, match="expected a model of any order"):
        compress(pa.table({"x": [1.0]}), flow)
    with pytest.raises(ValueError, match="expected a TableModel"):
        compress(table, flow.density)


def test_threads_stay_as_they_were(everything):
    table, model, found = everything
    torch.set_num_threads(2)
    try:
        same(decompress(found.data, model), table)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_commands(tmp_path):
    table = pa.table({name: columns()[name] for name in ("text", "rain", "wide")})
    write_table(table, tmp_path / "table.parquet")
    ab.save(model_of(table), tmp_path / "model.safetensors")
    options = ["-m", tmp_path / "model.safetensors", "-o"]
    done = run("compress", tmp_path / "table.parquet", *options, tmp_path / "rows.ab", "--precision", "rain=0.01")
    assert done.exit_code == 0, done.output
    assert "bits a row" in done.stdout and "Parquet" in done.stdout and "compressed 150 rows" in done.stderr
    done = run("decompress", tmp_path / "rows.ab", *options, tmp_path / "again.parquet")
    assert done.exit_code == 0, done.output
    again = read_table(tmp_path / "again.parquet")
    same(again.drop_columns(["rain"]), table.drop_columns(["rain"]))
    assert not again["rain"].equals(table["rain"])


def test_commands_say_what_is_wrong_and_write_nothing(tmp_path):
    table = pa.table({"a": [1, 2, 3] * 5, "b": [0.25, 0.5, 0.75] * 5})
    write_table(table, tmp_path / "table.parquet")
    ab.save(model_of(table), tmp_path / "model.safetensors")
    (tmp_path / "other.ab").write_bytes(b"other")
    options = ["-m", tmp_path / "model.safetensors", "-o", tmp_path / "out.parquet"]
    for done, said in (
        (run("decompress", tmp_path / "other.ab", *options), "other.ab: not a file that 'anabranch compress' wrote"),
        (run("decompress", tmp_path / "none.ab", *options), "none.ab"),
        (run("compress", tmp_path / "table.parquet", *options, "--precision", "c=1"), "--precision: expected columns"),
        (run("compress", tmp_path / "table.parquet", *options, "--precision", "b=x"), "--precision: expected columns"),
    ):
        assert done.exit_code == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.output
        assert not (tmp_path / "out.parquet").exists()
    same_file = ["-m", tmp_path / "model.safetensors", "-o", tmp_path / "table.parquet"]
    assert "is the table itself" in run("compress", tmp_path / "table.parquet", *same_file).stderr


# the network sees what its family reads of a number: levels one by one, bits and scaled numbers as they are
EVENTS = {
    "levels": lambda: Autoregressive(Levels(5), MaskedMLP(12, outputs=5, channels=5)),
    "many levels": lambda: Autoregressive(Levels(300), FiniteMemory(6, outputs=300, channels=32)),
    "bits": lambda: Autoregressive(Bernoulli(), PixelCNN((4, 3), outputs=1), order=list(range(11, -1, -1))),
    "logistics": lambda: Autoregressive(DiscretizedLogistics(256, 3), CausalConvolution(8, outputs=9, channels=1)),
    "colours": lambda: Autoregressive(SubPixels(256, 3, 2), PixelCNN((3, 2), outputs=20, channels=3), None, (3, 3, 2)),
    "channels": lambda: Autoregressive(SeparateChannels(Levels(3), 2), Recurrent(5, outputs=6, channels=6)),
    "labels": lambda: Autoregressive(Levels(5), MaskedMLP(12, outputs=5, channels=5, context=3)),
}


@pytest.mark.parametrize("name", EVENTS)
def test_events_come_back_in_as_many_bits_as_they_surprise(name):
    with ab.draws.drawing(0):
        model = EVENTS[name]()
        most = model.support.family.ends()[1]
        model.initialize(torch.rand(50, *model.event_shape).mul(most).round())
        for parameter in model.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    context = None if model.context_shape is None else torch.eye(3)[torch.arange(90) % 3]
    assert model.training  # as a model is that was just made or loaded
    with torch.no_grad():
        model.eval()
        x = model.sample((90,) if context is None else (), context, generator=1).numpy()
        told = -float(model.log_prob(x, context).double().sum()) / np.log(2)
    x = x.astype(np.uint16)
    model.train()
    found = compress_array(x, model, context)
    again = decompress_array(found.data, model, context)
    assert again.dtype == x.dtype and np.array_equal(again, x)
    assert model.training and found.model_bits == pytest.approx(told, rel=1e-4)
    assert -8 < 8 * (len(found.data) - found.described) - told < 0.001 * told + 64
    assert found.described < 200


def test_what_a_model_drops_while_it_learns_is_not_dropped():
    class Dropping(MaskedMLP):
        def step(self, state, x_previous):
            y, state = super().step(state, x_previous)
            return torch.nn.functional.dropout(y, 0.5, self.training), state

    model = Autoregressive(Levels(5), Dropping(12, outputs=5, channels=5))
    x = np.random.default_rng(0).integers(0, 5, (30, 12))
    assert np.array_equal(decompress_array(compress_array(x, model).data, model), x) and model.training


def test_events_in_several_blocks_none_and_others(monkeypatch):
    model = EVENTS["labels"]()
    context = torch.eye(3)[torch.arange(90) % 3]
    x = np.random.default_rng(0).integers(0, 5, (90, 12)).astype(np.float32)
    monkeypatch.setattr("anabranch.compression.autoregressive._FEWEST", 40)
    monkeypatch.setattr("anabranch.compression.autoregressive._ROWS", 40)
    data = compress_array(x, model, context).data
    monkeypatch.undo()
    assert len(Container.from_bytes(data).checks) == 3
    assert np.array_equal(decompress_array(data, model, context), x)
    none = decompress_array(compress_array(x[:0], model, context[:0]).data, model, context[:0])
    assert none.shape == (0, 12) and none.dtype == np.float32
    with pytest.raises(ValueError, match="another context"):
        decompress_array(data, model, context.flip(0))
    with pytest.raises(ValueError, match="another model"):
        decompress_array(data, EVENTS["levels"]())
    for call, said in (
        (lambda: compress_array(x, model), r"context: expected shape \(rows, 3\), got none"),
        (lambda: compress_array(x + 0.5, model, context), "expected whole numbers from 0 to 4, got .* in row 0"),
        (lambda: compress_array(x - 1, model, context), "expected whole numbers from 0 to 4, got -1.0 in row"),
        (lambda: compress_array(np.where(x == 4, np.nan, x), model, context), "got nan in row"),
        (lambda: compress_array(x[:, :3], model, context), r"expected shape \(rows, 12\), got \(90, 3\)"),
        (lambda: compress_array(x, model, context[:5]), "expected a row for each of 90 events, got 5"),
        (
            lambda: compress_array(x, Autoregressive(Logistics(2), MaskedMLP(12, outputs=6, channels=13))),
            "whole numbers",
        ),
        (lambda: compress_array(x, ab.densities.Normal.standard(2)), "expected a models.Autoregressive"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_commands_take_arrays(tmp_path):
    model = EVENTS["colours"]()
    x = np.random.default_rng(0).integers(0, 256, (20, 3, 3, 2), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=x)
    ab.save(model, tmp_path / "model.safetensors")
    options = ["-m", tmp_path / "model.safetensors", "-o"]
    done = run("compress", tmp_path / "x.npz", *options, tmp_path / "x.ab")
    assert done.exit_code == 0 and "bytes, xz" in done.stdout, done.output
    done = run("decompress", tmp_path / "x.ab", *options, tmp_path / "again.npy")
    assert done.exit_code == 0, done.output
    assert np.array_equal(np.load(tmp_path / "again.npy"), x)
    assert run("decompress", tmp_path / "x.ab", *options, tmp_path / "again.csv").exit_code == 2
    np.savez(tmp_path / "two.npz", a=x, b=x)
    assert "expected an array named 'x'" in run("compress", tmp_path / "two.npz", *options, tmp_path / "y.ab").stderr


@pytest.mark.slow
def test_other_instructions_give_the_same_rows_or_a_refusal(tmp_path):
    table = pa.table({name: columns(2000)[name] for name in ("text", "rain", "wide", "real", "bent")})
    write_table(table, tmp_path / "table.parquet")
    ab.save(model_of(table), tmp_path / "model.safetensors")
    program = "from anabranch.cli import main; main()"
    options = ["-m", str(tmp_path / "model.safetensors"), "-o"]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    write = [sys.executable, "-c", program, "compress", str(tmp_path / "table.parquet"), *options]
    subprocess.run([*write, str(tmp_path / "rows.ab")], env=here, check=True, capture_output=True)
    read = [sys.executable, "-c", program, "decompress", str(tmp_path / "rows.ab"), *options]
    there = {**here, "ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run([*read, str(tmp_path / "a.parquet")], env=there, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        same(read_table(tmp_path / "a.parquet"), table)
    else:
        assert done.returncode == 2 and "refused" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        assert not (tmp_path / "a.parquet").exists()


def test_without_constriction_one_line_says_what_to_install(everything, monkeypatch):
    table, model, found = everything
    monkeypatch.setitem(sys.modules, "constriction", None)
    for call in (lambda: compress(table, model), lambda: decompress(found.data, model)):
        with pytest.raises(ValueError, match=r'pip install "anabranch\[compress\]"'):
            call()
