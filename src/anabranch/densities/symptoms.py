"""What may be wrong with a fitted density, by name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class CollapseWarning(UserWarning):
    """A posterior that is about the same for every row, so that the hidden variable says nothing of x."""


class FloorWarning(UserWarning):
    """Scales that have come to the floor under them, so that the likelihood is as high as the floor lets it be."""


# the share of an event's numbers at their floor from which on it is said
_MANY = 0.01


def floor_warnings(floored: Tensor | None, floor: str) -> list[UserWarning]:
    """The warning of numbers (*batch, *event) that are at a floor, if they are many.

    Args:
        floored: whether each is; None where there is no floor.
        floor: what the floor is called in the advice.
    """
    share = 0.0 if floored is None else float(floored.double().mean())
    if share <= _MANY:
        return []
    return [
        FloorWarning(
            f"of {share:.0%} of the numbers the standard deviation has come to the floor under it: without one their "
            f"likelihood would have no upper bound, and with it the likelihood is what {floor} makes it. Set {floor} to the "
            "precision of the data; numbers that do not vary, or of which others tell each exactly, are best left out"
        )
    ]


def one_of_each_kind(symptoms: Sequence[UserWarning]) -> list[UserWarning]:
    """The first of each class: parts that are alike say the same."""
    return list({type(symptom): symptom for symptom in reversed(symptoms)}.values())[::-1]
