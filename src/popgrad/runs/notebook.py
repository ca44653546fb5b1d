"""The result of a run in a notebook: a table, and the schedule of the winner as a drawing."""

import logging
from contextlib import suppress

from popgrad.core.errors import AllMembersFailedError
from popgrad.record.plain_table import Cells, html_table
from popgrad.record.record import Record
from popgrad.reports.escape import escape
from popgrad.reports.sketch import schedule_svg
from popgrad.reports.text import lineage_line

log = logging.getLogger("popgrad")


def result_html(title: str, rows: Cells, record: Record) -> str:
    """Return a description of a run as HTML: its table, and below it the schedule of the winner.

    Args:
        title: Caption of the table.
        rows: Rows of the table.
        record: Record of the run; without a winner there is the table alone.
    """
    shown = [list(map(escape, row)) for row in rows]
    drawing = ""
    try:
        with suppress(AllMembersFailedError):
            shown += _winner(record)
            drawing = schedule_svg(record)
    except Exception as error:
        # Without its drawing a result is still a result: a notebook must show the table.
        log.debug("the schedule cannot be drawn: %s", error)
    return html_table(escape(title), shown) + drawing


def _winner(record: Record) -> list[list[str]]:
    """Return rows on the winner: its metrics, and its lineage from end to root."""
    winner = record.winner
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in winner.metrics.items())
    words = f"member {winner.member}, {winner.last_step} steps"
    line = lineage_line(record.lineage(winner.id), record.copied).plain
    return [["winner", escape(f"{words}: {metrics}")], ["lineage", _shortened(line)]]


def _shortened(line: str, longest: int = 200) -> str:
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
