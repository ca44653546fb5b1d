"""Where a run is, told in a trace, and a process that stays at a chosen moment until it is killed there.

`arm` puts itself around the functions in which a run trains, decides, inherits, and writes. It is called in a
controller, and in a worker when the task is unpickled there, since that imports this module.
"""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

from popgrad.executors import serial
from popgrad.executors.processes import worker
from popgrad.executors.processes.shared_memory import Layout, View
from popgrad.store import checkpoints
from popgrad.store.journal import Journal
from popgrad.strategies.base import Strategy

PHASES = ("training", "deciding", "inheriting", "writing", "renaming", "committing")
EDGES = ("beginning", "ending")
"""Files of the run as a whole get their names: journal and configuration; winner and tables."""

VARIABLE = "POPGRAD_TEST_MOMENT"
"""Names the trace's folder and the moment to stay at, as JSON. Workers inherit it."""

PATIENCE = 120
"""Seconds after which a process that nobody kills ends by itself."""


@dataclass(frozen=True)
class Moment:
    """A moment in a run.

    Attributes:
        phase: One of `PHASES` or `EDGES`.
        entry: Which of the entries into it, of all processes, from 1.
        part: How much of it is over, in [0, 1).
    """

    phase: str
    entry: int
    part: float


@dataclass(frozen=True)
class Trace:
    """What the processes of a run have told: a line for each event, in the order in which they happened.

    Attributes:
        folder: Where it lies.
    """

    folder: Path

    def tell(self, what: str, **facts: Any) -> None:
        """Append an event. One write to a file that is opened for appending is never torn."""
        event = {
            "what": what,
            "at": time.monotonic(),
            "pid": os.getpid(),
            "thread": threading.get_ident(),
        }
        fd = os.open(self.folder / "trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, (json.dumps(event | facts) + "\n").encode())
        finally:
            os.close(fd)

    def events(self) -> list[dict[str, Any]]:
        """All events so far."""
        try:
            text = (self.folder / "trace").read_text()
        except FileNotFoundError:
            return []
        # A write over the end of a page grows the file twice: a reader may see half of the last line.
        complete = text[: text.rfind("\n") + 1]
        return [json.loads(line) for line in complete.splitlines()]

    def entries(self) -> Counter[str]:
        """How often each phase was entered."""
        return Counter(event["phase"] for event in self.events() if event["what"] == "enter")

    def unfinished(self) -> list[tuple[int, str]]:
        """(pid, phase) of what was entered and never left."""
        inside: Counter[tuple[int, int, str]] = Counter()
        for event in self.events():
            if event["what"] in ("enter", "exit"):
                where = event["pid"], event["thread"], event["phase"]
                inside[where] += 1 if event["what"] == "enter" else -1
        return [(pid, phase) for (pid, _, phase), open_ in inside.items() for _ in range(open_)]

    def held(self) -> bool:
        """Whether a process has come to the moment, and stays there."""
        return any(event["what"] == "held" for event in self.events())

    def claim(self) -> bool:
        """Whether this process is the first to come to the moment."""
        try:
            os.close(os.open(self.folder / "claimed", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class Entry:
    """One entry into a phase.

    Attributes:
        trace: Where to tell.
        part: How much of it is to be over when the process stays; None = it goes through.
    """

    trace: Trace
    part: float | None = None

    def share(self, whole: int) -> int | None:
        """How much of something is to be done by then, in 0..whole; None = all, and on."""
        return None if self.part is None else int(self.part * (whole + 1))

    def reached(self, done: int, whole: int) -> None:
        """Say how far it is: 0 before all, `whole` after it. Stays here for good if this is the moment."""
        if self.share(whole) == done:
            self.hold()

    def hold(self) -> None:
        """Stay here until somebody kills this process."""
        self.trace.tell("held")
        time.sleep(PATIENCE)
        os._exit(99)


_trace: Trace | None = None
_moment: Moment | None = None


@contextmanager
def phase(name: str) -> Iterator[Entry]:
    """Be in a phase."""
    if _trace is None:
        yield Entry(Trace(Path()))
        return
    _trace.tell("enter", phase=name)
    here = _moment is not None and _moment.phase == name and _trace.entries()[name] >= _moment.entry
    yield Entry(_trace, _moment.part if here and _moment is not None and _trace.claim() else None)
    _trace.tell("exit", phase=name)


def tell(what: str) -> None:
    """Tell of an event of another kind."""
    if _trace is not None:
        _trace.tell(what)


# --- around the functions --------------------------------------------------------------------------------


def order(folder: Path, moment: Moment | None) -> None:
    """Have this process and its workers keep a trace, and stay at a moment."""
    os.environ[VARIABLE] = json.dumps([str(folder), None if moment is None else asdict(moment)])
    arm()


def arm() -> None:
    """Do what was ordered, if anything was. Once: these functions are then told of for good."""
    global _trace, _moment
    if VARIABLE not in os.environ or _trace is not None:
        return
    folder, moment = json.loads(os.environ[VARIABLE])
    _trace, _moment = Trace(Path(folder)), None if moment is None else Moment(**moment)
    _around(checkpoints, "overwrite", _writing)
    _around(os, "replace", _renaming)
    _around(Journal, "_transaction", _committing)
    _around(serial.Serial, "_train", _of_an_heir(lambda _, assignment: assignment))
    _around(serial, "clone", _cloning)
    _around(worker, "_train", _of_an_heir(lambda task, name, job, *others: job.assignment))
    _around(View, "read", _reading)


def _around(place: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    original = getattr(place, name)
    setattr(place, name, wraps(original)(wrap(original)))


def deciding(strategy: Strategy) -> Strategy:
    """The same strategy: before it has decided, and after, but before that is recorded."""

    def step(*given: Any) -> Any:
        with phase("deciding") as entry:
            entry.reached(0, 1)
            decided = strategy.step(*given)
            entry.reached(1, 1)
            return decided

    return strategy._replace(step=step)


def _writing(original: Any) -> Any:
    """A checkpoint's bytes: none, some or all of them."""

    def overwrite(path: Path, content: bytes) -> None:
        with phase("writing") as entry:
            if (share := entry.share(len(content))) is not None:
                original(path, content[:share])
                entry.hold()
            original(path, content)

    return overwrite


def _renaming(original: Any) -> Any:
    """A file gets its name: before and after."""

    def replace(source: Any, target: Any, **given: Any) -> None:
        path = Path(target)
        first = path.name in ("journal.db", "run.toml")
        in_checkpoints = path.parent.name == "checkpoints"
        with phase("renaming" if in_checkpoints else "beginning" if first else "ending") as entry:
            entry.reached(0, 1)
            original(source, target, **given)
            entry.reached(1, 1)

    return replace


def _committing(original: Any) -> Any:
    """A transaction of the journal: before it, before COMMIT, and after that has returned."""

    @contextmanager
    def transaction(journal: Journal) -> Iterator[None]:
        with phase("committing") as entry:
            entry.reached(0, 2)
            with original(journal):
                yield
                entry.reached(1, 2)
            entry.reached(2, 2)

    return transaction


_heir = (
    threading.local()
)  # .trains: whether this thread trains a segment that starts from another member's


def _of_an_heir(assignment_of: Callable[..., Any]) -> Callable[[Any], Any]:
    def wrap(original: Any) -> Any:
        def train(*given: Any) -> Any:
            assignment = assignment_of(*given)
            _heir.trains = (
                assignment.source is not None and assignment.source[0] != assignment.member
            )
            try:
                return original(*given)
            finally:
                _heir.trains = False

        return train

    return wrap


def _cloning(original: Any) -> Any:
    """A donor's state is copied within a process: before and after."""

    def clone(state: Any) -> Any:
        if not getattr(_heir, "trains", False):
            return original(state)
        with phase("inheriting") as entry:
            entry.reached(0, 1)
            copy = original(state)
            entry.reached(1, 1)
            return copy

    return clone


def _reading(original: Any) -> Any:
    """A donor's state is copied out of its slot: none, some or all of its tensors."""

    def read(view: View, where: Layout) -> Any:
        if not getattr(_heir, "trains", False):
            return original(view, where)
        with phase("inheriting") as entry:
            if (share := entry.share(len(where.leaves))) is not None:
                original(view, replace(where, leaves=where.leaves[:share]))
                entry.hold()
            return original(view, where)

    return read


arm()
