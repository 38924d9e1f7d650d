"""Whole numbers of any range by halving it: one symbol of two for each bit, by a distribution function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from anabranch.compression.tape import DecodingError, Float64, Tape, quantised
from anabranch.families import Family

Numbers = NDArray[np.uint64]
# P(N < n) of each row, for its n
Below = Callable[[Numbers], Float64]

# what is even in every distribution: so that rounding of distribution functions, of some 1e-16, decides nothing
_EVEN = 2.0**-46


def code_numbers(
    tape: Tape, below: Below, size: int, numbers: Numbers | None, rows: int, ends: tuple[Float64, Float64] | None = None
) -> Numbers:
    r"""Code whole numbers 0 <= n < size by halves, from the leading bit on,

    .. math:: P(b = 0) \propto F(m) - F(l) + \epsilon |[l, m)|, \qquad P(b = 1) \propto F(r) - F(m) + \epsilon |[m, r)|,

    for what is known, l <= n < r, cut at m; with |.| a share of [l, r) and epsilon = 2^-46. So a number costs
    -log2 of its probability, as far as float64 tells it, and less than 24 bits and its place beyond that: no number is
    impossible. A range of 2^64 takes 64 steps, each one evaluation of F a row. What is below the first number counts as the
    first, what is above the last as the last.

    Args:
        tape: on which.
        below: F, P(N < n) of each row, rising with n; called with the n of all rows at once, in the same order by writer and
            reader.
        size: how many numbers there can be.
        numbers: (rows), for a tape that is written; None for one that is read.
        rows: how many.
        ends: F of the first number and above the last, by default 0 and 1.

    Returns:
        the numbers (rows).

    Raises:
        DecodingError: what is read was written by other probabilities.

    Example:
        >>> import numpy as np
        >>> from anabranch.compression.halving import code_numbers
        >>> from anabranch.compression.tape import Reading, Writing
        >>> below = lambda n: 1 - 0.9 ** n.astype(float)  # geometric
        >>> n = np.random.default_rng(0).geometric(0.1, 1000).astype(np.uint64) - np.uint64(1)
        >>> tape = Writing()
        >>> _ = code_numbers(tape, below, 1000, n, len(n))
        >>> bits = float(-np.log2(0.1 * 0.9 ** n.astype(float)).sum())
        >>> 0 < 32 * len(tape.words()) - bits < 64
        True
        >>> bool((code_numbers(Reading(tape.words()), below, 1000, None, len(n)) == n).all())
        True
    """
    start = np.zeros(rows, dtype=np.uint64)
    at_start, at_end = (np.zeros(rows), np.ones(rows)) if ends is None else ends
    last = np.uint64(size - 1)
    for bit in range((size - 1).bit_length() - 1, -1, -1):
        half = np.uint64(1 << bit)
        middle = start + half  # at most 2^64 - 1: bits from this one on are 0 in start
        at_middle = np.clip(below(np.minimum(middle, last)), at_start, at_end)
        at_middle = np.where(middle > last, at_end, at_middle)
        left = np.minimum(half - np.uint64(1), last - start).astype(np.float64) + 1
        right = np.where(middle > last, 0.0, np.minimum(half - np.uint64(1), last - middle).astype(np.float64) + 1)
        even = _EVEN / (left + right)
        p = np.stack([at_middle - at_start + even * left, at_end - at_middle + even * right], axis=1)
        wanted = None if numbers is None else ((numbers >> np.uint64(bit)) & np.uint64(1)).astype(np.int64)
        up = tape.code(quantised(p), wanted) == 1
        start = np.where(up, middle, start)
        at_start, at_end = np.where(up, at_middle, at_start), np.where(up, at_end, at_middle)
    if bool((start > last).any()):
        raise DecodingError(f"expected numbers below {size}, got {int(start.max())}")
    return start


def tabulated(family: Family, values: Tensor, theta: Tensor) -> Below:
    """P(N < n) of each row, where number n is values[n]: computed once for all, of which there may be thousands.

    Args:
        family: of the values.
        values: (numbers), rising.
        theta: (rows, parameters).
    """
    table = family.below(values, theta.unsqueeze(-2))[0].numpy()
    rows = np.arange(len(theta))
    return lambda n: table[rows, n.astype(np.int64)]
