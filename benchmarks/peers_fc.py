"""A population of mnist-fc, next to Ray Tune's PopulationBasedTraining of the same networks.

python benchmarks/peers_fc.py        needs the extra benchmark: pip install 'popgrad[benchmark]'
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from clocked import population_seconds
from measure import Bench, Row, alternate, begin, finish
from member import EPOCH, Member, data, own, usual, write
from rayed import cluster, fit

DECAY = 1e-5
USUAL, OWN = "Ray, torch's modules", "Ray, popgrad's modules"
HERE, ON_RAY = "popgrad", "popgrad on Ray"
"""Its executors: worker processes, and actors of a Ray of its own."""


@dataclass(frozen=True)
class Size:
    """What is trained.

    Attributes:
        members: All of them.
        workers: Processes, or Ray's cores; a core a trial.
        steps: Of an interval.
        intervals: Of each member, that are timed; one more comes before.
        at_least: How many times faster than Ray with torch's modules, to reach.
    """

    members: int
    workers: int
    steps: int
    intervals: int
    at_least: float


SIZES = [Size(10, 2, EPOCH, 4, 1.6), Size(10, 2, 28, 10, 4.0)]
TINY = [Size(2, 2, 2, 2, 1.6)]


def bounded(config: Mapping[str, Any]) -> dict[str, Any]:
    """All hyperparameters, in the space of mnist-fc: Ray's factors lead out of it."""
    lr, keep = config["lr"], config["keep_prob"]
    return {
        "lr": min(max(lr, 1e-4), 1e-1),
        "keep_prob": min(max(keep, 0.5), 1.0),
        "weight_decay": DECAY,
    }


def trainable(make: Callable[..., Any], steps: int) -> type:
    """Ray's class of a member: `make` gives its network and optimizer; an iteration is an interval."""
    from ray import tune

    class Trial(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: Mapping[str, Any]) -> None:
            torch.set_num_threads(1)
            data()
            self.hparams = bounded(config)
            self.member = Member(*make("fc", self.hparams), seed=0)

        def step(self) -> Mapping[str, float]:
            self.member.train(steps)
            return {**self.member.evaluate(), "ended": time.time()}

        def reset_config(self, new_config: Mapping[str, Any]) -> bool:
            self.hparams = bounded(new_config)
            self.member = Member(*make("fc", self.hparams), seed=0)
            return True

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            each = self.member
            state = {"model": each.module.state_dict(), "optimizer": each.optimizer.state_dict()}
            torch.save({**state, "position": each.position}, Path(checkpoint_dir, "state.pt"))

        def load_checkpoint(self, checkpoint: str) -> None:
            found = torch.load(Path(checkpoint, "state.pt"))
            self.member.module.load_state_dict(found["model"])
            self.member.optimizer.load_state_dict(found["optimizer"])
            self.member.position = found["position"]
            # Ray restores after it has reset: what was restored holds the donor's own rates.
            write(self.member.module, self.member.optimizer, self.hparams)

    return Trial


@dataclass(frozen=True)
class Ended:
    """When Ray's trials ended an interval, and the process that trained it.

    Attributes:
        at: Seconds.
        process: Its number.
    """

    at: float
    process: int


def ray_intervals(size: Size, make: Callable[..., Any]) -> list[list[Ended]]:
    """Of each interval, from the first on, what each member's trial says of it."""
    ended: dict[int, list[Ended]] = {}
    with cluster(size.workers) as place:
        from ray import tune

        class Ends(tune.Callback):  # type: ignore[misc]
            def on_trial_result(self, *_: Any, result: Mapping[str, Any], **__: Any) -> None:
                end = Ended(result["ended"], result["pid"])
                ended.setdefault(result["training_iteration"], []).append(end)

        space = {"lr": tune.loguniform(1e-4, 1e-1), "keep_prob": tune.uniform(0.5, 1.0)}
        given = {"members": size.members, "intervals": 1 + size.intervals, "metric": "accuracy"}
        fit(trainable(make, size.steps), place, space, space, callbacks=[Ends()], **given)
    found = [ended[number] for number in sorted(ended)]
    if [len(each) for each in found] != [size.members] * (1 + size.intervals):
        raise RuntimeError(f"Ray Tune trained other intervals than it was to: {ended}")
    return found


def ray_seconds(size: Size, make: Callable[..., Any], processes: list[float]) -> float:
    """Wall seconds from when all members have finished an interval to when they have as many more behind them.

    The number of processes that trained an interval, on average, is added to `processes`.
    """
    first, *timed = ray_intervals(size, make)
    processes.append(sum(len({end.process for end in each}) for each in timed) / len(timed))
    return max(end.at for end in timed[-1]) - max(end.at for end in first)


def measure(bench: Bench, size: Size) -> list[Row]:
    """Seconds of a member's epoch, all members and processes together."""
    given = (size.members, size.workers, size.steps, size.intervals)
    processes: list[float] = []
    popgrad = partial(population_seconds, *given, directory=True, behind_one=True)
    found = alternate(
        {
            HERE: popgrad,
            ON_RAY: partial(popgrad, executor="ray"),
            USUAL: partial(ray_seconds, size, usual, processes),
            OWN: partial(ray_seconds, size, own, processes),
        },
        bench.repeat,
    )
    epochs = size.members * size.intervals * size.steps / EPOCH
    each = {name: [seconds / epochs for seconds in values] for name, values in found.items()}
    what = f"{size.members} members, {size.workers} workers, {size.intervals} intervals of {size.steps} steps"
    rows = []
    for other, own_one, goal in (
        (USUAL, HERE, size.at_least),
        (OWN, HERE, None),
        (OWN, ON_RAY, None),
    ):
        both = {name: each[name] for name in (other, own_one)}
        rows.append(Row(f"{what}, a member's epoch", "s", both, (other, own_one), at_least=goal))
    return [*rows, Row(what, "processes an interval", {"Ray": processes})]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("peers-fc", __doc__, argv)
    sizes = TINY if bench.smoke else SIZES
    finish(
        bench,
        [row for size in sizes for row in measure(bench, size)],
        sizes=[vars(s) for s in sizes],
    )


if __name__ == "__main__":
    main()
