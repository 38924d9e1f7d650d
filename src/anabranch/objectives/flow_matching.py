"""A vector field fitted by regression: flows in continuous time, fitted without a solver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from anabranch.densities import Density
from anabranch.densities.contexts import context_for
from anabranch.models import Flow
from anabranch.objectives.objective import Batch, Objective
from anabranch.transforms import Chain, Continuous, Transform


class FlowMatching(Objective):
    r"""Conditional flow matching: it fits the field of a `transforms.Continuous` to the directions of straight paths.

    A path leads from a row x to a draw z of the base. At a random time t of the path, the loss is

    .. math:: \| v((1 - t) x + t z, t, c) - (z - x) \|^2, \qquad t \sim U(0, 1), \quad z \sim p_Z

    The v of the least mean loss carries the data to the base, so that the flow has the density of the data. A step is one
    pass of the network and computes no log-density. Times are spread evenly over a batch, which leaves the mean as it is. A
    fit judges validation rows by log_prob, which solves the flow for each of them after every epoch: take few, or
    `validation=0`.

    With `transport` each row of a batch gets the draw of the base that makes the sum of all squared distances least. Paths
    then are straighter, and the field is easier to solve. The assignment takes O(rows^3) operations at worst, on the CPU.

    Source: Lipman et al., 2023, "Flow matching for generative modeling", arXiv:2210.02747; Liu et al., 2023,
    arXiv:2209.03003 (straight paths); Tong et al., 2024, arXiv:2302.00482, algorithm 3 (minibatch optimal transport).

    Args:
        transport: whether draws are assigned to rows by optimal transport within the batch. It is for flows without a
            context: an assignment across contexts would change the distribution of the draws at each context.

    Raises:
        ValueError: as a fit begins, a density other than a `Flow` that ends on a `Continuous`; one with trainable parameters
            outside the field; transport with a context.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> flow = ab.Flow(ab.flows.continuous(features=2, hidden=(16,)))
        >>> x = torch.randn(500, 2)
        >>> history = ab.fit(flow, x, objective=ab.objectives.FlowMatching(), epochs=2, validation=0, seed=0)
        >>> flow.log_prob(x[:5]).shape
        torch.Size([5])
    """

    uses_labels = False
    by_epochs = False
    reads_rows = False

    def __init__(self, transport: bool = False) -> None:
        self.transport = bool(transport)

    @property
    def static(self) -> bool:
        """Whether draws go to rows in the order of drawing."""
        return not self.transport

    def prepare(self, rows: Batch, epochs: int) -> None:
        parts_of(rows.density)
        if self.transport and rows.density.context_shape is not None:
            raise ValueError(
                f"transport: expected False for a density with a context, of shape {tuple(rows.density.context_shape)}, "
                "got True; noise dealt over rows of several contexts is not the base's at each of them"
            )

    def __call__(self, batch: Batch) -> Tensor:
        before, field, base = parts_of(batch.density)
        with torch.no_grad():
            x = batch.x
            for block in before:
                x, _ = block(x, batch.context)
            z = _noise(base, x, batch.context)
            if self.transport:
                z = z[dealt(x, z)]
            # one time in each of as many equal parts of [0, 1] as there are rows, in any order
            number = torch.rand_like(x.flatten(1)[:, 0]).argsort()
            time = (number + torch.rand_like(x.flatten(1)[:, 0])) / max(1, len(x))
        along = time.reshape(-1, *(1 for _ in x.shape[1:]))
        context = batch.context if field.context_shape is not None else None
        velocity = field.velocity((1 - along) * x + along * z, time, context)
        return (velocity - (z - x)).flatten(1).square().sum(dim=-1)


class Parts(NamedTuple):
    """The parts of a flow in continuous time.

    Attributes:
        before: transforms without trainable parameters, between the data and the field.
        field: the transform with the vector field.
        base: the density of the noise.
    """

    before: list[Transform]
    field: Continuous
    base: Density


def parts_of(density: Density) -> Parts:
    """The parts of a flow in continuous time.

    Raises:
        ValueError: the density is no such flow, or parts outside the field have trainable parameters, which the objective
            would not fit.
    """
    blocks = list(_blocks(density.transform)) if isinstance(density, Flow) else []
    field = blocks[-1] if blocks else None
    if not isinstance(density, Flow) or not isinstance(field, Continuous):
        raise ValueError(
            "density: expected a Flow whose transform is, or ends on, a Continuous, such as Flow(flows.continuous(2)), "
            f"got a {type(density).__name__}" + (f" that ends on a {type(blocks[-1]).__name__}" if blocks else "")
        )
    before = blocks[:-1]
    for name, part in [*(("transform", block) for block in before), ("base", density.base)]:
        if _trains(part):
            raise ValueError(
                f"{name}: expected no trainable parameters beside those of the vector field, which alone is fitted, "
                f"got some in a {type(part).__name__}; freeze them with requires_grad_(False)"
            )
    return Parts(before, field, density.base)


def dealt(x: Tensor, z: Tensor) -> Tensor:
    """The order of the rows of z in which the squared distances to the rows of x add up to the least."""
    distances = torch.cdist(x.flatten(1).float(), z.flatten(1).float()).square()
    _, order = linear_sum_assignment(distances.cpu().numpy())
    return torch.as_tensor(order, device=x.device)


def _noise(base: Density, x: Tensor, context: Tensor | None) -> Tensor:
    given = context_for(base, context)
    draws = () if given is not None else (len(x),)
    return base.sample(draws, given).reshape(x.shape)


def _blocks(transform: Transform) -> Iterator[Transform]:
    if not isinstance(transform, Chain):
        yield transform
        return
    for block in transform:
        yield from _blocks(block)


def _trains(part: nn.Module) -> bool:
    return any(parameter.requires_grad and parameter.numel() for parameter in part.parameters())
