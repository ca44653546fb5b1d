"""A finding of the check."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["repeat", "lost", "leak", "process", "untracked", "iterator"]

_TEXTS: dict[Kind, str] = {
    "repeat": "the same interval, trained twice with the same seeds, gives two results",
    "lost": "an interval in a new loop differs from the same interval in the loop that continues",
    "leak": "an interval in a loop that has served another member differs from the same interval in a new "
    "loop",
    "process": "the same interval differs in another process with another hash seed",
}

_CURES: dict[Kind, str] = {
    "repeat": "seed every generator by m.seed(...), and keep clocks, os.urandom and globals that change out "
    "of the training",
    "lost": "track what has a state_dict (m.track), and keep counters and best values in m.state",
    "leak": "keep it in m.state, track it, or make it inside of `for _ in m`; reuse=False (the default) "
    "trains every segment in a new loop",
    "process": "sort sets before they are iterated over, and do not use hash() or id()",
}


@dataclass(frozen=True)
class Finding:
    """A reason why a task does not keep popgrad's promises.

    Attributes:
        kind: "repeat", "lost", "leak" and "process" = the comparison that failed; "untracked" = an object
            that no state holds; "iterator" = an iterator that is kept over a boundary.
        text: The finding in one line.
        advice: The cure in one line.
        parts: Parts of the state that differ, each with its differing leaves, such as "model: 4 of 4".
        variables: Variables that differed before the interval began, such as "counter: 16 / 0".

    Example:
        >>> finding = Finding("process", "the same interval differs", "sort sets", ("model: 4 of 4",))
        >>> print(finding)
        process: the same interval differs (model: 4 of 4); sort sets; see docs/checks/process.md
    """

    kind: Kind
    text: str
    advice: str
    parts: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """Page of the documentation about the kind."""
        return f"docs/checks/{self.kind}.md"

    def __str__(self) -> str:
        parts = f" ({', '.join(self.parts)})" if self.parts else ""
        variables = f"; before it: {', '.join(self.variables)}" if self.variables else ""
        return f"{self.kind}: {self.text}{parts}{variables}; {self.advice}; see {self.page}"


def unequal(kind: Kind, parts: list[str], variables: list[str] | None = None) -> Finding:
    """Return the finding of a comparison that failed.

    Args:
        kind: The comparison.
        parts: Parts of the state that differ.
        variables: Variables that differed before the interval.
    """
    return Finding(kind, _TEXTS[kind], _CURES[kind], tuple(parts), tuple(variables or ()))
