"""Everything that was found, as one page that opens from disk."""

from llc.report.write import report_of_run, write_report

__all__ = ["report_of_run", "write_report"]
