"""Every registered component goes through the shipped suite, and every component of the library is registered."""

import inspect

import pytest
import torch

import anabranch as ab
from anabranch.densities import AtContext, CollapseWarning, Density, Encoded, Regardless, Reordered
from anabranch.networks import MLP, CausalNetwork, Network
from anabranch.testing import (
    check_causal_network,
    check_density,
    check_network,
    check_transform,
    check_univariate_map,
    linear_gaussian,
    transforms,
)
from anabranch.testing.composites import COMBINATIONS, COMPOSITIONS, PARTS, Composition
from anabranch.testing.registry import CAUSAL_NETWORKS, DENSITIES, NETWORKS, TRANSFORMS, UNIVARIATE_MAPS
from anabranch.transforms import Transform, UnivariateMap


def first_of_each(registry, seen):
    """Names of what compiles and holds a part of a class that none before it held: compilations take most of the time."""
    names = []
    for name, case in registry.items():
        kinds = {type(part) for part in case.make().modules()} if case.compiles else set()
        if not kinds <= seen:
            names.append(name)
            seen |= kinds
    return names


# an integral for each row, as many passes as depths have depths, a branch for each part of a chain
SLOW = {
    "pinwheel",
    "depth mixture on a depth mixture",
    "mixture of depth mixtures",
    "branches of chains that reach a part",
    "branches that reach a part",
    "depth mixture that inverts",
    "resampled of context",
}
QUICK = {name: case for name, case in DENSITIES.items() if name not in SLOW}
SEEN: set[type] = set()
COMPILED_TRANSFORMS, COMPILED_DENSITIES = first_of_each(TRANSFORMS, SEEN), first_of_each(QUICK, SEEN)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform(name):
    case = TRANSFORMS[name]
    check_transform(case.make(), case.x(), case.contexts(), compiles=name in COMPILED_TRANSFORMS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in TRANSFORMS.items() if case.compiles])
def test_transform_compiles(name):
    case = TRANSFORMS[name]
    transforms.check_compiles(case.make(), case.x(), case.contexts())


@pytest.mark.parametrize("name", UNIVARIATE_MAPS)
def test_univariate_map(name):
    case = UNIVARIATE_MAPS[name]
    check_univariate_map(case.make(), case.domain(torch.linspace(-3.3, 3.3, 41)))


@pytest.mark.parametrize("name", QUICK)
def test_density(name):
    case = DENSITIES[name]
    density = case.make()
    check_density(
        density, case.contexts(), compiles=name in COMPILED_DENSITIES, truth=truth_of(case, density), draws=3_000
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSITIES)
def test_density_by_many_draws_and_compiled(name):
    case = DENSITIES[name]
    density = case.make()
    check_density(density, case.contexts(), compiles=case.compiles, truth=truth_of(case, density))


def truth_of(case, density):
    return None if case.truth is None else case.truth(density)


def a_third(combinations):
    """Every third, in diagonals: each composition and each part is among them. The others are slow."""
    return [
        name if sum(divmod(k, len(PARTS))) % 3 == 0 else pytest.param(name, marks=pytest.mark.slow)
        for k, name in enumerate(combinations)
    ]


@pytest.mark.parametrize("name", a_third(COMBINATIONS))
def test_composite(name):
    combination = COMBINATIONS[name]
    composition, part = combination.composition, combination.awkward()
    if composition.refuses(part):
        with pytest.raises(ValueError, match=r"^[\w: ]+: expected .*, got ") as refusal:
            combination.make()
        said = str(refusal.value)
        assert type(part).__name__ in said or str(tuple(part.event_shape)) in said
        return
    density = combination.make()
    assert density.likelihood == ("bound" if composition.of_levels else part.likelihood)
    assert density.gaps == (part.gaps and composition.keeps_gaps)
    assert density.reparameterized == (part.reparameterized and composition.draws)
    assert density.context_shape == part.context_shape
    kept = part.event_dtype if composition.keeps_dtype else "floating"
    assert density.event_dtype == ("whole" if composition.of_levels else kept)
    check_density(density, combination.contexts(), compiles=False, draws=1_000, truth=combination.truth())


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name):
    case = NETWORKS[name]
    check_network(case.make(), case.x(), case.contexts())


@pytest.mark.parametrize("name", CAUSAL_NETWORKS)
def test_causal_network(name):
    case = CAUSAL_NETWORKS[name]
    check_causal_network(case.make(), case.x(), case.contexts())


def test_every_component_is_registered():
    registries = (NETWORKS, CAUSAL_NETWORKS, TRANSFORMS, UNIVARIATE_MAPS, DENSITIES)
    # a part of something registered is not registered itself
    found = {type(case.make()) for registry in registries for case in registry.values()}
    wanted = (Network, CausalNetwork, Transform, UnivariateMap, Density)
    for package in (ab.networks, ab.transforms, ab.densities, ab.models):
        for name in package.__all__:
            part = getattr(package, name)
            if inspect.isclass(part) and issubclass(part, wanted) and not inspect.isabstract(part):
                assert part in found, f"{name} is in no registry"


def collapsed(context=0):
    """A latent-variable model of two numbers whose posterior does not read them."""
    model = linear_gaussian(context=context)
    with torch.no_grad():
        for parameter in model.posterior.theta.network.parameters():
            parameter.zero_()
    return model


AROUND = {
    **{name: one for name, one in COMPOSITIONS.items() if not one.refuses(linear_gaussian())},
    "encoded": Composition(lambda part: Encoded(collapsed(2), MLP(3, 2))),
    "at a context": Composition(lambda part: AtContext(collapsed(2), torch.zeros(2))),
    "regardless": Composition(lambda part: Regardless(part, 3)),
    "reordered": Composition(lambda part: Reordered(part, [1, 0])),
}


@pytest.mark.parametrize("name", AROUND)
def test_a_composite_passes_on_the_symptoms_of_its_parts(name):
    with ab.drawing(0):
        density = AROUND[name].build(collapsed()).eval()
        context = None if density.context_shape is None else torch.randn(300, *density.context_shape)
        x = density.sample((300,) if context is None else (), context)
    assert [type(symptom) for symptom in density.symptoms(x, context)] == [CollapseWarning]
