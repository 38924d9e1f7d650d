"""nflows: the contract that everyone copied."""

import torch
from torch import Tensor, nn

from contest.case import BINS, BLOCKS, BOUND, HIDDEN, Case
from contest.entrant import Entrant, torch_entrant


class NetworkWithoutContext(nn.Sequential):
    """A multilayer perceptron as nflows and normflows call it: with a context, which is None."""

    def __init__(self, inputs: int, outputs: int) -> None:
        first, second = HIDDEN
        super().__init__(
            nn.Linear(inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, outputs)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x)


def entrant(case: Case, device: torch.device) -> Entrant:
    """Feed-forward blocks: the first layer and one block are two hidden layers. A reversal between autoregressive layers."""
    from nflows import transforms  # noqa: PLC0415 (a peer need not be installed)
    from nflows.distributions import StandardNormal  # noqa: PLC0415
    from nflows.flows import Flow  # noqa: PLC0415
    from nflows.utils import torchutils  # noqa: PLC0415

    width, depth = HIDDEN[0], len(HIDDEN)
    made = {
        "features": case.features,
        "hidden_features": width,
        "num_blocks": depth - 1,
        "use_residual_blocks": False,
    }
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}

    def layer(i: int) -> list[nn.Module]:
        if case.structure == "coupling":
            mask = torchutils.create_alternating_binary_mask(case.features, even=i % 2 == 0)
            if case.univariate == "affine":
                return [transforms.AffineCouplingTransform(mask, NetworkWithoutContext)]
            return [transforms.PiecewiseRationalQuadraticCouplingTransform(mask, NetworkWithoutContext, **spline)]
        turn = [transforms.ReversePermutation(case.features)] if i > 0 else []
        if case.univariate == "affine":
            return [*turn, transforms.MaskedAffineAutoregressiveTransform(**made)]
        return [*turn, transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(**made, **spline)]

    layers = [part for i in range(BLOCKS) for part in layer(i)]
    model = Flow(transforms.CompositeTransform(layers), StandardNormal([case.features]))
    return torch_entrant("nflows", model, case, device, log_prob=model.log_prob, sample=model.sample)
