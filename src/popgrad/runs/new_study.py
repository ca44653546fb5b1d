"""The creation of a study: its configuration, the facts of its journal, and its directory."""

import json
import uuid
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import tomli_w

from popgrad import config as configuration
from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.core.interval import parse_interval
from popgrad.core.score import Score, check_direction
from popgrad.core.space import Space, dimension
from popgrad.hardware import versions
from popgrad.runs.api import dimension_spec
from popgrad.runs.controller import study_keys
from popgrad.runs.study_task import StudyTask
from popgrad.store.atomic import replacing
from popgrad.store.directory import Directory, open_record
from popgrad.store.journal import Journal
from popgrad.strategies.base import Strategy

_LOCK_PATIENCE = 600.0
"""Seconds to wait for another process that creates the same study."""


def describe_study(
    space: object, score: str | None, values: Mapping[str, Any]
) -> tuple[RunConfig, StudyTask]:
    """Return the configuration and the task of a study.

    Args:
        space: Dimensions, or their specs, by the names of hyperparameters.
        score: Metric that ranks, with its direction; None = none was given.
        values: Values of keys; None values were not given.

    Raises:
        UsageError: A value is not allowed.
    """
    if not isinstance(space, Mapping | Space):
        raise UsageError(
            'space: expected dimensions by name, such as {"lr": LogUniform(1e-4, 1e-1)}, '
            f"got {space!r:.100}"
        )
    if score is None:
        raise UsageError(
            'score: expected the name of the metric that ranks, such as score="accuracy" or minimize="loss"'
        )
    check_direction(score)
    specs = {name: dimension_spec(each) for name, each in space.items()}
    whole = Space({name: dimension(spec, f"space.{name}") for name, spec in specs.items()})
    given = {key: value for key, value in values.items() if value is not None}
    config = configuration.parse({"task": "study", "space": specs, "score": score, **given})
    Score.parse(score).target(config.target_score)
    return config, StudyTask(whole, score)


def in_steps(interval: object, epoch_steps: int | None) -> object:
    """Return the length of an interval in steps; anything else is left to the configuration to refuse."""
    if epoch_steps is not None and (type(epoch_steps) is not int or epoch_steps < 1):
        raise UsageError(f"epoch_steps: expected an integer of at least 1, got {epoch_steps!r}")
    try:
        length = parse_interval(str(interval))
    except ValueError:
        return interval
    if length.within_epochs:
        raise UsageError("interval: a study has intervals of equal length; give a number of steps")
    if not length.epochs:
        return interval
    if epoch_steps is None:
        raise UsageError(
            f"interval: got {interval!r}, but a study has no data to count; pass epoch_steps=..., or take an "
            "epoch for a step: interval=1"
        )
    return length.count * epoch_steps


def check_lease(lease: object) -> float:
    """Return the seconds of a lease. Raises `UsageError` if they cannot be."""
    if isinstance(lease, bool) or not isinstance(lease, int | float) or not 0 < lease < 1e9:
        raise UsageError(f"lease: expected seconds above 0, got {lease!r}")
    return float(lease)


def new_facts(
    config: RunConfig, task: StudyTask, lease: float, strategy: Strategy
) -> dict[str, Any]:
    """Return the facts that the journal of a new study starts with."""
    config = config.model_copy(update={"made_with": versions()})
    return {
        "config": study_keys(config),
        "space": task.space.spec(),
        "score": Score.parse(task.score).text,
        "given_task": True,
        "task_digest": "",
        "code": {},
        "run_id": uuid.uuid4().hex,
        "sizes": [strategy.started(config.population)],
        "shared_budget": strategy.shares_budget,
        "stopped": "unfinished",
        "study": {"lease": lease},
    }


def create_study(path: Path, facts: Mapping[str, Any], *, durable: bool) -> Directory:
    """Create the study in a directory, or compare the one that is in it.

    Args:
        path: Absolute path of the directory.
        facts: Facts about the study, from `new_facts`.
        durable: Whether the record is to survive a failure of power.

    Raises:
        UsageError: The directory holds something else, or a study with other facts.
        RunError: The directory cannot be written.
    """
    try:
        directory = Directory.create(path, durable=durable)
    except UsageError:
        directory = Directory(path, durable)
        if not directory.journal.exists():
            raise

    # Several processes may create it at once: the first one does.
    with directory.locked(_LOCK_PATIENCE):
        if directory.journal.exists():
            _check_same(path, facts)
            return directory
        with closing(Journal(directory.journal, create=True, about=facts, durable=durable)):
            pass
        lines = tomli_w.dumps({**facts["config"], **facts["study"]})
        with replacing(directory.configuration) as aside:
            aside.write_text(lines, encoding="utf-8")
    return directory


def _check_same(path: Path, facts: Mapping[str, Any]) -> None:
    """Refuse to open a study with other arguments than it was created with.

    Raises:
        UsageError: The directory holds a run, or names the argument that differs.
    """
    record = open_record(path)
    if record.study is None:
        raise UsageError(f"the directory {path} holds a run and no study: choose another one")
    recorded = {**record.config, **record.study, "score": record.score_name}
    requested = {**facts["config"], **facts["study"], "score": facts["score"]}
    for key in sorted({*recorded, *requested} - {"made_with"}):
        before = json.loads(json.dumps(recorded.get(key)))
        if before != json.loads(json.dumps(requested.get(key))):
            raise UsageError(
                f"{key}: the study in {path} was created with {before!r:.200}, got "
                f"{requested.get(key)!r:.200}; open it as it is with popgrad.Study.open({str(path)!r})"
            )
