"""The typed configuration of a run, read from TOML or JSON and from `key=value` settings."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from popgrad.core.errors import UsageError
from popgrad.core.interval import Interval, parse_interval

_DEPTH = 16
"""Tables and lists within each other; the deepest that we know is an option of a dimension, 4."""

_SHOWN = 5
"""Mistakes that one message names."""

_HUGE = 2**64
"""Whole numbers are smaller than it. Larger ones count nothing, and Python may refuse to write them."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _interval(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('an interval is a number of steps ("275") or of epochs ("1 epoch")')
    if parse_interval(str(value)).count >= 2**63:  # which the journal cannot hold
        raise ValueError("an interval is of less than 2^63 steps or epochs")
    return str(value)


def _seconds(value: object) -> object:
    """Numbers are seconds; "90s", "10m", "1.5h", "2d" are understood."""
    match = (
        re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", value)
        if isinstance(value, str)
        else None
    )
    return float(match[1]) * _UNITS[match[2] or "s"] if match else value


def _not_a_flag(value: object) -> object:
    if isinstance(value, bool):  # which Python takes for 0 and 1
        raise ValueError("a number is allowed")
    return value


def _path(value: object) -> object:
    if isinstance(value, str) and "\0" in value:
        raise ValueError("no path has a NUL in it")
    return value


def _not_huge(value: int) -> int:
    if abs(value) >= _HUGE:  # from a text
        raise ValueError("a whole number of more than 64 bits counts nothing")
    return value


_Whole = Annotated[int, BeforeValidator(_not_a_flag), AfterValidator(_not_huge)]
_Number = Annotated[float, BeforeValidator(_not_a_flag)]
_Path = Annotated[str, BeforeValidator(_path)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class StrategyConfig(_Model):
    """Which strategy, and its own settings."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = Field("pbt", description="which one: pbt, random-search or schedule")

    def options(self) -> dict[str, Any]:
        """The strategy's own settings, as its factory takes them."""
        return dict(self.model_extra or {})


def _strategy(value: object) -> object:
    """A name alone stands for the strategy with its own defaults."""
    return {"name": value} if isinstance(value, str) else value


class RunConfig(_Model):
    """All that a run is told."""

    task: str = Field(description="what is trained: a built-in task, module:Name or file.py:Name")
    options: dict[str, Any] = Field({}, description="arguments of the task")
    space: dict[str, dict[str, Any]] = Field(
        {},
        description="hyperparameters by name, each a dimension that replaces the task's own or adds to it",
    )
    population: _Whole = Field(
        10, ge=1, le=100_000, description="members; at least 2 where the strategy copies"
    )
    grow: Literal["clone", "sample"] | None = Field(
        None,
        description="how members begin that popgrad resume --population adds: clone, from a donor's state, "
        "with hyperparameters that are explored; sample, fresh, with drawn hyperparameters; when not "
        "given, clone where the strategy copies, else sample",
    )
    intervals: _Whole = Field(20, ge=1, description="intervals that each member trains")
    interval: Annotated[str | None, BeforeValidator(_interval)] = Field(
        None,
        description="training between two decisions: 275 (steps), 1 epoch, or 100 steps within epochs, which "
        "end with the epoch; when not given, 1 epoch, or 10 steps of a task that counts no epochs",
    )
    epochs: _Whole | None = Field(
        None, ge=1, description="epochs that each member trains, in place of intervals"
    )
    seed: _Whole = Field(
        0, ge=0, lt=2**63, description="every random stream derives from it; same seed, same run"
    )
    strategy: Annotated[StrategyConfig, BeforeValidator(_strategy)] = Field(
        StrategyConfig(),  # type: ignore[call-arg]
        description="what decides: its name, or a table of its name and its settings",
    )
    executor: str = Field(
        "processes",
        description="where members train: processes; serial, one after the other in this one; vectorised, "
        "all as one stacked model; ray, on a cluster (needs the extra ray); auto, whichever turns out to be "
        "the fastest here",
    )
    mode: Literal["sync", "async"] = Field(
        "sync",
        description="who decides when: sync, all once all have trained an interval; async, each as soon as "
        "it has, so that nobody waits for the slowest, and the record depends on who is fast",
    )
    deadline: Annotated[_Number | None, BeforeValidator(_seconds)] = Field(
        None,
        gt=0,
        description="seconds, or 90s, 10m, that an interval of a member may take; a member that takes longer "
        "has failed in that interval",
    )
    workers: _Whole | None = Field(
        None,
        ge=1,
        description="worker processes of the executor processes; when not given, one per core",
    )
    address: str | None = Field(
        None,
        description="cluster of the executor ray: HOST:PORT, auto (the one that runs on this machine) or "
        "local (one is started); when not given, RAY_ADDRESS, else local",
    )
    cpus: _Number = Field(
        1.0, ge=0, le=1e6, description="CPUs that a member takes of the cluster of ray"
    )
    gpus: _Number = Field(
        0.0,
        ge=0,
        le=1e6,
        description="GPUs that a member takes of the cluster of ray; 0.25: four share one",
    )
    device: str = Field(
        "auto",
        description="where to compute: cpu, cuda, cuda:0,1 (members take turns; one alone has all of them), "
        "or auto: the first GPU, else cpu",
    )
    max_time: Annotated[_Number | None, BeforeValidator(_seconds)] = Field(
        None,
        gt=0,
        description="seconds, or 90s, 10m, 2h, 1d, after which no further interval is started",
    )
    target_score: _Number | None = Field(
        None,
        description="no further interval is started once a member's validation score is this or higher",
    )
    initial: list[dict[str, Any]] = Field(
        [],
        description="hyperparameters of the first members, a table each; names that are missing are drawn",
    )
    weights: _Path | None = Field(
        None,
        description="weights that every member starts from: a .safetensors file, or a run's directory",
    )
    data_dir: _Path | None = Field(
        None,
        description="directory of the data; when not given, POPGRAD_DATA, else the user's cache",
    )
    storage: _Path | None = Field(
        None,
        description="URL of a folder that is to have a copy of the run after each interval, such as "
        "s3://bucket/folder, from which popgrad resume --from-storage goes on when this machine is lost",
    )
    load: _Path | None = Field(
        None,
        description="directory of a run to go on with, as it was configured, instead of a new one",
    )
    runs_dir: _Path = Field("runs", description="directory in which new runs get theirs")
    checkpoint_every: _Whole = Field(
        1,
        ge=1,
        description="intervals between two checkpoints of a member; more save time and cost a run that was "
        "stopped the intervals since, never another result",
    )
    durability: Literal["process", "power"] = Field(
        "process",
        description="what the record survives: process, any kill of the run; power, a failure of power too, "
        "for which every commit and checkpoint is flushed to the disk",
    )
    log_every: _Whole | None = Field(
        None,
        ge=1,
        description="steps between two points of the training curve; when not given, one an interval",
    )
    outputs: bool = Field(
        True,
        description="whether to write tables, figures and events beside the record and the winner",
    )
    events: bool = Field(
        False, description="whether to write TensorBoard events (needs the extra tensorboard)"
    )
    sleep: _Number = Field(
        20.0, ge=0, le=1e9, description="seconds between two tests of the monitor of popgrad train"
    )
    made_with: dict[str, str] = Field(
        {}, description="versions that ran it; popgrad writes them, and does not read them"
    )

    @property
    def interval_length(self) -> Interval:
        """Length of an interval; that of one epoch if `interval` is left open."""
        return parse_interval(self.interval or "1 epoch")


def parse(values: Mapping[str, Any]) -> RunConfig:
    """A configuration from plain values.

    Raises:
        UsageError: One line that names each key, what was given and what is allowed.
    """
    try:
        return RunConfig.model_validate(plain(values, "configuration"))
    except ValidationError as error:
        said = [_explain(dict(each)) for each in error.errors()]
        more = [f"and {len(said) - _SHOWN} more"] if len(said) > _SHOWN else []
        raise UsageError("; ".join(said[:_SHOWN] + more)) from None


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """Tables, lists, texts, numbers and flags, as TOML and JSON can hold them; what is None is left out.

    Raises:
        UsageError: Something else is in it, or it is nested too deeply; names where.
    """
    if depth > _DEPTH:
        raise UsageError(f"{where[:80]}: nested more than {_DEPTH} deep; a configuration is flat")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise UsageError(f"{where}: given the key {key!r}; keys are texts")
            _check_text(key, f"{where}: a key")
        return {
            k: plain(v, _join(where, k, depth), depth + 1)
            for k, v in value.items()
            if v is not None
        }
    if isinstance(value, list | tuple):
        return [plain(each, f"{where}[{i}]", depth + 1) for i, each in enumerate(value)]
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        _check_text(value, where)
        return value
    if isinstance(value, int) and abs(value) >= _HUGE:
        raise UsageError(
            f"{where}: given a whole number of more than 64 bits, which counts nothing"
        )
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise UsageError(
        f"{where}: given {_short(value)}; allowed are texts, finite numbers, true, false, lists and tables"
    )


def _check_text(text: str, where: str) -> None:
    """Refuse what no file can hold. JSON can say it, as an escape."""
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise UsageError(
            f"{where}: given {_short(text)}; a text without lone surrogates is allowed"
        )


def _join(where: str, key: str, depth: int) -> str:
    name = key if re.fullmatch(r"[\w-]{1,80}", key) else _short(key)
    return f"{where}.{name}" if depth else name


def _short(value: object) -> str:
    """A value in one line of a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def _explain(error: dict[str, Any]) -> str:
    key = ".".join(
        part if re.fullmatch(r"[\w-]{1,80}", part) else _short(part)
        for part in map(str, error["loc"])
    )
    if error["type"] == "extra_forbidden":
        return (
            f"unknown key {_short(error['loc'][-1])}; known are {', '.join(RunConfig.model_fields)}"
        )
    if error["type"] == "missing":
        return f"{key} is missing"
    return f"{key}: given {_short(error['input'])}; {error['msg'].removeprefix('Value error, ')}"
