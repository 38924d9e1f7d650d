"""A bound on what a piece of code may allocate, so that a few bytes of a file cannot ask for all memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anabranch.torch_internals import DispatchMode, tree_leaves, tree_map

# what an operation counts at least: many small ones take time, if no room
_LEAST = 4096


class Bounded(DispatchMode):
    """Within the block, PyTorch makes tensors of so many bytes in all, freed ones included.

    The size of a result is told on the "meta" device, before it is allocated. An operation whose result depends on
    values has no larger result than its arguments, and counts as small.

    Args:
        limit: bytes.

    Raises:
        MemoryError: more are asked for.

    Example:
        >>> import torch
        >>> from anabranch.bounded import Bounded
        >>> with Bounded(1_000_000):
        ...     x = torch.zeros(1000)
        >>> with Bounded(1_000_000):
        ...     torch.zeros(10**11)
        Traceback (most recent call last):
        MemoryError: expected tensors of at most 1,000,000 bytes, and aten.zeros.default asks for 400,000,000,000 more
    """

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit, self.left = limit, limit

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        keywords = keywords or {}
        needed = max(_LEAST, _bytes_of_result(function, arguments, keywords))
        self.left -= needed
        if self.left < 0:
            raise MemoryError(
                f"expected tensors of at most {self.limit:,} bytes, and {function} asks for {needed:,} more"
            )
        return function(*arguments, **keywords)


def _bytes_of_result(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> int:
    schema = function._schema
    if any(value.alias_info is not None for value in schema.returns):
        return 0  # a view, or in place
    keywords = {name: value for name, value in keywords.items() if name != "generator"}
    if any(argument.name == "device" for argument in schema.arguments):
        keywords["device"] = torch.device("meta")
    arguments, keywords = tree_map(
        lambda value: value.to("meta") if isinstance(value, Tensor) else value, (arguments, keywords)
    )
    try:
        result = function(*arguments, **keywords)
    except (NotImplementedError, RuntimeError, ValueError):
        return 0
    return sum(value.numel() * value.element_size() for value in tree_leaves(result) if isinstance(value, Tensor))
