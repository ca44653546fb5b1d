"""What popgrad adds to the steps: a population of mnist-fc next to the same steps in plain PyTorch loops.

python benchmarks/overhead.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from clocked import population_seconds
from measure import Bench, Row, alternate, begin, finish
from member import EPOCH
from plain import loops_seconds

IN_MEMORY = "popgrad without a directory"


@dataclass(frozen=True)
class Size:
    """What is trained.

    Attributes:
        members: All of them.
        workers: Processes, popgrad's and the loops'.
        steps: Of an interval.
        intervals: Of each member.
        at_most: popgrad's time by that of the loops, to reach.
    """

    members: int
    workers: int
    steps: int
    intervals: int
    at_most: float


SIZES = [Size(10, 2, EPOCH, 5, 1.03), Size(10, 2, 30, 40, 1.10)]
TINY = [Size(2, 1, 2, 2, 1.10)]


def measure(bench: Bench, size: Size) -> list[Row]:
    """Both with and without a run directory, each next to the loops."""
    given = (size.members, size.workers, size.steps, size.intervals)
    found = alternate(
        {
            "popgrad": partial(population_seconds, *given, directory=True),
            "loops": partial(loops_seconds, *given),
            IN_MEMORY: partial(population_seconds, *given, directory=False),
        },
        bench.repeat,
    )
    what = f"{size.members} members, {size.workers} workers, {size.intervals} intervals of {size.steps} steps"
    both = {name: found[name] for name in ("popgrad", "loops")}
    beside = {name: found[name] for name in (IN_MEMORY, "loops")}
    return [
        Row(what, "s", both, ("popgrad", "loops"), at_most=size.at_most),
        Row(f"{what}; nothing kept", "s", beside, (IN_MEMORY, "loops")),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("overhead", __doc__, argv)
    sizes = TINY if bench.smoke else SIZES
    finish(
        bench,
        [row for size in sizes for row in measure(bench, size)],
        sizes=[vars(s) for s in sizes],
    )


if __name__ == "__main__":
    main()
