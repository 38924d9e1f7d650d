"""Rows whose numbers are missing for reasons that their values tell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.nn.functional import logsigmoid

from anabranch.checks import instance_of
from anabranch.densities import Density
from anabranch.networks import Network


class NotAtRandom(Density):
    r"""p(x_o, m) = \int p(x) p(m | x) dx_gaps: of what was observed of a row, and of which numbers are missing (not-MIWAE).

    .. math:: p(m \mid x) = \prod_i \sigma(f_i(x))^{m_i} (1 - \sigma(f_i(x)))^{1 - m_i}, \qquad m_i = 1 \text{ where } x_i
              \text{ is NaN}

    Where high incomes are not told, a density of what was told alone has them too low. Here a network f of the whole row
    gives the log-odds of each number to be missing, and `queries.impute` fills gaps accordingly. Values and reasons are told
    apart by the forms of both alone, so f should be no richer than the reasons are: `networks.Alone` for numbers that are
    missing by their values, an `MLP` for reasons in the whole row.

    A bound is known, by weighted completions of the density; `objectives.ImportanceWeighted` makes it close. Their draws of
    gaps are held in gradients. `sample` draws rows with gaps; `density` is that of complete rows.
    Source: Ipsen et al., 2021, arXiv:2006.12871, equation 6.

    Args:
        density: p(x), that completes rows by weighted draws, such as `vaes.vae(gaps=True)`.
        missing: f, from x to as many log-odds, of being missing.

    Raises:
        ValueError: a density that takes no gaps or does not complete rows; a network of other sizes.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Gaussians
        >>> from anabranch.models import NotAtRandom
        >>> from anabranch.networks import Alone
        >>> rows = ab.vaes.vae((2,), [Gaussians(1, floor=0.1)] * 2, latent=1, hidden=(8,), gaps=True)
        >>> model = NotAtRandom(rows, Alone(2))
        >>> model.lower_bound(torch.tensor([[0.5, torch.nan], [1.0, 2.0]])).shape
        torch.Size([2])
    """

    likelihood = "bound"
    reparameterized = False
    event_dtype = "floating"
    gap_events = True

    def __init__(self, density: Density, missing: Network) -> None:
        instance_of("density", density, Density)
        instance_of("missing", missing, Network)
        if len(density.event_shape) != 1 or not density.gaps:
            raise ValueError(
                f"density: expected one of vectors that takes NaN for gaps, got a {type(density).__name__} of events "
                f"{tuple(density.event_shape)}{'' if density.gaps else ', which takes none'}"
            )
        if missing.in_shape != density.event_shape or missing.out_shape != density.event_shape or missing.context:
            raise ValueError(
                f"missing: expected a network of {density.event_shape[0]} features and as many outputs, without a context, "
                f"got {tuple(missing.in_shape)} and {tuple(missing.out_shape)}"
            )
        super().__init__(density.event_shape, density.context_shape)
        self.density = density
        self.missing = missing

    def parts(self) -> Sequence[Density]:
        """The density of complete rows."""
        return (self.density,)

    @property
    def support(self) -> Constraint:
        """The density's."""
        return self.density.support

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the density."""
        self.density.initialize(x, context)

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Those of the density, with weights for the gaps that the completed rows would have had."""
        completion = self.density.weighted_completion(x, context)
        if completion is None:
            raise ValueError(
                f"density: expected one that completes rows by weighted draws, got a {type(self.density).__name__}"
            )
        filled, log_w = completion
        log_odds = self.missing(filled)
        told = torch.where(x.isnan(), logsigmoid(log_odds), logsigmoid(-log_odds))
        return filled, log_w + told.sum(dim=-1)

    def _log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.weighted_completion(x, context)[1]

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        return self.density._symptoms(x, context)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        x = self.density._sample(shape, context)
        hidden = torch.rand_like(x) < self.missing(x).sigmoid()
        return torch.where(hidden, torch.nan, x)
