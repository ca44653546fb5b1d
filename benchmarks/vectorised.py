"""Member-steps a second of the vectorised executor, next to the serial one and to a loop written by hand.

python benchmarks/vectorised.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from handwritten import Population
from measure import SEED, Bench, Row, alternate, begin, finish, seconds

from popgrad.core.initial import first_hparams
from popgrad.core.population import Hparams
from popgrad.core.seeding import Rng
from popgrad.core.segment import Assignment
from popgrad.data import Splits
from popgrad.executors import EXECUTORS
from popgrad.executors.allocator import keep_memory
from popgrad.hardware import available_cores
from popgrad.tasks.digits import digits
from popgrad.tasks.torch_task import TorchTask

CPU = torch.device("cpu")
ALONE = 16
"""Members that the serial executor trains, at most: one after the other, the rate is that of any number."""


@dataclass(frozen=True)
class Size:
    """What is trained.

    Attributes:
        name: Of the task.
        widths: Of its layers.
        members: All of them.
        steps: Of the segment that is timed; an evaluation follows.
        at_least: The vectorised rate by the serial one, to reach; None = no goal.
    """

    name: str
    widths: tuple[int, ...]
    members: int
    steps: int
    at_least: float | None = None


DIGITS, FC = (64, 64, 64, 10), (784, 256, 256, 10)
EPOCH = 38  # of digits; its last batch is smaller
SIZES = [
    Size("digits", DIGITS, 8, 10 * EPOCH),
    Size("digits", DIGITS, 32, 10 * EPOCH),
    Size("digits", DIGITS, 128, 10 * EPOCH, at_least=8.0),
    Size("digits", DIGITS, 128, EPOCH),
    Size("digits", DIGITS, 512, 10 * EPOCH),
    Size("mnist-fc", FC, 10, 275),
]
TINY = [Size("digits", DIGITS, 4, 4)]


def made(size: Size) -> TorchTask:
    """The task, which has read its data."""
    if size.name == "digits":
        task = digits()
    else:
        import member  # here: what needs no MNIST runs without

        task = member.task("fc")
    task.split("train", CPU)
    return task


def rate(name: str, task: TorchTask, size: Size) -> float:
    """Member-steps a second of an executor, in a segment that goes on from one of an epoch of digits.

    Evaluation, taking states apart and their digests are in it; starting the executor and fresh members are not.
    """
    members = min(size.members, ALONE) if name == "serial" else size.members
    hparams, _ = first_hparams(task.space, Rng(SEED), members, ())
    more = {"width": members} if name == "vectorised" else {}
    executor = EXECUTORS[name](task, [CPU], **more)
    try:
        executor.submit([Assignment(m, 0, None, h, SEED, 0, EPOCH) for m, h in enumerate(hparams)])
        _all(executor, members)
        following = [
            Assignment(m, 1, (m, 0), h, SEED, EPOCH, size.steps) for m, h in enumerate(hparams)
        ]

        def segment() -> None:
            executor.submit(following)
            _all(executor, members)

        return members * size.steps / seconds(segment)
    finally:
        executor.close()


def _all(executor: object, members: int) -> None:
    for _ in range(members):
        outcome = executor.next()  # type: ignore[attr-defined]
        if outcome.error:
            raise RuntimeError(outcome.error)


def handwritten_rate(task: TorchTask, size: Size) -> float:
    """The same of the loop written by hand, with one evaluation of everybody; freed memory is kept for both."""
    hparams, _ = first_hparams(task.space, Rng(SEED), size.members, ())
    threads = torch.get_num_threads()
    torch.set_num_threads(available_cores())
    keep_memory(keep=True)
    try:
        population = written(task, size, hparams)
        population.train(EPOCH)

        def segment() -> None:
            population.train(size.steps)
            population.evaluate()

        return size.members * size.steps / seconds(segment)
    finally:
        keep_memory(keep=False)
        torch.set_num_threads(threads)


def written(task: TorchTask, size: Size, hparams: Sequence[Hparams]) -> Population:
    """The population written by hand, with these hyperparameters."""
    data = Splits(*(task.split(name, CPU) for name in ("train", "validation", "test")))
    rates, keep = (torch.tensor([float(h[name]) for h in hparams]) for name in ("lr", "keep_prob"))
    decay = float(hparams[0].get("weight_decay", 0.0))
    normed = size.name != "digits"
    return Population(
        data, size.widths, rates, keep, task.batch_size, SEED, batch_norm=normed, weight_decay=decay
    )


def measure(bench: Bench, size: Size) -> list[Row]:
    """All three, in turn."""
    task = made(size)
    found = alternate(
        {
            "vectorised": partial(rate, "vectorised", task, size),
            "serial": partial(rate, "serial", task, size),
            "by hand": partial(handwritten_rate, task, size),
        },
        bench.repeat,
    )
    what = (
        f"{size.name} {'-'.join(map(str, size.widths))}, {size.members} members, {size.steps} steps"
    )
    unit = "member-steps/s"
    goal = None if size.at_least is None else 1.1
    serial = {name: found[name] for name in ("vectorised", "serial")}
    by_hand = {name: found[name] for name in ("by hand", "vectorised")}
    return [
        Row(what, unit, serial, ("vectorised", "serial"), at_least=size.at_least),
        Row(what, unit, by_hand, ("by hand", "vectorised"), at_most=goal),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("vectorised", __doc__, argv)
    sizes = TINY if bench.smoke else SIZES
    finish(
        bench,
        [row for size in sizes for row in measure(bench, size)],
        sizes=[vars(s) for s in sizes],
    )


if __name__ == "__main__":
    main()
