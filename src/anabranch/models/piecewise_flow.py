"""Flows of several branches: real and discrete."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from anabranch.densities import CompositeMixture, Density
from anabranch.densities.contexts import at_every_context, context_for, context_rows, shape_for
from anabranch.densities.score import Score, expect_weights
from anabranch.families.draw_levels import draw_levels
from anabranch.models.base import base_for, onto, span_through
from anabranch.models.gate import context_of_gate, gate_logits, is_constant, read_gate
from anabranch.models.preimage import Preimage, defined_everywhere
from anabranch.networks import Network
from anabranch.transforms import Chain, Transform
from anabranch.transforms.domain import everywhere, is_everything
from anabranch.transforms.transform import common_shape


class PiecewiseFlow(CompositeMixture):
    r"""A flow of K branches, real and discrete: z is drawn from the base, then the branch k from a gate at z, and x is
    f_k^{-1}(z). Every x has one preimage z_k = f_k(x) for each branch that is defined at x:

    .. math:: p(x) = \sum_{k\,:\,x \in \operatorname{dom} f_k} p(k \mid z_k)\, p_Z(z_k)\, |\det \partial f_k / \partial x|

    Branches may overlap (several defined at the same x), or fold: each defined on a piece of its own, which it opens up to
    the whole space of z. With folds one z has an x in every piece, and pieces may lie apart as one flow's image cannot.
    Where z is outside of what a branch reaches, the gate gives that branch nothing. `PiecewiseFlow`s can be stacked, one as
    the base of the next, so that pieces multiply; their number is then what one log_prob costs in passes.
    Source: Dinh et al., 2019, "A RAD approach to deep mixture models", arXiv:1903.07714.

    Args:
        branches: f_k, from data to noise. They may share layers; shared ones are trained together.
        base: p_Z, any `Density`; a standard normal by default.
        gate: p(k | z): "network", an MLP of z; "constant", a vector of weights; or a `Network` of one's own with one output
            for each branch. The first two start at equal weights.
        hidden: hidden sizes of the gate network.

    Raises:
        ValueError: no branches, or shapes that do not fit.

    Example:
        >>> import anabranch as ab
        >>> model = ab.PiecewiseFlow(ab.models.pieces.fold(features=2), base=ab.Flow(ab.flows.nsf(features=2, blocks=2)))
        >>> x = model.sample((100,))
        >>> model.responsibilities(x).sum(dim=-1).allclose(model.log_prob(x).exp() * 0 + 1)
        True
    """

    def __init__(
        self,
        branches: Sequence[Transform],
        base: Density | None = None,
        gate: str | Network = "network",
        hidden: Sequence[int] = (32, 32),
    ) -> None:
        pieces = list(branches)
        if not pieces:
            raise ValueError("branches: expected at least one transform, got none")
        for branch in pieces:
            if not isinstance(branch, Transform) or branch.inversion == "none":
                raise ValueError(f"branches: expected transforms with an inverse, got a {type(branch).__name__}")
        base = base_for(next((b for b in pieces if b.noise_shape is not None), pieces[0]), base)
        expect_weights("base", base)
        for branch in pieces:
            expect_weights("branches", branch)
        steps = [onto(branch, base) for branch in pieces]
        if len(steps) == 1:
            # several branches may reach together what none of them reaches
            span_through(steps[0], base)
        event_shape = common_shape("event_shape", [step.inverse_shape(base.event_shape) for step in steps])
        shapes = [*(branch.context_shape for branch in pieces), base.context_shape, context_of_gate(gate)]
        context_shape = common_shape("context_shape", shapes)
        super().__init__(len(pieces), event_shape or base.event_shape, context_shape)
        # what runs: the branches, or what fits them to the base; in a tuple, so that parameters have one name
        self._steps = tuple(steps)
        self.branches = nn.ModuleList(pieces)
        self.base = base
        self.gate = read_gate(gate, base.event_shape, len(pieces), context_shape, hidden)
        self.gaps = base.gaps and is_constant(self.gate) and all(branch.rearranges for branch in pieces)
        self._onto = all(_onto(branch) for branch in pieces)
        self._everywhere = any(defined_everywhere(branch) for branch in pieces) and is_everything(base.support)

    def parts(self) -> Sequence[Density]:
        """The base."""
        return (self.base,)

    def readers(self) -> Sequence[Density]:
        """None: the base reads what transforms make of x."""
        return ()

    @property
    def support(self) -> Constraint:
        """Where some branch is defined and reaches the base's support; if a branch takes a context, the base's."""
        if self._everywhere or any(branch.context_shape is not None for branch in self._transforms()):
            return everywhere(len(self.event_shape)) if is_everything(self.base.support) else self.base.support
        return Preimage(
            lambda x: [branch(x) for branch in self._transforms()], self.base.support, len(self.event_shape)
        )

    def weights(self, z: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """The gate p(k | z): (*batch, components), for z (*batch, *event) in the shape of the base's events.

        Raises:
            ValueError: a shape, dtype or device other than expected.
        """
        return self._log_weights(*self._checked(z, context, "z", self.base.event_shape)).exp()

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the branches on the rows where they are defined, and the base on what they make of them."""
        images = []
        for branch in self._transforms():
            rows = branch(x, context if branch.context_shape else None)[1] > -torch.inf
            if bool(rows.any()):
                own = None if context is None else context[rows]
                branch.initialize(x[rows], own)
                images.append((branch(x[rows], own)[0], own))
        if images:
            z = torch.cat([z for z, _ in images])
            contexts = None if context is None else torch.cat([c for _, c in images if c is not None])
            self.base.initialize(z, context_for(self.base, contexts))

    def _joint_score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        x = at_every_context(self, x, context)
        zs, log_dets = self._images(x, context)
        return self._joined(score(self.base, zs, context_for(self.base, context)), zs, log_dets, context)

    def _images(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """z_k (branches, *batch, *event) and log |det dz_k/dx| (*batch, branches)."""
        pairs = [branch(x, context if branch.context_shape else None) for branch in self._transforms()]
        return torch.stack([z for z, _ in pairs]), torch.stack([log_det for _, log_det in pairs], dim=-1)

    def _joined(self, score: Tensor, zs: Tensor, log_dets: Tensor, context: Tensor | None) -> Tensor:
        # the gate of branch k is read at z_k: the diagonal of (branches of z, *batch, branches of the gate)
        log_weights = torch.diagonal(self._log_weights(zs, context), dim1=0, dim2=-1)
        # a branch that is not defined at x adds nothing, whatever the others make of the point taken in its place
        return torch.where(log_dets.isneginf(), -torch.inf, score.movedim(0, -1) + log_weights + log_dets)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        z = self.base._sample(shape_for(self, self.base, shape, context), context_for(self.base, context))
        batch_shape = z.shape[: z.dim() - len(self.base.event_shape)]
        branch_of = draw_levels(self._log_weights(z, context).expand(*batch_shape, self.components)).flatten()
        rows = z.reshape(len(branch_of), *self.base.event_shape)
        context = context_rows(self, context, batch_shape)
        x = rows.new_empty(len(rows), *self.event_shape)
        for k, branch in enumerate(self._transforms()):
            own = (branch_of == k).nonzero().squeeze(-1)
            if len(own):
                given = None if context is None or branch.context_shape is None else context[own]
                x = x.index_copy(0, own, branch.inverse(rows[own], given)[0])
        return x.reshape(*batch_shape, *self.event_shape)

    def _log_weights(self, z: Tensor, context: Tensor | None) -> Tensor:
        logits = gate_logits(self.gate, z, len(self.base.event_shape), context)
        if not self._onto:
            with torch.no_grad():
                reached = torch.stack(
                    [_reaches(b, z, context if b.context_shape else None) for b in self._transforms()], dim=-1
                )
            nowhere = ~reached.any(dim=-1, keepdim=True)  # only by rounding: such a z comes from no x
            weights = torch.log_softmax(logits.masked_fill(~reached & ~nowhere, -torch.inf), dim=-1)
            return weights.masked_fill(nowhere, -torch.inf)
        return torch.log_softmax(logits, dim=-1)

    def _transforms(self) -> list[Transform]:
        return list(self._steps)


def _onto(branch: Transform) -> bool:
    return all(is_everything(part.codomain) for part in branch.modules() if isinstance(part, Transform))


def _reaches(branch: Transform, z: Tensor, context: Tensor | None) -> Tensor:
    """Whether some x comes to z. A chain is walked back, for it does not know what its blocks together reach."""
    reached = torch.ones(z.shape[: z.dim() - branch.noise_dim], dtype=torch.bool, device=z.device)
    if isinstance(branch, Chain) and not _onto(branch):
        for block in reversed(branch.steps):
            given = context if block.context_shape else None
            reached = reached & _reaches(block, z, given)
            z, _ = block.inverse(z, given)
        return reached
    return reached if is_everything(branch.codomain) else branch.codomain.check(z)
