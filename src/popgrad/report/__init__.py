"""What a run has found: as a table, as figures, as text and as plain data."""

from popgrad.report import figures
from popgrad.report.history import frame, rows, searched, write_csv
from popgrad.report.text import summary, summary_data

__all__ = [
    "rows",
    "write_csv",
    "frame",
    "searched",
    "figures",
    "summary",
    "summary_data",
]
