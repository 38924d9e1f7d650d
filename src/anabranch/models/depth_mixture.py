"""The exact mixture over the prefixes of a chain."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.checks import fraction, positive_int, reference_tensor
from anabranch.densities import CompositeMixture, Density, Resampled
from anabranch.densities.contexts import at_every_context, context_for, context_rows, shape_for
from anabranch.densities.events import EventDtype
from anabranch.densities.score import Score
from anabranch.draws import drawing
from anabranch.families.draw_levels import draw_levels
from anabranch.models.base import base_for, onto
from anabranch.models.gate import context_of_gate, gate_logits, is_constant, read_gate
from anabranch.models.preimage import Preimage, defined_everywhere
from anabranch.networks import LogOdds, Network, Select
from anabranch.transforms import Chain
from anabranch.transforms.domain import is_everything
from anabranch.transforms.transform import common_shape

_LOG = logging.getLogger("anabranch")


class DepthMixture(CompositeMixture):
    r"""Mixture from depth: each prefix of the chain f_1, ..., f_L is a component.

    With z_l = f_l(... f_1(x)), a base p_Z and a gate p(l | z),

    .. math:: p(x) = \sum_l p(l \mid z_l)\, p_Z(z_l)\, |\det \partial z_l / \partial x| .

    This is the density of x = f_1^{-1}(... f_l^{-1}(z)) where z is drawn from the base and then l from the gate at z. It is
    normalised for every gate, exact, and costs one pass through the chain. The gate reads the z_l of its own depth. Where
    f_l is not defined (log x at -1), the depths from l on add nothing.
    Source: Dinh, 2022 (mixtures from depth); the change of variables for one l is Dinh et al., 2017, arXiv:1605.08803.

    Sampling draws all z and l first, then walks down the chain once: a sample of depth l joins at block l, so the work is
    the sum of the depths drawn, `expected_depth()` blocks a sample.

    Args:
        chain: the blocks.
        base: p_Z, any `Density` (another depth mixture too); a standard normal by default. Evaluating it costs one row
            for each row and depth.
        gate: "network", an MLP of z (and of the context, if the chain or the base has one); "constant", a vector of weights;
            or a `Network` of one's own with one output for each depth. The first two start at equal weights.
        depths: the depths that are components, increasing; by default 1, ..., L. 0 is the base itself.
        hidden: hidden sizes of the gate network.

    Raises:
        ValueError: shapes that do not fit, or depths that the chain does not have.

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

    event_dtype: EventDtype = "floating"

    def __init__(
        self,
        chain: Chain,
        base: Density | None = None,
        gate: str | Network = "network",
        depths: Sequence[int] | None = None,
        hidden: Sequence[int] = (32, 32),
    ) -> None:
        if not isinstance(chain, Chain):
            raise ValueError(f"chain: expected a Chain of blocks, got {type(chain).__name__}")
        base = base_for(chain, base)
        onto(chain, base)
        self_depths = (
            list(range(1, len(chain) + 1)) if depths is None else [positive_int("depths", d, 0) for d in depths]
        )
        if not self_depths or sorted(set(self_depths)) != self_depths or self_depths[-1] > len(chain):
            raise ValueError(f"depths: expected increasing numbers from 0 to {len(chain)}, got {self_depths}")
        context_shape = common_shape("context_shape", [chain.context_shape, base.context_shape, context_of_gate(gate)])
        super().__init__(len(self_depths), base.event_shape, context_shape)
        self.chain = chain
        self.base = base
        self._everywhere = defined_everywhere(chain)
        self.depths = tuple(self_depths)
        self.gate = read_gate(gate, base.event_shape, self.components, context_shape, hidden)
        self.gaps = base.gaps and is_constant(self.gate) and chain.rearranges

    def parts(self) -> Sequence[Density]:
        """The base."""
        return (self.base,)

    @property
    def support(self) -> Constraint:
        """Where some component may be positive; of a chain with a context, everything."""
        if self.chain.context_shape is not None:
            return constraints.real_vector
        if self._everywhere and is_everything(self.base.support):
            return self.base.support
        return Preimage(self._prefixes, self.base.support)

    def weights(self, z: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """The gate p(l | z): (*batch, components), for z (*batch, *event).

        Raises:
            ValueError: a shape, dtype or device other than expected.
        """
        return self._log_weights(*self._checked(z, context, name="z")).exp()

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

    def log_prob(
        self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None, max_depth: int | None = None
    ) -> Tensor:
        """log p(x | context) in nats, one number for each event.

        Args:
            x: (*batch, *event).
            context: as elsewhere.
            max_depth: stop after so many blocks: the density of `up_to(max_depth)`, a proper one and the cheaper the
                shallower. None for all.

        Raises:
            ValueError: a shape, dtype or device other than expected; no component of that depth.
        """
        return super().log_prob(x, context) if max_depth is None else self.up_to(max_depth).log_prob(x, context)

    def up_to(self, depth: int) -> DepthMixture:
        """The mixture of the components of at most this depth, with this mixture's own blocks (not copies).

        Their weights are renormalised at every z: anytime use of one fitted chain.

        Raises:
            ValueError: no component would be left.
        """
        stay = [i for i, d in enumerate(self.depths) if d <= depth]
        if not stay:
            raise ValueError(f"depth: expected at least {self.depths[0]}, the shallowest component's, got {depth}")
        return self._only(stay)

    def truncate(self, depth: int, x: Tensor | ArrayLike | None = None) -> DepthMixture:
        """A copy of `up_to(depth)`: without the components deeper than that and the blocks that only they used.

        Args:
            depth: the deepest that stays.
            x: (rows, *event), held-out rows on which the log "anabranch" says what it costs: the mean log-likelihood
                before and after.

        Raises:
            ValueError: no component would be left.
        """
        return self._copied(self.up_to(depth), x)

    def prune(
        self,
        threshold: float = 0.01,
        samples: int = 10_000,
        x: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> DepthMixture:
        """A copy without the components that fewer than this fraction of samples have, and the blocks only they used.

        The weights of those that stay are renormalised, at every z. The most frequent component stays in any case.

        Args:
            threshold: smallest fraction p(l) = E_z[p(l | z)] of a component that stays.
            samples: draws from the base with which the fractions are estimated.
            x: (rows, *event), held-out rows, as in `truncate`.
            generator: as of `sample`.

        Raises:
            ValueError: a threshold outside [0, 1]; a mixture with a context, whose fractions differ from one to the other.
        """
        threshold = fraction("threshold", threshold)
        if self.context_shape is not None:
            raise ValueError("context: expected a mixture that takes none, since pruning is for all contexts at once")
        with torch.no_grad(), drawing(generator):
            z = self.base._sample(torch.Size([positive_int("samples", samples)]), None)
            mean = self._log_weights(z, None).exp().mean(dim=0)
        stay = [i for i, p in enumerate(mean.tolist()) if p >= threshold] or [int(mean.argmax())]
        return self._copied(self._only(stay), x)

    def component_base(self, depth: int, samples: int = 4096) -> Resampled:
        r"""p(z | l) = p(l | z) p_Z(z) / p(l), from which samples of depth l start: the gate seen as a modified base.

        It is a base from which draws are accepted with probability p(l | z), by this mixture's own gate (not a copy).
        `normaliser()` of what is returned estimates p(l), the fraction of samples that have this depth, with its error.

        Args:
            depth: l.
            samples: as of `Resampled`.

        Raises:
            ValueError: there is no component of this depth, or it is the only one, whose base is p_Z itself.
        """
        if depth not in self.depths:
            raise ValueError(f"depth: expected one of {list(self.depths)}, got {depth}")
        if self.components == 1:
            raise ValueError("depth: expected a mixture of several depths, got one of a single depth: its base is p_Z")
        acceptance = Select(LogOdds(self.gate), [self.depths.index(depth)])
        return Resampled(self.base, acceptance, truncation=None, samples=samples)

    def _copied(self, fewer: DepthMixture, x: Tensor | ArrayLike | None) -> DepthMixture:
        if x is not None:
            with torch.no_grad():
                before, after = (float(mixture.log_prob(x).double().mean()) for mixture in (self, fewer))
            _LOG.info(
                "depths %s of %s stay: mean log-likelihood %.4f nats before, %.4f after",
                *(list(mixture.depths) for mixture in (fewer, self)),
                before,
                after,
            )
        return copy.deepcopy(fewer)

    def _only(self, stay: Sequence[int]) -> DepthMixture:
        """Of some components alone."""
        depths = [self.depths[i] for i in stay]
        # a chain has at least one block, also where only the base itself (depth 0) stays
        chain = self.chain[: max(1, depths[-1])]
        fewer = DepthMixture(chain, self.base, Select(self.gate, stay), depths=depths)
        return fewer.train(self.training)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the chain on x, and the base on what the chain makes of x."""
        self.chain.initialize(x, context)
        self.base.initialize(self.chain(x, context)[0], context_for(self.base, context))

    def _joint_score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        # depth is put before all batch dimensions, where it meets none of the context
        x = at_every_context(self, x, context)
        zs, log_dets = self._components(x, context)
        return score(self.base, zs, context_for(self.base, context)).movedim(0, -1) + self._rest(zs, log_dets, context)

    def _components(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """z_l (components, *batch, *event) and log |det dz_l/dx| (*batch, components) at the depths of the mixture."""
        chosen = self._prefixes(x, context)
        # features first in memory, as the blocks leave them and the gate takes them
        first = [z.movedim(-1, 0) for z in torch.broadcast_tensors(*(z for z, _ in chosen))]
        zs = torch.stack(first, dim=1).movedim(0, -1)
        log_dets = torch.stack(torch.broadcast_tensors(*(log_det for _, log_det in chosen)), dim=-1)
        return zs, log_dets

    def _prefixes(self, x: Tensor, context: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """z_l and log |det dz_l/dx| at the depths of the mixture."""
        nothing = (x, x.new_zeros(x.shape[: x.dim() - len(self.event_shape)]))
        pairs = [nothing, *self.chain.prefixes(x, context)]
        return [pairs[depth] for depth in self.depths]

    def _rest(self, zs: Tensor, log_dets: Tensor, context: Tensor | None) -> Tensor:
        """log p(l | z_l) + log |det dz_l/dx|: (*batch, components)."""
        # the gate of component l is read at z_l: the diagonal of (components of z, *batch, components of the gate)
        return torch.diagonal(self._log_weights(zs, context), dim1=0, dim2=-1) + log_dets

    def _log_weights(self, z: Tensor, context: Tensor | None) -> Tensor:
        return torch.log_softmax(gate_logits(self.gate, z, len(self.event_shape), context), dim=-1)

    def _depth_values(self) -> Tensor:
        reference = reference_tensor(self)
        return torch.tensor(
            self.depths,
            dtype=None if reference is None else reference.dtype,
            device=None if reference is None else reference.device,
        )

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        z = self.base._sample(shape_for(self, self.base, shape, context), context_for(self.base, context))
        batch_shape = z.shape[: z.dim() - len(self.event_shape)]
        log_weights = self._log_weights(z, context).expand(*batch_shape, self.components)
        component = draw_levels(log_weights)

        # Rows in order of depth, deepest first: those that have joined by block l are then always the first so many.
        rows = z.reshape(-1, *self.event_shape)
        order = component.flatten().argsort(descending=True)
        rows = rows[order]
        contexts = context_rows(self, context, batch_shape)
        context = None if contexts is None else contexts[order]
        counts = torch.bincount(component.flatten(), minlength=self.components).tolist()
        joined = dict(zip(self.depths, counts, strict=True))
        active = 0
        for depth, block in reversed(list(enumerate(self.chain, start=1))):
            active += joined.get(depth, 0)
            if active == 0:
                continue
            moved, _ = block.inverse(rows[:active], None if context is None else context[:active])
            rows = torch.cat([moved, rows[active:]])
        return rows[order.argsort()].reshape(*batch_shape, *self.event_shape)
