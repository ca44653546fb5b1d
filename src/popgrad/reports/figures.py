"""Figures of a run, and their files.

They are drawn on `matplotlib.figure.Figure` alone, so nothing global (pyplot, a backend) is
touched, and equal arguments give equal PNG files. Colours of text and background are matplotlib's.
"""

import io
from os import PathLike
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from popgrad.reports.founders import founders
from popgrad.reports.lineage_map import lineage
from popgrad.reports.results import results
from popgrad.reports.schedule import rate, schedule
from popgrad.reports.scores import scores
from popgrad.reports.style import DPI
from popgrad.reports.timeline import timeline
from popgrad.store.atomic import replacing

__all__ = [
    "results", "schedule", "rate", "scores", "lineage", "founders", "timeline",
    "save", "shown_in_notebooks",
]  # fmt: skip


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure in the format of the path's suffix; it replaces an older file as a whole.

    Equal figures give equal files: an SVG or a PDF has no date, and no random names.
    """
    path = Path(path)
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    metadata: Any = undated.get(path.suffix.lower())
    with replacing(path) as aside, rc_context({"svg.hashsalt": "popgrad"}):
        figure.savefig(aside, dpi=DPI, metadata=metadata)


def shown_in_notebooks(figure: Figure) -> Figure:
    """Return a figure that a notebook shows as a picture, also if pyplot is not loaded."""

    def png() -> bytes:
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI)
        return content.getvalue()

    figure._repr_png_ = png  # type: ignore[attr-defined]
    return figure
