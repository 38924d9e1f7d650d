"""zuko: lazy flows in PyTorch."""

from functools import partial

import torch

from contest.case import BINS, BLOCKS, BOUND, HIDDEN, Case
from contest.entrant import Entrant, torch_entrant


def entrant(case: Case, device: torch.device) -> Entrant:
    """Coupling is its `GeneralCouplingTransform`.

    Its spline recipe gets coupling from a masked network with two passes, half of whose products are wasted: this is the
    quicker way.
    """
    from zuko.flows import MAF, NSF, RealNVP  # noqa: PLC0415 (a peer need not be installed)
    from zuko.transforms import MonotonicRQSTransform  # noqa: PLC0415

    sizes = {"features": case.features, "transforms": BLOCKS, "hidden_features": HIDDEN}
    spline = {
        "univariate": partial(MonotonicRQSTransform, bound=BOUND, slope=1e-3),
        "shapes": [(BINS,), (BINS,), (BINS - 1,)],
    }
    model = {
        "affine-coupling": lambda: RealNVP(**sizes),
        "affine-autoregressive": lambda: MAF(**sizes),
        "spline-coupling": lambda: RealNVP(**sizes, **spline),
        "spline-autoregressive": lambda: NSF(**sizes, bins=BINS),
    }[case.kind]()
    return torch_entrant(
        "zuko", model, case, device, log_prob=lambda x: model().log_prob(x), sample=lambda rows: model().sample((rows,))
    )
