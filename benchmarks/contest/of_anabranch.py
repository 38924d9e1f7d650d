"""Ours, as written and compiled."""

import torch

import anabranch as ab
from contest.case import BINS, BLOCKS, BOUND, HIDDEN, Case
from contest.entrant import Entrant, torch_entrant


def chain(case: Case) -> ab.transforms.Chain:
    """The case as our recipes make it, without linear maps between the blocks."""
    sizes = {"features": case.features, "blocks": BLOCKS, "hidden": HIDDEN}
    if case.univariate == "spline":
        return ab.flows.nsf(**sizes, bins=BINS, bound=BOUND, structure=case.structure, linear=False)
    recipe = {"coupling": ab.flows.realnvp, "autoregressive": ab.flows.maf}[case.structure]
    return recipe(**sizes)


def eager(case: Case, device: torch.device) -> Entrant:
    return entrant("anabranch", ab.Flow(chain(case)), case, device)


def compiled(case: Case, device: torch.device) -> Entrant:
    # too many graphs of one line of code make Dynamo go on uncompiled without a word: here it shall be an error
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    model = ab.Flow(chain(case)).to(device)
    model.compile()
    return entrant("anabranch compiled", model, case, device)


def entrant(name: str, model: ab.Flow, case: Case, device: torch.device) -> Entrant:
    """The model, at the three works."""
    return torch_entrant(
        name,
        model,
        case,
        device,
        log_prob=model.log_prob,
        sample=lambda rows: model.sample((rows,)),
        loss=lambda x: model.loss(x).mean(),
    )
