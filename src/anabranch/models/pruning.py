"""What is left of a mixture whose components have depths when there are fewer of them."""

from __future__ import annotations

import copy
import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import fraction, positive_int
from anabranch.densities import CompositeMixture, Density, Resampled
from anabranch.draws import drawing
from anabranch.networks import LogOdds, Network, Select

_LOG = logging.getLogger("anabranch")


class Prunable(CompositeMixture):
    r"""A mixture whose components have increasing depths, and share a base whose z a gate p(l | z) deals out to them.

    To write your own: set `depths`, `base` and `gate`, and define `weights` and `_only`.

    Attributes:
        depths: of the components.
        base: the density of z.
        gate: the network of the logits of p(l | z).
    """

    depths: tuple[int, ...]
    base: Density
    gate: Network

    @abstractmethod
    def weights(self, z: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """The gate p(l | z): (*batch, components), for z (*batch, *event)."""

    def up_to(self, depth: int) -> Self:
        """The mixture of the components of at most this depth, with this mixture's parts themselves (not copies).

        It is a proper density, and the cheaper the shallower. Its weights are renormalised at every z: anytime use of one
        fitted chain.

        Raises:
            ValueError: no component would be left.
        """
        stay = [i for i, d in enumerate(self.depths) if d <= depth]
        if not stay:
            raise ValueError(f"depth: expected at least {self.depths[0]}, the shallowest component's, got {depth}")
        return self._only(stay)

    def truncate(self, depth: int, x: Tensor | ArrayLike | None = None) -> Self:
        """A copy of `up_to(depth)`: without the components deeper than that and the blocks that only they used.

        Args:
            depth: the deepest that stays.
            x: (rows, *event), held-out rows on which the log "anabranch" says what it costs: the mean log-likelihood
                before and after.

        Raises:
            ValueError: no component would be left.
        """
        return self._copied(self.up_to(depth), x)

    def prune(
        self,
        threshold: float = 0.01,
        samples: int = 10_000,
        x: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Self:
        """A copy without the components that fewer than this fraction of samples have, and the blocks only they used.

        The weights of those that stay are renormalised, at every z. The most frequent component stays in any case.

        Args:
            threshold: smallest fraction p(l) = E_z[p(l | z)] of a component that stays.
            samples: draws from the base with which the fractions are estimated.
            x: (rows, *event), held-out rows, as in `truncate`.
            generator: as of `sample`.

        Raises:
            ValueError: a threshold outside [0, 1]; a mixture with a context, whose fractions differ from one to the other.
        """
        threshold = fraction("threshold", threshold)
        if self.context_shape is not None:
            raise ValueError("context: expected a mixture that takes none, since pruning is for all contexts at once")
        with torch.no_grad(), drawing(generator):
            z = self.base._sample(torch.Size([positive_int("samples", samples)]), None)
            mean = self.weights(z).mean(dim=0)
        stay = [i for i, p in enumerate(mean.tolist()) if p >= threshold] or [int(mean.argmax())]
        return self._copied(self._only(stay), x)

    def component_base(self, depth: int, samples: int = 4096) -> Resampled:
        r"""p(z | l) = p(l | z) p_Z(z) / p(l), from which samples of depth l start: the gate seen as a modified base.

        It is a base from which draws are accepted with probability p(l | z), by this mixture's gate itself (not a copy).
        `normaliser()` of what is returned estimates p(l), the fraction of samples that have this depth, with its error.

        Args:
            depth: l.
            samples: as of `Resampled`.

        Raises:
            ValueError: there is no component of this depth, or it is the only one, whose base is p_Z itself.
        """
        if depth not in self.depths:
            raise ValueError(f"depth: expected one of {list(self.depths)}, got {depth}")
        if self.components == 1:
            raise ValueError("depth: expected a mixture of several depths, got one of a single depth: its base is p_Z")
        acceptance = Select(LogOdds(self.gate), [self.depths.index(depth)])
        return Resampled(self.base, acceptance, truncation=None, samples=samples)

    @abstractmethod
    def _only(self, stay: Sequence[int]) -> Self:
        """The mixture of the components of these numbers alone, with the parts themselves."""

    def _copied(self, fewer: Self, x: Tensor | ArrayLike | None) -> Self:
        if x is not None:
            with torch.no_grad():
                before, after = (
                    float(mixture.lower_bound(x, generator=0).double().mean()) for mixture in (self, fewer)
                )
            _LOG.info(
                "depths %s of %s stay: mean %s %.4f nats before, %.4f after",
                *(list(mixture.depths) for mixture in (fewer, self)),
                "log-likelihood" if self.likelihood == "exact" else "lower bound",
                before,
                after,
            )
        return copy.deepcopy(fewer)
