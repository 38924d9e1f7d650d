"""Rows given as they come: offset, or in other units."""

import warnings

import numpy as np
import pytest
import torch

import anabranch as ab
from anabranch.training import ScaleWarning
from anabranch.transforms import Standardise

RECIPES = {
    "nsf": lambda: ab.Flow(ab.flows.nsf(2, blocks=2, hidden=(16,))),
    "coupling": lambda: ab.Flow(ab.flows.nsf(2, blocks=2, hidden=(16,), structure="coupling")),
    "maf": lambda: ab.Flow(ab.flows.maf(2, blocks=2, hidden=(16,))),
    "iaf": lambda: ab.Flow(ab.flows.iaf(2, blocks=2, hidden=(16,))),
    "realnvp": lambda: ab.Flow(ab.flows.realnvp(2, blocks=2, hidden=(16,))),
    "depth": lambda: ab.DepthMixture(ab.flows.nsf(2, blocks=2, hidden=(16,))),
    "heads": lambda: ab.FlowMixture(
        [ab.Flow(ab.flows.realnvp(2, blocks=2, hidden=(8,))) for _ in range(2)], heads="affine"
    ),
}


def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(400, 2, generator=generator) @ torch.tensor([[1.0, 0.5], [0.0, 0.8]])


def reached(build, x):
    torch.manual_seed(0)
    density = build()
    ab.fit(density, x, epochs=4, seed=0, progress=False)
    return density.log_prob(x).mean().item()


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize(("offset", "unit"), [(1e3, 1.0), (0.0, 1e6), (-1e5, 100.0)])
def test_recipes_take_rows_as_they_come(name, offset, unit):
    x = rows()
    plain = reached(RECIPES[name], x)
    found = reached(RECIPES[name], x * unit + offset) + 2 * np.log(unit)
    assert found == pytest.approx(plain, abs=0.3)


def test_what_does_not_cope_says_so():
    normal = ab.densities.Normal(torch.zeros(2), learnable=True)
    with pytest.warns(
        ScaleWarning, match=r"nats per row behind a normal .*column \d lies about 1.*standardise the rows first"
    ) as caught:
        ab.fit(normal, rows() + 1e3, epochs=2, seed=0, progress=False)
    assert len(caught) == 1
    mixture = ab.FlowMixture([ab.densities.Normal(torch.zeros(2), learnable=True)])
    with pytest.warns(ScaleWarning):
        ab.fit(mixture, rows() * 1e-4, epochs=1, seed=0, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ab.fit(normal, rows() + 3, epochs=1, seed=0, progress=False)


def test_a_loss_that_is_not_finite_names_the_scale():
    flow = ab.Flow(
        ab.transforms.Chain([ab.transforms.Autoregressive(ab.transforms.Affine(), ab.networks.MaskedMLP(2, 2))])
    )
    x = rows() * 1e25
    with pytest.raises(ab.training.NonFiniteError, match="standardise the rows first"):
        ab.fit(flow, x, epochs=1, seed=0, progress=False)


def test_rows_that_are_standard_stay_bit_for_bit():
    layer, x = Standardise(2), 2 * rows() + 1
    layer.initialize(x)
    z, log_det = layer(x)
    assert torch.equal(z, x)
    assert not log_det.any()
    layer.initialize(x + 1e4)  # once alone
    assert torch.equal(layer(x)[0], x)


def test_a_wild_value_does_not_set_the_scale():
    layer, x = Standardise(2), rows() + 1e3
    x[7] = 1e30
    layer.initialize(x)
    z, _ = layer(x[8:])
    assert z.std(dim=0) == pytest.approx([1.0, 1.0], rel=0.2)


def test_volume_is_preserved_where_it_is_said():
    nice = ab.flows.nice(2, blocks=2, hidden=(8,))
    nice.initialize(rows() + 1e3)
    z, log_det = nice(rows() + 1e3)
    assert z.mean().abs() < 1
    assert not log_det.any()
    constant = Standardise(2)
    constant.initialize(torch.full((50, 2), 1e6))
    assert torch.equal(constant(torch.full((1, 2), 1e6))[0], torch.zeros(1, 2))
