"""Which parts of a density are compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from anabranch.compiled import compile_method, forget, is_compiled
from anabranch.transforms import Transform, UnivariateMap


def compile_density(density: nn.Module, *arguments: Any, **options: Any) -> None:
    """Compile log_prob and loss of a density whole, inverses that are formulas, and the loops of its univariate maps.

    An inverse of one step per feature would unroll to thousands of operations; it gains by the loops of its map.
    """
    for univariate in _maps(density):
        univariate.fused = True
    for name in ("_log_prob", "_loss"):
        compile_method(density, name, *arguments, **options)
    for transform in _closed(density):
        compile_method(transform, "_inverse", *arguments, **options)


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


def _closed(module: nn.Module) -> Iterator[Transform]:
    """The outermost transforms whose inverse is a formula, those with univariate maps in them: others do little."""
    for part in module.children():
        if isinstance(part, Transform) and part.inversion == "closed":
            if _maps(part):
                yield part
        else:
            yield from _closed(part)
