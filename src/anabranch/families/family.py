"""The contract of a family of distributions of one number."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.described import Described
from anabranch.families.distribution_function import DistributionFunction
from anabranch.families.point_masses import PointMasses


class Family(Described, ABC):
    r"""Distributions p(x | theta) of one number, for whatever gives the parameters, and what a network reads of x.

    .. code-block:: text

        log_prob(x, theta)   -> (*batch)    nats: a log-density, or where x has a probability, its logarithm
        sample(theta)        -> (*batch)
        below(x, theta)      -> (*batch), (*batch)    P(X < x) and P(X <= x); equal where x has no probability of its own
        quantile(u, theta)   -> (*batch)    the smallest x with P(X <= x) >= u
        mean(theta)          -> (*batch)
        features(x)          -> (*batch, inputs)      of an observed x
        start(x)             -> (parameters)          that fit a sample x (n) by itself
        contains(x)          -> (*batch) of booleans   whether x can be, whatever theta
        nearest(x)           -> (*batch)    the value next to x that has a probability of its own, NaN where none has
        ends()               -> (least, largest)    that x can be, whatever theta; infinite where there is no end
        seen()               -> (least, largest)    of the sample of `initialize`, None where that is not kept
        floored(theta)       -> (*batch) of booleans   whether a scale has come to the floor under it, None for no floor
        initialize(x)        set what `features` reads off a sample

        x      (*batch)
        theta  (*batch, parameters), any real numbers, of any batch shape that broadcasts against that of x

    A NaN in x gives NaN. To write your own: call `super().__init__(parameters, inputs)` and define the rest.

    Attributes:
        discrete: whether every x has a probability, so that log_prob is the logarithm of one.
        whole: whether every x is a whole number, and log_prob takes an x of a whole dtype too.
        reparameterized: whether samples are differentiable functions of theta.

    Args:
        parameters: how many numbers theta has.
        inputs: how many `features` has.
    """

    discrete: bool = False
    reparameterized: bool = False
    whole: bool = False

    def __init__(self, parameters: int, inputs: int) -> None:
        super().__init__()
        self.parameters_of_one = positive_int("parameters", parameters)
        self.inputs = positive_int("inputs", inputs)

    @abstractmethod
    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p(x | theta), (*batch), nats: of a density, or where x has a probability of that."""

    @abstractmethod
    def sample(self, theta: Tensor) -> Tensor:
        """One draw for each theta (*batch, parameters): (*batch)."""

    @abstractmethod
    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """P(X < x) and P(X <= x), (*batch) both; equal where x has no probability of its own."""

    @abstractmethod
    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        """The smallest x (*batch) with P(X <= x) >= u."""

    @abstractmethod
    def mean(self, theta: Tensor) -> Tensor:
        """The mean (*batch); infinite or NaN where there is none."""

    def variance(self, theta: Tensor) -> Tensor | None:
        """The variance (*batch), infinite or NaN where there is none; None, the default, where it has no closed form."""
        return None

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """What a network reads of observed x (*batch): (*batch, inputs)."""

    @abstractmethod
    def start(self, x: Tensor) -> Tensor:
        """theta (parameters) that fits a sample x (n) by itself."""

    def contains(self, x: Tensor) -> Tensor:
        """Whether x (*batch) can be; by default every finite number."""
        return x.isfinite()

    def nearest(self, x: Tensor) -> Tensor:
        """The value next to x (*batch) that has a probability of its own; by default none has, and NaN comes back."""
        return torch.full_like(x, torch.nan)

    def ends(self) -> tuple[float, float]:
        """The least and the largest x that can be, whatever theta; infinite where there is no end, the default."""
        return -math.inf, math.inf

    def point_masses(self, most: int, like: Tensor) -> PointMasses:
        """The values that have a probability of their own, of the dtype of `like`, where they are at most about so many; by
        default none is told.
        """
        return PointMasses(None, self.discrete)

    def distribution_function(self, theta: Tensor) -> DistributionFunction:
        """That of one theta, (parameters)."""
        theta = theta.detach()

        def below(x: Tensor) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                left, right = self.below(x.to(theta), theta.expand(*x.shape, -1))
            ends = (x > 0).double()
            left, right = (torch.where(x.isinf(), ends, p.double().cpu()) for p in (left, right))
            return left, right

        def quantile(u: Tensor) -> Tensor:
            with torch.no_grad():
                return self.quantile(u.to(theta), theta.expand(*u.shape, -1)).double().cpu()

        return DistributionFunction(below, quantile, self.nearest)

    def seen(self) -> tuple[float, float] | None:
        """The least and the largest x of the sample that `initialize` was given; None, the default, where none is kept.

        Before `initialize` the numbers mean nothing.
        """
        return None

    def floored(self, theta: Tensor) -> Tensor | None:
        """Whether a scale of theta (*batch, parameters) has come to the floor under it: (*batch); None, the default, where
        there is no floor that says anything of the data.
        """
        return None

    def initialize(self, x: Tensor) -> None:
        """Set what `features` reads off a sample (n)."""


def quantiles_of(x: Tensor, shares: Tensor) -> Tensor:
    """Quantiles of a sample (n), interpolated; also of one too large for `torch.quantile`."""
    ordered = x.sort().values
    place = shares.to(x) * (len(x) - 1)
    lower = place.floor().long()
    upper = place.ceil().long()
    return torch.lerp(ordered[lower], ordered[upper], place - lower)
