"""The transform of each depth between its z_l and the base that all depths share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from anabranch.checks import one_of
from anabranch.densities import Density
from anabranch.described import describe
from anabranch.transforms import Chain, Elementwise, LULinear, QuadraticSpline, Transform
from anabranch.transforms.domain import is_everything

NAMES = ("auto", "spline", "linear", "none")


def read_heads(
    heads: str | Sequence[Transform], chain: Chain, base: Density, components: int
) -> list[Transform] | None:
    """The heads given, checked, or those that a name stands for; None for none.

    Args:
        heads: a transform for each component, or a name: "spline", an LU-factored linear map and a quadratic spline of each
            feature; "linear", the linear map alone; "none"; "auto", "spline" where it can be and "none" elsewhere.
        chain: the blocks.
        base: what the heads lead to.
        components: how many heads there are.

    Raises:
        ValueError: another name, a number of heads other than that of components, heads that do not lead to the base's
            events, or named heads for a base or blocks that reach a part of the numbers only.
    """
    if isinstance(heads, str):
        name = one_of("heads", heads, NAMES)
        fits = len(base.event_shape) == 1 and is_everything(base.support) and _reaches_everything(chain)
        # a chain that moves no number leaves gaps where they are, and so do no heads
        if name == "none" or (name == "auto" and (not fits or (base.gaps and chain.rearranges))):
            return None
        if not fits:
            raise ValueError(
                f"heads: expected 'none' or a transform for each depth, since named heads need a base over all vectors and "
                f"blocks that reach all of them, got {name!r}"
            )
        return [_head(base.event_shape[0], spline=name != "linear") for _ in range(components)]
    given = list(heads)
    for head in given:
        if not isinstance(head, Transform):
            raise ValueError(f"heads: expected transforms, got a {type(head).__name__}")
        if head.event_shape not in (None, base.event_shape):
            raise ValueError(
                f"heads: expected event shape {tuple(base.event_shape)}, the base's, got {tuple(head.event_shape or ())}"
            )
    if len(given) != components:
        raise ValueError(f"heads: expected {components} transforms, one for each depth, got {len(given)}")
    return given


def alike(heads: Sequence[Transform]) -> bool:
    """Whether heads are of one kind that `side_by_side` runs at once: LU maps, elementwise constants, chains of them."""
    first = heads[0]
    if any(type(head) is not type(first) or head.event_shape != first.event_shape for head in heads):
        return False
    if isinstance(first, Chain):
        blocks = [list(cast(Chain, head)) for head in heads]
        same_length = len({len(each) for each in blocks}) == 1
        return same_length and all(alike(each) for each in zip(*blocks, strict=True))
    if isinstance(first, Elementwise):
        maps = [cast(Elementwise, head) for head in heads]
        if any(head.constants is None or head.univariate.size == 0 for head in maps):
            return False
        # a map that holds tensors is the one of its own head
        held = [*first.univariate.parameters(), *first.univariate.buffers()]
        return not held and all(describe(head.univariate)[0] == describe(first.univariate)[0] for head in maps)
    return isinstance(first, LULinear)


def side_by_side(heads: Sequence[Transform], columns: Tensor) -> tuple[Tensor, Tensor]:
    """Heads that are alike, at once.

    Few large operations in place of many small ones, each along the rows.

    Args:
        heads: K of them.
        columns: (K, features, rows), what each head is given.

    Returns:
        what each makes of it, (K, features, rows), and the log-determinants, (K, rows) or (K, 1) where all rows have one.
    """
    first = heads[0]
    if isinstance(first, Chain):
        total = columns.new_zeros(len(heads), 1)
        for blocks in zip(*(list(cast(Chain, head)) for head in heads), strict=True):
            columns, log_det = side_by_side(blocks, columns)
            total = total + log_det
        return columns, total
    if isinstance(first, Elementwise):
        constants = torch.stack([cast(Tensor, cast(Elementwise, head).constants) for head in heads])
        columns, log_derivative = first.univariate(columns, constants.unsqueeze(2))
        return columns, log_derivative.sum(dim=1)
    linear = [cast(LULinear, head) for head in heads]
    lower = torch.stack([part.lower for part in linear]).tril(diagonal=-1)
    upper = torch.stack([part.upper for part in linear]).triu(diagonal=1)
    log_diagonal = torch.stack([part.log_diagonal for part in linear])
    bias = torch.stack([part.bias for part in linear]).unsqueeze(-1)
    # (L + I) (U + D) without the identity: L (U + D) + (U + D)
    upper = upper + torch.diag_embed(log_diagonal.exp())
    weight = torch.baddbmm(upper, lower, upper)
    return torch.baddbmm(bias, weight, columns), log_diagonal.sum(dim=-1, keepdim=True)


def _head(features: int, spline: bool) -> Transform:
    linear = LULinear(features)
    return Chain({"linear": linear, "spline": Elementwise(QuadraticSpline(), features)}) if spline else linear


def _reaches_everything(transform: Transform) -> bool:
    """Whether a transform and all its parts reach all z."""
    return all(is_everything(part.codomain) for part in transform.modules() if isinstance(part, Transform))
