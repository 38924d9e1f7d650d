"""The recipe of a diffusion of real numbers."""

from __future__ import annotations

from anabranch.checks import positive_int
from anabranch.models import Diffusion, MonotoneSchedule
from anabranch.networks import Network, ResidualMLP, Timed


def vectors(
    features: int,
    context: int = 0,
    hidden: int = 128,
    blocks: int = 3,
    low: float = -10.0,
    high: float = 6.0,
    steps: int = 250,
) -> Diffusion:
    """A diffusion of vectors of real numbers of about mean 0 and deviation 1, by a residual network.

    What it says of x, it says of x with noise of deviation e^{low / 2}. The ends of the noise are fixed: rows that lie on a
    lattice would have a bound without end. Scale other numbers first: `Flow(transforms.ActNorm(2), base=vectors(2))`.

    Args:
        features: of x.
        context: how many numbers of context there are; 0 for none.
        hidden: width of the network.
        blocks: its residual blocks.
        low: gamma, the logarithm of the noise-to-signal ratio, of x.
        high: gamma at the other end.
        steps: of the chain.

    Raises:
        ValueError: a size that is no whole number above 0, ends in another order.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> model = ab.diffusions.vectors(2, hidden=16)
        >>> model.lower_bound(torch.randn(5, 2)).shape
        torch.Size([5])
    """
    features = positive_int("features", features)
    return Diffusion(
        residual(features, context, hidden, blocks), schedule=MonotoneSchedule(low, high, False), steps=steps
    )


def residual(features: int, context: int, hidden: int, blocks: int) -> Network:
    """A residual network of vectors, a time and a context, which starts at 0."""
    width, beside = positive_int("hidden", hidden), positive_int("context", context, least=0)
    network = ResidualMLP(
        features, features, context=width + beside, hidden=width, blocks=blocks, activation="silu", zero_start=True
    )
    return Timed(network, context=beside)
