"""Composition of transforms, and its prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from anabranch.transforms.memory import Memory, as_memory
from anabranch.transforms.transform import INVERSIONS, Transform, common_shape


class Chain(Transform):
    r"""Composition f = f_L o ... o f_1 of blocks: forward runs f_1 first, inverse runs f_L^{-1} first.

    .. math:: z_l = f_l(z_{l-1}), \quad z_0 = x, \qquad
              \log |\det \partial z_L / \partial x| = \sum_l \log |\det \partial z_l / \partial z_{l-1}|.

    Args:
        blocks: the transforms, first the one nearest to the data; a sequence, or a mapping that names them.
        memory: what is kept for the gradients: "store", everything; "checkpoint", the values between blocks, which are
            run again; "invert", every eighth of those values only, from which the others are recovered through the
            blocks' inverses. Or a strategy with settings of its own (`Checkpoint(every=4)`); `Memory` compares them.

    Raises:
        ValueError: no block, blocks that disagree about the shape of events or contexts, or a block that the memory
            strategy does not take.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Chain, Householder, Permutation
        >>> chain = Chain({"turn": Householder(3, reflections=2), "swap": Permutation([2, 0, 1])})
        >>> z, log_det = chain(torch.randn(5, 3))
        >>> [tuple(z_l.shape) for z_l, log_det in chain.prefixes(torch.randn(5, 3))]
        [(5, 3), (5, 3)]
        >>> chain[:1].blocks.turn is chain.blocks.turn
        True
    """

    def __init__(self, blocks: Sequence[Transform] | Mapping[str, Transform], memory: str | Memory = "store") -> None:
        named = dict(blocks) if isinstance(blocks, Mapping) else {str(i): block for i, block in enumerate(blocks)}
        if not named:
            raise ValueError("blocks: expected at least one transform, got none")
        for name, block in named.items():
            if not isinstance(block, Transform):
                raise ValueError(f"blocks: expected transforms, got a {type(block).__name__} as block {name!r}")
        parts = list(named.values())
        super().__init__(
            common_shape("event_shape", [part.event_shape for part in parts]),
            common_shape("context_shape", [part.context_shape for part in parts]),
        )
        dims = {part.event_dim for part in parts}
        if len(dims) > 1:
            raise ValueError(f"event_dim: expected the same for all blocks, got {sorted(dims)}")
        self.event_dim = dims.pop()
        self.blocks = nn.ModuleDict(named)
        self.memory = as_memory(memory)
        self.memory.check(named)
        self.inversion = max((part.inversion for part in parts), key=INVERSIONS.index)

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Transform]:
        for block in self.blocks.values():
            if isinstance(block, Transform):
                yield block

    def __getitem__(self, index: slice) -> Chain:
        """A chain of some of the blocks themselves (not copies), by slice: `chain[:l]` is the prefix of depth l."""
        if not isinstance(index, slice):
            raise ValueError(f"index: expected a slice such as chain[:2], got {index!r}")
        return Chain(dict(list(zip(self.blocks, self, strict=True))[index]), self.memory)

    def prefixes(self, x: Tensor, context: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        r"""Yield (z_l, log |det dz_l/dx|) after every block, l = 1 ... L: each prefix is a transform of its own."""
        self._check("x", x, context)
        z, total = x, None
        for block in self:
            z, log_det = self.memory.step(block, z, context)
            total = log_det if total is None else total + log_det
            yield z, total

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize block after block, each on what the ones before make of x."""
        for block in self:
            block.initialize(x, context)
            x, _ = block(x, context)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.memory.run(list(self), x, context)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.memory.run(list(self)[::-1], z, context, inverse=True)
