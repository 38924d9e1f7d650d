"""Several numbers at one position: the contract, and channels that are apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from anabranch.checks import instance_of, positive_int
from anabranch.described import Described
from anabranch.families.family import Family


class Channels(Described, ABC):
    r"""Distributions of the numbers at one position, such as the channels of a pixel, one after the other:

    .. math:: p(x_1, \ldots, x_C \mid \theta) = \prod_i p(x_i \mid \theta_i(\theta, x_1, \ldots, x_{i-1})).

    .. code-block:: text

        given(theta, earlier)  -> (*batch, parameters of one)   theta_i, for earlier = x_1, ..., x_{i-1}, (*batch, i - 1)
        log_prob(x, theta)     -> (*batch)    nats
        sample(theta)          -> (*batch, channels)
        features(x)            -> (*batch, inputs)      what a network reads of x
        start(x)               -> (parameters)          that fit a sample x (n, channels) by itself
        contains(x)            -> (*batch) of booleans

        x      (*batch, channels)
        theta  (*batch, parameters), any real numbers, of any batch shape that broadcasts against that of x

    To write your own: call `super().__init__(family, channels, parameters)` and define `given` and `start`.

    Attributes:
        family: of each number, given those before it.
        discrete, whole: as of a `Family`.

    Args:
        family: of each number.
        channels: how many numbers.
        parameters: how many numbers theta has.
    """

    def __init__(self, family: Family, channels: int, parameters: int) -> None:
        super().__init__()
        instance_of("family", family, Family)
        self.channels = positive_int("channels", channels)
        self.parameters_of_one = positive_int("parameters", parameters)
        self.family = family
        self.inputs = self.channels * family.inputs
        self.discrete, self.whole = family.discrete, family.whole

    @abstractmethod
    def given(self, theta: Tensor, earlier: Tensor) -> Tensor: ...

    @abstractmethod
    def start(self, x: Tensor) -> Tensor: ...

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p(x | theta), (*batch), nats."""
        each = [
            self.family.log_prob(x[..., i], self.given(theta, x[..., :i].to(theta.dtype))) for i in range(self.channels)
        ]
        return torch.stack(each).sum(dim=0)

    def sample(self, theta: Tensor) -> Tensor:
        """One draw for each theta: (*batch, channels)."""
        return self.sample_by(theta, self.family.sample)

    def sample_by(self, theta: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """The same, by a function that draws one number for each theta_i."""
        x = theta.new_empty(*theta.shape[:-1], 0)
        for _ in range(self.channels):
            x = torch.cat([x, draw(self.given(theta, x)).unsqueeze(-1)], dim=-1)
        return x

    def features(self, x: Tensor) -> Tensor:
        """What a network reads of observed x: (*batch, inputs)."""
        return self.family.features(x).flatten(-2)

    def contains(self, x: Tensor) -> Tensor:
        """Whether x (*batch, channels) can be."""
        return self.family.contains(x).all(dim=-1)


class SeparateChannels(Channels):
    r"""Channels that do not see each other: p(x | theta) = prod_i p(x_i | theta_i), theta = (theta_1, ..., theta_C).

    Args:
        family: of each number.
        channels: how many numbers.

    Example:
        >>> import torch
        >>> from anabranch.families import Bernoulli, SeparateChannels
        >>> SeparateChannels(Bernoulli(), 3).log_prob(torch.tensor([0.0, 1.0, 1.0]), torch.zeros(3)).exp()
        tensor(0.1250)
    """

    def __init__(self, family: Family, channels: int) -> None:
        instance_of("family", family, Family)
        super().__init__(family, channels, positive_int("channels", channels) * family.parameters_of_one)

    def given(self, theta: Tensor, earlier: Tensor) -> Tensor:
        i, size = earlier.shape[-1], self.family.parameters_of_one
        return theta[..., i * size : (i + 1) * size]

    def start(self, x: Tensor) -> Tensor:
        return torch.cat([self.family.start(x[:, i]) for i in range(self.channels)])
