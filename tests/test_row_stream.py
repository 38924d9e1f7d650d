"""Fits to rows that do not lie in memory: like those to rows that do."""

from dataclasses import replace

import pytest
import torch

import anabranch as ab
from anabranch.objectives import Annihilation, Completion, Consistency, Information, Likelihood, LowerBound
from anabranch.testing import randomize
from anabranch.training import Rows, RowStream
from anabranch.training.changes import spread
from anabranch.training.part import Part


class Memory(RowStream):
    """Rows in memory as a stream that deals them as a fit deals rows in memory."""

    def __init__(self, x, **others):
        self.rows = Rows(x, others.pop("context", None), torch.arange(len(x)), **others)
        self.labelled = self.rows.labels is not None

    def __len__(self):
        return len(self.rows)

    def batches_of(self, size, generator):
        order = torch.randperm(len(self), generator=generator)
        for index in order.tensor_split(-(-len(self) // size)):
            yield self.rows.take(index)


def rows(count=200, features=2):
    return 3 + 2 * torch.randn(count, features, generator=torch.Generator().manual_seed(0))


def mixture():
    with ab.drawing(0):
        components = [ab.densities.Normal.standard(2) for _ in range(3)]
        posterior = ab.networks.MLP(2, 3, hidden=(8,))
        return randomize(ab.FlowMixture(components, heads="affine", posterior=posterior), 0.3)


def normal():
    return ab.densities.Normal(torch.zeros(2), learnable=True)


QUICK = {"epochs": 4, "batch_size": 60, "validation": 0, "seed": 0, "progress": False}
LABELS = torch.arange(200) % 4 - 1
WEIGHTS = (1.0 + torch.arange(200) % 3) / (1.0 + torch.arange(200) % 3).mean()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"labels": LABELS},
        {"weights": WEIGHTS},
        {"labels": LABELS, "weights": WEIGHTS, "objective": lambda: Likelihood(labels_until=0.5) + Information()},
        {"objective": lambda: 2 * Likelihood(temperature=5)},
    ],
    ids=lambda given: ", ".join(given) or "rows",
)
def test_the_same_fit_as_that_of_rows_in_memory(given):
    given = dict(given)
    objective = given.pop("objective", lambda: None)
    one, other = mixture(), mixture()
    first = ab.fit(one, rows(), objective=objective(), **given, **QUICK)
    second = ab.fit(other, Memory(rows(), **given), objective=objective(), **QUICK)
    assert [record.loss for record in first.epochs] == [record.loss for record in second.epochs]
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_noise_is_in_units_of_each_column():
    x = rows() * torch.tensor([1.0, 1e3]) + torch.tensor([0.0, 1e6])
    for given in (Memory(x), Part(Memory(x).rows)):
        torch.testing.assert_close(spread(given), x.std(dim=0, correction=0))
    x[::3, 1] = torch.nan
    for given in (Memory(x), Part(Memory(x).rows)):
        torch.testing.assert_close(spread(given)[1], x[:, 1][~x[:, 1].isnan()].std(correction=0))
    one, other, without = normal(), normal(), normal()
    ab.fit(one, rows(), noise=0.5, **QUICK)
    ab.fit(other, Memory(rows()), noise=0.5, **QUICK)
    ab.fit(without, Memory(rows()), **QUICK)
    torch.testing.assert_close(one.theta.loc, other.theta.loc)
    assert not torch.equal(other.theta.loc, without.theta.loc)


def test_consistency_by_noise_goes_by_the_batch_and_completion_by_draws_of_each_step():
    history = ab.fit(mixture(), Memory(rows()), objective=Likelihood() + Consistency(0.1), **QUICK)
    assert history.epochs[-1].step == 16
    x = rows(features=3)
    x[::2, 1] = torch.nan
    with ab.drawing(0):
        model = ab.models.AnyOrder(3, hidden=8)
    objective = Completion()
    assert ab.fit(model, Memory(x), objective=objective, **QUICK).epochs[-1].step == 16
    assert objective.settled
    assert ab.fit(model, Memory(x), objective=objective, **QUICK | {"epochs": 1}).epochs[-1].step == 4


@pytest.mark.parametrize(
    ("objective", "message"),
    [(Completion(), "one that completes rows"), (LowerBound(), "one with a posterior network")],
)
def test_objectives_for_another_density(objective, message):
    with pytest.raises(ValueError, match=f"density: expected {message}"):
        ab.fit(normal(), Memory(rows()), objective=objective, **QUICK)


def test_augmented_rows_and_a_checkpoint(tmp_path):
    def shifted(x, generator):
        return x + torch.rand(x.shape, generator=generator)

    one, other = normal(), normal()
    options = {"augment": shifted, "noise": 0.1, **QUICK}
    ab.fit(one, Memory(rows()), checkpoint=tmp_path / "fit.ckpt", **options)
    ab.fit(other, Memory(rows()), checkpoint=tmp_path / "fit.ckpt", **options)
    assert torch.equal(one.theta.loc, other.theta.loc)


class Needy(Likelihood):
    """One that looks at all rows before the first step."""

    reads_rows = True


@pytest.mark.parametrize(
    ("stream", "options", "message"),
    [
        ({}, {"objective": Likelihood() + Annihilation()}, "in memory with Annihilation, which looks at all of them"),
        ({}, {"objective": Consistency("neighbours")}, "in memory with Consistency, which looks"),
        ({}, {"objective": Needy()}, "in memory with Needy, which looks"),
        ({}, {"labels": LABELS}, "labels: expected None with a stream of rows, whose batches hold them"),
        ({}, {"weights": WEIGHTS}, "weights: expected None with a stream of rows"),
        ({}, {"background": True}, "x: expected rows in memory with background"),
        ({}, {"validation": 0.1}, "validation: expected rows, or 0, with a stream"),
        ({"labels": LABELS}, {"objective": Information()}, "objective: expected one that uses the labels"),
        (
            {"labels": LABELS + 5},
            {},
            "labels: expected numbers from -1 .* in a batch of the stream, whose first is row",
        ),
        ({"weights": WEIGHTS - WEIGHTS[0]}, {}, "weights: expected finite numbers above 0, got 0.0 in row"),
        (
            {"weights": WEIGHTS * 3},
            {},
            "weights: expected a mean of one over all rows of the stream, got 3; divide by it",
        ),
        ({"context": torch.ones(200, 1)}, {}, "context: expected None"),
    ],
)
def test_what_does_not_go_with_a_stream(stream, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        ab.fit(mixture(), Memory(rows(), **stream), **QUICK | options)
    assert "\n" not in str(caught.value)


class Spoiled(Memory):
    """A stream whose batches another function changes."""

    def __init__(self, change, **others):
        super().__init__(rows(), **others)
        self.change = change

    def batches_of(self, size, generator):
        return map(self.change, super().batches_of(size, generator))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: replace(batch, x=batch.x / 0), "x: expected finite numbers, got inf in row 0, column 0"),
        (lambda batch: replace(batch, x=batch.x[:, :1]), r"x: expected shape \(\.\.\., 2\)"),
        (lambda batch: replace(batch, x=batch.x.double()), "x: expected dtype torch.float32"),
        (lambda batch: replace(batch, numbers=batch.numbers[:2]), "numbers: expected one for each of the 50 rows"),
        (lambda batch: replace(batch, weights=torch.ones(3)), "weights: expected one for each of the 50 rows"),
        (
            lambda batch: replace(batch, labels=LABELS[:50]),
            "labels: expected none, since `labelled` is False, got labels",
        ),
        (lambda batch: batch.x, "x: expected a stream of batches that are Rows, got a Tensor"),
    ],
)
def test_batches_that_are_no_rows_for_the_density(change, message):
    with pytest.raises(ValueError, match=message):
        ab.fit(mixture(), Spoiled(change), **QUICK)


def test_labels_that_are_missing():
    with pytest.raises(ValueError, match="labels: expected labels, got none; in a batch of the stream"):
        ab.fit(mixture(), Spoiled(lambda batch: replace(batch, labels=None), labels=LABELS), **QUICK)
