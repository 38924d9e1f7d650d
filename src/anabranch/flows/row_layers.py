"""Layers of recipes for rows of features: a structure, a univariate map and networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anabranch.checks import one_of, positive_int
from anabranch.networks import MLP, MaskedMLP, Network, OfAngles
from anabranch.transforms import Autoregressive, Coupling, Transform, UnivariateMap


class RowLayers:
    """Layers for rows of so many features, one for each block, whose networks are of one kind.

    Args:
        features: number of features.
        context: size of the context, 0 for none.
        blocks: number of layers.
        hidden: hidden sizes of each network.
        activation: its nonlinearity.
    """

    def __init__(self, features: int, context: int, blocks: int, hidden: Sequence[int], activation: str) -> None:
        self.features, self.context, self.blocks = features, context, positive_int("blocks", blocks)
        self.hidden, self.activation = hidden, activation

    def of_structure(self, structure: str, univariate: Callable[[], UnivariateMap]) -> list[Transform]:
        """Layers of a structure, "autoregressive" or "coupling".

        Raises:
            ValueError: another name.
        """
        structures = {"autoregressive": self.autoregressive, "coupling": self.coupling}
        return structures[one_of("structure", structure, tuple(structures))](univariate)

    def autoregressive(self, univariate: Callable[[], UnivariateMap]) -> list[Transform]:
        """Autoregressive layers whose order turns round from each to the next, so that every feature is first and last."""
        layers: list[Transform] = []
        for i in range(self.blocks):
            g = univariate()
            network = MaskedMLP(self.features, g.size, self.context, self.hidden, self.activation, zero_start=True)
            order = range(self.features) if i % 2 == 0 else range(self.features - 1, -1, -1)
            layers.append(Autoregressive(g, network, order))
        return layers

    def coupling(self, univariate: Callable[[], UnivariateMap], of_angles: bool = False) -> list[Transform]:
        """Coupling layers in pairs of opposite masks: odd against even features, then halves, and so on in powers of two.

        Two features in different halves meet in a later pair even if they share a side in the first. If the features are
        angles, the networks read cosines and sines.
        """
        if positive_int("features", self.features) < 2:
            raise ValueError(
                f"features: expected at least 2, since a coupling keeps some to move the others, got {self.features}"
            )
        layers: list[Transform] = []
        digits = max(1, (self.features - 1).bit_length())
        for i in range(self.blocks):
            digit = (i // 2) % digits
            mask = [((feature >> digit) + i) % 2 == 1 for feature in range(self.features)]
            g = univariate()
            kept, outputs = mask.count(False), mask.count(True) * g.size
            network: Network = self._mlp(2 * kept if of_angles else kept, outputs, self.context)
            layers.append(Coupling(mask, g, OfAngles(network) if of_angles else network))
        return layers

    def whole(self, layer: Callable[[Network | None], Transform], parameters: int) -> list[Transform]:
        """Layers that move whole vectors, whose parameters a network of the context gives if there is a context."""
        return [layer(self.of_context(parameters)) for _ in range(self.blocks)]

    def of_context(self, outputs: int) -> Network | None:
        """A network from the context to so many outputs; None without a context."""
        return self._mlp(self.context, outputs, 0) if self.context else None

    def _mlp(self, inputs: int, outputs: int, context: int) -> MLP:
        return MLP(inputs, outputs, context, self.hidden, self.activation, zero_start=True)
