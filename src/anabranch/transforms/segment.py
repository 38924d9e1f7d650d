"""Some blocks in one direction, run with parameters that are lent to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.func import functional_call

from anabranch.transforms.transform import Transform


class Segment(nn.Module):
    """Blocks in the order they run, each forward or each by its inverse, as one module.

    What is run again in a backward pass must see the parameters that the forward pass saw, also where those had been lent
    to the chain (`torch.func.functional_call`) and are taken back by then: `lend` runs the blocks with given ones.
    """

    def __init__(self, blocks: Sequence[Transform], inverse: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.inverse = inverse

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return compose(self.transforms(), x, context, self.inverse)

    def transforms(self) -> list[Transform]:
        """The blocks, in the order they run."""
        return [block for block in self.blocks if isinstance(block, Transform)]

    def lend(self, parameters: Mapping[str, Tensor], x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run the blocks with `parameters`, by the names of `named_parameters`, in place of their own."""
        result: tuple[Tensor, Tensor] = functional_call(self, dict(parameters), (x, context))
        return result


def compose(
    blocks: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Run the blocks in this order, each forward or each by its inverse: the last value and the sum of log-dets."""
    total: Tensor | None = None
    for block in blocks:
        x, log_det = block.inverse(x, context) if inverse else block(x, context)
        total = log_det if total is None else total + log_det
    return x, present(total)


def present(total: Tensor | None) -> Tensor:
    """The sum of log-dets over the blocks of a chain, of which there is always one."""
    if total is None:
        raise ValueError("the chain has lost its blocks")
    return total
