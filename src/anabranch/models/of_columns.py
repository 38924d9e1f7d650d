"""Networks that read rows of columns of any kinds."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from anabranch.checks import instance_of
from anabranch.families import Family, Panel
from anabranch.networks import Network


class OfColumns(Network):
    r"""y = f(the features of every column; c): the encoder of rows whose columns have families of their own.

    A column of a few levels is read as a one among zeros, a smooth one as it is and by how far it has come through bins
    (`Family.features`).

    Args:
        families: one for each column.
        network: f, of as many features as the families' `inputs` together.

    Raises:
        ValueError: no families, or a network of another number of features.

    Example:
        >>> import torch
        >>> from anabranch.families import Levels, Logistics
        >>> from anabranch.models import OfColumns
        >>> from anabranch.networks import MLP
        >>> families = [Logistics(2), Levels(3)]
        >>> network = OfColumns(families, MLP(sum(family.inputs for family in families), 4))
        >>> network(torch.tensor([[0.5, 2.0]])).shape
        torch.Size([1, 4])
    """

    def __init__(self, families: Sequence[Family], network: Network) -> None:
        parts = list(families)
        for part in parts:
            instance_of("families", part, Family)
        instance_of("network", network, Network)
        inputs = sum(part.inputs for part in parts)
        if not parts or network.features != inputs:
            raise ValueError(
                f"network: expected one of {inputs} features, those of {len(parts)} columns, got {network.features}"
            )
        super().__init__(len(parts), network.out_shape, network.context_shape)
        self.families = nn.ModuleList(parts)
        self.panel = Panel(parts)
        self.network = network

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y: Tensor = self.network(self.panel.features(x), context)
        return y
