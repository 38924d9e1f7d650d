"""Column names on the command line."""

from __future__ import annotations

from collections.abc import Sequence


def split_names(text: str, available: Sequence[str]) -> list[str]:
    """Names separated by commas; a name that has commas or spaces itself is understood if the table has it.

    Raises:
        ValueError: there is no name in it.

    Example:
        >>> from anabranch.cli.names import split_names
        >>> split_names("x, y", ["x", "y", "z"])
        ['x', 'y']
        >>> split_names("mass, kg,z", ["mass, kg", "z"])
        ['mass, kg', 'z']
    """
    pieces = text.split(",")
    names, begin = [], 0
    while begin < len(pieces):
        for end in range(len(pieces), begin, -1):  # the longest name that the table has
            joined = ",".join(pieces[begin:end])
            bare = joined.strip()
            unquoted = bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] == '"' else bare
            known = next((one for one in (joined, bare, unquoted) if one in available), None)
            if known is not None:
                break
        names.append(known if known is not None else bare)
        begin = end
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"expected names of columns, separated by commas, got {text!r}")
    return names


def split_settings(text: str, available: Sequence[str]) -> tuple[dict[str, str], str]:
    """Names and what is set for them, a=1,b=2, and what is left over; names may hold commas and equals signs of their own.

    Example:
        >>> from anabranch.cli.names import split_settings
        >>> split_settings("x=1, mass, kg=2,z", ["x", "mass, kg"])
        ({'x': '1', 'mass, kg': '2'}, 'z')
    """
    settings: dict[str, str] = {}
    begun = ""
    for piece in text.split(","):
        begun += piece
        name, sign, value = begun.rpartition("=")
        if sign and (name in available or name.strip() in available):
            settings[name if name in available else name.strip()] = value.strip()
            begun = ""
        else:
            begun += ","
    return settings, begun[:-1]
