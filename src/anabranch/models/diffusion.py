"""Variational diffusion models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import as_draws, instance_of, is_number, one_of, positive_int
from anabranch.densities import Density, Normal
from anabranch.densities.contexts import at_every_context, context_for, shape_for
from anabranch.densities.density import Weigh
from anabranch.draws import drawing
from anabranch.models.blurred import Blurred
from anabranch.models.denoising import Noisy, Predicts, along, noise_of, noised, noisy_of, signal_and_noise, told
from anabranch.models.denoising_steps import earlier, solved
from anabranch.models.diffusion_parts import check_decoder, check_denoiser, check_embedding, check_prior
from anabranch.models.flow import Flow
from anabranch.models.noise_schedule import LinearSchedule, NoiseSchedule
from anabranch.models.probability_flow import ProbabilityFlow
from anabranch.networks import Network
from anabranch.networks.reader import as_read
from anabranch.transforms import Continuous, Solver
from anabranch.transforms.continuous import Trace
from anabranch.transforms.domain import everywhere


class Diffusion(Density):
    r"""Noise that a network takes away in T steps: a chain of hidden variables whose posterior is fixed, and adds noise.

    .. math:: z_t = \alpha_t y + \sigma_t \epsilon, \quad y = e(x), \qquad
              p(x) = \int p(z_1) \prod_{i=1}^T p(z_{s_i} \mid z_{t_i})\, p(x \mid z_0)\, dz, \quad t_i = i / T,
              s_i = (i - 1) / T

    where p(z_s | z_t) is the posterior q(z_s | z_t, y) with the network's guess in place of y, and p(x | z_0) the decoder,
    which reads z_0 / \alpha_0 = y + (\sigma_0 / \alpha_0) \epsilon. Its bound is

    .. math:: \log p(x) \ge E[\log p(x \mid z_0)] - KL(q(z_1 \mid x) \,\|\, p(z_1))
              - \tfrac{T}{2} E_{i, \epsilon}\big[(e^{\gamma(t_i) - \gamma(s_i)} - 1)\,
              \| \epsilon - \hat\epsilon(z_{t_i}, \gamma(t_i)) \|^2\big]

    `lower_bound` takes one step i for each event, spread evenly over the batch: one pass of the network. As T grows, the
    last term becomes 1/2 E[gamma'(t) |eps - eps_hat|^2] (`continuous_bound`), which is what `loss` is: one fit serves all T
    (`at_steps`). `estimate` weighs whole chains, T passes for each sample, and so comes to the log p(x) of T steps, whatever
    T is. `sample` takes the T steps, `draw` others: fewer, and without noise. `flow` is the density of the chain's
    differential equation, which is no bound.

    Source: Kingma et al., 2021, "Variational diffusion models", arXiv:2107.00630, equations 11 to 18; Salimans and Ho,
    2022, arXiv:2202.00512, appendix D (velocities).

    Args:
        denoiser: a network from z to an array of its shape, whose context is a vector that begins with the time (gamma, on
            [0, 1] at first), such as `Timed(...)` or `VelocityMLP`. What follows is the context of the density.
        decoder: p(x | z_0), with an array of the shape of z for its context, or that as a vector. None: x is z_0 / alpha_0
            with normal noise of deviation sigma_0 / alpha_0, for real numbers.
        embedding: e, a network from x to an array of the shape of z; x itself by default. Numbers of about [-1, 1] or
            deviation 1 suit the schedules.
        schedule: gamma. Where x are real numbers its ends are best fixed: the bound of rows that lie on a lattice grows
            without end as the lower one falls.
        prior: p(z_1), any `Density` of z whose likelihood is exact or a bound; the standard normal by default.
        depth: the time at which the chain begins, in (0, 1]. Below 1 it begins at an earlier level of noise, which the
            prior is to know.
        predicts: what the network gives, the noise eps or the velocity v = alpha eps - sigma y, from which the noise
            follows as sigma z + alpha v.
        steps: T.

    Raises:
        ValueError: shapes that do not fit; a prior or decoder of which an estimate is known.

    Example:
        >>> import torch
        >>> from anabranch.models import Diffusion, LinearSchedule
        >>> from anabranch.networks import VelocityMLP
        >>> model = Diffusion(VelocityMLP(2, hidden=(16,)), schedule=LinearSchedule(-10.0, 5.0), steps=8)
        >>> x = model.sample((5,), generator=0)
        >>> value, error = model.estimate(x, samples=100, generator=0)
        >>> x.shape, model.lower_bound(x).shape, value.shape
        (torch.Size([5, 2]), torch.Size([5]), torch.Size([5]))
    """

    likelihood = "bound"
    gaps = False
    variational = True

    def __init__(
        self,
        denoiser: Network,
        decoder: Density | None = None,
        embedding: Network | None = None,
        schedule: NoiseSchedule | None = None,
        prior: Density | None = None,
        depth: float = 1.0,
        predicts: Predicts = "velocity",
        steps: int = 250,
    ) -> None:
        check_denoiser(denoiser)
        shape = denoiser.in_shape
        event_shape = shape if decoder is None else check_decoder(decoder, shape)
        check_embedding(embedding, event_shape, shape)
        super().__init__(event_shape, (denoiser.context - 1,) if denoiser.context > 1 else None)
        schedule = LinearSchedule() if schedule is None else schedule
        instance_of("schedule", schedule, NoiseSchedule)
        if prior is not None:
            check_prior(prior, shape, self.context_shape)
        if not is_number(depth) or not 0 < float(depth) <= 1:
            raise ValueError(f"depth: expected a time above 0, at most 1, got {depth!r}")
        self.denoiser = denoiser
        self.decoder = decoder
        self.embedding = embedding
        self.schedule = schedule
        self.prior = Normal.standard(shape) if prior is None else prior
        self._standard = prior is None
        self.depth = float(depth)
        self.predicts: Predicts = one_of("predicts", predicts, ("velocity", "noise"))  # type: ignore[assignment]
        self.steps = positive_int("steps", steps)
        # in a tuple, so that parameters have one name
        self._blurred = (Blurred(schedule, shape),)
        self.reparameterized = all(part.reparameterized for part in self.parts())

    def parts(self) -> Sequence[Density]:
        """The prior, and the decoder if there is one."""
        return [self.prior] if self.decoder is None else [self.prior, self.decoder]

    def readers(self) -> Sequence[Density]:
        """The decoder: the prior is of z, and the network converts what it reads."""
        return [] if self.decoder is None else [self.decoder]

    @property
    def support(self) -> Constraint:
        """The decoder's; all numbers without one."""
        return everywhere(len(self.event_shape)) if self.decoder is None else self.decoder.support

    def at_steps(self, steps: int) -> Self:
        """The model whose chain has so many steps: another density, of the same parameters.

        Raises:
            ValueError: no steps.

        Example:
            >>> from anabranch.models import Diffusion
            >>> from anabranch.networks import VelocityMLP
            >>> Diffusion(VelocityMLP(2, hidden=(16,))).at_steps(4).sample((3,)).shape
            torch.Size([3, 2])
        """
        return self._like(steps=steps)

    def from_depth(self, depth: float, prior: Density) -> Self:
        r"""The model whose chain begins at an earlier level of noise, with a prior of that level: another density.

        A `FlowMixture` of several, which share the network, is a mixture from depth over the number of steps: with
        `posterior=` a network for q(l | x), its bound is

        .. math:: \log p(x) \ge \sum_l q(l \mid x) \big(L_l(x) + \log p(l) / q(l \mid x)\big)

        Steps are as long as here, so that their number shrinks with the depth.

        Args:
            depth: the time at which it begins.
            prior: of z at that time.

        Raises:
            ValueError: a time outside (0, 1], a prior that is none of z.

        Example:
            >>> import anabranch as ab
            >>> from anabranch.networks import MLP, VelocityMLP
            >>> model = ab.models.Diffusion(VelocityMLP(2, hidden=(16,)), steps=8)
            >>> early = model.from_depth(0.5, ab.densities.GaussianMixture([[-1.0, 0.0], [1.0, 0.0]], learnable=True))
            >>> mixture = ab.FlowMixture([model, early], posterior=MLP(2, 2, hidden=(16,)))
            >>> early.steps, mixture.lower_bound(mixture.sample((3,))).shape
            (4, torch.Size([3]))
        """
        if not is_number(depth) or not 0 < float(depth) <= 1:
            raise ValueError(f"depth: expected a time above 0, at most 1, got {depth!r}")
        return self._like(depth=depth, prior=prior, steps=max(1, round(self.steps * float(depth) / self.depth)))

    def terms(
        self,
        x: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The terms of the bound, nats: log p(x | z_0) of one draw, (*batch), and the divergences, (*batch, 2), of z at the
        beginning of the chain from the prior and of the steps of the chain (one step, times their number).

        Args:
            x: (*batch, *event).
            context: as elsewhere.
            generator: of the draws, as of `sample`.
        """
        x, context = self._checked(x, context)
        with drawing(generator):
            return self._terms(x, context)

    def continuous_bound(
        self,
        x: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """What the bound comes to as the number of steps grows, nats, (*batch): the mean of what is drawn.

        Args:
            x: (*batch, *event).
            context: as elsewhere.
            generator: of the draws, as of `sample`.
        """
        x, context = self._checked(x, context)
        with drawing(generator):
            return self._continuous(x, context)[0]

    def draw(
        self,
        shape: tuple[int, ...] = (),
        context: Tensor | ArrayLike | None = None,
        steps: int = 20,
        order: Literal[1, 2] = 2,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        r"""Samples by few steps without noise: the differential equation of the chain, solved from the prior to z_0.

        Order 1 holds the guess at y over a step (DDIM), order 2 lets it go on as a line in log SNR through the last two
        (DPM-Solver++ 2M). Steps are equal in log SNR. What is drawn has the density of `flow` as the steps become many,
        then x is drawn from the decoder.
        Source: Song et al., 2021, arXiv:2010.02502, equation 12; Lu et al., 2022, arXiv:2211.01095, algorithm 2.

        Args:
            shape: how many, as of `sample`.
            context: as of `sample`.
            steps: passes of the network.
            order: 1 or 2.
            generator: as of `sample`.

        Raises:
            ValueError: no steps, another order.

        Example:
            >>> from anabranch.models import Diffusion
            >>> from anabranch.networks import VelocityMLP
            >>> Diffusion(VelocityMLP(2, hidden=(16,))).draw((3,), steps=5).shape
            torch.Size([3, 2])
        """
        steps = positive_int("steps", steps)
        if order not in (1, 2):
            raise ValueError(f"order: expected 1 or 2, got {order!r}")
        context = self._checked_context(context)
        drawn = as_draws("shape", shape)
        with torch.no_grad(), drawing(generator):
            z = self._begun(drawn, context)
            part = torch.linspace(0, 1, steps + 1, dtype=z.dtype, device=z.device)
            levels = torch.lerp(self._gamma(self.depth), self._gamma(0.0), part)
            return self._decoded(solved(z, levels, lambda z, gamma: self._noise(z, gamma, context), order))

    def flow(self, trace: Trace = "exact", solver: str | Solver = "adaptive") -> Flow:
        """The density of the differential equation whose solutions have the noisy densities of the chain: log p of
        z_0 / alpha_0, an array of the shape of z, exact up to the solver.

        Without decoder and embedding that is a density of x, and the only one of the three that is no bound. In general it
        is another density than the chain's: they agree where the network knows the noise exactly. Otherwise it is one of
        e(x) with noise of deviation sigma_0 / alpha_0. It holds the same parameters as this model, the ends of the schedule
        among them.
        Source: Song et al., 2021, arXiv:2011.13456, section 4.3 and appendix D.

        Args:
            trace: "exact", or "hutchinson", whose log-density is an estimate.
            solver: of `transforms.Continuous`.

        Example:
            >>> import torch
            >>> from anabranch.models import Diffusion
            >>> from anabranch.networks import VelocityMLP
            >>> from anabranch.transforms import Fixed
            >>> model = Diffusion(VelocityMLP(2, hidden=(16,)))
            >>> model.flow(solver=Fixed(steps=8)).log_prob(torch.zeros(3, 2)).shape
            torch.Size([3])
        """
        field = ProbabilityFlow(self.denoiser, self.schedule, self.predicts, self.depth)
        return Flow(Continuous(field, trace, solver), self.prior).train(self.training)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the decoder on what it reads of x, and the prior on the z at which the chain begins.

        Raises:
            ValueError: without a decoder, numbers far from deviation 1.
        """
        y = self._embedded(x)
        spread = float(y.detach().square().mean().sqrt()) if y.numel() else 1.0
        if self.decoder is None and not 1e-2 < spread < 1e2:
            raise ValueError(
                f"x: expected numbers of a mean square of about 1, since noise of that deviation is to cover them, got "
                f"{spread:.3g} for its root; scale them, or fit Flow(transforms.ActNorm({self.event_shape[0]}), "
                "base=Diffusion(...))"
            )
        if self.decoder is not None:
            self.decoder.initialize(x, self._for_decoder(self._read_by_decoder(y)))
        if not self._standard:
            self.prior.initialize(noised(y, self._gamma(self.depth), self._dims).z, context_for(self.prior, context))

    def _terms(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, y, broken = self._clean(x, context)
        return self._with_ends(x, y, self._one_step(y, context)[1], broken, context)

    def _one_step(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The number of a step for each event, from 0 on, and its divergence times the number of steps: (*batch) each."""
        number = (self._times(y) * self.steps).floor().clamp(max=self.steps - 1)
        begin, end = (self.schedule(self.depth * (number + k) / self.steps)[0] for k in (0, 1))
        return number, 0.5 * self.steps * (end - begin).expm1() * self._wrong(y, end, context)

    def _continuous(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The bound of infinitely many steps, the times that were drawn, and what they stand for, (*batch) each."""
        x, y, broken = self._clean(x, context)
        time = self.depth * self._times(y)
        gamma, rate = self.schedule(time)
        chain = 0.5 * self.depth * rate * self._wrong(y, gamma, context)
        log_likelihood, divergence = self._with_ends(x, y, chain, broken, context)
        return _difference(log_likelihood, divergence), time, chain

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        bound, time, chain = self._continuous(x, context)
        # where the chain begins earlier, the inside moves the level at which it does, and so the mean of the loss
        if self.training and self.schedule.learns_inside and self.depth == 1:
            return self.schedule.steered(time, chain) - bound
        return -bound

    def _lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._weighed(x, context, _difference)

    def _weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        return weigh(*self._terms(x, context))

    def _log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        x, y, broken = self._clean(x, context)
        walk = self._walk(y, context)
        noisy, gained = next(walk)
        beginning = self._from_prior(noisy, context, weight=True)
        for noisy, gained in walk:  # noqa: B007 (the last is wanted)
            pass
        log_w = beginning + gained + self._decoder._log_weight(x, self._for_decoder(self._unscaled(noisy.z)))
        return torch.where(broken, torch.nan, log_w)

    def _walk(self, y: Tensor, context: Tensor | None) -> Iterator[tuple[Noisy, Tensor]]:
        """z of every level from the beginning of the chain on, drawn of q(z | y), and log p - log q of the steps so far."""
        levels = self._levels()
        noisy = noised(y, levels[0], self._dims)
        gained = y.new_zeros(y.shape[: y.dim() - self._dims])
        yield noisy, gained
        for gamma, before in pairwise(levels):
            missed = noisy.noise - self._noise(noisy.z, gamma, context)
            z, drawn = earlier(noisy.z, noisy.noise, before, gamma)
            # log p(z_s | z_t) - log q(z_s | z_t, y): two normal densities of one variance, whose means lie `apart`
            # deviations from each other, at a draw of the second
            apart = (gamma - before).expm1().sqrt() * missed
            gained = gained + (apart * (drawn - 0.5 * apart)).flatten(y.dim() - self._dims).sum(dim=-1)
            noisy = noisy_of(z, y, before)
            yield noisy, gained

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        z = self._begun(shape, context)
        levels = self._levels()
        for gamma, before in pairwise(levels):
            z, _ = earlier(z, self._noise(z, gamma, context), before, gamma)
        return self._decoded(z)

    def _with_ends(
        self, x: Tensor, y: Tensor, chain: Tensor, broken: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The terms of the bound, of that of the chain."""
        log_likelihood, beginning = self._of_decoder(x, y), self._beginning(y, context)
        divergence = torch.stack(torch.broadcast_tensors(beginning, chain), dim=-1)
        return torch.where(broken, torch.nan, log_likelihood), torch.where(broken.unsqueeze(-1), torch.nan, divergence)

    def _of_decoder(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(x | z_0) of a draw of z_0, or a bound, (*batch)."""
        return self._decoder._lower_bound(x, self._for_decoder(self._read_by_decoder(y)))

    def _beginning(self, y: Tensor, context: Tensor | None) -> Tensor:
        """The divergence of z from the prior at the beginning of the chain, of a draw if there is no formula: (*batch)."""
        return -self._from_prior(noised(y, self._gamma(self.depth), self._dims), context, weight=False)

    def _from_prior(self, noisy: Noisy, context: Tensor | None, weight: bool) -> Tensor:
        """log p(z) - log q(z | y) at the beginning of the chain, or where there is a formula, its mean: (*batch)."""
        if self._standard and not weight:
            return -noisy.divergence_from_standard(self._dims)
        score = self.prior._log_weight if weight else self.prior._lower_bound
        return score(noisy.z, context_for(self.prior, context)) - noisy.log_prob(self._dims)

    def _read_by_decoder(self, y: Tensor) -> Tensor:
        """z_0 / alpha_0 of y, one draw."""
        return y + (0.5 * self._gamma(0.0)).exp() * torch.randn_like(y)

    def _for_decoder(self, u: Tensor) -> Tensor:
        """z_0 / alpha_0 as the decoder takes it."""
        return u if self._decoder.context_shape == self.denoiser.in_shape else u.flatten(u.dim() - self._dims)

    def _begun(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        """z at which chains begin, (*shape, *context batch, *shape of z)."""
        prior = self.prior
        return prior._sample(shape_for(self, prior, shape, context), context_for(prior, context))

    def _wrong(self, y: Tensor, gamma: Tensor, context: Tensor | None) -> Tensor:
        """|eps - eps_hat|^2, (*batch), of one draw of z at gamma (*batch)."""
        noisy = noised(y, gamma, self._dims)
        missed = noisy.noise - self._noise(noisy.z, gamma, context)
        return missed.flatten(y.dim() - self._dims).square().sum(dim=-1)

    def _noise(self, z: Tensor, gamma: Tensor, context: Tensor | None) -> Tensor:
        """eps_hat, of the shape of z (*batch, ...), at gamma (*batch) or one for all."""
        output = told(self.denoiser, self.schedule, z, gamma, context)
        return noise_of(output, self.predicts, z, along(gamma, self._dims))

    def _unscaled(self, z: Tensor) -> Tensor:
        """z_0 / alpha_0."""
        return z / signal_and_noise(self._gamma(0.0))[0]

    def _decoded(self, z: Tensor) -> Tensor:
        """A draw of x, of z_0."""
        return self._decoder._sample(torch.Size(), self._for_decoder(self._unscaled(z)))

    def _clean(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x with 0 for NaN, what is embedded of it, and which events had one."""
        x = at_every_context(self, x, context)
        broken = x.isnan().flatten(x.dim() - len(self.event_shape)).any(dim=-1)
        x = torch.where(x.isnan(), 0.0, x) if x.is_floating_point() else x
        return x, self._embedded(x), broken

    def _embedded(self, x: Tensor) -> Tensor:
        x = as_read(x, self)
        y: Tensor = x if self.embedding is None else self.embedding(x)
        return y

    def _times(self, y: Tensor) -> Tensor:
        """A time on [0, 1) for each event, (*batch): equally spaced from a random one on, so that each is uniform."""
        batch = y.shape[: y.dim() - self._dims]
        count = batch.numel()
        number = torch.arange(count, dtype=y.dtype, device=y.device) / max(1, count)
        return ((torch.rand((), dtype=y.dtype, device=y.device) + number) % 1.0).reshape(batch)

    def _levels(self) -> Tensor:
        """gamma at the ends of the steps, from the beginning of the chain on: (steps + 1)."""
        low = self._like_tensor
        number = torch.arange(self.steps, -1, -1, dtype=low.dtype, device=low.device)
        gamma: Tensor = self.schedule(self.depth * number / self.steps)[0]
        return gamma

    def _gamma(self, time: float) -> Tensor:
        """gamma at one time."""
        gamma: Tensor = self.schedule(torch.full_like(self._like_tensor, time))[0]
        return gamma

    @property
    def _like_tensor(self) -> Tensor:
        """Of the dtype and device of the model."""
        low: Tensor = self.schedule.low  # type: ignore[assignment]
        return low.detach()

    @property
    def _decoder(self) -> Density:
        return self._blurred[0] if self.decoder is None else self.decoder

    @property
    def _dims(self) -> int:
        """How many dimensions z has."""
        return len(self.denoiser.in_shape)

    def _like(self, **changes: object) -> Self:
        """A model of the same parts."""
        names = ("denoiser", "decoder", "embedding", "schedule", "prior", "depth", "predicts", "steps")
        parts = {name: getattr(self, name) for name in names} | ({"prior": None} if self._standard else {})
        return type(self)(**parts | changes).train(self.training)


def _difference(log_likelihood: Tensor, divergence: Tensor) -> Tensor:
    return log_likelihood - divergence.sum(dim=-1)
