"""The first block of recipes for rows: it takes them as they come."""

from __future__ import annotations

from anabranch.transforms import Chain, HeavyTails, Standardise, Transform


def standardising(layers: dict[str, Transform], features: int, scaled: bool = True) -> dict[str, Transform]:
    """The layers, the first of which standardises rows that are far from mean 0 and deviation 1."""
    return _behind({"standardise": Standardise(features, scaled)}, layers)


def with_heavy_tails(layers: dict[str, Transform], features: int) -> dict[str, Transform]:
    """The layers, the first of which takes rows of any place and scale, and tails of any weight."""
    return _behind({"tails": HeavyTails(features)}, layers)


def _behind(start: dict[str, Transform], layers: dict[str, Transform]) -> dict[str, Transform]:
    first, *later = layers
    return {first: Chain({**start, "layer": layers[first]}), **{name: layers[name] for name in later}}
