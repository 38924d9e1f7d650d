"""The depths of a diffusion: chains that begin at an earlier level of noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anabranch.checks import instance_of, numbers_below
from anabranch.densities import Density
from anabranch.models.denoising import noised
from anabranch.models.depths import Depths, Terms
from anabranch.models.diffusion import Diffusion


class EarlierStarts(Depths):
    r"""Chains of fewer steps of one diffusion, each from a prior of the level of noise at which it begins:

    .. math:: p_l(x) = \int p_l(z_{t_l}) \prod_{i \le l} p(z_{s_i} \mid z_{t_i})\, p(x \mid z_0)\, dz, \qquad t_l = l / T

    The last is the diffusion. One pass of the network serves the bounds of all of them, and one walk through the whole chain
    their weights, since it comes by every level. `LatentDepthMixture` makes a mixture of them, over the number of steps: a
    shallow sample takes few.

    Args:
        model: the diffusion.
        steps: l of the earlier chains, increasing, below the number of the model's steps.
        priors: of z there, one for each.

    Attributes:
        chains: the densities p_l, each a `Diffusion`.

    Raises:
        ValueError: other numbers of steps, another number of priors, or priors that are none of z.

    Example:
        >>> import torch
        >>> from anabranch.densities import GaussianMixture
        >>> from anabranch.models import Diffusion, EarlierStarts, LatentDepthMixture
        >>> from anabranch.networks import MLP, VelocityMLP
        >>> model = Diffusion(VelocityMLP(2, hidden=(16,)), steps=20)
        >>> depths = EarlierStarts(model, [8], [GaussianMixture([[-1.0, 0.0], [1.0, 0.0]], learnable=True)])
        >>> mixture = LatentDepthMixture(depths, posterior=MLP(2, 2))
        >>> mixture.lower_bound(mixture.sample((5,))).shape
        torch.Size([5])
    """

    def __init__(self, model: Diffusion, steps: Sequence[int], priors: Sequence[Density]) -> None:
        instance_of("model", model, Diffusion)
        chosen = numbers_below("steps", steps, model.steps)
        if not chosen or sorted(set(chosen)) != chosen or chosen[0] == 0:
            raise ValueError(f"steps: expected increasing numbers from 1 to {model.steps - 1}, got {chosen}")
        if len(priors) != len(chosen):
            raise ValueError(f"priors: expected {len(chosen)}, one for each number of steps, got {len(priors)}")
        super().__init__(len(chosen) + 1, model.event_shape, model.context_shape)
        self.model = model
        self.steps = (*chosen, model.steps)
        self.priors = nn.ModuleList(priors)
        early = [
            model.from_depth(model.depth * count / model.steps, prior)
            for count, prior in zip(chosen, priors, strict=True)
        ]
        # in a tuple, so that parameters have one name
        self.chains = (*early, model)

    def parts(self) -> Sequence[Density]:
        """The diffusion, and the priors."""
        return (self.model, *(chain.prior for chain in self.chains[:-1]))

    def terms(self, x: Tensor, context: Tensor | None) -> list[Terms]:
        model = self.model
        x, y, broken = model._clean(x, context)
        number, step = model.chain.one_step(y, context)
        log_likelihood = torch.where(broken, torch.nan, model._ends.of_decoder(x, y))
        each = []
        for chain, count in zip(self.chains, self.steps, strict=True):
            beginning = chain._ends.of_prior(y, context)
            divergence = torch.stack(torch.broadcast_tensors(beginning, torch.where(number < count, step, 0.0)), dim=-1)
            each.append(Terms(log_likelihood, divergence, torch.zeros_like(log_likelihood)))
        return each

    def log_weights(self, x: Tensor, context: Tensor | None) -> Tensor:
        model = self.model
        x, y, broken = model._clean(x, context)
        begun, gained = {}, y.new_zeros(())
        z = y
        for left, (noisy, gained) in zip(range(model.steps, -1, -1), model.chain.walk(y, context), strict=True):
            if left in self.steps:
                chain = self.chains[self.steps.index(left)]
                begun[left] = chain._ends.prior_weight(noisy, context) - gained
            z = noisy.z
        log_p = model._ends.decoder_weight(x, z) + gained
        log_w = torch.stack([begun[count] + log_p for count in self.steps], dim=-1)
        return torch.where(broken.unsqueeze(-1), torch.nan, log_w)

    def draw(self, depths: Tensor, context: Tensor | None) -> Tensor:
        each = []
        for k, chain in enumerate(self.chains):
            rows = (depths == k).nonzero().squeeze(-1)
            given = None if context is None else context[rows]
            each.append(chain._sample(rows.shape if given is None else torch.Size(), given))
        # rows in order of depth, and back in the order in which they came
        return torch.cat(each)[depths.argsort(stable=True).argsort()]

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the diffusion, and each prior on the z at which its chain begins."""
        self.model.initialize(x, context)
        y = self.model._embedded(x)
        for chain in self.chains[:-1]:
            z = noised(y, chain.chain.beginning, chain.chain.dims).z
            chain.prior.initialize(z, None if chain.prior.context_shape is None else context)
