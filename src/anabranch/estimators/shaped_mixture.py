"""Normal components behind a flow that they share, and a network that tells them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch import flows
from anabranch.densities import Mixture, Normal
from anabranch.draws import drawing
from anabranch.models import FlowMixture
from anabranch.networks import MLP

_AT_ONCE = 4096
# further out the posterior network's sums might overflow; long before it has come to its limit in that direction
_FARTHEST = 1e100


def shaped_mixture(columns: int, components: int, seed: int, hidden: int = 128) -> FlowMixture:
    """A mixture of normals of full covariance behind a trunk of four affine coupling layers, with a posterior network.

    Args:
        columns: of a row.
        components: how many.
        seed: of the initial weights.
        hidden: width of the posterior network.

    Returns:
        the mixture, float32.

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
        ).float()


def log_posterior(mixture: Mixture, z: Tensor) -> NDArray[np.float64]:
    """log q(k | z) (rows, components), in float64; of values too large for a network, as at the largest that is none."""
    own = mixture.double()
    z = z.double().nan_to_num()
    z = z / (z.abs().amax(dim=-1, keepdim=True) / _FARTHEST).clamp(min=1.0)
    with torch.no_grad():
        return torch.cat([own.log_posterior(part.double()) for part in z.split(_AT_ONCE)]).numpy()
