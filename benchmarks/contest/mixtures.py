"""What a mixture from depth costs: beside the plain flow on its chain, and beside a mixture of as many separate flows."""

import torch
from torch import Tensor, nn

import anabranch as ab
from contest.case import BLOCKS, Case
from contest.entrant import Action, torch_entrant
from contest.of_anabranch import chain

KINDS = ("flow", "depth mixture", "mixture of flows")


class MixtureOfFlows(nn.Module):
    """p(x) = sum_k w_k p_k(x) with K flows of their own: the plain way, of which one from depth saves all but one chain."""

    def __init__(self, case: Case, components: int, is_compiled: bool) -> None:
        super().__init__()
        self.flows = nn.ModuleList(ab.Flow(chain(case)) for _ in range(components))
        self.logits = nn.Parameter(torch.zeros(components))
        # each on its own: they then share one graph, where one of all their 25 blocks would compile for minutes
        if is_compiled:
            for flow in self.flows:
                flow.compile()

    def loss(self, x: Tensor) -> Tensor:
        joint = torch.stack([-flow.loss(x) for flow in self.flows], dim=-1) + torch.log_softmax(self.logits, dim=-1)
        return -torch.logsumexp(joint, dim=-1)


def training_steps(case: Case, device: torch.device, is_compiled: bool) -> dict[str, Action]:
    """A training step of each of `KINDS`: the mixtures have as many components as the chain has blocks."""

    def density_loss(density: ab.densities.Density) -> tuple[nn.Module, object]:
        density.to(device)
        if is_compiled:
            density.compile()
        return density, density.loss

    mixture = MixtureOfFlows(case, BLOCKS, is_compiled)
    models = {
        "flow": density_loss(ab.Flow(chain(case))),
        "depth mixture": density_loss(ab.DepthMixture(chain(case))),
        "mixture of flows": (mixture, mixture.loss),
    }

    def step(name: str) -> Action:
        model, loss = models[name]
        entrant = torch_entrant(
            name, model, case, device, log_prob=lambda x: -loss(x), sample=None, loss=lambda x: loss(x).mean()
        )
        return entrant.actions["training"]

    return {name: step(name) for name in KINDS}
