"""The contract of a univariate map."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.checks import positive_int
from anabranch.described import Described
from anabranch.transforms.transform import Inversion


class UnivariateMap(Described, ABC):
    r"""A monotone function z = g(x; theta) of one number, whose parameters theta somebody else provides.

    It is one of the three independent parts of a layer: a *structure* (who may look at whom: `Elementwise`, `Coupling`,
    `Autoregressive`) times a *univariate map* times a *network* that gives the map's parameters.

    .. code-block:: text

        forward(x, parameters) -> (z, log_derivative)     log dz/dx
        inverse(z, parameters) -> (x, log_derivative)     log dx/dz

        x, z, log_derivative   any shape, elementwise
        parameters             (*shape of x, size), any real numbers: the map constrains them itself

    All-zero parameters give a mild map, the identity where the family holds it, so that a network which starts at zero
    starts there. To write your own: call `super().__init__(size)`, define the two methods, and it works in every structure.
    Where not all numbers will do, say so with `domain` (for x) and `codomain` (for z), intervals of
    `torch.distributions.constraints`: what is outside them never comes to the two methods of a map in `Elementwise`.

    Attributes:
        affine: whether g(x; theta) = a x + b for every theta.
        inversion: what the inverse costs: "closed", a formula, or "iterative", as by `root_between`. A layer says so too.
        fused: whether to run compiled loops where the map has any; `Density.compile` sets it.

    Args:
        size: how many parameters one number takes; 0 for a fixed function.
    """

    affine: bool = False
    inversion: Inversion = "closed"
    fused: bool = False

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = positive_int("size", size, least=0)

    @property
    def domain(self) -> Constraint:
        """The x for which g is defined, by default all. May be overridden."""
        return constraints.real

    @property
    def codomain(self) -> Constraint:
        """The z that g reaches, by default all. May be overridden."""
        return constraints.real

    @abstractmethod
    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]: ...
