"""A model and a table as one page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from anabranch.atomic import replacing
from anabranch.checks import instance_of, positive_int, seed_number
from anabranch.report.calibration import Checks, calibration
from anabranch.report.columns import Pictured, columns
from anabranch.report.gaps import gaps
from anabranch.report.hidden import hidden
from anabranch.report.likelihood import likelihood
from anabranch.report.opening import opening
from anabranch.report.page import page, require_plotly
from anabranch.report.pairs import pairs
from anabranch.report.parts import parts
from anabranch.report.surprises import surprises
from anabranch.report.view import View
from anabranch.report.wording import count
from anabranch.tables import TableModel, TableStream, as_table

_MOST_COLUMNS = 60


def write_report(
    model: TableModel,
    table: Any,
    path: str | os.PathLike[str],
    *,
    fit: Mapping[str, Any] | None = None,
    table_name: str = "the table",
    model_name: str = "the model",
    rows: int = 20_000,
    seed: int = 0,
) -> None:
    """Write a page that shows a model beside a table: one HTML file, interactive, that needs no network.

    It has data beside samples for each column and for the pairs that depend on each other most, the log-likelihood beside
    the baselines of the fit, calibration by probability integral transforms, the use of depths or components of a mixture,
    the hidden numbers of an autoencoder, the most surprising rows, and what would fill the gaps. If the table is the one
    that was fitted, which `fit` and the likelihood of its held-out rows show, likelihood and calibration are of rows that
    were held out.

    Args:
        model: of `fit_table`, of any order or a density of real numbers, with given columns or without.
        table: a data frame with the model's columns, or a `TableStream`, of which a sample is taken.
        path: the file; it appears whole or not at all.
        fit: the record of the fit, `report.to_dict()` of `fit_table`'s report, which `anabranch fit` leaves in the model's
            file: `read_metadata(path)["metadata"]["report"]`. Without it there are no baselines to show.
        table_name, model_name: what they are called on the page.
        rows: how many rows to look at, at most; of a longer table so many are drawn at random, and the page says so.
        seed: of everything random. The same input gives the same page.

    Raises:
        ValueError: plotly is missing (`pip install "anabranch[report]"`); an argument that is not as described.
        TableError: the table lacks a column of the model, or one holds what it cannot.
        FileNotFoundError: the folder of the file does not exist.

    Example:
        >>> import pathlib, tempfile, pyarrow
        >>> import anabranch as ab
        >>> from anabranch.report import write_report
        >>> from anabranch.tables import Schema, TableModel
        >>> from anabranch.tables.columns import Continuous
        >>> model = TableModel(Schema([Continuous("height", 170.0, 10.0)]), ab.densities.Normal.standard(1))
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
        >>> write_report(model, pyarrow.table({"height": [165.0, 171.0, 190.0]}), path)
        >>> path.read_text().startswith("<!doctype html>")
        True
    """
    require_plotly()
    instance_of("model", model, TableModel)
    rows, seed = positive_int("rows", rows), seed_number(seed)
    if isinstance(table, TableStream):
        all_rows = table.rows
        names = [name for name in table.column_names if name in (*model.schema.columns, *model.schema.given)]
        sample, numbers = table.sample(seed, names or None)
        frame = sample.slice(0, len(numbers))
    else:
        frame = as_table(table)
        all_rows = frame.num_rows
    # before any long work
    with replacing(path) as temporary:
        view = View.of(model, frame, fit, rows, all_rows, seed)
        checks, pictured = Checks.of(view), Pictured.of(view)
        sections = [
            opening(view, table_name, model_name),
            likelihood(view, checks),
            columns(view, pictured, _MOST_COLUMNS),
            pairs(view, pictured),
            calibration(view, checks, _MOST_COLUMNS),
            parts(view, checks),
            hidden(view),
            gaps(view, _MOST_COLUMNS),
            surprises(view, pictured),
        ]
        words = f"{model_name} beside {table_name}"
        text = page(words, _subtitle(view), [section for section in sections if section is not None])
        temporary.write_text(text, encoding="utf-8")


def _subtitle(view: View) -> str:
    names = view.schema.columns
    given = f" given {count(len(view.schema.given), 'other')}" if view.schema.given else ""
    rows = count(view.all_rows, "row")
    return f"{count(len(names), 'column')}{given}, {rows}: what the model says, and how far it is right."
