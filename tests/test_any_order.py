"""Models of any order: the chain rule, gaps, marginals and conditionals, and many passes at once."""

import copy
import itertools
import math

import pytest
import torch

import anabranch as ab
from anabranch.families import Atoms, Lattice, Levels, Logistics
from anabranch.models import AnyOrder, Subset
from anabranch.models.column_network import Walk
from anabranch.models.weighted_completions import resampled, weighted_completions
from anabranch.testing import randomize


@pytest.fixture(autouse=True)
def _gradients_of_fits_alone(request):
    with torch.set_grad_enabled(request.cls is TestFit):
        yield


def mixed(context=0, orders=1, seed=0, agreement=0.1):
    torch.manual_seed(seed)
    families = [
        Logistics(3),
        Levels(3),
        Lattice(0.5, low=-1.0, high=1.0, components=2),
        Atoms(Logistics(2), [0.5]),
        Atoms(Lattice(1.0, low=0.0, components=2), [0.0]),
        Levels(40),
    ]
    return (
        randomize(AnyOrder(families, context, hidden=12, blocks=1, orders=orders, agreement=agreement), scale=0.4)
        .double()
        .eval()
    )


def with_gaps(x, share=0.3, seed=0):
    gaps = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < share
    return torch.where(gaps, torch.nan, x)


def walked(model, x, order, context=None):
    """The chain rule one column after the other, each family by itself."""
    walk = Walk(model.network, x.shape[:-1], context, like=x)
    terms = []
    for i in order:
        log_p = model.family(i).log_prob(x[..., i], walk.theta(i))
        terms.append(torch.where(x[..., i].isnan(), 0.0, log_p))
        walk.reveal(i, x[..., i])
    return torch.stack(terms, dim=-1)


class TestChainRule:
    @pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 3, 1, 0, 2, 4), (2, 5)])
    def test_all_passes_at_once_are_the_passes_one_by_one(self, order):
        model = mixed()
        x = with_gaps(model.sample((50,)))
        torch.testing.assert_close(model.terms(x, order), walked(model, x, order))

    def test_with_a_context_and_few_rows_at_a_time(self, monkeypatch):
        model = mixed(context=2)
        context = torch.randn(9, 2).double()
        x = with_gaps(model.sample((), context))
        want = model.log_prob(x, context)
        torch.testing.assert_close(walked(model, x, range(6), context).sum(-1), want)
        monkeypatch.setattr("anabranch.models.chain_rule._PASSES", 2 * 6)
        torch.testing.assert_close(model.log_prob(x, context), want)
        torch.testing.assert_close(model.log_prob(x[0], context)[0], want[0])

    def test_heads_read_columns_as_they_are_beside_the_network(self):
        model = AnyOrder([Logistics(1), Logistics(1), Levels(3)], hidden=4, blocks=1).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            # the mean of column 1, after the network's 4: x of column 0, its rank, that it is known; then of itself ...
            model.network.heads.weight[4, 4:7] = torch.tensor([2.0, 0.0, 0.5])
            model.network.heads.weight[4, 10:13] = torch.tensor([0.0, 1.0, 3.0])  # ... and of the levels
        x = torch.tensor([[0.7, 0.0, 2.0], [0.7, 0.0, torch.nan], [torch.nan, 0.0, 1.0]]).double()
        loc = model.parameters_given(x, 1)[:, 1]
        torch.testing.assert_close(loc, torch.tensor([1.4 + 0.5 + 3.0, 1.4 + 0.5, 1.0]).double())
        torch.testing.assert_close(model.terms(x, (2, 0, 1))[:, 2], walked(model, x, (2, 0, 1))[:, 2])

    def test_sums_to_one(self):
        torch.manual_seed(0)
        families = [Levels(3), Lattice(1.0, low=0.0, high=2.0, components=2), Levels(2)]
        model = randomize(AnyOrder(families, hidden=8, orders=3), scale=0.5).double()
        points = torch.tensor(list(itertools.product(range(3), range(3), range(2)))).double()
        assert float(model.log_prob(points).exp().sum()) == pytest.approx(1)
        each = model.log_prob_of_orders(points).exp()
        torch.testing.assert_close(each.sum(dim=0), torch.ones(3).double())
        assert float((each[:, 0] - each[:, 1]).abs().max()) > 1e-3  # the orders do differ

    def test_integrates_to_one_over_gaps_atoms_and_levels(self):
        torch.manual_seed(0)
        model = randomize(AnyOrder([Atoms(Logistics(2), [0.3]), Levels(2)], hidden=8), scale=0.5).double()
        grid = torch.linspace(-60, 60, 40_002).double()
        total = 0.0
        for level in (0.0, 1.0):
            rows = torch.stack([grid, torch.full_like(grid, level)], dim=-1)
            total += float(torch.trapezoid(model.log_prob(rows).exp(), grid))
            total += float(model.log_prob(torch.tensor([0.3, level], dtype=torch.float64)).exp())
        assert total == pytest.approx(1, abs=1e-4)


class TestGaps:
    def test_a_gap_is_summed_out_exactly(self):
        torch.manual_seed(0)
        model = randomize(AnyOrder([Levels(3), Levels(4), Logistics(2)], hidden=8), scale=0.5).double()
        # the last columns of the order: whatever lies behind them does not see the gap
        x = model.sample((5,))
        known = x.clone()
        known[:, 2] = torch.nan
        grid = torch.linspace(-60, 60, 20_001).double()
        for row, gap in zip(x, known, strict=True):
            rows = row.repeat(len(grid), 1)
            rows[:, 2] = grid
            total = torch.trapezoid(model.log_prob(rows).exp(), grid).log()
            assert float(total) == pytest.approx(float(model.log_prob(gap)), abs=1e-5)

    def test_of_nothing_at_all(self):
        assert float(mixed().log_prob(torch.full((6,), math.nan).double())) == 0

    def test_gaps_behind_all_else_are_the_marginal(self):
        model = mixed()
        x = model.sample((20,))
        gaps = x.clone()
        gaps[:, [4, 5]] = torch.nan
        rest = [0, 1, 2, 3]
        torch.testing.assert_close(model.log_prob(gaps), model.marginal(rest).log_prob(x[:, rest]))


class TestSubsets:
    def test_conditional_times_marginal_is_the_joint(self):
        model = mixed()
        x = model.sample((20,))
        joint = model.log_prob(x)
        rest = [2, 3, 4, 5]
        marginal = model.marginal([1, 0]).log_prob(x[:, [1, 0]])
        conditional = model.conditional([1, 0]).log_prob(x[:, rest], x[:, [1, 0]])
        torch.testing.assert_close(marginal + conditional, joint)
        for row in x[:3]:
            one = model.conditional([1, 0], row[[1, 0]])
            torch.testing.assert_close(
                one.log_prob(row[rest]) + model.marginal([1, 0]).log_prob(row[[1, 0]]), model.log_prob(row)
            )

    def test_draws_of_a_conditional(self):
        torch.manual_seed(0)
        model = randomize(AnyOrder([Levels(2), Levels(3)], hidden=8), scale=1.0).double()
        given = model.conditional([0], [1.0])
        torch.manual_seed(1)
        drawn = given.sample((20_000,))
        want = given.log_prob(torch.arange(3.0).double().unsqueeze(-1)).exp()
        shares = torch.bincount(drawn[:, 0].long(), minlength=3) / len(drawn)
        assert float((shares - want).abs().max()) < 0.015
        assert float(want.sum()) == pytest.approx(1)

    def test_samples_of_an_exact_conditional_are_all_different(self):
        torch.manual_seed(0)
        given = AnyOrder(3, hidden=8).conditional([0], [0.5])
        assert given.closed
        assert len(given.sample((1000,)).unique(dim=0)) == 1000
        assert len(AnyOrder(3, hidden=8).conditional([0]).sample((), torch.full((1000, 1), 0.5)).unique(dim=0)) == 1000

    def test_samples_chosen_by_uneven_weights_seldom_repeat(self):
        torch.manual_seed(0)
        given = randomize(AnyOrder(3, hidden=8), scale=0.35).double().conditional([2], [1.5])
        assert not given.closed
        row = torch.tensor([[math.nan, math.nan, 1.5]]).double()
        _, log_w = weighted_completions(given.model, row.expand(8000, -1))
        # 8 draws for each of 1,000 are worth fewer than 4
        assert 1 / float(torch.softmax(log_w, dim=0).square().sum()) < 4000
        assert len(given.sample((1000,)).unique(dim=0)) > 950

    def test_resampling_repeats_only_by_weight(self):
        torch.manual_seed(0)
        even = resampled(torch.zeros(50, 2), 50)
        assert even.sort(dim=0).values.T.tolist() == [list(range(50))] * 2
        counts = resampled(torch.tensor([[0.5], [0.25], [0.25]]).log(), 100).flatten().bincount()
        assert counts.tolist() == [50, 25, 25]
        assert resampled(torch.full((4, 1), -math.inf), 1).item() in range(4)

    def test_bad_columns(self):
        model = mixed()
        for wanted, observed in (([], [0]), ([0, 0], []), ([0], [0]), ([6], []), ([-1], [])):
            with pytest.raises(ValueError, match="columns: expected different numbers from 0 to 5"):
                Subset(model, wanted, observed)
        with pytest.raises(ValueError, match="values: expected shape"):
            model.conditional([0, 1], [1.0])

    def test_leave_one_out_is_the_conditional_of_each(self):
        model = mixed()
        x = with_gaps(model.sample((12,)))
        got = model.leave_one_out(x)
        assert torch.equal(got.isnan(), x.isnan())
        for i in range(6):
            theta = model.parameters_given(x, i)
            want = model.family(i).log_prob(x[:, i], theta)
            torch.testing.assert_close(got[:, i], want, equal_nan=True)


class TestFit:
    def test_the_loss_is_the_mean_over_orders(self):
        model = mixed(agreement=0.0).train()
        x = with_gaps(model.sample((4,)), 0.2)
        torch.manual_seed(0)
        with torch.no_grad():
            draws = model.loss(x.expand(4000, *x.shape))
            orders = list(itertools.permutations(range(6)))[::7]
            anywhere = -torch.stack([model.terms(x, order).sum(-1) for order in orders]).mean(0)
            # a quarter of the rows are shown what comes first in the model's order
            firsts = []
            for row in x:
                has = [i for i in model.order if not bool(row[i].isnan())]
                pairs = [(t, i) for t in range(len(has)) for i in has[t:]]
                steps = [-model.terms(row, [i], has[:t]).sum() / (len(has) - t) for t, i in pairs]
                firsts.append(torch.stack(steps).sum())
        want = 0.75 * anywhere + 0.25 * torch.stack(firsts)
        error = draws.std(0) / math.sqrt(4000) + 0.05
        assert bool(((draws.mean(0) - want).abs() < 4 * error).all())

    def test_what_orders_differ_by_is_added(self):
        model = mixed(agreement=1.0).train()
        x = model.sample((2000, 1))
        with torch.no_grad():
            torch.manual_seed(0)
            found = model.loss(x).mean()
            torch.manual_seed(0)
            model._order_loss.agreement = 0.0
            added = float(found - model.loss(x).mean())
            # of all pairs given nothing, and given all others, by the chain rule in both orders
            squares = []
            for i, j in itertools.combinations(range(6), 2):
                for rest in ([], [k for k in range(6) if k not in (i, j)]):
                    one, other = (model.terms(x[:, 0], pair, rest).sum(-1) for pair in ([i, j], [j, i]))
                    squares.append((one - other).clamp(-5, 5).square().mean())
        ends = (torch.stack(squares).reshape(-1, 2).mean(dim=0) * 6).tolist()
        assert 0.5 * min(ends) < added < 1.5 * max(ends)

    def test_rows_that_orders_agree_on_cost_nothing(self):
        model = AnyOrder([Levels(2), Levels(3)], hidden=8, agreement=10.0).double().train()
        with torch.no_grad():
            model.network.heads.weight.zero_()  # independent columns
            x = model.sample((100,))
            torch.manual_seed(0)
            found = model.loss(x)
            model._order_loss.agreement = 0.0
            torch.manual_seed(0)
            torch.testing.assert_close(found, model.loss(x))

    def test_gradients_reach_all_that_is_seen(self):
        model = mixed().train()
        x = with_gaps(model.sample((200,)))
        x[0] = torch.nan
        model.loss(x).mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name

    def test_learns_dependence_through_gaps(self):
        torch.manual_seed(0)
        a = torch.randint(2, (2000,)).float()
        x = torch.stack([a, 2 * a - 1 + 0.3 * torch.randn(2000)], dim=1)
        x = with_gaps(x.double(), 0.2).float()
        model = AnyOrder([Levels(2), Logistics(2)], hidden=32, blocks=1)
        ab.fit(model, x, epochs=12, batch_size=100, learning_rate=5e-3, seed=0, compile=False)
        given = model.conditional([0])
        right = given.log_prob(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
        wrong = given.log_prob(torch.tensor([[1.0]]), torch.tensor([[0.0]]))
        assert float((right - wrong).detach()) > 5
        back = model.conditional([1], [1.0]).log_prob(torch.tensor([1.0]))
        assert float(back.detach()) > -0.05

    def test_a_row_of_gaps_alone_costs_nothing(self):
        model = mixed().train()
        assert float(model.loss(torch.full((6,), math.nan).double()).detach()) == 0


class TestShapes:
    @pytest.mark.parametrize("family", [Logistics(2), Levels(2), Atoms(Logistics(2), [0.0])])
    def test_one_column_and_one_row(self, family):
        torch.manual_seed(0)
        model = AnyOrder([family], hidden=8)
        x = model.sample((1,))
        assert model.log_prob(x).shape == (1,)
        assert model.log_prob(x[0]).shape == ()
        theta = model.parameters_given(x, 0)
        torch.testing.assert_close(model.log_prob(x), family.log_prob(x[:, 0], theta))
        assert model.loss(x).shape == (1,)

    def test_float32_and_float64(self):
        model = mixed()
        x = model.sample((30,))
        torch.testing.assert_close(
            copy.deepcopy(model).float().log_prob(x.float()).double(), model.log_prob(x), atol=1e-3, rtol=1e-4
        )

    def test_no_rows(self):
        model = mixed()
        assert model.log_prob(torch.empty(0, 6).double()).shape == (0,)
        assert model.leave_one_out(torch.empty(0, 6).double()).shape == (0, 6)

    def test_families_are_checked(self):
        with pytest.raises(ValueError, match="families: expected one for each column, got none"):
            AnyOrder([])
        with pytest.raises(ValueError, match="families: expected a Family, got str"):
            AnyOrder(["x"])
