"""Every registered component goes through the shipped suite, and every component of the library is registered."""

import inspect

import pytest
import torch

import anabranch as ab
from anabranch.networks import MaskedMLP
from anabranch.testing import (
    check_causal_network,
    check_density,
    check_transform,
    check_univariate_map,
    randomize,
)
from anabranch.testing.registry import DENSITIES, TRANSFORMS, UNIVARIATE_MAPS


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform(name):
    case = TRANSFORMS[name]
    check_transform(case.make(), case.x(), case.contexts(), compiles=case.compiles)


@pytest.mark.parametrize("name", UNIVARIATE_MAPS)
def test_univariate_map(name):
    case = UNIVARIATE_MAPS[name]
    check_univariate_map(case.make(), case.domain(torch.linspace(-3.3, 3.3, 41)))


@pytest.mark.parametrize("name", DENSITIES)
def test_density(name):
    case = DENSITIES[name]
    check_density(case.make(), case.contexts(), compiles=case.compiles)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize(("features", "hidden"), [(1, (8,)), (2, (7, 9)), (5, (16, 16)), (6, (4, 4))])
def test_masked_mlp(features, hidden, context):
    network = randomize(MaskedMLP(features, 3, context, hidden=hidden, activation="tanh"))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, features, generator=generator)
    given = torch.randn(4, context, generator=generator) if context else None
    check_causal_network(network, x, given)


def classes_of(cases):
    found = set()
    for case in cases.values():
        found |= {type(module) for module in case.make().modules()}
    return found


def test_every_component_is_registered():
    found = classes_of(TRANSFORMS) | classes_of(DENSITIES) | classes_of(UNIVARIATE_MAPS)
    for package in (ab.transforms, ab.densities, ab.models):
        for name in package.__all__:
            part = getattr(package, name)
            wanted = (ab.transforms.Transform, ab.transforms.UnivariateMap, ab.densities.Density)
            if inspect.isclass(part) and issubclass(part, wanted) and not inspect.isabstract(part):
                assert part in found, f"{name} is in no registry"
