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
    return {"lr": min(max(lr, 1e-4), 1e-1), "keep_prob": min(max(keep, 0.5), 1.0), "weight_decay": DECAY}


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


def ray_seconds(size: Size, make: Callable[..., Any]) -> float:
    """Wall seconds from when all members have finished an interval to when they have as many more behind them."""
    with cluster(size.workers) as place:
        from ray import tune

        ended: dict[int, list[float]] = {}

        class Times(tune.Callback):  # type: ignore[misc]
            def on_trial_result(self, *_: Any, result: Mapping[str, Any], **__: Any) -> None:
                ended.setdefault(result["training_iteration"], []).append(result["ended"])

        space = {"lr": tune.loguniform(1e-4, 1e-1), "keep_prob": tune.uniform(0.5, 1.0)}
        given = {"members": size.members, "intervals": 1 + size.intervals, "metric": "accuracy"}
        fit(trainable(make, size.steps), place, space, space, callbacks=[Times()], **given)
    if [len(each) for each in ended.values()] != [size.members] * (1 + size.intervals):
        raise RuntimeError(f"Ray Tune trained other intervals than it was to: {ended}")
    return max(ended[1 + size.intervals]) - max(ended[1])


def measure(bench: Bench, size: Size) -> list[Row]:
    """Seconds of a member's epoch, all members and processes together."""
    given = (size.members, size.workers, size.steps, size.intervals)
    found = alternate(
        {
            "popgrad": partial(population_seconds, *given, directory=True, behind_one=True),
            "Ray, torch's modules": partial(ray_seconds, size, usual),
            "Ray, popgrad's modules": partial(ray_seconds, size, own),
        },
        bench.repeat,
    )
    epochs = size.members * size.intervals * size.steps / EPOCH
    each = {name: [seconds / epochs for seconds in values] for name, values in found.items()}
    what = f"{size.members} members, {size.workers} workers, {size.intervals} intervals of {size.steps} steps"
    rows = []
    for other, goal in (("Ray, torch's modules", size.at_least), ("Ray, popgrad's modules", None)):
        both = {name: each[name] for name in (other, "popgrad")}
        rows.append(Row(f"{what}, a member's epoch", "s", both, (other, "popgrad"), at_least=goal))
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("peers-fc", __doc__, argv)
    sizes = TINY if bench.smoke else SIZES
    finish(bench, [row for size in sizes for row in measure(bench, size)], sizes=[vars(s) for s in sizes])


if __name__ == "__main__":
    main()
