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

    evaluations: int
    """Evaluations within each segment, evenly spaced; the last one ranks. A strategy may ask for
    more. Default: 1.
    """

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
    off at the end of an epoch; of a training loop "1 report", or a number of batches.
    Default: 1 epoch; 10 steps if the task counts no epochs; 1 report of a training loop.
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

    report: bool
    """Write the run as one page, report.html, that opens offline. Default: False."""

    refresh: bool
    """Refresh tables and figures as the run trains too, in at most a hundredth of its time.
    Default: True.
    """

    events: bool
    """Write TensorBoard events (needs the extra tensorboard). Default: False."""

    fraction: float | None
    """Setting of pbt and gap and backtracking and pb2 and pb2-mix and fire and ipbt and mo-pbt.
    Share replaced, and share that donates, in [0, 0.5]. The paper's truncation is 0.2.
    """

    factors: Sequence[float] | Mapping[str, Sequence[float]] | None
    """Setting of pbt and tournament and t-test and initiator and backtracking and mf-pbt and
    fire and ipbt and mo-pbt. Factors of a hyperparameter; one is drawn for each. The paper's
    0.8 and 1.2 shrink values in the long run (their logarithms average -0.0204); 0.8 and 1.25
    cancel, hence the default. Or a table of factors by name of the hyperparameter, with those
    of all others under "default".
    """

    resample_probability: float | None
    """Setting of pbt and tournament and t-test and initiator and backtracking and mf-pbt and
    fire and ipbt and pairwise and mo-pbt. Probability in [0, 1] that a hyperparameter is
    resampled instead.
    """

    burn_in: int | None
    """Setting of pbt and gap. Completed intervals before a member can be replaced; a failed one
    is replaced at any time.
    """

    same_age: bool | None
    """Setting of pbt. Whether a member is ranked only among those that have completed as many
    intervals or more, and inherits from them. It matters if members decide one by one.
    """

    min_donor_steps: int | None
    """Setting of pbt. Training steps that a donor's weights need to have behind them."""

    k: int | None
    """Setting of tournament. Members in a tournament, at least 2: the member itself and k - 1
    others, drawn with replacement.
    """

    elitism: int | None
    """Setting of tournament. Best members that are never replaced. Nothing beats the best one
    anyway, unless `generational`.
    """

    generational: bool | None
    """Setting of tournament. Whether all members outside of the elite are replaced, each by the
    best of k drawn ones, as in genetic algorithms; a member then survives only if it is
    drawn. Without it, only members that lose are replaced, as in the paper.
    """

    alpha: float | None
    """Setting of t-test. Level of the test in [0, 1]: share of copies among comparisons of equal
    members.
    """

    rule: Literal["rank", "deviation"] | None
    """Setting of threshold. "rank" or "deviation"."""

    worst: float | None
    """Setting of threshold. Share of the members that may be replaced by the rank rule, in [0,
    1]; rounded up.
    """

    best: float | None
    """Setting of threshold. Share of the members that may donate by the rank rule, in [0, 1];
    rounded up.
    """

    deviations: float | None
    """Setting of threshold. Standard deviations, 0 or more; not given = the rule's own: 0.5 for
    rank, 0.1 for deviation.
    """

    margin: float | None
    """Setting of threshold. By the rank rule, share of the donor's score that the gap has to
    exceed; by the deviation rule, least distance from the mean, in units of the score.
    """

    own_probability: float | None
    """Setting of threshold. Probability in [0, 1] that an heir keeps its own hyperparameters,
    and mutates them (init-only ones always come with the weights); not given = the rule's
    own: 0.5 for rank, 0 for deviation.
    """

    rate: float | None
    """Setting of threshold and gap. Probability in [0, 1] that a hyperparameter mutates; not
    given = the rule's own: 0.15 for rank, 0.25 for deviation.
    """

    factor_range: Sequence[float] | None
    """Setting of threshold and gap. Lowest and highest factor of a mutation, at least 1,
    inverted half of the time; not given = the rule's own: 1.1 to 1.5 for rank, 1.1 to 2 for
    deviation.
    """

    absolute_gap: float | None
    """Setting of gap. Least difference of the scores, 0 or more, that has to be exceeded."""

    relative_gap: float | None
    """Setting of gap. Least difference as a share of the donor's score, 0 or more, that has to
    be exceeded.
    """

    scope: Literal["lineage", "best-ever"] | None
    """Setting of backtracking. Elites that are kept. "lineage": the best segment of each member
    slot, whose states take as much disk as the population; a replaced member draws one of the
    best `fraction` of those that have trained no more intervals than itself, as in Orion.
    "best-ever": the best segment of the run, for all that are replaced, as in BG-PBT (Wan et
    al. 2022).
    """

    window: int | None
    """Setting of pb2 and pb2-mix. Newest segments that the model learns from, at least 2. The
    time of a decision grows with its cube.
    """

    categories: Literal["mix", "mult", "random"] | None
    """Setting of pb2-mix. Use of the categories: "mix" (PB2-Mix), the kernel compares them, so
    segments with other options count less; "mult" (PB2-Mult), a model for each combination of
    options, of its own segments alone; "random" (PB2-Rand), no bandit, and `pb2` with uniform
    options.
    """

    frequencies: Sequence[int] | None
    """Setting of mf-pbt. Intervals between two evolutions of each sub-population, at least 1.
    The paper's 1, 10, 25, 50 are for a run of 1,000 intervals; one above the intervals of the
    run never evolves.
    """

    brackets: Literal["paper", "agilerl"] | None
    """Setting of mf-pbt. Sizes of the brackets. "paper": quarters, and each loser inherits from
    the winner of its rank. "agilerl": as AgileRL 2.58, a quarter of winners, a quarter open,
    half losers, and each loser inherits from a winner drawn uniformly.
    """

    max_rounds: int | None
    """Setting of fire. Intervals after which an evaluator stops if its curve does not overlap
    with the child's, at least 1. Its sign test gets stricter up to then.
    """

    significance: float | None
    """Setting of fire. Bound in (0, 1) on the p-value of the sign test for a success."""

    stagnant_rounds: int | None
    """Setting of ipbt. Rounds in a row without a gain in the smooth best score that make a
    stagnation, at least 1.
    """

    slow_rounds: int | None
    """Setting of ipbt. Rounds in which the best score has to gain a standard deviation, or the
    population stagnates at once; at least 2.
    """

    inertia: float | None
    """Setting of pairwise. Weight of the former velocity, 0 or more."""

    attraction: float | None
    """Setting of pairwise. Weight of the difference to the winner, 0 or more."""

    objectives: Sequence[str] | None
    """Setting of mo-pbt. Metrics that the task evaluates; "-" before a name if lower is better:
    ["accuracy", "-params"]. Without any, the score ranks, as in PBT.
    """

    eta: int | None
    """Setting of successive-halving. Factor by which each rung is smaller than the one before,
    at least 2. The theory's optimum is e = 2.72; Li et al. 2018 (Hyperband, JMLR 18)
    recommend 3 or 4, and find little difference. Of the two, 3 leaves more rungs to small
    populations.
    """

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

    report: bool | None
    """Write the run as one page, report.html, that opens offline."""
