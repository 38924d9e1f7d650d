"""Variational diffusion models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import as_draws, instance_of, one_of, positive_int, reference_tensor
from anabranch.densities import Density, Normal
from anabranch.densities.contexts import at_every_context, context_for, shape_for
from anabranch.densities.density import Weigh
from anabranch.draws import drawing
from anabranch.models.chain_ends import ChainEnds
from anabranch.models.decoded import Decoded
from anabranch.models.denoising import Predicts, noised
from anabranch.models.denoising_steps import solved
from anabranch.models.depths import difference
from anabranch.models.diffusion_parts import (
    check_decoder,
    check_denoiser,
    check_depth,
    check_embedding,
    check_prior,
    check_spread,
)
from anabranch.models.flow import Flow
from anabranch.models.noise_chain import NoiseChain
from anabranch.models.noise_schedule import LinearSchedule, NoiseSchedule
from anabranch.models.probability_flow import ProbabilityFlow
from anabranch.networks import Network
from anabranch.networks.reader import as_read
from anabranch.transforms import Continuous, Solver
from anabranch.transforms.continuous import Trace


class Diffusion(Decoded):
    r"""Noise that a network takes away in T steps: a chain of hidden variables whose posterior is fixed, and adds noise.

    .. math:: z_t = \alpha_t y + \sigma_t \epsilon, \quad y = e(x), \qquad
              p(x) = \int p(z_1) \prod_{i=1}^T p(z_{s_i} \mid z_{t_i})\, p(x \mid z_0)\, dz, \quad t_i = i / T,
              s_i = (i - 1) / T

    where p(z_s | z_t) is the posterior q(z_s | z_t, y) with the network's guess in place of y, and p(x | z_0) the decoder,
    which reads z_0 / \alpha_0 = y + (\sigma_0 / \alpha_0) \epsilon. Its bound is

    .. math:: \log p(x) \ge E[\log p(x \mid z_0)] - KL(q(z_1 \mid x) \,\|\, p(z_1))
              - \tfrac{T}{2} E_{i, \epsilon}\big[(e^{\gamma(t_i) - \gamma(s_i)} - 1)\,
              \| \epsilon - \hat\epsilon(z_{t_i}, \gamma(t_i)) \|^2\big]

    The two divergences of its `terms` are that of z at the beginning of the chain from the prior, and that of the steps (one
    step, times their number). `lower_bound` takes one step i for each event, spread evenly over the batch: one pass of the
    network. As T grows, the last term becomes 1/2 E[gamma'(t) |eps - eps_hat|^2] (`continuous_bound`), which is what `loss`
    is: one fit serves all T (`at_steps`). `estimate` weighs whole chains, T passes for each sample, and so comes to the
    log p(x) of T steps, whatever T is. `sample` takes the T steps, `draw` others: fewer, and without noise. `flow` is the
    density of the chain's differential equation, which is no bound.

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

    Attributes:
        chain: its levels of noise and its steps, one by one (`NoiseChain`).

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

    gaps = False

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
        self.denoiser = denoiser
        self.decoder = decoder
        self.embedding = embedding
        self.schedule = schedule
        self.prior = Normal.standard(shape) if prior is None else prior
        self.depth = check_depth(depth)
        self.predicts: Predicts = one_of("predicts", predicts, ("velocity", "noise"))  # type: ignore[assignment]
        self.steps = positive_int("steps", steps)
        # no modules, so that parameters have one name
        self.chain = NoiseChain(denoiser, schedule, self.predicts, self.depth, self.steps)
        self._ends = ChainEnds(self.chain, self.prior, decoder, standard=prior is None)
        self.reparameterized = all(part.reparameterized for part in self.parts())

    def parts(self) -> Sequence[Density]:
        """The prior, and the decoder if there is one."""
        return [self.prior] if self.decoder is None else [self.prior, self.decoder]

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
        return self._like(depth=depth, prior=prior, steps=max(1, round(self.steps * check_depth(depth) / self.depth)))

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
            levels = torch.lerp(self.chain.beginning, self.chain.end, part)
            return self._ends.decoded(solved(z, levels, lambda z, gamma: self._noise(z, gamma, context), order))

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
        if self.decoder is None:
            check_spread(y.detach())
        else:
            self.decoder.initialize(x, self._ends.for_decoder(self._ends.read(y)))
        if not self._ends.standard:
            z = noised(y, self.chain.beginning, self.chain.dims).z
            self.prior.initialize(z, context_for(self.prior, context))

    def _terms(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, y, broken = self._clean(x, context)
        return self._with_ends(x, y, self.chain.one_step(y, context)[1], broken, context)

    def _continuous(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The bound of infinitely many steps, the times that were drawn, and what they stand for, (*batch) each."""
        x, y, broken = self._clean(x, context)
        time, chain = self.chain.continuous(y, context)
        return difference(*self._with_ends(x, y, chain, broken, context)), time, chain

    def _with_ends(
        self, x: Tensor, y: Tensor, chain: Tensor, broken: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The terms of the bound, of that of the chain."""
        log_likelihood, beginning = self._ends.of_decoder(x, y), self._ends.of_prior(y, context)
        divergence = torch.stack(torch.broadcast_tensors(beginning, chain), dim=-1)
        return torch.where(broken, torch.nan, log_likelihood), torch.where(broken.unsqueeze(-1), torch.nan, divergence)

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        bound, time, chain = self._continuous(x, context)
        # where the chain begins earlier, the inside moves the level at which it does, and so the mean of the loss
        if self.training and self.schedule.learns_inside and self.depth == 1:
            return self.schedule.steered(time, chain) - bound
        return -bound

    def _lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._weighed(x, context, difference)

    def _weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        return weigh(*self._terms(x, context))

    def _log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        x, y, broken = self._clean(x, context)
        walk = self.chain.walk(y, context)
        noisy, _ = next(walk)
        beginning = self._ends.prior_weight(noisy, context)
        for noisy, gained in walk:  # noqa: B007 (the last is wanted)
            pass
        return torch.where(broken, torch.nan, beginning + gained + self._ends.decoder_weight(x, noisy.z))

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        *_, z = self.chain.descended(self._begun(shape, context), context)
        return self._ends.decoded(z)

    def _begun(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        """z at which chains begin, (*shape, *context batch, *shape of z)."""
        prior = self.prior
        return prior._sample(shape_for(self, prior, shape, context), context_for(prior, context))

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

    def _levels(self) -> Tensor:
        """gamma at the ends of the steps, from the beginning of the chain on: (steps + 1)."""
        return self.chain.levels()

    def _noise(self, z: Tensor, gamma: Tensor, context: Tensor | None) -> Tensor:
        """The network's guess at the noise in z."""
        return self.chain.noise(z, gamma, context)

    def _like(self, **changes: object) -> Self:
        """A model of the same parts."""
        names = ("denoiser", "decoder", "embedding", "schedule", "prior", "depth", "predicts", "steps")
        parts = {name: getattr(self, name) for name in names} | ({"prior": None} if self._ends.standard else {})
        made = type(self)(**parts | changes).train(self.training)
        like = reference_tensor(self)
        if made._ends.standard and like is not None:  # a prior that was made anew
            made.prior.to(like)
        return made
