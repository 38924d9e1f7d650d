"""The Gaussian formulas that Normal and GaussianMixture share: one factor, packed or diagonal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.checks import read_tensor
from anabranch.networks.of_context import once


def lower_factor(log_scale: Tensor, packed: Tensor) -> Tensor:
    r"""The lower triangular L with diagonal exp(log_scale) (..., D) and `packed` (..., D (D - 1) / 2) below it.

    The covariance is L L^T. The entries below the diagonal come row by row.
    """
    features = log_scale.shape[-1]
    rows, columns = torch.tril_indices(features, features, offset=-1, device=packed.device)
    flat = packed.new_zeros(*packed.shape[:-1], features * features)
    below = flat.index_copy(-1, rows * features + columns, packed).unflatten(-1, (features, features))
    return below + torch.diag_embed(log_scale.exp())


def pack_factor(lower: Tensor) -> tuple[Tensor, Tensor]:
    """(log_scale, packed) of a lower triangular factor with positive diagonal; the inverse of `lower_factor`."""
    features = lower.shape[-1]
    rows, columns = torch.tril_indices(features, features, offset=-1, device=lower.device)
    log_scale = torch.diagonal(lower, dim1=-2, dim2=-1).log()
    return log_scale, lower.flatten(-2).index_select(-1, rows * features + columns)


def gaussian_log_prob(difference: Tensor, log_scale: Tensor, packed: Tensor | None) -> Tensor:
    r"""log N(difference; 0, L L^T) = -1/2 |L^{-1} difference|^2 - sum_i log L_ii - D/2 log 2 pi, nats.

    Args:
        difference: (..., D), x minus the mean.
        log_scale: (..., D), the log of L's diagonal.
        packed: (..., D (D - 1) / 2), the entries below it; None for a diagonal L.
    """
    features = difference.shape[-1]
    if packed is None:
        # of a scale near 0 a difference of 0 stays 0
        y = difference * (-log_scale).clamp(max=math.log(torch.finfo(log_scale.dtype).max) - 1).exp()
    else:
        lower = lower_factor(once(log_scale, 1), once(packed, 1))
        identity = torch.eye(features, dtype=lower.dtype, device=lower.device)
        # One small inverse for each factor, then a product: the factor is not repeated for every row, as a solve would.
        whiten = torch.linalg.solve_triangular(lower, identity, upper=False)
        y = torch.einsum("...ij,...j->...i", whiten, difference)
    return -0.5 * y.square().sum(dim=-1) - log_scale.sum(dim=-1) - 0.5 * features * math.log(2 * math.pi)


def gaussian_divergence(
    difference: Tensor, log_scale: Tensor, packed: Tensor | None, other_log_scale: Tensor, other_packed: Tensor | None
) -> Tensor:
    r"""KL(N(mu, L L^T) || N(nu, M M^T)), nats: (..., D), of each number, where both factors are diagonal, else (..., 1).

    .. math:: \tfrac12 |M^{-1} L|^2 + \tfrac12 |M^{-1} (\mu - \nu)|^2 - \tfrac{D}{2} + \sum_i \log M_{ii} - \log L_{ii}

    Args:
        difference: (..., D), mu - nu.
        log_scale, packed: of L, as in `gaussian_log_prob`.
        other_log_scale, other_packed: of M.
    """
    growth = other_log_scale - log_scale
    if packed is None and other_packed is None:
        ratio = (-2 * growth).exp() + (difference * (-other_log_scale).exp()).square()
        return 0.5 * (ratio - 1) + growth
    lower, other = (
        torch.diag_embed(scale.exp()) if below is None else lower_factor(scale, below)
        for scale, below in ((log_scale, packed), (other_log_scale, other_packed))
    )
    identity = torch.eye(difference.shape[-1], dtype=other.dtype, device=other.device)
    whiten = torch.linalg.solve_triangular(other, identity, upper=False)
    spread = (whiten @ lower).square().sum(dim=(-2, -1))
    shift = torch.einsum("...ij,...j->...i", whiten, difference).square().sum(dim=-1)
    return (0.5 * (spread + shift - difference.shape[-1]) + growth.sum(dim=-1)).unsqueeze(-1)


def gaussian_covariance(log_scale: Tensor, packed: Tensor | None) -> Tensor:
    """L L^T, (..., D, D)."""
    if packed is None:
        return torch.diag_embed((2 * log_scale).exp())
    lower = lower_factor(log_scale, packed)
    return lower @ lower.mT


def gaussian_sample(noise: Tensor, log_scale: Tensor, packed: Tensor | None) -> Tensor:
    """L noise, of covariance L L^T where noise (..., D) is standard normal."""
    if packed is None:
        return noise * log_scale.exp()
    return torch.einsum("...ij,...j->...i", lower_factor(once(log_scale, 1), once(packed, 1)), noise)


def read_scale(loc: Tensor, scale: object, scale_tril: object) -> tuple[Tensor, Tensor | None]:
    """(log_scale, packed) from what a constructor got: a `scale` that broadcasts against loc, or a lower factor.

    Raises:
        ValueError: both are given, shapes do not fit, or a scale is not positive.
    """
    if scale is not None and scale_tril is not None:
        raise ValueError("scale, scale_tril: expected one of them, got both")
    if scale_tril is not None:
        lower = read_like("scale_tril", scale_tril, loc)
        wanted = (*loc.shape, loc.shape[-1])
        if tuple(lower.shape) != wanted:
            raise ValueError(f"scale_tril: expected shape {wanted}, got {tuple(lower.shape)}")
        diagonal = torch.diagonal(lower, dim1=-2, dim2=-1)
        finite = bool(torch.isfinite(lower).all())
        if not finite or not bool((diagonal > 0).all()) or bool(lower.triu(diagonal=1).any()):
            raise ValueError(
                "scale_tril: expected finite lower triangular matrices with a positive diagonal, got others"
            )
        return pack_factor(lower)
    return read_positive("scale", 1.0 if scale is None else scale, loc).log(), None


def read_positive(name: str, values: object, loc: Tensor) -> Tensor:
    """Positive, finite numbers that broadcast to the shape of loc.

    Raises:
        ValueError: they are not.
    """
    spread = read_like(name, values, loc)
    try:
        spread = spread.expand_as(loc)
    except RuntimeError:
        raise ValueError(f"{name}: expected a shape that fits {tuple(loc.shape)}, got {tuple(spread.shape)}") from None
    good = (spread > 0) & torch.isfinite(spread)
    if not bool(good.all()):
        raise ValueError(f"{name}: expected finite numbers above 0, got {float(spread[~good][0])}")
    return spread


def read_like(name: str, values: object, loc: Tensor) -> Tensor:
    """An argument that goes with loc, in its dtype: lists, arrays and whole numbers are converted.

    Raises:
        ValueError: a floating tensor of another dtype, or one on another device.
    """
    tensor = read_tensor(name, values, loc)
    if not tensor.is_floating_point():
        tensor = tensor.to(loc.dtype)
    if tensor.dtype != loc.dtype or tensor.device != loc.device:
        raise ValueError(
            f"{name}: expected {loc.dtype} on {loc.device}, as the first argument is, got {tensor.dtype} on "
            f"{tensor.device}; convert one of them"
        )
    return tensor


def read_loc(loc: object, dims: int | None = None, name: str = "loc") -> Tensor:
    """The mean, or another argument of that `name`, as a floating tensor of `dims` dimensions, of one at least if None.

    Raises:
        ValueError: it is not one, or not finite.
    """
    tensor = read_tensor(name, loc, None)
    if not tensor.is_floating_point() or not isinstance(loc, Tensor):
        tensor = tensor.to(torch.get_default_dtype())
    if tensor.dim() == 0 or (dims is not None and tensor.dim() != dims) or tensor.numel() == 0:
        wanted = "at least 1 dimension" if dims is None else f"{dims} dimension{'s' * (dims > 1)}"
        raise ValueError(f"{name}: expected {wanted}, got shape {tuple(tensor.shape)}")
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return tensor
