"""A monotone network of sigmoids: the univariate map of neural autoregressive flows."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from anabranch.checks import positive, positive_int
from anabranch.transforms.root import root_between, with_derivatives
from anabranch.transforms.transform import Inversion
from anabranch.transforms.univariate import UnivariateMap

# the least slope of all layers together: below it a float32 z would not say where x was
_LEAST = 0.02
# how far apart the units begin, as a share of the way between those of a logistic distribution
_APART = 0.5
# limits of the raw weights and of the places of units: a network's outputs grow without end outside the data, and at far
# larger ones a float32 z would not say where x was
_MOST_WEIGHT, _FURTHEST = 10.0, 100.0


class DeepSigmoid(UnivariateMap):
    r"""One or more layers, each a monotone network with one hidden layer of K sigmoids:

    .. math:: g(x) = (1 - \epsilon) \operatorname{logit} \Big( \sum_{k=1}^K w_k\, \sigma(a_k (x - b_k)) \Big) + \epsilon x,
              \qquad w = \operatorname{softmax}(\theta_w), \quad a_k > 0, \quad \epsilon = 0.02^{1 / \text{layers}} .

    Every rising function is a limit of these as K grows. Far out the map is nearly a line, with the least a_k for its slope,
    so that it takes all numbers to all numbers. The code computes it in logarithms. The inverse has no formula. z lies
    between the least and the largest of the lines a_k (x - b_k) and x, so that x lies between the points where the first and
    the last of these lines reach z. `root_between` finds x there with 32 evaluations.

    The other well-known monotone network is an integral of a positive network (UMNN, Wehenkel and Louppe, 2019,
    arXiv:1908.05164). Its value needs a quadrature, whose error is part of the log-likelihood; here value and slope are
    exact formulas.

    Source: Huang et al., 2018, "Neural autoregressive flows", arXiv:1804.00779, section 3.1 (deep sigmoidal flows). Three
    things are not in the paper. The term eps x keeps the slope of all layers together above 0.02. The parameters have soft
    limits. Both let x come back in float32 to within 2e-4 (1 + |x|) for all parameters, and mostly to within 1e-5. With
    parameters of 0 the units lie apart from each other, since equal units would stay equal in training, and g(x) is within
    0.16 |x| of x.

    Args:
        units: K; a number takes 3 K parameters for each layer.
        layers: how many such functions follow each other.
        max_slope: a_k lies within [1 / max_slope, max_slope] times its start.

    Example:
        >>> import torch
        >>> from anabranch.transforms import DeepSigmoid
        >>> g = DeepSigmoid(units=8)
        >>> x, parameters = torch.randn(5), torch.randn(5, g.size)
        >>> z, log_derivative = g(x, parameters)
        >>> torch.allclose(g.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    inversion: Inversion = "iterative"

    def __init__(self, units: int = 8, layers: int = 1, max_slope: float = 30.0) -> None:
        self.units, self.layers = positive_int("units", units), positive_int("layers", layers)
        super().__init__(size=3 * units * layers)
        if positive("max_slope", max_slope) <= 1:
            raise ValueError(f"max_slope: expected a number above 1, got {max_slope}")
        self._least = _LEAST ** (1 / layers)
        self._limit = math.log(max_slope)
        place = (torch.arange(units, dtype=torch.float64) + 0.5) / units
        centres = _APART * torch.logit(place)
        # the mixture has the variance of a standard logistic distribution, whose function's logit is the identity
        scale = (1 - centres.square().mean() * 3 / math.pi**2).sqrt()
        self.register_buffer("centres", centres.float(), persistent=False)
        self._log_slope = -math.log(float(scale))

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_derivative = torch.zeros_like(x)
        for layer in self._read(parameters):
            x, more = _sigmoids(x, *layer, self._least)
            log_derivative = log_derivative + more
        return x, log_derivative

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        x, log_derivative = z, torch.zeros_like(z)
        for layer in reversed(self._read(parameters)):
            x = _inverted(x, *layer, self._least)
            log_derivative = log_derivative - _sigmoids(x, *layer, self._least)[1]
        return x, log_derivative

    def _read(self, parameters: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """log w, log a and b of every layer."""
        layers = []
        for layer in parameters.unflatten(-1, (self.layers, 3, self.units)).unbind(-3):
            weight, slope, shift = layer.unbind(-2)
            log_w = torch.log_softmax(_softly(weight, _MOST_WEIGHT), dim=-1)
            log_a = self._log_slope + _softly(slope, self._limit)
            layers.append((log_w, log_a, self.get_buffer("centres") + _softly(shift, _FURTHEST)))
        return layers


def _softly(raw: Tensor, limit: float) -> Tensor:
    """The number itself where it is small, and never beyond the limit."""
    return limit * torch.tanh(raw / limit)


def _sigmoids(x: Tensor, log_w: Tensor, log_a: Tensor, b: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """g(x) and log g'(x) of one layer."""
    t = (x.unsqueeze(-1) - b) * log_a.exp()
    below, above = log_w + logsigmoid(t), log_w + logsigmoid(-t)
    z = torch.lerp(torch.logsumexp(below, dim=-1) - torch.logsumexp(above, dim=-1), x, least)
    # with p and q the sums of the two, a sigmoid's slope is sigma (1 - sigma) and the logit's 1 / (p q); as shares of p and
    # of q the parts keep their digits where p or q has lost them
    shares = torch.log_softmax(below, dim=-1) + torch.log_softmax(above, dim=-1)
    log_slope = torch.logsumexp(log_a + shares - log_w, dim=-1) + math.log1p(-least)
    return z, torch.logaddexp(log_slope, torch.full_like(log_slope, math.log(least)))


def _inverted(z: Tensor, log_w: Tensor, log_a: Tensor, b: Tensor, least: float) -> Tensor:
    """The x with g(x) = z."""

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = _sigmoids(x, log_w, log_a, b, least)
        return y - z, log_slope.exp()

    each = z.unsqueeze(-1) * (-log_a).exp() + b
    ends = torch.minimum(each.amin(dim=-1), z), torch.maximum(each.amax(dim=-1), z)
    return with_derivatives(root_between(function, *ends, size=z.abs()), function)
