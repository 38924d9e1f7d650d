"""Densities whose hidden variables a decoder reads, and whose bound has terms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.transforms.domain import everywhere


class Decoded(Density):
    r"""log p(x | c) >= E_q[log p(x | z, c)] - the divergences of a posterior from a prior: the two `terms` of a bound.

    `LatentVariable`, `HierarchicalVAE` and `Diffusion` are such. What they share is here: x is what their `decoder` says
    that it is, of any real numbers where that is None.

    To write your own: have a `decoder`, and define `_terms`, the rest of `Density`, and what it weighs.
    """

    likelihood = "bound"
    variational = True

    def readers(self) -> Sequence[Density]:
        """The decoder: priors are of hidden variables, and what x is a context of converts what it reads."""
        decoder = cast(Density | None, self.decoder)
        return () if decoder is None else (decoder,)

    @property
    def support(self) -> Constraint:
        """The decoder's; all numbers without one."""
        decoder = cast(Density | None, self.decoder)
        return everywhere(len(self.event_shape)) if decoder is None else decoder.support

    def terms(
        self,
        x: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The terms of the bound, nats: log p(x | z) of one draw of z, (*batch), and divergences of the posterior from the
        prior, (*batch, groups), which the model's description tells apart.

        A divergence that is no formula is that of the draw, and may be negative.

        Args:
            x: (*batch, *event).
            context: as elsewhere.
            generator: of the draws, as of `sample`.
        """
        x, context = self._checked(x, context)
        with drawing(generator):
            log_likelihood, divergences = self._terms(x, context)[:2]
        return log_likelihood, divergences

    @abstractmethod
    def _terms(self, x: Tensor, context: Tensor | None) -> tuple[Any, ...]:
        """log p(x | z) and the divergences, and what else the model wants of that draw."""
