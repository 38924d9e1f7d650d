"""Ours, as written and compiled."""

import torch
from torch import Tensor, nn

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
    model = ab.Flow(chain(case))
    return torch_entrant(
        "anabranch",
        model,
        case,
        device,
        log_prob=model.log_prob,
        sample=lambda rows: model.sample((rows,)),
        loss=lambda x: model.loss(x).mean(),
    )


def compiled(case: Case, device: torch.device) -> Entrant:
    # too many graphs of one line of code make Dynamo go on uncompiled without a word: here it shall be an error
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    model = ab.Flow(chain(case)).to(device)
    name = "anabranch compiled"
    if compiles_itself():
        model.compile()
        return torch_entrant(
            name,
            model,
            case,
            device,
            log_prob=model.log_prob,
            sample=lambda rows: model.sample((rows,)),
            loss=lambda x: model.loss(x).mean(),
        )
    loss = compiled_loss(model)
    return torch_entrant(
        name,
        model,
        case,
        device,
        log_prob=lambda x: -loss(x),
        sample=None,
        loss=lambda x: loss(x).mean(),
        absent={"sample": "this version has no Density.compile, and its loss alone is compiled here"},
        notes=["torch.compile of the loss, from outside"],
    )


def compiles_itself() -> bool:
    """Whether a density has a `compile` of its own: nn.Module's would compile `forward`, which is the loss alone."""
    return ab.densities.Density.compile is not nn.Module.compile


def compiled_loss(model: ab.densities.Density):
    """Loss per row, compiled."""
    if compiles_itself():
        model.compile()
        return model.loss
    loss = torch.compile(model._loss, fullgraph=True)

    def of_rows(x: Tensor) -> Tensor:
        return loss(x, None)

    return of_rows
