"""Who waits for a turn: the least trained goes first, so that nobody is left behind."""

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")


class TrainingQueue(Generic[Item]):
    """A queue in the order of training steps behind a start; equals in the order in which they came."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Item]] = []
        self._numbers = count()

    def push(self, first_step: int, item: Item) -> None:
        """Let something wait."""
        heapq.heappush(self._heap, (first_step, next(self._numbers), item))

    def pop(self) -> Item:
        """Who goes next. Raises `IndexError` where nobody waits."""
        return heapq.heappop(self._heap)[2]

    def clear(self) -> None:
        """Send everybody away."""
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Item]:
        """Everybody, in no order."""
        return (item for _, _, item in self._heap)
