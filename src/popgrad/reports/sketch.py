"""A small drawing of a schedule as SVG for a notebook: drawn in milliseconds, in the colours of the page."""

from collections.abc import Sequence
from html import escape as escape_html

from popgrad.core.segment import Segment
from popgrad.core.space import Dimension
from popgrad.record.lineage import jumps
from popgrad.record.plain_table import value_text
from popgrad.record.record import Record
from popgrad.reports.escape import escape
from popgrad.reports.history import searched

MOST_PANELS = 8
"""Hyperparameters that are drawn."""

_MOST_OTHERS = 1000
"""Segments of other members above which they are left out, so that the drawing stays small."""

_WIDTH = 560
_LEFT = 150  # room for the names
_RIGHT = 80  # room for the ends of the range
_HEIGHT = 44  # of a panel
_STEP = 60  # from panel to panel
_TOP = 12
_BOTTOM = 22

_WINNER = "#D55E00"


def schedule_svg(record: Record) -> str:
    """Return the winner's schedule among the other members: a panel for each searched hyperparameter.

    The height of a panel is the range of the hyperparameter along its scale. A tick marks where an
    heir took over from a donor. At most 8 hyperparameters are drawn, and the rest counted.

    Args:
        record: Record with a winner.

    Returns:
        An element svg; "" = nothing was searched.

    Raises:
        AllMembersFailedError: There is no winner.
    """
    line = record.lineage()
    shown = list(searched(record.space).items())
    if not shown:
        return ""

    steps = max(segment.last_step for segment in record.segments)
    others = record.segments if len(record.segments) <= _MOST_OTHERS else ()
    heirs = [heir for _, heir in jumps(line, record.copied)]
    panels = [
        _panel(name, dimension, line, others, heirs, steps, _TOP + number * _STEP)
        for number, (name, dimension) in enumerate(shown[:MOST_PANELS])
    ]
    height = _TOP + len(panels) * _STEP + _BOTTOM
    below = f"training steps, 0 to {steps}"
    if len(shown) > MOST_PANELS:
        below += f"; {len(shown) - MOST_PANELS} more hyperparameters"
    panels.append(_text(_LEFT, height - _BOTTOM / 2, below, opacity=0.7, longest=80))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="11" '
        f'fill="currentColor" role="img"><title>schedule of the winner</title>'
        f"{''.join(panels)}</svg>"
    )


def _panel(
    name: str,
    dimension: Dimension,
    line: Sequence[Segment],
    others: Sequence[Segment],
    heirs: Sequence[Segment],
    steps: int,
    top: float,
) -> str:
    """Return a panel: its frame, the other members, the lineage, and words on both sides."""

    def x(step: int) -> str:
        return _number(_LEFT + (_WIDTH - _LEFT - _RIGHT) * step / steps)

    def y(segment: Segment) -> str:
        return _number(top + _HEIGHT * (1 - dimension.encode(segment.hparams[name])))

    def path(segments: Sequence[Segment], joined: str) -> str:
        """Return the strokes of segments, after the first with `joined` to the next: M or V."""
        parts = []
        for place, each in enumerate(segments):
            start = f"M{x(each.first_step)} {y(each)}"
            parts.append((f"V{y(each)}" if place and joined else start) + f"H{x(each.last_step)}")
        return "".join(parts)

    ticks = "".join(f"M{x(heir.first_step)} {y(heir)}m0 -5v10" for heir in heirs)
    first = value_text(line[0].hparams[name])
    last = value_text(line[-1].hparams[name])
    values = first if first == last else f"{first} → {last}"
    bottom = top + _HEIGHT
    right = _WIDTH - _RIGHT + 6
    return "".join(
        [
            f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_HEIGHT}" '
            'fill="none" stroke="currentColor" stroke-opacity="0.25"/>',
            f'<path d="{path(others, "")}" fill="none" stroke="currentColor" stroke-opacity="0.3"/>',
            f'<path d="{path(line, "V")}" fill="none" stroke="{_WINNER}" stroke-width="2.5"/>',
            f'<path d="{ticks}" fill="none" stroke="currentColor" stroke-width="1.4"/>',
            _text(_LEFT - 8, top + 16, name, anchor="end", weight="bold"),
            _text(_LEFT - 8, top + 32, values, anchor="end"),
            _text(right, top + 9, value_text(dimension.decode(1.0)), opacity=0.7, longest=11),
            _text(right, bottom, value_text(dimension.decode(0.0)), opacity=0.7, longest=11),
        ]
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    weight: str = "normal",
    opacity: float = 1.0,
    longest: int = 18,
) -> str:
    """Return a string at a place; the name of a value may come from a stranger."""
    plain = escape(text.replace("\n", " ")).encode("utf-8", "backslashreplace").decode()
    short = plain if len(plain) <= longest else f"{plain[: longest - 1]}…"
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill-opacity="{opacity}">{escape_html(short)}</text>'
    )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
