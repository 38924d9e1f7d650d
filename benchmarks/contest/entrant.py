"""One who takes part: a library's flow, and the works that it can do."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from contest.case import BATCH, LEARNING_RATE, Case, endlessly

Action = Callable[[], object]


@dataclass
class Entrant:
    """What a library brings to a case.

    Attributes:
        name: of the library.
        parameters: how many numbers are trained; a masked weight matrix counts as a whole.
        actions: for each work it can do, a function that does it once.
        absent: for each work it cannot do, why.
        notes: how its work differs from ours, if it does.
        log_prob: of a tensor of rows, without gradients: to check that it is a density.
    """

    name: str
    parameters: int
    actions: dict[str, Action]
    log_prob: Callable[[Tensor], Tensor]
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The same optimiser for every torch library, fused, so that it does not decide."""
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)


def torch_entrant(
    name: str,
    model: nn.Module,
    case: Case,
    device: torch.device,
    log_prob: Callable[[Tensor], Tensor],
    sample: Callable[[int], Tensor] | None,
    loss: Callable[[Tensor], Tensor] | None = None,
    absent: dict[str, str] | None = None,
    notes: list[str] | None = None,
) -> Entrant:
    """An entrant from a torch module: loss by default the mean of -log_prob."""
    model.to(device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = adam(parameters)
    batches = endlessly([torch.from_numpy(batch).to(device) for batch in case.batches()])

    def mean_loss(x: Tensor) -> Tensor:
        return -log_prob(x).mean() if loss is None else loss(x)

    def train() -> None:
        optimizer.zero_grad()
        mean_loss(next(batches)).backward()
        optimizer.step()

    def score() -> Tensor:
        with torch.no_grad():
            return log_prob(next(batches))

    def draw() -> Tensor:
        with torch.no_grad():
            return sample(BATCH)

    def density(x: Tensor) -> Tensor:
        with torch.no_grad():
            return log_prob(x.to(device)).cpu()

    actions: dict[str, Action] = {"training": train, "log_prob": score}
    if sample is not None:
        actions["sample"] = draw
    count = sum(p.numel() for p in parameters)
    return Entrant(name, count, actions, density, absent or {}, notes or [])
