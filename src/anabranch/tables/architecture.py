"""Which density a table is fitted by, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from anabranch import flows, vaes
from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.models import AnyOrder, DepthMixture, Flow
from anabranch.models.any_order import WIDTH
from anabranch.models.orders import fullest_first
from anabranch.objectives import ImportanceWeighted, Objective
from anabranch.tables.columns.column import Float64
from anabranch.tables.schema import Schema
from anabranch.training.pace import ANY_ORDER, AUTOENCODERS, FLOWS, Pace

NAMES = {"any-order": "any order", "depth": "depth mixture", "flow": "flow", "vae": "autoencoder, estimated"}
MIXED = ("any-order", "vae")
"""Models of columns of all kinds, with gaps."""

# of an autoencoder: numbers of z, and draws of it for each row of a step
_LATENT, _PARTICLES = 8, 5


@dataclass(frozen=True)
class Architecture:
    """Which density a table is fitted by, and how large it is, as `fit_table` states.

    Attributes:
        model: "any-order", "depth", "flow" or "vae".
        structure: of spline blocks, "autoregressive" or "coupling".
        blocks: how many.
        hidden: sizes of the hidden layers of each spline block, or of an autoencoder; or the one width for any order.
        bins: of splines.
        orders: of columns, which a joint of any order averages.
        latent: how many hidden numbers an autoencoder has.
    """

    model: str
    structure: str
    blocks: int
    hidden: tuple[int, ...]
    bins: int
    orders: int
    latent: int = _LATENT

    @classmethod
    def chosen(
        cls,
        model: str,
        structure: str,
        blocks: int | None,
        hidden: Sequence[int] | int | None,
        bins: int,
        orders: int,
        latent: int | None = None,
    ) -> Self:
        """What was asked for, with the defaults of the model in place of None.

        Raises:
            ValueError: several widths for any order, or several orders, hidden numbers or blocks of a model that has none.
        """
        if latent is not None and model != "vae":
            raise ValueError(f"latent: expected None with model={model!r}, which has no hidden numbers, got {latent}")
        if blocks is not None and model == "vae":
            raise ValueError(f"blocks: expected None with model='vae', whose size hidden and latent say, got {blocks}")
        if model == "any-order":
            return cls(model, structure, 2 if blocks is None else blocks, (_width(hidden),), bins, orders)
        if orders > 1:
            raise ValueError(f"orders: expected 1 with model={model!r}, which has no orders, got {orders}")
        sizes = (128, 128) if hidden is None else (hidden,) if isinstance(hidden, int) else tuple(hidden)
        numbers = _LATENT if latent is None else positive_int("latent", latent)
        return cls(model, structure, 5 if blocks is None else blocks, sizes, bins, orders, numbers)

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
        if self.model == "vae":
            sizes = ", ".join(map(str, self.hidden))
            return f"autoencoder, {self.latent} hidden number{'s' * (self.latent > 1)}, networks of {sizes}"
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
        if self.model == "vae":
            return {"model": self.model, "hidden": sizes, "latent": self.latent}
        options = {"structure": self.structure, "blocks": self.blocks, "hidden": sizes, "bins": self.bins}
        return {"model": self.model, **options}

    @property
    def pace(self) -> Pace:
        """How long and how fast it is fitted by default."""
        return ANY_ORDER if self.any_order else AUTOENCODERS if self.model == "vae" else FLOWS

    @property
    def objective(self) -> Objective | None:
        """What the fit minimises; None for what `fit` chooses."""
        return ImportanceWeighted(_PARTICLES, more_gaps=True) if self.model == "vae" else None

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
            if self.model == "vae":
                columns = (len(schema.columns),)
                return vaes.vae(columns, schema.families(), self.latent, hidden=self.hidden, gaps=True)
            features, context = len(schema.columns), schema.context_size
            chain = flows.nsf(features, context, self.blocks, self.hidden, self.bins, structure=self.structure)
            return DepthMixture(chain, hidden=(64, 64)) if self.model == "depth" else Flow(chain)


def _width(hidden: Sequence[int] | int | None) -> int:
    """The one width of a network of any order."""
    sizes = {WIDTH} if hidden is None else {hidden} if isinstance(hidden, int) else set(hidden)
    if len(sizes) != 1:
        raise ValueError(f"hidden: expected one width for a model of any order, got {sorted(sizes)}")
    return positive_int("hidden", sizes.pop())
