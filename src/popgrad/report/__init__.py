"""Reports of a record: tables, text and plain data; figures and events are modules of their own."""

from popgrad.report.history import frame, rows, searched, write_csv
from popgrad.report.text import summary, summary_data

__all__ = ["rows", "write_csv", "frame", "searched", "summary", "summary_data"]
