"""Families of distributions of one number, told by parameters which of its members: what a column of a table can be."""

from anabranch.families.atoms import Atoms
from anabranch.families.column_by_column import ColumnByColumn
from anabranch.families.family import Family
from anabranch.families.lattice import Lattice
from anabranch.families.levels import Levels
from anabranch.families.logistics import Logistics
from anabranch.families.panel import Panel

__all__ = ["Atoms", "ColumnByColumn", "Family", "Lattice", "Levels", "Logistics", "Panel"]
