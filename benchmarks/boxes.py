"""Toys in pieces that lie apart: uniform boxes, whose density, best log-likelihood and gaps are known."""

from dataclasses import dataclass

import torch

from anabranch import FlowMixture
from anabranch.densities import Uniform
from anabranch.draws import drawing


@dataclass(frozen=True)
class Boxes:
    """Uniform within boxes, each of a weight of its own.

    Attributes:
        lows: lower corners, (boxes, features).
        highs: upper corners.
        weights: of each box.
    """

    lows: tuple[tuple[float, ...], ...]
    highs: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]

    @property
    def density(self) -> FlowMixture:
        """The truth."""
        parts = [Uniform(list(low), list(high)) for low, high in zip(self.lows, self.highs, strict=True)]
        return FlowMixture(parts, weights=torch.tensor(self.weights))

    @property
    def components(self) -> int:
        """How many boxes."""
        return len(self.weights)

    def rows(self, rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """So many rows a box on average, drawn by weight, and the box of each."""
        with drawing(seed):
            x = self.density.sample((rows * self.components,))
        return x, self.density.joint_log_prob(x).argmax(dim=-1)

    def distance(self, x: torch.Tensor) -> torch.Tensor:
        """From each x (rows, features) to the nearest box, along the axis where it is furthest; 0 inside."""
        low, high = torch.tensor(self.lows), torch.tensor(self.highs)
        beyond = torch.maximum(low - x.unsqueeze(-2), x.unsqueeze(-2) - high).clamp(min=0)
        return beyond.amax(dim=-1).amin(dim=-1)


INTERVALS = Boxes(
    lows=((-3.0,), (-1.5,), (0.2,), (1.6,)),
    highs=((-2.2,), (-0.5,), (0.6,), (3.0,)),
    weights=(0.3, 0.2, 0.2, 0.3),
)
RECTANGLES = Boxes(
    lows=((-2.0, -2.0), (0.3, -2.0), (-2.0, 0.2), (0.6, 0.8)),
    highs=((-0.5, -0.8), (2.0, -0.4), (-0.8, 2.0), (2.0, 2.0)),
    weights=(0.2, 0.3, 0.2, 0.3),
)
