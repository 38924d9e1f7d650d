"""Composition of transforms, and its prefixes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from anabranch.checks import as_shape, positive_int
from anabranch.networks.network import Shape
from anabranch.transforms.blockwise import lifted
from anabranch.transforms.memory import Memory, as_memory
from anabranch.transforms.span import Span
from anabranch.transforms.transform import INVERSIONS, Transform, common_shape


class Chain(Transform):
    r"""Composition f = f_L o ... o f_1 of blocks: forward runs f_1 first, inverse runs f_L^{-1} first.

    .. math:: z_l = f_l(z_{l-1}), \quad z_0 = x, \qquad
              \log |\det \partial z_L / \partial x| = \sum_l \log |\det \partial z_l / \partial z_{l-1}|.

    Args:
        blocks: the transforms, first the one nearest to the data; a sequence, or a mapping that names them. A block of fewer
            dimensions than what comes to it acts on every trailing block of that (`Blockwise`).
        memory: what is kept for the gradients: "store", everything; "checkpoint", the values between blocks, which are
            run again; "invert", every eighth of those values only, from which the others are recovered through the
            blocks' inverses. Or a strategy with settings of its own (`Checkpoint(every=4)`); `Memory` compares them.
        event_dim: how many dimensions an event has at least; more, if a block asks for more.
        event_shape: the shape of an event, where no block knows it.

    Raises:
        ValueError: no block, one that does not take the shape that the block before it gives, blocks that disagree about
            contexts, or a block that the memory strategy does not take.

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

    def __init__(
        self,
        blocks: Sequence[Transform] | Mapping[str, Transform],
        memory: str | Memory = "store",
        event_dim: int = 1,
        event_shape: Shape | None = None,
    ) -> None:
        named = dict(blocks) if isinstance(blocks, Mapping) else {str(i): block for i, block in enumerate(blocks)}
        if not named:
            raise ValueError("blocks: expected at least one transform, got none")
        for name, block in named.items():
            if not isinstance(block, Transform):
                raise ValueError(f"blocks: expected transforms, got a {type(block).__name__} as block {name!r}")
        parts = list(named.values())
        given = None if event_shape is None else as_shape("event_shape", event_shape)
        steps = _steps(parts, max(positive_int("event_dim", event_dim), 1 if given is None else len(given)))
        shape = common_shape("event_shape", [given, _event_shape(named, steps)])
        super().__init__(
            shape,
            common_shape("context_shape", [part.context_shape for part in parts]),
            None if shape is None else _folded(named, steps, shape),
        )
        self.event_dim = steps[0].event_dim
        self.blocks = nn.ModuleDict(named)
        # what runs: the blocks themselves, or with more dimensions; in a list of Python's, so that parameters have one name
        self._steps = tuple(steps)
        self.memory = as_memory(memory)
        self.memory.check(named)
        self.affine = all(part.affine for part in parts)
        self.inversion = max((part.inversion for part in parts), key=INVERSIONS.index)
        self.scoring = max((part.scoring for part in parts), key=INVERSIONS.index)
        self.rearranges = all(part.rearranges for part in parts)

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
        chosen = range(len(self))[index]
        named = dict(list(zip(self.blocks, self, strict=True))[index])
        if not chosen:
            return Chain(named, self.memory)
        shape = None if self.event_shape is None else self.prefix_shapes(self.event_shape)[chosen[0]]
        return Chain(named, self.memory, self._steps[chosen[0]].event_dim, shape)

    @property
    def steps(self) -> tuple[Transform, ...]:
        """What runs: the blocks themselves, or for events of more dimensions than theirs the `Blockwise` of them."""
        return self._steps

    @property
    def noise_dim(self) -> int:
        """The dimensions of what the last block gives."""
        return self._steps[-1].noise_dim

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        """The shape of z for an x of this shape, from block to block."""
        return _folded(self.blocks, self._steps, torch.Size(shape))

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        """The shape of x for a z of this shape, from block to block."""
        return _folded_back(self.blocks, self._steps, torch.Size(shape))

    def span_ahead(self, span: Span) -> Span:
        """That of z, from block to block."""
        for step in self._steps:
            span = step.span_ahead(span)
        return span

    def span_behind(self, span: Span) -> Span:
        """That of x, from block to block."""
        for step in reversed(self._steps):
            span = step.span_behind(span)
        return span

    def prefix_shapes(self, shape: Sequence[int]) -> list[torch.Size]:
        """The shapes of x and of z_1, ..., z_L, for an x of this shape."""
        shapes = [torch.Size(shape)]
        for step in self._steps:
            shapes.append(step.forward_shape(shapes[-1]))
        return shapes

    def prefixes(self, x: Tensor, context: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        r"""Yield (z_l, log |det dz_l/dx|) after every block, l = 1 ... L: each prefix is a transform of its own."""
        self._check("x", x, context, self.event_shape, self.event_dim)
        z, total = x, None
        for block in self._steps:
            z, log_det = self.memory.step(block, z, context)
            total = log_det if total is None else total + log_det
            yield z, total

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize block after block, each on what the ones before make of x."""
        for block in self._steps:
            block.initialize(x, context)
            x, _ = block(x, context)

    def on_columns(self, columns: list[int], context: Tensor | None) -> tuple[Transform | None, list[int]] | None:
        """Block after block, if each reads no other features."""
        parts = []
        for block in self:
            found = block.on_columns(columns, context)
            if found is None:
                return None
            part, columns = found
            if part is not None:
                parts.append(part)
        return (Chain(parts) if parts else None), columns

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.memory.run(self._steps, x, context)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.memory.run(self._steps[::-1], z, context, inverse=True)


def _steps(parts: Sequence[Transform], event_dim: int) -> list[Transform]:
    """The blocks, each with as many dimensions as what comes to it has."""
    changes = [0]
    for part in parts:
        changes.append(changes[-1] + part.noise_dim - part.event_dim)
    needed = [part.event_dim - change for part, change in zip(parts, changes, strict=False)]
    event_dim = max(event_dim, *needed)
    return [lifted(part, event_dim + change) for part, change in zip(parts, changes, strict=False)]


def _event_shape(named: Iterable[str], steps: Sequence[Transform]) -> torch.Size | None:
    """The shape of x, from the first block that knows its own; None if none does."""
    for i, step in enumerate(steps):
        if step.event_shape is not None:
            return _folded_back(list(named)[:i], steps[:i], step.event_shape)
    return None


def _folded(named: Iterable[str], steps: Sequence[Transform], shape: torch.Size) -> torch.Size:
    for name, step in zip(named, steps, strict=True):
        with _naming(name):
            shape = step.forward_shape(shape)
    return shape


def _folded_back(named: Iterable[str], steps: Sequence[Transform], shape: torch.Size) -> torch.Size:
    for name, step in reversed(list(zip(named, steps, strict=True))):
        with _naming(name):
            shape = step.inverse_shape(shape)
    return shape


@contextmanager
def _naming(block: str) -> Iterator[None]:
    """Say of which block an error is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"blocks: block {block!r}: {error}") from error
