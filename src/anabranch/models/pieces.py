"""The branches of a `PiecewiseFlow` that cut or fold a space: half spaces, opened up to the whole."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import finite_rows, positive_int, read_tensor
from anabranch.transforms import Chain, HalfSpace, LULinear, Transform


def fold(features: int, borders: int = 1) -> list[Transform]:
    """The branches of a folded space, for `PiecewiseFlow`: the two sides of each border, opened up to the whole.

    Each border is a hyperplane of its own, which starts at random and is trained: an LU-factored linear map, shared by its
    two branches, then one half of the space each. The branches of several borders overlap.

    Args:
        features: number of features.
        borders: how many; there are twice as many branches.

    Example:
        >>> import anabranch as ab
        >>> len(ab.models.pieces.fold(features=2, borders=2))
        4
    """
    branches: list[Transform] = []
    for i in range(positive_int("borders", borders)):
        turned = LULinear(features)
        with torch.no_grad():  # apart from each other: borders that start as one stay one
            turned.bias.normal_(std=0.5)
        feature = i % features
        sides = [HalfSpace(features, feature, positive) for positive in (True, False)]
        branches += [Chain({"turned": turned, "side": side}) for side in sides]
    return branches


def cut(x: Tensor | ArrayLike, pieces: int, directions: int = 64) -> list[Transform]:
    """The branches of a space cut into pieces where rows leave it empty, for `PiecewiseFlow`.

    The widest gap is looked for along every axis and along random directions, in all pieces that there are; a hyperplane in
    its middle cuts that piece in two, and so on. Each piece is a chain of the half spaces that lead to it, and ends with a
    linear map that brings its rows to mean 0 and deviation 1. All of it is trained on.

    Each side of a cut has at least a twentieth of the rows that it cuts (of fewer than 40, one row): fewer rows that lie
    far out are no piece of their own, and stay in the one beside them. The borders of `fold` start at random instead, often
    among rows.

    Args:
        x: rows (rows, features), best standardised.
        pieces: how many.
        directions: how many random ones; 0 for the axes alone.

    Returns:
        branches in torch's default dtype, as all recipes are, whatever the dtype of x.

    Raises:
        ValueError: rows that are not finite, too few to be cut so often, or without a gap.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> x = torch.cat([torch.randn(100, 2) - 4, torch.randn(100, 2) + 4])
        >>> model = ab.PiecewiseFlow(ab.models.pieces.cut(x, pieces=2), base=ab.Flow(ab.flows.nsf(features=2, blocks=2)))
        >>> model.responsibilities(x).sum(dim=0).tolist()
        [100.0, 100.0]
    """
    pieces, directions = positive_int("pieces", pieces), positive_int("directions", directions, least=0)
    like = torch.empty(0)
    x = read_tensor("x", x, like).detach()
    if x.dim() != 2 or len(x) < 2 or x.shape[1] == 0 or x.is_complex():
        raise ValueError(f"x: expected two rows of numbers at least, (rows, features), got shape {tuple(x.shape)}")
    finite_rows("x", x)
    x = x.to(like)
    features = x.shape[1]
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(directions if features > 1 else 0, features, generator=generator, device="cpu").to(x)
    among = torch.cat([torch.eye(features).to(x), many / many.norm(dim=1, keepdim=True)])
    open_pieces: list[tuple[dict[str, Transform], Tensor]] = [({}, x)]
    with torch.no_grad():
        while len(open_pieces) < pieces:
            found = [_widest_gap(rows, among) for _, rows in open_pieces]
            best = max(range(len(found)), key=lambda i: found[i][0])
            if found[best][0] <= 0:
                several = max(len(rows) for _, rows in open_pieces) > 1
                wanted = "rows with gaps between them" if several else "rows enough"
                raise ValueError(
                    f"x: expected {wanted} for {pieces} pieces, got {len(x)} that can be cut into {len(open_pieces)}"
                )
            _, direction, low, high = found[best]
            layers, rows = open_pieces.pop(best)
            step = len(layers) // 2 + 1
            turned, feature = _turned(direction, low, high)
            image, _ = turned(rows)
            for positive_side in (True, False):
                side = HalfSpace(features, feature, positive_side).to(x)
                own = image[(image[:, feature] > 0) == positive_side]
                open_pieces.append(({**layers, f"turned_{step}": turned, f"side_{step}": side}, side(own)[0]))
        branches: list[Transform] = []
        for layers, rows in open_pieces:
            placed = LULinear(features).to(x)
            scale = rows.std(dim=0, correction=0).clamp(min=1e-6)
            placed.log_diagonal.copy_(-scale.log())
            placed.bias.copy_(-rows.mean(dim=0) / scale)
            branches.append(Chain({**layers, "placed": placed}))
    return branches


def _widest_gap(x: Tensor, among: Tensor) -> tuple[float, Tensor, float, float]:
    """The widest gap of rows along some directions: its width in deviations of the rows, its direction, its two ends."""
    along = (x @ among.mT).sort(dim=0).values
    # a row or few that lie far out are no piece
    least = max(1, len(x) // 20)
    if len(x) < 2 * least:
        return 0.0, among[0], 0.0, 0.0
    widths = (along[1:] - along[:-1])[least - 1 : len(x) - least] / along.std(dim=0, correction=0).clamp(min=1e-12)
    row, column = divmod(int(widths.argmax()), widths.shape[1])
    i = row + least - 1
    return float(widths[row, column]), among[column], float(along[i, column]), float(along[i + 1, column])


def _turned(direction: Tensor, low: float, high: float) -> tuple[LULinear, int]:
    """A linear map that has the middle of the gap at 0 of one feature and its ends at -3 and 3, and which feature."""
    # three from its border a half space is as good as straight, so that the rows keep their shape
    scale = 6 / max(high - low, 1e-6)
    feature = int(direction.abs().argmax())
    sign = 1.0 if direction[feature] > 0 else -1.0
    w = sign * scale * direction
    turned = LULinear(len(w)).to(w)
    with torch.no_grad():
        turned.lower[feature, :feature] = w[:feature]
        turned.upper[feature, feature + 1 :] = w[feature + 1 :]
        turned.log_diagonal[feature] = w[feature].log()
        turned.bias[feature] = -sign * scale * (low + high) / 2
    return turned, feature
