"""Columns by the chain rule in given orders, each given those before it by one network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import positive_int
from anabranch.densities import Density, Moments
from anabranch.densities.contexts import at_every_context, context_batch, context_rows
from anabranch.draws import drawing
from anabranch.families import ColumnByColumn, DistributionFunction, Family, PointMasses
from anabranch.models.chain_rule import leave_one_out, terms
from anabranch.models.column_network import ColumnNetwork, Walk


class OrderedColumns(Density):
    r"""The joint of columns by a network that gives every p(x_i | x_A), as the mean over S orders of the chain rule:

    .. math:: p(x) = \frac{1}{S} \sum_{\sigma} \prod_t p(x_{\sigma_t} \mid x_{\sigma_1}, \ldots, x_{\sigma_{t-1}}).

    What is known of the joint and of the network's conditionals, without how either is learned: `AnyOrder` learns them, and
    `Subset` integrates columns out. A NaN in x is a gap, which the chain rule leaves out.

    Args:
        network: gives theta of each column given others.
        context: size of a context, 0 for none.
        orders: of all columns, at least one.
    """

    reparameterized = False
    gaps = True
    # families of every kind in one graph: 47 columns took over 15 minutes to compile on busy cores, and 10 to fit
    slow_to_compile = True

    def __init__(self, network: ColumnNetwork, context: int, orders: Sequence[Sequence[int]]) -> None:
        super().__init__((len(network.sizes),), (context,) if context else None)
        self.network = network
        self._orders = [list(order) for order in orders]

    @property
    def orders(self) -> int:
        """How many are averaged."""
        return len(self._orders)

    @property
    def support(self) -> constraints.Constraint:
        """Every column holds a value that its family can be, or a gap."""
        return ColumnByColumn([self.family(i) for i in range(self.columns)])

    @property
    def columns(self) -> int:
        """How many there are."""
        return len(self.network.sizes)

    @property
    def order(self) -> list[int]:
        """The columns in the order of the joint; where `orders` are averaged, in the first of them."""
        return list(self._orders[0])

    def family(self, column: int) -> Family:
        """The family of a column."""
        return self.network.family(column)

    def log_prob_of_orders(self, x: Tensor, orders: int | None = None, context: Tensor | None = None) -> Tensor:
        """log p(x) in each of several orders, (*batch, orders), nats: as far apart as the model is inconsistent.

        Args:
            x: (*batch, columns).
            orders: how many random ones; the model's own by default.
            context: as elsewhere.
        """
        x, context = self._checked(x, context)
        own = self._orders
        if orders is not None:
            own = [torch.randperm(self.columns).tolist() for _ in range(positive_int("orders", orders))]
        return torch.stack([self.terms(x, order, context=context).sum(dim=-1) for order in own], dim=-1)

    def terms(
        self,
        x: Tensor,
        order: Sequence[int] | None = None,
        known: Sequence[int] = (),
        context: Tensor | None = None,
    ) -> Tensor:
        """log p(x_i | what comes before it in an order), nats; 0 for a gap.

        Args:
            x: (*batch, columns).
            order: columns, which need not be all: the others are left out. By default the order of the joint.
            known: columns that come before, and are not scored.
            context: as elsewhere.

        Returns:
            (*batch, columns in the order), in that order; by default (*batch, columns), every column at its place in x.
        """
        if order is None:
            place = torch.tensor(self.order, device=x.device).argsort()
            return self.terms(x, self.order, known, context)[..., place]
        return terms(self.network, x, list(order), known, context)

    def leave_one_out(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """log p(x_i | all others that x has) for every column i: (*batch, columns), nats; NaN for a gap.

        Args:
            x: (*batch, columns).
            context: as elsewhere.
        """
        x, context = self._checked(x, context)
        return leave_one_out(self.network, x, context)

    def point_masses(self, most: int, like: Tensor) -> list[PointMasses]:
        """What the families say."""
        return [self.family(i).point_masses(most, like) for i in range(self.columns)]

    def _moments(self, context: Tensor | None) -> Moments | None:
        """The mean of the only column of a model that has one."""
        if self.columns > 1:
            return None
        return Moments(self.family(0).mean(self._only_parameters(context)).unsqueeze(-1), None)

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction:
        return self.family(0).distribution_function(self._only_parameters(context))

    def _only_parameters(self, context: Tensor | None) -> Tensor:
        return self.parameters_given(self.network.heads.weight.new_full((1,), torch.nan), 0, context)

    def parameters_given(self, x: Tensor, column: int, context: Tensor | None = None) -> Tensor:
        """theta of p(x_column | all others that x has): (*batch, parameters); what x has in that column is not read."""
        x = at_every_context(self, x, context)
        walk = Walk(self.network, x.shape[:-1], context, like=x)
        for i in range(self.columns):
            if i != column:
                walk.reveal(i, x[..., i])
        return walk.theta(column)

    def drawn(
        self,
        x: Tensor,
        order: Sequence[int],
        known: Sequence[int] = (),
        context: Tensor | None = None,
    ) -> Tensor:
        """x with the columns of the order drawn, one after the other, given those that are known: (*batch, columns)."""
        columns = list(x.unbind(dim=-1))
        walk = Walk(self.network, x.shape[:-1], context, like=x)
        for i in known:
            walk.reveal(i, columns[i])
        for i in order:
            columns[i] = self.family(i).sample(walk.theta(i))
            walk.reveal(i, columns[i])
        return torch.stack(columns, dim=-1)

    def proposed(
        self, x: Tensor, context: Tensor | None = None, order: Sequence[int] | None = None, alike: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Rows whose gaps are drawn one after the other, given all that the row has and what was drawn before.

        The network is told first what was observed, whatever its place in the order of the joint. So these are draws of
        p(gaps | observed) in another order than the joint's, which importance weights can turn into draws of the joint.

        Args:
            x: (*batch, columns), NaN for a gap.
            context: (*batch, c), or None.
            order: of the columns to draw, which need not be all; by default that of the joint.
            alike: whether all rows along the second dimension get the same random numbers for a column, whatever other gaps
                there are; always the same ones.

        Returns:
            the rows, and log q of every drawn value (*batch, columns), nats, 0 for what was observed.
        """
        walk = Walk(self.network, x.shape[:-1], context, like=x)
        columns = list(x.unbind(dim=-1))
        log_q = [torch.zeros_like(column) for column in columns]
        for i, column in enumerate(columns):
            walk.reveal(i, column)
        for i in self.order if order is None else order:
            gap = columns[i].isnan()
            if bool(gap.any()):
                theta = walk.theta(i)
                with drawing(i if alike else None, alike=1):
                    drawn = self.family(i).sample(theta)
                columns[i] = torch.where(gap, drawn, columns[i])
                log_q[i] = torch.where(gap, self.family(i).log_prob(drawn, theta), 0.0)
                # what was observed is known already
                walk.reveal(i, torch.where(gap, drawn, torch.nan))
        return torch.stack(columns, dim=-1), torch.stack(log_q, dim=-1)

    def completed(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Rows (*batch, columns) whose gaps are drawn given what the row has, as `proposed` draws them."""
        return self.proposed(x, context)[0]

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        if self.orders == 1:
            return self.terms(x, context=context).sum(dim=-1)
        each = self.log_prob_of_orders(x, context=context)
        return torch.logsumexp(each, dim=-1) - math.log(self.orders)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        batch_shape = shape + context_batch(self, context)
        rows = context_rows(self, context, batch_shape)
        x = self.network.heads.weight.new_full((batch_shape.numel(), self.columns), torch.nan)
        which = torch.randint(self.orders, (len(x),), device=x.device)
        for one in range(self.orders):
            mine = (which == one).nonzero().squeeze(-1)
            own = None if rows is None else rows[mine]
            x[mine] = self.drawn(x[mine], self._orders[one], context=own)
        return x.reshape(*batch_shape, self.columns)
