"""Activation normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.transforms.transform import Transform


class ActNorm(Transform):
    r"""z = (x - loc) exp(log_scale), feature by feature, set by the first batch to mean 0 and variance 1.

    Until `initialize` is called (`fit` does it with the first batch) it is the identity. Afterwards both are ordinary
    trainable parameters. Source: Kingma and Dhariwal, 2018, "Glow", arXiv:1807.03039, section 3.1.

    Args:
        features: number of features.

    Example:
        >>> import torch
        >>> from anabranch.transforms import ActNorm
        >>> layer = ActNorm(3)
        >>> x = 5 + 2 * torch.randn(100, 3)
        >>> layer.initialize(x)
        >>> bool(layer(x)[0].mean().abs() < 1e-4)
        True
    """

    affine = True
    _apart = True

    def __init__(self, features: int) -> None:
        super().__init__((positive_int("features", features),))
        self.loc = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.register_buffer("initialized", torch.tensor(False))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take mean and standard deviation over all rows of x; a second call changes nothing.

        A feature that is constant in x keeps scale 1.

        Raises:
            ValueError: no row, or a number that is not finite, which would make NaN of all z.
        """
        if bool(self.get_buffer("initialized")):
            return
        rows = x.detach().reshape(-1, x.shape[-1])
        if not len(rows):
            raise ValueError("x: expected at least one row to start from, got none")
        broken = rows[~rows.isfinite()]
        if len(broken):
            raise ValueError(
                f"x: expected finite numbers for ActNorm to start from, got {float(broken[0])}; remove rows that hold such, "
                "or scale numbers that overflow before they come to it"
            )
        # shares of the largest number, whose squares do not overflow
        largest = rows.abs().amax(dim=0)
        shares = rows / torch.where(largest > 0, largest, 1.0)
        deviation = largest * shares.std(dim=0, correction=0)
        spread = deviation > 1e-6 * largest
        with torch.no_grad():
            self.loc.copy_(largest * shares.mean(dim=0))
            self.log_scale.copy_(-torch.where(spread, deviation, torch.ones_like(deviation)).log())
            self.get_buffer("initialized").fill_(True)

    def on_columns(self, columns: list[int], context: Tensor | None) -> tuple[ActNorm | None, list[int]]:
        """A copy for these features."""
        if not columns:
            return None, columns
        part = ActNorm(len(columns)).to(self.loc)
        with torch.no_grad():
            part.loc.copy_(self.loc[columns])
            part.log_scale.copy_(self.log_scale[columns])
            part.get_buffer("initialized").fill_(True)
        return part, columns

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return (x - self.loc) * self.log_scale.exp(), self.log_scale.sum().expand(x.shape[:-1])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp() + self.loc, -self.log_scale.sum().expand(z.shape[:-1])
