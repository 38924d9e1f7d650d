"""The two colours of a page, data and samples, and what is neither."""

from __future__ import annotations

from typing import Any

# middle tones, which stand out from white and from near black; that they differ in lightness too is for the colour-blind
DATA, SAMPLES = "#3d7fd0", "#e07b1f"
BAND = "rgba(128,136,150,0.28)"


def faint(colour: str, strength: float) -> str:
    """A colour that lets what is behind it through: strength 1 is all of it."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{strength:g})"


def dotted(x0: float, x1: float, y0: float, y1: float) -> dict[str, Any]:
    """A line of plotly where something would be, were all well."""
    line = {"color": "rgba(128,136,150,0.9)", "width": 1.5, "dash": "dot"}
    return {"type": "line", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "line": line}
