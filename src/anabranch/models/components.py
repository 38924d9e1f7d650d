"""The components of a mixture: densities each of its own, or one density that is told which."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of, positive_int
from anabranch.densities.contexts import context_for
from anabranch.densities.density import Density
from anabranch.densities.score import Score, expect_weights
from anabranch.densities.whole_numbers import Ends, ends_of, ends_of_any
from anabranch.described import Described
from anabranch.draws import drawing
from anabranch.networks import CausalNetwork, Network
from anabranch.transforms.domain import is_everything
from anabranch.transforms.span import Span, span_of, span_of_any
from anabranch.transforms.transform import common_shape


class Components(Described):
    """K densities of one event shape, and what a mixture asks of them.

    Attributes:
        count: K.
        event_shape: of each.
        context_shape: that they have in common, or None.
    """

    count: int
    event_shape: torch.Size
    context_shape: torch.Size | None

    @property
    def kinds(self) -> str:
        """The classes of the densities, for messages."""
        return ", ".join(sorted({type(part).__name__ for part in self.parts()}))

    @property
    @abstractmethod
    def support(self) -> Constraint:
        """Where some may be positive."""

    @abstractmethod
    def parts(self) -> list[Density]:
        """The densities; one where it is told which component it is."""

    @abstractmethod
    def scores(self, xs: Tensor, context: Tensor | None, score: Score) -> Tensor:
        """log p_k(x_k | context) as the score says it: (*batch, K), for xs (K, *batch, *event)."""

    @abstractmethod
    def each(self, context: Tensor | None) -> list[tuple[Density, Tensor | None]]:
        """For each of them a density, and the context, (*batch, c), at which it is that component."""

    @abstractmethod
    def draw(self, component: Tensor, context: Tensor | None) -> Tensor:
        """One draw of each of the components numbered (n): (n, *event), for contexts (n, c)."""

    @abstractmethod
    def initialize(self, x: Tensor, context: Tensor | None) -> None:
        """Set what is to be set from a first batch of data."""

    @abstractmethod
    def only(self, stay: Sequence[int]) -> Components:
        """Some of them, with the same parameters (not copies)."""

    @abstractmethod
    def own_parameters(self) -> Tensor:
        """How many trained numbers each component has for itself, those of networks not counted: (K)."""


class Separate(Components):
    """Densities each of its own: parameters and time are the sum of theirs.

    Args:
        densities: the K densities.

    Raises:
        ValueError: none, or event or context shapes that differ.
    """

    def __init__(self, densities: Sequence[Density]) -> None:
        super().__init__()
        if isinstance(densities, Density):
            raise ValueError("densities: expected a list of densities, got one; `Embedded` makes many of it")
        parts = list(densities)
        if not parts:
            raise ValueError("densities: expected at least one density, got none")
        for part in parts:
            if not isinstance(part, Density):
                raise ValueError(f"densities: expected densities, got a {type(part).__name__}")
            expect_weights("densities", part)
        self.count = len(parts)
        event_shape = common_shape("densities: event_shape", [part.event_shape for part in parts])
        self.event_shape = parts[0].event_shape if event_shape is None else event_shape
        self.context_shape = common_shape("densities: context_shape", [part.context_shape for part in parts])
        self.densities = nn.ModuleList(parts)

    @property
    def support(self) -> Constraint:
        supports = [part.support for part in self.parts()]
        return next((s for s in supports if is_everything(s)), None) or _AnyOf(supports)

    def parts(self) -> list[Density]:
        return [part for part in self.densities if isinstance(part, Density)]

    def scores(self, xs: Tensor, context: Tensor | None, score: Score) -> Tensor:
        terms = [score(part, x, context_for(part, context)) for part, x in zip(self.parts(), xs, strict=True)]
        return torch.stack(torch.broadcast_tensors(*terms), dim=-1)

    def each(self, context: Tensor | None) -> list[tuple[Density, Tensor | None]]:
        return [(part, context_for(part, context)) for part in self.parts()]

    def draw(self, component: Tensor, context: Tensor | None) -> Tensor:
        pieces, places = [], []
        for k, part in enumerate(self.parts()):
            own = (component == k).nonzero().squeeze(-1)
            if len(own):
                given = context_for(part, None if context is None else context[own])
                pieces.append(part._sample(torch.Size() if given is not None else torch.Size([len(own)]), given))
                places.append(own)
        if not pieces:
            return self.parts()[0].sample((0,)) if context is None else context.new_empty(0, *self.event_shape)
        return torch.cat(pieces)[torch.cat(places).argsort()]

    def initialize(self, x: Tensor, context: Tensor | None) -> None:
        for part in self.parts():
            part.initialize(x, context_for(part, context))

    def only(self, stay: Sequence[int]) -> Separate:
        parts = self.parts()
        return Separate([parts[k] for k in stay])

    def own_parameters(self) -> Tensor:
        return torch.tensor([_outside_networks(part) for part in self.parts()])


class Embedded(Components):
    r"""One density with a context, shared by all components: p_k(x | c) = p(x | e_k, c) with a learned vector e_k each.

    Parameters hardly grow with K; the time of a log_prob still does, for all rows pass once for each component, in one call.

    Args:
        density: the density; the first numbers of its context are the vector.
        components: K.
        size: how many numbers the vector has; the whole context by default. What is left is the mixture's own context.

    Raises:
        ValueError: a density without a context, or with a smaller one.

    Example:
        >>> import anabranch as ab
        >>> shared = ab.Flow(ab.flows.nsf(features=2, blocks=2, context=4))
        >>> ab.FlowMixture(ab.models.Embedded(shared, components=5)).components
        5
    """

    def __init__(self, density: Density, components: int, size: int | None = None) -> None:
        super().__init__()
        instance_of("density", density, Density)
        expect_weights("density", density)
        if density.context_shape is not None and len(density.context_shape) != 1:
            raise ValueError(
                f"density: expected one whose context is a vector, got shape {tuple(density.context_shape)}"
            )
        given = 0 if density.context_shape is None else density.context_shape[0]
        size = given if size is None else positive_int("size", size)
        if not 0 < size <= given:
            raise ValueError(f"density: expected one with a context of at least {max(1, size)} numbers, got {given}")
        self.count = positive_int("components", components)
        self.event_shape = density.event_shape
        self.context_shape = torch.Size([given - size]) if given > size else None
        self.density = density
        self.embeddings = nn.Parameter(torch.randn(self.count, size))

    @property
    def support(self) -> Constraint:
        return self.density.support

    def parts(self) -> list[Density]:
        return [self.density]

    def scores(self, xs: Tensor, context: Tensor | None, score: Score) -> Tensor:
        batch_shape = xs.shape[1 : xs.dim() - len(self.event_shape)]
        vectors = self.embeddings.reshape(self.count, *(1 for _ in batch_shape), -1)
        vectors = vectors.expand(self.count, *batch_shape, -1)
        if context is not None:
            vectors = torch.cat([vectors, context.expand(*vectors.shape[:-1], context.shape[-1])], dim=-1)
        return score(self.density, xs, vectors).movedim(0, -1)

    def each(self, context: Tensor | None) -> list[tuple[Density, Tensor | None]]:
        vectors = list(self.embeddings)
        if context is not None:
            batch = context.shape[:-1]
            vectors = [torch.cat([vector.expand(*batch, -1), context], dim=-1) for vector in vectors]
        return [(self.density, vector) for vector in vectors]

    def draw(self, component: Tensor, context: Tensor | None) -> Tensor:
        vectors = self.embeddings[component]
        if context is not None:
            vectors = torch.cat([vectors, context], dim=-1)
        return self.density._sample(torch.Size(), vectors)

    def initialize(self, x: Tensor, context: Tensor | None) -> None:
        vectors = self.embeddings[torch.arange(len(x), device=x.device) % self.count].detach()
        if context is not None:
            vectors = torch.cat([vectors, context], dim=-1)
        self.density.initialize(x, vectors)

    def only(self, stay: Sequence[int]) -> Embedded:
        with drawing(0):  # the vectors drawn here are replaced
            fewer = Embedded(self.density, len(stay), self.embeddings.shape[1])
        fewer.to(self.embeddings)
        with torch.no_grad():
            fewer.embeddings.copy_(self.embeddings[list(stay)])
        fewer.embeddings.requires_grad_(self.embeddings.requires_grad)
        return fewer

    def own_parameters(self) -> Tensor:
        return torch.full((self.count,), self.embeddings.shape[1] if self.embeddings.requires_grad else 0)


def _outside_networks(module: nn.Module) -> int:
    """How many trained numbers are not those of a network."""
    if isinstance(module, (Network, CausalNetwork)):
        return 0
    here = sum(p.numel() for p in module.parameters(recurse=False) if p.requires_grad)
    return here + sum(_outside_networks(child) for child in module.children())


class _AnyOf(constraints.Constraint):
    """Within some of several supports."""

    def __init__(self, supports: Sequence[Constraint]) -> None:
        super().__init__()
        self.supports = list(supports)
        self.event_dim = supports[0].event_dim
        self.is_discrete = any(support.is_discrete for support in supports)

    def check(self, value: Tensor) -> Tensor:
        return torch.stack([support.check(value) for support in self.supports]).any(dim=0)

    def span(self, shape: torch.Size) -> Span:
        """That of all supports, where they agree or one is everything."""
        return span_of_any([span_of(support, shape) for support in self.supports])

    def ends(self, event: Tensor) -> Ends | None:
        """Those that hold all of the supports'."""
        return ends_of_any([ends_of(support, event) for support in self.supports])
