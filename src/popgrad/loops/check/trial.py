"""Trial segments of a loop: several of them in one call of its function, observed at each boundary."""

import gc
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from popgrad.core.population import Hparams
from popgrad.loops.call import call
from popgrad.loops.check.snapshot import Snapshot, take_snapshot
from popgrad.loops.frames import user_variables
from popgrad.loops.live import LiveLoop
from popgrad.loops.loop import Loop
from popgrad.loops.member import Member
from popgrad.loops.turn import Turn
from popgrad.state import State
from popgrad.tasks.base import Context
from popgrad.tasks.calls import explained
from popgrad.tasks.evaluation import seeded


@dataclass(frozen=True)
class Boundary:
    """A loop at the end of a segment.

    Attributes:
        state: State of the member.
        seen: Variables of the loop.
    """

    state: State
    seen: Snapshot


class Trial:
    """Hand-over of a loop that trains a list of segments.

    Args:
        loop: The loop.
        turns: Segments in their order. One of no steps shows the loop as it is when its state is loaded;
            one without a source, but the first, continues without a load.

    Attributes:
        boundaries: The loop at the end of each segment; fewer than segments if it ended before.
        live: Objects of the loop.
    """

    def __init__(self, loop: Loop, turns: Sequence[Turn]) -> None:
        self._loop = loop
        self._turns = turns
        self._member = Member(turns[0], self)
        self.boundaries: list[Boundary] = []

    @property
    def live(self) -> LiveLoop:
        """Objects of the loop."""
        return self._member.live

    def run(self) -> "Trial":
        """Call the function of the loop, and return the trial.

        Raises:
            UsageError: The function fails; the message names the line of the user's code.
        """
        self._turns[0].seed_setup()
        with explained(f"loop {self._loop.name}", "it"):
            call(self._loop.function, self._member, self._loop.name)
        # Workers of its loaders end with the last reference to them.
        gc.collect()
        return self

    def begin(self) -> Turn:
        """Return the first segment."""
        return self._turns[0]

    def end(self, state: State, *, over: bool) -> Turn | None:
        """Take a state, observe the variables, and return the next segment."""
        variables = user_variables(self._loop.function)
        self.boundaries.append(Boundary(state, take_snapshot(self.live, variables)))
        if over or len(self.boundaries) == len(self._turns):
            return None
        return self._turns[len(self.boundaries)]


@contextmanager
def trial_settings(ctx: Context) -> Iterator[None]:
    """Train on one thread as executors do; restore generators and settings. Warnings come in the run."""
    with threadpool_limits(1), warnings.catch_warnings(), seeded(ctx):
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        yield


def fresh_state(loop: Loop, hparams: Hparams, ctx: Context) -> State:
    """Return the state of a fresh member.

    Args:
        loop: The loop.
        hparams: Complete hyperparameters.
        ctx: Context of the first segment.

    Raises:
        UsageError: The setup fails.
    """
    return Trial(loop, [loop.turn(hparams, ctx, 0, None)]).run().boundaries[0].state
