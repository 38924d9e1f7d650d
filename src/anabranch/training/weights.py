"""The weights of a fit, remembered and put back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.training.averaging import Average
from anabranch.training.optimiser import Optimiser

# weights, their mean, and what the optimiser remembers
Mark = dict[str, Any]


class Weights:
    """The weights of a density in training, with their mean over the last steps and the optimiser's memory.

    All are put back into the tensors where they lie: a CUDA graph reads these.

    Args:
        density: in training.
        average: of its weights.
        optimiser: of its weights.
    """

    def __init__(self, density: Density, average: Average, optimiser: Optimiser) -> None:
        self.density, self.average, self.optimiser = density, average, optimiser

    def copied(self) -> dict[str, Tensor]:
        """The weights alone."""
        return {name: value.detach().clone() for name, value in self.density.state_dict().items()}

    def mark(self) -> Mark:
        """All of it, copied."""
        return {"weights": self.copied(), "average": self.average.state(), "optimiser": self.optimiser.memory()}

    def put_back(self, mark: Mark) -> None:
        """Go on from a mark."""
        with torch.no_grad():
            self.density.load_state_dict(mark["weights"])
            self.average.restore(mark["average"])
            self.optimiser.put_back(mark["optimiser"])
