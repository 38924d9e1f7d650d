"""Half of a space, opened up to the whole."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.checks import positive_int
from anabranch.transforms.monotone import Softplus
from anabranch.transforms.span import Span, span_of, whole_span
from anabranch.transforms.transform import Transform


class HalfSpace(Transform):
    r"""One side of x_i = 0 as a whole space: z_i = log(exp|x_i| - 1), and all other features as they are.

    Far from the border z_i is nearly |x_i|. A density with light tails, such as a normal, comes to 0 at the border with
    all its derivatives: two halves, one from each side, fold a space along a border where there are no data.

    Args:
        features: number of features.
        feature: i.
        positive: whether it is the side of x_i > 0, or else that of x_i < 0.

    Raises:
        ValueError: there is no such feature.

    Example:
        >>> import torch
        >>> from anabranch.transforms import HalfSpace
        >>> z, log_det = HalfSpace(features=2, positive=False)(torch.tensor([[-3.0, 5.0], [3.0, 5.0]]))
        >>> z[0], bool(log_det[1] == -torch.inf)
        (tensor([2.9489, 5.0000]), True)
    """

    _apart = True

    def __init__(self, features: int, feature: int = 0, positive: bool = True) -> None:
        features = positive_int("features", features)
        if positive_int("feature", feature, least=0) >= features:
            raise ValueError(f"feature: expected a number from 0 to {features - 1}, got {feature}")
        super().__init__((features,))
        self.feature = feature
        self.positive = bool(positive)

    @property
    def domain(self) -> Constraint:
        """The vectors on this side of the border."""
        return _Side(self.feature, self.positive)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        sign = 1.0 if self.positive else -1.0
        before, number, after = self._parts(x)
        z, log_det = Softplus().inverse(sign * number, number)
        return torch.cat([before, z, after], dim=-1), log_det.squeeze(-1)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        sign = 1.0 if self.positive else -1.0
        before, number, after = self._parts(z)
        x, log_det = Softplus().forward(number, number)
        return torch.cat([before, sign * x, after], dim=-1), log_det.squeeze(-1)

    def _parts(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i = self.feature
        return value[..., :i], value[..., i : i + 1], value[..., i + 1 :]


class _Side(Constraint):
    """Vectors whose number i is above, or below, 0."""

    event_dim = 1

    def __init__(self, feature: int, positive: bool) -> None:
        super().__init__()
        self.feature = feature
        # as intervals have them: what lies between is one point at least that is inside
        self.lower_bound = 0.0 if positive else None
        self.upper_bound = None if positive else 0.0

    def span(self, shape: torch.Size) -> Span:
        """All numbers, but one that has an end."""
        numbers = constraints.positive if self.upper_bound is None else constraints.less_than(0.0)
        chosen = torch.arange(shape[0]) == self.feature
        return span_of(numbers, shape).where(chosen, whole_span(shape))

    def check(self, value: Tensor) -> Tensor:
        number = value[..., self.feature]
        return number > 0 if self.upper_bound is None else number < 0
