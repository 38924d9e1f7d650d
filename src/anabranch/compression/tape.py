"""Symbols one after the other, each by whole-number frequencies: the same walk writes them and reads them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Whole = NDArray[np.int64]

# frequencies of a symbol sum to 2^24, the precision of `constriction`, up to which float32 holds whole numbers exactly
BITS = 24
TOTAL = 2**BITS
# bytes of a check of all symbols of a block
CHECK = 8


class DecodingError(ValueError):
    """Symbols that the frequencies of this walk cannot have written."""


def quantised(p: Float64) -> Whole:
    r"""Frequencies f (n, k), whole numbers of at least 1 that sum to 2^24, of probabilities p (n, k) up to a factor:

    .. math:: f_j = 1 + \lfloor (2^{24} - k) P_{j + 1} \rfloor - \lfloor (2^{24} - k) P_j \rfloor,
              \qquad P_j = \sum_{i < j} p_i \Big/ \sum_i p_i.

    A function of float64 numbers by sums from left to right, one division, one product and rounding down: whoever has the
    same p, bit for bit, has the same f. Every symbol has at least 1, so all can be written, whatever a model says; against
    that, the probabilities of others lose a share of at most k / 2^24. A row without any probability (or with NaN) is even.

    Example:
        >>> import numpy as np
        >>> from anabranch.compression.tape import quantised
        >>> quantised(np.array([[0.25, 0.75, 0.0]]))
        array([[ 4194304, 12582911,        1]])
    """
    k = p.shape[1]
    sums = np.cumsum(np.nan_to_num(np.maximum(p, 0.0), nan=0.0, posinf=0.0), axis=1)
    total = sums[:, -1:]
    even = np.arange(1, k + 1) / k
    shares = np.where(total > 0, sums / np.where(total > 0, total, 1.0), even)
    shares[:, -1] = 1.0
    edges = np.floor(shares * (TOTAL - k)).astype(np.int64)
    return np.diff(edges, axis=1, prepend=0) + 1


class Tape(ABC):
    """Symbols in their order. What walks over it says the frequencies of each before the symbol is known.

    `code` is the one primitive, for both directions, so that writer and reader cannot take different ways.
    """

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=CHECK)

    @abstractmethod
    def _code(self, frequencies: NDArray[np.float32], symbols: Whole | None) -> Whole: ...

    def code(self, frequencies: Whole, symbols: Whole | None) -> Whole:
        """Write symbols, or read them.

        Args:
            frequencies: (n, k), whole numbers of at least 1 whose rows sum to 2^24.
            symbols: (n), from 0 to k - 1, for a tape that is written; None for one that is read.

        Returns:
            symbols (n), written or read.

        Raises:
            DecodingError: what is read was written by other frequencies.
        """
        n, k = frequencies.shape
        if n == 0 or k == 1:
            return np.zeros(n, dtype=np.int64)
        # constriction gives every symbol 1 by itself, and 2^24 - k in the proportions of what it is told: frequencies less
        # one, whole numbers whose sums float32 holds exactly
        coded = self._code((frequencies - 1).astype(np.float32), symbols)
        self._digest.update(coded.astype("<i4").tobytes())
        return coded

    def check(self) -> bytes:
        """A digest of all symbols since the last check, 8 bytes."""
        digest = self._digest.digest()
        self._digest = hashlib.blake2b(digest_size=CHECK)
        return digest


class Writing(Tape):
    """A tape that is written, by a range coder.

    Example:
        >>> import numpy as np
        >>> from anabranch.compression.tape import Reading, Writing, quantised
        >>> frequencies = quantised(np.full((1000, 4), 0.25))
        >>> tape = Writing()
        >>> symbols = tape.code(frequencies, np.arange(1000) % 4)
        >>> len(tape.words())  # of 32 bits: 2 bits a symbol, and what ends a tape
        63
        >>> bool((Reading(tape.words()).code(frequencies, None) == symbols).all())
        True
    """

    def __init__(self) -> None:
        super().__init__()
        stream = constriction().stream
        self._encoder, self._model = stream.queue.RangeEncoder(), stream.model.Categorical(perfect=False)

    def _code(self, frequencies: NDArray[np.float32], symbols: Whole | None) -> Whole:
        if symbols is None:
            raise ValueError("symbols: expected those to write, got None")
        self._encoder.encode(symbols.astype(np.int32), self._model, frequencies)
        return symbols

    def words(self) -> NDArray[np.uint32]:
        """All that was written, in words of 32 bits."""
        return np.asarray(self._encoder.get_compressed(), dtype=np.uint32)


class Reading(Tape):
    """A tape that is read, from its words of 32 bits."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        super().__init__()
        stream = constriction().stream
        self._decoder = stream.queue.RangeDecoder(np.ascontiguousarray(words, dtype=np.uint32))
        self._model = stream.model.Categorical(perfect=False)

    def _code(self, frequencies: NDArray[np.float32], symbols: Whole | None) -> Whole:
        try:
            return np.asarray(self._decoder.decode(self._model, frequencies), dtype=np.int64)
        except (AssertionError, ValueError) as error:
            raise DecodingError(str(error)) from error


def constriction() -> Any:
    """The library `constriction`.

    Raises:
        ValueError: it is not installed; the message says what to install.
    """
    try:
        import constriction  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ValueError('compression needs constriction: pip install "anabranch[compress]"') from error
    return constriction
