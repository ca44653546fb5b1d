"""A finding of the doctor."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """A finding, and what to do about it.

    Attributes:
        about: Part that was examined.
        level: "ok"; "note", something to know; "problem", something to do.
        text: The finding in one line.
        advice: What to do; "" = nothing.
    """

    about: str
    level: Literal["ok", "note", "problem"]
    text: str
    advice: str = ""


def size(count: int) -> str:
    """Return a number of bytes in words, such as "1.5 MB"."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
