"""Keywords of `popgrad.run` and `popgrad.resume`. Written by `make docs` from the keys."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict


class RunKeywords(TypedDict, total=False):
    """Keywords of `popgrad.run` beside those in its signature: keys, and the settings of strategies."""

    options: Mapping[str, Any]
    """Arguments of a task that is given by name. Default: {}."""

    population: int
    """Number of members; at least 2 if the strategy copies. Default: 10."""

    score: str | None
    """Metric that ranks, higher is better; "-loss" ranks by the lowest loss, "+loss" by the
    highest. Default: the metric that the task names.
    """

    minimize: str | None
    """Metric that ranks, lower is better, such as loss; it takes the place of score. Default:
    the metric that the task names.
    """

    intervals: int
    """Intervals that each member trains in all. Default: 20."""

    interval: int | str | None
    """Training between two decisions: "275" steps, "2 epochs", or "100 steps within epochs", cut
    off at the end of an epoch. Default: 1 epoch; 10 steps if the task counts no epochs.
    """

    epochs: int | None
    """Epochs that each member trains in all, in place of intervals. Default: as many as the
    intervals take.
    """

    seed: int
    """Seed that every random stream derives from; same seed, same run. Default: 0."""

    executor: Literal["processes", "serial", "vectorised", "ray", "auto"]
    """Way to train members: processes, serial (in this process), vectorised (one stacked model),
    ray (a cluster) or auto (the fastest of the first three). Default: "processes".
    """

    mode: Literal["sync", "async"]
    """Timing of decisions: sync, once all members have trained an interval, or async, for each
    member as soon as it has. Default: "sync".
    """

    deadline: float | str | None
    """Seconds (or 90s, 10m) that a member may train an interval; a slower one has failed in it.
    Default: no limit.
    """

    workers: int | None
    """Worker processes, threads of the stacked model, or most actors on a cluster. Default: one
    per core; on a cluster, as many as it has room for.
    """

    address: str | None
    """Cluster of the executor ray: HOST:PORT, auto (running on this machine) or local (started
    here). Default: RAY_ADDRESS, else local.
    """

    cpus: float
    """CPUs of the cluster that a member takes. Default: 1.0."""

    gpus: float
    """GPUs of the cluster that a member takes; with 0.25, four members share one. Default: 0.0."""

    device: str
    """Device of the members: cpu, cuda, cuda:0,1 (members take turns; a single one has all of
    them), or auto: the first GPU, else cpu. Default: "auto".
    """

    max_time: float | str | None
    """Seconds (or 90s, 10m, 2h, 1d) of this session after which no further interval starts.
    Default: no limit.
    """

    target_score: float | None
    """Value of the metric that ranks, on the validation split, at which no further interval
    starts; with minimize, one as low or lower. Default: no target.
    """

    fail_fast: bool
    """End the run with the first failure of a member, after its retries; resume tries it again.
    Default: False.
    """

    patience: int | None
    """Intervals without a better best score after which no further interval starts. Default: no
    limit.
    """

    weights: str | Path | None
    """Weights that every member starts from: a .safetensors file, or the directory of a run.
    Default: random weights.
    """

    data_dir: str | Path | None
    """Directory of the data, for a task that is given by name. Default: POPGRAD_DATA, else the
    user's cache.
    """

    storage: str | None
    """URL of a folder that holds a copy of the run, updated after each interval, such as
    s3://bucket/folder. Default: no copy.
    """

    check: bool
    """Whether a new task is checked, by a few steps of one member, before the run is created.
    Default: True.
    """

    checkpoint_every: int
    """Intervals between two checkpoints of a member; fewer checkpoints save time and never
    change a result. Default: 1.
    """

    durability: Literal["process", "power"]
    """Faults that the record survives: process, any kill of the run, or power, a power failure
    too. Default: "process".
    """

    log_every: int | None
    """Steps between two points of the training curve. Default: one point per interval."""

    outputs: bool
    """Write tables, figures and events beside the record and the winner. Default: True."""

    refresh: bool
    """Refresh tables and figures as the run trains too, in at most a hundredth of its time.
    Default: True.
    """

    events: bool
    """Write TensorBoard events (needs the extra tensorboard). Default: False."""

    fraction: float | None
    """Setting of pbt. Share replaced, and share that donates, in [0, 0.5]. The paper's
    truncation is 0.2.
    """

    factors: Sequence[float] | None
    """Setting of pbt. Factors of a hyperparameter; one is drawn for each. The paper's 0.8 and
    1.2 shrink values in the long run (their logarithms average -0.0204); 0.8 and 1.25 cancel,
    hence the default.
    """

    resample_probability: float | None
    """Setting of pbt. Probability in [0, 1] that a hyperparameter is resampled instead."""

    burn_in: int | None
    """Setting of pbt. Completed intervals before a member can be replaced; a failed one is
    replaced at any time.
    """

    same_age: bool | None
    """Setting of pbt. Whether a member is ranked only among those that have completed as many
    intervals or more, and inherits from them. It matters if members decide one by one.
    """

    min_donor_steps: int | None
    """Setting of pbt. Training steps that a donor's weights need to have behind them."""

    phases: Sequence[Mapping[str, float | int | str | bool]] | None
    """Setting of schedule. Phases, each with "step", the training steps after which it begins
    (at least 1), and hyperparameters by name. It begins with the first interval that starts
    at its step or later. In a configuration it may have "epoch" instead, the epochs after
    which it begins.
    """


class ResumeKeywords(TypedDict, total=False):
    """Keywords of `popgrad.resume` beside those in its signature. None leaves a key as it is recorded."""

    population: int | None
    """Number of members; at least 2 if the strategy copies. It changes with the next decision;
    if there are too many members, the best stay.
    """

    grow: Literal["clone", "sample"] | None
    """Start of members that resume adds: clone, with a donor's state and explored
    hyperparameters, or sample, fresh.
    """

    intervals: int | None
    """Intervals that each member trains in all."""

    executor: Literal["processes", "serial", "vectorised", "ray", "auto"] | None
    """Way to train members: processes, serial (in this process), vectorised (one stacked model),
    ray (a cluster) or auto (the fastest of the first three).
    """

    workers: int | None
    """Worker processes, threads of the stacked model, or most actors on a cluster."""

    address: str | None
    """Cluster of the executor ray: HOST:PORT, auto (running on this machine) or local (started
    here).
    """

    device: str | None
    """Device of the members: cpu, cuda, cuda:0,1 (members take turns; a single one has all of
    them), or auto: the first GPU, else cpu. Equal bits are promised on the recorded kind of
    device only.
    """

    max_time: float | str | None
    """Seconds (or 90s, 10m, 2h, 1d) of this session after which no further interval starts."""

    target_score: float | None
    """Value of the metric that ranks, on the validation split, at which no further interval
    starts; with minimize, one as low or lower.
    """

    fail_fast: bool | None
    """End the run with the first failure of a member, after its retries; resume tries it again."""

    patience: int | None
    """Intervals without a better best score after which no further interval starts."""

    data_dir: str | Path | None
    """Directory of the data, for a task that is given by name."""

    storage: str | None
    """URL of a folder that holds a copy of the run, updated after each interval, such as
    s3://bucket/folder.
    """
