"""The steps of a fit to a table, each by itself."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from anabranch.densities import Normal
from anabranch.models import AnyOrder, DepthMixture, Flow
from anabranch.tables import Schema, TableModel
from anabranch.tables.architecture import Architecture
from anabranch.tables.columns import Continuous
from anabranch.tables.prepared import prepare
from anabranch.training import Epoch
from anabranch.training.pace import ANY_ORDER, FLOWS
from anabranch.training.watch import Watch

SCHEMA = Schema([Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0)])
ROWS = np.array([[np.nan, 0.0], [1.0, 2.0]])


def chosen(model, structure="autoregressive", blocks=None, hidden=None, bins=8, orders=1):
    return Architecture.chosen(model, structure, blocks, hidden, bins, orders)


class TestArchitecture:
    def test_defaults_are_those_of_the_model(self):
        assert chosen("any-order").options == {"model": "any-order", "blocks": 2, "hidden": 256}
        flow = {"model": "flow", "structure": "autoregressive", "blocks": 5, "hidden": [128, 128], "bins": 8}
        assert chosen("flow").options == flow
        assert chosen("any-order").pace is ANY_ORDER
        assert chosen("depth").pace is FLOWS

    def test_words(self):
        assert chosen("any-order", blocks=1, hidden=16).words == "any order, 1 residual block of 16"
        assert chosen("depth", "coupling", 3).words == "depth mixture of 3 spline coupling blocks"

    @pytest.mark.parametrize(("model", "kind"), [("any-order", AnyOrder), ("depth", DepthMixture), ("flow", Flow)])
    def test_what_is_built(self, model, kind):
        architecture = chosen(model, blocks=1, hidden=8)
        built = architecture.build(SCHEMA, ROWS, seed=0)
        assert type(built) is kind
        assert built.event_shape == (2,)
        again = architecture.build(SCHEMA, ROWS, seed=0)
        assert all(torch.equal(a, b) for a, b in zip(built.parameters(), again.parameters(), strict=True))
        other = architecture.build(SCHEMA, ROWS, seed=1)
        assert not all(torch.equal(a, b) for a, b in zip(built.parameters(), other.parameters(), strict=True))

    def test_the_fullest_column_comes_first(self):
        assert chosen("any-order", hidden=8).build(SCHEMA, ROWS, seed=0).order == [1, 0]

    def test_orders_of_a_flow(self):
        with pytest.raises(ValueError, match="orders: expected 1 with model='flow', which has no orders, got 2"):
            chosen("flow", orders=2)


def test_prepared_rows_are_tensors_of_the_density_dtype():
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.normal(size=60), "b": rng.normal(size=60), "c": rng.normal(size=60)})
    prepared = prepare(table, ["a", "b"], ["c"], None, "flow", 0)
    x, context = prepared.tensors(prepared.split[2], torch.zeros((), dtype=torch.float64))
    assert (x.dtype, context.dtype) == (torch.float64, torch.float64)
    np.testing.assert_array_equal(x, prepared.x[prepared.split[2]])
    np.testing.assert_array_equal(context, prepared.context[prepared.split[2]])
    assert prepared.tensors(prepared.split[1], None)[0].dtype == torch.float32


def epoch(validation):
    return Epoch(epoch=1, step=1, loss=0.0, validation=validation, learning_rate=0.01, seconds=0.0, passes=1.0)


def model():
    return TableModel(SCHEMA, Normal.standard(2))


class TestWhatEndsAFit:
    @pytest.mark.parametrize(
        ("records", "there"), [([], False), ([np.inf], False), ([np.inf, 2.0], True), ([None], True)]
    )
    def test_it_takes_the_model_along_once_a_step_has_led_to_one(self, records, there):
        watch = Watch(model)
        for validation in records:
            watch(epoch(validation))
        with pytest.raises(KeyboardInterrupt) as caught, watch.handed_on():
            raise KeyboardInterrupt
        assert hasattr(caught.value, "model") is there

    def test_the_callback_ends_it(self):
        assert (
            Watch(lambda: TableModel(SCHEMA, Normal.standard(2)), lambda record: record.validation < 3)(epoch(2.0))
            is True
        )
