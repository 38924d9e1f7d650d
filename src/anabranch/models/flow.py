"""A normalizing flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import reference_tensor
from anabranch.densities import Composite, Density, Moments, at_context
from anabranch.densities.contexts import context_for, shape_for
from anabranch.densities.reordered import given
from anabranch.densities.score import Score
from anabranch.families import DistributionFunction
from anabranch.models.base import base_for, onto, span_through
from anabranch.models.preimage import Preimage, defined_everywhere, of_every_context
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

    Where the log-determinant is an estimate (`Transform.estimated`), so is the log-density: `likelihood` is "estimate".

    Raises:
        ValueError: shapes that do not fit; a transform that moves numbers over a discrete base; a base that draws numbers
            which the transform does not reach, such as a normal one under a map of the circle; an estimated
            log-determinant over a base of which a bound is known.

    Example:
        >>> import anabranch as ab
        >>> flow = ab.Flow(ab.flows.maf(features=3))
        >>> flow.log_prob(flow.sample((10,))).shape
        torch.Size([10])
    """

    def __init__(self, transform: Transform | Sequence[Transform], base: Density | None = None) -> None:
        if isinstance(transform, Sequence):
            transform = Chain(transform)
        base = base_for(transform, base)
        step = onto(transform, base)
        context_shape = common_shape("context_shape", [transform.context_shape, base.context_shape])
        super().__init__(step.inverse_shape(base.event_shape), context_shape)
        self._span = span_through(step, base)
        # what runs: the transform, or what fits it to the base; in a tuple, so that parameters have one name
        self._onto = (step,)
        self.transform = transform
        self.base = base
        self._everywhere = defined_everywhere(transform)
        if transform.estimated:
            if base.likelihood == "bound":
                raise ValueError(
                    f"base: expected a density that is no bound under a {type(transform).__name__} whose log-determinant "
                    f"is an estimate, got a {type(base).__name__}; make the log-determinant exact"
                )
            self.likelihood = "estimate"
        self.reparameterized = base.reparameterized and transform.inversion != "none"
        self.gaps = base.gaps and transform.rearranges

    def parts(self) -> Sequence[Density]:
        """The base."""
        return (self.base,)

    def readers(self) -> Sequence[Density]:
        """None: the base reads what transforms make of x."""
        return ()

    @property
    def support(self) -> Constraint:
        """Where the density may be positive; of a transform with a context, where it may be at any context."""
        if self.transform.context_shape is not None:
            return of_every_context(self._span, self._step.domain)
        if self._span.everything or (self._everywhere and is_everything(self.base.support)):
            return everywhere(len(self.event_shape))
        return Preimage(lambda x: [self._step(x)], self.base.support, len(self.event_shape), self._span)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the transform on x, and the base on what the transform makes of x."""
        self._step.initialize(x, context)
        self.base.initialize(self._step(x, context)[0], context_for(self.base, context))

    def noise_space(self, context: Tensor | None) -> tuple[list[Transform], Tensor | None] | None:
        """The transform, and what makes noise of the base."""
        inner = self.base.noise_space(context_for(self.base, context))
        if inner is None or not {self._step.inversion, self._step.scoring} <= {"closed", "sequential"}:
            return None
        return [self._step, *inner[0]], context

    def at_temperature(self, temperature: float) -> Flow | None:
        """The transform on the base at that temperature."""
        base = self.base.at_temperature(temperature)
        return None if base is None else Flow(self.transform, base)

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        """Of the base, behind what the transform does to each column, if that reads no other."""
        if (values is None and observed) or (context is None and self.context_shape is not None):
            return None
        of_wanted, of_observed = (self._step.on_columns(some, context) for some in (wanted, observed))
        if of_wanted is None or of_observed is None:
            return None
        seen = None
        if values is not None:
            seen = values if of_observed[0] is None else of_observed[0](values)[0]
        base = at_context(self.base, context_for(self.base, context))
        inner = given(base, of_wanted[1], of_observed[1], seen)
        return inner if inner is None or of_wanted[0] is None else Flow(of_wanted[0], inner)

    def _moments(self, context: Tensor | None) -> Moments | None:
        r"""Of an affine transform: :math:`E[x] = f^{-1}(E[z])`, and J Cov[z] J^T with the derivative J of the inverse."""
        inner = self.base._moments(context_for(self.base, context)) if self._step.affine else None
        if inner is None:
            return None
        mean = self._step.inverse(inner.mean, context)[0]
        if inner.covariance is None:
            return Moments(mean, None)
        features = self.event_shape[0]
        # where 0 and the unit vectors go: (1 + D, *batch, D)
        points = torch.eye(features + 1, features).roll(1, dims=0).to(mean)
        points = points.reshape(features + 1, *[1] * (mean.dim() - 1), features).expand(-1, *mean.shape)
        moved = self._step.inverse(points, context)[0]
        jacobian = (moved[1:] - moved[0]).movedim(0, -1)
        return Moments(mean, jacobian @ inner.covariance @ jacobian.mT)

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        """Of one column, on which every transform rises or falls: the base's at f(x)."""
        base = self.base._distribution_function(context_for(self.base, context)) if self._everywhere else None
        if base is None or self._step.inversion == "none":
            return None
        return _through(self._step, context, base)

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


def _through(transform: Transform, context: Tensor | None, base: DistributionFunction) -> DistributionFunction:
    """The distribution function of x, for that of z = f(x), one number."""
    like = reference_tensor(transform)
    dtype, device = (torch.get_default_dtype(), torch.device("cpu")) if like is None else (like.dtype, like.device)

    def there(x: Tensor) -> Tensor:
        with torch.no_grad():
            z = transform(x.to(device, dtype).unsqueeze(-1), context)[0].squeeze(-1).double().cpu()
        # an infinity is an end, which a transform need not know
        return torch.where(x.isinf(), x if rises else -x, z)

    def back(z: Tensor) -> Tensor:
        with torch.no_grad():
            return transform.inverse(z.to(device, dtype).unsqueeze(-1), context)[0].squeeze(-1).double().cpu()

    low, high = back(base.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))).tolist()
    rises = low <= high

    def below(x: Tensor) -> tuple[Tensor, Tensor]:
        left, right = base.below(there(x))
        return (left, right) if rises else (1 - right, 1 - left)

    return DistributionFunction(
        below, lambda u: back(base.quantile(u if rises else 1 - u)), lambda x: back(base.nearest(there(x)))
    )
