"""The models of an ablation: each trained alone, as a run with a directory of its own."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from popgrad.config import RunConfig, StrategyConfig, parse
from popgrad.core.errors import AllMembersFailedError, UsageError
from popgrad.core.segment import Segment
from popgrad.engine.callbacks import Callbacks
from popgrad.gates.code import recorded_code
from popgrad.gates.files import exists
from popgrad.record.record import Record
from popgrad.record.setting import Setting
from popgrad.runs.api import load, restart, start
from popgrad.runs.build import build, resolve
from popgrad.runs.components import Components, components
from popgrad.runs.reopen import check_address, code_of
from popgrad.runs.replay import alone
from popgrad.runs.result import Result
from popgrad.store.directory import open_record
from popgrad.tasks.base import Task

log = logging.getLogger("popgrad")

FIRST_SEED = 1000
"""Fresh seeds begin so far behind the run's own, where other runs of a user hardly are."""

_SAME = ("task", "options", "interval", "intervals", "seed", "strategy", "initial", "population")
"""Keys in which a kept model has to agree with the one that would be trained."""

OnProgress = Callable[[int, int], None]
"""Called with the segments that are trained so far, and those that will be in all."""


@dataclass(frozen=True)
class Model:
    """A model that was trained alone.

    Attributes:
        score: Its validation score, higher is better; nan = it failed.
        steps: Steps that it trained.
        test: Its metrics on the test split; None = that was not read.
    """

    score: float
    steps: int
    test: dict[str, float] | None = None


class Progress:
    """Counts segments, and reports them."""

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self._total = total
        self._done = 0
        self._report = on_progress

    def add(self, segments: int) -> None:
        """Count segments that are trained."""
        self._done += segments
        if self._report is not None:
            self._report(self._done, self._total)

    @property
    def callbacks(self) -> Callbacks:
        """Callbacks that count each segment of a run."""

        def count(segment: Segment) -> None:
            del segment
            self.add(1)

        return Callbacks(on_segment=count)


@dataclass
class Trainer:
    """Trains the models of an ablation, each in a directory of its own, or opens those that are kept.

    Attributes:
        record: Record of the run.
        config: Its configuration, without what a model alone has no use for.
        run: Its directory.
        folder: Directory of the models.
        task: The task, if the run was given an instance.
        intervals: Intervals that a model is trained for.
        allow_changed_task: Whether the source of the task may have changed.
        test: Whether to read the test split.
    """

    record: Record
    config: RunConfig
    run: Path
    folder: Path
    task: Task | None
    intervals: int
    allow_changed_task: bool
    test: bool
    _built: Components | None = None

    def search(self, progress: Progress) -> Result:
        """Run a random search of the size of the run, on its executor, from the first fresh seed."""
        changed = self.config.model_copy(
            update={
                "population": self.record.size,
                "seed": (self.config.seed + FIRST_SEED) % 2**63,
                "strategy": StrategyConfig(name="random-search"),
                "max_time": None,
                "target_score": None,
                "patience": None,
            }
        )
        config = parse(changed.model_dump(mode="json"))
        check_address(config, named=False)
        return self._finish(config, self.folder / "random-search", build, progress)

    def train(self, setting: Setting, seed: int, progress: Progress) -> Model:
        """Train one model, to the end."""
        config = alone(
            self.config, setting.hparams, setting.changes, intervals=self.intervals, seed=seed
        )
        name = setting.name.partition(",")[0].replace(" ", "-")
        path = self.folder / f"{name}-{seed}"
        try:
            result = self._finish(config, path, self._components, progress)
        except AllMembersFailedError:
            log.warning("%s, seed %d: the model failed", setting.name, seed)
            kept = open_record(path)
            return Model(float("nan"), sum(segment.steps for segment in kept.segments))

        winner = result.record.winner
        test = result.test(reader="popgrad ablate") if self.test else None
        return Model(winner.score, winner.last_step, test)

    def _components(self, config: RunConfig, task: Task | None) -> Components:
        """Return the components of a model; the task is built, and its data read, for the first alone."""
        if self._built is None:
            self._built = build(config, task)
            return self._built
        same = self._built.task
        return replace(components(resolve(config, same), same), code=self._built.code)

    def _finish(
        self,
        config: RunConfig,
        path: Path,
        builder: Callable[[RunConfig, Task | None], Components],
        progress: Progress,
    ) -> Result:
        """Train a run to its end, or open it if that is done."""
        code = code_of(self.record, self.run, allow_changed=self.allow_changed_task)
        if exists(path / "journal.db"):
            kept = open_record(path)
            _check_same(kept, config, path)
            progress.add(len(kept.segments))
            if kept.stopped == "unfinished":
                return restart(
                    path,
                    {},
                    task=self.task,
                    allow_changed_task=self.allow_changed_task,
                    callbacks=progress.callbacks,
                )
            return load(path, task=self.task, allow_changed_task=self.allow_changed_task)

        with recorded_code(code):
            built = builder(config, self.task)
        return start(
            config,
            task=self.task,
            components=built,
            directory=path,
            callbacks=progress.callbacks,
        )


def _check_same(kept: Record, config: RunConfig, path: Path) -> None:
    """Refuse a kept model that was trained in another way than this one would be."""
    wanted = config.model_dump(mode="json")
    for key in _SAME:
        if kept.config.get(key) != wanted[key]:
            raise UsageError(
                f"{path} holds a model with another {key}, since the run has changed; delete it, or choose "
                "another directory: --dir (keep=...)"
            )
