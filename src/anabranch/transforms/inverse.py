"""A transform turned round."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of
from anabranch.transforms.span import Span
from anabranch.transforms.transform import Transform


class Inverse(Transform):
    r"""The inverse bijection: forward is the other's inverse, inverse the other's forward.

    An inverse autoregressive flow is the `Inverse` of an `Autoregressive` (Kingma et al., 2016, arXiv:1606.04934): it
    samples in one pass and scores in one step per feature. Where the other's inverse is an iteration (`Planar`), samples
    come by its formula and scores by the iteration. `scoring` says which: it is the other's `inversion`, as
    `inversion` is the other's `scoring`.

    Args:
        transform: the transform to turn round. Its inverse must not be "none". (A chain that does not reach all vectors is
            best turned round block by block: it knows the codomain of each block but not its own.)

    Example:
        >>> import torch
        >>> from anabranch.transforms import Inverse, Permutation
        >>> z, _ = Inverse(Permutation([1, 2, 0]))(torch.tensor([10.0, 20.0, 30.0]))
        >>> z
        tensor([30., 10., 20.])
        >>> from anabranch.transforms import Planar
        >>> Inverse(Planar(3)).scoring
        'iterative'
    """

    def __init__(self, transform: Transform) -> None:
        instance_of("transform", transform, Transform)
        if transform.inversion == "none":
            raise ValueError(f"transform: expected one with an inverse, got {type(transform).__name__}, which has none")
        super().__init__(transform.noise_shape, transform.context_shape, noise_shape=transform.event_shape)
        self.event_dim = transform.noise_dim
        self.inversion, self.scoring = transform.scoring, transform.inversion
        self.rearranges = transform.rearranges
        self.affine = transform.affine
        self.transform = transform
        # what runs, where a part can be turned round in place of the whole; in a tuple, so that parameters have one name
        self._turned = (transform.turned_round(),)
        self._leaves_domain = self._turned[0] is not None

    @property
    def domain(self) -> Constraint:
        """What the other reaches."""
        return self.transform.codomain

    @property
    def codomain(self) -> Constraint:
        """Where the other is defined."""
        return self.transform.domain

    @property
    def noise_dim(self) -> int:
        """The dimensions of what the other takes."""
        return self.transform.event_dim

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        """The other's `inverse_shape`."""
        return self.transform.inverse_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        """The other's `forward_shape`."""
        return self.transform.forward_shape(shape)

    def span_ahead(self, span: Span) -> Span:
        """The other's `span_behind`."""
        return self.transform.span_behind(span)

    def span_behind(self, span: Span) -> Span:
        """The other's `span_ahead`."""
        return self.transform.span_ahead(span)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Nothing to do: what is set from data is set from the data's side, which is the other end."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        (turned,) = self._turned
        result: tuple[Tensor, Tensor] = self.transform.inverse(x, context) if turned is None else turned(x, context)
        return result

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        (turned,) = self._turned
        result: tuple[Tensor, Tensor] = self.transform(z, context) if turned is None else turned.inverse(z, context)
        return result
