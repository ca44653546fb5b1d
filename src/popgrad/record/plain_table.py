"""Tables as plain text and as HTML: what a prompt or a notebook shows of an object."""

from collections.abc import Sequence
from html import escape

Cells = Sequence[Sequence[str]]
"""Rows of a table, all of the same length."""


def text_table(title: str, rows: Cells) -> str:
    """Return a title, and below it the rows with aligned columns.

    Example:
        >>> print(text_table("Colours", [["red", "1"], ["yellow", "2"]]))
        Colours
          red     1
          yellow  2
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([title, *(f"  {line}" for line in lines)])


def html_table(title: str, rows: Cells, *, headings: bool = False) -> str:
    """Return the same table as HTML.

    Args:
        title: Caption of the table.
        rows: Its rows.
        headings: Whether the first row holds headings, else the first cell of each row is one.
    """
    lines = []
    for number, row in enumerate(rows):
        kinds = [
            "th" if (headings and number == 0) or (not headings and i == 0) else "td"
            for i in range(len(row))
        ]
        cells = (f"<{kind}>{escape(cell)}</{kind}>" for kind, cell in zip(kinds, row, strict=True))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><caption>{escape(title)}</caption>{''.join(lines)}</table>"


def value_text(value: object) -> str:
    """Return a value of a hyperparameter or a score; four significant digits of a float.

    Example:
        >>> value_text(0.0123456), value_text(64), value_text("adam")
        ('0.01235', '64', 'adam')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shortened(rows: Cells, most: int) -> list[Sequence[str]]:
    """Return at most so many rows: the first and the last ones, with a row of dots between them."""
    if len(rows) <= most:
        return list(rows)
    half = most // 2
    return [*rows[:half], ["…"] * len(rows[0]), *rows[-half:]]
