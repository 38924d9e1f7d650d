"""Components that vanish when the data do not need them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import fraction, numbers_below, positive, positive_int
from anabranch.densities import Density
from anabranch.models import FlowMixture
from anabranch.objectives.message_length import message_length
from anabranch.objectives.objective import Batch, Objective

_LOG = logging.getLogger("anabranch")
_ROWS_AT_ONCE = 8192
# of the search: its first part trains the mixture as it began, its last part is for the finals, so many rounds of them
_SETTLING, _FINALS, _ROUNDS = 0.12, 0.5, 3
# steps by which the others take over the rows of a component that has ended, and the share of a row that is no step
_STEPS, _STANDSTILL = 30, 0.01


class Annihilation(Objective):
    r"""Ends components until the message that tells mixture and rows is shortest.

    The message length, with c_k half the parameters of component k and K those alive of n rows, is

    .. math:: \sum_{k\ \text{alive}} c_k \log n w_k + \tfrac{K - 1}{2} \log n - \sum_i \log p(x_i).

    The first sum, divided by n, is what this objective adds. It is not enough: a gradient on the logits takes
    hundreds of epochs to decide between components that share a cluster, so components are also ended one by one.

    1. While the search lasts, after each stage of some epochs, the component ends (`FlowMixture.annihilate`) without which
       the rows lose least likelihood; the others take over its rows in up to 30 steps of expectation-maximisation that
       move their heads (`FlowMixture.follow`). A component of fewer than c_k rows ends at once. So on, down to `least`; a
       component without which a row would be impossible, as with bounded supports, does not end.
    2. Finals: the number whose length was shortest is trained for another round, then the best of the smaller ones, which
       had less time since their last component ended; if its length is shorter now it stays, and meets the next.
    3. What is left of the fit trains the winner. None ends any more, and no earlier weights come back.

    A fit that ends before the search does, for want of epochs, by a callback or an exception, goes back to the weights of
    the shortest length so far and warns in the log; it also warns at the start of epochs too few for all stages and rounds.

    How many were found is `found`, `lengths` has the length for each number, lines of the log "anabranch" tell what
    ended, and `model.prune(0)` is the mixture without the others. Stages want to be long enough for the others to fill
    the gap: some ten epochs each for flows, a few for Gaussians. All rows are evaluated up to 30 times when one ends.
    Source: Figueiredo and Jain, 2002, "Unsupervised learning of finite mixture models"; there the weakest ends, and the
    shortest length is taken without finals.

    Args:
        support: c, rows, half the parameters that a component costs. By default half the numbers that it has for itself,
            of its head, its vector, and its transforms and densities, at least half the number of features; what is frozen
            is not counted, nor weights of networks, for they have far more than rows can determine. Larger for fewer
            components: behind flows, what one component is is the user's to say, for a flow bends around anything and a few
            outliers pay for a component of their own.
        least: the search ends with so many.
        until: the share of the fit by which search and finals are over.
        keep: components that never end. Those of labels that hold (`Likelihood(labels_until=None)`) are kept unasked: a row
            whose component has ended is impossible.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.objectives import Annihilation, Likelihood
        >>> x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
        >>> x[150:] += 8
        >>> model = ab.FlowMixture([ab.densities.Normal.standard(2) for _ in range(5)], heads="affine")
        >>> assigned = ab.start_from(model, x, seed=0)
        >>> annihilation = Annihilation()
        >>> history = ab.fit(model, x, objective=Likelihood() + annihilation, epochs=40, patience=None, seed=0)
        >>> annihilation.found, model.prune(0).components
        (2, 2)
    """

    uses_labels = False

    def __init__(
        self, support: float | None = None, least: int = 1, until: float = 0.8, keep: Sequence[int] = ()
    ) -> None:
        self.support = None if support is None else positive("support", support)
        self.least = positive_int("least", least)
        self.until = positive("until", fraction("until", until))
        self.keep = numbers_below("keep", keep)
        self.found: int | None = None
        self.lengths: dict[int, float] = {}

    @property
    def settled(self) -> bool:
        """Whether the search is over."""
        return self.found is not None

    def prepare(self, rows: Batch, epochs: int) -> None:
        mixture = _mixture(rows.density)
        held = [] if rows.labels is None else rows.labels[rows.labels >= 0].unique().tolist()
        self._kept = {*numbers_below("keep", self.keep, mixture.components), *held}
        own = mixture.own_parameters() if self.support is None else torch.full((mixture.components,), 2 * self.support)
        self._own = own.to(rows.x.device, mixture.logits.dtype)
        self._x, self._context, self._rows = rows.x, rows.context, len(rows.x)
        self._began = _alive(mixture)
        self._progress = 0.0
        self._rounds = 0
        self._champion: tuple[float, dict[str, Tensor]] | None = None
        self._states: dict[int, dict[str, Tensor]] = {}
        self.found, self.lengths = None, {}
        wanted = self._epochs_wanted(mixture)
        if epochs < wanted:
            _LOG.warning(
                "fit: too few epochs to search from %d components: expected %d at least, and several for each stage, got %d",
                self._began,
                wanted,
                epochs,
            )

    def __call__(self, batch: Batch) -> Tensor:
        mixture = _mixture(batch.density)
        self._progress = batch.progress
        support = self._own / 2 / self._rows
        # nothing may pull at a weight that is as good as gone, without end
        penalty = support * torch.maximum(mixture.weights(), support / 10).log()
        return torch.where(mixture.get_buffer("alive"), penalty, 0.0).sum().expand(len(batch.x))

    def after_epoch(self, density: Density, rows: int) -> bool:
        if self.found is not None:
            return False
        mixture = _mixture(density)
        done = self._progress / self.until
        changed = self._rounds == 0 and self._search(mixture, done / (1 - _FINALS))
        return self._finals(mixture, done) or changed

    def finish(self, density: Density) -> bool:
        if self.found is not None:
            return False
        mixture = _mixture(density)
        length, _ = self._measure(mixture)
        shortest = min(self.lengths, key=self.lengths.__getitem__)
        mixture.load_state_dict(self._states[shortest])
        self._settle(mixture)
        _LOG.warning("fit: the search was cut short; components of the shortest message so far are kept")
        return self.lengths[shortest] < length

    def state(self) -> dict[str, Any]:
        search = {"progress": self._progress, "rounds": self._rounds}
        best = {"champion": self._champion, "states": self._states, "lengths": self.lengths}
        return search | best | {"found": self.found}

    def restore(self, state: dict[str, Any], density: Density) -> None:
        self._progress, self._rounds = state["progress"], state["rounds"]
        self._champion, self._states = state["champion"], state["states"]
        self.lengths, self.found = state["lengths"], state["found"]

    def _epochs_wanted(self, mixture: FlowMixture) -> int:
        """So few are enough for each stage and each round to have one, and for the search to end before the fit does."""
        stages = min(len(self._mortal(mixture)), self._began - self.least)
        search = max(stages / ((1 - _FINALS) * (1 - _SETTLING)), _ROUNDS / _FINALS)
        return math.ceil(max(search / self.until, 1 / (1 - self.until)) - 1e-9)

    def _search(self, mixture: FlowMixture, done: float) -> bool:
        """End what has no support, and those whose turn it is when a share `done` of the search is."""
        changed = False
        while (weak := self._unsupported(mixture)) is not None:
            self._end(mixture, weak)
            changed = True
        stages = max(1, self._began - self.least)
        due = math.floor((done - _SETTLING) / (1 - _SETTLING) * stages) + 1
        while _alive(mixture) > self._began - due and (cheapest := self._cheapest(mixture)) is not None:
            self._measure(mixture)
            self._end(mixture, cheapest)
            changed = True
        return changed

    def _finals(self, mixture: FlowMixture, done: float) -> bool:
        """Let the best number and the next smaller ones meet, each after a round of training."""
        if done < 1 - _FINALS + self._rounds * _FINALS / _ROUNDS:
            return False
        length, count = self._measure(mixture)
        if self._rounds == 0:
            count = min(self.lengths, key=self.lengths.__getitem__)
            mixture.load_state_dict(self._states[count])
        else:
            lost = self._champion is not None and length >= self._champion[0]
            if not lost:
                self._champion = (length, _state(mixture))
            smaller = min((k for k in self.lengths if k < count), key=self.lengths.__getitem__, default=None)
            if lost or smaller is None or self._rounds == _ROUNDS:
                if self._champion is not None:
                    mixture.load_state_dict(self._champion[1])
                self._settle(mixture)
                return True
            mixture.load_state_dict(self._states[smaller])
        self._rounds += 1
        return True

    def _settle(self, mixture: FlowMixture) -> None:
        """What the mixture has now is what was found; all that the search held is let go."""
        self._champion, self._states = None, {}
        del self._x, self._context
        self.found = _alive(mixture)
        _LOG.info("fit: %d components found, message length %.1f nats", self.found, self.lengths[self.found])

    def _mortal(self, mixture: FlowMixture) -> list[int]:
        """Those that may end."""
        alive = mixture.get_buffer("alive").nonzero().flatten().tolist()
        return [k for k in alive if k not in self._kept] if len(alive) > self.least else []

    def _unsupported(self, mixture: FlowMixture) -> int | None:
        """The weakest of those with fewer rows than they want, if there are some that the rows can do without."""
        rows = (mixture.weights().detach() * self._rows / (self._own / 2)).tolist()
        weak = [k for k in self._mortal(mixture) if rows[k] < 1]
        costs = self._costs(mixture) if weak else {}
        return min((k for k in weak if k in costs), key=rows.__getitem__, default=None)

    def _cheapest(self, mixture: FlowMixture) -> int | None:
        """The component without which the rows lose least likelihood, if they can do without one."""
        costs = self._costs(mixture)
        return min(costs, key=costs.__getitem__, default=None)

    def _costs(self, mixture: FlowMixture) -> dict[int, float]:
        """-log p of all rows without each component that may end, nats; none for one without which a row is impossible."""
        mortal = self._mortal(mixture)
        joint = self._joint(mixture).double() if mortal else torch.empty(0)
        costs = {k: -float(_without(joint, k).logsumexp(dim=-1).sum()) for k in mortal}
        return {k: cost for k, cost in costs.items() if math.isfinite(cost)}

    def _end(self, mixture: FlowMixture, component: int) -> None:
        """End a component, and let the others take over its rows."""
        before = _shares(self._joint(mixture))
        mixture.annihilate([component])
        for _ in range(_STEPS):
            after = _shares(self._joint(mixture))
            mixture.follow(self._x, before, after, self._context)
            moved = float((after - before).abs().sum(dim=-1).mean())
            before = after
            if moved < _STANDSTILL:
                break
        _LOG.info("fit: component %d ended, %d left", component, _alive(mixture))

    def _measure(self, mixture: FlowMixture) -> tuple[float, int]:
        """Length and number of the components that are left, remembered if it is the shortest of that number."""
        joint = self._joint(mixture)
        total = float(joint.logsumexp(dim=-1).double().sum())
        length, count = message_length(total, mixture.weights().detach(), self._own, len(joint)), _alive(mixture)
        length = math.inf if math.isnan(length) else length
        if count not in self.lengths or length < self.lengths[count]:
            self._states[count] = _state(mixture)
            self.lengths[count] = length
        return length, count

    def _joint(self, mixture: FlowMixture) -> Tensor:
        """log p(x, k) of all rows: (rows, components)."""
        was_training = mixture.training
        mixture.eval()
        with torch.no_grad():
            xs = self._x.split(_ROWS_AT_ONCE)
            contexts = [None] * len(xs) if self._context is None else self._context.split(_ROWS_AT_ONCE)
            joint = [mixture.joint_log_prob(x, context) for x, context in zip(xs, contexts, strict=True)]
        mixture.train(was_training)
        return torch.cat(joint)


def _without(joint: Tensor, component: int) -> Tensor:
    return joint.index_fill(-1, torch.tensor([component], device=joint.device), -torch.inf)


def _shares(joint: Tensor) -> Tensor:
    """Responsibilities; of a row that no component can explain, none."""
    return joint.softmax(dim=-1).nan_to_num(nan=0.0)


def _state(mixture: FlowMixture) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in mixture.state_dict().items()}


def _alive(mixture: FlowMixture) -> int:
    return int(mixture.get_buffer("alive").sum())


def _mixture(density: Density) -> FlowMixture:
    if not isinstance(density, FlowMixture):
        raise ValueError(f"density: expected a FlowMixture for annihilation, got a {type(density).__name__}")
    return density
