"""Densities of levels, by a continuous density and noise that fills the gap from each level to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import instance_of, positive_int, reference_tensor
from anabranch.densities.composite import Composite
from anabranch.densities.contexts import at_every_context
from anabranch.densities.density import Density
from anabranch.densities.events import EventDtype, whole_rows
from anabranch.densities.score import Score, expect_weights
from anabranch.draws import drawing
from anabranch.transforms.domain import OpenInterval
from anabranch.transforms.span import span_of

# the distance of two numbers x + u next to each other, at the largest x
_FINEST = 2**-7


class Dequantized(Composite):
    r"""P(x | c) of whole numbers x in {0, ..., K - 1}^D by a density p of real numbers: the mass of the cell of x.

    .. math:: P(x \mid c) = \int_{[0, 1)^D} p\!\left(s\!\left(\tfrac{x + u}{K}\right) \middle| c\right)
              \prod_i \frac{s'((x_i + u_i) / K)}{K} \, du

    s is the identity, or the logit. Noise u from a density q(u | x) gives a lower bound of the integral:

    .. math:: \log P(x \mid c) \ge E_{q(u \mid x)}\!\left[\log p\!\left(s\!\left(\tfrac{x + u}{K}\right)\right)
              + \sum_i \log s'\!\left(\tfrac{x_i + u_i}{K}\right) - D \log K - \log q(u \mid x)\right]

    `lower_bound` takes one draw of u for each x, and `estimate` weighs many. Both are of the discrete P, so that their nats
    compare with those of any other density of the same levels. With uniform noise (log q = 0) the bound is exact if p is
    constant within cells. Noise that is fitted together with p makes the bound closer if p is not. A draw of P is the level
    in whose cell a draw of p lies.

    As in every density of levels, an x that is no level (a number beyond K - 1, or between two levels) has probability 0:
    `lower_bound`, `estimate` and the loss say -inf, and infinity. `fit`, `bits_per_dimension` and what makes real numbers of
    levels (`dequantize`) refuse it, with the row.

    With the logit, p is a density of all real numbers and P sums to 1. Without it, p should lie on [0, 1)^D: mass outside
    belongs to no level, so that P sums to less than 1, and a draw from there becomes the nearest level.

    Source: Theis et al., 2016, arXiv:1511.01844, section 3.1 (uniform noise); Ho et al., 2019, "Flow++", arXiv:1902.00275,
    section 3.1 (variational noise); Dinh et al., 2017, arXiv:1605.08803, section 4.1 (the logit).

    Args:
        density: p, of real numbers, in the shape of x.
        levels: K, at most 65,536 in float32 and 2^45 in float64: the noise between larger levels would have no digits.
        noise: q, a density on (0, 1) in the shape of x, exact and reparameterized, such as a flow that
            begins with a probit. If it takes a context, that is 2 x / (K - 1) - 1, in the shape of x or as a vector. None
            for uniform noise.
        logit: whether s is the logit.

    Raises:
        ValueError: a density of levels, fewer than two levels, noise of another shape, without an exact likelihood, or whose
            `support` leaves (0, 1).

    Example:
        >>> import torch
        >>> from anabranch.densities import Dequantized, Normal
        >>> density = Dequantized(Normal(torch.zeros(1, 8, 8)), levels=17, logit=True)
        >>> x = density.sample((5,), generator=0)
        >>> x.shape, float(x.min()) >= 0, float(x.max()) <= 16
        (torch.Size([5, 1, 8, 8]), True, True)
        >>> density.lower_bound(x).shape, density.estimate(x, samples=10)[0].shape
        (torch.Size([5]), torch.Size([5]))
    """

    likelihood = "bound"
    event_dtype: EventDtype = "whole"
    reparameterized = False
    gaps = False

    def __init__(self, density: Density, levels: int, noise: Density | None = None, logit: bool = False) -> None:
        instance_of("density", density, Density)
        expect_weights("density", density)
        if density.support.is_discrete:
            raise ValueError(
                f"density: expected one of real numbers, got a {type(density).__name__} of event shape "
                f"{tuple(density.event_shape)}, whose x are levels already"
            )
        shape = density.event_shape
        if noise is not None:
            instance_of("noise", noise, Density)
            if noise.event_shape != shape:
                raise ValueError(
                    f"noise: expected event shape {tuple(shape)}, the density's, got {tuple(noise.event_shape)}"
                )
            if noise.likelihood != "exact" or not noise.reparameterized:
                raise ValueError(
                    f"noise: expected a density that is exact and whose draws are reparameterized, got a "
                    f"{type(noise).__name__}"
                )
            if noise.context_shape not in (None, shape, torch.Size([shape.numel()])):
                raise ValueError(
                    f"noise: expected a context of shape {tuple(shape)} or ({shape.numel()},), that of x, or none, "
                    f"got {tuple(noise.context_shape or ())}"
                )
            _expect_in_the_gap(noise)
        super().__init__(shape, density.context_shape)
        self.levels = positive_int("levels", levels, least=2)
        self.density = density
        self.noise = noise
        self.logit = bool(logit)
        self._constant = shape.numel() * math.log(self.levels)

    def parts(self) -> Sequence[Density]:
        """The density, and the noise if it is one."""
        return (self.density,) if self.noise is None else (self.density, self.noise)

    def readers(self) -> Sequence[Density]:
        """None: the density reads what noise makes of x."""
        return ()

    @property
    def support(self) -> constraints.Constraint:
        """Whole numbers from 0 to K - 1."""
        return constraints.independent(constraints.integer_interval(0, self.levels - 1), len(self.event_shape))

    def dequantize(
        self,
        x: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
        name: str = "x",
    ) -> Tensor:
        """s((x + u) / K), which the density reads, with one draw of the noise: (*batch, *event).

        Args:
            x: levels (*batch, *event).
            context: only checked; the noise takes none but x.
            generator: of the draws, as of `sample`.
            name: of x, in an error.

        Raises:
            ValueError: numbers that are no levels; a shape, dtype or device other than expected.
        """
        x, context = self._checked(x, context, name)
        whole_rows(name, x.reshape(-1, *self.event_shape), self, reference_tensor(self))
        with torch.no_grad(), drawing(generator):
            return self._filled(at_every_context(self, x, context).to(self._dtype(x)))[0]

    def quantize(self, y: Tensor) -> Tensor:
        """The levels in whose cells numbers y (*batch, *event) that the density reads lie; the nearest ones outside."""
        return (self.shares(y) * self.levels).floor().clamp(0, self.levels - 1)

    def shares(self, y: Tensor) -> Tensor:
        """(x + u) / K of numbers y = s((x + u) / K): where they lie between the ends of all levels."""
        return torch.sigmoid(y) if self.logit else y

    def at_temperature(self, temperature: float) -> Dequantized | None:
        """The density at that temperature, and the same noise."""
        density = self.density.at_temperature(temperature)
        return None if density is None else Dequantized(density, self.levels, self.noise, self.logit)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the noise on uniform draws, and the density on what it makes of x."""
        x = x.to(self._dtype(x))
        if self.noise is not None:
            given = None if self.noise.context_shape is None else self._told(x)
            self.noise.initialize(self._uniform(x), given)
        self.density.initialize(self._filled(x)[0], context)

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        x, event_dim = at_every_context(self, x, context), len(self.event_shape)
        x = x.to(self._dtype(x))
        known = ((x >= 0) & (x < self.levels) & (x == x.round())).flatten(-event_dim).all(dim=-1)
        # what is no level is taken at level 0, and its number is thrown away
        y, constant = self._filled(torch.where(known.reshape(known.shape + (1,) * event_dim), x, 0))
        log_p = score(self.density, y, context) + constant
        broken = x.isnan().flatten(-event_dim).any(dim=-1)
        return torch.where(known, log_p, torch.where(broken, torch.nan, -torch.inf).to(log_p))

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self.quantize(self.density._sample(shape, context))

    def _filled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y = s((x + u) / K), and log |dy/du| - log q(u | x): (*batch)."""
        most = int(_FINEST / torch.finfo(x.dtype).eps)
        if self.levels > most:
            raise ValueError(
                f"levels: expected at most {most:,} for Dequantized in {x.dtype}, since noise between larger ones has too "
                f"few digits, got {self.levels:,}; make the density .double(), or take the levels x // "
                f"{-(-self.levels // most)}"
            )
        u, log_q = self._drawn(x)
        event_dim = len(self.event_shape)
        # a draw outside of its cell adds nothing to the mass of the cell
        log_q = torch.where(((u >= 0) & (u <= 1)).flatten(-event_dim).all(dim=-1), log_q, torch.inf)
        below = x + u
        if not self.logit:
            # the sum may round to K, which is no level's
            return (below / self.levels).clamp(max=1 - torch.finfo(u.dtype).eps / 2), -self._constant - log_q
        # both distances from the ends of [0, K] are sums without cancellation: no digits of a small one are lost
        above = (self.levels - 1 - x) + (1 - u)
        smallest = torch.finfo(u.dtype).tiny
        log_below, log_above = below.clamp(min=smallest).log(), above.clamp(min=smallest).log()
        # ds/dy at y = below / K is K^2 / (below above), and dy/du = 1 / K
        log_slope = (math.log(self.levels) - log_below - log_above).flatten(-event_dim).sum(dim=-1)
        return log_below - log_above, log_slope - log_q

    def _drawn(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u for each x, and log q(u | x)."""
        batch = x.shape[: x.dim() - len(self.event_shape)]
        if self.noise is None:
            u = self._uniform(x)
            return u, u.new_zeros(batch)
        if self.noise.context_shape is None:
            return self.noise._sample_and_log_prob(batch, None)
        return self.noise._sample_and_log_prob(torch.Size(), self._told(x))

    def _uniform(self, x: Tensor) -> Tensor:
        u = torch.rand(x.shape, dtype=x.dtype, device=x.device)
        # 0 is one draw in 2^24, and its logit is infinite at level 0
        return u.clamp(min=torch.finfo(u.dtype).eps / 4)

    def _told(self, x: Tensor) -> Tensor:
        """x as the context of the noise: from -1 to 1."""
        given = 2 * x / (self.levels - 1) - 1
        return (
            given
            if self.noise is None or self.noise.context_shape == self.event_shape
            else given.flatten(-len(self.event_shape))
        )

    def _dtype(self, x: Tensor) -> torch.dtype:
        like = reference_tensor(self)
        if like is not None:
            return like.dtype
        return x.dtype if x.is_floating_point() else torch.get_default_dtype()


def _expect_in_the_gap(noise: Density) -> None:
    """Raise ValueError where the support of noise says that it leaves (0, 1): a draw outside has no part in the bound."""
    span = span_of(noise.support, noise.event_shape)
    stray = span.outside(span_of(OpenInterval(0.0, 1.0), noise.event_shape))
    if bool(stray.any()):
        place = tuple(stray.nonzero()[0].tolist())
        raise ValueError(
            f"noise: expected a density of numbers between 0 and 1, got a {type(noise).__name__} of numbers between "
            f"{span.low[place]:g} and {span.high[place]:g} at place {list(place)}; take a flow that begins with a "
            "Probit, such as Flow(flows.dequantisation(shape))"
        )
