"""The recipe of a diffusion of rows whose columns are of any kinds."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.checks import positive_int
from anabranch.diffusions.vectors import residual
from anabranch.families import Family
from anabranch.models import Diffusion, Marginals, MonotoneSchedule, OfColumns
from anabranch.networks import MLP


def rows(
    families: Sequence[Family],
    latent: int | None = None,
    context: int = 0,
    hidden: int = 128,
    blocks: int = 3,
    low: float = -6.0,
    high: float = 6.0,
    steps: int = 250,
) -> Diffusion:
    """A diffusion of rows of a table: a learned linear embedding of all columns, and a decoder that reads it back.

    The embedding reads the features of each column's `Family`, a one among zeros of levels, for example. The decoder gives
    each column a member of its family, independent of the others given z_0. Both are learned with the network and the ends
    of the noise by one bound.

    Args:
        families: one for each column.
        latent: how many numbers z has; by default two for each column.
        context: how many numbers of context there are; 0 for none.
        hidden: width of the network and of the decoder's hidden layer.
        blocks: residual blocks of the network.
        low: gamma, the logarithm of the noise-to-signal ratio, of the embedding, at first.
        high: gamma at the other end, at first.
        steps: of the chain.

    Raises:
        ValueError: no families, a size that is no whole number above 0.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels, Logistics
        >>> model = ab.diffusions.rows([Logistics(2), Levels(3)], hidden=16)
        >>> x = torch.tensor([[0.5, 2.0], [-1.0, 0.0]])
        >>> model.lower_bound(x).shape, model.draw((4,), steps=3).shape
        (torch.Size([2]), torch.Size([4, 2]))
    """
    parts = list(families)
    if not parts or not all(isinstance(part, Family) for part in parts):
        raise ValueError("families: expected one Family for each column, got none or something else among them")
    size = 2 * len(parts) if latent is None else positive_int("latent", latent)
    width = positive_int("hidden", hidden)
    parameters = sum(part.parameters_of_one for part in parts)
    return Diffusion(
        residual(size, context, width, blocks),
        Marginals(parts, MLP(size, parameters, hidden=(width,), activation="silu")),
        OfColumns(parts, MLP(sum(part.inputs for part in parts), size, hidden=())),
        MonotoneSchedule(low, high),
        steps=steps,
    )
