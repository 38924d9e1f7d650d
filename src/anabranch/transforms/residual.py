"""A residual layer that is invertible, since its network is a contraction."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from anabranch.checks import one_of, positive, positive_int
from anabranch.networks.lipschitz import LipschitzNetwork
from anabranch.transforms.jacobian import Rows, jacobian, pulled_back, pushed_forward
from anabranch.transforms.transform import Transform

LogDet = Literal["exact", "estimate"]


class Residual(Transform):
    r"""z = x + g(x; c), with a network g that is a contraction: |g(x) - g(x')| <= L |x - x'| with L < 1.

    .. math:: \log |\det \partial z / \partial x| = \log \det (I + G), \qquad G = \partial g / \partial x

    `log_det="exact"` computes the determinant of the whole matrix, in D passes back through the network and O(D^3)
    operations; it is for low dimensions D. `log_det="estimate"` draws a random number with mean log det (I + G),

    .. math:: \sum_{k=1}^{n + N} \frac{(-1)^{k+1}}{k} \frac{v^T G^k v}{P(n + N \ge k)}, \qquad
              v_i = \pm 1, \quad P(N \ge j) = q^j, \quad q = \max(\tfrac12, L^2),

    in n + N passes back, whatever D is. The first n terms of the series (`terms`) are always there. A geometric random
    number N says how many more are, and dividing each by its probability makes up for the terms left out (Russian roulette).
    The variance of a draw is finite, since :math:`|v^T G^k v| \le D L^k`. The log-determinant is then an estimate
    (`Transform.estimated`): a `Flow` of the layer has a `loss` and an `estimate`, and no `log_prob`.

    The gradient of a draw is also a draw, whose mean is the gradient of log det (I + G). It takes one product with G:

    .. math:: \Big( \sum_{k=1}^{n + N} \frac{(-1)^{k+1}\, v^T G^{k-1}}{P(n + N \ge k)} \Big)\, dG\, v .

    No other product is kept for the backward pass, so that memory does not grow with n + N. The memory of the inverse does
    not grow with its steps either.

    The inverse iterates x <- z - g(x), starting at z. Every step shrinks the error by the factor L. One step of Newton's
    method follows. Where x + g(x) is not within the tolerance of z at the end, x is NaN.

    Source: Behrmann et al., 2019, "Invertible residual networks", arXiv:1811.00995; Chen et al., 2019, "Residual flows for
    invertible generative modeling", arXiv:1906.02735, equations 6 and 8 (roulette and the gradient); Hutchinson, 1990.

    Args:
        network: g, a `LipschitzNetwork` such as `LipschitzMLP`, with outputs of the shape of its x and L below 1.
        log_det: "exact" or "estimate".
        terms: n, of the estimate.
        steps: number of steps of the inverse. By default they shrink the error by a factor of 10^5: 110 steps for L = 0.9,
            1,146 for 0.99.
        tolerance: of the inverse, relative to 1 + the largest number of z.

    Raises:
        ValueError: a network that is no `LipschitzNetwork`, that is no contraction, or whose outputs have another shape than
            its x.

    Example:
        >>> import torch
        >>> from anabranch.networks import LipschitzMLP
        >>> from anabranch.transforms import Residual
        >>> layer = Residual(LipschitzMLP(2, 2, hidden=(16,), coefficient=0.9))
        >>> x = torch.randn(10, 2)
        >>> z, log_det = layer(x)
        >>> bool((layer.inverse(z)[0] - x).abs().max() < 1e-4)
        True
    """

    inversion = "iterative"

    def __init__(
        self,
        network: LipschitzNetwork,
        log_det: LogDet = "exact",
        terms: int = 8,
        steps: int | None = None,
        tolerance: float = 1e-4,
    ) -> None:
        if not isinstance(network, LipschitzNetwork):
            raise ValueError(
                f"network: expected a LipschitzNetwork, which knows a bound of its slopes, for Residual, got "
                f"{type(network).__name__}; take networks.LipschitzMLP"
            )
        if network.out_shape != network.in_shape:
            raise ValueError(
                f"network: expected one whose outputs have the shape of its x, {tuple(network.in_shape)}, "
                f"got {tuple(network.out_shape)}"
            )
        if not network.lipschitz < 1:
            raise ValueError(
                f"network: expected a contraction, whose Lipschitz constant is below 1, for Residual, got a "
                f"{type(network).__name__} of {network.lipschitz:g}; build it with coefficient=0.9"
            )
        super().__init__(network.in_shape, network.context_shape)
        self.network = network
        self.log_det = one_of("log_det", log_det, ("exact", "estimate"))
        self.terms = positive_int("terms", terms)
        shrink = max(network.lipschitz, 0.5)
        self.steps = math.ceil(math.log(1e-5) / math.log(shrink)) if steps is None else positive_int("steps", steps)
        self.tolerance = positive("tolerance", tolerance)
        self._estimates = log_det == "estimate"
        # how many terms there are is drawn
        self.scoring = "iterative" if self._estimates else "closed"

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._at_every_context(x, context)
        rows, g = self._rows(x), self._contraction(x, context)
        z, log_det = self._moved(rows, g)
        return z.reshape(x.shape), log_det.reshape(self._batch(x))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self._at_every_context(z, context)
        goal, g = self._rows(z), self._contraction(z, context)
        with torch.no_grad():
            x = goal
            for _ in range(self.steps):
                x = goal - g(x)
        x = x - self._solved(x, x + g(x) - goal, g)
        back, log_det = self._moved(x, g)
        reach = self.tolerance * (1 + goal.abs().amax(dim=-1))
        missed = ~((back - goal).abs().amax(dim=-1) <= reach)
        x = torch.where(missed.unsqueeze(-1), torch.nan, x)
        return x.reshape(z.shape), torch.where(missed, torch.nan, -log_det).reshape(self._batch(z))

    def _moved(self, x: Tensor, g: Rows) -> tuple[Tensor, Tensor]:
        """x + g(x), and its log-determinant."""
        if self.log_det == "exact":
            y, derivative = jacobian(g, x)
            return x + y, torch.linalg.slogdet(derivative + _identity(x)).logabsdet
        y, pull = pulled_back(g, x)
        return x + y, self._roulette(x, pull)

    def _roulette(self, x: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
        stay = max(0.5, self.network.lipschitz**2)
        signs = torch.where(torch.rand_like(x) < 0.5, -1.0, 1.0).to(x)
        # 1 - u lies in (0, 1]; each row has a number of terms of its own, so that draws of several rows are independent
        uniform = 1 - torch.rand_like(x[:, 0])
        more = (uniform.log() / math.log(stay)).floor()
        longest = int(more.max()) if len(x) else 0
        with torch.no_grad():
            total, vector, series = torch.zeros_like(more), signs, torch.zeros_like(signs)
            for k in range(1, self.terms + longest + 1):
                beyond = max(0, k - self.terms)
                weight = -((-1) ** k) * torch.where(more >= beyond, stay**-beyond, 0.0)
                series = series + weight.unsqueeze(-1) * vector
                vector = pull(vector)
                total = total + weight / k * (vector * signs).sum(dim=-1)
        if not torch.is_grad_enabled():
            return total
        # d log det (I + G) = tr((I + G)^-1 dG), of which the series, times dG v, is a draw
        slope = (pull(series) * signs).sum(dim=-1)
        return total + (slope - slope.detach())

    def _solved(self, x: Tensor, off: Tensor, g: Rows) -> Tensor:
        """d with (I + G) d = off, where G is held and `off` is not, so that x - d has the derivatives of the inverse."""
        if self.log_det == "exact":
            with torch.no_grad():
                _, derivative = jacobian(g, x)
            solved: Tensor = torch.linalg.solve_ex(derivative + _identity(x), off.unsqueeze(-1))[0]
            return solved.squeeze(-1)
        with torch.no_grad():
            found = self._series(off, pushed_forward(g, x))
        if not off.requires_grad:
            return found
        # what comes back to the solution goes back to `off` through the transposed system: nothing is kept of either series
        _, pull = pulled_back(g, x)
        off.register_hook(lambda gradient: None if gradient is None else self._series(gradient, pull))
        return found + (off - off.detach())

    @torch.no_grad()
    def _series(self, right: Tensor, times: Rows) -> Tensor:
        """The y with (I + G) y = right, or with G^T, by the product with it."""
        y = right
        for _ in range(self.steps):
            y = right - times(y)
        return y

    def _contraction(self, x: Tensor, context: Tensor | None) -> Rows:
        """g at the contexts, as a function of rows (rows, D)."""
        if context is not None and self.context_shape is not None:
            context = context.expand(*self._batch(x), *self.context_shape).reshape(-1, *self.context_shape)
        function, shape = self.network.at(context), self.network.in_shape
        return lambda rows: function(rows.reshape(-1, *shape)).flatten(1)

    def _rows(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.network.features)

    def _batch(self, x: Tensor) -> torch.Size:
        return x.shape[: x.dim() - self.event_dim]


def _identity(x: Tensor) -> Tensor:
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
