"""Population Based Bandits: Parker-Holder, Nguyen, Roberts 2020, arXiv 2002.02518."""

from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from popgrad.core.exploit import check_fraction, truncation
from popgrad.core.explore import explored
from popgrad.core.plan import Plan
from popgrad.core.population import Changes, Hparams, Population
from popgrad.core.seeding import Index, Rng
from popgrad.core.settings import check_count
from popgrad.core.space import Choice, Space
from popgrad.strategies.base import Memory, Start, Strategy
from popgrad.strategies.improvements import Improvements, improvements
from popgrad.strategies.pb2_model import Categories, Model, Picks, Running

Pick = Callable[[Rng, Population, Index, Improvements], list[Picks]]
"""Rule for categories: (rng, population, heirs [H], rows) -> the categories of each heir."""


def pb2(space: Space, *, fraction: float = 0.25, window: int = 1000) -> Strategy:
    """Continue the worst members from the best, with hyperparameters that a model expects to gain most.

    A Gaussian process learns the change of the score per step from (step, score at the start,
    hyperparameters) of all segments. An heir gets the hyperparameters with the highest
    mean + sqrt(beta) * deviation at its donor's step and score. It is made for populations of 2 to
    10, in which random moves find little. Segments in training, and heirs of the same decision,
    lower the deviation around them, so that heirs differ; they never change the mean.

    The model covers numbers, integers and ordinals, in the scale of their dimension. Its kernel has
    no distance between categories, so those are resampled uniformly for each heir (the PB2-Rand of
    the second paper; `pb2-mix` learns them). Constants and init-only dimensions are no part of it.
    With fewer than two rows, an heir is resampled from the prior. A fresh member is evaluated
    before its first step, so that its first segment is a row; without that evaluation it is not.

    beta is max(0, 0.2 ln(0.4 n)) for n rows: the first code's, without its nan for n = 2. Ray's
    0.2 + ln(0.4 n) explores more than twice as widely at n = 100. The bound adds the deviation, as
    in the paper; the codes add the variance. What was measured, and what else differs:
    docs/decisions/0031-pb2-differs-from-its-codes.md.

    Args:
        space: Space of the hyperparameters.
        fraction: Share replaced, and share that donates, in [0, 0.5]. The paper's is 0.25.
        window: Newest segments that the model learns from, at least 2. The time of a decision grows
            with its cube.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        Without a history, the heir is resampled.

        >>> import numpy as np
        >>> import popgrad
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2]),
        ...     intervals=np.array([1, 1]),
        ...     steps=np.array([100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}],
        ... )
        >>> strategy = pb2(space)
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(2), strategy.init())
        >>> plan.sources, plan.changes
        ((0, 0), ({'lr': 'kept'}, {'lr': 'resampled'}))
    """
    names = category_names(space)

    def pick(rng: Rng, population: Population, heirs: Index, rows: Improvements) -> list[Picks]:
        del rows
        picks: list[Picks] = []
        for heir in heirs.tolist():
            generator = rng.generator("categories", heir, int(population.intervals[heir]))
            picks.append({name: (space[name].sample(generator), "resampled") for name in names})
        return picks

    return bandits(space, pick, fraction=fraction, window=window)


def category_names(space: Space) -> list[str]:
    """Return the names of the categories that may be explored."""
    return [name for name, dim in space.items() if isinstance(dim, Choice) and explored(dim)]


def bandits(
    space: Space,
    pick: Pick,
    *,
    fraction: float,
    window: int,
    categories: Categories = "none",
) -> Strategy:
    """Return a strategy of truncation selection, a rule for categories, and a model.

    Args:
        space: Space of the hyperparameters.
        pick: Rule for the categories.
        fraction: As in `pb2`.
        window: As in `pb2`.
        categories: Categories in the model.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.
    """
    fraction = check_fraction(fraction)
    window = check_count("window", window, "segments", low=2)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        sources = truncation(rng, population, ready, fraction=fraction)
        replaced = sources != ready
        starts = [
            _continued(population, heir, source)
            for heir, source in zip(
                ready[replaced].tolist(), sources[replaced].tolist(), strict=True
            )
        ]
        chosen: dict[int, tuple[Hparams, Changes]] = {}

        if starts:
            rows = improvements(population.history, window, len(space))
            picks = pick(rng, population, ready[replaced], rows)
            running = _in_training(population, ready, [start.member for start in starts], memory)
            model = Model(space, rows, running, [start.score for start in starts], categories)

            # One thread, since the last bits of a product depend on the number of threads.
            with threadpool_limits(1, user_api="blas"):
                for start, own in zip(starts, picks, strict=True):
                    generator = rng.generator("explore", start.member, start.interval)
                    chosen[start.member] = model.suggest(generator, start, own)

        plan = _plan(population, ready, sources, chosen)
        heirs = [start._replace(hparams=chosen[start.member][0]) for start in starts]
        return plan, _remember(population, ready, heirs, memory)

    # A fresh member is evaluated, since the first segment has no other known start.
    return Strategy(init=dict, step=step, start=lambda size: Start(size, evaluated=True))


def _plan(
    population: Population,
    ready: Index,
    sources: Index,
    chosen: dict[int, tuple[Hparams, Changes]],
) -> Plan:
    pairs: list[tuple[Hparams, Changes]] = []
    for member in ready.tolist():
        kept = population.hparams[member]
        pairs.append(chosen.get(member, (kept, dict.fromkeys(kept, "kept"))))
    hparams, changes = zip(*pairs, strict=True)
    return Plan(tuple(ready.tolist()), tuple(sources.tolist()), hparams, changes)


def _continued(population: Population, member: int, source: int) -> Running:
    """Return the next segment of a member, from the last state of the source."""
    return Running(
        member=member,
        interval=int(population.intervals[member]),
        steps=int(population.steps[source]),
        score=float(population.scores[source]),
        hparams=population.hparams[source],
    )


def _in_training(
    population: Population, ready: Index, heirs: list[int], memory: Memory
) -> list[Running]:
    """Return the segments that train beside those of the heirs.

    Not among them: those of members that rest or have failed, and first segments, of whose state no
    score is known.
    """
    remembered = {run.member: run for run in _remembered(population, ready, memory)}
    running = []
    for member in range(len(population)):
        idle = member in population.resting or member in heirs
        if member in remembered:
            running.append(remembered[member])
        elif not idle and population.intervals[member] and _scored(population, member):
            running.append(_continued(population, member, member))
    return running


def _scored(population: Population, member: int) -> bool:
    return abs(float(population.scores[member])) < float("inf")


def _remembered(population: Population, ready: Index, memory: Memory) -> list[Running]:
    """Return the heirs of former decisions that are still in training."""
    entries: Any = memory.get("running", [])
    former = [Running(*entry) for entry in entries]
    present = set(range(len(population))) - set(ready.tolist())
    return [
        run
        for run in former
        if run.member in present and int(population.intervals[run.member]) == run.interval
    ]


def _remember(population: Population, ready: Index, heirs: list[Running], memory: Memory) -> Memory:
    """Return memory of the heirs in training, for a decision that some of them do not take part in.

    A population has the hyperparameters of completed segments, which are those of an heir's next
    segment no longer. If all members decide at once, no segment is in training.
    """
    if len(ready) + len(population.resting) >= len(population):
        return {}
    running = [*_remembered(population, ready, memory), *heirs]
    return {"running": [list(run) for run in running]} if running else {}
