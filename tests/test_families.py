"""Families of distributions of one number: sums and integrals, quantiles, draws, and many of them side by side."""

import copy
import math
import shutil

import pytest
import torch
from scipy import stats

import anabranch as ab
from anabranch.densities import Density
from anabranch.families import (
    Atoms,
    Bernoulli,
    DiscretizedLogistics,
    Gaussians,
    Lattice,
    Levels,
    Logistics,
    Mapped,
    Panel,
    StudentT,
    Wrapped,
)
from anabranch.families.curve import Curve, width_of_cell
from anabranch.families.cut_logistics import log_one_minus_exp
from anabranch.models import Marginals
from anabranch.storage import load, save
from anabranch.testing import randomize
from anabranch.transforms import RationalQuadraticSpline


def bent(u, bend):
    return math.asinh(bend * u) / bend


FAMILIES = {
    "logistics": lambda: Logistics(3),
    "one logistic": lambda: Logistics(1),
    "lattice": lambda: Lattice(0.5, origin=0.1, components=3),
    "lattice with ends": lambda: Lattice(0.5, origin=0.0, low=-1.0, high=2.0, components=3),
    "lattice with one end": lambda: Lattice(0.25, low=0.0, components=3),
    "fine lattice": lambda: Lattice(1e-3, low=-1.0, high=1.0, components=3),
    "bent lattice": lambda: Lattice(1.0, origin=0.5, low=-20.5, high=300.5, components=3, bend=2.0),
    "logistics with ends": lambda: Logistics(3, low=-1.0, high=0.7),
    "logistics with one end": lambda: Logistics(3, high=0.5, widest=0.7),
    "lattice with tails": lambda: Lattice(
        1.0, 0.3, low=-20.7, components=3, bend=2.0, high_tail=(4.8, 2.0, 0.0), widest=0.3
    ),
    "lattice with light tails": lambda: Lattice(
        0.25, components=3, low_tail=(-1.1, 0.0, 0.5), high_tail=(1.4, 0.4, 2.0), widest=0.5
    ),
    "wrapped": lambda: Wrapped(6.0, components=3),
    "wrapped lattice": lambda: Wrapped(12.0, 0.5, components=3),
    "levels": lambda: Levels(5),
    "one level": lambda: Levels(1),
    "many levels": lambda: Levels(40),
    "bernoulli": Bernoulli,
    "discretised logistics": lambda: DiscretizedLogistics(9, components=3),
    "two discretised levels": lambda: DiscretizedLogistics(2, components=1),
    "many discretised levels": lambda: DiscretizedLogistics(256),
    "gaussians": lambda: Gaussians(3),
    "a mapped normal": lambda: Mapped(RationalQuadraticSpline(bins=4)),
    "atoms": lambda: Atoms(Logistics(3), [0.0, -1.5, 1.0]),
    "atoms on a lattice": lambda: Atoms(Lattice(0.5, low=-1.0, components=3), [1.0, -1.0]),
    "atoms on a bent lattice": lambda: Atoms(
        Lattice(1.0, low=0.0, high=300.0, components=3, bend=1.0), [0.0, bent(3.0, 1.0)]
    ),
}

# what `initialize` sees of a sample they do not keep
KEEP_NO_RANGE = (Bernoulli, DiscretizedLogistics, Gaussians, Levels, Mapped, Wrapped)


def support(family):
    """All x of a discrete family within reach."""
    if isinstance(family, Atoms):
        return support(family.inner)
    if isinstance(family, Bernoulli):
        return torch.arange(2, dtype=torch.float64)
    if isinstance(family, (Levels, DiscretizedLogistics)):
        return torch.arange(float(family.count), dtype=torch.float64)
    if isinstance(family, Wrapped):
        return family.step * torch.arange(family.count, dtype=torch.float64)
    step, origin, low, high, bend, *_ = family.numbers
    reach = 80.0 if bend == 0 else 3000.0
    n = torch.arange(math.ceil((max(low, -reach) - origin) / step), math.floor((min(high, reach) - origin) / step) + 1)
    u = origin + step * n.double()
    return family.curve.to(u)


@pytest.fixture(params=FAMILIES)
def family(request):
    torch.manual_seed(0)
    return FAMILIES[request.param]().double()


def parameters(family, rows=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, family.parameters_of_one, generator=generator, dtype=torch.float64)


class TestOne:
    def test_sums_and_integrals_come_to_one(self, family):
        for theta in parameters(family):
            if family.discrete:
                x = support(family)
                total = family.log_prob(x, theta.expand(len(x), -1)).exp().sum()
            else:
                # a logistic's tail has e^-80 beyond 80 scales; the atoms lie between points of the grid
                ends = getattr(family, "inner", family)
                if isinstance(family, Wrapped):
                    low, high = 0.0, family.period
                else:
                    low, high = getattr(ends, "low", -math.inf), getattr(ends, "high", math.inf)
                x = torch.linspace(max(-120, low), min(120, high), 400_003, dtype=torch.float64)
                total = torch.trapezoid(family.log_prob(x, theta.expand(len(x), -1)).exp(), x)
                if isinstance(family, Atoms):
                    atoms = torch.tensor(family.values, dtype=torch.float64)
                    total = total + family.log_prob(atoms, theta.expand(len(atoms), -1)).exp().sum()
            assert float(total) == pytest.approx(1, abs=1e-4)

    def test_levels_between_and_beyond(self):
        family, theta = Levels(3), torch.tensor([0.2, 0.3, 0.5]).log()
        assert all(p.isnan() for p in family.below(torch.tensor(math.nan), theta))
        x = torch.tensor([-1.0, 0.0, 0.7, 1.0, 1.2, 2.0, 5.0, math.inf])
        for given in (theta, theta.expand(len(x), -1)):
            left, right = family.below(x, given)
            torch.testing.assert_close(left, torch.tensor([0.0, 0.0, 0.2, 0.2, 0.5, 0.5, 1.0, 1.0]))
            torch.testing.assert_close(right, torch.tensor([0.0, 0.2, 0.2, 0.5, 0.5, 1.0, 1.0, 1.0]))

    def test_below_is_the_sum_of_what_is_below(self, family):
        (theta,) = parameters(family, 1)
        if family.discrete:
            x = support(family)
            p = family.log_prob(x, theta.expand(len(x), -1)).exp()
            left, right = family.below(x, theta.expand(len(x), -1))
            torch.testing.assert_close(right, p.cumsum(0), atol=1e-6, rtol=0)
            torch.testing.assert_close(right - left, p, atol=1e-6, rtol=0)
        else:
            middle = 3.0 if isinstance(family, Wrapped) else 0.0
            x = torch.linspace(middle - 3, middle + 3, 61, dtype=torch.float64, requires_grad=True)
            left, _ = family.below(x, theta.expand(61, -1))
            (slope,) = torch.autograd.grad(left.sum(), x)
            values = x.detach()
            away = torch.ones(61, dtype=torch.bool)
            inner = getattr(family, "inner", family)
            if isinstance(inner, Logistics):  # at an end itself the distribution function has a corner
                away &= (values > inner.low + 1e-9) & (values < inner.high - 1e-9)
            away &= (values > 1e-9) | (middle == 0)
            for atom in getattr(family, "values", ()):
                away &= (values - atom).abs() > 1e-9
                at = torch.tensor(atom, dtype=torch.float64)
                under, over = family.below(at, theta)
                assert float(over - under) == pytest.approx(float(family.log_prob(at, theta).exp()))
            p = family.log_prob(values, theta.expand(61, -1)).exp()
            # around a circle further turns than two are left out
            atol = 1e-6 if isinstance(family, Wrapped) else 1e-7
            torch.testing.assert_close(slope[away], p[away], atol=atol, rtol=1e-5)

    def test_quantiles_are_the_smallest_that_reach(self, family):
        (theta,) = parameters(family, 1, seed=1)
        u = torch.linspace(0.001, 0.999, 201, dtype=torch.float64)
        many = theta.expand(201, -1)
        x = family.quantile(u, many)
        left, right = family.below(x, many)
        assert bool((right >= u - 1e-7).all())
        assert bool((left <= u + 1e-7).all())
        assert bool((x.diff() >= 0).all())
        assert bool(family.contains(x).all())

    def test_draws_have_the_distribution(self, family):
        torch.manual_seed(1)
        (theta,) = parameters(family, 1)
        n = 40_000
        x = family.sample(theta.expand(n, -1))
        assert bool(family.contains(x).all())
        assert bool(family.log_prob(x, theta.expand(n, -1)).isfinite().all())
        for at in (*x[:20], *torch.quantile(x, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))):
            left, right = family.below(at, theta)
            for share, p in (((x < at).double().mean(), left), ((x <= at).double().mean(), right)):
                assert abs(float(share - p)) < 5 * math.sqrt(max(0.0, float(p * (1 - p))) / n) + 1e-4
        if isinstance(family, Wrapped):
            turn = 2 * math.pi / family.period
            mean = torch.atan2((turn * x).sin().mean(), (turn * x).cos().mean()) / turn
            off = (float(family.mean(theta)) - float(mean)) % family.period
            assert min(off, family.period - off) < 0.1
            return
        spread = float(x.std()) / math.sqrt(n)
        assert float(family.mean(theta)) == pytest.approx(float(x.mean()), abs=6 * spread + 0.02)

    def test_gaps_and_what_cannot_be(self, family):
        (theta,) = parameters(family, 1)
        assert bool(family.log_prob(torch.tensor(math.nan, dtype=torch.float64), theta).isnan())
        if family.discrete:
            off = torch.tensor([0.1374, -1e9 - 0.3], dtype=torch.float64)
            assert not bool(family.contains(off).any())
            assert bool(family.log_prob(off, theta.expand(2, -1)).isneginf().all())

    def test_ends_are_the_least_and_largest_possible(self, family):
        low, high = family.ends()
        (theta,) = parameters(family, 1)
        drawn = family.sample(theta.expand(5000, -1))
        assert low <= float(drawn.min()) and float(drawn.max()) <= high
        if family.discrete and math.isfinite(low) and math.isfinite(high):
            assert (float(support(family).min()), float(support(family).max())) == pytest.approx((low, high))
        for end, way in ((low, -1.0), (high, 1.0)):
            if math.isfinite(end):
                beyond = torch.tensor(end + 0.3 * way, dtype=torch.float64)
                assert not family.contains(beyond)

    def test_what_was_seen_is_the_range_of_the_sample_and_the_atoms(self, family):
        x = torch.tensor([0.5, -0.5, 0.25, 1.0], dtype=torch.float64)
        family.initialize(x)
        wanted = None if isinstance(family, KEEP_NO_RANGE) else (-0.5, 1.0)
        if isinstance(family, Atoms):
            wanted = min(-0.5, *family.values), max(1.0, *family.values)
        assert family.seen() == (wanted if wanted is None else pytest.approx(wanted))

    def test_derivatives_are_finite_and_right(self, family):
        theta = parameters(family).requires_grad_()
        x = family.sample(theta.detach())
        assert torch.autograd.gradcheck(lambda t: family.log_prob(x, t), (theta,))
        far = family.quantile(torch.full((3,), 1e-12, dtype=torch.float64), theta.detach())
        (slope,) = torch.autograd.grad(family.log_prob(far, theta).sum(), theta)
        assert bool(slope.isfinite().all())

    def test_start_is_near_the_sample(self, family):
        torch.manual_seed(3)
        (theta,) = parameters(family, 1)
        x = family.sample(theta.expand(2000, -1))
        family.initialize(x)
        fitted = family.log_prob(x, family.start(x).expand(2000, -1)).mean()
        assert float(fitted) > float(family.log_prob(x, theta.expand(2000, -1)).mean()) - 0.5

    def test_features(self, family):
        x = family.sample(parameters(family, 7))
        assert family.features(x).shape == (7, family.inputs)
        assert family.features(x[0]).shape == (family.inputs,)


class TestLattice:
    def test_probabilities_are_differences_of_the_logistic_function(self):
        family = Lattice(2.0, origin=1.0, low=-3.0, components=1).double()
        theta = torch.tensor([0.0, 0.4, math.log(1.5)], dtype=torch.float64)
        own = stats.logistic(0.4, math.exp(-7 + math.log1p(math.exp(7 + math.log(1.5)))))
        for x, under, over in ((-3.0, -4, -2), (1.0, 0, 2), (61.0, 60, 62)):
            got = float(family.log_prob(torch.tensor(x, dtype=torch.float64), theta).exp())
            assert got == pytest.approx((own.sf(under) - own.sf(over)) / own.sf(-4), rel=1e-6)

    @pytest.mark.parametrize("bend", [0.0, 3.0])
    @pytest.mark.parametrize("step", [1.0, 1e-3, 1e-6, 1e-9])
    def test_float32_agrees_with_float64_however_fine_the_cells(self, step, bend):
        family = Lattice(step, components=4, bend=bend)
        theta = parameters(family, 50)
        x = copy_of(family).double().sample(theta)
        x = x.clamp(-12, 12) if bend else x  # beyond which float32 has no cells
        exact = copy_of(family).double().log_prob(x, theta)
        got = family.log_prob(x.float(), theta.float()).double()
        torch.testing.assert_close(got, exact, atol=2e-3, rtol=1e-4)

    def test_fine_cells_have_density_times_width(self):
        family = Lattice(1e-7, components=4).double()
        theta = parameters(family, 20)
        x = family.sample(theta)
        torch.testing.assert_close(family.log_prob(x, theta), family.smooth.log_prob(x, theta) + math.log(1e-7))

    def test_ends_in_the_wrong_order(self):
        with pytest.raises(ValueError, match="high: expected at least low, 2, got 1"):
            Lattice(1.0, low=2.0, high=1.0)


class TestEnds:
    @pytest.mark.parametrize(
        ("loc", "s", "low", "high"),
        [
            (0, 1, -1, 2),
            (-50, 1, 0, 3),
            (300, 1, 0, 3),
            (0, 1e4, -2, 5),
            (3, 0.5, None, 2),
            (-30, 0.5, 0, None),
            (5, 0.3, -1, 2),
        ],
    )
    def test_means_are_those_of_the_quantiles(self, loc, s, low, high):
        family = Logistics(1, low=low, high=high).double()
        theta = torch.tensor([0.0, loc, math.log(s)], dtype=torch.float64)
        u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
        mean = family.quantile(u, theta.expand(len(u), -1)).mean()
        assert float(family.mean(theta)) == pytest.approx(float(mean), abs=1e-5)

    def test_float32_agrees_with_float64_wherever_components_are(self):
        torch.manual_seed(0)
        spread = torch.tensor([1.0] * 6 + [4.0] * 6 + [3.0] * 6)
        family = Logistics(6, low=-1.0, high=2.0)
        theta = (torch.randn(2000, 18) * spread).requires_grad_()
        x = family.sample(theta.detach())
        assert bool(((x >= -1) & (x <= 2)).all())
        log_p = family.log_prob(x, theta)
        exact = copy_of(family).double().log_prob(x.double(), theta.detach().double())
        torch.testing.assert_close(log_p.detach().double(), exact, atol=1e-4, rtol=1e-5)
        (gradient,) = torch.autograd.grad(log_p.sum(), theta)
        assert bool(gradient.isfinite().all())

    def test_nothing_lies_beyond(self):
        family = Logistics(3, low=-1.0, high=2.0)
        theta = torch.randn(9)
        far = torch.tensor([-1.01, 2.01])
        assert bool(family.log_prob(far, theta.expand(2, -1)).isneginf().all())
        assert family.below(torch.tensor([-1.0, 2.0, 7.0]), theta.expand(3, -1))[1].tolist() == [0.0, 1.0, 1.0]
        with pytest.raises(ValueError, match="high: expected more than low, 2, got 1"):
            Logistics(low=2.0, high=1.0)

    def test_a_short_fit_puts_no_tail_into_the_cells_at_the_ends(self):
        family = Lattice(0.2, low=-1.0, high=1.0)
        x = 0.2 * torch.arange(-5.0, 6.0).repeat(100)
        p = family.log_prob(family.points(x), family.start(x).expand(11, -1)).exp()
        assert float(p[[0, -1]].max()) < 1.5 / 11

    def test_scales_stay_below_the_widest(self):
        family = Logistics(1, widest=0.3).double()
        theta = torch.tensor([0.0, 0.0, 50.0], dtype=torch.float64)
        u = torch.tensor([0.001], dtype=torch.float64)
        assert float(family.quantile(u, theta.unsqueeze(0))) == pytest.approx(0.3 * math.log(0.001 / 0.999), rel=1e-3)


class TestCurve:
    @pytest.mark.parametrize(
        "tails", [(None, None), ((-1.0, 0.5, 0.0), (1.5, 0.0, 0.4)), ((-1.0, 0.0, 3.0), (1.5, 2.0, 1.5))]
    )
    @pytest.mark.parametrize("bend", [0.0, 2.0])
    def test_inverse_slope_and_cells(self, bend, tails):
        curve = Curve(bend, *tails)
        u = torch.linspace(-50, 50, 2001, dtype=torch.float64, requires_grad=True)
        x = curve.to(u)
        (slope,) = torch.autograd.grad(x.sum(), u)
        torch.testing.assert_close(curve.back(x), u, atol=1e-11, rtol=0)
        torch.testing.assert_close(slope.log(), curve.log_slope(u))
        point = torch.arange(-40, 40, dtype=torch.float64) * 0.5 + 0.25
        numbers = torch.tensor(curve.numbers, dtype=torch.float64).unbind()
        width = width_of_cell(point, torch.tensor(0.5, dtype=torch.float64), *numbers)
        torch.testing.assert_close(width, curve.to(point + 0.25) - curve.to(point - 0.25))

    def test_an_exponential_tail_is_a_pareto_one(self):
        curve = Curve(high_tail=(1.0, 0.5, 0.0))
        z = 1.0 + torch.tensor([0.5, 2.0, 6.0], dtype=torch.float64)
        # P(Z > z) = e^{-(z - 1) / s} with s = 0.6 is (1 + xi y / s)^{-1 / xi} of y = u - 1 with xi = 0.3
        y = curve.back(z) - 1
        torch.testing.assert_close((1 + 0.3 * y / 0.6) ** (-1 / 0.3), (-(z - 1) / 0.6).exp())

    def test_numbers_are_checked(self):
        with pytest.raises(ValueError, match="bend: expected a number of at least 0"):
            Curve(-1.0)
        with pytest.raises(ValueError, match="low_tail, high_tail: expected one below the other"):
            Curve(0.0, (1.0, 0.0, 0.0), (0.0, 0.0, 0.0))


class TestWrapped:
    def test_the_last_is_next_to_the_first(self):
        family = Wrapped(360.0, components=2).double()
        theta = torch.tensor([0.0, 0.5, 20.0, 200.0, 2.0, 3.0], dtype=torch.float64)
        x = torch.tensor([0.0, 360.0 - 1e-9, 1e-9], dtype=torch.float64)
        p = family.log_prob(x, theta.expand(3, -1))
        torch.testing.assert_close(p, p[:1].expand(3))

    def test_the_mean_is_that_of_directions(self):
        family = Wrapped(360.0, components=2).double()
        # half at 350 and half at 30 degrees
        theta = torch.tensor([0.0, 0.0, 350.0, 30.0, 1.0, 1.0], dtype=torch.float64)
        assert float(family.mean(theta)) == pytest.approx(10.0, abs=1e-6)

    def test_a_step_that_does_not_divide(self):
        with pytest.raises(ValueError, match="step: expected one that divides the period"):
            Wrapped(24.0, 5.0)


class TestAtoms:
    def test_an_atom_in_float32_is_one(self):
        code = float(torch.tensor(0.1).double())
        family = Atoms(Logistics(2), [code])
        theta = torch.zeros(family.parameters_of_one)
        assert float(family.log_prob(torch.tensor(code), theta)) == pytest.approx(math.log(0.5))
        off = torch.nextafter(torch.tensor(code), torch.tensor(1.0))
        assert float(family.log_prob(off, theta)) < math.log(0.5) - 0.5

    def test_values_are_checked(self):
        for values in ([], [1.0, 1.0]):
            with pytest.raises(ValueError, match="values: expected some, different"):
                Atoms(Logistics(), values)


class Cauchy(Logistics.__base__):
    """A family of someone else's: the panel evaluates it by itself."""

    def __init__(self):
        super().__init__(2, 1)

    def log_prob(self, x, theta):
        return torch.distributions.Cauchy(theta[..., 0], theta[..., 1].exp()).log_prob(x)

    def features(self, x):
        return x.unsqueeze(-1)

    def sample(self, theta):
        return theta[..., 0]

    below = quantile = mean = start = sample


class TestPanel:
    def test_gives_the_numbers_of_each_family(self):
        torch.manual_seed(0)
        families = [make().double() for make in FAMILIES.values()] + [
            Cauchy(),
            *(Levels(n).double() for n in (3, 33, 2)),
        ]
        panel = Panel(families)
        theta = [parameters(family, 12, seed=i) for i, family in enumerate(families)]
        x = torch.stack([family.sample(t) for family, t in zip(families, theta, strict=True)], dim=-1)
        want = [f.log_prob(x[..., i], t) for i, (f, t) in enumerate(zip(families, theta, strict=True))]
        torch.testing.assert_close(panel.log_prob(x, torch.cat(theta, dim=-1)), torch.stack(want, dim=-1))
        read = torch.cat([family.features(x[..., i]) for i, family in enumerate(families)], dim=-1)
        torch.testing.assert_close(panel.features(x), read)
        deep = panel.log_prob(x.reshape(3, 4, -1), torch.cat(theta, dim=-1).reshape(3, 4, -1))
        torch.testing.assert_close(deep, torch.stack(want, dim=-1).reshape(3, 4, -1))

    def test_has_no_state(self):
        assert not Panel([Logistics(), Levels(3)]).state_dict()


def copy_of(family):
    import copy

    return copy.deepcopy(family)


def test_files(tmp_path):
    class Holder(Density):
        def __init__(self, families):
            super().__init__((len(families),))
            self.families = torch.nn.ModuleList(families)

        def _log_prob(self, x, context):
            return x.sum(-1)

        def _sample(self, shape, context):
            return torch.zeros(*shape, len(self.families))

    torch.manual_seed(0)
    save(Holder([make() for make in FAMILIES.values()]), tmp_path / "f")
    again = load(tmp_path / "f")
    assert [type(family).__name__ for family in again.families] == [type(make()).__name__ for make in FAMILIES.values()]
    for family, (name, make) in zip(again.families, FAMILIES.items(), strict=True):
        if hasattr(family, "numbers"):
            assert family.numbers == make().numbers, name


@pytest.mark.parametrize("name", [name for name, make in FAMILIES.items() if math.isfinite(sum(make().ends()))])
def test_an_infinity_that_cannot_be_has_probability_0_and_moves_no_other_position(name):
    family = FAMILIES[name]()
    with ab.drawing(0):
        network = ab.networks.MaskedMLP(2, family.parameters_of_one, channels=family.inputs, hidden=(8,))
        model = randomize(ab.models.Autoregressive(family, network))
        x = model.sample((5,))
    x[0, 0], x[1, 1], x[2, 0], x[3, 0] = math.inf, math.inf, -math.inf, math.nan
    log_p = model.log_prob(x).tolist()
    assert log_p[:3] == [-math.inf] * 3 and math.isnan(log_p[3]) and math.isfinite(log_p[4])


def test_a_nan_is_nan_in_its_row_alone_of_a_student_t():
    """torch's distribution refuses a batch with a NaN among the parameters."""
    with ab.drawing(0):
        model = randomize(ab.models.Autoregressive(StudentT(), ab.networks.MaskedMLP(2, 3, hidden=(8,))))
        x = model.sample((3,))
    wanted = model.log_prob(x)
    x[1, 0] = math.nan
    assert torch.equal(model.log_prob(x)[[0, 2]], wanted[[0, 2]]) and model.log_prob(x)[1].isnan()
    theta = torch.tensor([[1.0, 2.0, 1.5], [0.0, 0.0, math.nan]])
    x = torch.tensor([3.0, 0.0])
    log_p, drawn = StudentT().log_prob(x, theta), StudentT().sample(theta)
    right = torch.distributions.StudentT(theta[0, 2].exp(), theta[0, 0], theta[0, 1].exp()).log_prob(x[0])
    assert torch.allclose(log_p[0], right) and drawn.isfinite().tolist() == log_p.isfinite().tolist() == [True, False]


class TestOneThetaForAll:
    def test_levels_give_the_same_numbers(self):
        torch.manual_seed(0)
        family, theta = Levels(5), torch.randn(5, dtype=torch.float64)
        x, u = (
            torch.tensor([0.0, 4.0, 2.0, 7.0, torch.nan]).double(),
            torch.tensor([0.01, 0.3, 0.5, 0.9, 0.9999]).double(),
        )
        spread = theta.expand(5, 5)
        assert torch.allclose(family.log_prob(x, theta), family.log_prob(x, spread), equal_nan=True)
        for one, other in zip(family.below(x[:3], theta), family.below(x[:3], spread[:3]), strict=True):
            assert torch.allclose(one, other)
        assert torch.equal(family.quantile(u, theta), family.quantile(u, spread))

    def test_marginals_of_thousands_of_levels_are_those_of_the_panel(self):
        torch.manual_seed(0)
        families = [Logistics(2), Levels(300), Levels(3)]
        marginals = Marginals(families).double()
        torch.nn.init.normal_(marginals.theta)
        x = torch.tensor([[0.3, 299.0, 1.0], [torch.nan, 7.0, torch.nan]]).double()
        whole = Panel(families).log_prob(x.nan_to_num(), marginals.theta.expand(2, -1))
        assert torch.allclose(marginals.terms(x), torch.where(x.isnan(), 0.0, whole))
        assert marginals.below(x)[0].shape == marginals.quantile(torch.full_like(x, 0.5)).shape == (2, 3)


def test_bins_tell_frequent_values_apart():
    # 95 % at twenty values near each other, and a few far away: most bins are among the twenty
    torch.manual_seed(0)
    x = torch.cat([torch.randint(20, (950,)) / 20.0, torch.linspace(10.0, 500.0, 50)])
    family = Atoms(Logistics(2), (torch.arange(20) / 20.0).tolist())
    family.initialize(x)
    knots = family.inner.get_buffer("knots")
    assert len(knots.unique()) == len(knots) == 13
    assert (knots < 1).sum() >= 10
    assert knots[0] == 0 and knots[-1] == 500


def test_one_minus_an_exponential_keeps_its_digits():
    x = -torch.logspace(-30, math.log10(math.log(2)), 500, dtype=torch.float64)
    torch.testing.assert_close(log_one_minus_exp(x), (-torch.expm1(x)).log(), rtol=1e-15, atol=4e-16)


@pytest.mark.skipif(not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="no C++ compiler here")
@pytest.mark.slow
def test_cells_narrower_than_rounding_survive_the_compiler():
    # log(-expm1(x)), compiled, was -inf there, and gradients NaN: a fit long enough to be compiled failed
    x = torch.full((4,), -1e-9, requires_grad=True)
    found = torch.compile(log_one_minus_exp, fullgraph=True, dynamic=False)(x)
    torch.testing.assert_close(found, torch.full((4,), -9 * math.log(10)), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient, torch.full((4,), -1e9), rtol=1e-6, atol=0)


def test_draws_of_narrow_components_far_beyond_an_end():
    """A component whose mean lies many thousands of its scales beyond an end has what is nearest to it inside."""
    family = Logistics(1, low=-1.0)
    theta = torch.tensor([0.0, -30.0, -9.0]).expand(1000, 3)
    drawn = family.sample(theta)
    assert drawn.isfinite().all() and (drawn >= -1.0).all() and (drawn < -0.9).all()
    assert family.log_prob(drawn, theta).isfinite().all()
    assert -1.0 <= float(family.mean(theta[0])) < -0.9


def test_the_lower_tail_of_a_normal_keeps_its_digits():
    theta = torch.tensor([0.0, 1.0, math.log(2.0)])
    below, at_most = Gaussians(1).below(torch.tensor(-15.0), theta)
    assert float(at_most) == float(below) == pytest.approx(6.2209605742718e-16, rel=1e-4)  # Phi(-8)


def test_no_family_has_density_at_an_infinity_or_a_nan_far_out(family):
    """x beyond what exponentials hold, on either side, in both precisions; a Panel beside it says the same."""
    for dtype in (torch.float32, torch.float64):
        made = copy.deepcopy(family).to(dtype)
        theta = parameters(family, rows=4).to(dtype)
        far = torch.finfo(dtype).max / 2
        x = torch.tensor([torch.inf, -torch.inf, far, -far], dtype=dtype)
        log_p = made.log_prob(x, theta)
        assert bool((log_p[:2] == -torch.inf).all()) and not bool(log_p.isnan().any())
        assert bool((log_p[2:] < -40).all())
        beside = Panel([made, made]).log_prob(x.unsqueeze(-1).expand(4, 2), torch.cat([theta, theta], dim=-1))
        assert torch.allclose(beside, log_p.unsqueeze(-1).expand(4, 2))
