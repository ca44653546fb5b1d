"""Tables of a run's timings for a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from popgrad.record.timings import ACTIVITIES, Timings

_LEAST_SHARE = 0.0005
"""Share of a time below which a row is left out: it would print as 0.0 %."""


def timings_table(found: Timings) -> RenderableType:
    """Return two tables: the workers, and the controller.

    Args:
        found: Where the time of the run went.
    """
    workers = f"{found.workers} worker{'' if found.workers == 1 else 's'}"
    task = found.task or 0.0
    executor = found.executor or 0.0
    of_workers = [
        ("in the task: starting, training, evaluating", task),
        ("in the executor: states, digests, checkpoints", executor),
        ("waiting for the next segment", found.waiting),
    ]
    of_controller = [
        (words, found.controller.get(activity, 0.0)) for activity, words in ACTIVITIES.items()
    ]
    parts: list[RenderableType] = []
    if found.task is not None:
        parts.append(_table(workers, of_workers))
    else:
        parts.append(Text("No segment has timings yet."))
    if found.controller:
        parts.append(_table("controller", of_controller))
    else:
        parts.append(Text("The controller's own time is recorded at the end of a session."))
    return Group(*parts)


def _table(title: str, rows: Sequence[tuple[str, float]]) -> Table:
    """Return a table of seconds and shares, with the whole in its last row."""
    whole = sum(seconds for _, seconds in rows)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title)
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    for words, seconds in rows:
        share = seconds / whole if whole else 0.0
        if share >= _LEAST_SHARE:
            table.add_row(words, f"{seconds:.3g}", f"{share:.1%}")
    table.add_row("all", f"{whole:.3g}", "", style="bold")
    table.add_row()
    return table
