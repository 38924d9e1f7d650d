"""A family at every position, whose parameters a causal network reads off the positions before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of
from anabranch.densities.events import EventDtype
from anabranch.described import Described
from anabranch.families import Channels, Family, NumberByNumber
from anabranch.models.layout import Layout
from anabranch.networks import CausalNetwork
from anabranch.networks.network import Shape
from anabranch.networks.reader import as_read

# of a first batch, so many rows decide where a fit starts
_ROWS = 10_000
Draw = Callable[[Tensor], Tensor]
# position, state and what was read of the position before -> theta (*batch, parameters) and the state
Step = Callable[[int, Any, Tensor | None], tuple[Tensor, Any]]


class PositionChain(Described):
    r"""p(x_d | theta_d), theta_d = f_d(x_1, ..., x_{d-1}, c) + b_d, for every position d: what chain-rule models share.

    The arguments are those of `models.Autoregressive`, which says what they are.
    """

    def __init__(
        self,
        family: Family | Channels,
        network: CausalNetwork,
        order: Sequence[int] | None = None,
        event_shape: Shape | None = None,
        located: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(family, (Family, Channels)):
            raise ValueError(f"family: expected a Family or Channels, got {type(family).__name__}")
        instance_of("network", network, CausalNetwork)
        _check_fit(family, network)
        self.family = family
        self.network = network
        self.layout = Layout(network.positions, channels_of(family), order, event_shape)
        self.start = PositionStart(family, network.positions, located)

    @property
    def support(self) -> Constraint:
        """Events of numbers that the family can be."""
        return NumberByNumber(number_of(self.family), len(self.layout.event_shape))

    @property
    def event_dtype(self) -> EventDtype:
        """As of a density."""
        return "whole" if self.family.whole else "floating"

    def initialize(self, x: Tensor) -> None:
        """Start every position at the parameters that fit it by itself, for events x (rows, *event); once."""
        self.start.initialize(self.family, self.layout.to_positions(x))

    def theta(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The family's parameters at every position, (*batch, *positions, parameters), of x as the network takes it."""
        return self.start(self.network(self.read(x), self.given(context)))

    def terms(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log p(x_d | positions before d, context), nats: (*batch, *positions), of events x (*batch, *event)."""
        x = self.layout.to_positions(x)
        return self.family.log_prob(x, self.theta(x, context))

    def draw(
        self,
        batch: torch.Size,
        context: Tensor | None,
        prefix: Tensor | None = None,
        draw: Draw | None = None,
        step: Step | None = None,
    ) -> Tensor:
        """Events (*batch, *event), one position after the other; the arguments are those of `walk`."""
        return self.layout.to_event(torch.stack(self.walk(batch, context, prefix, draw, step=step), dim=len(batch)))

    def walk(
        self,
        batch: torch.Size,
        context: Tensor | None,
        prefix: Tensor | None = None,
        draw: Draw | None = None,
        until: int | None = None,
        step: Step | None = None,
    ) -> list[Tensor]:
        """What was drawn at every position, (*batch) or (*batch, channels) each.

        Args:
            batch: shape.
            context: (*context batch, *context), which broadcasts against the batch.
            prefix: the first positions, (*batch, k) or (*batch, k, channels), None for none.
            draw: in place of the family's `sample`, one draw for each theta.
            until: how many positions; by default all.
            step: in place of the network's, whose outputs are theta: what gives theta of the next position.
        """
        draw = self.family.sample if draw is None else draw
        step = self._step if step is None else step
        known = 0 if prefix is None else prefix.shape[len(batch)]
        state = self.network.start(batch, self.given(context))
        previous: Tensor | None = None
        values: list[Tensor] = []
        for d in range(self.network.features if until is None else until):
            theta, state = step(d, state, previous)
            x = prefix.select(len(batch), d) if prefix is not None and d < known else draw(theta)
            values.append(x)
            previous = self.read(x)
        return values

    def _step(self, position: int, state: Any, previous: Tensor | None) -> tuple[Tensor, Any]:
        y, state = self.network.step(state, previous)
        return self.start.at(position, y), state

    def read(self, x: Tensor) -> Tensor:
        """What the network reads of positions (*batch), or of channels (*batch, channels)."""
        features = self.family.features(as_read(x, self.network))
        return features.squeeze(-1) if self.network.channels is None else features

    def given(self, context: Tensor | None) -> Tensor | None:
        """The context as the network takes it."""
        return None if self.network.context_shape is None else context


class PositionStart(nn.Module):
    """b of every position: what a network that says nothing yet stands for.

    Args:
        family: of a position.
        positions: their shape.
        located: whether each has numbers of its own, or all the same.
    """

    def __init__(self, family: Family | Channels, positions: torch.Size, located: bool) -> None:
        super().__init__()
        self.positions = positions
        self.located = located
        count = positions.numel() if located else 1
        self.b = nn.Parameter(torch.zeros(count, family.parameters_of_one))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, y: Tensor) -> Tensor:
        """(*batch, *positions, parameters), b added."""
        return y + (self.b.unflatten(0, self.positions) if self.located else self.b[0])

    def at(self, position: int, y: Tensor) -> Tensor:
        """(*batch, parameters), b of one position added."""
        return y + self.b[position if self.located else 0]

    def initialize(self, family: Family | Channels, x: Tensor) -> None:
        """Set b to what fits every position by itself, for rows (rows, *positions) or (rows, *positions, channels); once."""
        initialized = self.get_buffer("initialized")
        if bool(initialized) or not len(x):
            return
        initialized.fill_(True)
        x = as_read(x[:_ROWS], self)
        columns = (
            x.flatten(1, len(self.positions)).unbind(dim=1) if self.located else (x.flatten(0, len(self.positions)),)
        )
        with torch.no_grad():
            self.b.copy_(torch.stack([self._start_at(family, column) for column in columns]))

    def _start_at(self, family: Family | Channels, column: Tensor) -> Tensor:
        """What fits values (n), or (n, channels), by themselves, without those that were not observed."""
        seen = column[~column.isnan().flatten(1).any(dim=-1)] if column.dim() > 1 else column[~column.isnan()]
        return family.start(seen) if len(seen) else self.b.new_zeros(self.b.shape[-1])


def channels_of(family: Family | Channels) -> int | None:
    """How many numbers a position has; None for one that is a number."""
    return family.channels if isinstance(family, Channels) else None


def number_of(family: Family | Channels) -> Family:
    """The family of one number."""
    return family.family if isinstance(family, Channels) else family


def _check_fit(family: Family | Channels, network: CausalNetwork) -> None:
    """Raise ValueError unless a network reads the features of a family, and gives as many outputs as it has parameters."""
    name, wanted = type(family).__name__, family.parameters_of_one
    if network.outputs != wanted:
        raise ValueError(
            f"network: expected {wanted} outputs a position, the parameters of {name}, got {network.outputs}"
        )
    if (network.channels or 1) != family.inputs:
        raise ValueError(
            f"network: expected channels={family.inputs}, what it reads of a position of {name}, got {network.channels}"
        )


def check_possible(name: str, family: Family, values: Tensor) -> None:
    """Raise ValueError that names the first of several values which a family gives nothing, whatever its parameters."""
    wrong = (~family.contains(values)).nonzero()
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise ValueError(
            f"{name}: expected values that {type(family).__name__} can be, got {values[place].item():g} at {place}"
        )
