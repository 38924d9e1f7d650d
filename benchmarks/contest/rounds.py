"""Timing in rounds: all take turns, so that a machine that drifts does not decide."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from contest.calm import BUSY, Watch, wait_until_calm

FEWEST_ROUNDS = 5


@dataclass
class Times:
    """What one entrant's work took.

    Attributes:
        first_call_s: seconds of the very first call, in which compilers compile.
        rounds: for each round in which it took part, the median of its calls in that round, in milliseconds.
    """

    first_call_s: float
    rounds: dict[int, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds.values())

    def as_numbers(self) -> dict[str, object]:
        values = list(self.rounds.values())
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return {
            "median_ms": self.median,
            "quartiles_ms": [low, high],
            "fastest_ms": min(values),
            "rounds": len(values),
            "first_call_s": self.first_call_s,
            "round_ms": {str(i): ms for i, ms in self.rounds.items()},
        }


def ratio(top: Times, bottom: Times) -> float:
    """The median, over the rounds in which both took part, of one's time over the other's in that round."""
    shared = sorted(top.rounds.keys() & bottom.rounds.keys())
    return statistics.median(top.rounds[i] / bottom.rounds[i] for i in shared)


@dataclass
class Race:
    """The times of those that ran, the errors of those that did not, and the cores' worth that others took meanwhile."""

    times: dict[str, Times] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)


def race(
    actions: Mapping[str, Callable[[], object]],
    synchronize: Callable[[], None],
    rounds: int,
    cap_s: float,
    patience_s: float,
    turn_s: float = 0.1,
) -> Race:
    """Time every action in rounds, in an order that turns from round to round.

    Each is first called until it is warm. A turn is one call that is not timed (another's work has just filled the caches,
    and its threads may still spin; where a call takes a second, it is left out), and then calls for about `turn_s` seconds.
    One that would take more than `cap_s` seconds in all takes part in fewer rounds, evenly spread, but in `FEWEST_ROUNDS`
    at least. A round in which others took the cores is run again when they are quiet, as long as `patience_s` lasts.
    """
    result = Race()
    turns: dict[str, Turn] = {}
    for name, action in actions.items():
        turn = Turn(action, synchronize, rounds)
        try:
            result.times[name] = Times(first_call_s=turn.once())
            turn.plan(turn_s, cap_s)
            turns[name] = turn
        except Exception as error:  # a peer may fail in any way: the table says so, the others go on
            result.times.pop(name, None)
            result.failed[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"

    names = list(turns)
    gc.collect()
    gc.disable()
    try:
        i = 0
        while names and i < rounds:
            begun, watch = time.perf_counter(), Watch()
            start = i % len(names)
            taken = {name: turns[name].take() for name in names[start:] + names[:start] if turns[name].is_in(i)}
            others = watch.others()
            gc.collect()
            if others > BUSY and patience_s > 0:
                patience_s -= time.perf_counter() - begun
                patience_s -= wait_until_calm(patience_s)
                continue
            for name, ms in taken.items():
                result.times[name].rounds[i] = ms
            result.others.append(others)
            i += 1
    finally:
        gc.enable()
    return result


class Turn:
    """How often one action is called in its turn, and in how many rounds."""

    def __init__(self, action: Callable[[], object], synchronize: Callable[[], None], of_rounds: int) -> None:
        self._action, self._synchronize, self._of_rounds = action, synchronize, of_rounds

    def once(self) -> float:
        self._synchronize()
        begun = time.perf_counter()
        self._action()
        self._synchronize()
        return time.perf_counter() - begun

    def plan(self, turn_s: float, cap_s: float) -> None:
        second = self.once()
        usual = second if second > 1 else min(self.once() for _ in range(3))
        self._calls = max(1, min(25, round(turn_s / usual)))
        self._idle_calls = int(usual < 1)
        fitting = int(cap_s / (usual * (self._calls + self._idle_calls)))
        self._rounds = min(self._of_rounds, max(FEWEST_ROUNDS, fitting))

    def is_in(self, i: int) -> bool:
        """Whether it takes part in round i: in `_rounds` of all, evenly spread."""
        return (i + 1) * self._rounds // self._of_rounds > i * self._rounds // self._of_rounds

    def take(self) -> float:
        """Milliseconds: the median of the calls."""
        for _ in range(self._idle_calls):
            self.once()
        return 1000 * statistics.median(self.once() for _ in range(self._calls))
