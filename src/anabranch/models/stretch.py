"""Some positions of an autoregressive model, given those before them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of, read_tensor, reference_tensor
from anabranch.densities import Density
from anabranch.families.distribution_function import DistributionFunction
from anabranch.models.position_chain import PositionChain, channels_of, check_possible, number_of


class Stretch(Density):
    r"""p(x_W | x_O, c) of a chain over the numbers of a vector, where O comes first in its order and W next. It is exact:

    .. math:: \log p(x_W \mid x_O, c) = \sum_{d \in W} \log p(x_d \mid \text{positions before } d, c).

    `Autoregressive.marginal` and `conditional` make one. It shares the model's parameters.

    Args:
        chain: of the model.
        wanted: the places W in an event, in the order wanted.
        observed: the places O.
        values: what was observed, (len(observed),).
        context: c, one context; None for none.

    Raises:
        ValueError: other places than the first in the chain's order; values of another shape, or that cannot be; a context
            that does not fit.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.families import Gaussians
        >>> from anabranch.networks import MaskedMLP
        >>> model = ab.models.Autoregressive(Gaussians(1), MaskedMLP(4, outputs=3))
        >>> model.conditional([0, 1], [0.5, -0.5]).sample((5,)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        chain: PositionChain,
        wanted: Sequence[int],
        observed: Sequence[int] = (),
        values: Tensor | ArrayLike | None = None,
        context: Tensor | ArrayLike | None = None,
    ) -> None:
        instance_of("chain", chain, PositionChain)
        super().__init__((len(wanted),))
        order = chain.layout.order
        known, end = len(observed), len(observed) + len(wanted)
        if sorted(order[:known]) != sorted(observed) or sorted(order[known:end]) != sorted(wanted) or not wanted:
            raise ValueError(
                f"wanted: expected the places that come after the observed ones in the order {order}, got {list(wanted)} "
                f"after {list(observed)}"
            )
        if channels_of(chain.family) is not None or len(chain.layout.event_shape) != 1:
            raise ValueError("chain: expected one over vectors, whose positions are numbers")
        self.chain, self.wanted = chain, list(wanted)
        like = reference_tensor(chain)
        given = read_tensor("values", [] if values is None else values, like)
        if given.shape != (known,):
            raise ValueError(f"values: expected shape ({known},), got {tuple(given.shape)}")
        check_possible("values", number_of(chain.family), given)
        at = None if context is None else read_tensor("context", context, like)
        shape, wished = None if at is None else at.shape, chain.network.context_shape
        if shape != wished:
            raise ValueError(f"context: expected shape {_shown(wished)}, got {_shown(shape)}")
        # as the network takes them: one after the other in its order
        places = [list(observed).index(place) for place in order[:known]]
        self.register_buffer("prefix", given[places].detach().clone())
        self.register_buffer("at", None if at is None else at.detach().clone())
        self.register_buffer(
            "turn", torch.tensor([list(wanted).index(place) for place in order[known:end]]), persistent=False
        )
        self.register_buffer(
            "back", torch.tensor([order[known:end].index(place) for place in wanted]), persistent=False
        )
        self.event_dtype = chain.event_dtype
        self.reparameterized = number_of(chain.family).reparameterized

    @property
    def support(self) -> Constraint:
        """Vectors of numbers that the family can be."""
        return self.chain.support

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        batch, prefix = x.shape[:-1], self.get_buffer("prefix")
        x = x.index_select(-1, self.get_buffer("turn"))
        known, end = len(prefix), len(prefix) + x.shape[-1]
        # what comes later moves nothing
        later = prefix.new_zeros(*batch, self.chain.network.features - end)
        full = torch.cat([prefix.expand(*batch, known), x.to(prefix.dtype), later], dim=-1)
        full = full.unflatten(-1, self.chain.network.positions)
        terms = self.chain.family.log_prob(full, self.chain.theta(full, self._context))
        return terms.flatten(len(batch))[..., known:end].sum(dim=-1)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        prefix = self.get_buffer("prefix")
        known = len(prefix)
        values = self.chain.walk(shape, self._context, prefix.expand(*shape, known), until=known + self.event_shape[0])
        return torch.stack(values[known:], dim=-1).index_select(-1, self.get_buffer("back"))

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        """A stretch of the same chain, which begins after what both have observed."""
        if observed and values is None:
            return None
        prefix = self.get_buffer("prefix")
        known = prefix if values is None else torch.cat([prefix, values])
        places = [*self.chain.layout.order[: len(prefix)], *(self.wanted[i] for i in observed)]
        return stretch_of(self.chain, [self.wanted[i] for i in wanted], places, known, self._context)

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        """That of the family, where one position is wanted."""
        prefix, chain = self.get_buffer("prefix"), self.chain
        # what comes later moves nothing
        full = torch.cat([prefix, prefix.new_zeros(chain.network.features - len(prefix))])
        theta = chain.theta(full.unflatten(0, chain.network.positions), self._context)
        return number_of(chain.family).distribution_function(theta.flatten(0, -2)[len(prefix)])

    @property
    def _context(self) -> Tensor | None:
        return self._buffers["at"]


def stretch_of(
    chain: PositionChain, wanted: Sequence[int], observed: Sequence[int], values: Tensor | None, context: Tensor | None
) -> Stretch | None:
    """p(x_W | x_O, c); None where it takes an integral: unless O comes first in the order and W next."""
    first, next_ = chain.layout.order[: len(observed)], chain.layout.order[len(observed) : len(observed) + len(wanted)]
    if sorted(first) != sorted(observed) or sorted(next_) != sorted(wanted):
        return None
    return Stretch(chain, wanted, observed, values, context)


def _shown(shape: torch.Size | None) -> tuple[int, ...] | None:
    return None if shape is None else tuple(shape)
