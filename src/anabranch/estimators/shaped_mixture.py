"""Normal components behind a flow that they share, and a network that tells them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch import flows
from anabranch.densities import Normal
from anabranch.draws import drawing
from anabranch.models import FlowMixture
from anabranch.networks import MLP

_AT_ONCE = 4096
# further out a posterior network says nothing new, and its sums may overflow
_LARGEST = 1e8


def shaped_mixture(columns: int, components: int, seed: int, hidden: int = 128) -> FlowMixture:
    """A mixture of normals of full covariance behind a trunk of four affine coupling layers, with a posterior network.

    Args:
        columns: of a row.
        components: how many.
        seed: of the initial weights.
        hidden: width of the posterior network.

    Example:
        >>> from anabranch.estimators.shaped_mixture import shaped_mixture
        >>> shaped_mixture(columns=4, components=3, seed=0).components
        3
    """
    with drawing(seed):
        return FlowMixture(
            [Normal.standard(columns) for _ in range(components)],
            posterior=MLP(columns, components, hidden=(hidden, hidden)),
            # a single column has none to be moved by
            trunk=flows.realnvp(columns, blocks=4, hidden=(64,), max_scale=5.0) if columns > 1 else None,
            heads="affine",
        )


def log_posterior(mixture: FlowMixture, z: Tensor) -> NDArray[np.float64]:
    """log q(k | z) (rows, components), in float64; of values too large for a network, as at the largest that is none."""
    own = mixture.double()
    z = z.clamp(-_LARGEST, _LARGEST)
    with torch.no_grad():
        return torch.cat([own.log_posterior(part.double()) for part in z.split(_AT_ONCE)]).numpy()
