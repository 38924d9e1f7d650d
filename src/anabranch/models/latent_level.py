"""A level of a hierarchy of hidden variables, and how its parts read features and states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from anabranch.checks import instance_of
from anabranch.densities import Density
from anabranch.densities.score import expect_weights
from anabranch.described import Described
from anabranch.networks import Network
from anabranch.networks.reader import as_read


class Shaped(NamedTuple):
    """Values (*batch, *shape), and the shape of one."""

    value: Tensor
    shape: torch.Size

    @property
    def batch(self) -> torch.Size:
        """The batch shape."""
        return self.value.shape[: self.value.dim() - len(self.shape)]

    def vectors(self) -> Tensor:
        """As vectors, (*batch, numbers)."""
        return self.value.reshape(*self.batch, self.shape.numel())


class LatentLevel(Described):
    r"""The l-th hidden variable z_l of a `HierarchicalVAE`, counted from the data: its densities and its two networks.

    .. code-block:: text

        e_l     = up(e_{l-1})           features of x, from those of the level below; e_0 is x
        z_l     ~ prior(. | s_l)        or, given x, ~ posterior(. | e_l, s_l)
        s_{l-1} = down(z_l, s_l)        the state that the level below reads, at last the decoder

    Args:
        prior: p(z_l | s_l), with the state for its context, in its shape or as a vector. Without a context it takes none.
        posterior: q(z_l | e_l), or q(z_l | e_l, s_l) with the features followed by the state: as vectors, or where both are
            images of one size as channels. Its likelihood is exact.
        up: from e_{l-1} to e_l, with the context of the model if it takes one; None for e_l = e_{l-1}. With bottom-up
            posteriors it reads z_{l-1} in place of e_{l-1}.
        down: from z_l to s_{l-1}, with s_l for its context if it takes one; None for s_{l-1} = z_l.

    Raises:
        ValueError: parts of other kinds, events of prior and posterior that differ, a posterior that is not exact.

    Example:
        >>> import torch
        >>> from anabranch.densities import Normal
        >>> from anabranch.models import LatentLevel
        >>> top = LatentLevel(Normal.standard(2), Normal(torch.zeros(2), context=8))
    """

    def __init__(
        self, prior: Density, posterior: Density, up: Network | None = None, down: Network | None = None
    ) -> None:
        super().__init__()
        instance_of("prior", prior, Density)
        instance_of("posterior", posterior, Density)
        expect_weights("prior", prior)
        if posterior.event_shape != prior.event_shape:
            raise ValueError(
                f"posterior: expected event shape {tuple(prior.event_shape)}, the prior's, "
                f"got {tuple(posterior.event_shape)}"
            )
        if posterior.likelihood != "exact":
            raise ValueError(
                f"posterior: expected a density whose likelihood is exact, got a {type(posterior).__name__}, of which "
                f"{'a bound' if posterior.likelihood == 'bound' else 'an estimate'} is known"
            )
        for name, network in (("up", up), ("down", down)):
            if network is not None:
                instance_of(name, network, Network)
        self.prior = prior
        self.posterior = posterior
        self.up = up
        self.down = down

    @property
    def shape(self) -> torch.Size:
        """Of z_l."""
        return self.prior.event_shape

    def features_above(self, below: Shaped, context: Tensor | None) -> Shaped:
        """e_l, from e_{l-1} (or z_{l-1})."""
        if self.up is None:
            return below
        read = beside([Shaped(as_read(below.value, self.up), below.shape)], self.up.in_shape)
        return Shaped(self.up(read, None if self.up.context_shape is None else context), self.up.out_shape)

    def state_below(self, z: Tensor, state: Shaped | None) -> Shaped:
        """s_{l-1}, from z_l and s_l."""
        here = Shaped(z, self.shape)
        if self.down is None:
            return here
        given = None if self.down.context_shape is None or state is None else beside([state], self.down.context_shape)
        return Shaped(self.down(beside([here], self.down.in_shape), given), self.down.out_shape)

    def of_prior(self, state: Shaped | None) -> Tensor | None:
        """The prior's context."""
        wanted = self.prior.context_shape
        return None if wanted is None or state is None else beside([state], wanted)

    def of_posterior(self, features: Shaped, state: Shaped | None) -> Tensor:
        """The posterior's context: the features, and the state if there is room for it."""
        wanted = self.posterior.context_shape
        if wanted is None:
            raise ValueError("posterior: expected a density with a context, got one without")
        features = Shaped(as_read(features.value, self.posterior), features.shape)
        alone = state is None or wanted.numel() == features.shape.numel()
        return beside([features] if alone or state is None else [features, state], wanted)

    def draw_prior(self, state: Shaped | None, batch: torch.Size) -> Tensor:
        """z_l of the prior, (*batch, *shape)."""
        given = self.of_prior(state)
        if given is None:
            return self.prior._sample(batch, None)
        return self.prior._sample(torch.Size(), given.expand(*batch, *(self.prior.context_shape or ())))

    def shapes(self, name: str, features: torch.Size, state: torch.Size | None, top_down: bool) -> torch.Size:
        """The shape of s_{l-1}, after a look at whether all parts fit.

        Args:
            name: of the level, in errors.
            features: the shape of what `up` reads.
            state: that of s_l, None where there is none.
            top_down: whether the posterior may read the state.

        Raises:
            ValueError: they do not fit.
        """
        if self.up is not None:
            _expect_shape(f"{name}: up", "a network from", self.up.in_shape, features)
            features = self.up.out_shape
        wanted, sizes = self.posterior.context_shape, [features.numel()]
        if top_down and state is not None:
            sizes.append(features.numel() + state.numel())
        if wanted is None or wanted.numel() not in sizes:
            raise ValueError(
                f"{name}: posterior: expected a context of {' or '.join(map(str, sizes))} numbers, the features "
                f"{tuple(features)}{'' if len(sizes) == 1 else f' and the state {tuple(state or ())}'}, got "
                f"{'none' if wanted is None else f'{wanted.numel()}, in the shape {tuple(wanted)}'}"
            )
        if self.prior.context_shape is not None:
            _expect_shape(f"{name}: prior", "a density with a context of", self.prior.context_shape, state)
        if self.down is None:
            return self.shape
        _expect_shape(f"{name}: down", "a network from", self.down.in_shape, self.shape)
        if self.down.context_shape is not None:
            _expect_shape(f"{name}: down", "a network with a context of", self.down.context_shape, state)
        return self.down.out_shape


def beside(pieces: Sequence[Shaped], wanted: torch.Size) -> Tensor:
    """Pieces one after the other in the shape that a part wants: as they are, as one vector, or as channels."""
    if len(pieces) == 1:
        piece = pieces[0]
        return piece.value if piece.shape == wanted else piece.value.reshape(*piece.batch, *wanted)
    batch = torch.broadcast_shapes(*(piece.batch for piece in pieces))
    if len(wanted) == 1:
        return torch.cat([piece.vectors().expand(*batch, -1) for piece in pieces], dim=-1)
    return torch.cat([piece.value.expand(*batch, *piece.shape) for piece in pieces], dim=-len(wanted))


def _expect_shape(name: str, what: str, got: torch.Size, wanted: torch.Size | None) -> None:
    if wanted is None:
        raise ValueError(f"{name}: expected {what} nothing, since nothing is above, got {tuple(got)}")
    if got not in (wanted, torch.Size([wanted.numel()])):
        raise ValueError(f"{name}: expected {what} {tuple(wanted)}, or as a vector {wanted.numel()}, got {tuple(got)}")
