"""What is wrong with several columns, said at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from anabranch.tables.columns.reading import UnseenError
from anabranch.tables.frame import TableError

# faults that are told in full
_TOLD = 8


class Faults:
    """Errors of columns, put off until all columns have been looked at.

    Example:
        >>> from anabranch.tables.faults import Faults
        >>> from anabranch.tables.frame import TableError
        >>> faults = Faults()
        >>> for name in "ab":
        ...     with faults.put_off():
        ...         raise TableError(f"column {name!r} is empty")
        >>> faults.raise_all()
        Traceback (most recent call last):
        ...
        anabranch.tables.frame.TableError: 2 columns stand in the way: (1) column 'a' is empty; (2) column 'b' is empty
    """

    def __init__(self) -> None:
        self.errors: list[TableError] = []

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Around the work on one column: keep its error for later."""
        try:
            yield
        except TableError as error:
            self.errors.append(error)

    def raise_all(self) -> None:
        """Raise one error of all that were put off, if there are any.

        Raises:
            TableError: the only one as it is, several in one line.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            told = "; ".join(f"({i}) {error}" for i, error in enumerate(self.errors[:_TOLD], 1))
            more = f"; and {len(self.errors) - _TOLD} more" if len(self.errors) > _TOLD else ""
            text = f"{len(self.errors)} columns stand in the way: {told}{more}"
            unseen = [error for error in self.errors if isinstance(error, UnseenError)]
            if len(unseen) == len(self.errors):
                raise UnseenError(text, np.logical_or.reduce([error.unseen for error in unseen]))
            raise TableError(text)
