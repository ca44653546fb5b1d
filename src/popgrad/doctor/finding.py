"""One thing that the doctor has looked at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        about: What was looked at.
        level: "ok"; "note", something to know; "problem", something to do.
        text: What was found, in one line.
        advice: What to do; "" = nothing.
    """

    about: str
    level: Literal["ok", "note", "problem"]
    text: str
    advice: str = ""


def size(count: int) -> str:
    """Bytes in words."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
