"""Orthogonal maps made from any numbers: products of reflections, and the orthonormal factor of a matrix."""

from __future__ import annotations

import torch
from torch import Tensor


def reflected(x: Tensor, vectors: Tensor, back: bool = False) -> Tensor:
    r"""H_n ... H_1 x with the reflections :math:`H_i = I - 2 v_i v_i^T / |v_i|^2`, or the inverse of this map.

    Args:
        x: (*batch, D).
        vectors: v_1, ..., v_n, (*batch, n, D), none of them 0.
        back: whether to apply the inverse. Each reflection is its own inverse, so the inverse applies them in reverse order.
    """
    directions = (vectors / length(vectors).unsqueeze(-1)).unbind(dim=-2)
    for v in reversed(directions) if back else directions:
        x = x - 2 * times(v.unsqueeze(-2), x) * v
    return x


def length(vectors: Tensor) -> Tensor:
    """|v| of vectors (*batch, D), also where squares of their numbers overflow or vanish: (*batch)."""
    unit = vectors.detach().abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
    return torch.linalg.vector_norm(vectors / unit, dim=-1) * unit.squeeze(-1)


def orthonormal_factor(matrix: Tensor) -> Tensor:
    """Q of matrix = Q R, with a positive diagonal of R, which makes Q a continuous function of the matrix.

    Args:
        matrix: (*batch, D, M) of full rank, M <= D.

    Returns:
        (*batch, D, M) with orthonormal columns.
    """
    q, r = torch.linalg.qr(matrix)
    return q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q).unsqueeze(-2)


def times(matrix: Tensor, x: Tensor) -> Tensor:
    """matrix x, for one matrix (n, m) or a matrix for each event (*batch, n, m); x is (*batch, m)."""
    # where matrices only repeat, einsum keeps one of each, and matmul would copy
    return x @ matrix.mT if matrix.dim() == 2 else torch.einsum("...ij,...j->...i", matrix, x)
