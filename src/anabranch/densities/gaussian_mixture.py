"""Mixtures of normal densities, their marginals and their conditionals."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.densities.gaussian import (
    gaussian_covariance,
    gaussian_log_prob,
    gaussian_sample,
    lower_factor,
    pack_factor,
    read_loc,
    read_scale,
)
from anabranch.densities.gaussian_modes import from_means
from anabranch.densities.mixture import Mixture
from anabranch.densities.moments import Moments, of_sum
from anabranch.densities.parameters import Parameters
from anabranch.densities.weights import read_weights
from anabranch.families.distribution_function import DistributionFunction
from anabranch.families.draw_levels import draw_levels
from anabranch.networks import Network


class GaussianMixture(Mixture):
    r"""p(x) = sum_k w_k N(x; mu_k, L_k L_k^T) with diagonal or full covariances.

    Marginals and conditionals are Gaussian mixtures again, and exact. They are made of copies.

    Args:
        loc: the means, (components, features).
        scale: standard deviations, anything that broadcasts to (components, features); 1 by default.
        scale_tril: instead of `scale`, lower triangular factors, (components, features, features).
        weights: w, (components,), at least 0; equal by default, and normalised to sum to one.
        learnable: whether all of these are trained.
        context: size of a context on which they depend, through an MLP that starts at zero; 0 for none.
        network: in place of that MLP, a network from the context to the offsets of the log-weights, means, log-scales
            and, with full covariances, of the entries below the diagonals, in that order.
        hidden: hidden sizes of the MLP.

    Raises:
        ValueError: shapes that do not fit, scales that are not positive, negative weights.

    Example:
        >>> import torch
        >>> from anabranch.densities import GaussianMixture
        >>> mixture = GaussianMixture([[-2.0, 0.0], [2.0, 1.0]], weights=[0.25, 0.75])
        >>> mixture.marginal([0]).event_shape
        torch.Size([1])
        >>> mixture.conditional([0], [2.0]).log_prob([[1.0]]).shape
        torch.Size([1])
    """

    leaves_open = True

    def __init__(
        self,
        loc: Tensor | ArrayLike,
        scale: Tensor | ArrayLike | None = None,
        scale_tril: Tensor | ArrayLike | None = None,
        weights: Tensor | ArrayLike | None = None,
        learnable: bool = False,
        context: int = 0,
        network: Network | None = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        means = read_loc(loc, dims=2)
        log_scale, packed = read_scale(means, scale, scale_tril)
        initial = {"logits": read_weights(weights, means), "loc": means, "log_scale": log_scale}
        if packed is not None:
            initial["packed"] = packed
        theta = Parameters(initial, learnable, context, network, hidden)
        super().__init__(means.shape[0], means.shape[1:], theta.context_shape)
        self.theta = theta
        self.full = packed is not None

    def weights(self, context: Tensor | ArrayLike | None = None) -> Tensor:
        """The weights w (*context batch, components)."""
        return torch.softmax(self.theta(self._checked_context(context))["logits"], dim=-1)

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> GaussianMixture:
        """Made of copies: changing or fitting it leaves this mixture as it is, and the reverse."""
        if context is not None:
            return self._at_context(context)._given(wanted, observed, values, None)
        if self.context_shape is not None and values is not None:
            raise ValueError(
                "values: expected None, since this mixture takes a context; give both as the result's context"
            )
        return self._derived(observed, wanted, values)

    def _at_context(self, context: Tensor) -> GaussianMixture:
        with torch.no_grad():
            return of_constants(**self.theta(context))

    def _moments(self, context: Tensor | None) -> Moments:
        theta = self.theta(context)
        covariances = gaussian_covariance(theta["log_scale"], theta.get("packed"))
        pairs = zip(theta["loc"].unbind(dim=-2), covariances.unbind(dim=-3), strict=True)
        return of_sum(theta["logits"].log_softmax(dim=-1), [Moments(*pair) for pair in pairs])

    def peaks(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the fixed-point iteration makes of every mean; one between the means, as few mixtures have, is missed."""
        with torch.no_grad():
            theta = {name: value.double() for name, value in self.theta(context).items()}
            return from_means(**theta), theta["log_scale"].exp().amin(dim=0)

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction:
        theta = self.theta(context)
        return DistributionFunction.of_gaussians(theta["logits"], theta["loc"][:, 0], theta["log_scale"][:, 0])

    def _derived(self, observed: Sequence[int], wanted: Sequence[int], values: Tensor | None) -> GaussianMixture:
        derivation = _Derivation(copy.deepcopy(self), observed, wanted)
        constant = self.context_shape is None and (values is not None or not observed)
        like = self.theta.constants()["loc"]
        loc = like.new_zeros(self.components, len(wanted))
        factor = torch.eye(len(wanted), dtype=like.dtype, device=like.device).expand(self.components, -1, -1)
        if not constant:
            if self.full:
                return GaussianMixture(loc, scale_tril=factor, network=derivation)
            return GaussianMixture(loc, network=derivation)
        with torch.no_grad():
            return of_constants(**derivation.theta(like.new_zeros(0) if values is None else values))

    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        theta = self.theta(context)
        log_p = gaussian_log_prob(x.unsqueeze(-2) - theta["loc"], theta["log_scale"], theta.get("packed"))
        return log_p + torch.log_softmax(theta["logits"], dim=-1)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        theta = self.theta(context)
        chosen = draw_levels(theta["logits"], shape)

        def of_chosen(values: Tensor, dims: int) -> Tensor:
            index = chosen.reshape(*chosen.shape, *[1] * dims)
            table = values.expand(*chosen.shape, *values.shape[values.dim() - dims :])
            return table.gather(chosen.dim(), index.expand(*chosen.shape, 1, *table.shape[chosen.dim() + 1 :])).squeeze(
                chosen.dim()
            )

        loc = of_chosen(theta["loc"], 2)
        packed = theta.get("packed")
        noise = torch.randn_like(loc)
        chosen_packed = None if packed is None else of_chosen(packed, 2)
        return loc + gaussian_sample(noise, of_chosen(theta["log_scale"], 2), chosen_packed)


def of_constants(logits: Tensor, loc: Tensor, log_scale: Tensor, packed: Tensor | None = None) -> GaussianMixture:
    """The Gaussian mixture of these unconstrained parameters."""
    weights = torch.softmax(logits, dim=-1)
    if packed is None:
        return GaussianMixture(loc, scale=log_scale.exp(), weights=weights)
    return GaussianMixture(loc, scale_tril=lower_factor(log_scale, packed), weights=weights)


class _Derivation(Network):
    r"""The parameters of p(x_wanted | x_observed, c), as a function of (x_observed, c).

    With the rows of each factor L_k in the order (observed, wanted), an LQ decomposition gives a factor

    .. math:: \begin{pmatrix} A & 0 \\ B & C \end{pmatrix}

    of the same covariance. Then, with y = A^{-1} (x_o - mu_o),

    .. math:: x_w \mid x_o \sim N(\mu_w + B y,\; C C^T), \qquad \log w_k' = \log w_k + \log N(x_o; \mu_o, A A^T),

    which never subtracts covariances, as the textbook's Schur complement does.
    """

    def __init__(self, mixture: GaussianMixture, observed: Sequence[int], wanted: Sequence[int]) -> None:
        own_context = 0 if mixture.context_shape is None else mixture.context_shape[0]
        n, k = len(wanted), mixture.components
        outputs = k + 2 * k * n + (k * (n * (n - 1) // 2) if mixture.full else 0)
        # a network has at least one input; the marginal of a mixture without a context is computed, never called
        super().__init__(max(1, len(observed) + own_context), outputs)
        self.mixture = mixture
        self.observed = list(observed)
        self.wanted = list(wanted)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        theta = self.theta(x)
        batch = x.shape[:-1]
        return torch.cat(
            [value.expand(*batch, *value.shape[len(batch) :]).flatten(len(batch)) for value in theta.values()], -1
        )

    def theta(self, x: Tensor) -> dict[str, Tensor]:
        """Unconstrained parameters by name, in the order in which `GaussianMixture` lists its own."""
        o, w = self.observed, self.wanted
        values, own_context = x[..., : len(o)], x[..., len(o) :]
        given = self.mixture.theta(own_context if self.mixture.context_shape is not None else None)
        logits, loc, log_scale = given["logits"], given["loc"], given["log_scale"]
        difference = values.unsqueeze(-2) - loc[..., o]
        if "packed" not in given:
            seen = gaussian_log_prob(difference, log_scale[..., o], None)
            return {
                "logits": torch.log_softmax(logits, dim=-1) + seen,
                "loc": loc[..., w].expand(*seen.shape, -1),
                "log_scale": log_scale[..., w].expand(*seen.shape, -1),
            }
        rows = lower_factor(log_scale, given["packed"])[..., [*o, *w], :]
        r = torch.linalg.qr(rows.mT).R
        signs = torch.where(torch.diagonal(r, dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(r.dtype)
        lower = (signs.unsqueeze(-1) * r).mT
        n = len(o)
        a, b, c = lower[..., :n, :n], lower[..., n:, :n], lower[..., n:, n:]
        log_w, packed_w = pack_factor(c)
        if not o:
            return {"logits": logits, "loc": loc[..., w], "log_scale": log_w, "packed": packed_w}
        y = torch.linalg.solve_triangular(a, difference.unsqueeze(-1), upper=False)
        log_a = torch.diagonal(a, dim1=-2, dim2=-1).log().sum(dim=-1)
        seen = -0.5 * y.square().sum(dim=(-2, -1)) - log_a - 0.5 * n * math.log(2 * math.pi)
        return {
            "logits": torch.log_softmax(logits, dim=-1) + seen,
            "loc": loc[..., w] + (b @ y).squeeze(-1),
            "log_scale": log_w.expand(*seen.shape, -1),
            "packed": packed_w.expand(*seen.shape, -1),
        }
