"""A multilayer perceptron with a Lipschitz constant of at most a given number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from anabranch.checks import positive
from anabranch.networks.linear_layers import linear_layers, shifts_of, start_at_zero
from anabranch.networks.lipschitz import LipschitzNetwork, spectral_bound
from anabranch.networks.network import Shape, as_vectors

# the steepest slope of x sigmoid(x) is 1.0998
_STEEPEST = 1.1
# softplus of this is 1
_ONE = 0.541324854612918


class LipschitzMLP(LipschitzNetwork):
    r"""Multilayer perceptron of Lipschitz constant at most L, which scales down those of its n matrices that are too large:

    .. math:: \tilde W = W \min\!\big(1, L^{1/n} / \hat\sigma(W)\big), \qquad
              a(h) = h \, \mathrm{sigmoid}(\beta h) / 1.1, \quad \beta > 0,

    :math:`\hat\sigma` is an upper bound of the largest singular value (`spectral_bound`). The activation a is LipSwish,
    whose slope lies within [-1, 1] for every beta; each layer learns one beta. The context shifts the outputs of every
    layer, which leaves the Lipschitz constant in x as it is.

    Source: Behrmann et al., 2019, "Invertible residual networks", arXiv:1811.00995, section 2.1; Chen et al., 2019,
    "Residual flows for invertible generative modeling", arXiv:1906.02735, section 3.3 (LipSwish).

    Args:
        features: size of x, or its shape: the layers see an array as one vector.
        outputs: size of y, or its shape.
        context: size of the context, or its shape; 0 for none.
        hidden: sizes of the hidden layers.
        coefficient: L. A contraction, as `transforms.Residual` needs it, has one below 1.
        zero_start: start with the last layer at zero, so that every output starts at 0.

    Example:
        >>> import torch
        >>> from anabranch.networks import LipschitzMLP
        >>> network = LipschitzMLP(2, 2, hidden=(16,), coefficient=0.5)
        >>> x, other = torch.randn(100, 2), torch.randn(100, 2)
        >>> ratios = (network(x) - network(other)).norm(dim=-1) / (x - other).norm(dim=-1)
        >>> bool((ratios <= 0.5).all())
        True
    """

    def __init__(
        self,
        features: Shape,
        outputs: Shape,
        context: Shape | None = 0,
        hidden: Sequence[int] = (64, 64),
        coefficient: float = 0.9,
        zero_start: bool = False,
    ) -> None:
        super().__init__(features, outputs, context)
        self.lipschitz = positive("coefficient", coefficient)
        self.layers = linear_layers(self.features, hidden, self.outputs)
        self.shifts = shifts_of(self.layers, self.context)
        self.betas = nn.Parameter(torch.full((len(hidden),), _ONE))
        if zero_start:
            start_at_zero(self.layers[-1], self.shifts)

    def at(self, context: Tensor | None) -> Callable[[Tensor], Tensor]:
        """The function of x at a context, of which the matrices are scaled once."""
        share = self.lipschitz ** (1 / len(self.layers))
        layers = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        weights = [layer.weight * (share / spectral_bound(layer.weight).clamp(min=share)) for layer in layers]
        biases: list[Tensor] = [layer.bias for layer in layers]
        if context is not None and self.context_shape is not None:
            context = as_vectors(context, self.context_shape)
            shifts = self.shifts(context, context.shape[:-1])
            biases = [
                bias if shift is None else bias + shift.reshape(*context.shape[:-1], len(bias))
                for bias, shift in zip(biases, shifts, strict=True)
            ]
        betas = softplus(self.betas)

        def function(x: Tensor) -> Tensor:
            h = as_vectors(x, self.in_shape)
            for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                if i:
                    h = h * torch.sigmoid(betas[i - 1] * h) / _STEEPEST
                h = linear(h, weight) + bias
            return self._as_outputs(h)

        return function
