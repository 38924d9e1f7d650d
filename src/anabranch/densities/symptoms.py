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
# a number that is at its floor in so many rows is named, and so many are named
_OFTEN, _NAMED = 0.5, 5


def floor_warnings(floored: Tensor | None, floor: str, event_dim: int = 1) -> list[UserWarning]:
    """The warning of numbers (*batch, *event) that are at a floor, if they are many; it names those that mostly are.

    Args:
        floored: whether each is; None where there is no floor.
        floor: what the floor is called in the advice.
        event_dim: how many dimensions an event has.
    """
    share = 0.0 if floored is None else float(floored.double().mean())
    if share <= _MANY:
        return []
    return [
        FloorWarning(
            f"of {share:.0%} of the numbers{_often(floored, event_dim)} the standard deviation has come to the floor under "
            "it: without one their likelihood would have no upper bound, and with it the likelihood is what "
            f"{floor} makes it. Set {floor} to the precision of the data; numbers that do not vary, or of which others tell "
            "each exactly, are best left out"
        )
    ]


def _often(floored: Tensor | None, event_dim: int) -> str:
    """Which numbers are at their floor in most rows, in words."""
    if floored is None:
        return ""
    shares = floored.double().flatten(0, -event_dim - 1).mean(dim=0) if floored.dim() > event_dim else floored.double()
    places = (shares > _OFTEN).nonzero().tolist()
    if not places:
        return ""
    named = ", ".join(f"x[{', '.join(map(str, place))}]" for place in places[:_NAMED])
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return f", in most rows of {named}{more},"


def one_of_each_kind(symptoms: Sequence[UserWarning]) -> list[UserWarning]:
    """The first of each class: parts that are alike say the same."""
    return list({type(symptom): symptom for symptom in reversed(symptoms)}.values())[::-1]
