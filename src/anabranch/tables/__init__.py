"""Tables: columns with names and units on one side, tensors and likelihoods on the other."""

from anabranch.tables import columns
from anabranch.tables.columns import Column, TableWarning
from anabranch.tables.detecting import Cell, Surprise, detect
from anabranch.tables.fit_table import fit_table
from anabranch.tables.frame import TableError, as_table
from anabranch.tables.model import TableModel
from anabranch.tables.read import ReadingWarning, read_sheet, read_table
from anabranch.tables.reading import Reading
from anabranch.tables.report import Report
from anabranch.tables.schema import Schema
from anabranch.tables.sheet import Sheet
from anabranch.tables.stream import TableStream
from anabranch.tables.write import write_table
from anabranch.training.outcome import Score

__all__ = [
    "Cell",
    "Column",
    "Reading",
    "ReadingWarning",
    "Report",
    "Schema",
    "Score",
    "Sheet",
    "Surprise",
    "TableError",
    "TableModel",
    "TableStream",
    "TableWarning",
    "as_table",
    "columns",
    "detect",
    "fit_table",
    "read_sheet",
    "read_table",
    "write_table",
]
