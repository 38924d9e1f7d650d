"""Gaps filled."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import finite_rows, one_of, positive_int, read_tensor, reference_tensor
from anabranch.densities import Density, at_context
from anabranch.densities.reordered import given
from anabranch.draws import drawing
from anabranch.families.draw_levels import draw_levels
from anabranch.queries.columns import check_density, others
from anabranch.queries.diagnostics import r_hat
from anabranch.queries.estimate import QueryWarning
from anabranch.queries.importance import Joint, poor
from anabranch.queries.impute_any_order import best_guess, fill
from anabranch.queries.impute_weighted import best_rows, completes, drawn_rows
from anabranch.queries.moves import Moves
from anabranch.queries.possible import check_possible
from anabranch.queries.student_mixture import StudentMixture, discrete_columns, stand_in
from anabranch.transforms.domain import is_everything

# draws behind a single best, where it has no formula
_BEHIND_A_BEST = 256
_CHAINS = 16
# weighted draws of a row
PROPOSALS = 512
_LEAST_EFFECTIVE = 30.0
_MOST_R_HAT = 1.3
_EVENTS = 2**16


def impute(
    density: Density,
    rows: Tensor | ArrayLike,
    draws: int = 1,
    best: bool | str = False,
    context: Tensor | ArrayLike | None = None,
    *,
    proposals: int = PROPOSALS,
    moves: int = 16,
    seed: int | None = None,
) -> Tensor:
    r"""Rows whose gaps (NaN) are filled from p(gaps | what was observed of the row); what was observed stays, bit for bit.

    Draws are exact for Gaussians and their mixtures, closed forms, products, and mixtures of those. Of an `AnyOrder` they
    are exact where all gaps of a row come behind what was observed in its order, and otherwise approximately those of its
    joint, by importance resampling from 4 to 64 draws of the network (`impute_any_order.fill`). Of densities with hidden
    variables that take NaN for gaps (`vaes.vae(gaps=True)`) they are chosen by their weights from `proposals` draws of
    posterior and decoder. Of all else each row has chains, by importance resampling and the moves of `conditional`.

    Several draws are multiple imputations: what is computed from each differs by as much as is not known. The single best
    minimises an expected error instead, and has no spread: the mean, or median, of a continuous column, the most probable
    value of a discrete one; of a column on a `Lattice` the point nearest to the mean, or the median. As a mean it is exact
    for Gaussian mixtures. Of `AnyOrder` it is exact for a gap next after all that was observed in its order, and otherwise
    the network's answer, corrected by 16 to 256 weighted draws of the joint (`impute_any_order.best_guess`); the seed plays
    no part there. With hidden variables it is that of the weighted draws; of all else that of 256 draws.
    Source: Mattei and Frellsen, 2019, arXiv:1812.02633, section 3 (hidden variables: self-normalised importance sampling).

    Args:
        density: any density over vectors.
        rows: (rows, D), NaN for a gap; of the density's dtype.
        draws: how many.
        best: True or "mean", or "median", for the single best in place of draws.
        context: (context features,) for all rows, or (rows, context features), for a density that takes one.
        proposals: where there is no closed form, weighted draws of each row; or draws from a stand-in from which the
            chains of each row start.
        moves: sweeps of those chains.
        seed: of the draws; by default torch's global generator goes on.

    Returns:
        (draws, rows, D), or (rows, D) for the best.

    Raises:
        ValueError: rows of another shape or dtype, or infinite; a row whose observed values are impossible.

    Warns:
        QueryWarning: chains of some rows that have not mixed, or weights that are worth few draws.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 1.0], [4.0, 2.0]])
        >>> rows = torch.tensor([[4.0, torch.nan], [torch.nan, torch.nan]])
        >>> ab.queries.impute(mixture, rows, draws=5).shape
        torch.Size([5, 2, 2])
        >>> ab.queries.impute(mixture, rows, best=True)
        tensor([[4.0000, 1.9997],
                [2.0000, 1.5000]])
    """
    features = check_density(density)
    like = reference_tensor(density)
    x = read_tensor("rows", rows, like)
    if x.dim() != 2 or x.shape[1] != features or not x.is_floating_point():
        raise ValueError(f"rows: expected floating-point numbers of shape (rows, {features}), got {tuple(x.shape)}")
    if like is not None and (x.dtype != like.dtype or x.device != like.device):
        raise ValueError(f"rows: expected {like.dtype} on {like.device} (the density's), got {x.dtype} on {x.device}")
    finite_rows("rows", x, gaps=True)
    kind = None if best is False else one_of("best", "mean" if best is True else best, ("mean", "median"))
    draws, proposals = positive_int("draws", draws), positive_int("proposals", proposals, least=2)
    moves = positive_int("moves", moves, least=4)
    contexts = density._checked_context(context)
    if contexts is not None:
        contexts = contexts.expand(len(x), -1)
    filler = _Filler(proposals, moves)
    with torch.no_grad(), drawing(seed):
        drawn = kind is None
        filled = filler.draws(density, x, contexts, draws) if drawn else filler.best(density, x, contexts, str(kind))
    filler.warn()
    # by choice, not by arithmetic: what was observed is what it was
    return torch.where(x.isnan(), filled, x)


class _Filler:
    def __init__(self, proposals: int, moves: int) -> None:
        self.proposals, self.moves = proposals, moves
        self.rows, self.poor, self.worst = 0, 0, 0.0
        self.weighed, self.few = 0, 0

    def draws(self, density: Density, x: Tensor, contexts: Tensor | None, count: int) -> Tensor:
        """(count, rows, D)."""
        found = density.any_order(contexts)
        if found is not None:
            model, own = found
            many = None if own is None else own.expand(len(x), -1).repeat(count, 1)
            return fill(model, x.repeat(count, 1), many).reshape(count, *x.shape)
        if completes(density, x, contexts):
            drawn, effective = drawn_rows(density, x, contexts, count, max(count, self.proposals))
            self._note_weights(effective)
            return drawn
        result = x.expand(count, *x.shape).clone()
        for at, c in _by_context(contexts, len(x), x.device):
            result[:, at] = self._at_one(at_context(density, c), x[at], count)
        return result

    def best(self, density: Density, x: Tensor, contexts: Tensor | None, kind: str) -> Tensor:
        """(rows, D)."""
        found = density.any_order(contexts)
        if found is not None:
            model, own = found
            return best_guess(model, x, kind, None if own is None else own.expand(len(x), -1))
        if completes(density, x, contexts):
            guess, effective = best_rows(density, x, contexts, kind, self.proposals)
            self._note_weights(effective)
            return guess
        everywhere = is_everything(density.support)
        if kind == "mean" and everywhere:
            known = [(at, _mean(at_context(density, c), x[at])) for at, c in _by_context(contexts, len(x), x.device)]
            result = x.clone()
            for at, mean in known:
                if mean is not None:
                    result[at] = mean
            if all(mean is not None for _, mean in known):
                return result
        drawn = self.draws(density, x, contexts, _BEHIND_A_BEST)
        columns = range(x.shape[1])
        discrete = set() if everywhere else set(_discrete(density, contexts))
        each = [_most_frequent(drawn[..., i]) if i in discrete else _middle(drawn[..., i], kind) for i in columns]
        return torch.stack(each, dim=-1)

    def _means(self, density: Density, x: Tensor, contexts: Tensor | None) -> Tensor | None:
        result = x.clone()
        for at, c in _by_context(contexts, len(x), x.device):
            mean = _mean(at_context(density, c), x[at])
            if mean is None:
                return None
            result[at] = mean
        return result

    def _at_one(self, density: Density, x: Tensor, count: int) -> Tensor:
        """Of a density without a context: (count, rows, D)."""
        if density.any_order(None) is not None:
            return self.draws(density, x, None, count)
        factors = density.factors(None)
        if factors is not None:
            pieces = zip(factors, x.split([part.event_shape[0] for part in factors], dim=-1), strict=True)
            return torch.cat([self._at_one(part, piece, count) for part, piece in pieces], dim=-1)
        apart = density.summands(None)
        columns = range(x.shape[1])
        if apart is not None and all(given(part, [i]) is not None for part in apart[0] for i in columns):
            return self._of_mixture(*apart, x, count)
        result = x.expand(count, *x.shape).clone()
        for rows, observed in _by_pattern(x):
            if not observed:
                result[:, rows] = density.sample((count, len(rows)))
                continue
            hidden = others(observed, x.shape[1])
            seen = x[rows][:, observed]
            drawn = _conditional_draws(density, observed, seen, rows, count)
            if drawn is None:
                joint = Joint(density, observed, hidden)
                drawn = self._by_chains(joint, stand_in(density, seed=0), seen, rows, count)
            filled = result[:, rows]
            filled[..., hidden] = drawn
            result[:, rows] = filled
        return result

    def _of_mixture(self, parts: list[Density], log_weights: Tensor, x: Tensor, count: int) -> Tensor:
        """A component for each draw, as probable as what was observed makes it; the gaps are then that component's."""
        joint = log_weights.to(x).expand(len(x), -1).clone()
        for rows, observed in _by_pattern(x):
            if observed:
                seen = x[rows][:, observed]
                joint[rows] += torch.stack([_marginal(part, observed).log_prob(seen) for part in parts], dim=-1)
        check_possible(torch.logsumexp(joint, dim=-1), torch.arange(len(x)))
        chosen = draw_levels(joint, torch.Size([count]))
        result = x.expand(count, *x.shape).clone()
        for k, part in enumerate(parts):
            own = (chosen == k).nonzero()
            if len(own):
                result[own[:, 0], own[:, 1]] = self._at_one(part, x[own[:, 1]], 1)[0]
        return result

    def _by_chains(self, joint: Joint, mixture: StudentMixture, seen: Tensor, rows: Tensor, count: int) -> Tensor:
        """(count, rows, H)."""
        chains = max(_CHAINS, count)
        drawn = []
        for some, numbers in zip(
            seen.split(max(1, _EVENTS // self.proposals)), rows.split(max(1, _EVENTS // self.proposals)), strict=True
        ):
            moves = Moves(joint, mixture, some)
            state, (log_p, _, effective) = moves.start(chains, self.proposals)
            check_possible(log_p, numbers)
            state = moves.warm_up(state, self.moves)
            states = []
            for _ in range(self.moves):
                state = moves.sweep(state)
                states.append(state.x)
            self._note(torch.stack(states), effective)
            drawn.append(state.x[torch.randperm(chains, device=seen.device)[:count]])
        return torch.cat(drawn, dim=1)

    def _note(self, states: Tensor, effective: Tensor) -> None:
        """R-hat of the rows that had few effective draws to start from; of the others these speak."""
        self.rows += states.shape[2]
        for row in poor(effective, _LEAST_EFFECTIVE).nonzero().squeeze(-1).tolist():
            spread = max(float(r_hat(column)) for column in states[:, :, row].cpu().unbind(dim=-1))
            self.poor += spread > _MOST_R_HAT
            self.worst = max(self.worst, spread)

    def _note_weights(self, effective: Tensor) -> None:
        self.weighed += int(effective.isfinite().sum())
        self.few += int(poor(effective, _LEAST_EFFECTIVE).sum())

    def warn(self) -> None:
        if self.few:
            warnings.warn(
                f"impute: the weighted draws of {self.few} of {self.weighed} rows are worth fewer than "
                f"{_LEAST_EFFECTIVE:.0f}; raise proposals, now {self.proposals}",
                QueryWarning,
                stacklevel=3,
            )
        if self.poor:
            warnings.warn(
                f"impute: chains of {self.poor} of {self.rows} rows have not mixed, R-hat is up to {self.worst:.2f}; raise "
                f"moves, now {self.moves}, or proposals, now {self.proposals}",
                QueryWarning,
                stacklevel=3,
            )


def _by_pattern(x: Tensor) -> Iterator[tuple[Tensor, list[int]]]:
    """Rows with a gap that have the same columns observed, and these."""
    gaps = x.isnan()
    some = gaps.any(dim=-1).nonzero().squeeze(-1)
    patterns, which = gaps[some].unique(dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        yield some[which == number], (~pattern).nonzero().squeeze(-1).tolist()


def _by_context(contexts: Tensor | None, rows: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Rows that have the same context, and that."""
    if contexts is None:
        yield torch.arange(rows, device=device), None
        return
    different, which = contexts.unique(dim=0, return_inverse=True)
    for number, context in enumerate(different):
        yield (which == number).nonzero().squeeze(-1), context


def _marginal(density: Density, columns: list[int]) -> Density:
    found = given(density, columns)
    if found is None:
        raise ValueError(f"density: expected one whose marginals have a closed form, got {type(density).__name__}")
    return found


def _conditional_draws(density: Density, observed: list[int], seen: Tensor, rows: Tensor, count: int) -> Tensor | None:
    """(count, rows, H) of the conditional in closed form, given what rows have (rows, O); None without one."""
    marginal = given(density, observed)
    if marginal is None:
        return None
    check_possible(marginal.log_prob(seen), rows)
    of_context = density.conditional(observed)
    if of_context is not None:
        return of_context.sample((count,), seen)
    drawn = []
    for values in seen:
        one = density.conditional(observed, values)
        if one is None:
            return None
        drawn.append(one.sample((count,)))
    return torch.stack(drawn, dim=1)


def _mean(density: Density, x: Tensor) -> Tensor | None:
    """Rows with their gaps' means given what they have; None without a closed form for rows of any values, or a mean."""
    factors = density.factors(None)
    if factors is not None:
        pieces = zip(factors, x.split([part.event_shape[0] for part in factors], dim=-1), strict=True)
        means = [_mean(part, piece) for part, piece in pieces]
        known = [mean for mean in means if mean is not None]
        return torch.cat(known, dim=-1) if len(known) == len(means) else None
    result = x.clone()
    for rows, observed in _by_pattern(x):
        of_context = density.conditional(observed) if observed else density
        if of_context is None:
            return None
        seen = x[rows][:, observed] if observed else None
        moments = of_context.moments(seen)
        if moments is None or not bool(moments.mean.isfinite().all()):
            return None
        if seen is not None:
            check_possible(_marginal(density, observed).log_prob(seen), rows)
        filled = result[rows]
        filled[:, others(observed, x.shape[1])] = moments.mean
        result[rows] = filled
    return result


def _discrete(density: Density, contexts: Tensor | None) -> list[int]:
    first = None if contexts is None or not len(contexts) else contexts[0]
    return discrete_columns(density, density.sample((1024,), first))


def _most_frequent(x: Tensor) -> Tensor:
    """Of draws (count, rows)."""
    return x.mode(dim=0).values


def _middle(x: Tensor, kind: str) -> Tensor:
    return x.mean(dim=0) if kind == "mean" else x.median(dim=0).values
