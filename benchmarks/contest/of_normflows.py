"""normflows: the flows of nflows and of variational inference, noise to data."""

import torch
from torch import nn

from contest.case import BINS, BLOCKS, BOUND, HIDDEN, Case
from contest.entrant import Entrant, torch_entrant
from contest.of_nflows import NetworkWithoutContext


def entrant(case: Case, device: torch.device) -> Entrant:
    """The layers behind its wrappers.

    The wrappers use residual networks, and their coupling puts a spline on the features that are kept, too: more work than
    the others do. Its layers run from noise to data, so the autoregressive ones are reversed, for scoring to take one pass.
    """
    import normflows as nf  # noqa: PLC0415 (a peer need not be installed)
    from normflows.flows.neural_spline.autoregressive import (  # noqa: PLC0415
        MaskedPiecewiseRationalQuadraticAutoregressive,
    )
    from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling  # noqa: PLC0415
    from normflows.utils.masks import create_alternating_binary_mask  # noqa: PLC0415

    d, width, depth = case.features, HIDDEN[0], len(HIDDEN)
    made = {"features": d, "hidden_features": width, "num_blocks": depth - 1, "use_residual_blocks": False}
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
    notes = []

    def layer(i: int) -> list[nn.Module]:
        if case.kind == "affine-coupling":
            network = nf.nets.MLP([(d + 1) // 2, *HIDDEN, 2 * (d // 2)])
            return [nf.flows.AffineCouplingBlock(network), nf.flows.Permute(d, mode="swap")]
        if case.kind == "spline-coupling":
            mask = create_alternating_binary_mask(d, even=i % 2 == 0)
            return [nf.flows.Reverse(PiecewiseRationalQuadraticCoupling(mask, NetworkWithoutContext, **spline))]
        if case.kind == "affine-autoregressive":
            autoregressive = nf.flows.MaskedAffineAutoregressive(**made)
        else:
            autoregressive = MaskedPiecewiseRationalQuadraticAutoregressive(**made, **spline)
        return [nf.flows.Reverse(autoregressive), nf.flows.Permute(d, mode="shuffle")]

    if case.structure == "autoregressive":
        notes.append("its masked network has no ReLU after the first of its three layers")
    base = nf.distributions.DiagGaussian(d, trainable=False)
    model = nf.NormalizingFlow(base, [part for i in range(BLOCKS) for part in layer(i)])
    return torch_entrant(
        "normflows",
        model,
        case,
        device,
        log_prob=model.log_prob,
        sample=lambda rows: model.sample(rows)[0],
        loss=model.forward_kld,
        notes=notes,
    )
