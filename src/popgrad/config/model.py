"""The typed configuration of a run: one field for each key, with all that is stated about it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from popgrad.config.keys import Command, Option, key
from popgrad.config.mistakes import explain
from popgrad.config.values import (
    DimensionTable,
    HparamsTable,
    Integer,
    IntervalText,
    Number,
    PathText,
    Seconds,
    TrackerNames,
    UrlText,
    plain,
)
from popgrad.core.errors import UsageError
from popgrad.core.interval import Interval, parse_interval

# Panels of the help, see `Option`.
_POPULATION = "The population"
_MACHINE = "The machine"
_START = "What to start with"
_STOP = "When to stop"
_FILES = "Files and output"

_RUN_AND_RESUME: tuple[Command, ...] = ("run", "resume")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class StrategyConfig(_Model):
    """A strategy: its name, and its own settings as further keys."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = key("pbt", "Name of the strategy, such as pbt, pb2, mf-pbt or random-search.")

    def options(self) -> dict[str, Any]:
        """Return the strategy's own settings, as its factory takes them."""
        return dict(self.model_extra or {})


def _to_strategy(value: object) -> object:
    """Read a name alone as the strategy with its default settings."""
    return {"name": value} if isinstance(value, str) else value


class RunConfig(_Model):
    """All keys of a run.

    A new key is one field. The command line, the keywords of `popgrad.run` and `popgrad.resume`, and the
    tables of the documentation (`make docs`) are derived from the fields.
    """

    task: str = key(
        ...,
        "Task to train: the name of a built-in one, module:Name or file.py:Name.",
        keyword=False,
    )
    options: dict[str, Any] = key({}, "Arguments of a task that is given by name.")
    space: dict[str, DimensionTable] = key(
        {},
        "Dimensions by the names of hyperparameters; each replaces that of the task, or adds to its space.",
        keyword=False,
    )
    population: Integer = key(
        10,
        "Number of members; at least 2 if the strategy copies.",
        commands=_RUN_AND_RESUME,
        option=Option(_POPULATION, "N"),
        on_resume="It changes with the next decision; if there are too many members, the best stay.",
        ge=1,
        le=100_000,
    )
    evaluations: Integer = key(
        1,
        "Evaluations within each segment, evenly spaced; the last one ranks. A strategy may ask for more.",
        commands=("run", "train"),
        option=Option(_POPULATION, "N"),
        ge=1,
        le=10_000,
    )
    score: str | None = key(
        None,
        'Metric that ranks, higher is better; "-loss" ranks by the lowest loss, "+loss" by the highest.',
        commands=("run", "train"),
        option=Option(_POPULATION, "METRIC"),
        if_unset="the metric that the task names",
    )
    minimize: str | None = key(
        None,
        "Metric that ranks, lower is better, such as loss; it takes the place of score.",
        commands=("run", "train"),
        option=Option(_POPULATION, "METRIC"),
        if_unset="the metric that the task names",
    )
    grow: Literal["clone", "sample"] | None = key(
        None,
        "Start of members that resume adds: clone, with a donor's state and explored hyperparameters, or "
        "sample, fresh.",
        commands=("resume",),
        option=Option(_POPULATION, "HOW"),
        if_unset="clone if the strategy copies, else sample",
    )
    intervals: Integer = key(
        20,
        "Intervals that each member trains in all.",
        commands=_RUN_AND_RESUME,
        option=Option(_POPULATION, "N"),
        ge=1,
    )
    interval: IntervalText | None = key(
        None,
        'Training between two decisions: "275" steps, "2 epochs", or "100 steps within epochs", cut off at '
        'the end of an epoch; of a training loop "1 report", or a number of batches.',
        option=Option(_POPULATION, "LENGTH"),
        if_unset="1 epoch; 10 steps if the task counts no epochs; 1 report of a training loop",
    )
    epochs: Integer | None = key(
        None,
        "Epochs that each member trains in all, in place of intervals.",
        commands=("run", "train"),
        option=Option(_POPULATION, "N"),
        if_unset="as many as the intervals take",
        ge=1,
    )
    seed: Integer = key(
        0,
        "Seed that every random stream derives from; same seed, same run.",
        commands=("run", "train"),
        option=Option(_POPULATION, "N"),
        ge=0,
        lt=2**63,
    )
    strategy: Annotated[
        StrategyConfig, BeforeValidator(_to_strategy, json_schema_input_type=str | StrategyConfig)
    ] = key(
        StrategyConfig(),
        "Strategy that makes the decisions: pbt, pb2, mf-pbt, random-search or one of thirteen more (popgrad "
        "strategies lists them); in a file also a table of its name and settings.",
        option=Option(_POPULATION, "NAME"),
        keyword=False,
    )
    executor: Literal["processes", "serial", "vectorised", "ray", "auto"] = key(
        "processes",
        "Way to train members: processes, serial (in this process), vectorised (one stacked model), ray "
        "(a cluster) or auto (the fastest of the first three).",
        commands=_RUN_AND_RESUME,
        option=Option(_MACHINE, "NAME"),
    )
    mode: Literal["sync", "async"] = key(
        "sync",
        "Timing of decisions: sync, once all members have trained an interval, or async, for each member as "
        "soon as it has.",
        option=Option(_POPULATION, "MODE"),
    )
    deadline: Seconds | None = key(
        None,
        "Seconds (or 90s, 10m) that a member may train an interval; a slower one has failed in it.",
        option=Option(_MACHINE, "TIME"),
        if_unset="no limit",
        gt=0,
    )
    workers: Integer | None = key(
        None,
        "Worker processes, threads of the stacked model, or most actors on a cluster.",
        commands=_RUN_AND_RESUME,
        option=Option(_MACHINE, "N"),
        if_unset="one per core; on a cluster, as many as it has room for",
        ge=1,
    )
    address: str | None = key(
        None,
        "Cluster of the executor ray: HOST:PORT, auto (running on this machine) or local (started here).",
        commands=_RUN_AND_RESUME,
        option=Option(_MACHINE, "HOST:PORT"),
        if_unset="RAY_ADDRESS, else local",
    )
    cpus: Number = key(
        1.0,
        "CPUs of the cluster that a member takes.",
        option=Option(_MACHINE, "X"),
        ge=0,
        le=1e6,
    )
    gpus: Number = key(
        0.0,
        "GPUs of the cluster that a member takes; with 0.25, four members share one.",
        option=Option(_MACHINE, "X"),
        ge=0,
        le=1e6,
    )
    device: str = key(
        "auto",
        "Device of the members: cpu, cuda, cuda:0,1 (members take turns; a single one has all of them), or "
        "auto: the first GPU, else cpu.",
        commands=("run", "resume", "train"),
        option=Option(_MACHINE, "DEVICE"),
        on_resume="Equal bits are promised on the recorded kind of device only.",
    )
    max_time: Seconds | None = key(
        None,
        "Seconds (or 90s, 10m, 2h, 1d) of this session after which no further interval starts.",
        commands=_RUN_AND_RESUME,
        option=Option(_STOP, "TIME"),
        if_unset="no limit",
        gt=0,
    )
    target_score: Number | None = key(
        None,
        "Value of the metric that ranks, on the validation split, at which no further interval starts; with "
        "minimize, one as low or lower.",
        commands=_RUN_AND_RESUME,
        option=Option(_STOP, "X"),
        if_unset="no target",
    )
    fail_fast: bool = key(
        False,
        "End the run with the first failure of a member, after its retries; resume tries it again.",
        commands=_RUN_AND_RESUME,
        option=Option(_STOP),
    )
    patience: Integer | None = key(
        None,
        "Intervals without a better best score after which no further interval starts.",
        commands=_RUN_AND_RESUME,
        option=Option(_STOP, "N"),
        if_unset="no limit",
        ge=1,
    )
    initial: list[HparamsTable] = key(
        [],
        "Hyperparameters of the first members, a table for each; missing names are sampled.",
        keyword=False,
    )
    weights: PathText | None = key(
        None,
        "Weights that every member starts from: a .safetensors file, or the directory of a run.",
        option=Option(_START, "WEIGHTS", "--from"),
        if_unset="random weights",
    )
    data_dir: PathText | None = key(
        None,
        "Directory of the data, for a task that is given by name.",
        commands=("run", "resume", "train"),
        option=Option(_FILES, "DIR"),
        if_unset="POPGRAD_DATA, else the user's cache",
    )
    storage: UrlText | None = key(
        None,
        "URL of a folder that holds a copy of the run, updated after each interval, such as s3://bucket/folder.",
        commands=_RUN_AND_RESUME,
        option=Option(_FILES, "URL"),
        if_unset="no copy",
    )
    check: bool = key(
        True,
        "Whether a new task is checked, by a few steps of one member, before the run is created.",
        commands=("run", "train"),
        option=Option(_START, name="--no-check"),
    )
    load: PathText | None = key(
        None,
        "Directory of a run to continue as it was configured, instead of starting a new one.",
        commands=(),
    )
    runs_dir: PathText = key(
        "runs", "Directory in which the directories of new runs are created.", commands=()
    )
    checkpoint_every: Integer = key(
        1,
        "Intervals between two checkpoints of a member; fewer checkpoints save time and never change a "
        "result.",
        option=Option(_FILES, "N"),
        ge=1,
    )
    durability: Literal["process", "power"] = key(
        "process",
        "Faults that the record survives: process, any kill of the run, or power, a power failure too.",
        option=Option(_FILES, "NAME"),
    )
    log_every: Integer | None = key(
        None,
        "Steps between two points of the training curve.",
        if_unset="one point per interval",
        ge=1,
    )
    outputs: bool = key(True, "Write tables, figures and events beside the record and the winner.")
    report: bool = key(
        False,
        "Write the run as one page, report.html, that opens offline.",
        commands=_RUN_AND_RESUME,
        option=Option(_FILES),
    )
    refresh: bool = key(
        True,
        "Refresh tables and figures as the run trains too, in at most a hundredth of its time.",
    )
    events: bool = key(
        False,
        "Write TensorBoard events (needs the extra tensorboard).",
        commands=("run", "train"),
        option=Option(_FILES),
    )
    tracker: TrackerNames = key(
        [],
        "Trackers that the run is logged to: tensorboard, mlflow, wandb, or several of them; each needs the "
        "extra of its name.",
        commands=("run", "resume", "train"),
        option=Option(_FILES, "NAME"),
        keyword=False,
        on_resume="They log the recorded segments too.",
    )
    sleep: Number = key(
        20.0,
        "Seconds between two tests of the monitor of popgrad train.",
        commands=(),
        ge=0,
        le=1e9,
    )
    made_with: dict[str, str] = key(
        {}, "Versions that ran it; popgrad writes and never reads them.", commands=()
    )

    @property
    def interval_length(self) -> Interval:
        """Length of an interval; one epoch if `interval` is left open."""
        return parse_interval(self.interval or "1 epoch")


def parse(values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that plain values describe.

    Raises:
        UsageError: One line that names each wrong key, what is expected and what was given.
    """
    try:
        return RunConfig.model_validate(plain(values, "configuration"))
    except ValidationError as error:
        raise UsageError(explain(error, RunConfig.model_fields)) from None
