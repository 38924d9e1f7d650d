"""Flags of a composite that follow from its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

ValueT = TypeVar("ValueT")


def derived(combine: Callable[[Iterable[ValueT]], ValueT], alone: ValueT, of: str = "parts") -> ValueT:
    """An attribute of densities that is computed from those of the parts, unless the class or the object sets it.

    Args:
        combine: the value of a composite, from the values of its parts.
        alone: the value of a density without parts.
        of: the method that names these parts.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.densities import Categorical, Independent, Normal
        >>> Independent([Normal([0.0]), Categorical([[0.0, 1.0]])]).reparameterized
        False
    """
    return cast(ValueT, _Derived(combine, alone, of))


class _Derived:
    """No data descriptor: what a subclass or an object sets under the name comes first."""

    def __init__(self, combine: Callable[[Iterable[Any]], Any], alone: Any, of: str) -> None:
        self.combine = combine
        self.alone = alone
        self.of = of

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, density: Any, owner: type | None = None) -> Any:
        parts = () if density is None else getattr(density, self.of)()
        return self.combine(getattr(part, self.name) for part in parts) if parts else self.alone
