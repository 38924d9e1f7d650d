"""How every recipe ends: layers with names and numbers, the first behind the transforms that take data as they come."""

from __future__ import annotations

from collections.abc import Iterable

from anabranch.transforms import Chain, Memory, Transform


def numbered(kind: str, layers: Iterable[Transform], memory: str | Memory, **start: Transform) -> Chain:
    """The chain kind_1, kind_2, ... of layers.

    Every prefix of a chain may be a depth of a `DepthMixture`. The transforms that make data fit for the layers are
    therefore a part of the first block and no block themselves.

    Args:
        kind: what the names begin with.
        layers: at least one.
        memory: what the chain keeps for the gradients.
        start: transforms by name that come before the first layer, in its block.
    """
    first, *later = layers
    blocks = [Chain({**start, "layer": first}) if start else first, *later]
    return Chain({f"{kind}_{i + 1}": block for i, block in enumerate(blocks)}, memory=memory)
