"""Answers of one joint: they agree with it, and with each other."""

import itertools
import math

import pytest
import torch

import anabranch as ab
from anabranch.families import Lattice, Levels, Logistics
from anabranch.models import AnyOrder, Subset
from anabranch.queries import Interval, Plain, ask, expectation, impute, probability, quantile
from anabranch.queries.any_order_rows import any_order_rows
from anabranch.queries.inquiry import Inquiry


def _model(families, order=None, seed=0, spread=0.25, **options):
    """Random weights, large enough for orders to disagree."""
    torch.manual_seed(seed)
    model = AnyOrder(families, hidden=16, order=order, **options)
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    return model.double()


@pytest.fixture(scope="module")
def levels():
    """Three columns of levels, whose joint can be written out."""
    return _model([Levels(2), Levels(3), Levels(4)], order=[2, 0, 1])


def _table(model):
    """All rows and their probabilities."""
    counts = [model.family(i).count for i in range(model.columns)]
    x = torch.tensor(list(itertools.product(*map(range, counts))), dtype=torch.float64)
    with torch.no_grad():
        return x, model.log_prob(x).exp()


@pytest.fixture(scope="module")
def mixed():
    return _model(
        [Logistics(2), Levels(3), Lattice(1.0, low=0.0, high=5.0, components=2), Logistics(2)], [2, 3, 1, 0], 1
    )


def test_joint_is_in_its_order(levels):
    x, p = _table(levels)
    assert p.sum() == pytest.approx(1.0)
    assert torch.allclose(p.log(), levels.terms(x, [2, 0, 1]).sum(dim=-1))
    # by default every term is at its column's place
    assert torch.allclose(levels.terms(x)[:, [2, 0, 1]], levels.terms(x, [2, 0, 1]))


@pytest.mark.parametrize("columns", [[0], [1], [2], [1, 0], [0, 2]])
def test_marginals_are_sums_of_the_joint(levels, columns):
    x, p = _table(levels)
    part = Subset(levels, columns, samples=4096)
    rows = x[:, columns].unique(dim=0)
    wanted = torch.stack([p[(x[:, columns] == row).all(dim=1)].sum() for row in rows]).log()
    log_p, error = part.estimate(rows)
    assert (log_p - wanted).abs().le(4 * error + 1e-9).all()
    assert bool((error == 0).all()) == part.closed == (sorted(columns) in ([2], [0, 2]))


def test_conditionals_are_quotients_of_the_joint(levels):
    x, p = _table(levels)
    given = (x[:, 1] == 2) & (x[:, 2] == 1)
    wanted = torch.stack([p[given & (x[:, 0] == k)].sum() for k in range(2)]) / p[given].sum()
    part = levels.conditional([1, 2], [2.0, 1.0])
    log_p, error = part.estimate([[0.0], [1.0]])
    assert ((log_p - wanted.log()).abs() <= 4 * error).all()
    assert log_p[0] - log_p[1] == pytest.approx(float(wanted[0].log() - wanted[1].log()))
    torch.manual_seed(0)
    share = (part.sample((20_000,)) == 1).double().mean()
    assert abs(float(share - wanted[1])) < 0.02
    # the values as a context
    of_context = levels.conditional([1, 2])
    assert float(of_context.log_prob([[1.0]], [[2.0, 1.0]]).detach()) == pytest.approx(float(log_p[1]), abs=0.05)
    drawn = of_context.sample((), torch.tensor([[2.0, 1.0]]).double().expand(20_000, -1))
    assert abs(float((drawn == 1).double().mean() - wanted[1])) < 0.02


def test_answers_are_those_of_the_joint(levels):
    x, p = _table(levels)
    for region, given in (
        ({0: 1}, {}),
        ({1: 2}, {}),
        ({1: 2}, {0: 1}),
        ({0: 1, 2: 3}, {1: 0}),
        ({2: 3}, {0: 0, 1: 1}),
    ):
        of = lambda told: torch.stack([x[:, i] == v for i, v in told.items()]).all(0) if told else x[:, 0] > -1  # noqa: E731
        wanted = float(p[of(region) & of(given)].sum() / p[of(given)].sum())
        found = probability(levels, region, given, samples=20_000, seed=0)
        assert abs(float(found.value) - wanted) <= 4 * float(found.standard_error) + 1e-6, (region, given)
    mean = expectation(levels, "mean", {1: 2}, columns=[0, 2], samples=20_000, seed=0)
    given = x[:, 1] == 2
    wanted = (p[given].unsqueeze(-1) * x[given][:, [0, 2]]).sum(dim=0) / p[given].sum()
    assert ((mean.value - wanted).abs() <= 4 * mean.standard_error + 1e-6).all()


def test_columns_of_levels_that_come_first_are_exact(levels):
    x, p = _table(levels)
    found = probability(levels, {0: 1, 2: 3}, seed=0)
    assert found.exact
    assert float(found.value) == pytest.approx(float(p[(x[:, 0] == 1) & (x[:, 2] == 3)].sum()), abs=1e-9)


def test_probabilities_are_coherent_to_rounding(mixed):
    """Names change places, a question splits, categories and ranges add up."""
    inquiry = Inquiry(mixed, samples=2_000)
    one, low, high = Interval(1.0, 1.0), Interval(high=0.2), Interval(low=0.2, low_included=False)
    value = lambda *asked: float(inquiry.probability(*asked).value)  # noqa: E731
    assert value({1: one, 0: high}) == pytest.approx(value({0: high, 1: one}), abs=1e-12)
    assert value({1: one, 0: high}) == pytest.approx(value({0: high}, {1: one}) * value({1: one}), rel=1e-9)
    assert value({1: one, 0: high}) == pytest.approx(value({1: one}, {0: high}) * value({0: high}), rel=1e-9)
    for given in ({}, {3: Interval(0.4, 0.4)}, {2: Interval(2.0, 2.0)}, {3: Interval(low=0.0)}):
        summed = sum(value({1: Interval(k, k), 0: high}, given) for k in (0.0, 1.0, 2.0))
        assert summed == pytest.approx(value({0: high}, given), rel=1e-9)
        assert value({0: high}, given) + value({0: low}, given) == pytest.approx(1.0)
    # values that have a density are told first
    log = lambda *asked: float(inquiry.log_density(*asked).value)  # noqa: E731
    assert log({3: 0.4, 1: 1.0}, {2: one}) == pytest.approx(log({1: 1.0, 3: 0.4}, {2: one}), abs=1e-12)
    split = log({3: 0.4}, {2: one}) + log({1: 1.0}, {2: one, 3: Interval(0.4, 0.4)})
    assert log({3: 0.4, 1: 1.0}, {2: one}) == pytest.approx(split, abs=1e-9)
    summed = sum(math.exp(log({3: 0.4, 1: k}, {2: one})) for k in (0.0, 1.0, 2.0))
    assert summed == pytest.approx(math.exp(log({3: 0.4}, {2: one})), rel=1e-9)


@pytest.mark.slow
def test_integrals_agree_with_a_finer_one(mixed):
    coarse = Inquiry(mixed, samples=4_000, seed=1)
    fine = Inquiry(mixed, samples=100_000, seed=2)
    told = {0: Interval(0.3, 0.3)}  # comes last in the order
    for ask_of in (
        lambda q: q.probability({3: Interval(low=0.1), 1: Interval(2.0, 2.0)}, told),
        lambda q: q.mean(lambda x: x[:, 3], [3], told),
        lambda q: q.log_density({3: 0.2}, told),
        lambda q: q.quantile(3, torch.tensor([0.3]), told).shaped(torch.Size([])),
    ):
        a, b = ask_of(coarse), ask_of(fine)
        assert abs(float(a.value - b.value)) <= 4 * math.hypot(float(a.standard_error), float(b.standard_error))
        assert float(b.standard_error) < float(a.standard_error)


def test_orders_that_disagree_say_so(mixed):
    found = Inquiry(mixed, samples=8_000).probability({3: Interval(low=0.1)}, {0: Interval(0.3, 0.3)})
    direct = Subset(mixed, [3], [0], [0.3])  # its network's answer, which is another order's
    theta = mixed.parameters_given(torch.tensor([0.3, torch.nan, torch.nan, torch.nan]).double(), 3)
    other = 1 - float(mixed.family(3).below(torch.tensor(0.1).double(), theta.detach())[0])
    assert not direct.closed
    assert float(found.between_orders) > 0.3 * abs(other - float(found.value)) > 0.01


def test_other_orders_have_random_numbers_of_their_own():
    model = AnyOrder([Logistics(2), Logistics(2)], hidden=8).double()
    with torch.no_grad():
        model.network.heads.weight.zero_()  # independent columns, so that the same numbers make the same rows
    inquiry = Inquiry(model, samples=400)
    rows = inquiry._drawn({}, inquiry._mask([0]), 400)
    for other, _ in inquiry._other_orders([0], {}, {}, 400):
        assert not bool(torch.isin(other.x[:, 0], rows.x[:, 0]).any())


def _imputed_table(levels):
    """A row with gaps on both sides of what was observed, and what the joint says of each."""
    x, p = _table(levels)
    given = (x[:, 1] == 2) & (x[:, 0] == 1)
    return torch.tensor([[1.0, 2.0, math.nan]]).double(), torch.stack(
        [p[given & (x[:, 2] == k)].sum() for k in range(4)]
    ) / p[given].sum()


def test_imputed_draws_are_nearly_those_of_the_joint():
    levels = _model([Levels(2), Levels(3), Levels(4)], order=[2, 0, 1], seed=10, spread=0.16)
    row, wanted = _imputed_table(levels)
    filled = impute(levels, row, draws=4_000, seed=0)[:, 0, 2]
    shares = torch.bincount(filled.long(), minlength=4) / len(filled)
    direct = levels.parameters_given(row, 2).detach().softmax(dim=-1)[0]
    assert float((direct - wanted).abs().max()) > 0.1
    assert float((shares - wanted).abs().max()) < 0.04


def test_a_single_best_is_that_of_the_joint():
    levels = _model([Levels(2), Levels(3), Levels(4)], order=[2, 0, 1], seed=10, spread=0.16)
    row, wanted = _imputed_table(levels)
    direct = levels.parameters_given(row, 2).detach().softmax(dim=-1)[0]
    assert int(wanted.argmax()) != int(direct.argmax())
    assert float(impute(levels, row, best=True)[0, 2]) == int(wanted.argmax())
    # of numbers, in any company, with another gap in the row
    model = _model([Logistics(2), Logistics(2), Logistics(2)], [0, 1, 2], seed=5, spread=0.15)
    rows = torch.tensor([[math.nan, math.nan, 1.5], [math.nan, 0.3, 1.5], [0.2, 0.1, math.nan]]).double()
    inquiry, told = Inquiry(model, samples=40_000), {2: Interval(1.5, 1.5)}
    deviation = float(inquiry.mean(lambda x: (x[:, 0] - x[:, 0].mean()).square(), [0], told).value) ** 0.5
    theta = model.parameters_given(rows[:1], 0).detach()
    for kind in ("mean", "median"):
        best = impute(model, rows, best=kind)
        if kind == "mean":
            wanted, direct = inquiry.mean(lambda x: x[:, 0], [0], told), model.family(0).mean(theta)
        else:
            wanted = inquiry.quantile(0, torch.tensor([0.5]), told)
            direct = model.family(0).quantile(torch.tensor([0.5]).double(), theta)
        error = 0.04 * deviation + 4 * float(wanted.standard_error)
        assert abs(float(best[0, 0]) - float(wanted.value)) < error < abs(float(direct) - float(wanted.value))
        assert torch.allclose(impute(model, rows[:1], best=kind)[0], best[0])
    # what comes next after all that was observed is exact
    assert float(best[2, 2]) == pytest.approx(
        float(model.family(2).quantile(torch.tensor(0.5).double(), model.parameters_given(rows[2], 2).detach()))
    )


def test_errors_are_what_answers_differ_by(mixed):
    found = [
        Inquiry(mixed, samples=500, seed=k).probability({0: Interval(low=0.3)}, {3: Interval(0.1, 0.1)})
        for k in range(0, 30)
    ]
    values = torch.stack([one.value for one in found])
    said = torch.stack([one.standard_error for one in found]).mean()
    assert 0.6 < float(values.std() / said) < 1.5


def test_impossible_values(mixed):
    inquiry = Inquiry(mixed, samples=500)
    assert float(inquiry.probability({2: Interval(2.5, 2.5)}).value) == 0.0
    assert float(inquiry.probability({0: Interval(0.1, 0.1)}).value) == 0.0  # of a density
    with pytest.raises(ab.queries.QuestionError, match="impossible"):
        ask(mixed, "E[a | c = 9]", Plain(["a", "b", "c", "d"]))
    with pytest.raises(ValueError, match="AnyOrder"):
        Inquiry(ab.densities.Normal.standard(2))


def test_tolerance_takes_more_rows(mixed):
    found = quantile(mixed, 0, 0.5, {1: 1}, samples=500, tolerance=0.05, seed=0)
    assert (
        float(found.standard_error) <= 0.05 < float(quantile(mixed, 0, 0.5, {1: 1}, samples=500, seed=0).standard_error)
    )


def test_rows_given_points_are_the_same_whatever_is_needed(mixed):
    few = any_order_rows(mixed, {3: 0.4}, torch.tensor([False, False, True, False]), 500)
    all_ = any_order_rows(mixed, {3: 0.4}, torch.ones(4, dtype=torch.bool), 500)
    assert torch.equal(few.x[:, 2], all_.x[:, 2])
    assert torch.allclose(few.log_w, all_.log_w)


def test_averaged_orders_are_one_joint():
    model = _model([Levels(2), Levels(3), Levels(2)], orders=3)
    x, p = _table(model)
    assert p.sum() == pytest.approx(1.0)
    for region, given in (({1: 2}, {0: 1}), ({0: 1}, {})):
        found = probability(model, region, given, samples=20_000, seed=0)
        inside = (x[:, list(region)] == torch.tensor(list(region.values()))).all(1)
        told = (
            (x[:, list(given)] == torch.tensor(list(given.values()))).all(1)
            if given
            else torch.ones(len(x), dtype=bool)
        )
        wanted = float(p[inside & told].sum() / p[told].sum())
        assert abs(float(found.value) - wanted) <= 4 * float(found.standard_error) + 1e-6


def test_wrong_orders_are_refused():
    with pytest.raises(ValueError, match="order: expected every number from 0 to 2 once"):
        AnyOrder(3, order=[0, 1, 1])


def test_an_event_that_no_row_is_in_is_not_certain(mixed):
    found = Inquiry(mixed, samples=500).probability({0: Interval(low=1e4)}, {1: Interval(1.0, 1.0)})
    assert float(found.value) == 0.0
    assert 0.001 < float(found.standard_error) < 0.02


def test_weights_that_leave_few_draws_are_told():
    torch.manual_seed(0)
    wild = _model([Levels(3), Logistics(2), Logistics(2)], seed=3, spread=0.6)
    with pytest.warns(ab.queries.QueryWarning, match="draws are worth .* orders disagree on what is given"):
        found = Inquiry(wild, samples=2_000).mean(lambda x: x[:, 0], [0], {2: Interval(1.0, 1.0)})
    assert not found.exact
    assert float(found.effective_samples) < 50
