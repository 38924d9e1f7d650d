"""A fit that goes on while it gains, within a budget of time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from anabranch.training.course import Course, Phases
from anabranch.training.history import Epoch
from anabranch.training.plateau import Plateau
from anabranch.training.schedule import Schedule, fallen, risen

# of all steps, those on which the rate falls; chosen with benchmarks/budget.py
FALL = 0.25
# the share of the seconds by which a fall may be late before it is shortened
_LATE = 0.02
# and the share of the seconds that tells how fast it is then
_RECENT = 0.05
# steps whose mean duration is that of the next ones, at least
_TIMED = 50
# before so many, no speed is known
_STARTED = 5


class Budget(Course):
    """A constant rate while the validation loss falls, then a fall to zero that ends within the time there is.

    The fall takes a fixed share of all steps. It begins when the loss has stopped falling (`Plateau`), from the weights of
    the lowest loss, or when the time left is what it takes at the speed of the last steps, validations included. If steps
    become slower on the way, it is shortened. A fit that ends by itself depends on the rows and the seed alone.

    An objective moves on to its next phase when the loss has stopped falling, or when its share of the time is over. Where
    the first phase ends early, the step of its best weights tells how many steps a share is, so that the phases between it
    and the last one become shorter.

    Args:
        seconds: to spend.
        warmup: steps of warm-up.
        every: steps between two validations; None for one after each pass.
        most: steps, at most; None for as many as there is time for.
        stops: whether to end when the loss has stopped falling.
        phases: the shares of the fit at which an objective's phases end, at the latest.
    """

    remembered = (
        *Course.remembered,
        "plateau",
        "_phases",
        "_early",
        "_times",
        "_fall",
        "_reason",
        "_back_to",
        "_best",
        "_records",
    )

    def __init__(
        self,
        seconds: float,
        warmup: int,
        every: int | None,
        most: int | None = None,
        stops: bool = True,
        phases: Sequence[float] = (),
    ) -> None:
        self.seconds: float = seconds
        self.steps = self.planned = most
        self.every = every
        self.warmup = max(1, warmup)
        self.stops = stops
        self.plateau = Plateau()
        self._phases = Phases(phases)
        # where the first phase has ended early: the step, its share of a fit, and the share of one more step
        self._early: tuple[int, float, float] | None = None
        self._times = [0.0]
        self._fall: tuple[tuple[int, float], ...] = ()
        self._reason = ""
        self._back_to: int | None = None
        self._best: Epoch | None = None
        self._records: list[Epoch] = []

    def factor(self, step: int) -> float:
        if not self._fall:
            return risen(step, self.warmup)
        return risen(min(step, self._fall[0][0]), self.warmup) * fallen(step, self._fall)

    def stepped(self, step: int, seconds: float) -> None:
        self._times.append(seconds)
        self._move_on(step, seconds)
        left = self.seconds - seconds
        if self._fall:
            self._shorten(step, left)
            if step >= self._fall[-1][0]:
                self.ended = self._reason
            return
        if step < _STARTED and left > 0:
            return
        fall = _steps_of_fall(step)
        if seconds + fall * self._pace(step) >= self.seconds:
            # the first steps may have taken all of it
            self._begin(step, max(1, min(fall, int(left / self._pace(step)))), "minutes")
        elif self.steps is not None and step + fall >= self.steps:
            self._begin(step, max(1, self.steps - step), "epochs")

    def validated(self, record: Epoch, best: Epoch | None, settled: bool = True) -> None:
        if self._fall:
            return
        share = self._phases.next_share
        # losses from before an objective settles say nothing of those after, unless they end a phase of it
        if record.validation is not None and (settled or share is not None):
            self.plateau.see(record.step, record.validation)
        if share is not None and self.stops and self.plateau.reached:
            useful = record.step if best is None else best.step
            self._early = record.step, share, share / useful
            self._move_on(record.step, record.seconds)
        if not settled:
            return
        self._best = best
        self._records.append(record)
        if record.validation is None:
            return
        if self.stops and self.plateau.reached:
            back = record.step if best is None else best.step
            self._begin(record.step, _steps_of_fall(back), "plateau")

    def marks(self, record: Epoch, best: bool) -> bool:
        return best and not self._fall

    @property
    def schedule(self) -> Schedule | None:
        if not self.ended:
            return None
        return Schedule(self.warmup, self._fall, self._back_to, self.every, self.steps, tuple(self._phases.steps))

    @property
    def improving(self) -> float | None:
        if self._reason not in ("minutes", "epochs") or self._back_to is not None or not self._records:
            return None
        begins = self._fall[0][0]
        known = [record for record in self._records if record.validation is not None]
        recent = [record for record in known if record.step >= 0.75 * begins]
        recent = recent if len(recent) > 2 else known[-3:]
        slope = _slope([record.seconds / 60 for record in recent], [record.validation or 0.0 for record in recent])
        return -slope if slope is not None and slope < 0 else None

    @property
    def judged(self) -> bool:
        return self._reason == "plateau" or sum(record.validation is not None for record in self._records) > 2

    @property
    def doing(self) -> str:
        if self._fall:
            return "ending: " + ("no longer improves" if self._reason == "plateau" else "rate falls")
        return "improves" if not self.plateau.steps or not self.plateau.passed else "hardly improves"

    def _move_on(self, step: int, seconds: float) -> None:
        done = [seconds / self.seconds]
        if self._early is not None:
            since, share, each = self._early
            done.append(share + (step - since) * each)
        done += [] if self.steps is None else [(step + 1) / self.steps]
        ended = self._phases.passed(step, max(done))
        if ended:
            self.moves_on += ended
            self.plateau = Plateau()

    def _begin(self, step: int, fall: int, reason: str) -> None:
        self._fall = ((step, 0.0), (step + fall, 1.0))
        self._reason = reason
        if self._best is not None and self._best.step < step and (reason == "plateau" or self.plateau.passed):
            self._back_to = self._best.step
            self.goes_back = True

    def _shorten(self, step: int, left: float) -> None:
        """End sooner, if at this speed it would be late."""
        (begin, done), (end, _) = self._fall[-2:]
        if end - step <= 1 or step == begin:
            return
        pace = self._pace(step, self._times[step] - _RECENT * self.seconds)
        if (end - step) * pace <= left + _LATE * self.seconds:
            return
        now = done + (1 - done) * (step - begin) / (end - begin)
        self._fall = (*self._fall[:-1], (step, now), (step + max(1, min(int(left / pace), end - step - 1)), 1.0))

    def _pace(self, step: int, since: float | None = None) -> float:
        """Seconds a step, of the last quarter of them, or of those since some second."""
        if since is None:
            # without the first one, which may have compiled, where there are others
            first = max(min(1, step - 1), min(step - _TIMED, 3 * step // 4))
        else:
            first = min(bisect_left(self._times, since), step - 1)
        return (self._times[step] - self._times[first]) / (step - first)


def _steps_of_fall(steps: int) -> int:
    """How many make up their share of all, after so many others."""
    return max(1, round(steps * FALL / (1 - FALL)))


def _slope(x: list[float], y: list[float]) -> float | None:
    """Of the line of least squares; None where there is none."""
    if len(x) < 2:
        return None
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return None if spread == 0 else sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
