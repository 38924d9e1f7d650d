"""Mixtures of flows, or of any densities, with a learned posterior over components."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.checks import finite_rows, fraction, instance_of, numbers_below, one_of
from anabranch.densities import CompositeMixture, Density, Moments
from anabranch.densities.contexts import at_every_context, context_batch, context_rows
from anabranch.densities.gaussian import read_like
from anabranch.densities.mixture import evidence_lower_bound
from anabranch.densities.reordered import given
from anabranch.densities.score import BySymptoms, Score, expect_weights
from anabranch.densities.weights import read_weights
from anabranch.families import DistributionFunction
from anabranch.families.draw_levels import draw_levels
from anabranch.models import sums
from anabranch.models.base import onto, span_through
from anabranch.models.components import Components, Separate
from anabranch.models.ensemble import mixture_of
from anabranch.models.heads import Heads
from anabranch.models.preimage import Preimage, defined_everywhere, of_every_context
from anabranch.networks import Network, Select
from anabranch.networks.reader import check_reader, outputs_of
from anabranch.transforms import Transform
from anabranch.transforms.domain import everywhere, is_everything
from anabranch.transforms.span import unknown_span
from anabranch.transforms.transform import common_shape

# rows that a component must have to be asked what is wrong with it: a few may be alike by chance
_ASKED = 10


class FlowMixture(CompositeMixture):
    r"""p(x) = sum_k w_k p_k(x), whose components are any densities of one event shape, mostly flows.

    With a posterior network q(k | x) the loss is the negative evidence lower bound,

    .. math:: \log p(x) \ge \sum_k q(k \mid x)\, \big(\log w_k + \log p_k(x) - \log q(k \mid x)\big),

    which trains network and components together (VMoNF); without one it is the exact -log p(x). `log_prob` is exact in both
    cases, `lower_bound(x)` is the bound and `gap(x)` the difference, the Kullback-Leibler divergence of q from the exact
    responsibilities. A q of few parameters keeps clusters simple where the exact responsibilities would not.

    All K components are evaluated for every row: time grows with K. With a trunk, layers that all components share are run
    once, x passing through it first; `Embedded` components share all their parameters but a vector each.
    Source: Pires and Figueiredo, 2020, "Variational mixture of normalizing flows", arXiv:2009.00585.

    Args:
        densities: of the components, a list, or an `Embedded` density.
        weights: w, (components,), at least 0; equal by default, normalised to sum to one, and trained.
        posterior: a network from x (flattened) to K numbers, the logits of q; with the mixture's context, if it takes one.
        trunk: a transform through which x passes before it meets the components.
        heads: "affine" or "diagonal" for an affine map before each component (triangular, or one number for each feature),
            which gives it a place of its own: `start_from` sets them. "none" for none.

    Raises:
        ValueError: shapes that do not fit, negative weights, components that draw numbers which the trunk does not reach.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> flows = [ab.Flow(ab.flows.realnvp(features=2, blocks=2)) for _ in range(3)]
        >>> model = ab.FlowMixture(flows, posterior=ab.networks.MLP(2, 3))
        >>> x = torch.randn(100, 2)
        >>> model.log_prob(x).shape, bool((model.gap(x) >= -1e-5).all())
        (torch.Size([100]), True)
    """

    def __init__(
        self,
        densities: Sequence[Density] | Components,
        weights: Tensor | ArrayLike | None = None,
        posterior: Network | None = None,
        trunk: Transform | None = None,
        heads: str = "none",
    ) -> None:
        parts = densities if isinstance(densities, Components) else Separate(densities)
        shapes = [parts.context_shape]
        event_shape, size = parts.event_shape, parts.event_shape.numel()
        step: Transform | None = None
        span = unknown_span(event_shape)
        if trunk is not None:
            instance_of("trunk", trunk, Transform)
            expect_weights("trunk", trunk)
            step = onto(trunk, parts, "densities")
            span = span_through(step, parts, "densities")
            event_shape = step.inverse_shape(parts.event_shape)
            shapes.append(trunk.context_shape)
        if posterior is not None:
            instance_of("posterior", posterior, Network)
            check_reader("posterior", posterior, event_shape, parts.count)
            shapes.append(posterior.context_shape)
        one_of("heads", heads, ("none", "diagonal", "affine"))
        if heads != "none" and not is_everything(parts.support):
            raise ValueError(
                f"heads: expected 'none' for components that are not of all real vectors, got {heads!r} for {parts.kinds}"
            )
        if heads != "none" and len(parts.event_shape) != 1:
            raise ValueError(f"heads: expected 'none' for events of shape {tuple(parts.event_shape)}, got {heads!r}")
        super().__init__(parts.count, event_shape, common_shape("context_shape", shapes))
        self.component_densities = parts
        self.posterior = posterior
        self.trunk = trunk
        # what runs: the trunk, or what fits it to the components; in a tuple, so that parameters have one name
        self._onto = (step,)
        self._span = span
        self.heads = None if heads == "none" else Heads(parts.count, size, full=heads == "affine")
        self.variational = posterior is not None
        # heads take every number of x, and so does a network for the posterior, without which there is no loss
        if self.heads is not None or posterior is not None or not (trunk is None or trunk.rearranges):
            self.gaps = False
        logits = read_weights(weights, torch.zeros(parts.count))
        self.logits = nn.Parameter(logits)
        # which components still live: `annihilate` ends one for good
        self.register_buffer("alive", logits > -torch.inf)
        with torch.no_grad():
            self.logits.nan_to_num_(neginf=0.0)

    def parts(self) -> Sequence[Density]:
        """The components; one density where it is told which component it is."""
        return self.component_densities.parts()

    def readers(self) -> Sequence[Density]:
        """The components, unless they read what trunk or heads make of x."""
        return self.parts() if self.trunk is None and self.heads is None else ()

    @property
    def support(self) -> Constraint:
        """Where some component may be positive."""
        inner = constraints.real_vector if self.heads is not None else self.component_densities.support
        if self.trunk is None or (defined_everywhere(self.trunk) and is_everything(inner)):
            return inner if self.trunk is None else everywhere(len(self.event_shape))
        if self.trunk.context_shape is not None:
            return of_every_context(self._span, self._step.domain)
        return Preimage(lambda x: [self._through(x, None)], inner, len(self.event_shape), self._span)

    def weights(self) -> Tensor:
        """w: (components,)."""
        return self._log_weights().exp()

    def gap(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """log_prob - lower_bound, at least 0: how far q(k | x) is from the exact responsibilities, (*batch), nats."""
        joint = self.joint_log_prob(x, context)
        return torch.logsumexp(joint, dim=-1) - evidence_lower_bound(joint, self.log_posterior(x, context))

    def place(self, x: Tensor, responsibilities: Tensor, context: Tensor | None = None) -> None:
        """Give every component the weight of its rows and, through its head, their place and size.

        Args:
            x: (rows, *event).
            responsibilities: (rows, components), the share of each component in each row.
            context: (rows, c), if the mixture takes one.
        """
        with torch.no_grad():
            self.logits.copy_((responsibilities.mean(dim=0) + 1e-3 / self.components).log())
            if self.heads is not None:
                z = x if self.trunk is None else self._through(x, context)[0]
                self.heads.standardise(z, responsibilities)

    def follow(
        self,
        x: Tensor | ArrayLike,
        before: Tensor | ArrayLike,
        after: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
    ) -> None:
        """Give every component the weight of the rows it has now and, if there are heads, move it to them.

        What is frozen stays: weights, or heads of which some part is.

        Args:
            x: (rows, *event).
            before, after: (rows, components), the share of each component in each row when it was where it is, and now.
            context: (rows, c), if the mixture takes one.

        Raises:
            ValueError: rows that are not finite, shares of another shape, below 0 or not finite.
        """
        x, context = self._checked(x, context)
        finite_rows("x", x)
        before, after = (self._read_shares(name, s, x) for name, s in (("before", before), ("after", after)))
        with torch.no_grad():
            if self.logits.requires_grad:
                self.logits.copy_((after.mean(dim=0) + 1e-6 / self.components).log())
            if self.heads is not None:
                z = x if self.trunk is None else self._through(x, context)[0]
                self.heads.follow(z, before, after)

    def own_parameters(self) -> Tensor:
        """How many numbers each component has for itself, in its head, its vector, its transforms and densities: (K).

        Weights of networks are not counted, nor what is frozen, and none counts for less than one number for each feature.
        """
        heads = 0 if self.heads is None else self.heads.own_parameters()
        own = self.component_densities.own_parameters() + heads
        return own.clamp(min=self.event_shape.numel())

    def annihilate(self, numbers: Sequence[int]) -> None:
        """End components: their weights are 0 from now on, whatever a fit does. At least one must stay alive.

        Args:
            numbers: which, from 0.

        Raises:
            ValueError: no component would be left, or there is no such component.
        """
        chosen = numbers_below("numbers", numbers, self.components)
        alive = self.get_buffer("alive")
        after = alive.clone()
        after[chosen] = False
        if not bool(after.any()):
            raise ValueError(f"numbers: expected some components to stay alive, got all {int(alive.sum())} that are")
        alive.copy_(after)

    def prune(self, threshold: float = 0.01) -> FlowMixture:
        """A copy without the components whose weight is below the threshold (or 0); the largest stays in any case.

        The weights of the others, and their share in q, are renormalised.
        """
        threshold = fraction("threshold", threshold)
        weights = self.weights().detach()
        stay = [k for k, w in enumerate(weights.tolist()) if w >= threshold and w > 0] or [int(weights.argmax())]
        posterior = None if self.posterior is None else Select(self.posterior, stay)
        kind = "none" if self.heads is None else "diagonal" if self.heads.packed is None else "affine"
        fewer = FlowMixture(self.component_densities.only(stay), posterior=posterior, trunk=self.trunk, heads=kind)
        fewer.to(self.logits)
        with torch.no_grad():
            fewer.logits.copy_(self.logits[stay])
            if self.heads is not None and fewer.heads is not None:
                for mine, own in zip(self.heads.parameters(), fewer.heads.parameters(), strict=True):
                    own.copy_(mine[stay])
                    own.requires_grad_(mine.requires_grad)
        fewer.logits.requires_grad_(self.logits.requires_grad)
        fewer.train(self.training)
        return copy.deepcopy(fewer)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize trunk and components on x."""
        if self.trunk is not None:
            self._step.initialize(x, context)
            x, _ = self._through(x, context)
        if self.heads is not None:  # a component sees its own rows through its head: some place of its own is given
            self.heads.start(x)
            x = (x - x.mean(dim=0)) / x.std(dim=0, correction=0).clamp(min=1e-12)
        self.component_densities.initialize(x, self._for_parts(context))

    def _joint_score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        xs, log_dets = self._seen(at_every_context(self, x, context), context)
        scores = self.component_densities.scores(xs, self._for_parts(context), score)
        return scores + self._log_weights() + log_dets

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        """Those of each component at the rows that are most likely its."""
        x = at_every_context(self, x, context)
        xs, _ = self._seen(x, context)
        nearest, heard = self.log_posterior(x, context).argmax(dim=-1), BySymptoms()
        for k, (part, at) in enumerate(self.component_densities.each(self._for_parts(context))):
            own = (nearest == k).nonzero().squeeze(-1)
            if len(own) >= _ASKED:
                heard(part, xs[k][own], None if at is None else at.expand(len(x), *(part.context_shape or ()))[own])
        return heard.symptoms

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        log_weights = self._log_weights()
        batch_shape = shape + context_batch(self, context)
        component = draw_levels(log_weights, batch_shape).flatten()
        own = context_rows(self, context, batch_shape)
        z = self.component_densities.draw(component, self._for_parts(own))
        if self.heads is not None:
            z = self.heads.inverse(z, component)
        if self.trunk is not None:
            z, _ = self._step.inverse(z, self._for_trunk(own))
        return z.reshape(*batch_shape, *self.event_shape)

    def summands(self, context: Tensor | None) -> tuple[list[Density], Tensor] | None:
        """The components that have a weight, at the context; None where they share a trunk or stand behind heads."""
        told = self._told(context)
        return None if told is None else sums.settled(*told)

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        apart = self.summands(context)
        return None if apart is None else given(mixture_of(*apart), wanted, observed, values)

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """That of a component drawn by its weight at what was observed; None if a component has none."""
        told = self._told(context) if self.gaps else None
        return None if told is None else sums.weighted_completion(*told, x)

    def _moments(self, context: Tensor | None) -> Moments | None:
        told = self._told(context)
        return None if told is None else sums.moments(*told)

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        told = self._told(context)
        return None if told is None else sums.distribution_function(*told)

    def _told(self, context: Tensor | None) -> tuple[list[sums.Told], Tensor] | None:
        if self.trunk is not None or self.heads is not None:
            return None
        return self.component_densities.each(self._for_parts(context)), self._log_weights()

    def _log_weights(self) -> Tensor:
        return self.logits.masked_fill(~self.get_buffer("alive"), -torch.inf).log_softmax(dim=-1)

    def _log_q(self, x: Tensor, context: Tensor | None) -> Tensor:
        if self.posterior is None:
            raise ValueError("posterior: expected a network, got None")
        x = at_every_context(self, x, context)
        logits = outputs_of(self.posterior, x, len(self.event_shape), context)
        return logits.masked_fill(~self.get_buffer("alive"), -torch.inf).log_softmax(dim=-1)

    def _read_shares(self, name: str, value: Tensor | ArrayLike, x: Tensor) -> Tensor:
        shares = read_like(name, value, self.logits)
        if shares.shape != (len(x), self.components):
            raise ValueError(f"{name}: expected shape ({len(x)}, {self.components}), got {tuple(shares.shape)}")
        finite_rows(name, shares)
        if bool((shares < 0).any()):
            raise ValueError(f"{name}: expected shares of at least 0, got {float(shares.min())}")
        return shares

    def _for_parts(self, context: Tensor | None) -> Tensor | None:
        return None if self.component_densities.context_shape is None else context

    def _seen(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """x as each component sees it, (K, *batch, *event), and log-determinants that broadcast to (*batch, K)."""
        log_det = self.logits.new_zeros(())
        if self.trunk is not None:
            x, log_det = self._through(x, context)
        if self.heads is None:
            return x.expand(self.components, *x.shape), log_det.unsqueeze(-1)
        xs, log_dets = self.heads(x)
        return xs, log_dets + log_det.unsqueeze(-1)

    def _through(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the trunk makes of x, and its log-determinant."""
        result: tuple[Tensor, Tensor] = self._step(x, self._for_trunk(context))
        return result

    @property
    def _step(self) -> Transform:
        (step,) = self._onto
        if step is None:
            raise ValueError("trunk: expected a transform, got None")
        return step

    def _for_trunk(self, context: Tensor | None) -> Tensor | None:
        return None if self.trunk is None or self.trunk.context_shape is None else context
