"""The exact mixture over the prefixes of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from anabranch.checks import positive, positive_int, reference_tensor
from anabranch.densities import Density
from anabranch.densities.composite import without_gaps
from anabranch.densities.contexts import at_every_context, context_for, context_rows, shape_for
from anabranch.densities.mixture import log_sum
from anabranch.densities.score import ByLoss, Score, expect_weights
from anabranch.draws import drawing
from anabranch.families.draw_levels import draw_levels
from anabranch.models.base import base_for, onto, span_through
from anabranch.models.depth_heads import alike, read_heads, side_by_side
from anabranch.models.gate import context_of_gate, gate_logits, is_constant, read_gate
from anabranch.models.preimage import Preimage, defined_everywhere, of_every_context
from anabranch.models.pruning import Prunable
from anabranch.networks import Network, Select
from anabranch.transforms import Chain, Reshape, Transform
from anabranch.transforms.domain import everywhere, is_everything
from anabranch.transforms.span import span_of, span_of_any
from anabranch.transforms.transform import common_shape


class DepthMixture(Prunable):
    r"""Mixture from depth: each prefix of the chain f_1, ..., f_L is a component.

    With z_l = f_l(... f_1(x)), a head h_l for each depth, u_l = h_l(z_l), a base p_U and a gate p(l | u),

    .. math:: p(x) = \sum_l p(l \mid u_l)\, p_U(u_l)\, |\det \partial u_l / \partial x| .

    This is the density of x = f_1^{-1}(... f_l^{-1}(h_l^{-1}(u))) where u is drawn from the base and then l from the gate at
    u. The gate therefore reads u_l, not z_l: l is drawn where u alone is known. Component l integrates over x to the
    integral of p(l | u) p_U(u) over u, and those sum to one for every gate. The density is exact and costs one pass
    through the chain. Where f_l is not defined (log x at -1), the depths from l on add nothing.
    Source: Dinh, 2022 (mixtures from depth); the change of variables for one l is Dinh et al., 2017, arXiv:1605.08803.

    The heads make shallow components worth having: without them z_l must be near the base for every l at once. They are
    linear maps and splines of single features, far cheaper than blocks. The gate starts with the deepest component ahead, so
    that a fit starts near the flow of all blocks, and other components take the rows that they explain better.

    In training mode `loss` is a weighted mean of the negative log-likelihoods of the mixture and of its deepest component as
    a flow alone, with w the `flow_weight`,

    .. math:: -\frac{1}{1 + w} \left(\log p(x) + w \log p_U(u_L)\, |\det \partial u_L / \partial x|\right) ,

    so that deep blocks learn from every row. The likelihood of a mixture teaches a component little about rows that another
    one explains better. Early in a fit of many features deep blocks overshoot, shallow components are ahead for a while, and
    the deepest blocks would be left behind for good. In evaluation mode, as for validation rows, `loss` is -log p(x).

    Sampling draws all u and l first, then walks down the chain once: a sample of depth l joins at block l, so the work is
    the sum of the depths drawn, `expected_depth()` blocks a sample.

    Args:
        chain: the blocks.
        base: p_U, any `Density` (another depth mixture too); a standard normal by default. Evaluating it costs one row
            for each row and depth. It reads every z_l in its shape, which may be another than that of z_l.
        gate: "network", an MLP of u (and of the context, if the chain or the base has one); "constant", a vector of weights;
            or a `Network` of one's own with one output for each depth.
        depths: the depths that are components, increasing; by default 1, ..., L. 0 is the base itself, behind its head.
        hidden: hidden sizes of the gate network.
        heads: the h_l: "spline", an LU-factored linear map and a quadratic spline of each feature, which start at the
            identity; "linear", the linear map alone; "none"; or a list of one `Transform` for each depth. "auto" is "spline"
            where base and blocks reach all vectors, and "none" elsewhere. A head takes z_l in its shape or in the base's.
        lead: by how many nats the deepest component's weight starts ahead of each other one's; 0 for equal weights. A gate
            of one's own starts as it is.
        flow_weight: w, how much the likelihood of the deepest component alone counts in training; 0 for the likelihood
            of the mixture alone.

    Raises:
        ValueError: shapes that do not fit, depths that the chain does not have, heads that cannot be, or a base that draws
            numbers which the blocks do not reach.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> model = ab.DepthMixture(ab.flows.nsf(features=2, blocks=3))
        >>> x = model.sample((100,))
        >>> model.log_prob(x).shape, model.responsibilities(x).shape
        (torch.Size([100]), torch.Size([100, 3]))
        >>> model.truncate(2).components
        2
    """

    def __init__(
        self,
        chain: Chain,
        base: Density | None = None,
        gate: str | Network = "network",
        depths: Sequence[int] | None = None,
        hidden: Sequence[int] = (32, 32),
        heads: str | Sequence[Transform] = "auto",
        lead: float = 8.0,
        flow_weight: float = 1.0,
    ) -> None:
        if not isinstance(chain, Chain):
            raise ValueError(f"chain: expected a Chain of blocks, got {type(chain).__name__}")
        base = base_for(chain, base)
        for name, part in (("chain", chain), ("base", base)):
            expect_weights(name, part)
        running = _on_events_of(chain, base)
        event_shape = onto(running, base).inverse_shape(base.event_shape)
        shapes = running.prefix_shapes(event_shape)
        self_depths = (
            list(range(1, len(chain) + 1)) if depths is None else [positive_int("depths", d, 0) for d in depths]
        )
        if not self_depths or sorted(set(self_depths)) != self_depths or self_depths[-1] > len(chain):
            raise ValueError(f"depths: expected increasing numbers from 0 to {len(chain)}, got {self_depths}")
        parts = read_heads(heads, chain, base, len(self_depths))
        contexts = [chain.context_shape, base.context_shape, context_of_gate(gate)]
        contexts += [head.context_shape for head in parts or ()]
        for head in parts or ():
            expect_weights("heads", head)
        context_shape = common_shape("context_shape", contexts)
        super().__init__(len(self_depths), event_shape, context_shape)
        self.flow_weight = 0.0 if flow_weight == 0 else positive("flow_weight", flow_weight)
        self.loss_is_sum = self.flow_weight == 0
        self.chain = chain
        self.base = base
        self.heads = None if parts is None else nn.ModuleList(parts)
        # what runs: the chain, with as many dimensions as the base needs; in a tuple, so that parameters have one name
        self._running = (running,)
        # and what leads from every z_l to the base, in its shape
        seen = [shapes[depth] for depth in self_depths]
        each = [None] * len(seen) if parts is None else parts
        self._to_base = tuple(_to_base(shape, head, base) for shape, head in zip(seen, each, strict=True))
        spans = [
            span_through(Chain([*running.steps[:depth], *([] if last is None else [last])]), base)
            if depth or last is not None
            else span_of(base.support, base.event_shape)
            for depth, last in zip(self_depths, self._to_base, strict=True)
        ]
        self._span = span_of_any(spans)
        self._alike = (
            parts is not None and alike(parts) and set(seen) == {base.event_shape} and len(base.event_shape) == 1
        )
        self._everywhere = all(defined_everywhere(part) for part in (chain, *(parts or ())))
        self.depths = tuple(self_depths)
        start = 0.0 if lead == 0 else positive("lead", lead)
        self.gate = read_gate(gate, base.event_shape, self.components, context_shape, hidden, start)
        rearranged = chain.rearranges and all(part.rearranges for part in parts or ())
        self.gaps = base.gaps and is_constant(self.gate) and rearranged

    def parts(self) -> Sequence[Density]:
        """The base."""
        return (self.base,)

    def readers(self) -> Sequence[Density]:
        """None: the base reads what transforms make of x."""
        return ()

    @property
    def support(self) -> Constraint:
        """Where some component may be positive; of a chain with a context, where it may be at any context."""
        if self.chain.context_shape is not None:
            return of_every_context(self._span, everywhere(len(self.event_shape)))
        if self._span.everything or (self._everywhere and is_everything(self.base.support)):
            return everywhere(len(self.event_shape))
        return Preimage(self._images, self.base.support, len(self.event_shape), self._span)

    def weights(self, z: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """The gate p(l | u): (*batch, components), for u (*batch, *event) in the base's shape, which `z` is.

        Raises:
            ValueError: a shape, dtype or device other than expected.
        """
        return self._log_weights(*self._checked(z, context, "z", self.base.event_shape)).exp()

    def expected_depth(
        self,
        samples: int = 10_000,
        context: Tensor | None = None,
        generator: torch.Generator | int | None = None,
    ) -> float:
        """The mean number of blocks that a sample runs through.

        The gate's mean depth over this many draws from the base (for each context, if there is one): with constant weights
        it is exact, otherwise its Monte-Carlo error is about the spread of depths divided by sqrt(samples). The
        generator is as of `sample`.
        """
        with torch.no_grad(), drawing(generator):
            return float(self.mean_depth(positive_int("samples", samples), self._checked_context(context)).mean())

    def mean_depth(self, samples: int, context: Tensor | None = None) -> Tensor:
        """The same for each context, (*context batch), differentiable by the gate."""
        shape = torch.Size([samples])
        with torch.no_grad():
            z = self.base._sample(shape_for(self, self.base, shape, context), context_for(self.base, context))
        return (self._log_weights(z, context).exp() @ self._depth_values()).mean(dim=0)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the chain on x, the heads on what the chain makes of x, and the base on what the deepest head makes."""
        self._running[0].initialize(x, context)
        for head, (z, _) in zip(self._to_base, self._prefixes(x, context), strict=True):
            if head is not None:
                head.initialize(z, context)
        self.base.initialize(self._images(x, context)[-1][0], context_for(self.base, context))

    def at_temperature(self, temperature: float) -> DepthMixture | None:
        """The same chain, heads and gate on the base at that temperature."""
        base = self.base.at_temperature(temperature)
        if base is None:
            return None
        heads: str | list[Transform] = self._heads() or "none"
        return DepthMixture(self.chain, base, self.gate, self.depths, heads=heads, flow_weight=self.flow_weight).train(
            self.training
        )

    def _only(self, stay: Sequence[int]) -> Self:
        depths = [self.depths[i] for i in stay]
        # a chain has at least one block, also where only the base itself (depth 0) stays
        chain = self.chain[: max(1, depths[-1])]
        heads = self._heads()
        chosen: str | list[Transform] = [heads[i] for i in stay] if heads else "none"
        fewer = type(self)(
            chain, self.base, Select(self.gate, stay), depths, heads=chosen, flow_weight=self.flow_weight
        )
        return fewer.train(self.training)

    def _joint_score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        # depth is put before all batch dimensions, where it meets none of the context
        x = at_every_context(self, x, context)
        us, log_dets = self._components(x, context)
        return score(self.base, us, context_for(self.base, context)).movedim(0, -1) + self._rest(us, log_dets, context)

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        if not self.training or self.flow_weight == 0:
            return super()._loss(x, context)
        whole = at_every_context(self, x, context)
        us, log_dets = self._components(whole, context)
        log_p = ByLoss()(self.base, us, context_for(self.base, context))
        loss = -log_sum(log_p.movedim(0, -1) + self._rest(us, log_dets, context))
        flow = log_p[-1] + log_dets[..., -1]
        # a row outside the domain of the deepest component is no row for that flow
        flow = torch.where(flow.isneginf(), -loss, flow)
        return without_gaps(self, x, (loss - self.flow_weight * flow) / (1 + self.flow_weight))

    def _components(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """u_l (components, *batch, *event) and log |det du_l/dx| (*batch, components) at the depths of the mixture."""
        pairs = self._prefixes(x, context) if self._alike else self._images(x, context)
        values = torch.broadcast_tensors(*(z for z, _ in pairs))
        log_dets = torch.stack(torch.broadcast_tensors(*(log_det for _, log_det in pairs)), dim=-1)
        if len(self.base.event_shape) > 1:
            return torch.stack(values), log_dets
        # features first in memory, as the blocks leave them and the gate takes them
        columns = torch.stack([z.movedim(-1, 0) for z in values], dim=1)
        if self._alike:
            shape = columns.shape[1:]
            us, more = side_by_side(
                self._heads(), columns.reshape(*columns.shape[:2], shape[1:].numel()).transpose(0, 1)
            )
            columns = us.transpose(0, 1).reshape(columns.shape)
            log_dets = log_dets + more.expand(us[:, 0].shape).reshape(shape).movedim(0, -1)
        return columns.movedim(0, -1), log_dets

    def _images(self, x: Tensor, context: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """u_l and log |det du_l/dx| at the depths of the mixture."""
        images = []
        for head, (z, log_det) in zip(self._to_base, self._prefixes(x, context), strict=True):
            if head is None:
                images.append((z, log_det))
            else:
                u, more = head(z, context)
                images.append((u, log_det + more))
        return images

    def _prefixes(self, x: Tensor, context: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """z_l and log |det dz_l/dx| at the depths of the mixture."""
        nothing = (x, x.new_zeros(x.shape[: x.dim() - len(self.event_shape)]))
        pairs = [nothing, *self._running[0].prefixes(x, context)]
        return [pairs[depth] for depth in self.depths]

    def _heads(self) -> list[Transform]:
        return [head for head in self.heads or () if isinstance(head, Transform)]

    def _rest(self, us: Tensor, log_dets: Tensor, context: Tensor | None) -> Tensor:
        """log p(l | u_l) + log |det du_l/dx|: (*batch, components)."""
        # the gate of component l is read at u_l: the diagonal of (components of u, *batch, components of the gate)
        return torch.diagonal(self._log_weights(us, context), dim1=0, dim2=-1) + log_dets

    def _log_weights(self, z: Tensor, context: Tensor | None) -> Tensor:
        return torch.log_softmax(gate_logits(self.gate, z, len(self.base.event_shape), context), dim=-1)

    def _depth_values(self) -> Tensor:
        reference = reference_tensor(self)
        return torch.tensor(
            self.depths,
            dtype=None if reference is None else reference.dtype,
            device=None if reference is None else reference.device,
        )

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        u = self.base._sample(shape_for(self, self.base, shape, context), context_for(self.base, context))
        batch_shape = u.shape[: u.dim() - len(self.base.event_shape)]
        log_weights = self._log_weights(u, context).expand(*batch_shape, self.components)
        component = draw_levels(log_weights).flatten()

        # Rows in order of depth, deepest first: those that have joined by block l are then always the first so many.
        order = component.argsort(descending=True)
        u = u.reshape(-1, *self.base.event_shape)[order]
        contexts = context_rows(self, context, batch_shape)
        contexts = None if contexts is None else contexts[order]
        joining = torch.bincount(component, minlength=self.components).tolist()
        blocks = self._running[0].steps
        x, joined = u[:0], 0
        for depth in range(self.depths[-1], -1, -1):
            k = self.depths.index(depth) if depth in self.depths else None
            if k is not None and joining[k]:
                rows = slice(joined, joined + joining[k])
                z = u[rows]
                head = self._to_base[k]
                if head is not None:
                    z, _ = head.inverse(z, None if contexts is None else contexts[rows])
                x = z if joined == 0 else torch.cat([x, z])
                joined = rows.stop
            if depth > 0 and joined:
                x, _ = blocks[depth - 1].inverse(x, None if contexts is None else contexts[:joined])
        return x[order.argsort()].reshape(*batch_shape, *self.event_shape)


def _on_events_of(chain: Chain, base: Density) -> Chain:
    """The chain with as many dimensions as the base needs: itself, if these are its own."""
    event_shape = onto(chain, base).inverse_shape(base.event_shape)
    if len(event_shape) == chain.event_dim:
        return chain
    return Chain(dict(zip(chain.blocks, chain, strict=True)), chain.memory, event_shape=event_shape)


def _to_base(shape: torch.Size, head: Transform | None, base: Density) -> Transform | None:
    """What leads from a z_l of this shape through its head to the base; None where there is nothing to do."""
    if head is None:
        return None if shape == base.event_shape else Reshape(shape, base.event_shape)
    if shape in (base.event_shape, head.event_shape):
        return onto(head, base)
    return Chain([Reshape(shape, base.event_shape), head])
