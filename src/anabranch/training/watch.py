"""The model so far of a fit that is ended by an exception."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from anabranch.training.history import Epoch


class Watch:
    """What was recorded of a fit, and the model so far for what ends it: no hour of fitting is lost.

    Args:
        model: makes the model of the weights so far.
        callback: called with every `Epoch` too.
    """

    def __init__(self, model: Callable[[], Any], callback: Callable[[Epoch], bool | None] | None = None) -> None:
        self.model, self.callback = model, callback
        self.records: list[Epoch] = []

    def __call__(self, record: Epoch) -> bool | None:
        self.records.append(record)
        return None if self.callback is None else self.callback(record)

    @contextmanager
    def handed_on(self) -> Iterator[None]:
        """Give an exception that is raised inside the model so far, if a step has led to one."""
        try:
            yield
        except BaseException as error:
            if any(record.validation is None or np.isfinite(record.validation) for record in self.records):
                error.model = self.model()  # type: ignore[attr-defined]
            raise
