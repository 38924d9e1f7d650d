"""The single best value for a gap, in the unit of its column."""

import datetime
import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from anabranch.densities import Normal
from anabranch.models import AnyOrder
from anabranch.tables import Schema, TableModel
from anabranch.tables.columns import Bounded, Categorical, Column, Continuous, Integer, Ordinal, Positive, Time


def model_of(part: Column, theta: list[float]) -> TableModel:
    """A model of a column with parameters theta, whatever is known of another."""
    schema = Schema([part, Continuous("other", 0.0, 1.0)])
    density = AnyOrder(schema.families(), hidden=4, blocks=1)
    with torch.no_grad():
        density.network.heads.weight.zero_()
        density.network.heads.bias[: len(theta)] = torch.tensor(theta)
    return TableModel(schema, density)


def logistics(loc: float, log_scale: float, components: int = 8) -> list[float]:
    """Parameters of that many equal logistics."""
    raw = math.log(math.expm1(log_scale + 7)) - 7  # log s = -7 + softplus(raw + 7)
    return [0.0] * components + [loc] * components + [raw] * components


def filled(model: TableModel, best: str = "mean") -> object:
    name, kind = model.schema.columns[0], model.schema.parts[0].arrow_type
    result = model.impute(pa.table({name: pa.nulls(2, kind), "other": [0.5, -1.0]}), best=best)
    assert result.column("other").to_pylist() == [0.5, -1.0]
    values = result.column(0).to_pylist()
    assert values[0] == values[1]
    return values[0]


def test_mean_of_a_logarithm_is_that_of_values() -> None:
    s = 0.3
    model = model_of(Positive("price", loc=1.0, scale=2.0), logistics(0.0, math.log(s / 2.0)))
    # E exp(1 + s T) of a standard logistic T
    exact = math.e * math.pi * s / math.sin(math.pi * s)
    assert filled(model) == pytest.approx(exact, rel=5e-3)
    assert filled(model, "median") == pytest.approx(math.e, rel=1e-4)


def test_tail_without_a_mean() -> None:
    value = filled(model_of(Positive("price", loc=0.0, scale=1.0), logistics(0.0, math.log(1.5))))
    assert isinstance(value, float)
    assert 1.0 < value < 1e4


def test_mean_of_bent_and_bounded() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.logistic(0.4, 0.5, 400_000)
    for part in (Continuous("x", loc=3.0, scale=2.0, bend=0.8), Bounded("x", low=0.0, high=1.0)):
        exact = np.asarray(part.decode(drawn)).mean()
        assert filled(model_of(part, logistics(0.4, math.log(0.5)))) == pytest.approx(exact, rel=2e-2)


def test_atoms_have_their_share() -> None:
    part = Positive("rain", loc=0.0, scale=1.0, atoms=[0.0])
    quarter = [math.log(0.25), math.log(0.75)]
    assert filled(model_of(part, quarter + logistics(0.0, -6.0))) == pytest.approx(0.25, rel=1e-3)


def test_whole_numbers_and_ordered_levels_are_next_to_the_mean() -> None:
    part = Integer("children", loc=0.0, scale=1.0)
    assert filled(model_of(part, logistics(2.4, -4.0))) == 2
    assert filled(model_of(part, logistics(2.6, -4.0))) == 3
    # the most probable level is 0, the mean 4.5: 5 is nearer than 0 or 10
    grade = Ordinal("grade", [0, 5, 10])
    assert filled(model_of(grade, [math.log(p) for p in (0.5, 0.1, 0.4)])) == 5


def test_categories_and_times() -> None:
    cut = Categorical("cut", ["fair", "good", "ideal"])
    assert filled(model_of(cut, [math.log(p) for p in (0.4, 0.25, 0.35)])) == "fair"
    days = pa.array([datetime.date(2024, 1, 1), datetime.date(2024, 1, 31), datetime.date(2024, 3, 1)])
    day = filled(model_of(Time.infer("day", days), logistics(0.0, -6.0)))
    assert isinstance(day, datetime.date)
    assert datetime.date(2024, 1, 25) < day < datetime.date(2024, 2, 8)


def test_other_densities() -> None:
    schema = Schema([Continuous("a", loc=10.0, scale=2.0), Continuous("b", 0.0, 1.0)])
    model = TableModel(schema, Normal(torch.tensor([1.0, 0.0])))
    result = model.impute(pa.table({"a": pa.nulls(1, pa.float64()), "b": [0.3]}), best=True)
    assert result.column("a").to_pylist() == pytest.approx([12.0])
