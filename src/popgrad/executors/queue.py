"""A queue of segments: the fewest steps go first, so that no member falls behind."""

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")


class TrainingQueue(Generic[Item]):
    """A queue ordered by the training steps behind an item, then by arrival; retries go first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Item]] = []
        self._numbers = count(1)

    def push(self, first_step: int, item: Item, *, retry: bool = False) -> None:
        """Add an item.

        Args:
            first_step: Training steps behind it.
            item: The item.
            retry: Whether it goes before all others with as many steps, as a segment that has failed
                does: what concerns all members is known before they are trained.
        """
        number = next(self._numbers)
        heapq.heappush(self._heap, (first_step, -number if retry else number, item))

    def pop(self) -> Item:
        """Remove and return the first item. Raises `IndexError` if the queue is empty."""
        return heapq.heappop(self._heap)[2]

    def clear(self) -> None:
        """Remove all items."""
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Item]:
        """Iterate over all items, in no order."""
        return (item for _, _, item in self._heap)
