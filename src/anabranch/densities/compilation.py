"""Which parts of a density are compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from anabranch.compiled import compile_methods, forget, is_compiled
from anabranch.networks import CausalNetwork
from anabranch.transforms import Transform, UnivariateMap


def compile_density(density: nn.Module, *arguments: Any, **options: Any) -> None:
    """Compile log_prob and loss of a density whole, inverses that are formulas, and the loops of its univariate maps.

    An inverse of one step per feature would unroll to thousands of operations; it gains by the loops of its map. Likewise
    log_prob where it takes such an inverse, or a recurrent network.
    """
    for univariate in _maps(density):
        univariate.fused = True
    whole = [
        name
        for name in ("_log_prob", "_lower_bound", "_loss", "_joint_log_prob", "_joint_loss")
        if hasattr(density, name)
    ]
    compile_methods(density, [] if unrolls(density) else whole, *arguments, **options)
    for transform in _closed(density):
        compile_methods(transform, ("_inverse",), *arguments, **options)


def unrolls(density: nn.Module) -> bool:
    """Whether log_prob takes an inverse of one step after the other, or a network does, or steps depend on values."""
    return any(
        (isinstance(part, Transform) and part.scoring != "closed") or (isinstance(part, CausalNetwork) and part.unrolls)
        for part in density.modules()
    )


@contextmanager
def compiled(density: nn.Module) -> Iterator[None]:
    """Compile a density for a while; one that is compiled already stays as it is."""
    if is_compiled(density):
        yield
        return
    before = [(univariate, univariate.fused) for univariate in _maps(density)]
    compile_density(density)
    try:
        yield
    finally:
        forget(density)
        for transform in _closed(density):
            forget(transform)
        for univariate, fused in before:
            univariate.fused = fused


def _maps(module: nn.Module) -> list[UnivariateMap]:
    return [part for part in module.modules() if isinstance(part, UnivariateMap)]


def _closed(module: nn.Module) -> list[Transform]:
    """The transforms whose inverse is a formula, those with univariate maps in them: others do little.

    Parts as well as wholes, for a mixture from depth inverts block by block; what is not called is not compiled.
    """
    parts = [part for part in module.modules() if isinstance(part, Transform) and part.inversion == "closed"]
    return [part for part in parts if _maps(part)]
