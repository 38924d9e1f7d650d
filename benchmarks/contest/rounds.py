"""Timing in rounds: all take turns, so that a machine that drifts does not decide."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MOST_ROUNDS = 15
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
            "rounds": len(values),
            "first_call_s": self.first_call_s,
            "round_ms": {str(i): ms for i, ms in self.rounds.items()},
        }


def ratio(top: Times, bottom: Times) -> float:
    """The median, over the rounds in which both took part, of one's time over the other's in that round."""
    shared = sorted(top.rounds.keys() & bottom.rounds.keys())
    return statistics.median(top.rounds[i] / bottom.rounds[i] for i in shared)


def race(
    actions: Mapping[str, Callable[[], object]],
    synchronize: Callable[[], None],
    cap_s: float,
    turn_s: float = 0.1,
) -> tuple[dict[str, Times], dict[str, str]]:
    """Time every action in rounds, in an order that turns from round to round.

    Each is first called until it is warm. A turn is one call that is not timed (another's work has just filled the caches,
    and its threads may still spin; where a call takes a second, this is left out) and then calls for about `turn_s` seconds. One that would take more than `cap_s`
    seconds in all takes part in fewer rounds, evenly spread, but in `FEWEST_ROUNDS` at least.

    Returns:
        The times of those that ran, and the errors of those that did not.
    """
    times: dict[str, Times] = {}
    failed: dict[str, str] = {}
    calls: dict[str, int] = {}
    quota: dict[str, int] = {}
    is_quick: dict[str, bool] = {}

    def once(name: str) -> float:
        synchronize()
        begun = time.perf_counter()
        actions[name]()
        synchronize()
        return time.perf_counter() - begun

    for name in actions:
        try:
            times[name] = Times(first_call_s=once(name))
            second = once(name)
            usual = second if second > 1 else min(once(name) for _ in range(3))
        except Exception as error:  # a peer may fail in any way: the table says so, the others go on
            times.pop(name, None)
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        calls[name] = max(1, min(25, round(turn_s / usual)))
        is_quick[name] = usual < 1
        turn = usual * (calls[name] + is_quick[name])
        quota[name] = max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(cap_s / turn)))

    names = list(times)
    gc.collect()
    gc.disable()
    try:
        for i in range(MOST_ROUNDS):
            start = i % len(names) if names else 0
            for name in names[start:] + names[:start]:
                if (i + 1) * quota[name] // MOST_ROUNDS == i * quota[name] // MOST_ROUNDS:
                    continue
                if is_quick[name]:
                    once(name)
                times[name].rounds[i] = 1000 * statistics.median(once(name) for _ in range(calls[name]))
            gc.collect()
    finally:
        gc.enable()
    return times, failed
