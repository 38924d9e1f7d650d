"""What a query answers: a value, how far it may be off, and what that rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anabranch.densities.tails import HEAVY


class QueryWarning(UserWarning):
    """An estimate too poor to trust; the message says what to raise."""


class ImpossibleError(ValueError):
    """What was observed has no probability, or less than any float."""


@dataclass(frozen=True)
class Estimate:
    """A number, or several, with their Monte-Carlo error.

    Attributes:
        value: what was asked for.
        standard_error: of the value, of its shape; zeros where it is exact.
        effective_samples: how many independent draws the value is worth, of its shape; infinite where it is exact.
        exact: whether it is a closed form, so that only rounding is left.
        between_orders: of a model whose orders disagree (`AnyOrder`), the standard deviation of the value between orders,
            of its shape; None for other densities.
        pareto_k: of a mean over draws, how heavy the tail of what is averaged is, of its shape: above 0.7 neither the mean
            nor its error can be trusted, and at 1 there is no mean; None where it was not looked at.

    Example:
        >>> import torch
        >>> from anabranch.queries import Estimate
        >>> print(Estimate(torch.tensor(1.5), torch.tensor(0.02), torch.tensor(400.0), exact=False))
        1.5 ± 0.02 (400 effective samples)
        >>> print(Estimate.closed(torch.tensor(0.25)))
        0.25 (exact)
    """

    value: Tensor
    standard_error: Tensor
    effective_samples: Tensor
    exact: bool
    between_orders: Tensor | None = None
    pareto_k: Tensor | None = None

    @property
    def heavy(self) -> bool:
        """Whether it is a mean that cannot be told from draws."""
        return self.pareto_k is not None and bool((self.pareto_k > HEAVY).any())

    @classmethod
    def closed(cls, value: Tensor) -> Estimate:
        """An exact one."""
        value = value.detach()
        return cls(value, torch.zeros_like(value), torch.full_like(value, math.inf), exact=True)

    def shaped(self, shape: torch.Size) -> Estimate:
        """The same numbers in another shape."""
        between = None if self.between_orders is None else self.between_orders.reshape(shape)
        columns = (self.value, self.standard_error, self.effective_samples)
        value, error, effective = (column.reshape(shape) for column in columns)
        return Estimate(
            value,
            error,
            effective,
            self.exact,
            between,
            None if self.pareto_k is None else self.pareto_k.reshape(shape),
        )

    def __str__(self) -> str:
        orders = self.between_orders
        beside = "" if orders is None or not bool((orders > 0).any()) else f" ± {_written(orders, 2)} between orders"
        if self.exact:
            return f"{_written(self.value)}{beside} (exact)" if not beside else f"{_written(self.value)}{beside}"
        least = float(self.effective_samples.min()) if self.effective_samples.numel() else math.nan
        draws = " draws," if beside else ""
        return f"{_written(self.value)} ± {_written(self.standard_error, 2)}{draws}{beside} ({least:,.0f} effective samples)"


def _written(values: Tensor, digits: int = 6) -> str:
    def of(item: Any) -> str:
        return f"[{', '.join(map(of, item))}]" if isinstance(item, list) else f"{item:.{digits}g}"

    return of(values.tolist())
