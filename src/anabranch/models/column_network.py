"""One network that reads the known ones among columns of any kinds, and says what every other column is like."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from anabranch.checks import instance_of, positive_int
from anabranch.families import Atoms, Family, Lattice, Logistics, Panel
from anabranch.families.panel import offsets
from anabranch.networks import ResidualMLP


class ColumnNetwork(nn.Module):
    r"""theta_i(x_A) of every column i, for every set A of known ones:

    .. math:: \theta = W h(e) + V d, \qquad (e, d) = (e_0, 0) + \sum_{j \in A} E_j f_j(x_j)

    where f_j are the features of the column's family and a one that says that it is known, h a residual network, and d what
    heads read directly: known columns as they are. W and V make a generalised linear model, in which a column of few rows
    finds its own way, and which the network mends. What has entered, (e, d), is a sum, to which columns are added as they
    become known.

    Args:
        families: one for each column.
        context: size of a context, which the residual network reads, 0 for none.
        hidden: width of the network.
        blocks: its residual blocks.

    Raises:
        ValueError: no families, or something else among them.

    Example:
        >>> import torch
        >>> from anabranch.families import Levels, Logistics
        >>> from anabranch.models.column_network import ColumnNetwork
        >>> network = ColumnNetwork([Logistics(), Levels(3)], hidden=16)
        >>> x = torch.tensor([[0.5, 2.0]])
        >>> entered = network.nothing_known + network.added(x, torch.tensor([[True, False]])).sum(dim=0)
        >>> network.family(1).log_prob(x[:, 1], network.theta(entered, 1)).shape
        torch.Size([1])
    """

    def __init__(self, families: Sequence[Family], context: int = 0, hidden: int = 128, blocks: int = 2) -> None:
        super().__init__()
        parts = list(families)
        if not parts:
            raise ValueError("families: expected one for each column, got none")
        for part in parts:
            instance_of("families", part, Family)
        self.families = nn.ModuleList(parts)
        self.event_shape = torch.Size([len(parts)])
        self.context_shape = torch.Size([context]) if context else None
        width = positive_int("hidden", hidden)
        # what is known of a column: its features and that it is known
        self.inputs = [part.inputs + 1 for part in parts]
        self.sizes = [part.parameters_of_one for part in parts]
        self.entrance = nn.Linear(sum(self.inputs), width)
        self.register_buffer("_direct", torch.block_diag(*[_direct(part) for part in parts]), False)
        self.trunk = ResidualMLP(width, width, context=context, hidden=width, blocks=blocks, activation="silu")
        self.heads = nn.Linear(width + len(self.get_buffer("_direct")), sum(self.sizes))
        nn.init.zeros_(self.heads.weight)
        nn.init.normal_(self.heads.weight[:, :width], std=0.01)
        nn.init.zeros_(self.heads.bias)
        self.panel = Panel(parts)
        self._parameters_at = offsets(self.sizes)
        self._inputs_at = offsets(self.inputs)
        # for every number that the entrance reads: which of the features it is, or behind those the one that says "known"
        begun = offsets(self.panel.inputs)
        ones = sum(self.panel.inputs)
        places = [[*range(at.start, at.stop), ones + i] for i, at in enumerate(begun)]
        self.register_buffer("_read_from", torch.tensor([place for row in places for place in row]), False)
        columns = [i for i, size in enumerate(self.inputs) for _ in range(size)]
        self.register_buffer("_column_of", torch.tensor(columns), False)

    def family(self, column: int) -> Family:
        """The family of a column."""
        part = self.families[column]
        instance_of("families", part, Family)
        return part  # type: ignore[return-value]

    def start(self, column: int, seen: Tensor) -> None:
        """Set what a column's family reads off a sample (n), and begin at its marginal whatever is known of others."""
        self.family(column).initialize(seen)
        with torch.no_grad():
            self.heads.bias[self._parameters_at[column]] = self.family(column).start(seen)

    @property
    def nothing_known(self) -> Tensor:
        """What has entered of a row of which nothing is known: (width + direct)."""
        return torch.cat([self.entrance.bias, self.entrance.bias.new_zeros(len(self.get_buffer("_direct")))])

    @property
    def entered_by(self) -> Tensor:
        """What every number read adds to what has entered: (width + direct, inputs)."""
        return torch.cat([self.entrance.weight, self.get_buffer("_direct")])

    def entered(self, x: Tensor, shown: Tensor) -> Tensor:
        """What has entered of rows x (*batch, columns), of which some columns are shown: (*batch, width + direct)."""
        return linear(self._read(x, shown), self.entered_by, self.nothing_known)

    def added(self, x: Tensor, shown: Tensor) -> Tensor:
        """What each column adds when it becomes known, nothing where it is not shown: (columns, *batch, width + direct)."""
        read, weight = self._read(x, shown), self.entered_by
        return torch.stack([linear(read[..., at], weight[:, at]) for at in self._inputs_at])

    def added_by(self, column: int, x: Tensor, weight: Tensor) -> Tensor:
        """What one column adds, x (*batch) or a gap, which adds nothing: (*batch, width + direct).

        Args:
            column: which.
            x: its values.
            weight: `entered_by`, which does not change between columns.
        """
        known = ~x.isnan()
        features = self.family(column).features(torch.where(known, x, 0.0))
        read = torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
        return linear(read * known.unsqueeze(-1), weight[:, self._inputs_at[column]])

    def theta(self, entered: Tensor, column: int, context: Tensor | None = None) -> Tensor:
        """The parameters of one column given what has entered: (*batch, parameters)."""
        return self._head(self._hidden(entered, context), column)

    def log_prob(self, x: Tensor, entered: Tensor, context: Tensor | None = None) -> Tensor:
        """log p of all columns of x (*batch, columns; no gaps) given what has entered, the same for all: as x, nats."""
        return self.panel.log_prob(x, self.heads(self._hidden(entered, context)))

    def log_prob_of_each(
        self, x: Tensor, entered: Tensor, columns: Sequence[int], context: Tensor | None = None
    ) -> Tensor:
        """log p of some columns, for each of which something else has entered.

        Args:
            x: (n, columns), without gaps.
            entered: (len(columns), n, width + direct).
            columns: which.
            context: (n, c), or None.

        Returns:
            (n, columns); no meaning where a column is not among those asked for.
        """
        h = self._hidden(entered, context)
        pieces = list(x.new_zeros(len(x), sum(self.sizes)).split(self.sizes, dim=-1))
        for t, i in enumerate(columns):
            pieces[i] = self._head(h[t], i)
        return self.panel.log_prob(x, torch.cat(pieces, dim=-1))

    def _head(self, h: Tensor, column: int) -> Tensor:
        at = self._parameters_at[column]
        return linear(h, self.heads.weight[at], self.heads.bias[at])

    def _read(self, x: Tensor, shown: Tensor) -> Tensor:
        """What the entrance reads, (*batch, all inputs): of each column its features and a one, or zeros if not shown."""
        features = torch.cat([self.panel.features(x), torch.ones_like(x)], dim=-1)
        features = features.index_select(-1, self.get_buffer("_read_from"))
        return features * shown.to(x.dtype).index_select(-1, self.get_buffer("_column_of"))

    def _hidden(self, entered: Tensor, context: Tensor | None) -> Tensor:
        """What heads read, of what has entered: (*batch, width + direct)."""
        width = self.entrance.out_features
        h = self.trunk(silu(entered[..., :width]), context if self.trunk.context else None)
        return torch.cat([silu(h), entered[..., width:]], dim=-1)


class Walk:
    """Rows of which columns become known one after the other.

    Args:
        network: reads them.
        batch_shape: of the rows.
        context: (*batch, c), or None.
        like: a tensor of the rows' dtype and device.
    """

    def __init__(self, network: ColumnNetwork, batch_shape: torch.Size, context: Tensor | None, like: Tensor) -> None:
        self.network = network
        self.context = context
        self.entered = network.nothing_known.expand(*batch_shape, -1).to(like)
        self.entered_by = network.entered_by

    def theta(self, column: int) -> Tensor:
        """The parameters of a column given all that are known: (*batch, parameters)."""
        return self.network.theta(self.entered, column, self.context)

    def reveal(self, column: int, x: Tensor) -> None:
        """From now on this column is known, where x (*batch) is no gap."""
        self.entered = self.entered + self.network.added_by(column, x, self.entered_by)


def _direct(family: Family) -> Tensor:
    """How what heads read directly of a column comes of its features and the one beside them: (direct, inputs + 1).

    Of a number x itself, and how far it has come through all bins, its rank among a sample's; of levels all features.
    """
    one = torch.eye(family.inputs + 1)
    inner = family.inner if isinstance(family, Atoms) else family
    smooth = inner.smooth if isinstance(inner, Lattice) else inner
    if not isinstance(smooth, Logistics):
        return one
    first = family.inputs - smooth.inputs
    rank = one[first + 1 : -1].mean(dim=0)
    return torch.stack([one[first], rank, one[-1]])
