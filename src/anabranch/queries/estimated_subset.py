"""Some columns of any density given some others, by importance sampling and Markov chains."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import matching, positive_int, read_tensor, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.densities.density import likelihood_in_words
from anabranch.draws import drawing
from anabranch.queries.columns import check_density, others, pairs, read_columns
from anabranch.queries.diagnostics import effective_samples, r_hat
from anabranch.queries.estimate import Estimate, ImpossibleError, QueryWarning
from anabranch.queries.importance import Joint, log_marginal, poor
from anabranch.queries.moves import Chains, Moves
from anabranch.queries.student_mixture import State, StudentMixture, stand_in, state_of

# the normaliser of a conditional is one number for all x, and may cost more
_NORMALISER = 16
_LEAST_EFFECTIVE = 50.0
_MOST_R_HAT = 1.1
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Diagnosis:
    """How well a conditional is known.

    Attributes:
        log_p: log p(observed), with its error.
        r_hat: rank-normalised split R-hat of each wanted column; about 1 where chains agree.
        effective_samples: what the chains' recorded states are worth for the mean of each wanted column.
        states: how many were recorded.
        accepted: the share of moves of each kind that were made, in the last sweep.
    """

    log_p: Estimate
    r_hat: Tensor
    effective_samples: Tensor
    states: int
    accepted: dict[str, float]


class EstimatedSubset(Density):
    r"""p(x_W | x_O = a) of any density: the columns W, given what was observed in O, all others integrated out.

    .. math:: \log p(x_W \mid a) = \log \int p(x_W, a, x_H)\, dx_H - \log \int p(a, x_H, x_W)\, dx_H\, dx_W

    `marginal` and `conditional` make one where there is no closed form. An integral over no column is exact; any other is
    estimated by importance sampling from a `StudentMixture` that stands in for the density, always with the same random
    numbers, so that log_prob stays what it is: `log_prob_with_error` gives its standard error. Samples are draws of the
    density with columns dropped, if nothing was observed, and otherwise the ends of Markov chains (`Moves`) that start from
    importance resampling; `diagnosis()` says how they mix. Gradients of log_prob are those by x, not by the parameters.

    The stand-in, and the chains, are made when first needed, and again when the density's parameters have changed.

    Args:
        density: any density over vectors, without a context.
        wanted: W, in the order wanted.
        observed: O.
        values: a, (observed,).
        proposals: draws for each integral; the one over O alone takes 16 times as many.
        chains: how many.
        moves: sweeps to warm up, and as many that are recorded.
        seed: of the random numbers for log_prob, the stand-in and the chains.

    Raises:
        ValueError: a column that does not exist or is named twice; values of another shape.

    Warns:
        QueryWarning: an effective sample size below 50, or chains whose R-hat is above 1.1.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.queries import EstimatedSubset
        >>> flow = ab.Flow(ab.flows.realnvp(features=2, blocks=2))
        >>> first = EstimatedSubset(flow, wanted=[0])
        >>> first.log_prob_with_error(torch.zeros(3, 1)).standard_error.shape
        torch.Size([3])
    """

    reparameterized = False

    def __init__(
        self,
        density: Density,
        wanted: Sequence[int],
        observed: Sequence[int] = (),
        values: Tensor | ArrayLike = (),
        proposals: int = 1024,
        chains: int = 256,
        moves: int = 32,
        seed: int = 0,
    ) -> None:
        features = check_density(density)
        if density.likelihood != "exact":
            raise ValueError(
                f"density: expected one whose likelihood is exact, to integrate it, got a {type(density).__name__}, "
                f"of which {likelihood_in_words(density)}"
            )
        if density.context_shape is not None:
            raise ValueError("density: expected one without a context, got one that takes one; AtContext gives it one")
        both = read_columns([*wanted, *observed], features)
        chosen, seen = both[: len(list(wanted))], both[len(list(wanted)) :]
        read_columns(chosen, features)
        like = reference_tensor(density)
        read = read_tensor("values", values, like).detach()
        if not isinstance(values, Tensor) and like is None:
            read = read.to(torch.get_default_dtype())
        matching("values", read, torch.Size([len(seen)]), None)
        # a file's description is read into a density that has not its dtype yet
        read = read if like is None else read.to(like)
        super().__init__((len(chosen),))
        self.density = density
        # in their order, as what stands in for the density has them
        order = sorted(range(len(seen)), key=lambda i: seen[i])
        self.wanted, self.observed = chosen, [seen[i] for i in order]
        self.register_buffer("values", read[order].clone())
        self.proposals = positive_int("proposals", proposals, least=2)
        self.chains = positive_int("chains", chains, least=4)
        self.moves = positive_int("moves", moves, least=4)
        self.seed = seed_number(seed)
        self._known: _Known | None = None

    @property
    def support(self) -> constraints.Constraint:
        """All vectors: where a marginal can be positive is not known; it is discrete where the density may be."""
        return _Anywhere(self.density.support.is_discrete)

    def log_prob_with_error(self, x: Tensor | ArrayLike) -> Estimate:
        """log p(x | observed), (*batch), nats, with its standard error and effective sample size.

        The error of a conditional has a part that all x share, that of log p(observed).
        """
        read, _ = self._checked(x, None)
        with torch.no_grad():
            return self._estimated(read)

    def diagnosis(self) -> Diagnosis:
        """How well the chains mix, and how well log p(observed) is known.

        Raises:
            ValueError: nothing was observed, so that there are no chains; what was observed has no probability.
        """
        if not self.observed:
            raise ValueError(
                "observed: expected some column, got none: samples are those of the density, and there are no chains"
            )
        return self._chains()[1]

    def normaliser(self) -> Estimate:
        """log p(observed), one number, with its error.

        Raises:
            ImpossibleError: what was observed has no probability.
        """
        known = self._remembered()
        if known.normaliser is None:
            features = self.density.event_shape[0]
            joint = Joint(self.density, self.observed, others(self.observed, features))
            with torch.no_grad():
                proposals = _NORMALISER * self.proposals
                found = log_marginal(joint, self._stand_in(), self._a.unsqueeze(0), proposals, self.seed + 1)
            if not bool(found.value > -torch.inf):
                raise ImpossibleError(
                    f"observed: expected values that are possible, got {pairs(self.observed, self._a)}: the density is 0 "
                    f"there, or below every float, at all of {proposals:,} completions; are they within its support?"
                )
            known.normaliser = found
            self._warn_of(float(found.effective_samples), proposals)
        return known.normaliser

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> EstimatedSubset:
        """An estimated one again, of the same density."""
        chosen, seen = [self.wanted[i] for i in wanted], [*self.observed, *(self.wanted[i] for i in observed)]
        a = self._a if values is None else torch.cat([self._a, values])
        subset = EstimatedSubset(self.density, chosen, seen, a, self.proposals, self.chains, self.moves, self.seed)
        if observed:
            subset.normaliser()  # what is impossible is found here, not with the first sample
        else:
            subset._known = _Known(state_of(subset), self._remembered().normaliser)
        return subset

    def walk(self) -> _Walk:
        """Chains that go on from where those of `diagnosis` ended, for means over many of their states."""
        known, _ = self._chains()
        if known.moves is None or known.ends is None:
            raise ValueError("observed: expected some column, got none")
        return _Walk(self, known.moves, known.ends)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        found = self._estimated(x)
        bad = poor(found.effective_samples, _LEAST_EFFECTIVE)
        if bool(bad.any()):
            worst = float(found.effective_samples[bad].min())
            warnings.warn(
                f"log_prob: {int(bad.sum())} of {bad.numel()} estimates rest on an effective sample size below "
                f"{_LEAST_EFFECTIVE:g}, the worst on {worst:.1f}; raise proposals, now {self.proposals:,}",
                QueryWarning,
                stacklevel=4,
            )
        return found.value

    def _estimate(self, x: Tensor, context: Tensor | None, samples: int | None) -> tuple[Tensor, Tensor]:
        found = self._estimated(x)
        return found.value, found.standard_error

    def _estimated(self, x: Tensor) -> Estimate:
        batch, rows = x.shape[:-1], x.reshape(-1, x.shape[-1])
        features = self.density.event_shape[0]
        seen = [*self.observed, *self.wanted]
        values = torch.cat([self._a.expand(len(rows), -1), rows], dim=-1)
        joint = Joint(self.density, seen, others(seen, features))
        if joint.hidden:
            top = log_marginal(joint, self._stand_in(), values, self.proposals, self.seed)
        else:
            top = _exact(joint.log_prob(values, values[:, :0]))
        value, error, effective = top.value, top.standard_error, top.effective_samples
        if self.observed:
            below = self.normaliser()
            value = value - below.value
            error = (error.square() + below.standard_error.square()).sqrt()
            effective = torch.minimum(effective, below.effective_samples)
        return Estimate(value.reshape(batch), error.reshape(batch), effective.reshape(batch), exact=False)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        if not self.observed:
            return self.density._sample(shape, None)[..., self.wanted]
        known, _ = self._chains()
        if known.moves is None or known.ends is None:
            raise ValueError("observed: expected some column, got none")
        count, pool = shape.numel(), known.ends.x
        drawn = [pool.new_zeros(0, len(self.wanted))]
        for begin in range(0, count, _ROWS_AT_A_TIME):
            many = min(_ROWS_AT_A_TIME, count - begin)
            # as many different starts as there are
            rounds = [torch.randperm(len(pool), device=pool.device) for _ in range(-(-many // len(pool)))]
            which = torch.cat(rounds)[:many]
            chains = Chains(pool[which], known.ends.log_p[which])
            for _ in range(known.thin):
                chains = known.moves.sweep(chains)
            drawn.append(chains.x[:, 0, self._places()])
        return torch.cat(drawn).reshape(*shape, len(self.wanted))

    @property
    def _a(self) -> Tensor:
        return self.get_buffer("values")

    def _places(self) -> list[int]:
        """Where the wanted columns are among those that were not observed."""
        free = others(self.observed, self.density.event_shape[0])
        return [free.index(i) for i in self.wanted]

    def _remembered(self) -> _Known:
        """What was worked out for the density as it is now."""
        state = state_of(self)
        if self._known is None or self._known.state != state:
            self._known = _Known(state)
        return self._known

    def _stand_in(self) -> StudentMixture:
        return stand_in(self.density, self.seed)

    def _chains(self) -> tuple[_Known, Diagnosis]:
        known = self._remembered()
        if known.diagnosis is not None:
            return known, known.diagnosis
        normaliser = self.normaliser()
        features = self.density.event_shape[0]
        joint = Joint(self.density, self.observed, others(self.observed, features))
        with drawing(self.seed), torch.no_grad():
            moves = Moves(joint, self._stand_in(), self._a.unsqueeze(0))
            chains, _ = moves.start(self.chains, _NORMALISER * self.proposals)
            chains = moves.warm_up(chains, self.moves)
            states = []
            for _ in range(self.moves):
                chains = moves.sweep(chains)
                states.append(chains.x[:, 0, self._places()])
        recorded = torch.stack(states).double().cpu()
        effective = torch.stack([effective_samples(column) for column in recorded.unbind(dim=-1)])
        spread = torch.stack([r_hat(column) for column in recorded.unbind(dim=-1)])
        count = recorded.shape[0] * recorded.shape[1]
        known.moves, known.ends = moves, chains
        # twice the autocorrelation time between a draw and where it started
        known.thin = min(50, max(2, math.ceil(2 * count / float(effective.min()))))
        known.diagnosis = Diagnosis(normaliser, spread, effective, count, dict(moves.accepted))
        if float(spread.max()) > _MOST_R_HAT:
            worst = self.wanted[int(spread.argmax())]
            warnings.warn(
                f"conditional: chains have not mixed, R-hat is {float(spread.max()):.2f} in column {worst}; raise moves, "
                f"now {self.moves}",
                QueryWarning,
                stacklevel=5,
            )
        return known, known.diagnosis

    def _warn_of(self, effective: float, proposals: int) -> None:
        if effective < _LEAST_EFFECTIVE:
            warnings.warn(
                f"conditional: log p(observed) rests on an effective sample size of {effective:.1f} of {proposals:,}; raise "
                f"proposals, now {self.proposals:,}",
                QueryWarning,
                stacklevel=6,
            )


@dataclass
class _Known:
    """What is worked out when first needed."""

    state: State
    normaliser: Estimate | None = None
    moves: Moves | None = None
    ends: Chains | None = None
    thin: int = 1
    diagnosis: Diagnosis | None = None


@dataclass
class _Walk:
    subset: EstimatedSubset
    moves: Moves
    chains: Chains

    def states(self, length: int) -> Tensor:
        """The next states of all chains: (length, chains, wanted)."""
        found = []
        with torch.no_grad():
            for _ in range(length):
                self.chains = self.moves.sweep(self.chains)
                found.append(self.chains.x[:, 0, self.subset._places()])
        return torch.stack(found)


class _Anywhere(constraints.Constraint):
    """All finite vectors."""

    event_dim = 1

    def __init__(self, is_discrete: bool) -> None:
        super().__init__()
        self.is_discrete = is_discrete

    def check(self, value: Tensor) -> Tensor:
        return value.isfinite().all(dim=-1)


def _exact(log_p: Tensor) -> Estimate:
    """With gradients, which `Estimate.closed` leaves out."""
    return Estimate(log_p, torch.zeros_like(log_p).detach(), torch.full_like(log_p, torch.inf).detach(), exact=True)
