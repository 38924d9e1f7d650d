"""One page that shows a model of a table beside the table: self-contained HTML."""

from anabranch.report.write import write_report

__all__ = ["write_report"]
