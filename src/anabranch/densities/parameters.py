"""Where the parameters of a closed form come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from anabranch.checks import as_context_shape
from anabranch.networks import MLP, Network
from anabranch.networks.network import Shape
from anabranch.networks.of_context import network_of_context, read_distinct


class Parameters(nn.Module):
    r"""Named, unconstrained parameters theta(c) = theta_0 + net(c).

    theta_0 is a constant, fixed or trained; net is there if the density is conditional. So every closed form is
    conditional or not, trained or not, without a class for each case.

    Args:
        initial: theta_0, by name.
        learnable: whether theta_0 is trained.
        context: size of the context, or its shape; 0 for none. The network is then an `MLP` that starts at zero.
        network: a network of one's own in place of that MLP, from the context to all numbers of theta in order.
        hidden: hidden sizes of the MLP.

    Raises:
        ValueError: a network whose sizes do not fit.
    """

    def __init__(
        self,
        initial: Mapping[str, Tensor],
        learnable: bool = False,
        context: Shape = 0,
        network: Network | None = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        context_shape = as_context_shape("context", context)
        self._shapes = {name: value.shape for name, value in initial.items()}
        total = sum(math.prod(shape) for shape in self._shapes.values())
        if network is None and context_shape is not None:
            network = MLP(context_shape, total, hidden=hidden, zero_start=True)
        if network is not None:
            wanted = " + ".join(f"{math.prod(shape)} for {name}" for name, shape in self._shapes.items())
            network_of_context(network, f"{total} outputs ({wanted})", total)
            if context_shape not in (None, network.in_shape):
                raise ValueError(f"context: expected the network's shape {tuple(network.in_shape)}, got {context}")
        self.network = network
        self.context_shape = None if network is None else network.in_shape
        for name, value in initial.items():
            constant = value.detach().clone()
            if learnable:
                self.register_parameter(name, nn.Parameter(constant))
            else:
                self.register_buffer(name, constant)

    @property
    def reads_gaps(self) -> bool:
        """Whether the network takes a NaN in the context for what was not observed."""
        return self.network is not None and self.network.gaps

    def constants(self) -> dict[str, Tensor]:
        """theta_0 by name."""
        return {name: getattr(self, name) for name in self._shapes}

    def forward(self, context: Tensor | None = None) -> dict[str, Tensor]:
        """theta by name: (*batch of the context, *shape of the parameter), repeated where contexts only repeat."""
        constants = self.constants()
        if self.network is None:
            return constants
        if context is None:
            raise ValueError(f"context: expected shape (..., {', '.join(map(str, self.network.in_shape))}), got None")
        rank = len(self.network.in_shape)
        batch = context.shape[: context.dim() - rank]
        flat = read_distinct(self.network, context).flatten(-len(self.network.out_shape))
        pieces = flat.split([math.prod(shape) for shape in self._shapes.values()], dim=-1)
        return {
            name: (constants[name] + piece.reshape(*piece.shape[:-1], *shape)).expand(*batch, *shape)
            for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)
        }
