"""Texts that a spreadsheet would run as formulas."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

_FORMULA = r'^"?\s*[=+\-@\t\r]'
# what begins so and is a number, or a dash, stays
_NUMBER = r'^"?\s*[-+]*\s*(?:\d[\d.,\']*|[.,]\d+)?(?:[eE][-+]?\d+)?\s*%?\s*"?$'


def harmless(texts: Any) -> Any:
    """Texts with an apostrophe before those that a spreadsheet would run: that begin with = + - @, but numbers.

    Args:
        texts: of cells, with quotes around them or without.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.formulas import harmless
        >>> harmless(pyarrow.array(["=1+1", "-5", '"@SUM(A1)"'])).to_pylist()
        ["'=1+1", '-5', '"\\'@SUM(A1)"']
    """
    found = pc.and_not(pc.match_substring_regex(texts, _FORMULA), pc.match_substring_regex(texts, _NUMBER))
    return pc.if_else(found, pc.replace_substring_regex(texts, r'^("?)', r"\1'", max_replacements=1), texts)
