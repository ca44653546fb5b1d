"""The exception behind a failure, read from its traceback."""

import re
from dataclasses import dataclass
from typing import Self

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+)(?:, in .*)?$')
_INSTALLED = re.compile(r"site-packages|dist-packages|[/\\]lib[/\\]python\d|^<")
"""Files that belong to Python or to an installed library."""

_REPEATING = {
    *("TypeError", "NameError", "UnboundLocalError", "AttributeError", "NotImplementedError"),
    *("ImportError", "ModuleNotFoundError", "KeyError", "IndexError"),
    *("ValueError", "ZeroDivisionError", "OverflowError", "AssertionError", "RuntimeError"),
}
"""Exceptions that come again if the same line is run again with the same seeds. Others, such as those
of files, memory and networks, may pass by themselves."""

_MISTAKES = {
    *("TypeError", "NameError", "UnboundLocalError", "AttributeError", "NotImplementedError"),
    *("ImportError", "ModuleNotFoundError", "KeyError", "IndexError"),
}
"""Exceptions that hardly depend on the values of hyperparameters, but on the code."""


@dataclass(frozen=True)
class Fault:
    """An exception: its type, its message and the line that raised it.

    Attributes:
        kind: Name of the type, such as "ZeroDivisionError".
        message: First line of the message.
        file: File of the innermost line of the user's own code.
        line: Number of that line.

    Example:
        >>> text = '''Traceback (most recent call last):
        ...   File "wine.py", line 7, in train
        ...     1 / 0
        ... ZeroDivisionError: division by zero
        ... '''
        >>> str(Fault.read(text))
        'ZeroDivisionError: division by zero (wine.py, line 7)'
    """

    kind: str
    message: str
    file: str
    line: int

    @classmethod
    def read(cls, error: str) -> Self | None:
        """Return the exception of a traceback; None if the error is no traceback.

        Args:
            error: Error of an outcome or a segment.
        """
        frames: list[tuple[str, int]] = []
        raised = ""
        for line in error.splitlines():
            match = _FRAME.match(line)
            if match:
                frames.append((match["file"], int(match["line"])))
                raised = ""
            elif frames and not raised and not line.startswith(" "):
                # The first line that is not indented states the exception.
                raised = line
        if not raised:
            return None

        own = [frame for frame in frames if not _INSTALLED.search(frame[0])]
        file, number = (own or frames)[-1]
        kind, _, message = raised.partition(": ")
        return cls(kind, message, file, number)

    @property
    def repeats(self) -> bool:
        """Whether another attempt with the same seeds would end with it again."""
        # torch has no type of its own for a lack of memory on the CPU.
        return self.kind in _REPEATING and "memory" not in self.message

    @property
    def mistake(self) -> bool:
        """Whether it shows a mistake in the code, so that it concerns all members."""
        return self.kind in _MISTAKES

    def __str__(self) -> str:
        text = f"{self.kind}: {self.message}" if self.message else self.kind
        return f"{text} ({self.file}, line {self.line})"
