"""Calls of a loop's function, from its setup to its end."""

import gc
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.loops.member import Finished, Member
from popgrad.loops.turn import Turn
from popgrad.state import State

Function = Callable[[Member], Any]
"""A training loop: it gets a member, and may be a generator function that yields metrics."""


def call(function: Function, member: Member, name: str) -> None:
    """Call a loop until it ends.

    Args:
        function: The loop.
        member: Its member.
        name: Its name, for messages.

    Raises:
        UsageError: It has ended in the middle of an interval, or misuses the member.
    """
    try:
        result = function(member)
        if inspect.isgenerator(result):
            for metrics in result:
                if not isinstance(metrics, Mapping):
                    raise UsageError(
                        f"loop {name}: a generator function yields the metrics of each round by name, "
                        f'such as yield {{"accuracy": 0.9}}; got {metrics!r:.80}'
                    )
                member.report(**metrics)
        member.close(name)
    except Finished:
        return


def train_once(function: Function, name: str, turn: Turn) -> State:
    """Call a loop for one segment alone, and return the state at its end.

    Args:
        function: The loop.
        name: Its name, for messages.
        turn: The segment.
    """
    handover = _SingleTurn(turn)
    try:
        call(function, Member(turn, handover), name)
    except BaseException:
        # Workers of a loader end with the last reference to them, which a frame may hold.
        gc.collect()
        raise
    assert handover.state is not None
    return handover.state


class _SingleTurn:
    """Hand-over of a loop that trains one segment and ends."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.state: State | None = None

    def begin(self) -> Turn:
        """Return the segment."""
        return self._turn

    def end(self, state: State, *, over: bool) -> None:
        """Keep the state."""
        del over
        self.state = state
