"""Whether other processes take this machine's cores: on two cores, one of theirs makes a step ten times as slow."""

import os
import time
from pathlib import Path

BUSY = 0.1  # of one core, taken by others: above it a round is run again
STAT = Path("/proc/stat")


class Watch:
    """The cores' worth of time that others took since the watch was started: 0 where the system does not tell."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._others = _others_seconds()

    def others(self) -> float:
        return max(0.0, (_others_seconds() - self._others) / (time.perf_counter() - self._begun))


def _others_seconds() -> float:
    if not STAT.exists():
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, steal = (int(n) for n in STAT.read_text().split()[1:9])
    own = os.times()
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def wait_until_calm(patience_s: float) -> float:
    """Wait until others leave the machine alone for half a second, at most this long; the seconds that it took."""
    begun = time.perf_counter()
    while (waited := time.perf_counter() - begun) < patience_s:
        watch = Watch()
        time.sleep(0.5)
        if watch.others() < BUSY:
            break
    return min(waited, patience_s)
