"""Loops that train several segments, one after the other, without being set up again.

A loop waits at its boundary until a segment comes that it can serve: one that differs only in what is
loaded and written there. Everything else gets a new loop.
"""

from weakref import WeakKeyDictionary, finalize

from popgrad.loops.call import Function, call
from popgrad.loops.coroutine import Coroutine, make_coroutine
from popgrad.loops.member import Finished, Member
from popgrad.loops.turn import Turn
from popgrad.state import State

_WAITING: "WeakKeyDictionary[object, WaitingLoop]" = WeakKeyDictionary()
"""Loops of this process that wait for a segment, by their tasks. A task in a worker is another object."""


class WaitingLoop:
    """A loop between two segments.

    Args:
        function: The loop.
        name: Its name.
        turn: Segment under whose hyperparameters it is set up.

    Attributes:
        over: Whether it cannot train another segment.
    """

    def __init__(self, function: Function, name: str, turn: Turn) -> None:
        self.over = False
        self._member = Member(turn, self)
        self._turn = turn
        self._coroutine: Coroutine = make_coroutine(lambda _: call(function, self._member, name))
        self._finalizer: finalize[..., object] | None = None

    def belong_to(self, task: object) -> None:
        """Close the loop when its task is gone: its frames refer to it, so it would stay for ever."""
        if self._finalizer is None:
            self._finalizer = finalize(task, self.close)

    def serves(self, turn: Turn) -> bool:
        """Whether the loop can train a segment."""
        return not self.over and self._member.live.serves(turn)

    def train(self, turn: Turn) -> State:
        """Train a segment, and return the state at its end.

        Raises:
            BaseException: Whatever the loop has raised; it is over then.
        """
        self._turn = turn
        # Half a step may be behind, if it raises.
        was_over, self.over = self.over, True
        suspension = self._coroutine.resume(turn)
        assert suspension is not None
        state, ends = suspension.value
        self.over = was_over or ends
        return state  # type: ignore[no-any-return]

    def begin(self) -> Turn:
        """Return the first segment; the loop calls this."""
        return self._turn

    def end(self, state: State, *, over: bool) -> Turn | None:
        """Wait for the next segment; the loop calls this."""
        following: Turn | None = self._coroutine.suspend((state, over))
        return following

    def close(self) -> None:
        """End the loop: `finally` and `with` run."""
        self.over = True
        if self._finalizer is not None:
            self._finalizer.detach()
        self._coroutine.interrupt(Finished())


def train_waiting(task: object, function: Function, name: str, turn: Turn) -> State:
    """Train a segment in the loop that waits for one, if that can serve it, else in a new one.

    Args:
        task: Task of the loop.
        function: The loop.
        name: Its name.
        turn: The segment.
    """
    waiting = _WAITING.get(task)
    if waiting is None or not waiting.serves(turn):
        # It ends before the next one is built: two models might not fit into memory.
        close_waiting(task)
        turn.seed_setup()
        waiting = WaitingLoop(function, name, turn)
    try:
        state = waiting.train(turn)
    except BaseException:
        _WAITING.pop(task, None)
        raise
    if waiting.over:
        waiting.close()
        _WAITING.pop(task, None)
    else:
        _WAITING[task] = waiting
        waiting.belong_to(task)
    return state


def close_waiting(task: object) -> None:
    """End the loop of a task that waits for a segment, if there is one."""
    waiting = _WAITING.pop(task, None)
    if waiting is not None:
        waiting.close()
