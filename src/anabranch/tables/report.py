"""What a fit to a table came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from anabranch.training.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class Report(Outcome):
    """The record of a fit to a table, beside what every `Outcome` says.

    Attributes:
        columns, given: names of the modelled and of the given columns.
        set_apart: numbers of the rows that were neither fitted nor counted, for a wild value that they hold.
    """

    columns: list[str]
    given: list[str]
    set_apart: list[int] = field(default_factory=list)
