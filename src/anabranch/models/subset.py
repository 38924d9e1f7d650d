"""Columns of the joint of a model of any order, given others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import instance_of, matching, positive_int, read_tensor, reference_tensor, seed_number
from anabranch.densities import AtContext, Density, Moments
from anabranch.densities.contexts import context_batch, context_rows, joint_batch
from anabranch.densities.log_weights import log_mean_weight
from anabranch.draws import drawing
from anabranch.families import ColumnByColumn, DistributionFunction, PointMasses
from anabranch.models.ordered_columns import OrderedColumns
from anabranch.models.weighted_completions import (
    chosen_completions,
    gaps_before_observed,
    last_place,
    resampled,
    weighted_completions,
)

# rows with their draws in one go
_ROWS = 2**14
# where all samples share what is given: draws for each sample, at least so many altogether, and at most so many for each
_CHOICES, _POOL, _MOST_CHOICES = 8, 2048, 128
# for each sample these draws shall be worth so many of equal weights
_WORTH = 4


class Subset(Density):
    r"""p(x_W | x_O) of the joint of an `AnyOrder` model, all other columns integrated out:

    .. math:: \log p(x_W \mid x_O) = \log p(x_W, x_O) - \log p(x_O).

    p of columns that come first in the model's order is exact, and so is the quotient of two such. Otherwise the columns
    that come between are integrated by importance sampling from the network's conditionals given what is observed
    (`weighted_completions`), always with the same random numbers of `seed`; `estimate` gives the standard error.

    Samples are independent draws of the joint where no gap stands before an observed column in the model's order.
    Otherwise they are so approximately, chosen among the network's draws by their weights. At given `values` there are 8
    draws for each sample, or more, up to 128, until these are worth 4 draws of equal weights; a draw comes again only if its
    weight is that of several. With a context there are 4 to 64 draws for each sample (`chosen_completions`).

    It shares the model's parameters. `AnyOrder.marginal` and `conditional` make one.

    Args:
        model: the model.
        wanted: the columns W, in the order wanted.
        observed: the columns O.
        values: what was observed, (len(observed),), NaN for nothing; without it the density has a context: the observed
            values, followed by the model's context if it has one.
        samples: draws for each integral.
        seed: of these.

    Raises:
        ValueError: a column that does not exist or is named twice; values of another shape.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.models import AnyOrder, Subset
        >>> model = AnyOrder(3, hidden=16)
        >>> Subset(model, wanted=[2, 0], observed=[1], values=[0.5]).sample((4,)).shape
        torch.Size([4, 2])
    """

    reparameterized = False

    def __init__(
        self,
        model: OrderedColumns,
        wanted: Sequence[int],
        observed: Sequence[int] = (),
        values: Tensor | ArrayLike | None = None,
        samples: int = 256,
        seed: int = 0,
    ) -> None:
        instance_of("model", model, OrderedColumns)
        chosen, seen = [int(i) for i in wanted], [int(i) for i in observed]
        features = model.event_shape[0]
        both = [*chosen, *seen]
        if not chosen or len(set(both)) < len(both) or not all(0 <= i < features for i in both):
            raise ValueError(
                f"columns: expected different numbers from 0 to {features - 1}, some of them wanted, "
                f"got {chosen} given {seen}"
            )
        own = 0 if model.context_shape is None else model.context_shape[0]
        size = own if values is not None or not seen else own + len(seen)
        super().__init__((len(chosen),), (size,) if size else None)
        self.model = model
        self.wanted = chosen
        self.observed = seen
        self.samples, self.seed = positive_int("samples", samples, least=2), seed_number(seed)
        if values is not None:
            like = reference_tensor(model)
            read = read_tensor("values", values, like).detach()
            matching("values", read, torch.Size([len(seen)]), None)
            # a file's description is read into a model that has not its dtype yet
            read = read if like is None else read.to(like)
            if read.dim() != 1:
                raise ValueError(f"values: expected shape ({len(seen)},), got {tuple(read.shape)}")
            self.register_buffer("values", read.clone())
        else:
            self.values = None

    def parts(self) -> Sequence[Density]:
        """The model, whose gaps are those of its columns."""
        return (self.model,)

    @property
    def support(self) -> constraints.Constraint:
        """Every column holds a value that its family can be, or a gap."""
        return ColumnByColumn([self.model.family(i) for i in self.wanted])

    @property
    def closed(self) -> bool:
        """Whether log_prob has no integral: the observed columns come first in the model's order, the wanted ones next."""
        places = [self.model.order.index(i) for i in (*self.observed, *self.wanted)]
        seen = len(self.observed)
        first = sorted(places[:seen]) == list(range(seen)) and sorted(places) == list(range(len(places)))
        return self.model.orders == 1 and first

    def relative_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """What rises and falls with log_prob, without integrals, (*batch), nats: for climbing to a mode.

        log_prob where that has none. Otherwise, where W and O are all columns, log p(x_W, x_O), and else
        log p(x_W | x_O) as the network says it directly, O first and the columns W next in their order.
        """
        if self.closed:
            return self.log_prob(x, context)
        x, context = self._checked(x, context)
        batch = joint_batch(self, x, context)
        filled, own = self._filled(batch, context, x)
        filled[..., self.wanted] = x.expand(*batch, -1)
        if len(self.wanted) + len(self.observed) == self.model.columns:
            return self.model.log_prob(filled, own)
        return self.model.terms(filled, self.wanted, self.observed, own).sum(dim=-1)

    def point_masses(self, most: int, like: Tensor) -> list[PointMasses]:
        """What the families of the columns say."""
        return [self.model.family(i).point_masses(most, like) for i in self.wanted]

    def _given(self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None) -> Density:
        before, own = self.values, context
        if before is None and self.observed and context is not None:
            before, own = context[: len(self.observed)], context[len(self.observed) :]
        both = [one for one in (before, values) if one is not None]
        seen = [*self.observed, *(self.wanted[i] for i in observed)]
        subset = Subset(self.model, [self.wanted[i] for i in wanted], seen, torch.cat(both) if both else None)
        return subset if subset.context_shape is None or own is None else AtContext(subset, own)

    def _moments(self, context: Tensor | None) -> Moments | None:
        """The mean of an only column that has no integral."""
        if not self.closed or len(self.wanted) > 1:
            return None
        return Moments(self.model.family(self.wanted[0]).mean(self._only_parameters(context)).unsqueeze(-1), None)

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        if not self.closed:
            return None
        return self.model.family(self.wanted[0]).distribution_function(self._only_parameters(context))

    def _only_parameters(self, context: Tensor | None) -> Tensor:
        filled, own = self._filled(context_batch(self, context), context, self.model.network.heads.weight)
        return self.model.parameters_given(filled, self.wanted[0], own)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._estimate(x, context, None)[0]

    def _estimate(self, x: Tensor, context: Tensor | None, samples: int | None) -> tuple[Tensor, Tensor]:
        # log_prob with its error, 0 where there is no integral: draws are those of the seed, and differentiable by x
        batch = joint_batch(self, x, context)
        filled, own = self._filled(batch, context, x)
        rows = context_rows(self.model, own, batch)
        both = filled.clone()
        both[..., self.wanted] = x.expand(*batch, -1)
        log_p, error = self._log_marginal(both.reshape(-1, both.shape[-1]), rows, samples)
        if self.observed:
            seen = filled.reshape(-1, filled.shape[-1])
            if context is None:  # one number for all
                seen = seen[:1]
            log_seen, error_seen = self._log_marginal(seen, None if rows is None else rows[: len(seen)], samples)
            impossible = log_p.isneginf() & log_seen.isneginf()
            log_p = torch.where(impossible, -torch.inf, log_p - log_seen)
            error = (error.square() + error_seen.square()).sqrt()
        return log_p.reshape(batch), error.reshape(batch)

    def _log_marginal(self, x: Tensor, context: Tensor | None, samples: int | None) -> tuple[Tensor, Tensor]:
        """log p of what rows (n, D) have, (n), and its standard error; differentiable by x, the draws held."""
        model, samples = self.model, self.samples if samples is None else samples
        observed = ~x.isnan()
        upto = last_place(model, observed.any(dim=0)) if len(x) else -1
        before = model.order[: upto + 1]
        if bool(observed[:, before].all()):
            if model.orders > 1:
                return model.log_prob(x, context), x.new_zeros(len(x))
            return model.terms(x, before, context=context).sum(dim=-1), x.new_zeros(len(x))
        found = []
        size = max(1, _ROWS // samples)
        for k in range(0, len(x), size):
            some = x[k : k + size].expand(samples, -1, -1)
            given = None if context is None else context[k : k + size].expand(samples, -1, -1)
            # the same numbers for every row: what one is given depends on no other
            with drawing(self.seed, alike=1):
                found.append(log_mean_weight(weighted_completions(model, some, given, observed.any(dim=0))[1]))
        log_p, errors = zip(*found, strict=True)
        return torch.cat(log_p), torch.cat(errors)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        batch = shape + context_batch(self, context)
        rows = context_rows(self, context, batch)
        like = self.model.network.heads.weight
        filled, own = self._filled(torch.Size([batch.numel()]), rows, like)
        needed = torch.zeros(self.model.columns, dtype=torch.bool, device=like.device)
        needed[self.wanted] = True
        if not self.observed and self.model.orders > 1:
            whole = (
                self.model._sample(torch.Size([len(filled)]), None)
                if own is None
                else self.model._sample(torch.Size(), own)
            )
            return whole[:, self.wanted].reshape(*batch, len(self.wanted))
        pieces = []
        for k in range(0, len(filled), _ROWS):
            some = filled[k : k + _ROWS]
            given = None if own is None else own[k : k + _ROWS]
            if context is None and bool(gaps_before_observed(self.model, some[:1])):
                pieces.append(self._of_pool(some[:1], len(some), needed))
            else:
                pieces.append(chosen_completions(self.model, some, given, needed))
        drawn = torch.cat(pieces) if pieces else filled
        return drawn[:, self.wanted].reshape(*batch, len(self.wanted))

    def _of_pool(self, x: Tensor, count: int, needed: Tensor) -> Tensor:
        """So many rows with the columns needed drawn, of one row (1, D): (count, D)."""
        size = max(_POOL, _CHOICES * count)
        pool: list[tuple[Tensor, Tensor]] = []
        while True:
            pool += [
                weighted_completions(self.model, x.expand(min(_ROWS, size - k), -1), None, needed)
                for k in range(sum(len(rows) for rows, _ in pool), size, _ROWS)
            ]
            log_w = torch.cat([log_w for _, log_w in pool])
            worth = 1 / torch.softmax(log_w, dim=0).square().sum()
            if bool(worth >= _WORTH * count) or 2 * size > max(_POOL, _MOST_CHOICES * count):
                break
            size *= 2
        return torch.cat([rows for rows, _ in pool])[resampled(log_w.unsqueeze(-1), count).squeeze(-1)]

    def _filled(self, batch: torch.Size, context: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows of the model that hold what was observed and gaps elsewhere, and the model's own context."""
        filled = like.new_full((*batch, self.model.event_shape[0]), torch.nan)
        values, own = self.values, context
        if values is None and self.observed and context is not None:
            values, own = context.split([len(self.observed), context.shape[-1] - len(self.observed)], dim=-1)
        if values is not None:
            filled[..., self.observed] = values.expand(*batch, -1)
        own = None if self.model.context_shape is None or own is None else own.expand(*batch, -1)
        return filled, own
