"""Draws of an autoregressive model at a temperature, or from a nucleus."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import as_draws, broadcasting, positive, read_tensor, reference_tensor
from anabranch.densities.contexts import read_context
from anabranch.draws import drawing
from anabranch.families import Family
from anabranch.families.draw_levels import draw_levels
from anabranch.models.position_chain import PositionChain, channels_of, check_possible, number_of

# a list of so many values is looked through at every position
_MOST_VALUES = 2**16


class DrawsAtTemperature:
    r"""Draws from a chain whose every position has p_T(x_d | ...), proportional to p(x_d | ...)^{1 / T}, within a nucleus.

    The nucleus is the fewest values that together have at least the given probability. The draws follow the density of the
    model only at T = 1 and a nucleus of 1; otherwise its log_prob does not score them.

    Source: Holtzman et al., 2020, arXiv:1904.09751.

    Args:
        chain: of the model.
        temperature: T; below 1 for more likely draws, above for less likely ones.
        nucleus: probability of the values that are kept, above 0, 1 for all.

    Raises:
        ValueError: a number out of range, or other than 1 for a family without a list of values.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.families import Bernoulli
        >>> from anabranch.networks import MaskedMLP
        >>> model = ab.models.Autoregressive(Bernoulli(), MaskedMLP(6, outputs=1))
        >>> model.draws_at_temperature(0.5, nucleus=0.9).sample((4,), generator=0).shape
        torch.Size([4, 6])
    """

    def __init__(self, chain: PositionChain, temperature: float = 1.0, nucleus: float = 1.0) -> None:
        self.chain = chain
        self.temperature = positive("temperature", temperature)
        self.nucleus = positive("nucleus", nucleus)
        if self.nucleus > 1:
            raise ValueError(f"nucleus: expected a probability above 0 and up to 1, got {nucleus}")
        self.values = torch.empty(0)
        if not self.is_plain:
            family = number_of(chain.family)
            like = reference_tensor(chain)
            masses = family.point_masses(_MOST_VALUES, torch.zeros(()) if like is None else like)
            if masses.values is None or not masses.alone:
                raise ValueError(
                    f"temperature, nucleus: expected 1, since {type(family).__name__} has no list of values, got "
                    f"{temperature} and {nucleus}"
                )
            self.values = masses.values

    @property
    def is_plain(self) -> bool:
        """Whether the draws are the model's own."""
        return self.temperature == 1 and self.nucleus == 1

    def sample(
        self,
        shape: tuple[int, ...] = (),
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """Events (*shape, *context batch, *event), without gradients; the arguments are those of `Density.sample`."""
        like = reference_tensor(self.chain)
        nothing = torch.zeros(
            (0,) if channels_of(self.chain.family) is None else (0, channels_of(self.chain.family) or 1)
        )
        return self.complete(nothing if like is None else nothing.to(like), shape, context, generator)

    def complete(
        self,
        prefix: Tensor | ArrayLike,
        shape: tuple[int, ...] = (),
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """Events (*shape, *batch, *event) that begin with the prefix; see `Autoregressive.complete`.

        Raises:
            ValueError: a prefix or a context of another shape, values that cannot be.
        """
        like = reference_tensor(self.chain)
        wanted = self.chain.network.context_shape
        given = read_context(context, wanted, like, "model")
        known = self._read_prefix(prefix, like)
        channels = channels_of(self.chain.family)
        batch = known.shape[: known.dim() - (1 if channels is None else 2)]
        if given is not None and wanted is not None:
            contexts = given.shape[: given.dim() - len(wanted)]
            broadcasting("prefix", batch, "context", contexts)
            batch = torch.broadcast_shapes(batch, contexts)
        batch = as_draws("shape", shape) + batch
        known = known.expand(*batch, *known.shape[known.dim() - (1 if channels is None else 2) :])
        with torch.no_grad(), drawing(generator):
            return self.chain.draw(batch, given, known, None if self.is_plain else self._draw)

    def _read_prefix(self, prefix: Tensor | ArrayLike, like: Tensor | None) -> Tensor:
        family, features = self.chain.family, self.chain.network.features
        channels = channels_of(family)
        known = read_tensor("prefix", prefix, like)
        known = known if like is None else known.to(like)
        shape = "(..., k)" if channels is None else f"(..., k, {channels})"
        if known.dim() < (1 if channels is None else 2) or (channels is not None and known.shape[-1] != channels):
            raise ValueError(f"prefix: expected shape {shape}, got {tuple(known.shape)}")
        count = known.shape[-1 if channels is None else -2]
        if count > features:
            raise ValueError(f"prefix: expected at most {features} positions, got {count}")
        check_possible("prefix", number_of(family), known)
        return known

    def _draw(self, theta: Tensor) -> Tensor:
        family = self.chain.family
        return self._draw_number(theta) if isinstance(family, Family) else family.sample_by(theta, self._draw_number)

    def _draw_number(self, theta: Tensor) -> Tensor:
        values = self.values.to(theta)
        log_p = number_of(self.chain.family).log_prob(values, theta.unsqueeze(-2))
        # the likeliest has 0 before the division, so that it is the one that is left at whatever small temperature
        log_p = (log_p - log_p.amax(dim=-1, keepdim=True)) / self.temperature
        log_p, place = log_p.log_softmax(dim=-1).sort(dim=-1, descending=True)
        # kept are those before which there is less than the nucleus: the likeliest always
        before = log_p.exp().cumsum(dim=-1) - log_p.exp()
        chosen = draw_levels(torch.where(before < self.nucleus, log_p, -torch.inf))
        return values[place.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)]
