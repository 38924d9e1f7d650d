"""A density at one context."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import read_tensor, reference_tensor
from anabranch.densities import (
    Bernoulli,
    Categorical,
    Composite,
    Density,
    GaussianMixture,
    Independent,
    Normal,
    StudentT,
    Uniform,
)
from anabranch.densities.contexts import context_for
from anabranch.densities.gaussian import lower_factor
from anabranch.densities.score import Score


class AtContext(Composite):
    r"""p(. | c) for one c, as a density without a context. It shares the density's parameters.

    Args:
        density: a density with a context.
        context: c, (context features,).

    Raises:
        ValueError: a density that takes no context, or a context of another shape.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.queries import AtContext
        >>> normal = ab.densities.Normal(torch.zeros(2), context=3)
        >>> AtContext(normal, torch.ones(3)).sample((5,)).shape
        torch.Size([5, 2])
    """

    def __init__(self, density: Density, context: Tensor | ArrayLike) -> None:
        super().__init__(density.event_shape)
        like = reference_tensor(density)
        # a file's description is read into a density that has not its dtype yet
        read = read_tensor("context", context, like)
        values = density._checked_context(read if like is None else read.to(like))
        if values is None or values.dim() != 1:
            shape = None if values is None else tuple(values.shape)
            raise ValueError(
                f"context: expected one, of one dimension, for a density that takes one, got shape {shape}"
            )
        self.density = density
        self.register_buffer("values", values.detach().clone())

    def parts(self) -> Sequence[Density]:
        """The density."""
        return (self.density,)

    @property
    def support(self) -> Constraint:
        """The density's."""
        return self.density.support

    @property
    def context(self) -> Tensor:
        """c."""
        return self.get_buffer("values")

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        return score(self.density, x, self.context)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self.density._sample(shape, self.context)

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.density._sample_and_log_prob(shape, self.context)


def settled(density: Density, context: Tensor | ArrayLike | None) -> Density:
    """The density without a context: at the one given, if it takes one. Gaussians and products stay what they are.

    Raises:
        ValueError: a context where none is taken, none where one is, or one of another shape.
    """
    if context is None and density.context_shape is None:
        return density
    like = reference_tensor(density)
    values = density._checked_context(None if context is None else read_tensor("context", context, like))
    if values is None:
        return density
    if values.dim() != 1:
        raise ValueError(f"context: expected one, of shape ({values.shape[-1]},), got shape {tuple(values.shape)}")
    return _at(density, values)


def _at(density: Density, context: Tensor) -> Density:
    if isinstance(density, (Normal, GaussianMixture)):
        return gaussian_mixture(density, context)
    if isinstance(density, (StudentT, Uniform, Bernoulli, Categorical)):
        return columns_of_closed_form(density, range(density.event_shape[0]), context)
    if isinstance(density, Independent):
        given = [context_for(part, context) for part in density]
        return Independent([part if c is None else _at(part, c) for part, c in zip(density, given, strict=True)])
    return AtContext(density, context)


def columns_of_closed_form(
    density: StudentT | Uniform | Bernoulli | Categorical, columns: Sequence[int], context: Tensor | None = None
) -> Density:
    """Some columns of a density whose columns are independent, with constants for parameters: a copy."""
    chosen = list(columns)
    with torch.no_grad():
        theta = density.theta(context)
        if isinstance(density, StudentT):
            loc, scale, df = theta["loc"], theta["log_scale"].exp(), theta["log_df"].exp()
            return StudentT(loc[chosen], scale=scale[chosen], df=df[chosen])
        if isinstance(density, Uniform):
            low, high = density.numbers(context)[chosen].unbind(dim=-1)
            return Uniform(low, high)
        logits = theta["logits"][chosen]
        return Bernoulli(logits) if isinstance(density, Bernoulli) else Categorical(logits)


def gaussian_mixture(density: Normal | GaussianMixture, context: Tensor | None = None) -> GaussianMixture:
    """A Gaussian mixture of constants: a copy of one, at one context if it takes one, or of a normal density, its only
    component.
    """
    with torch.no_grad():
        theta = density.theta(context)
        if isinstance(density, Normal):
            theta = {name: value.unsqueeze(0) for name, value in theta.items()}
            weights = theta["loc"].new_ones(1)
        else:
            weights = torch.softmax(theta["logits"], dim=-1)
        if "packed" not in theta:
            return GaussianMixture(theta["loc"], scale=theta["log_scale"].exp(), weights=weights)
        lower = lower_factor(theta["log_scale"], theta["packed"])
        return GaussianMixture(theta["loc"], scale_tril=lower, weights=weights)
