"""The contract of models that can begin at several depths."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.densities.density import Weigh
from anabranch.described import Described


class Terms(NamedTuple):
    """The terms of a lower bound, of one draw of all hidden variables, nats.

    Attributes:
        log_likelihood: log p(x | z), (*batch).
        divergence: of the posterior from the prior, (*batch, groups): each a formula, or log q - log p of the draw.
        log_q: the log-density of those draws that are not differentiable, (*batch); 0 where all are.
    """

    log_likelihood: Tensor
    divergence: Tensor
    log_q: Tensor

    def weighed(self, weigh: Weigh) -> Tensor:
        """The bound with these weights, (*batch). Its gradient is that of its mean, by the score function where need be."""
        value = weigh(self.log_likelihood, self.divergence)
        held = value.detach()
        return value + torch.where(held.isfinite(), held, 0.0) * (self.log_q - self.log_q.detach())

    def bound(self) -> Tensor:
        """The bound, (*batch)."""
        return self.weighed(difference)


class Depths(Described, ABC):
    r"""Densities p_1(x), ..., p_D(x) that share their parts: p_l is of what is generated from depth l on.

    Each integrates over hidden variables, more of them the deeper it begins, and a bound is known of it, by a guess at
    them. `LatentDepthMixture` makes one density of them. Three primitives, which get checked arguments:

    .. code-block:: text

        terms(x, context)          -> D times Terms, of the bound of log p_l(x), l = 1, ..., D
        log_weights(x, context)    -> (*batch, D), log w_l of a random w_l >= 0 of mean p_l(x)
        draw(depths, context)      -> (rows, *event), a draw of p_l for each row: depths (rows) from 0, contexts
                                      (rows, *context); the work is that of the depths drawn

        x         (*batch, *event), with all batch dimensions of the result; a NaN makes its row NaN, or is a gap
        context   (*context batch, *context), None where there is none

    Guesses may be shared by the depths: the draws of different depths need not be independent. The mean is over all draws.
    Depths that take a NaN for a gap may fill it, too: `completions`.

    Attributes:
        event_shape, context_shape: as of a `Density`.
        count: D.
    """

    def __init__(self, count: int, event_shape: torch.Size, context_shape: torch.Size | None) -> None:
        super().__init__()
        self.count = count
        self.event_shape = torch.Size(event_shape)
        self.context_shape = context_shape

    @abstractmethod
    def parts(self) -> Sequence[Density]:
        """The densities of which all depths are made; the first is that of the deepest, with their support and dtype."""

    @abstractmethod
    def terms(self, x: Tensor, context: Tensor | None) -> list[Terms]: ...

    @abstractmethod
    def log_weights(self, x: Tensor, context: Tensor | None) -> Tensor: ...

    @abstractmethod
    def draw(self, depths: Tensor, context: Tensor | None) -> Tensor: ...

    def completions(self, x: Tensor, context: Tensor | None) -> list[tuple[Tensor, Tensor]] | None:
        """For each depth rows x with their gaps drawn and log w, by which they are draws of p_l given what was observed
        (`densities.weighted_completion`); None where there are none.
        """
        return None

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what is to be set from a first batch of data: by default that of the deepest."""
        self.parts()[0].initialize(x, context)


def difference(log_likelihood: Tensor, divergence: Tensor) -> Tensor:
    """The bound itself, as `Density.weighed_bound` takes it."""
    return log_likelihood - divergence.sum(dim=-1)
