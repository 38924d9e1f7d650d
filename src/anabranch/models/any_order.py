"""An autoregressive model of columns of any kinds in any order: every marginal and every conditional."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.densities import AtContext, Density
from anabranch.densities.contexts import at_every_context
from anabranch.families import Family, Logistics
from anabranch.models.column_network import ColumnNetwork
from anabranch.models.order_loss import OrderLoss
from anabranch.models.ordered_columns import OrderedColumns
from anabranch.models.orders import permutation
from anabranch.models.subset import Subset

# chosen on validation rows, with `training.pace.ANY_ORDER` (docs/tables.md)
WIDTH = 256


class AnyOrder(OrderedColumns):
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

    leaves_open = True

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
        generator = torch.Generator().manual_seed(seed)
        drawn = [
            torch.randperm(columns, generator=generator).tolist() for _ in range(positive_int("orders", orders) - 1)
        ]
        super().__init__(network, context, [permutation(columns, order), *drawn])
        self.register_buffer("initialized", torch.tensor(False))
        self._order_loss = OrderLoss(network, self._orders, agreement)

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

    def any_order(self, context: Tensor | None) -> tuple[AnyOrder, Tensor | None]:
        """Itself."""
        return self, context

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        """Of the joint, a `Subset`, which shares this model's parameters.

        It is exact for columns that come first in `order`, the observed ones before the wanted ones, and has an integral
        otherwise.
        """
        subset = Subset(self, wanted, observed, values)
        if context is None:
            return subset
        return None if observed and values is None else AtContext(subset, context)

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
