"""Some columns of a model of any order, given some others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import matching, read_tensor, reference_tensor
from anabranch.densities import Density
from anabranch.densities.density import context_rows
from anabranch.families import ColumnByColumn
from anabranch.models.any_order import AnyOrder


class Subset(Density):
    r"""p(x_W | x_O) of an `AnyOrder` model, exact by its chain rule: first the observed columns O, then the wanted W.

    All others are summed and integrated out. It shares the model's parameters. `AnyOrder.marginal` and `conditional` make
    one.

    Args:
        model: the model.
        wanted: the columns W, in the order in which they are factorised.
        observed: the columns O.
        values: what was observed, (len(observed),), NaN for nothing; without it the density has a context: the observed
            values, followed by the model's own context if it has one.

    Raises:
        ValueError: a column that does not exist or is named twice; values of another shape.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.models import AnyOrder, Subset
        >>> model = AnyOrder(3, hidden=16)
        >>> Subset(model, wanted=[2, 0], observed=[1], values=[0.5]).sample((4,)).shape
        torch.Size([4, 2])
    """

    reparameterized = False
    gaps = True

    def __init__(
        self,
        model: AnyOrder,
        wanted: Sequence[int],
        observed: Sequence[int] = (),
        values: Tensor | ArrayLike | None = None,
    ) -> None:
        chosen, seen = [int(i) for i in wanted], [int(i) for i in observed]
        features = model.event_shape[0]
        both = [*chosen, *seen]
        if not chosen or len(set(both)) < len(both) or not all(0 <= i < features for i in both):
            raise ValueError(
                f"columns: expected different numbers from 0 to {features - 1}, some of them wanted, "
                f"got {chosen} given {seen}"
            )
        own = 0 if model.context_shape is None else model.context_shape[0]
        size = own if values is not None or not seen else own + len(seen)
        super().__init__((len(chosen),), (size,) if size else None)
        self.model = model
        self.wanted = chosen
        self.observed = seen
        if values is not None:
            like = reference_tensor(model)
            read = read_tensor("values", values, like).detach()
            matching("values", read, torch.Size([len(seen)]), None)
            # a file's description is read into a model that has not its dtype yet
            read = read if like is None else read.to(like)
            if read.dim() != 1:
                raise ValueError(f"values: expected shape ({len(seen)},), got {tuple(read.shape)}")
            self.register_buffer("values", read.clone())
        else:
            self.values = None

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """Every column what its family can be, or a gap."""
        return ColumnByColumn([self.model.family(i) for i in self.wanted])

    def terms(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p of every wanted column given the observed ones and those before it: (*batch, wanted), nats."""
        x, context = self._checked(x, context)
        batch = x.shape[:-1] if context is None else torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
        filled, own = self._filled(batch, context, x)
        filled[..., self.wanted] = x.expand(*batch, -1)
        return self.model.terms(filled, self.wanted, self.observed, own)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.terms(x, context).sum(dim=-1)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        batch = shape if context is None else shape + context.shape[:-1]
        rows = context_rows(context, batch)
        like = self.model.network.heads.weight
        filled, own = self._filled(torch.Size([batch.numel()]), rows, like)
        drawn = self.model.drawn(filled, self.wanted, self.observed, own)
        return drawn[:, self.wanted].reshape(*batch, len(self.wanted))

    def _filled(self, batch: torch.Size, context: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows of the model that hold what was observed and gaps elsewhere, and the model's own context."""
        filled = like.new_full((*batch, self.model.event_shape[0]), torch.nan)
        values, own = self.values, context
        if values is None and self.observed and context is not None:
            values, own = context.split([len(self.observed), context.shape[-1] - len(self.observed)], dim=-1)
        if values is not None:
            filled[..., self.observed] = values.expand(*batch, -1)
        own = None if self.model.context_shape is None or own is None else own.expand(*batch, -1)
        return filled, own
