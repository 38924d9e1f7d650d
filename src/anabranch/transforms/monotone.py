"""Fixed monotone functions as univariate maps without parameters: exp, log, softplus, sigmoid, logit, probit, tanh."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.nn import functional
from torch.special import ndtri

from anabranch.normal_cdf import normal_cdf
from anabranch.transforms.domain import OpenInterval
from anabranch.transforms.univariate import UnivariateMap


def _exp(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.exp(), x


def _log(x: Tensor) -> tuple[Tensor, Tensor]:
    y = x.log()
    return y, -y


def _sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    # dy/dx = y (1 - y), and 1 - sigmoid(x) = sigmoid(-x)
    return torch.sigmoid(x), functional.logsigmoid(x) + functional.logsigmoid(-x)


def _logit(x: Tensor) -> tuple[Tensor, Tensor]:
    log_x, log_rest = x.log(), torch.log1p(-x)
    return log_x - log_rest, -log_x - log_rest


class Exp(UnivariateMap):
    r"""z = exp x, from all numbers to the positive ones.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Elementwise, Exp
        >>> Elementwise(Exp())(torch.zeros(2))
        (tensor([1., 1.]), tensor(0.))
    """

    def __init__(self) -> None:
        super().__init__(size=0)

    @property
    def codomain(self) -> Constraint:
        return constraints.positive

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return _exp(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return _log(z)


class Log(UnivariateMap):
    r"""z = log x, from the positive numbers to all.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Elementwise, Log
        >>> Elementwise(Log())(torch.ones(2))
        (tensor([0., 0.]), tensor(0.))
    """

    def __init__(self) -> None:
        super().__init__(size=0)

    @property
    def domain(self) -> Constraint:
        return constraints.positive

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return _log(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return _exp(z)


class Sigmoid(UnivariateMap):
    r"""z = 1 / (1 + exp(-x)), from all numbers to (0, 1).

    In float32 z reaches 1 for x above 17 and the way back gives infinity: near 1 the numbers lie too far apart.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Elementwise, Sigmoid
        >>> Elementwise(Sigmoid())(torch.zeros(2))
        (tensor([0.5000, 0.5000]), tensor(-2.7726))
    """

    def __init__(self) -> None:
        super().__init__(size=0)

    @property
    def codomain(self) -> Constraint:
        return OpenInterval(0.0, 1.0)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return _sigmoid(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return _logit(z)


class Logit(UnivariateMap):
    r"""z = log(x / (1 - x)), from (0, 1) to all numbers; the inverse of `Sigmoid`.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Elementwise, Logit
        >>> Elementwise(Logit())(torch.full((2,), 0.5))
        (tensor([0., 0.]), tensor(2.7726))
    """

    def __init__(self) -> None:
        super().__init__(size=0)

    @property
    def domain(self) -> Constraint:
        return OpenInterval(0.0, 1.0)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return _logit(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return _sigmoid(z)


class Probit(UnivariateMap):
    r"""z = Phi^-1(x), the quantile function of the standard normal, from (0, 1) to all numbers.

    The inverse, Phi, is also the `CDF` of `torch.distributions.Normal(0.0, 1.0)`; here its lower tail keeps its digits.

    A flow of it is the uniform density. Where numbers z have scale s, the density at an end of (0, 1) is the power
    1 / s^2 - 1 of the distance from it, up to logarithms. Behind a `Logit` it falls faster than any power.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Elementwise, Probit
        >>> Elementwise(Probit())(torch.full((2,), 0.5))
        (tensor([0., 0.]), tensor(1.8379))
    """

    def __init__(self) -> None:
        super().__init__(size=0)

    @property
    def domain(self) -> Constraint:
        return OpenInterval(0.0, 1.0)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        z = ndtri(x)
        return z, 0.5 * (z.square() + math.log(2 * math.pi))

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return normal_cdf(z), -0.5 * (z.square() + math.log(2 * math.pi))


class Softplus(UnivariateMap):
    r"""z = log(1 + exp x), from all numbers to the positive ones; nearly the identity for large x.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Elementwise, Softplus
        >>> Elementwise(Softplus())(torch.zeros(2))
        (tensor([0.6931, 0.6931]), tensor(-1.3863))
    """

    def __init__(self) -> None:
        super().__init__(size=0)

    @property
    def codomain(self) -> Constraint:
        return constraints.positive

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        # softplus below its linear part, which torch begins at 20, is log1p(exp x); dz/dx = sigmoid(x)
        return functional.softplus(x), functional.logsigmoid(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        # x = log(exp z - 1) = z + log(1 - exp(-z)); expm1 keeps all digits of a small z
        log_sigmoid = torch.log(-torch.expm1(-z))
        return z + log_sigmoid, -log_sigmoid


class Tanh(UnivariateMap):
    r"""z = tanh x, from all numbers to (-1, 1).

    In float32 z reaches 1 for x above 9 and the way back gives infinity: near 1 the numbers lie too far apart.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Elementwise, Tanh
        >>> Elementwise(Tanh())(torch.zeros(2))
        (tensor([0., 0.]), tensor(0.))
    """

    def __init__(self) -> None:
        super().__init__(size=0)

    @property
    def codomain(self) -> Constraint:
        return OpenInterval(-1.0, 1.0)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        # dz/dx = 1 / cosh(x)^2 = 4 / (exp(x) + exp(-x))^2, in logarithms
        return torch.tanh(x), 2 * (math.log(2) - x - functional.softplus(-2 * x))

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return torch.atanh(z), -torch.log1p(-z) - torch.log1p(z)
