"""What a chain keeps of its forward pass for the gradients, as strategies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.checkpoint import checkpoint

from anabranch.checks import one_of, positive_int
from anabranch.described import Described
from anabranch.kernels.modes import takes_operations_alone
from anabranch.transforms.recovery import compose_recovering
from anabranch.transforms.segment import Segment, compose, present
from anabranch.transforms.transform import INVERSIONS, Transform


class Memory(Described, ABC):
    r"""What a chain keeps of its forward pass for the gradients: `Chain(blocks, memory=...)`.

    Values and gradients are the same under every strategy, up to rounding; what differs is memory and time. For L blocks,
    with f numbers between two of them (rows times features) and b inside one (mostly the hidden layers of its network, so
    b >> f):

    .. code-block:: text

        strategy      activations at peak     blocks run in one training step      derivatives
        Store         L b                     L                                    of all orders
        Checkpoint    L f / every + every b   2 L                                  of all orders
        Invert        L f / every + b         3 L, those the other way included    first

    A chain among the blocks is one block to the outer chain, and follows its own strategy when the outer one runs it with
    gradients. Where none are recorded nothing is kept anyway. Within `torch.func` transforms and forward-mode
    differentiation every strategy keeps all, as `Store` does: PyTorch cannot run a block again there. Blocks are
    deterministic functions: to run one again takes no state of a random generator.

    To write your own: define `run` and `step`, and `check` if it does not take every block.
    """

    def check(self, blocks: Mapping[str, Transform]) -> None:
        """Raise ValueError for a block that the strategy cannot run. May be overridden."""

    @abstractmethod
    def run(
        self, blocks: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Run the blocks in this order, each forward or each by its inverse: the last value, and the sum of log-dets."""

    @abstractmethod
    def step(self, block: Transform, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run one block for `Chain.prefixes`, whose caller holds its input and its output."""


class Store(Memory):
    """Keep every activation: the fastest; memory grows with the number of blocks.

    Example:
        >>> from anabranch.transforms import Chain, Householder
        >>> Chain([Householder(3), Householder(3)]).memory
        Store()
    """

    def run(
        self, blocks: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        return compose(blocks, x, context, inverse)

    def step(self, block: Transform, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = block(x, context)
        return result


class Checkpoint(Memory):
    r"""Keep the values between segments of blocks; the backward pass runs each segment again, for its activations.

    It takes every block, whatever its inverse costs. The peak of L f / every + every b is least at
    every = :math:`\sqrt{L f / b}`: at 1 for flows, whose networks are far wider than their features, and at the
    :math:`\sqrt L` of the source where f = b. Source: Chen et al., 2016, "Training deep nets with sublinear memory cost",
    arXiv:1604.06174, section 4.

    Args:
        every: blocks in a segment. In prefixes, whose caller holds the value after every block, it is always 1.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Chain, Checkpoint, LULinear
        >>> chain = Chain([LULinear(3) for _ in range(4)], memory=Checkpoint(every=2))
        >>> z, log_det = chain(torch.randn(10, 3))
        >>> (z.square().sum() / 2 - log_det.sum()).backward()
        >>> next(iter(chain)).lower.grad.shape
        torch.Size([3, 3])
    """

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        self.every = positive_int("every", every)

    def check(self, blocks: Mapping[str, Transform]) -> None:
        """Raise ValueError for a block that gives other numbers when it is run again."""
        _check_same_again("checkpoint", blocks)

    def run(
        self, blocks: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        total: Tensor | None = None
        for start in range(0, len(blocks), self.every):
            x, log_det = _checkpointed(blocks[start : start + self.every], x, context, inverse)
            total = log_det if total is None else total + log_det
        return x, present(total)

    def step(self, block: Transform, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return _checkpointed([block], x, context)


class Invert(Memory):
    r"""Keep the two ends of a run; the backward pass recovers the values between, from the last to the first:

    .. math:: z_{l-1} = f_l^{-1}(z_l), \qquad
              \bar z_{l-1} = J_l^T \bar z_l + \bar\delta \, \frac{\partial \log |\det J_l|}{\partial z_{l-1}}, \qquad
              J_l = \frac{\partial f_l}{\partial z_{l-1}},

    where a bar means the gradient of the loss, and :math:`\bar\delta` that of the chain's log-determinant. The activations
    of one block exist at a time. Run by its inverse, a chain recovers by the blocks' forward. Source: Gomez et al., 2017,
    "The reversible residual network: backpropagation without storing activations", arXiv:1707.04585, section 3.

    What is recovered differs from what was computed by rounding, and the difference grows with the blocks it has gone
    through: harsh blocks amplify it, and a map that saturates (`Tanh`, far from 0) loses the value. Keeping every so-manyth
    value bounds that, for f numbers each.

    In prefixes the caller holds the value after every block, so there is nothing to recover: each block is a segment of
    `Checkpoint`, which costs no more memory and one run less. `torch.compile` runs such a chain uncompiled.

    Args:
        every: blocks between two values that are kept; None keeps the ends only.

    Raises:
        ValueError: when a chain is built of a block whose inverse is not "closed"; `Checkpoint` takes it.
        RuntimeError: in a backward pass with create_graph=True.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.transforms import Chain
        >>> blocks = dict(ab.flows.realnvp(features=4, blocks=32).blocks.items())
        >>> z, log_det = Chain(blocks, memory="invert")(torch.randn(10, 4))
        >>> (z.square().sum() / 2 - log_det.sum()).backward()
    """

    def __init__(self, every: int | None = 8) -> None:
        super().__init__()
        self.every = None if every is None else positive_int("every", every)

    def check(self, blocks: Mapping[str, Transform]) -> None:
        """Raise ValueError for a block of which either way is no formula, or that gives other numbers when run again."""
        _check_same_again("invert", blocks)
        for name, block in blocks.items():
            cost = max(block.inversion, block.scoring, key=INVERSIONS.index)
            if cost != "closed":
                raise ValueError(
                    f'memory="invert": expected blocks whose inversion and scoring are "closed", got {cost!r} for block '
                    f'{name!r}, of class {type(block).__name__}; use memory="checkpoint"'
                )

    def run(
        self, blocks: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        if not torch.is_grad_enabled() or takes_operations_alone():
            return compose(blocks, x, context, inverse)
        return _uncompiled(blocks, x, context, inverse, self.every)

    def step(self, block: Transform, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return _checkpointed([block], x, context)


def as_memory(memory: str | Memory) -> Memory:
    """The strategy of this name, or the strategy itself.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(memory, Memory):
        return memory
    names: dict[str, type[Memory]] = {"store": Store, "checkpoint": Checkpoint, "invert": Invert}
    if not isinstance(memory, str):
        raise ValueError(f"memory: expected a Memory or one of {', '.join(map(repr, names))}, got {memory!r}")
    return names[one_of("memory", memory, tuple(names))]()


def _check_same_again(memory: str, blocks: Mapping[str, Transform]) -> None:
    for name, block in blocks.items():
        if block.estimated:
            raise ValueError(
                f'memory="{memory}": expected blocks that give the same numbers when they are run again, got an estimated '
                f'log_det in block {name!r}; make it exact, or use memory="store"'
            )
        for part in block.modules():
            share = part.p if isinstance(part, _DropoutNd) else getattr(part, "dropout", 0.0)
            if isinstance(share, float) and share > 0:
                raise ValueError(
                    f'memory="{memory}": expected blocks that give the same numbers when they are run again, got dropout of '
                    f'{share:g} in block {name!r}; use dropout=0, or memory="store"'
                )


def _checkpointed(
    blocks: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    if not torch.is_grad_enabled() or takes_operations_alone():
        return compose(blocks, x, context, inverse)
    if torch.compiler.is_compiling():
        # In a compiled graph parameters are inputs: both runs see the same ones anyway.
        run = partial(compose, blocks, inverse=inverse)
    else:
        segment = Segment(blocks, inverse)
        run = partial(segment.lend, dict(segment.named_parameters()))
    result: tuple[Tensor, Tensor] = checkpoint(run, x, context, use_reentrant=False, preserve_rng_state=False)
    return result


def _uncompiled(*arguments: Any) -> tuple[Tensor, Tensor]:
    """`compose_recovering`, which a compiler would trace into its graph, and may drop the recovery as computed twice.

    Wrapped when it is called: the wrapper loads the compiler, which takes longer than all of this library.
    """
    result: tuple[Tensor, Tensor] = torch.compiler.disable(compose_recovering)(*arguments)
    return result
