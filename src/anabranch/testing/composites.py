"""Every composite over every awkward part: a table of densities that is generated, and what refuses what."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anabranch.densities import (
    Categorical,
    Composite,
    CompositeMixture,
    Density,
    Dequantized,
    GaussianMixture,
    Independent,
    Normal,
    Resampled,
)
from anabranch.draws import drawing
from anabranch.families import Levels, Logistics
from anabranch.models import AnyOrder, DepthMixture, Ensemble, Flow, FlowMixture, PiecewiseFlow, Subset
from anabranch.networks import MLP
from anabranch.testing.linear_gaussian import linear_gaussian, marginal
from anabranch.testing.randomize import randomize
from anabranch.testing.registry.small_parts import exactly, small_residual
from anabranch.transforms import Affine, Chain, Elementwise, Identity, Logit, LULinear, Permutation, Transform
from anabranch.transforms.domain import is_everything


@dataclass(frozen=True)
class Part:
    """A density that is awkward in one way.

    Attributes:
        build: makes it.
        context: size of its context, 0 for none.
        truth: makes the same density, known exactly, of one of which a bound is known.
    """

    build: Callable[[], Density]
    context: int = 0
    truth: Callable[[Any], Density] | None = None


PARTS: dict[str, Part] = {
    "gaps": Part(lambda: AnyOrder([Logistics(1), Logistics(1)], hidden=4, blocks=1)),
    "levels": Part(lambda: Categorical(torch.tensor([[0.0, 1.0], [0.5, 0.0]]), learnable=True)),
    "gaps and levels": Part(lambda: AnyOrder([Levels(2), Logistics(1)], hidden=4, blocks=1)),
    "a bound": Part(linear_gaussian, truth=marginal),
    "no reparameterized draws": Part(lambda: GaussianMixture([[-1.0, 0.0], [1.0, 0.5]], learnable=True)),
    "a context": Part(lambda: Normal([0.0, 1.0], context=2, hidden=(4,)), context=2),
    "an estimate": Part(lambda: Flow(small_residual(0, "estimate", 2)), truth=exactly),
    "a bound and a context": Part(lambda: linear_gaussian(context=2), context=2),
    "images": Part(lambda: Normal(torch.zeros(1, 1, 2), learnable=True)),
}


def _nothing(part: Density) -> bool:
    return False


def _levels(part: Density) -> bool:
    return part.support.is_discrete


def _estimates(part: Density) -> bool:
    return part.likelihood == "estimate"


def _levels_or_estimates(part: Density) -> bool:
    return _levels(part) or _estimates(part)


@dataclass(frozen=True)
class Composition:
    """A way to make a density of others.

    Attributes:
        build: makes it of a part.
        refuses: whether it can't be made of a part, which its constructor then says.
        keeps_gaps: whether a NaN that a part takes for a gap is one for the whole.
        draws: whether draws of the whole are differentiable where those of the part are.
        keeps_dtype: whether whole numbers come to the part as whole numbers (`Density.event_dtype`).
        of_levels: whether the whole is a density of whole numbers, of which a bound is known, whatever the part is.
    """

    build: Callable[[Any], Density]
    refuses: Callable[[Density], bool] = _nothing
    keeps_gaps: bool = False
    draws: bool = False
    keeps_dtype: bool = True
    of_levels: bool = False


def _moving(part: Density) -> Transform:
    """A transform that changes the numbers of an event, and of a vector all by each other."""
    shape = part.event_shape
    bend = Elementwise(Affine(), tuple(shape))
    return Chain([LULinear(shape[0]), bend]) if len(shape) == 1 else bend


def _rearranging(part: Density) -> Transform:
    """A transform that changes no number."""
    return Permutation([1, 0]) if len(part.event_shape) == 1 else Identity(len(part.event_shape))


def _two(part: Density) -> list[Density]:
    return [part, copy.deepcopy(part)]


def _mixed(part: Density) -> FlowMixture:
    return FlowMixture(_two(part), weights=[0.3, 0.7])


def _noise(part: Density) -> Normal:
    shape = part.event_shape
    return Normal(torch.zeros(shape), scale=1.5, context=shape, hidden=(4,))


def _read_by(part: Density, outputs: int) -> MLP:
    return MLP(part.event_shape.numel(), outputs, hidden=(4,))


COMPOSITIONS: dict[str, Composition] = {
    "flow": Composition(lambda part: Flow(_moving(part), part), _levels, draws=True),
    "flow that rearranges": Composition(
        lambda part: Flow(_rearranging(part), part), keeps_gaps=True, draws=True, keeps_dtype=False
    ),
    "depth mixture": Composition(
        lambda part: DepthMixture(Chain([_moving(part)] * 2), part, hidden=(4,)), _levels_or_estimates
    ),
    "depth mixture that rearranges": Composition(
        lambda part: DepthMixture(Chain([_rearranging(part), Identity()]), part, gate="constant"),
        _estimates,
        keeps_gaps=True,
        keeps_dtype=False,
    ),
    "mixture": Composition(_mixed, _estimates, keeps_gaps=True),
    "mixture with a posterior": Composition(
        lambda part: FlowMixture(_two(part), posterior=_read_by(part, 2)), _estimates
    ),
    "mixture with a trunk and heads": Composition(
        lambda part: FlowMixture(_two(part), trunk=_moving(part), heads="affine"),
        lambda part: not is_everything(part.support) or len(part.event_shape) != 1 or _estimates(part),
    ),
    "ensemble": Composition(lambda part: Ensemble(_two(part), weights=[0.4, 0.6]), _estimates, keeps_gaps=True),
    "ensemble of mixtures": Composition(
        lambda part: Ensemble([_mixed(part), _mixed(part)], aligned=True), _estimates, keeps_gaps=True
    ),
    "product": Composition(lambda part: Independent(_two(part)), keeps_gaps=True, draws=True),
    "product with a normal density": Composition(
        lambda part: Independent([part, Normal(torch.zeros(part.event_shape))]), draws=True, keeps_dtype=False
    ),
    "resampled": Composition(lambda part: Resampled(part, _read_by(part, 1), samples=512)),
    "branches": Composition(
        lambda part: PiecewiseFlow([_moving(part), _moving(part)], part, hidden=(4,)), _levels_or_estimates
    ),
    "branches that rearrange": Composition(
        lambda part: PiecewiseFlow([_rearranging(part)] * 2, part, gate="constant"),
        _estimates,
        keeps_gaps=True,
        keeps_dtype=False,
    ),
    "dequantized": Composition(lambda part: Dequantized(part, 3, logit=True), _levels_or_estimates, of_levels=True),
    "dequantized by a density": Composition(
        lambda part: Dequantized(part, 3, Flow(Elementwise(Logit(), part.event_shape), _noise(part)), logit=True),
        _levels_or_estimates,
        of_levels=True,
    ),
    "subset": Composition(lambda part: Subset(part, [0]), lambda part: not isinstance(part, AnyOrder), keeps_gaps=True),
}


@dataclass(frozen=True)
class Combination:
    """One composite over one part.

    Attributes:
        composition: how it is made.
        part: of which.
    """

    composition: Composition
    part: Part

    def awkward(self) -> Density:
        """The part, with weights away from their start, the same every time."""
        with drawing(0):
            return randomize(self.part.build(), scale=0.2)

    def make(self) -> Density:
        """The composite, with weights away from their start.

        Raises:
            ValueError: it can't be made of this part.
        """
        return self._around(self.awkward())

    def truth(self) -> Density | None:
        """The same composite over the part as it is known exactly; None where it is not, or where nothing is a bound."""
        if self.part.truth is None or self.composition.of_levels:
            return None
        return self._around(self.part.truth(self.awkward()))

    def contexts(self) -> Tensor | None:
        """Some contexts."""
        generator = torch.Generator().manual_seed(2)
        return torch.randn(3, self.part.context, generator=generator) if self.part.context else None

    def _around(self, part: Density) -> Density:
        """The composite, the weights of which, without the part's, are the same whatever the part is."""
        with drawing(0):
            density = self.composition.build(part)
        parts = {id(p) for leaf in _leaves(density) for p in leaf.parameters()}
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in density.parameters():
                if id(parameter) not in parts:
                    parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        return density


def _leaves(density: Density) -> Iterator[Density]:
    """The densities at the end of a tree of composites."""
    if not isinstance(density, (Composite, CompositeMixture)):
        yield density
        return
    for part in density.parts():
        yield from _leaves(part)


COMBINATIONS: dict[str, Combination] = {
    f"{name} of {awkward}": Combination(composition, part)
    for (name, composition), (awkward, part) in itertools.product(COMPOSITIONS.items(), PARTS.items())
}
