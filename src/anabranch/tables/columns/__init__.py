"""Columns of a table: one file for each kind."""

from anabranch.tables.columns.angle import Angle
from anabranch.tables.columns.boolean import Boolean
from anabranch.tables.columns.bounded import Bounded
from anabranch.tables.columns.categorical import Categorical
from anabranch.tables.columns.column import Column, TableWarning
from anabranch.tables.columns.continuous import Continuous
from anabranch.tables.columns.integer import Integer
from anabranch.tables.columns.ordinal import Ordinal
from anabranch.tables.columns.positive import Positive
from anabranch.tables.columns.rounded import Rounded
from anabranch.tables.columns.time import Time

__all__ = [
    "Angle",
    "Boolean",
    "Bounded",
    "Categorical",
    "Column",
    "Continuous",
    "Integer",
    "Ordinal",
    "Positive",
    "Rounded",
    "TableWarning",
    "Time",
]
