"""What a latent-variable model takes rows for: the hidden numbers that its posterior guesses."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import instance_of, positive_int
from anabranch.draws import drawing
from anabranch.models import LatentVariable

# draws of which a mean is that has no closed form
_DRAWS = 256


def encode(
    model: LatentVariable,
    x: Tensor | ArrayLike,
    context: Tensor | ArrayLike | None = None,
    *,
    samples: int | None = None,
    seed: int | None = None,
) -> Tensor:
    """z of every row, without gradients: the mean of q(z | x), or draws.

    The mean is exact where the posterior knows its moments, as normal densities do, else that of 256 draws.

    Args:
        model: with any posterior.
        x: (*batch, *event).
        context: the context or contexts.
        samples: how many draws of each; None for the mean.
        seed: of the draws; by default torch's global generator goes on.

    Returns:
        (*batch, *event of z) or (samples, *batch, *event of z).

    Raises:
        ValueError: a model that is no `LatentVariable`; rows that do not fit it.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> model = ab.vaes.vae((8, 8), Levels(17), latent=2)
        >>> ab.queries.encode(model, torch.zeros(5, 8, 8, dtype=torch.uint8)).shape
        torch.Size([5, 2])
    """
    instance_of("model", model, LatentVariable)
    posterior = model.posterior
    with torch.no_grad(), drawing(seed):
        encoded = model.posterior_context(x, context)
        if samples is not None:
            return posterior._sample(torch.Size([positive_int("samples", samples)]), encoded)
        moments = posterior._moments(encoded)
        if moments is None:
            return posterior._sample(torch.Size([_DRAWS]), encoded).mean(dim=0)
        return moments.mean.contiguous()  # where rows only repeat, so do their means
