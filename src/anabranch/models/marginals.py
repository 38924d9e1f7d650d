"""Columns that know nothing of each other, or only of a context: each of its own family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from anabranch.checks import instance_of
from anabranch.densities import Density
from anabranch.densities.symptoms import floor_warnings
from anabranch.densities.weighted_completion import of_independent_numbers
from anabranch.families import ColumnByColumn, Family, Levels, Panel
from anabranch.families.panel import offsets
from anabranch.networks import Network
from anabranch.networks.of_context import network_of_context, once

# levels of a column that are many
_MANY = 256


class Marginals(Density):
    r"""p(x | c) = prod_i p(x_i | theta_i(c)): each column by a member of its own family, whatever the others are.

    Without a context it is the simplest density of rows of any kinds, beside which others are reported. With a network,
    theta_i(c) = theta_i + f_i(c), it is the decoder of such rows in a latent-variable model, whose context is z. A NaN is a
    gap, whose factor is left out: exact, since the columns are independent.

    Args:
        families: one for each column.
        network: f, from the context to the parameters of all columns, one column's behind the other's; None for no context.

    Raises:
        ValueError: no families, or something else among them; a network of another number of outputs.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels, Logistics
        >>> from anabranch.models import Marginals
        >>> x = torch.stack([torch.randn(500), torch.randint(3, (500,)).float()], dim=1)
        >>> marginals = Marginals([Logistics(), Levels(3)])
        >>> history = ab.fit(marginals, x, epochs=2, seed=0)
        >>> marginals.log_prob(x).shape
        torch.Size([500])
    """

    reparameterized = False
    gaps = True

    def __init__(self, families: Sequence[Family], network: Network | None = None) -> None:
        parts = list(families)
        if not parts:
            raise ValueError("families: expected one for each column, got none")
        for part in parts:
            instance_of("families", part, Family)
        count = sum(part.parameters_of_one for part in parts)
        if network is not None:
            network_of_context(network, f"{count} outputs, the parameters of {len(parts)} columns", count)
        super().__init__((len(parts),), None if network is None else network.in_shape)
        self.families = nn.ModuleList(parts)
        self._at = offsets([part.parameters_of_one for part in parts])
        self.theta = nn.Parameter(torch.zeros(count))
        self.network = network
        if network is not None:  # another fit goes on from where it is
            self.register_buffer("initialized", torch.tensor(False))
        self._long = [i for i, part in enumerate(parts) if isinstance(part, Levels) and part.count > _MANY]
        self._short = [i for i in range(len(parts)) if i not in self._long]
        self.panel = Panel([parts[i] for i in self._short]) if self._short else None
        for part in parts:  # what a network would read of x is of no use here
            part.requires_grad_(False)

    @property
    def support(self) -> constraints.Constraint:
        """Every column what its family can be, or a gap."""
        return ColumnByColumn([self.family(i) for i in range(len(self._at))])

    def family(self, column: int) -> Family:
        """The family of a column."""
        part = self.families[column]
        instance_of("families", part, Family)
        return part  # type: ignore[return-value]

    def terms(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x_i | c) of every column, (*batch, columns), nats; 0 for a gap."""
        theta = self._numbers(context)
        batch = torch.broadcast_shapes(x.shape[:-1], theta.shape[:-1])
        # of many draws at one x, what x alone says is made once
        x = once(x.expand(*batch, x.shape[-1]), 1)
        observed = ~x.isnan()
        values = torch.where(observed, x, 0.0)
        columns = dict.fromkeys(range(len(self._at)), values.new_zeros(()))
        if self.panel is not None:
            of_short = torch.cat([theta[..., self._at[i]] for i in self._short], dim=-1) if self._long else theta
            log_p = self.panel.log_prob(values[..., self._short], of_short.expand(*batch, -1))
            columns |= zip(self._short, log_p.unbind(dim=-1), strict=True)
        for i in self._long:
            columns[i] = self.family(i).log_prob(values[..., i], theta[..., self._at[i]]).expand(batch)
        return torch.where(observed, torch.stack(list(columns.values()), dim=-1), 0.0)

    def below(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """P(X_i < x_i) and P(X_i <= x_i), twice (*batch, columns); NaN for a gap."""
        theta = self._numbers(context)
        pairs = [self.family(i).below(x[..., i], self._theta_of(i, theta, x.shape[:-1])) for i in range(len(self._at))]
        return tuple(torch.where(x.isnan(), torch.nan, torch.stack(side, dim=-1)) for side in zip(*pairs, strict=True))  # type: ignore[return-value]

    def quantile(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """The smallest x_i with P(X_i <= x_i) >= u_i: (*batch, columns)."""
        theta = self._numbers(context)
        each = range(len(self._at))
        columns = [self.family(i).quantile(u[..., i], self._theta_of(i, theta, u.shape[:-1])) for i in each]
        return torch.stack(columns, dim=-1)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start each column where its family says that a sample lies; with a network once."""
        if self.network is not None:
            initialized = self.get_buffer("initialized")
            if bool(initialized):
                return
            initialized.fill_(True)
        with torch.no_grad():
            for i, at in enumerate(self._at):
                seen = x[:, i][~x[:, i].isnan()]
                if len(seen):
                    self.theta[at] = self.family(i).start(seen)

    def _numbers(self, context: Tensor | None) -> Tensor:
        """theta of all columns, (*context batch, parameters)."""
        if self.network is None:
            return self.theta
        y: Tensor = self.network(context)
        return self.theta + y.flatten(-len(self.network.out_shape))

    def _theta_of(self, column: int, theta: Tensor, batch: torch.Size) -> Tensor:
        # one theta for all rows is not written out for each where it is long
        one = theta[..., self._at[column]]
        return one if column in self._long or theta.dim() > 1 else one.expand(*batch, -1)

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Draws of the gaps, which are independent of the rest."""
        return of_independent_numbers(self, x, context)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.terms(x, context).sum(dim=-1)

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        theta = self._numbers(context)
        columns = [self.family(i).floored(theta[..., at]) for i, at in enumerate(self._at)]
        if all(column is None for column in columns):
            return []
        none = torch.zeros((), dtype=torch.bool, device=theta.device).expand(theta.shape[:-1])
        floored = torch.stack([none if column is None else column for column in columns], dim=-1)
        return floor_warnings(floored, "the families' floor")

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        theta = self._numbers(context)
        drawn = [
            self.family(i).sample(theta[..., at].expand(*shape, *theta.shape[:-1], -1)) for i, at in enumerate(self._at)
        ]
        return torch.stack(drawn, dim=-1)
