"""The simple densities of mixed rows: independent columns and a Gaussian copula, against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import anabranch as ab
from anabranch.families import Atoms, Levels, Logistics
from anabranch.models import GaussianCopula, Marginals
from anabranch.models.gaussian_copula import latent
from anabranch.storage import load, save
from anabranch.training.copula import fit_gaussian_copula


def marginals(seed=0):
    torch.manual_seed(seed)
    made = Marginals([Levels(3), Logistics(2), Levels(2), Atoms(Logistics(2), [0.0])]).double()
    torch.nn.init.normal_(made.theta)
    return made.requires_grad_(False)


R = torch.tensor(
    [[1.0, 0.5, -0.3, 0.2], [0.5, 1.0, 0.4, 0.1], [-0.3, 0.4, 1.0, 0.3], [0.2, 0.1, 0.3, 1.0]], dtype=torch.float64
)


class TestMarginals:
    def test_is_the_product_of_its_columns(self):
        model = marginals()
        x = model.sample((50,))
        x[0, 1] = math.nan
        parts = model.theta.split([3, 6, 2, 8])
        want = sum(
            torch.where(x[:, i].isnan(), 0.0, model.family(i).log_prob(x[:, i], parts[i].expand(50, -1)))
            for i in range(4)
        )
        torch.testing.assert_close(model.log_prob(x), want)

    def test_fits_shares_and_means(self):
        torch.manual_seed(0)
        x = torch.stack([5 + 2 * torch.randn(3000), (torch.rand(3000) < 0.2).float()], dim=1)
        x[::7, 0] = math.nan
        model = Marginals([Logistics(), Levels(2)])
        ab.fit(model, x, epochs=10, batch_size=300, learning_rate=0.03, seed=0, compile=False)
        best = -0.5 * math.log(2 * math.pi * math.e * 4)
        with torch.no_grad():
            got = model.terms(x)
        assert float(got[:, 0].sum() / (~x[:, 0].isnan()).sum()) == pytest.approx(best, abs=0.03)
        assert float(got[x[:, 1] == 1, 1].mean().exp()) == pytest.approx(0.2, abs=0.03)


class TestCopula:
    def exact(self, model, row):
        """A multivariate normal for the points, and its rectangle probability for the intervals."""
        low, high = (side[0].numpy() for side in latent(model.marginals, row.unsqueeze(0)))
        points = [i for i in range(4) if low[i] == high[i]]
        boxes = [i for i in range(4) if low[i] < high[i]]
        r = R.numpy()
        y = low[points]
        f = model.marginals.terms(row.unsqueeze(0))[0].numpy()
        total = f[points].sum() - stats.norm.logpdf(y).sum()
        if points:
            total += stats.multivariate_normal(np.zeros(len(points)), r[np.ix_(points, points)]).logpdf(y)
        slope = r[np.ix_(boxes, points)] @ np.linalg.inv(r[np.ix_(points, points)])
        left = r[np.ix_(boxes, boxes)] - slope @ r[np.ix_(points, boxes)]
        box = stats.multivariate_normal(slope @ y, left)
        p = box.cdf(np.clip(high[boxes], -20, 20), lower_limit=np.clip(low[boxes], -20, 20))
        return total + math.log(p)

    def test_is_the_integral(self):
        model = GaussianCopula(marginals(), R, draws=4000)
        torch.manual_seed(3)
        x = model.sample((6,))
        x[0, 3] = x[1, 3] = 0.0
        x[2, 0] = math.nan
        x[3, 2] = math.nan
        got = model.log_prob(x)
        for i, row in enumerate(x):
            assert float(got[i]) == pytest.approx(self.exact(model, row), abs=0.02)
        assert float(model.relative_error(x).max()) < 0.02

    def test_without_dependence_it_is_the_marginals(self):
        model = GaussianCopula(marginals(), torch.eye(4).double(), draws=3)
        x = model.sample((20,))
        x[0, 0] = math.nan
        torch.testing.assert_close(model.log_prob(x), model.marginals.log_prob(x))

    def test_sums_and_integrals_come_to_one(self):
        # one column of levels and one of numbers
        torch.manual_seed(0)
        two = Marginals([Levels(3), Logistics(2)]).double().requires_grad_(False)
        torch.nn.init.normal_(two.theta)
        model = GaussianCopula(two, torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double(), draws=1)
        grid = torch.linspace(-40, 40, 8001).double()
        total = sum(
            float(torch.trapezoid(model.log_prob(torch.stack([torch.full_like(grid, k), grid], 1)).exp(), grid))
            for k in range(3)
        )
        assert total == pytest.approx(1, abs=1e-3)

    def test_a_fit_finds_the_correlations(self):
        torch.manual_seed(0)
        truth = GaussianCopula(marginals(), R)
        x = truth.sample((4000,))
        x[torch.rand(x.shape) < 0.2] = math.nan
        fitted = fit_gaussian_copula(truth.marginals, x)
        assert float((fitted.correlation - R).abs().max()) < 0.12
        with torch.no_grad():
            gain = fitted.log_prob(x[:500]) - truth.marginals.log_prob(x[:500])
        assert float(gain.mean()) > 0.05

    def test_the_same_every_time_and_from_a_file(self, tmp_path):
        model = GaussianCopula(marginals(), R, draws=20)
        x = model.sample((9,))
        want = model.log_prob(x)
        assert torch.equal(model.log_prob(x), want)
        save(model, tmp_path / "m")
        torch.testing.assert_close(load(tmp_path / "m").log_prob(x), want)

    def test_arguments(self):
        for bad in (torch.eye(3), 2 * torch.eye(4), R + torch.ones(4, 4).triu(1)):
            with pytest.raises(ValueError, match="expected a correlation matrix of 4 columns"):
                GaussianCopula(marginals(), bad)
