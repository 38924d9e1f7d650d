"""What a fit minimises, and how such things add up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from anabranch.densities import Density, Mixture


class Batch:
    """Rows of one step as objectives see them; what several of them need is computed once.

    Args:
        density: what is being fitted.
        x: (rows, *event).
        context: (rows, c), or None.
        labels: (rows), the component of each row, -1 where it is not known; None if there are none at all.
        numbers: (rows), which of the training rows these are.
        progress: the share of the fit that is done, in [0, 1).
    """

    def __init__(
        self,
        density: Density,
        x: Tensor,
        context: Tensor | None,
        labels: Tensor | None,
        numbers: Tensor,
        progress: float,
    ) -> None:
        self.density = density
        self.x = x
        self.context = context
        self.labels = labels
        self.numbers = numbers
        self.progress = progress

    @property
    def mixture(self) -> Mixture:
        """The density, which has to be a mixture."""
        return as_mixture(self.density)

    @cached_property
    def joint(self) -> Tensor:
        """log p(x, k), or what a fit takes for it, -`joint_loss`: (rows, components)."""
        return -self.mixture.joint_loss(self.x, self.context)

    @cached_property
    def log_q(self) -> Tensor:
        """log q(k | x): (rows, components), the mixture's own posterior, exact or a network's."""
        if not self.mixture.variational:
            return torch.log_softmax(self.joint, dim=-1)
        return self.mixture.log_posterior(self.x, self.context)


class UnsettledWarning(UserWarning):
    """A fit that ended while its objective still changed what is fitted."""


class Objective(ABC):
    """One number for each row, to be minimised in the mean, as a `fit` takes it.

    Objectives add up and take weights: `Likelihood() + 10 * Consistency(0.1)`. To write your own, define `__call__`; one
    that wants to check or prepare something before the first step, or to act after each epoch or at the end, defines
    `prepare`, `after_epoch` or `finish` too.

    What a fit asks of it has answers here, which a class of yours may give otherwise, as attributes or as properties:
    `uses_labels`, `by_epochs`, `phases`, `settled`, `comparable`, `static`, `holds_labels`, `reads_rows` and
    `takes_streams`.
    """

    @property
    def uses_labels(self) -> bool:
        """Whether it reads the labels of a batch. A fit with labels wants one that does."""
        return True

    @property
    def by_epochs(self) -> bool:
        """Whether it acts after epochs, or goes by the share of the fit that is done. Then a fit needs epochs."""
        return True

    @property
    def phases(self) -> tuple[float, ...]:
        """Shares of a fit, rising, at which its phases end at the latest. `next_phase` is called then."""
        return ()

    @property
    def settled(self) -> bool:
        """False as long as it still changes what is fitted: a fit goes on then whatever its patience, and keeps no earlier
        weights.
        """
        return True

    @property
    def comparable(self) -> bool:
        """Whether the loss of the validation rows judges the present phase. Where such a phase ends, a fit within a budget
        of time goes on from its best weights.
        """
        return False

    @property
    def static(self) -> bool:
        """Whether every call is the same operations on tensors, whatever the share of the fit that is done, and no number is
        read off a device, so that a CUDA graph can hold it.
        """
        return False

    @property
    def holds_labels(self) -> bool:
        """Whether labels count to the end, so that a row is impossible once its label's component has ended."""
        return self.uses_labels

    @property
    def reads_rows(self) -> bool:
        """Whether `prepare` reads the rows, and not the density alone: by default, if a class defines it."""
        return type(self).prepare is not Objective.prepare

    @property
    def takes_streams(self) -> bool:
        """Whether it does without rows in memory: `prepare` is shown none of a `RowStream`. By default if it reads none."""
        return not self.reads_rows

    @abstractmethod
    def __call__(self, batch: Batch) -> Tensor:
        """(rows), nats."""

    def prepare(self, rows: Batch, epochs: int) -> None:  # noqa: B027 (may be overridden)
        """Called once, before the first step.

        Args:
            rows: all training rows, with their labels if those hold (`holds_labels`); none, (0, *event), if it reads none
                (`reads_rows`), or where they do not lie in memory.
            epochs: of the fit, at most.

        Raises:
            ValueError: the density is none that this objective can work on.
        """

    def next_phase(self) -> None:  # noqa: B027 (may be overridden)
        """Called when a phase ends: as often as there are `phases`, in a fit that comes so far."""

    def after_epoch(self, density: Density, rows: int) -> bool | None:  # noqa: B027 (may be overridden)
        """Called after every epoch, with the number of training rows.

        Returns:
            whether it changed the density's weights, whose running mean then begins anew.
        """

    def finish(self, density: Density) -> bool | None:  # noqa: B027 (may be overridden)
        """Called when a fit ends, also by an exception; the density has the weights by then that the fit would leave it.

        Returns:
            whether it changed them.
        """

    def state(self) -> dict[str, Any]:
        """What changes in a fit, for checkpoints: plain values and tensors. May be overridden; by default all attributes."""
        return dict(vars(self))

    def restore(self, state: dict[str, Any], density: Density) -> None:
        """Go on from what `state` gave, after `prepare`. May be overridden.

        Args:
            state: of the same objective in an earlier part of the fit.
            density: with its weights of then.
        """
        vars(self).update(state)

    def validation_loss(self, density: Density, x: Tensor, context: Tensor | None) -> Tensor:
        """What validation rows are judged by, (rows), nats, with the same draws at every call; may be overridden. By default
        and of a sum it is the negative lower bound of the density.
        """
        return -density.lower_bound(x, context, generator=0)

    def __add__(self, other: Objective) -> Objective:
        return Sum([(1.0, self), (1.0, other)])

    def __mul__(self, weight: float) -> Objective:
        return Sum([(float(weight), self)])

    __rmul__ = __mul__


class Sum(Objective):
    """A weighted sum of objectives.

    Args:
        terms: weights and objectives.
    """

    def __init__(self, terms: list[tuple[float, Objective]]) -> None:
        self.terms: list[tuple[float, Objective]] = []
        self._ended = 0
        for weight, term in terms:
            if not isinstance(term, Objective):
                raise ValueError(f"objective: expected an Objective, got {type(term).__name__}")
            self.terms += [(weight * w, t) for w, t in term.terms] if isinstance(term, Sum) else [(weight, term)]

    @property
    def uses_labels(self) -> bool:
        """Whether some term does."""
        return any(term.uses_labels for _, term in self.terms)

    @property
    def by_epochs(self) -> bool:
        """Whether a term is."""
        return any(term.by_epochs for _, term in self.terms)

    @property
    def phases(self) -> tuple[float, ...]:
        """Those of all terms."""
        return tuple(sorted({share for _, term in self.terms for share in term.phases}))

    def next_phase(self) -> None:
        share = self.phases[self._ended]
        self._ended += 1
        for _, term in self.terms:
            if share in term.phases:
                term.next_phase()

    @property
    def holds_labels(self) -> bool:
        """Whether some term does."""
        return any(term.holds_labels for _, term in self.terms)

    def __call__(self, batch: Batch) -> Tensor:
        total = batch.x.new_zeros(len(batch.x))
        for weight, term in self.terms:
            total = total + weight * term(batch)
        return total

    def prepare(self, rows: Batch, epochs: int) -> None:
        self._ended = 0
        for _, term in self.terms:
            term.prepare(rows, epochs)

    @property
    def settled(self) -> bool:
        """Whether every term is."""
        return all(term.settled for _, term in self.terms)

    @property
    def comparable(self) -> bool:
        """Whether all are."""
        return all(term.comparable for _, term in self.terms)

    @property
    def static(self) -> bool:
        """Whether all are."""
        return all(term.static for _, term in self.terms)

    @property
    def reads_rows(self) -> bool:
        """Whether a term does."""
        return any(term.reads_rows for _, term in self.terms)

    @property
    def takes_streams(self) -> bool:
        """Whether all do."""
        return all(term.takes_streams for _, term in self.terms)

    def state(self) -> dict[str, Any]:
        return {"ended": self._ended, "terms": [term.state() for _, term in self.terms]}

    def restore(self, state: dict[str, Any], density: Density) -> None:
        self._ended = state["ended"]
        for (_, term), own in zip(self.terms, state["terms"], strict=True):
            term.restore(own, density)

    def after_epoch(self, density: Density, rows: int) -> bool:
        changed = [bool(term.after_epoch(density, rows)) for _, term in self.terms]
        return any(changed)

    def finish(self, density: Density) -> bool:
        changed = [bool(term.finish(density)) for _, term in self.terms]
        return any(changed)


def as_mixture(density: Density) -> Mixture:
    """The density itself, if it is a mixture.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(density, Mixture):
        raise ValueError(f"density: expected a Mixture for this objective, got a {type(density).__name__}")
    return density
