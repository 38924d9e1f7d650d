"""Rows with gaps, completed by draws while a density learns: stochastic expectation maximisation."""

from __future__ import annotations

import copy
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from anabranch.checks import fraction, positive_int
from anabranch.densities import Density
from anabranch.objectives.objective import Batch, Objective
from anabranch.torch_internals import foreach_lerp

# of the mean over steps of the weights by which gaps are drawn
_DECAY = 0.9


@runtime_checkable
class Completes(Protocol):
    """A density that draws the gaps of rows, and has a loss of rows of which it drew a part.

    .. code-block:: text

        completed(x, context)                                     -> x (rows, *event) with its gaps drawn given the rest
        completed_loss(x, observed, context, drawn_count)         -> (rows), nats; `models.AnyOrder` states it
    """

    def completed(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...

    def completed_loss(
        self, x: Tensor, observed: Tensor, context: Tensor | None = None, drawn_count: bool = True
    ) -> Tensor: ...


class Completion(Objective):
    r"""The expected loss of complete rows, where gaps may depend on what was observed (missing at random):

    .. math:: E_{x_{\text{gaps}} \sim p(\cdot \mid x_{\text{observed}})}\, \text{loss}(x_{\text{observed}}, x_{\text{gaps}}).

    Trained on observed values alone, p(x_i | x_A) is that of the rows that have all of A and i. These may be another
    population: where income is asked of those who smoke, p(smokes | income) would be learned from smokers. With gaps
    drawn, all rows teach every conditional. Draws come from a copy of the density whose weights are the mean over about the
    last ten steps, and are renewed as it learns.

    There are three phases. In the first, gaps are left out: the model learns from observed cells as much as it can. In the
    second, drawn values are conditions only, so that observed cells settle p(gaps | observed). In the third, drawn values
    are targets too, which teaches the orders in which a column with gaps comes before the columns on which its gaps depend.
    The first phase is long, since draws hold back what a few rows teach: where a network has learned nine tenths
    of a dependence, and an eighth of the rows show it, draws from the network teach it a dependence that is weaker still.
    Within a budget of time the first phase hands on its best weights. Weights from before the last phase are not kept.
    `fit` warns where it ends before the last phase.

    `fit` uses it by itself for a density that `Completes`, where rows have gaps.
    Source: Celeux and Diebolt, 1985 (stochastic EM); Rubin, 1976 (missing at random).

    Args:
        passes: about as many passes of the network as a step may spend on renewing draws: a row is drawn again in
            one of columns with gaps / passes steps that it takes part in.
        observed: the share of the fit after which the first phase ends at the latest. Within a budget of time it also ends
            when the validation loss has stopped falling.
        conditions: the share for the second phase.

    Raises:
        ValueError: passes below 1, shares beyond [0, 1); in a fit, a density that does not complete rows.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.objectives import Completion
        >>> x = torch.randn(400, 2)
        >>> x[:, 1] += x[:, 0]
        >>> x[x[:, 0] > 0, 1] = torch.nan
        >>> model = ab.models.AnyOrder(2, hidden=8)
        >>> history = ab.fit(model, x, objective=Completion(), epochs=3, batch_size=100, seed=0)
    """

    uses_labels = False
    by_epochs = False
    takes_streams = True

    def __init__(self, passes: int = 4, observed: float = 0.3, conditions: float = 0.1) -> None:
        self.passes = positive_int("passes", passes)
        self.observed, self.conditions = fraction("observed", observed), fraction("conditions", conditions)
        if self.observed + self.conditions >= 1:
            raise ValueError(
                f"conditions: expected to leave a share of the fit to the last phase, got {observed} and {conditions}"
            )
        self._steps = 0
        self._every = 1
        self._phase = 0
        self._filled: Tensor | None = None
        self._gaps: Tensor | None = None
        self._teacher: Density | None = None

    @property
    def phases(self) -> tuple[float, ...]:
        """The ends of the first two."""
        return self.observed, self.observed + self.conditions

    def next_phase(self) -> None:
        self._phase += 1

    @property
    def settled(self) -> bool:
        """Whether drawn values are targets by now."""
        return self._phase == 2

    @property
    def comparable(self) -> bool:
        """Whether gaps are left out, as they are of validation rows."""
        return self._phase == 0

    def prepare(self, rows: Batch, epochs: int) -> None:
        _completing(rows.density)
        self._steps, self._phase, self._filled, self._gaps, self._teacher = 0, 0, None, None, None
        if not len(rows.x):  # they do not lie in memory
            return
        self._filled, self._gaps = rows.x.clone(), rows.x.isnan()
        self._every = max(1, round(float(self._gaps.flatten(1).any(dim=0).sum()) / self.passes))

    def __call__(self, batch: Batch) -> Tensor:
        self._steps += 1
        if self._phase == 0:
            return batch.density.loss(batch.x, batch.context)
        self._follow(batch.density)
        x = self._completed(batch)
        density = _completing(batch.density)
        return density.completed_loss(x, ~batch.x.isnan(), batch.context, drawn_count=self.settled)

    def finish(self, density: Density) -> bool:
        self._teacher = self._filled = self._gaps = None
        return False

    def state(self) -> dict[str, Any]:
        drawn = None if self._filled is None or self._gaps is None else self._filled[self._gaps]
        teacher = None if self._teacher is None else self._teacher.state_dict()
        return {"steps": self._steps, "phase": self._phase, "drawn": drawn, "teacher": teacher}

    def restore(self, state: dict[str, Any], density: Density) -> None:
        self._steps, self._phase = state["steps"], state["phase"]
        if state["drawn"] is not None and self._filled is not None and self._gaps is not None:
            self._filled[self._gaps] = state["drawn"].to(self._filled)
        if state["teacher"] is not None:
            self._teacher = copy.deepcopy(density).requires_grad_(False)
            self._teacher.load_state_dict(state["teacher"])

    def _follow(self, density: Density) -> None:
        """Move the copy from which gaps are drawn towards the density."""
        if self._teacher is None:
            self._teacher = copy.deepcopy(density).requires_grad_(False)
            return
        with torch.no_grad():
            pairs = zip(self._teacher.parameters(), density.parameters(), strict=True)
            means, now = zip(*pairs, strict=True)
            foreach_lerp(list(means), [p.detach() for p in now], 1 - _DECAY)

    def _completed(self, batch: Batch) -> Tensor:
        """The rows of a batch with their gaps drawn: now and then anew, in between as they were drawn last."""
        density = _completing(batch.density if self._teacher is None else self._teacher)
        if self._filled is None:  # rows that do not lie in memory
            with torch.no_grad():
                gaps = bool(batch.x.isnan().any())
                return density.completed(batch.x, batch.context) if gaps else batch.x
        numbers = batch.numbers.to(self._filled.device)
        last = self._filled[numbers].to(batch.x)
        rows = batch.x if self._steps % self._every == 0 else torch.where(batch.x.isnan(), last, batch.x)
        lacking = rows.isnan().flatten(1).any(dim=1).nonzero().squeeze(-1)
        if not len(lacking):
            return rows
        with torch.no_grad():
            context = None if batch.context is None else batch.context[lacking]
            # drawn from what was observed, also where a part of an earlier draw could have been kept
            drawn = density.completed(batch.x[lacking], context)
        rows = rows.index_copy(0, lacking, drawn)
        self._filled[numbers] = rows.to(self._filled)
        return rows


def _completing(density: Density) -> Completes:
    """The density itself, if it completes rows.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(density, Completes):
        raise ValueError(
            f"density: expected one that completes rows (completed, completed_loss), got a {type(density).__name__}"
        )
    return density
