"""Tables that fit their console: numbers that align, headings without a double, columns by priority."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

# Significant digits: a validation set of 10,000 resolves no more of an accuracy.
DIGITS = 4
# A column is written with exponents if its numbers span more than this, or one is beyond these.
_WIDEST = 1e4
_LARGEST = 1e6
_SMALLEST = 1e-4
# Columns of a console that fits any table.
_UNBOUNDED = 10_000


def numbers(column: Iterable[object]) -> list[str]:
    """Return a column of values as text that aligns when it is set flush right.

    Floats get at least 4 significant digits and all the same number of decimals, or exponents if
    they span more than four orders of magnitude; other values are written as they are, None as
    nothing.
    """
    values = list(column)
    sizes = [
        abs(value)
        for value in values
        if isinstance(value, float) and math.isfinite(value) and value
    ]

    low = min(sizes, default=1.0)
    high = max(sizes, default=1.0)
    if high / low > _WIDEST or high >= _LARGEST or low < _SMALLEST:
        form = f".{DIGITS - 1}e"
    else:
        form = f".{max(0, DIGITS - 1 - math.floor(math.log10(low)))}f"
    return [_text(value, form) for value in values]


def _text(value: object, form: str) -> str:
    if value is None:
        return ""
    return format(value, form) if isinstance(value, float) else str(value)


def headings(names: Iterable[str], taken: Iterable[str], owner: str = "hparams") -> dict[str, str]:
    """Return a heading for each name: the name, or "hparams.<name>" if another column has it.

    Args:
        names: Names of hyperparameters, or of another owner.
        taken: Headings of the other columns.
        owner: Word before the dot.

    Example:
        >>> headings(["lr", "interval"], ["member", "interval"])
        {'lr': 'lr', 'interval': 'hparams.interval'}
    """
    found: dict[str, str] = {}
    used = set(taken)
    for name in names:
        heading = name
        while heading in used:
            heading = f"{owner}.{heading}"
        used.add(heading)
        found[name] = heading
    return found


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: Heading, one line.
        cells: Text of each row.
        priority: 0 = always shown; of the others, those with the highest number are left out first,
            and among equals the last.
        style: Style of the cells, such as "cyan"; "" = that of the row.
        left: Whether the text is set flush left.
    """

    heading: str
    cells: Sequence[str]
    priority: int = 0
    style: str = ""
    left: bool = False


class FittedTable:
    """A table that leaves out columns until it fits, and names them below; no cell is cut.

    Args:
        title: Title above the table; "" = none.
        columns: Columns, from left to right, with as many cells each.
        styles: Style of each row; () = none.
        sections: Numbers of the rows that a line follows.
        note: Line below the table; "" = none.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[Column],
        *,
        styles: Sequence[str] = (),
        sections: Sequence[int] = (),
        note: str = "",
    ) -> None:
        self._title = title
        self._columns = columns
        self._styles = styles
        self._sections = sections
        self._note = note

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table as wide as it may be, and the notes below it."""
        shown = list(self._columns)
        unbounded = options.update_width(_UNBOUNDED)
        while True:
            table = self._table(shown)
            droppable = [column for column in shown if column.priority]
            fits = console.measure(table, options=unbounded).maximum <= options.max_width
            if fits or not droppable:
                break
            least = max(column.priority for column in droppable)
            shown.remove([column for column in droppable if column.priority == least][-1])

        yield table
        left_out = [column.heading for column in self._columns if column not in shown]
        if left_out:
            yield Text(f"no room for {', '.join(left_out)}", style="dim italic")
        if self._note:
            yield Text(self._note, style="dim italic")

    def _table(self, columns: Sequence[Column]) -> Table:
        table = Table(
            title=self._title or None,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
        )
        for column in columns:
            table.add_column(
                Text(column.heading),
                justify="left" if column.left else "right",
                style=column.style,
                overflow="fold",
            )
        rows = zip(*(column.cells for column in columns), strict=True)
        for number, row in enumerate(rows):
            style = self._styles[number] if self._styles else ""
            table.add_row(*map(Text, row), style=style, end_section=number in self._sections)
        return table
