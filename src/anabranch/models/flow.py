"""A normalizing flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.densities import Composite, Density
from anabranch.densities.contexts import context_for, shape_for
from anabranch.densities.events import EventDtype
from anabranch.densities.score import Score
from anabranch.models.base import base_for, onto
from anabranch.models.preimage import Preimage, defined_everywhere
from anabranch.transforms import Chain, Transform
from anabranch.transforms.domain import everywhere, is_everything
from anabranch.transforms.transform import common_shape


class Flow(Composite):
    r"""A base density seen through a transform f, from data to noise:

    .. math:: \log p(x \mid c) = \log p_Z(f(x; c) \mid c) + \log |\det \partial f / \partial x|

    Sampling draws z from the base and returns f^{-1}(z). Where f is not defined (log x at -1), p(x) is 0.

    Args:
        transform: f, or several, the first one nearest to the data (a `Chain`). Over a discrete base, whose x are
            levels, only one that moves no number, such as a permutation. One of fewer dimensions than the base has acts on
            every trailing block of an event (`Blockwise`).
        base: the density of z, any `Density`; a standard normal by default. It reads z in its shape, which may be another
            than that of z, with as many entries.

    Raises:
        ValueError: shapes that do not fit; a transform that moves numbers over a discrete base.

    Example:
        >>> import anabranch as ab
        >>> flow = ab.Flow(ab.flows.maf(features=3))
        >>> flow.log_prob(flow.sample((10,))).shape
        torch.Size([10])
    """

    event_dtype: EventDtype = "floating"

    def __init__(self, transform: Transform | Sequence[Transform], base: Density | None = None) -> None:
        if isinstance(transform, Sequence):
            transform = Chain(transform)
        base = base_for(transform, base)
        step = onto(transform, base)
        context_shape = common_shape("context_shape", [transform.context_shape, base.context_shape])
        super().__init__(step.inverse_shape(base.event_shape), context_shape)
        # what runs: the transform, or what fits it to the base; in a tuple, so that parameters have one name
        self._onto = (step,)
        self.transform = transform
        self.base = base
        self._everywhere = defined_everywhere(transform)
        self.reparameterized = base.reparameterized and transform.inversion != "none"
        self.gaps = base.gaps and transform.rearranges

    def parts(self) -> Sequence[Density]:
        """The base."""
        return (self.base,)

    @property
    def support(self) -> Constraint:
        """Where the density may be positive; of a transform with a context, all that its own domain lets in."""
        if self.transform.context_shape is not None:
            domain = self._step.domain
            return everywhere(len(self.event_shape)) if is_everything(domain) else domain
        if self._everywhere and is_everything(self.base.support):
            return everywhere(len(self.event_shape))
        return Preimage(lambda x: [self._step(x)], self.base.support, len(self.event_shape))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the transform on x, and the base on what the transform makes of x."""
        self._step.initialize(x, context)
        self.base.initialize(self._step(x, context)[0], context_for(self.base, context))

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        z, log_det = self._step(x, context)
        return score(self.base, z, context_for(self.base, context)) + log_det

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        z = self.base._sample(shape_for(self, self.base, shape, context), context_for(self.base, context))
        return self._step.inverse(z, context)[0]

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_p = self.base._sample_and_log_prob(
            shape_for(self, self.base, shape, context), context_for(self.base, context)
        )
        x, log_det = self._step.inverse(z, context)
        return x, log_p - log_det

    @property
    def _step(self) -> Transform:
        return self._onto[0]
