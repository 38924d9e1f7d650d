"""The depths of a hierarchy of hidden variables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anabranch.checks import instance_of, positive_int
from anabranch.densities import Density
from anabranch.densities.events import without_nan
from anabranch.densities.parameters import Parameters
from anabranch.models.depths import Depths, Terms
from anabranch.models.hierarchical_vae import HierarchicalVAE
from anabranch.models.latent_level import Shaped


class Entries(Depths):
    r"""Depths of a `HierarchicalVAE`: p_l(x) is generated from level l on, below a learned state in place of s_l,

    .. math:: p_l(x) = \int p(z_l \mid s_l = \sigma_l) \prod_{k < l} p(z_k \mid z_{k+1}, \ldots, z_l)\, p(x \mid z)\, dz .

    So the prior enters at any level: that of level l at \sigma_l, which is a free choice of its parameters where they come
    from a network. Everything else is shared. With top-down posteriors the exact ones serve all depths at once, since what
    is below level l depends on what is above by s_l alone; features are computed once. With bottom-up posteriors the draws
    are shared too.

    Args:
        model: the hierarchy. At its highest level nothing is replaced.
        depths: l of the depths, increasing; by default 1, ..., L.
        hidden: where the model has a context, sigma depends on it, through an MLP of these hidden sizes.

    Raises:
        ValueError: no such depths.

    Example:
        >>> import torch
        >>> from anabranch.models import Entries
        >>> from anabranch.testing import linear_gaussian_chain
        >>> depths = Entries(linear_gaussian_chain(levels=3))
        >>> [terms.divergence.shape for terms in depths.terms(torch.zeros(5, 2), None)]
        [torch.Size([5, 1]), torch.Size([5, 2]), torch.Size([5, 3])]
    """

    def __init__(
        self, model: HierarchicalVAE, depths: Sequence[int] | None = None, hidden: Sequence[int] = (64, 64)
    ) -> None:
        instance_of("model", model, HierarchicalVAE)
        levels = len(model.levels)
        chosen = list(range(1, levels + 1)) if depths is None else [positive_int("depths", d) for d in depths]
        if not chosen or sorted(set(chosen)) != chosen or chosen[-1] > levels:
            raise ValueError(f"depths: expected increasing numbers from 1 to {levels}, got {chosen}")
        super().__init__(len(chosen), model.event_shape, model.context_shape)
        self.model = model
        self.depths = tuple(chosen)
        shapes = model.state_shapes()
        context = 0 if model.context_shape is None else model.context_shape
        starts = {
            str(d): Parameters({"state": torch.zeros(shapes[d])}, learnable=True, context=context, hidden=hidden)
            for d in chosen
            if d < levels
        }
        self.starts = nn.ModuleDict(starts)

    def parts(self) -> Sequence[Density]:
        """The hierarchy."""
        return (self.model,)

    def terms(self, x: Tensor, context: Tensor | None) -> list[Terms]:
        return self._terms(x, context, weights=False)

    def log_weights(self, x: Tensor, context: Tensor | None) -> Tensor:
        return torch.stack([terms.bound() for terms in self._terms(x, context, weights=True)], dim=-1)

    def completions(self, x: Tensor, context: Tensor | None) -> list[tuple[Tensor, Tensor]] | None:
        """Hidden variables of the posteriors, at what was observed, and gaps of the decoder below those of each depth."""
        if not self.model.gaps:
            return None
        looked = self.model.look(x, context)
        found = [self.model.complete(x, looked, d, self._state(d, context)) for d in self.depths]
        known = [one for one in found if one is not None]
        return known if len(known) == len(found) else None

    def draw(self, depths: Tensor, context: Tensor | None) -> Tensor:
        each: list[Tensor] = []
        for k, depth in enumerate(self.depths):
            rows = (depths == k).nonzero().squeeze(-1)
            state = self._state(depth, None if context is None else context[rows])
            _, given = self.model.ancestors(depth, state, rows.shape)
            each.append(self.model.decoder._sample(torch.Size(), given))
        # rows in order of depth, and back in the order in which they came
        return torch.cat(each)[depths.argsort(stable=True).argsort()]

    def _terms(self, x: Tensor, context: Tensor | None, weights: bool) -> list[Terms]:
        x, broken = without_nan(self.model, x)
        looked = self.model.look(x, context)
        each = [self.model.descend(x, looked, d, self._state(d, context), weights) for d in self.depths]
        return [t._replace(log_likelihood=torch.where(broken, torch.nan, t.log_likelihood)) for t in each]

    def _state(self, depth: int, context: Tensor | None) -> Shaped | None:
        """What stands above a depth: sigma, or above the highest level the context."""
        if depth == len(self.model.levels):
            return self.model.above(context)
        sigma = self.starts[str(depth)](context)["state"]
        return Shaped(sigma, self.model.state_shapes()[depth])
