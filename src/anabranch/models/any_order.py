"""An autoregressive model of columns of any kinds in any order: every marginal and every conditional."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.densities.contexts import at_every_context, context_batch, context_rows
from anabranch.draws import drawing
from anabranch.families import ColumnByColumn, Family, Logistics
from anabranch.models.chain_rule import leave_one_out, terms
from anabranch.models.column_network import ColumnNetwork, Walk
from anabranch.models.order_loss import OrderLoss
from anabranch.models.orders import permutation

# chosen on validation rows, with `training.pace.ANY_ORDER` (docs/tables.md)
WIDTH = 256


class AnyOrder(Density):
    r"""p(x_i | x_A) by one network for every column i and every set A of others. The chain rule in one order is the joint:

    .. math:: p(x) = \prod_t p(x_{\sigma_t} \mid x_{\sigma_1}, \ldots, x_{\sigma_{t-1}}), \qquad \sigma = \texttt{order}.

    log_prob and samples are of this joint. Columns may be of any `Family`: continuous, on a lattice, categories, with atoms.

    A network cannot be made consistent: another order gives a somewhat different p. `orders` averages several orders as one
    exact density, and `log_prob_of_orders` shows how far orders are apart. What an order says of a column given others is
    not what the joint says of it, unless these come first in `order`; `marginal` and `conditional` are of the joint.

    A NaN in x is a gap, a value that was not observed. log_prob of a row with gaps takes the chain rule over the columns
    that the row has, in `order`: the network leaves the others out, which comes near to the integral over them.

    A fit minimises -log p, one step of the chain rule at a time. Most rows learn random orders, the others `order`; a term
    brings orders nearer to each other (`order_loss.OrderLoss`). Rows with gaps are completed first, by draws from the model
    (`objectives.Completion`, which `fit` uses where rows have gaps). The loss in evaluation mode is -log_prob.

    A `ColumnNetwork` gives the parameters of a column given others. log_prob and sampling take one pass of it for each
    column. The first layer takes one pass for all of them: it is a sum over the columns that are known.
    Source: Uria, Murray and Larochelle, 2014, arXiv:1310.1757 (orderless NADE); Hoogeboom et al., 2022, arXiv:2110.02037.

    Args:
        families: one for each column; or how many columns there are, all of them `Logistics()`.
        context: size of a context, 0 for none.
        hidden: width of the network.
        blocks: its residual blocks.
        order: the columns in the order of the joint; as they are by default. Columns with few gaps are best first: a
            conditional is learned from rows that have its column.
        orders: how many orders log_prob averages: `order`, then random ones, which are part of the model.
        seed: of these.
        agreement: weight in a fit of what orders differ by, 0 for none.

    Raises:
        ValueError: no families, or something else among them; an order that is no permutation of the columns.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels, Logistics
        >>> model = ab.models.AnyOrder([Logistics(), Logistics(), Levels(3)], hidden=32)
        >>> x = model.sample((100,))
        >>> x[0, 1] = torch.nan  # a gap
        >>> model.log_prob(x).shape
        torch.Size([100])
        >>> model.conditional([2], [1.0]).sample((5,)).shape
        torch.Size([5, 2])
    """

    reparameterized = False
    gaps = True
    # families of every kind in one graph: 47 columns took over 15 minutes to compile on busy cores, and 10 to fit
    slow_to_compile = True

    def __init__(
        self,
        families: Sequence[Family] | int,
        context: int = 0,
        hidden: int = WIDTH,
        blocks: int = 2,
        orders: int = 1,
        seed: int = 0,
        order: Sequence[int] | None = None,
        agreement: float = 0.1,
    ) -> None:
        if isinstance(families, int):
            families = [Logistics() for _ in range(positive_int("families", families))]
        context = positive_int("context", context, least=0)
        network = ColumnNetwork(families, context, hidden, blocks)
        columns = len(network.sizes)
        super().__init__((columns,), (context,) if context else None)
        self.network = network
        self.register_buffer("initialized", torch.tensor(False))
        self.orders = positive_int("orders", orders)
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randperm(columns, generator=generator).tolist() for _ in range(self.orders - 1)]
        self._orders = [permutation(columns, order), *drawn]
        self._order_loss = OrderLoss(network, self._orders, agreement)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
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

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what families read off a sample, and start each column at its own marginal, whatever is known of others.

        Once: a fit does it with its first batch, and leaves alone what more rows, or an earlier fit, have set.
        """
        if bool(self.get_buffer("initialized")):
            return
        self.get_buffer("initialized").fill_(True)
        for i in range(self.columns):
            seen = x[:, i][~x[:, i].isnan()]
            if len(seen):
                self.network.start(i, seen)

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

    def marginal(self, columns: Sequence[int]) -> Density:
        """p(x_columns) of the joint, a `Subset`, which shares this model's parameters.

        It is exact for columns that come first in `order`, and has an integral otherwise.

        Raises:
            ValueError: a column that does not exist, or twice the same.
        """
        from anabranch.models.subset import Subset  # noqa: PLC0415 (it builds on this file)

        return Subset(self, columns)

    def conditional(self, columns: Sequence[int], values: Tensor | ArrayLike | None = None) -> Density:
        """p(x_rest | x_columns) of the joint, of the other columns in their order: a `Subset`, which shares this model's
        parameters.

        Args:
            columns: the observed columns.
            values: (len(columns),), what was observed. Without it the result is a density with a context: the observed
                values, followed by this model's own context if it has one.

        Raises:
            ValueError: a column that does not exist, all of them, or values of another shape.
        """
        from anabranch.models.subset import Subset  # noqa: PLC0415 (it builds on this file)

        rest = [i for i in range(self.columns) if i not in set(columns)]
        return Subset(self, rest, columns, values)

    def parameters_given(self, x: Tensor, column: int, context: Tensor | None = None) -> Tensor:
        """theta of p(x_column | all others that x has): (*batch, parameters); what x has in that column is not read."""
        x = at_every_context(self, x, context)
        walk = Walk(self.network, x.shape[:-1], context, like=x)
        for i in range(self.columns):
            if i != column:
                walk.reveal(i, x[..., i])
        return walk.theta(column)

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

    def completed_loss(
        self, x: Tensor, observed: Tensor, context: Tensor | None = None, drawn_count: bool = True
    ) -> Tensor:
        """The loss of rows whose gaps were drawn: (*batch), nats.

        Any columns may be shown, drawn ones too. Scored are the others that were observed, and drawn ones where a column
        that was observed is not shown. Drawn ones are left out where all that was observed is shown: they were drawn from
        what the network says there already, so that they would teach it nothing, and hold it back.

        Args:
            x: (*batch, columns), without gaps.
            observed: (*batch, columns), which of these were observed and not drawn.
            context: (*batch, c), or None.
            drawn_count: whether drawn values are scored at all.
        """
        return self._order_loss(x, torch.ones_like(observed), observed, context, drawn_count)

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        if not self.training:
            return -self._log_prob(x, context)
        x = at_every_context(self, x, context)
        observed = ~x.isnan()
        return self._order_loss(torch.where(observed, x, 0.0), observed, observed, context)
