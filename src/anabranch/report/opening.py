"""What the table and the model are."""

from __future__ import annotations

from anabranch.report.blocks import Block, Facts, Fold, Paragraph, Section, Table
from anabranch.report.view import View
from anabranch.report.wording import count, percent
from anabranch.training.outcome import course_in_words

# a unit with more letters than this is written out in a fold
_LONG = 240


def opening(view: View, table_name: str, model_name: str) -> Section:
    """Names, sizes, columns and the unit."""
    schema, fit = view.schema, view.fit
    parameters = sum(p.numel() for p in view.density.parameters() if p.requires_grad)
    words = fit["model"] if fit else type(view.density).__name__
    looked = "all of them" if len(view.x) == view.all_rows else f"{len(view.x):,} of them, drawn at random,"
    rows: list[tuple[str, str]] = [
        ("Table", f"{table_name}: {count(view.all_rows, 'row')}; this page looks at {looked} (seed {view.seed})"),
        ("Model", f"{model_name}: {words}, {count(parameters, 'parameter')}"),
    ]
    if fit:
        parts = fit["rows"]
        rows.append(
            (
                "Fit",
                f"to {count(parts['training'], 'row')}, with {parts['validation']:,} to stop by and {parts['test']:,} "
                f"held out (seed {fit['seed']}); {course_in_words(fit)}",
            )
        )
    rows.append(("Columns", f"{len(schema.columns)} modelled" + _given(view)))
    unit = f"log-likelihoods are in {view.model.unit}"
    if len(unit) > _LONG:
        discrete = sum(part.discrete for part in schema.parts)
        smooth = len(schema.parts) - discrete
        unit = (
            f"log-likelihoods are in nats per row, of a density in {count(smooth, 'column')} and a probability of "
            f"{discrete:,} (written out below)"
        )
    rows.append(("Unit", unit))
    gaps = view.gaps.mean(axis=0)
    described = [
        [name, role, kind, what, percent(float(gaps[i])) if i < len(gaps) else "0 %"]
        for i, (name, role, kind, what) in enumerate(schema.rows())
    ]
    columns = Table(["column", "role", "kind", "values", "gaps"], described, numbers=[4])
    blocks: list[Block] = [Facts(rows), Paragraph(_provenance(view))]
    blocks.append(
        columns if len(described) <= 8 else Fold(f"All {len(described)} columns, with their kinds", [columns])
    )
    if len(view.model.unit) > _LONG:
        blocks.append(Fold("The unit, written out", [Paragraph(view.model.unit)]))
    blocks.append(
        Paragraph(
            "Blue is data, orange is drawn from the model. Point at a picture for its numbers; with a mouse, drag "
            "to zoom and double-click to come back. All that is random here has a fixed seed."
        )
    )
    return Section("overview", "Table and model", blocks)


def _given(view: View) -> str:
    given = view.schema.given
    return f", given {', '.join(given)}: every statement below is for the given values of each row" if given else ""


def _provenance(view: View) -> str:
    if view.held_out is not None:
        return (
            "This is the table that was fitted: "
            f"{count(int(view.held_out.sum()), 'of the rows was', 'of the rows were')} held out of the fit, which "
            "the mean log-likelihood of those rows confirms. Likelihood and calibration below are of held-out rows "
            "alone."
        )
    return (
        "Which of these rows the fit has seen is not known: the file of the model does not tell, or this is another "
        "table than the one that was fitted. On rows that a model was fitted to, likelihood and calibration look "
        "better than they are."
    )
