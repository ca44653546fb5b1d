"""Durations in words."""


def duration(seconds: float) -> str:
    """Return a duration in words of one or two units, such as "42 s", "5 min" or "2 h 10 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
