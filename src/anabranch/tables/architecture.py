"""Which density a table is fitted by, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from anabranch import flows
from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.models import AnyOrder, DepthMixture, Flow
from anabranch.models.any_order import WIDTH
from anabranch.models.orders import fullest_first
from anabranch.tables.columns.column import Float64
from anabranch.tables.schema import Schema
from anabranch.training.pace import ANY_ORDER, FLOWS, Pace

NAMES = {"any-order": "any order", "depth": "depth mixture", "flow": "flow"}


@dataclass(frozen=True)
class Architecture:
    """Which density a table is fitted by, and how large it is, as `fit_table` states.

    Attributes:
        model: "any-order", "depth" or "flow".
        structure: of spline blocks, "autoregressive" or "coupling".
        blocks: how many.
        hidden: sizes of the hidden layers of each spline block; or the one width for any order.
        bins: of splines.
        orders: of columns, which a joint of any order averages.
    """

    model: str
    structure: str
    blocks: int
    hidden: tuple[int, ...]
    bins: int
    orders: int

    @classmethod
    def chosen(
        cls, model: str, structure: str, blocks: int | None, hidden: Sequence[int] | int | None, bins: int, orders: int
    ) -> Self:
        """What was asked for, with the defaults of the model in place of None.

        Raises:
            ValueError: several widths for any order, or several orders of a model that has none.
        """
        if model == "any-order":
            return cls(model, structure, 2 if blocks is None else blocks, (_width(hidden),), bins, orders)
        if orders > 1:
            raise ValueError(f"orders: expected 1 with model={model!r}, which has no orders, got {orders}")
        sizes = (128, 128) if hidden is None else (hidden,) if isinstance(hidden, int) else tuple(hidden)
        return cls(model, structure, 5 if blocks is None else blocks, sizes, bins, orders)

    @property
    def any_order(self) -> bool:
        """Whether columns of all kinds are modelled, in their mixed unit."""
        return self.model == "any-order"

    @property
    def name(self) -> str:
        """By which the model stands beside its baselines."""
        return NAMES[self.model]

    @property
    def words(self) -> str:
        """What is fitted, for people."""
        several = "s" * (self.blocks > 1)
        if self.any_order:
            return f"{self.name}, {self.blocks} residual block{several} of {self.hidden[0]}"
        return f"{self.name} of {self.blocks} spline {self.structure} block{several}"

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `fit_table` that make it, as plain data."""
        if self.any_order:
            several = {"orders": self.orders} if self.orders > 1 else {}
            return {"model": self.model, "blocks": self.blocks, "hidden": self.hidden[0], **several}
        sizes = [int(size) for size in self.hidden]
        options = {"structure": self.structure, "blocks": self.blocks, "hidden": sizes, "bins": self.bins}
        return {"model": self.model, **options}

    @property
    def pace(self) -> Pace:
        """How long and how fast it is fitted by default."""
        return ANY_ORDER if self.any_order else FLOWS

    def build(self, schema: Schema, x: Float64, seed: int) -> Density:
        """The density, not fitted yet.

        Args:
            schema: of the columns.
            x: encoded training rows (n, D), of whose columns the fullest come first in an order.
            seed: of its initial weights, and of its orders.
        """
        with drawing(seed):
            if self.any_order:
                families = schema.families()
                order = fullest_first(torch.from_numpy(x), families)
                return AnyOrder(families, schema.context_size, self.hidden[0], self.blocks, self.orders, seed, order)
            features, context = len(schema.columns), schema.context_size
            chain = flows.nsf(features, context, self.blocks, self.hidden, self.bins, structure=self.structure)
            return DepthMixture(chain, hidden=(64, 64)) if self.model == "depth" else Flow(chain)


def _width(hidden: Sequence[int] | int | None) -> int:
    """The one width of a network of any order."""
    sizes = {WIDTH} if hidden is None else {hidden} if isinstance(hidden, int) else set(hidden)
    if len(sizes) != 1:
        raise ValueError(f"hidden: expected one width for a model of any order, got {sorted(sizes)}")
    return positive_int("hidden", sizes.pop())
