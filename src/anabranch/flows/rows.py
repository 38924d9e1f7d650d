"""The first block of recipes for rows: it takes them as they come."""

from __future__ import annotations

from anabranch.transforms import Chain, Standardise, Transform


def standardising(layers: dict[str, Transform], features: int, scaled: bool = True) -> dict[str, Transform]:
    """The layers, the first of which standardises rows that are far from mean 0 and deviation 1."""
    first, *later = layers
    taking = Chain({"standardise": Standardise(features, scaled), "layer": layers[first]})
    return {first: taking, **{name: layers[name] for name in later}}
