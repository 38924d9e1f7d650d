"""Many columns, each of its own family, evaluated side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anabranch.checks import instance_of
from anabranch.families.atoms import Atoms, atoms_log_prob
from anabranch.families.family import Family
from anabranch.families.lattice import Lattice, lattice_log_prob
from anabranch.families.levels import Levels, levels_log_prob
from anabranch.families.logistics import Logistics, come_through, mixture_log_prob

# columns of levels or with atoms are padded to the longest of their group: the numbers of all in one are within this factor
_PADDING = 3


class Panel(nn.Module):
    """log p and features of rows whose columns have families of their own, a few operations for all columns of a kind.

    The same numbers as each family gives by itself. Families of other kinds than the library's are evaluated one by one.

    Args:
        families: one for each column; they stay their owner's, and no part of this module's state.

    Example:
        >>> import torch
        >>> from anabranch.families import Levels, Logistics, Panel
        >>> families = [Logistics(2), Levels(3), Logistics(2)]
        >>> panel = Panel(families)
        >>> x = torch.tensor([[0.5, 2.0, -0.5]])
        >>> panel.log_prob(x, torch.zeros(1, 15)).shape, panel.features(x).shape
        (torch.Size([1, 3]), torch.Size([1, 29]))
    """

    def __init__(self, families: Sequence[Family]) -> None:
        super().__init__()
        self.sizes = [family.parameters_of_one for family in families]
        self.inputs = [family.inputs for family in families]
        at, read_at = offsets(self.sizes), offsets(self.inputs)
        found: dict[object, list[int]] = {}
        for i, family in enumerate(families):
            found.setdefault(_alike(family, i), []).append(i)
        # not a ModuleList: these modules are the owner's
        self._groups: tuple[_Group, ...] = tuple(
            _GROUPS.get(key[0], _Single)([families[i] for i in columns])  # type: ignore[index]
            for key, columns in found.items()
        )
        order: list[int] = []
        inputs: list[tuple[int, int]] = []
        wanted: list[int] = []
        begun = 0
        end = sum(self.sizes)  # behind all parameters there is a -inf, for the pads
        for group, columns in zip(self._groups, found.values(), strict=True):
            order += columns
            width = len(group.features_at[0])
            for k, i in enumerate(columns):
                wanted += [end if p is None else at[i].start + p for p in group.parameters[k]]
                mine = [begun + k * width + place for place, used in enumerate(group.features_at[k]) if used]
                inputs += zip(range(read_at[i].start, read_at[i].stop), mine, strict=True)
            begun += width * len(columns)
        self._columns = [len(columns) for columns in found.values()]
        self._thetas = [len(group.parameters[0]) * k for group, k in zip(self._groups, self._columns, strict=True)]
        self.register_buffer("order", torch.tensor(order), False)
        self.register_buffer("theta_from", torch.tensor(wanted), False)
        self.register_buffer("back", torch.tensor(order).argsort(), False)
        self.register_buffer("inputs_back", torch.tensor([at for _, at in sorted(inputs)]), False)
        self._padded = any(None in row for group in self._groups for row in group.parameters)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p of every column, (*batch, columns).

        Args:
            x: (*batch, columns).
            theta: (*batch, sum of the families' numbers of parameters).
        """
        if self._padded:
            theta = torch.cat([theta, theta.new_full((*theta.shape[:-1], 1), -torch.inf)], dim=-1)
        # one gathering for all groups: the gradient of each would be as large as theta
        at = self.get_buffer("theta_from").expand(*theta.shape[:-1], -1)
        thetas = theta.gather(-1, at).split(self._thetas, dim=-1)
        columns = x.index_select(-1, self.get_buffer("order")).split(self._columns, dim=-1)
        results = [
            group.log_prob(values, mine.unflatten(-1, (values.shape[-1], -1)))
            for group, values, mine in zip(self._groups, columns, thetas, strict=True)
        ]
        return torch.cat(results, dim=-1).index_select(-1, self.get_buffer("back"))

    def features(self, x: Tensor) -> Tensor:
        """What a network reads of every column, one column's behind the other's: (*batch, sum of the families' inputs)."""
        columns = x.index_select(-1, self.get_buffer("order")).split(self._columns, dim=-1)
        results = [group.features(values).flatten(-2) for group, values in zip(self._groups, columns, strict=True)]
        return torch.cat(results, dim=-1).index_select(-1, self.get_buffer("inputs_back"))


class _Group(ABC):
    """Columns of one kind, made of their families.

    Attributes:
        parameters: for each column, which of its family's parameters stands where in a padded theta; None for a pad.
        features_at: for each column, which of the padded features are its family's.
    """

    parameters: list[list[int | None]]
    features_at: list[list[bool]]

    @abstractmethod
    def __init__(self, families: list[Family]) -> None: ...

    @abstractmethod
    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """(*batch, k) of x (*batch, k) and theta (*batch, k, padded)."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """(*batch, k, padded)."""


class _Single(_Group):
    """One column of any family."""

    def __init__(self, families: list[Family]) -> None:
        (self.family,) = families
        self.parameters = [list(range(self.family.parameters_of_one))]
        self.features_at = [[True] * self.family.inputs]

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.family.log_prob(x[..., 0], theta[..., 0, :]).unsqueeze(-1)

    def features(self, x: Tensor) -> Tensor:
        return self.family.features(x[..., 0]).unsqueeze(-2)


class _Smooth(_Group):
    """Columns of logistics with the same number of components and bins, all of them with ends or none."""

    def __init__(self, families: list[Family]) -> None:
        self.families = families
        one = families[0]
        self.has_ends = _smooth(one).has_ends
        self.parameters = [list(range(one.parameters_of_one)) for _ in families]
        self.features_at = [[True] * one.inputs for _ in families]

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        numbers = torch.tensor([_smooth(family).numbers for family in self.families], dtype=x.dtype, device=x.device)
        low, high, most = numbers.unbind(dim=-1)
        return mixture_log_prob(x, theta, most, *((low, high) if self.has_ends else ()))

    def features(self, x: Tensor) -> Tensor:
        knots = torch.stack([_smooth(family).get_buffer("knots") for family in self.families])
        return come_through(x, knots.to(x))


class _Lattices(_Smooth):
    """Columns on lattices, each with its own."""

    def __init__(self, families: list[Family]) -> None:
        super().__init__(families)
        lattices = [family for family in families if isinstance(family, Lattice)]
        self.numbers = [family.numbers for family in lattices]
        self.straight = all(family.curve.straight for family in lattices)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        numbers = torch.tensor(self.numbers, dtype=x.dtype, device=x.device).unbind(dim=-1)
        return lattice_log_prob(x, theta, self.has_ends, self.straight, *numbers)


class _WithAtoms(_Group):
    """Columns with atoms beside another group's families; those with fewer atoms are padded."""

    def __init__(self, families: list[Family]) -> None:
        inner = [family.inner for family in families if isinstance(family, Atoms)]
        self.values = [family.values for family in families if isinstance(family, Atoms)]
        self.inner: _Group = _GROUPS[type(inner[0])](inner)
        self.discrete = inner[0].discrete
        self.most = most = max(len(values) for values in self.values)
        self.parameters, self.features_at = [], []
        rests = zip(self.inner.parameters, self.inner.features_at, strict=True)
        for values, (rest, features) in zip(self.values, rests, strict=True):
            own = 1 + len(values)
            pads = most - len(values)
            moved = [None if p is None else own + p for p in rest]
            self.parameters.append([*range(own), *[None] * pads, *moved])
            self.features_at.append([*[True] * own, *[False] * pads, *features])

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        log_w, rest = theta[..., : 1 + self.most].log_softmax(dim=-1), theta[..., 1 + self.most :]
        return atoms_log_prob(self._at(x), log_w, self.inner.log_prob(x, rest), self.discrete)

    def features(self, x: Tensor) -> Tensor:
        at = self._at(x)
        off = ~at.any(dim=-1, keepdim=True)
        return torch.cat([off.to(x.dtype), at.to(x.dtype), self.inner.features(x)], dim=-1)

    def _at(self, x: Tensor) -> Tensor:
        padded = [[*values, *[torch.nan] * (self.most - len(values))] for values in self.values]
        return x.unsqueeze(-1) == torch.tensor(padded, dtype=x.dtype, device=x.device)


class _OfLevels(_Group):
    """Columns of levels, of which a network reads one number for each."""

    def __init__(self, families: list[Family]) -> None:
        self.counts = [family.parameters_of_one for family in families]
        self.most = max(self.counts)
        self.parameters = [[*range(n), *[None] * (self.most - n)] for n in self.counts]
        self.features_at = [[place < n for place in range(self.most)] for n in self.counts]

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        return levels_log_prob(x, theta, torch.tensor(self.counts, device=x.device))

    def features(self, x: Tensor) -> Tensor:
        most = torch.tensor(self.counts, dtype=x.dtype, device=x.device) - 1
        level = torch.minimum(x.nan_to_num().round().clamp(min=0), most)
        return (level.unsqueeze(-1) == torch.arange(self.most, device=x.device)).to(x.dtype)


class _OfManyLevels(_OfLevels):
    """Columns of levels, of which a network reads a learned vector."""

    def __init__(self, families: list[Family]) -> None:
        super().__init__(families)
        self.families = families
        self.features_at = [[True] * family.inputs for family in families]

    def features(self, x: Tensor) -> Tensor:
        columns = zip(self.families, x.unbind(dim=-1), strict=True)
        return torch.stack([family.features(values) for family, values in columns], dim=-2)


_GROUPS: dict[object, type[_Group]] = {
    Logistics: _Smooth,
    Lattice: _Lattices,
    Atoms: _WithAtoms,
    Levels: _OfLevels,
    "vectors": _OfManyLevels,
}


def _alike(family: Family, number: int) -> tuple[object, ...]:
    """What columns that can be evaluated together have in common, their group's name first."""
    if isinstance(family, Logistics):
        return Logistics, family.components, family.inputs, family.has_ends
    if isinstance(family, Lattice):
        return Lattice, family.smooth.components, family.inputs, family.smooth.has_ends, family.curve.straight
    if isinstance(family, Atoms) and isinstance(family.inner, Logistics | Lattice):
        return (Atoms, *_alike(family.inner, number), _size(len(family.values)))
    if isinstance(family, Levels):
        return (Levels if family.vectors is None else "vectors"), _size(family.count)
    return "alone", number


def _size(count: int) -> int:
    """Equal for counts that may be padded to one length."""
    size = 0
    while _PADDING**size < count:
        size += 1
    return size


def _smooth(family: Family) -> Logistics:
    """The logistics of a column that has some."""
    if isinstance(family, Lattice):
        return family.smooth
    instance_of("families", family, Logistics)
    return family  # type: ignore[return-value]


def offsets(sizes: Sequence[int]) -> list[slice]:
    """Where each of some pieces lies that are laid one behind the other."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
