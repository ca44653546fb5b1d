"""The toy quadratic, where training costs nothing: what is left is popgrad, or Ray Tune.

python benchmarks/peers_toy.py        needs the extra benchmark: pip install 'popgrad[benchmark]'
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clocked import folder
from measure import SEED, Bench, Row, alternate, begin, finish, seconds
from rayed import cluster, fit

import popgrad

MEMBERS, INTERVALS, STEPS = 2, 50, 10
TINY = 2
"""Intervals."""
GOAL = 1000.0


def run(place: Path, intervals: int, *, outputs: bool) -> None:
    """A run of popgrad with a directory; one without outputs has its journal, checkpoints and winner."""
    popgrad.run(
        "quadratic", population=MEMBERS, intervals=intervals, interval=STEPS, seed=SEED, executor="serial",
        directory=place / "run", outputs=outputs,
    )  # fmt: skip


def popgrad_seconds(intervals: int, *, outputs: bool) -> float:
    """Wall seconds of `popgrad.run`, in a process that has run it before and that Ray has no part in."""
    given = [str(intervals), *(["outputs"] if outputs else [])]
    command = [sys.executable, str(Path(__file__)), "--only-warm", *given]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def trainable() -> type:
    """Ray's class of a member of the toy; an iteration is an interval."""
    from ray import tune

    class Trial(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: Mapping[str, Any]) -> None:
            self.hparams, self.theta = dict(config), [0.9, 0.9]

        def step(self) -> Mapping[str, float]:
            a, b = self.theta
            for _ in range(STEPS):
                a, b = a - 0.02 * self.hparams["h0"] * a, b - 0.02 * self.hparams["h1"] * b
            self.theta = [a, b]
            return {"q": 1.2 - (a * a + b * b)}

        def reset_config(self, new_config: Mapping[str, Any]) -> bool:
            self.hparams, self.theta = dict(new_config), [0.9, 0.9]
            return True

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, "theta.json").write_text(json.dumps(self.theta))

        def load_checkpoint(self, checkpoint: str) -> None:
            self.theta = json.loads(Path(checkpoint, "theta.json").read_text())

    return Trial


def ray_fit(place: Path, intervals: int) -> None:
    """Ray's `fit`, with a trial a core."""
    from ray import tune

    space = {"h0": tune.uniform(0.0, 1.0), "h1": tune.uniform(0.0, 1.0)}
    results = fit(
        trainable(), place, space, space, members=MEMBERS, intervals=intervals, metric="q"
    )
    trained = [result.metrics["training_iteration"] for result in results]
    if trained != [intervals] * MEMBERS:
        raise RuntimeError(f"Ray Tune trained {trained} intervals, not {intervals} of each member")


def ray_seconds(intervals: int, *, loggers: bool) -> float:
    """Wall seconds of `fit` alone: Ray has been started, and has run it before."""
    with cluster(MEMBERS, loggers=loggers) as place:
        ray_fit(place, 2)
        return seconds(partial(ray_fit, place, intervals))


def cold_seconds(which: str, intervals: int) -> float:
    """Wall seconds of a new Python process that runs one of them, and nothing else."""
    command = [sys.executable, str(Path(__file__)), f"--only-{which}", str(intervals)]
    return seconds(partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL))


def only(which: str, intervals: int, *, outputs: bool) -> None:
    """What a process of its own does."""
    if which == "ray":
        with cluster(MEMBERS) as place:
            ray_fit(place, intervals)
        return
    work = []
    for length in [TINY, intervals] if which == "warm" else [intervals]:
        with folder() as place:
            work.append(seconds(partial(run, place, length, outputs=outputs)))
    print(work[-1])


def measure(bench: Bench, intervals: int) -> list[Row]:
    """Warm, then cold."""
    ours, rays = partial(popgrad_seconds, intervals), partial(ray_seconds, intervals)
    shown, logged = "popgrad with tables and figures", "Ray with its loggers"
    warm = alternate(
        {
            "popgrad": partial(ours, outputs=False),
            "Ray": partial(rays, loggers=False),
            shown: partial(ours, outputs=True),
            logged: partial(rays, loggers=True),
        },
        bench.repeat,
    )
    cold = alternate(
        {name: partial(cold_seconds, name.lower(), intervals) for name in ("popgrad", "Ray")},
        bench.repeat,
    )
    what = f"{MEMBERS} members, {intervals} intervals"
    both = {name: warm[name] for name in ("Ray", "popgrad")}
    beside = {name: warm[name] for name in (logged, shown)}
    return [
        Row(f"{what}, in a process that is warm", "s", both, ("Ray", "popgrad"), at_least=GOAL),
        Row(f"{what}, in a process that is warm", "s", beside, (logged, shown)),
        Row(f"{what}, from a new process to its end", "s", cold, ("Ray", "popgrad")),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("peers-toy", __doc__, argv)
    intervals = TINY if bench.smoke else INTERVALS
    finish(bench, measure(bench, intervals), members=MEMBERS, intervals=intervals, steps=STEPS)


if __name__ == "__main__":
    if sys.argv[1:2] in (["--only-popgrad"], ["--only-warm"], ["--only-ray"]):
        only(
            sys.argv[1].removeprefix("--only-"),
            int(sys.argv[2]),
            outputs=sys.argv[3:] == ["outputs"],
        )
    else:
        main()
