"""What a density may know in closed form: the optional part of the contract, which queries ask for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from anabranch.checks import matching, read_tensor, reference_tensor
from anabranch.densities.moments import Moments
from anabranch.families import DistributionFunction, PointMasses
from anabranch.transforms import Transform

DensityT = TypeVar("DensityT")


class ClosedAnswers(nn.Module, Generic[DensityT]):
    """Marginals, conditionals, moments and distribution functions of a density over vectors (D), where they have a formula.

    A public method checks its arguments and asks the hook of its name. Every hook gives None by default; a class that knows
    the answer defines it, and a composite asks its parts. Queries ask these, whatever the class.

    Attributes:
        leaves_open: whether `_given` also takes None for the values, or the context, and gives a density whose context they
            are.
    """

    event_shape: torch.Size
    context_shape: torch.Size | None
    leaves_open: bool = False

    @abstractmethod
    def log_prob(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor: ...

    @abstractmethod
    def _checked_context(self, context: Any) -> Tensor | None: ...

    def marginal(self, columns: Sequence[int], context: Tensor | ArrayLike | None = None) -> DensityT | None:
        r"""p(x_W | c) = \int p(x_W, x_H | c) dx_H, all other columns integrated out; None where that has no closed form.

        Args:
            columns: W, in the order wanted.
            context: one context, (c). Without it the marginal of a density that takes a context takes it too, or is None.

        Raises:
            ValueError: a column that does not exist, or twice the same; a context that does not fit.

        Example:
            >>> from anabranch.densities import Normal
            >>> Normal([0.0, 1.0, 2.0]).marginal([2, 0]).sample().shape
            torch.Size([2])
        """
        wanted = self._columns(columns)
        context = None if context is None else self._one_context(context)
        if context is None and self.context_shape is not None and not self.leaves_open:
            return None
        return self._given(wanted, [], None, context)

    def conditional(
        self,
        columns: Sequence[int],
        values: Tensor | ArrayLike | None = None,
        context: Tensor | ArrayLike | None = None,
    ) -> DensityT | None:
        r"""p(x_R | x_O, c) = p(x_R, x_O | c) / p(x_O | c), of the other columns in their order; None without a closed form.

        Args:
            columns: O, the observed columns.
            values: (len(columns),), what was observed, where p(x_O | c) > 0. Without it the conditional is a density whose
                context is the observed values, followed by this density's context if it takes one; or None.
            context: one context, (c). Without it the conditional of a density that takes a context takes it too, or is None.

        Raises:
            ValueError: a column that does not exist, twice the same, or all of them; values or a context that do not fit.

        Example:
            >>> from anabranch.densities import GaussianMixture
            >>> mixture = GaussianMixture([[-2.0, 0.0], [2.0, 1.0]])
            >>> mixture.conditional([0], [2.0]).log_prob([[1.0], [0.0]]).shape
            torch.Size([2])
            >>> mixture.conditional([0]).context_shape
            torch.Size([1])
        """
        observed = self._columns(columns)
        wanted = [i for i in range(self.event_shape[0]) if i not in observed]
        if not wanted:
            raise ValueError("columns: expected some column to be left, got all of them")
        context = None if context is None else self._one_context(context)
        if values is not None:
            like = reference_tensor(self)
            values = read_tensor("values", values, like)
            if values.dim() != 1 or len(values) != len(observed):
                raise ValueError(f"values: expected shape ({len(observed)},), got {tuple(values.shape)}")
            matching("values", values, None, like)
        if not self.leaves_open and (values is None or (context is None and self.context_shape is not None)):
            return None
        return self._given(wanted, observed, values, context)

    def moments(self, context: Tensor | ArrayLike | None = None) -> Moments | None:
        """The mean (*context batch, D), and the covariance (*context batch, D, D) or None; None without a closed form.

        What does not exist is NaN, and what has no limit infinite.

        Example:
            >>> from anabranch.densities import StudentT
            >>> StudentT([1.0], scale=2.0, df=4.0).moments()
            Moments(mean=tensor([1.]), covariance=tensor([[8.]]))
        """
        with torch.no_grad():
            return self._moments(self._checked_context(context)) if len(self.event_shape) == 1 else None

    def distribution_function(self, context: Tensor | ArrayLike | None = None) -> DistributionFunction | None:
        """P(X <= x | c) and its inverse, of a density over one column at one context, (c); None without a closed form.

        Example:
            >>> import torch
            >>> from anabranch.densities import Uniform
            >>> Uniform([0.0], [4.0]).distribution_function().quantile(torch.tensor([0.25]).double())
            tensor([1.], dtype=torch.float64)
        """
        if self.event_shape != (1,):
            raise ValueError(f"event_shape: expected (1,), one column, got {tuple(self.event_shape)}; take a marginal")
        with torch.no_grad():
            return self._distribution_function(self._one_context(context))

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> DensityT | None:
        """p(x_W | x_O = values, c), W and O disjoint, all other columns integrated out: a density without a context."""
        return None

    def _moments(self, context: Tensor | None) -> Moments | None:
        return None

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        return None

    def _at_context(self, context: Tensor) -> DensityT | None:
        """p(x | c) as a density of constants, without a context; `at_context` makes one of every density."""
        return None

    # How a density is made, for what has no formula. These are None by default too, and may be overridden.

    def factors(self, context: Tensor | None) -> list[DensityT] | None:
        """The p_j of p(x | c) = prod_j p_j(x_j), x cut into consecutive pieces: densities without a context."""
        return None

    def summands(self, context: Tensor | None) -> tuple[list[DensityT], Tensor] | None:
        """The p_k, without a context, and log w_k > -inf, (K), of p(x | c) = sum_k w_k p_k(x)."""
        return None

    def noise_space(self, context: Tensor | None) -> tuple[list[Transform], Tensor | None] | None:
        """Transforms that, one after the other at a context, make of x standard normal noise, and run both ways."""
        return None

    def at_temperature(self, temperature: float) -> DensityT | None:
        """The density whose normal base has so many times its deviation, with the same transforms (no copies)."""
        return None

    def peaks(self, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Points (n, D), in float64, uphill from which there is the highest point of p, and the unit of each column, (D)."""
        return None

    def point_masses(self, most: int, like: Tensor) -> list[PointMasses] | None:
        """For each column, the values (of the dtype of `like`) that have a probability of their own, if at most so many."""
        return None

    def any_order(self, context: Tensor | None) -> tuple[Any, Tensor | None] | None:
        """The `models.AnyOrder` that p(x | c) is, and its context: it gives p(x_i | x_A, c) for every i and A."""
        return None

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Rows x (*batch, *event) with their gaps drawn, and log w (*batch), nats, by which they are draws of p given what
        was observed (`densities.weighted_completion`).
        """
        return None

    def relative_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """What rises and falls with log_prob, (*batch): cheaper where that has integrals, and log_prob elsewhere."""
        return self.log_prob(x, context)

    def _columns(self, columns: Sequence[int]) -> list[int]:
        chosen = [int(i) for i in columns]
        if len(self.event_shape) != 1:
            raise ValueError(f"columns: expected a density over vectors, got event shape {tuple(self.event_shape)}")
        features = self.event_shape[0]
        if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= i < features for i in chosen):
            raise ValueError(f"columns: expected different numbers from 0 to {features - 1}, got {chosen}")
        return chosen

    def _one_context(self, context: Any) -> Tensor | None:
        read = self._checked_context(context)
        if read is not None and read.shape != self.context_shape:
            raise ValueError(
                f"context: expected one, of shape {tuple(self.context_shape or ())}, got shape {tuple(read.shape)}"
            )
        return read
