"""History of a run as columns: every segment so far, for strategies that learn from all of them.

In the shape descriptions S is the number of segments and D the number of hyperparameters.
"""

from dataclasses import dataclass, field

import numpy as np

from popgrad.core.seeding import Floats, Index


def _no_rows() -> Index:
    return np.zeros(0, np.int64)


def _no_scores() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True)
class History:
    """All segments of a run so far, as read-only columns. A source comes before its heirs.

    Between two decisions, new rows are appended in the order of (interval, member). Row numbers
    differ between a run and the same run resumed if members decide one by one, so a strategy's
    memory names segments by (member, interval).

    Attributes:
        names: [D] hyperparameters, in the order of the space.
        members: [S] slot of each segment.
        intervals: [S] interval of its member, from 0.
        scores: [S] its score, higher is better; nan = failed.
        starts: [S] score of the state it started from: its source's, or that of the evaluation at
            its start; nan = not known.
        parents: [S] row of its source; -1 = it started fresh.
        first_steps: [S] training steps behind the state it started from, along the lineage.
        steps: [S] training steps behind its final state.
        hparams: [S, D] its hyperparameters in unit space: positions in [0, 1], as `Space.encode`.

    Example:
        >>> history = NO_HISTORY()
        >>> len(history), history.hparams.shape
        (0, (0, 0))
    """

    names: tuple[str, ...] = ()
    members: Index = field(default_factory=_no_rows)
    intervals: Index = field(default_factory=_no_rows)
    scores: Floats = field(default_factory=_no_scores)
    starts: Floats = field(default_factory=_no_scores)
    parents: Index = field(default_factory=_no_rows)
    first_steps: Index = field(default_factory=_no_rows)
    steps: Index = field(default_factory=_no_rows)
    hparams: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def __len__(self) -> int:
        return len(self.members)


NO_HISTORY = History
"""Returns the history of a run without a segment."""
