"""A hierarchy of hidden variables whose density is known at every depth: what bounds and estimates are compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities import Density, GaussianMixture, Normal
from anabranch.models import Entries, HierarchicalVAE, LatentDepthMixture, LatentLevel
from anabranch.networks import MLP
from anabranch.testing.linear_gaussian import LinearMean


def linear_gaussian_chain(levels: int = 2, features: int = 2, posteriors: str = "top-down") -> HierarchicalVAE:
    r"""z_L ~ N(m_L, S_L), z_l | z_{l+1} ~ N(W_l z_{l+1} + m_l, S_l), x | z_1 ~ N(W_0 z_1 + m_0, S_0), with linear guesses.

    Every z_l is one number. Its density is known: `chain_marginal`; so are its posteriors: `guess_exactly`.

    Args:
        levels: L.
        features: of x.
        posteriors: as of `HierarchicalVAE`.

    Example:
        >>> import torch
        >>> from anabranch.testing import chain_marginal, linear_gaussian_chain, randomize
        >>> model = randomize(linear_gaussian_chain())
        >>> x = torch.zeros(2)
        >>> value, error = model.estimate(x, samples=10_000, generator=0)
        >>> bool((value - chain_marginal(model).log_prob(x)).abs() < 5 * error)
        True
    """
    top_down = posteriors == "top-down"
    chain = []
    for k in range(levels):
        top = k == levels - 1
        prior = Normal([0.1], 0.9, learnable=True, network=None if top else LinearMean(1, 1))
        seen = features + (not top) if top_down else (1 if k else features)
        chain.append(LatentLevel(prior, Normal([0.0], 0.9, learnable=True, network=LinearMean(seen, 1, 0.2))))
    decoder = Normal(torch.linspace(-1, 1, features), 0.6, learnable=True, network=LinearMean(1, features))
    return HierarchicalVAE(chain, decoder, posteriors)


def chain_depths(
    levels: int = 2, features: int = 2, posteriors: str = "top-down", guess: bool = True
) -> LatentDepthMixture:
    """The mixture over the depths of `linear_gaussian_chain`, with a network that guesses the depth or without."""
    model = linear_gaussian_chain(levels, features, posteriors)
    return LatentDepthMixture(Entries(model), MLP(features, levels, hidden=(8,)) if guess else None)


def chain_marginal(model: HierarchicalVAE, depth: int | None = None, state: Tensor | None = None) -> Normal:
    """The density of x, as it is now: of the whole chain, or of what is generated from a depth on, below a state.

    Args:
        model: one of `linear_gaussian_chain`.
        depth: l; L by default.
        state: s_l, (1), for l < L.
    """
    mean, covariance = joint_moments(model, depth, state)
    features = model.event_shape[0]
    return Normal(mean[:features], scale_tril=torch.linalg.cholesky(covariance[:features, :features]))


def depths_marginal(mixture: LatentDepthMixture) -> GaussianMixture:
    """The density of a mixture of `chain_depths`, as it is now."""
    entries = mixture.depths
    if not isinstance(entries, Entries):
        raise ValueError(f"mixture: expected one of chain_depths(), got one of {type(entries).__name__}")
    each = []
    for depth in entries.depths:
        state = entries.starts[str(depth)](None)["state"].detach() if str(depth) in entries.starts else None
        each.append(joint_moments(entries.model, depth, state))
    features = mixture.event_shape[0]
    return GaussianMixture(
        torch.stack([mean[:features] for mean, _ in each]),
        weights=mixture.weights().detach(),
        scale_tril=torch.linalg.cholesky(torch.stack([s[:features, :features] for _, s in each])),
    )


def joint_moments(
    model: HierarchicalVAE, depth: int | None = None, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of (x, z_1, ..., z_l), where depth l is the highest and reads this state."""
    with torch.no_grad():
        count = len(model.levels) if depth is None else depth
        parts = [model.decoder, *(level.prior for level in model.hierarchy[:count])]
        loc, noise, slopes = zip(*(_linear(part) for part in parts), strict=True)
        # from the highest on: everything is a linear map of the noises of what is above and its own
        size = len(loc[0]) + count
        mean, factor = loc[0].new_zeros(size), loc[0].new_zeros(size, size)
        for k in reversed(range(count + 1)):
            own = slice(0, len(loc[0])) if k == 0 else slice(len(loc[0]) + k - 1, len(loc[0]) + k)
            mean[own] = loc[k]
            factor[own, own] = torch.diag(noise[k].exp())
            if k < count:
                above = slice(len(loc[0]) + k, len(loc[0]) + k + 1)
                mean[own] += slopes[k] @ mean[above]
                factor[own] += slopes[k] @ factor[above]
            elif state is not None:
                mean[own] += slopes[k] @ state
        return mean, factor @ factor.mT


def guess_exactly(model: HierarchicalVAE) -> HierarchicalVAE:
    """Set the posteriors of a `linear_gaussian_chain` to the true ones, in place: the bound is then log p(x)."""
    mean, covariance = joint_moments(model)
    features = model.event_shape[0]
    for k, level in enumerate(model.hierarchy):
        place, top = features + k, k == len(model.hierarchy) - 1
        if model.top_down:
            seen = [*range(features), *([] if top else [place + 1])]
        else:
            seen = [place - 1] if k else list(range(features))
        gain = torch.linalg.solve(covariance[seen][:, seen], covariance[seen, place])
        spread = covariance[place, place] - covariance[place, seen] @ gain
        with torch.no_grad():
            for value, wanted in zip(
                _linear(level.posterior), (mean[place] - gain @ mean[seen], 0.5 * spread.log(), gain), strict=True
            ):
                value.copy_(wanted.reshape(value.shape))
    return model


def _linear(part: Density) -> tuple[Tensor, Tensor, Tensor]:
    """Mean at 0, logarithms of the deviations, and slope of a normal density: its parameters."""
    if not isinstance(part, Normal):
        raise ValueError(f"model: expected one of linear_gaussian_chain(), got a {type(part).__name__} in it")
    theta, network = part.theta.constants(), part.theta.network
    slope = network.slope if isinstance(network, LinearMean) else theta["loc"].new_zeros(len(theta["loc"]), 1)
    return theta["loc"], theta["log_scale"], slope
