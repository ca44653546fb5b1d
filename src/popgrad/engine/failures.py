"""Failures that end a run at once, since further training would show the same."""

from collections import Counter
from collections.abc import Iterable

from popgrad.core.errors import RunError
from popgrad.core.fault import Fault
from popgrad.core.segment import Outcome, Segment

_ALIKE = 3
"""Members that have to end with one exception before it is taken for a fault that concerns all. It may
depend on the hyperparameters, and then the other members can train."""


class FailureCheck:
    """Finds the failures that end a run: any, if requested; or one that concerns all members.

    An exception concerns all members if nothing was trained before, the segment is the first of its
    member, all its attempts have ended with it at the same line, and it either shows a mistake in the
    code (such as a `NameError`), or three members have ended with it. If a run that ended so is
    resumed and meets the same exception, it does not end again: its members fail one by one.

    Args:
        fail_fast: Whether any failure ends the run.
        size: Members of the population.
        segments: The record so far.
        errors: Errors of the failures that an earlier session has set aside.
    """

    def __init__(
        self, *, fail_fast: bool, size: int, segments: Iterable[Segment], errors: Iterable[str]
    ) -> None:
        self._fail_fast = fail_fast
        self._size = size
        self._trained = any(not segment.broke for segment in segments)
        self._known = {Fault.read(error) for error in errors}
        self._members: Counter[Fault] = Counter()  # members that have ended with each exception

    def check(self, segment: Segment, outcome: Outcome) -> RunError | None:
        """Return the error that a finished segment ends the run with; None if the run continues.

        Args:
            segment: Segment that has been recorded.
            outcome: Its outcome.
        """
        self._trained = self._trained or not segment.broke
        if not segment.failed:
            return None
        if self._fail_fast:
            return _error(segment, "the run ends with the first failure (fail_fast)")

        fault = Fault.read(segment.error)
        if self._trained or segment.interval or not outcome.repeated or fault is None:
            return None
        self._members[fault] += 1
        count = self._members[fault]
        # If there are no other members, the run ends anyway.
        if fault in self._known or count >= self._size:
            return None
        if count >= (1 if fault.mistake else _ALIKE):
            return _error(segment, "the same in all attempts, so no other member is trained")
        return None


def _error(segment: Segment, reason: str) -> RunError:
    """Return an error with the exception in its first line, then the traceback."""
    fault = Fault.read(segment.error)
    where = f"member {segment.member}, interval {segment.interval}"
    traceback = "" if fault is None else f"\n{segment.error.rstrip()}"
    error = RunError(f"{where}: {fault or segment.error}; {reason}{traceback}")
    error.in_task = fault is not None
    return error
