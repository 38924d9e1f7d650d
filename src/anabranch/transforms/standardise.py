"""A first layer that takes rows as they come."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import finite_rows, positive_int
from anabranch.transforms.transform import Transform

# what a flow that is meant for rows of about mean 0 and deviation 1 still copes with: so far out, so narrow
_FURTHEST, _NARROWEST = 10.0, 0.1
# the share of a normal within a deviation of its mean lies between these
_LOW, _HIGH = 0.1587, 0.8413


class Standardise(Transform):
    r"""z = (x - loc) / scale, feature by feature, if the first batch is far from mean 0 and deviation 1; else the identity.

    Until `initialize` is called (`fit` does it with the first batch) it is the identity. Neither is trained, and a feature
    that reaches less than about 10, and is wider than 0.1, stays as it is. loc is the median, and scale half the distance of
    the quantiles that a normal has one deviation from its mean, so that a few values far out set neither.

    Args:
        features: number of features.
        scaled: whether to divide, too; without it the volume is preserved.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Standardise
        >>> layer = Standardise(2)
        >>> x = torch.randn(1000, 2) + torch.tensor([0.0, 1000.0])
        >>> layer.initialize(x)
        >>> z, _ = layer(x)
        >>> bool((z[:, 0] == x[:, 0]).all()), bool(z[:, 1].mean().abs() < 0.2)
        (True, True)
    """

    affine = True
    _apart = True

    def __init__(self, features: int, scaled: bool = True) -> None:
        super().__init__((positive_int("features", features),))
        self.scaled = bool(scaled)
        self.register_buffer("loc", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("initialized", torch.tensor(False))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take loc and scale of all rows of x; a second call changes nothing. A feature that is constant keeps scale 1.

        Raises:
            ValueError: no row, or a number that is not finite, which would set the start of all others.
        """
        if bool(self.get_buffer("initialized")):
            return
        rows = x.detach().reshape(-1, x.shape[-1])
        finite_rows("x", rows)
        loc, scale = place_of(rows)
        far = off_standard(loc, scale)
        with torch.no_grad():
            self.get_buffer("loc").copy_(torch.where(far, loc, 0.0))
            self.get_buffer("scale").copy_(torch.where(far & self.scaled, scale, 1.0))
            self.get_buffer("initialized").fill_(True)

    def on_columns(self, columns: list[int], context: Tensor | None) -> tuple[Standardise | None, list[int]]:
        """A copy for these features."""
        if not columns:
            return None, columns
        part = Standardise(len(columns), self.scaled).to(self.get_buffer("loc"))
        with torch.no_grad():
            part.get_buffer("loc").copy_(self.get_buffer("loc")[columns])
            part.get_buffer("scale").copy_(self.get_buffer("scale")[columns])
            part.get_buffer("initialized").fill_(True)
        return part, columns

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        scale = self.get_buffer("scale")
        return (x - self.get_buffer("loc")) / scale, -scale.log().sum().expand(x.shape[:-1])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        scale = self.get_buffer("scale")
        return z * scale + self.get_buffer("loc"), scale.log().sum().expand(z.shape[:-1])


def place_of(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The median and the robust deviation (features) of rows (rows, features); 1 for that of a feature that is constant."""
    if not len(rows):
        raise ValueError("x: expected at least one row to start from, got none")
    order = rows.sort(dim=0).values
    low, middle, high = (order[round(share * (len(rows) - 1))] for share in (_LOW, 0.5, _HIGH))
    # halves, whose difference cannot overflow
    scale = high / 2 - low / 2
    scale = torch.where(scale > 0, scale, rows.std(dim=0, correction=0))
    # below the rounding of the numbers themselves there is no width
    wide = scale > 4 * torch.finfo(rows.dtype).eps * middle.abs()
    return middle, torch.where(wide & scale.isfinite() & (scale > 0), scale, 1.0)


def off_standard(loc: Tensor, scale: Tensor, times: float = 1.0) -> Tensor:
    """Which features (features) are so far from mean 0 and deviation 1, or so many times as far, that a flow copes badly."""
    return (loc.abs() + 2 * scale > times * _FURTHEST) | (scale < _NARROWEST / times)
