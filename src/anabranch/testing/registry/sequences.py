"""Densities by the chain rule over positions or columns: a new one is one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anabranch import families as family_of
from anabranch.families import (
    Channels,
    DiscretizedLogistics,
    Family,
    Gaussians,
    Lattice,
    Levels,
    Logistics,
    Mapped,
    SeparateChannels,
    SubPixels,
    Wrapped,
)
from anabranch.models import (
    AnyOrder,
    SequenceDepthMixture,
    StepDepthMixture,
    Subset,
)
from anabranch.models import Autoregressive as ChainRule
from anabranch.networks import (
    CausalConvolution,
    CausalNetwork,
    CausalTransformer,
    FiniteMemory,
    InOrder,
    LayeredCausalNetwork,
    MaskedMLP,
    PixelCNN,
    Recurrent,
)
from anabranch.testing.registry.case import Case
from anabranch.testing.registry.small_parts import (
    IMAGE,
    small_spline,
)


def _arm(
    family: Family | Channels, positions: int | tuple[int, ...] = 2, context: int = 0, **options: Any
) -> ChainRule:
    channels = None if family.inputs == 1 else family.inputs
    network = MaskedMLP(positions, family.parameters_of_one, context, (16,), "tanh", channels=channels)
    return ChainRule(family, network, **options)


def _of_depths(
    mixture: type[SequenceDepthMixture] | type[StepDepthMixture],
    family: Family,
    positions: int | tuple[int, ...] = 2,
    context: int = 0,
    network: Callable[..., LayeredCausalNetwork] = FiniteMemory,
    **options: Any,
) -> SequenceDepthMixture | StepDepthMixture:
    return mixture(family, _layered(network, family, positions, context, layers=3, **options), lead=0.5)


def _layered(
    network: Callable[..., LayeredCausalNetwork],
    family: Family,
    positions: int | tuple[int, ...] = 3,
    context: int = 0,
    **options: Any,
) -> LayeredCausalNetwork:
    channels = None if family.inputs == 1 else family.inputs
    return network(positions, family.parameters_of_one, context, hidden=8, channels=channels, **options)


def _in_order() -> CausalNetwork:
    return InOrder(MaskedMLP(3, 3, hidden=(16,), activation="tanh", channels=3), [2, 0, 1])


def _any_order(context: int = 0, orders: int = 1) -> AnyOrder:
    families = [Logistics(2), Levels(3), Logistics(1)]
    # marginals and conditionals of what comes first in the order have no integrals, whose errors all rows share
    return AnyOrder(families, context, hidden=8, blocks=1, orders=orders, order=[2, 1, 0])


def _of_levels() -> AnyOrder:
    return AnyOrder([Levels(3), Lattice(1.0, low=0.0, high=3.0, components=2), Levels(2)], hidden=8, blocks=1)


def _with_ends() -> AnyOrder:
    return AnyOrder(
        [Logistics(2, low=-1.0, high=1.5), Logistics(2, low=-2.0, widest=0.6), Levels(2)], hidden=8, blocks=1
    )


def _of_angles() -> AnyOrder:
    return AnyOrder([Wrapped(components=2), Levels(2), Wrapped(12.0, 1.0, components=2)], hidden=8, blocks=1)


SEQUENCES: dict[str, Case] = {
    "autoregressive": Case(lambda: _arm(Gaussians(2))),
    "autoregressive of mapped normals, of context": Case(lambda: _arm(Mapped(small_spline()), context=2), context=2),
    "autoregressive of levels, in an order": Case(lambda: _arm(Levels(3), 4, order=[2, 0, 3, 1])),
    "autoregressive of bits of context": Case(lambda: _arm(family_of.Bernoulli(), 4, context=2), context=2),
    "autoregressive of an image of levels": Case(
        lambda: _arm(DiscretizedLogistics(4, 2), (2, 2), event_shape=(1, 2, 2))
    ),
    "autoregressive of colours": Case(lambda: _arm(SubPixels(3, channels=2, components=2), (2, 2), event_shape=IMAGE)),
    "autoregressive of separate channels": Case(
        lambda: _arm(SeparateChannels(Gaussians(1), 2), 2, order=[1, 0], located=False)
    ),
    "autoregressive, channel by channel": Case(lambda: _arm(Levels(2), (2, 2, 2), event_shape=IMAGE)),
    "autoregressive by a masked network in an order": Case(
        lambda: ChainRule(Levels(3), _in_order(), order=[2, 0, 1]), compiles=False
    ),
    "autoregressive by a recurrence, of context": Case(
        lambda: ChainRule(Gaussians(1), _layered(Recurrent, Gaussians(1), context=2)), context=2, compiles=False
    ),
    "autoregressive by convolutions": Case(
        lambda: ChainRule(Levels(3), _layered(CausalConvolution, Levels(3), skip=8, layers=2)), compiles=False
    ),
    "autoregressive by a transformer, of context": Case(
        lambda: ChainRule(Levels(3), _layered(CausalTransformer, Levels(3), context=2, layers=2, heads=2)),
        context=2,
        compiles=False,
    ),
    "positions after others": Case(lambda: _arm(Gaussians(2), 4, order=[2, 0, 3, 1]).conditional([2, 0], [0.5, 1.0])),
    "first positions": Case(lambda: _arm(Levels(3), 4, order=[2, 0, 3, 1]).marginal([0, 3, 2])),
    "mixture over the depths of a sequence": Case(lambda: _of_depths(SequenceDepthMixture, Gaussians(2))),
    "mixture over the depths of a sequence, of context": Case(
        lambda: _of_depths(SequenceDepthMixture, Levels(2), (2, 2), context=2), context=2
    ),
    "mixture over the depths of a step": Case(lambda: _of_depths(StepDepthMixture, Levels(3), (2, 2))),
    "mixture over the depths of a step, of context": Case(
        lambda: _of_depths(StepDepthMixture, Gaussians(1), context=2), context=2
    ),
    "mixture over the depths of a PixelCNN, one for an image": Case(
        lambda: _of_depths(SequenceDepthMixture, Levels(3), (2, 2), network=PixelCNN), compiles=False
    ),
    "mixture over the depths of convolutions, one for each step": Case(
        lambda: _of_depths(StepDepthMixture, Levels(3), 3, network=CausalConvolution, skip=8), compiles=False
    ),
    "mixture over the depths of a transformer, one for each step": Case(
        lambda: _of_depths(StepDepthMixture, Levels(3), 3, network=CausalTransformer, heads=2, reads="first"),
        compiles=False,
    ),
    "any order": Case(_any_order),
    "any order of context": Case(lambda: _any_order(context=2), context=2),
    "any order of several": Case(lambda: _any_order(orders=3)),
    "any order of reals": Case(lambda: AnyOrder(2, hidden=8)),
    "any order of levels": Case(_of_levels),
    "any order with ends": Case(_with_ends),
    "any order around a circle": Case(_of_angles),
    "any order of one column": Case(lambda: AnyOrder([Logistics(2)], hidden=8)),
    "marginal of any order": Case(lambda: _any_order().marginal([2, 1]), compiles=False),
    "conditional of any order": Case(lambda: _any_order().conditional([2], [0.5]), compiles=False),
    "conditional of any order, of context": Case(
        lambda: Subset(_any_order(context=1), [1, 0], [2]), context=2, compiles=False
    ),
}
