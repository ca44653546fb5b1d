"""What every executor keeps. A new one is one line in EXECUTORS, and inherits all of these tests.

Starting a pool takes seconds, so each executor is started once, with one task that stands for several: the
hyperparameter "task" says which of them a member trains.
"""

import asyncio
import logging
import math
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

from asking import Asking
from popgrad.core.errors import PopgradError, RunError, UsageError
from popgrad.core.population import Hparams, SegmentId
from popgrad.core.segment import Assignment, Outcome
from popgrad.core.space import Space
from popgrad.data import Splits
from popgrad.executors import EXECUTORS, Executor, Serial
from popgrad.executors.base import RETRIES
from popgrad.executors.simulated import Simulated
from popgrad.state import State, clone, digest, flatten
from popgrad.store.checkpoints import Checkpoints
from popgrad.tasks import Context, Split, TorchTask

cloudpickle.register_pickle_by_value(
    sys.modules[__name__]
)  # workers do not find test modules by name

CPU = (torch.device("cpu"),)
# The vectorised executor takes only what can be stacked: tests/executors/test_vectorised.py is its contract.
TRAINERS = {name: make for name, make in EXECUTORS.items() if name != "vectorised"}
VARIANTS: Mapping[str, Sequence[Mapping[str, int]]] = {
    "processes": [{"workers": n} for n in (1, 2, 3)],
    "ray": [{"workers": 2}],
}
TRAINERS["simulated"] = Simulated
TRAINERS["asked"] = Asking  # a caller that trains
STARTS = [(name, options) for name in TRAINERS for options in VARIANTS.get(name, [{}])]


def start(name: str, *given: Any, **options: Any) -> Executor:
    """An executor; where what it needs is not installed, the test is skipped. Ray is started once for all."""
    if name == "ray":
        ray = pytest.importorskip("ray", reason="the extra ray is not installed")
        if not ray.is_initialized():
            ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=10**8)
    return TRAINERS[name](*given, **options)


@pytest.fixture(scope="module", autouse=True)
def _leave_ray() -> Iterator[None]:
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


class Plain:
    """What a task is at least, without a tensor: the others change one thing each."""

    space = Space({})
    score = "score"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return {"steps": 0, "value": 1.0, "seen": []}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        for step in range(steps):
            state["value"] += float(hparams["lr"]) / (step + 1)
            ctx.log(ctx.first_step + step + 1, value=state["value"])
        told = [
            ctx.member,
            ctx.interval,
            ctx.first_step,
            steps,
            ctx.seed("x"),
            str(ctx.device),
            dict(hparams),
        ]
        return {
            "steps": state["steps"] + steps,
            "value": state["value"],
            "seen": [*state["seen"], told],
        }

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        return {"score": len(flatten(state)[1]), split: 1.0}


class Draws(Plain):
    """Draws from every global generator, in each phase."""

    def draw(self) -> list[Any]:
        return [random.random(), np.random.rand(3), torch.rand(3), torch.randn(2, 5)]  # noqa: NPY002

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return {"drawn": [self.draw()]}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        return {"drawn": [*state["drawn"], self.draw()]}

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        return {"score": random.random(), "normal": float(torch.randn(()))}


class Strided(Plain):
    """Computes on tensors as they were given, which it leaves behind in an unusual order in memory."""

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return {"w": torch.randn(33, 33).t(), "x": torch.randn(3, 66)[:, ::2]}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        w = torch.tanh(state["w"] @ state["w"] / 6 + state["w"].sum() / 99 + torch.randn(33, 33))
        return {"w": w.t(), "x": torch.cat([state["x"] @ w] * 2, 1)[:, ::2]}


class Spy(Plain):
    """Notes what it was given, then spoils all that it ever held in its hands."""

    kept: list[State]

    def fresh(self) -> State:
        return {
            "weights": {"a": torch.randn(33, 7), "b": torch.randn(()), "none": torch.empty(0, 3)},
            "moments": {0: {"step": torch.tensor(3.0), "avg": torch.randn(5).to(torch.bfloat16)}},
            "array": np.random.rand(4),  # noqa: NPY002
            "numbers": [
                random.random(),
                random.getrandbits(80),
                math.inf,
                None,
                True,
                ("text", "ü"),
            ],
        }

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return self.fresh()

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        received = digest(state)
        self.kept = [*getattr(self, "kept", []), state]
        for each in self.kept:
            each["weights"]["a"].add_(1.0)
            each["moments"][0]["step"].zero_()
            each["array"][:] = 0.0
            each["numbers"].clear()
        self.kept.append({"received": received, **self.fresh()})
        return self.kept[-1]


class Growing(Plain):
    """The state is empty at first, and a hundred times larger after every segment."""

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return {}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        size = len(state["x"]) if state else 0
        return {"x": torch.full((max(1, 100 * size),), float(size)), "none": torch.empty(0)}


class Bare(Plain):
    """A state need not be a dictionary, nor hold anything."""

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return {}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        return state


class Own(BaseException):
    """An exception of a task's own that is no `Exception`."""


ERRORS = {
    "error": ValueError,
    "exit": SystemExit,
    "refusal": UsageError,
    "cancelled": asyncio.CancelledError,
    "generator": GeneratorExit,
    "own": Own,
    "interrupt": KeyboardInterrupt,
}
BASES = [("cancelled", "CancelledError"), ("generator", "GeneratorExit"), ("own", "Own")]


class Fails(Plain):
    """Raises what it is told to, where it is told to."""

    def fail(self, where: str, hparams: Hparams) -> None:
        if hparams["where"] == where:
            raise ERRORS[str(hparams["what"])]("no luck today")

    def init(self, hparams: Hparams, ctx: Context) -> State:
        self.fail("init", hparams)
        return {"x": torch.zeros(3)}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        self.fail("train", hparams)
        return {"x": object()} if hparams["where"] == "state" else state

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        self.fail("evaluate", hparams)
        return {"score": 1.0}


class Flaky(Draws):
    """Fails the first `times` attempts, which it counts in `file`, with the state half changed."""

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        ctx.log(ctx.first_step + 1, drawn=random.random())
        state["drawn"].append(self.draw())
        attempt = attempts(hparams["file"]) + 1
        Path(str(hparams["file"])).write_text("." * attempt)
        if attempt <= int(hparams["times"]):
            raise ERRORS[str(hparams["what"])](f"attempt {attempt}")
        state["drawn"].append(self.draw())
        return state

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        return {"score": math.nan if hparams["what"] == "nan" else random.random()}


class Settings(Plain):
    """Changes settings of its process, and has those that it began with as metrics."""

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        began = [
            torch.finfo(torch.get_default_dtype()).bits,
            torch.get_num_threads(),
            len(os.getcwd()),
            float(np.geterr()["divide"] == "ignore"),
            torch.get_deterministic_debug_mode(),
        ]
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.set_deterministic_debug_mode("warn")
        np.seterr(divide="ignore")
        os.chdir("/")
        if hparams["fails"]:
            raise ValueError("no luck today")
        return {"began": began}

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        names = ("bits", "threads", "folder", "divide", "deterministic")
        return {"score": 1.0, **dict(zip(names, state["began"], strict=True))}


def attempts(file: object) -> int:
    path = Path(str(file))
    return len(path.read_text()) if path.exists() else 0


def network(hparams: Hparams) -> nn.Module:
    norm = nn.BatchNorm1d(17) if hparams["batch_size"] > 1 else nn.Identity()
    return nn.Sequential(
        nn.Linear(33, 17), norm, nn.ReLU(), nn.Dropout(hparams["dropout"]), nn.Linear(17, 3)
    )


def standardised() -> Splits:
    """Odd in every size, and without the zeros that hide how memory is aligned."""
    generator = torch.Generator().manual_seed(5)
    parts = []
    for n in (97, 31, 1):
        x = torch.randn(n, 33, generator=generator)
        parts.append((x, (x[:, :3].argmax(1))))
    return Splits(*parts)


TORCH = TorchTask(
    space=Space({}),
    model=network,
    optimizer=lambda module, hparams: torch.optim.AdamW(module.parameters(), weight_decay=0.1),
    data=standardised,
    drop_last=True,
    evaluation_batch_size=7,
)
TASKS = {
    **{
        "plain": Plain(),
        "draws": Draws(),
        "strided": Strided(),
        "spy": Spy(),
        "growing": Growing(),
        "bare": Bare(),
    },
    **{"fails": Fails(), "flaky": Flaky(), "torch": TORCH, "settings": Settings()},
}


class Several(Plain):
    """Each member's own task; `parts` alone is pickled."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts

    def _part(self, hparams: Hparams) -> tuple[Any, Hparams]:
        return self.parts[str(hparams["task"])], {k: v for k, v in hparams.items() if k != "task"}

    def init(self, hparams: Hparams, ctx: Context) -> State:
        task, rest = self._part(hparams)
        return task.init(rest, ctx)

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        task, rest = self._part(hparams)
        return task.train(state, rest, steps, ctx)

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        task, rest = self._part(hparams)
        return task.evaluate(state, rest, split, ctx)


def save(folder: Path, name: str, tree: Any, leaves: Sequence[torch.Tensor]) -> None:
    if "full disk" in str(tree):
        raise RunError("the disk is full")
    Checkpoints(folder).write(name, tree, leaves)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("run") / "checkpoints")


@pytest.fixture(
    scope="module",
    params=STARTS,
    ids=lambda start: "-".join(map(str, [start[0], *start[1].values()])),
)
def started(request: pytest.FixtureRequest, checkpoints: Checkpoints) -> Iterator[Executor]:
    name, options = request.param
    executor = start(name, Several(TASKS), CPU, save=partial(save, checkpoints.folder), **options)
    yield executor
    executor.close()


@pytest.fixture
def executor(started: Executor) -> Iterator[Executor]:
    yield started
    started.retain([])


def assign(
    task: str,
    member: int = 0,
    interval: int = 0,
    source: int | None = None,
    *,
    steps: int = 4,
    **hparams: Any,
) -> Assignment:
    """A segment; `source` is the member whose segment of the interval before it starts from."""
    before = None if source is None else (source, interval - 1)
    return Assignment(
        member, interval, before, {"task": task, **hparams}, 117, interval * steps, steps
    )


def train(executor: Executor, *assignments: Assignment) -> dict[SegmentId, Outcome]:
    executor.submit(assignments)
    outcomes = [executor.next() for _ in assignments]
    assert sorted(each.id for each in outcomes) == sorted(each.id for each in assignments)
    return {each.id: each for each in outcomes}


def record(outcome: Outcome) -> str:
    return repr((outcome.id, dict(outcome.metrics), outcome.digest, outcome.samples, outcome.error))


KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"task": "plain", "lr": 0.1},
    "draws": {"task": "draws"},
    "strided": {"task": "strided"},
    "torch, batch norm": {"task": "torch", "lr": 1e-2, "dropout": 0.3, "batch_size": 32},
    "torch, single samples": {"task": "torch", "lr": 1e-3, "dropout": 0.3, "batch_size": 1},
}


def generations(executor: Executor, hparams: Mapping[str, Any]) -> dict[SegmentId, Outcome]:
    """Three intervals of five members, with exploit between them."""
    found = train(executor, *(assign(member=m, **hparams) for m in range(5)))
    for interval, sources in ((1, (0, 0, 2, 4, 4)), (2, (3, 1, 3, 3, 0))):
        found |= train(
            executor,
            *(
                assign(member=m, interval=interval, source=s, **hparams)
                for m, s in enumerate(sources)
            ),
        )
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[SegmentId, Outcome]]:
    """What the reference makes of each kind."""
    serial = Serial(Several(TASKS), CPU)
    found = {}
    for kind, hparams in KINDS.items():
        found[kind] = generations(serial, hparams)
        serial.retain([])
    serial.close()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_outcomes_are_those_of_serial_bit_for_bit(
    executor: Executor, kind: str, expected: dict[str, dict[SegmentId, Outcome]]
) -> None:
    found = generations(executor, KINDS[kind])
    assert {key: record(each) for key, each in found.items()} == {
        key: record(each) for key, each in expected[kind].items()
    }
    assert not any(each.error for each in found.values())
    for segment, outcome in found.items():
        assert digest(executor.state(segment)) == outcome.digest
    final = {each.digest for key, each in found.items() if key[1] == 2}
    assert len(final) == 5  # members differ, so that equality says something


def test_a_task_that_draws_from_global_generators_repeats_itself(executor: Executor) -> None:
    first = train(executor, assign("draws"), assign("draws", 1))
    train(executor, assign("draws", 2), assign("plain", 3, lr=1.0))
    executor.retain([])
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    torch.manual_seed(99)
    again = train(executor, assign("draws", 1), assign("draws"))
    assert {key: record(each) for key, each in again.items()} == {
        key: record(each) for key, each in first.items()
    }
    assert first[0, 0].digest != first[1, 0].digest


def test_a_task_is_told_what_was_assigned_and_evaluated_on_validation_data(
    executor: Executor,
) -> None:
    outcomes = train(executor, *(assign("plain", m, steps=3 + m, lr=0.1 * m) for m in range(4)))
    outcomes |= train(executor, assign("plain", 1, 1, 3, steps=2, lr=7.0))
    assert outcomes[1, 1].metrics == {"score": 0.0, "validation": 1.0}
    state = executor.state((1, 1))
    assert state["steps"] == 6 + 2
    (*first, seed), (*second, other) = ((*told[:4], *told[5:], told[4]) for told in state["seen"])
    assert first == [3, 0, 0, 6, "cpu", {"lr": 0.1 * 3}]
    assert second == [1, 1, 2, 2, "cpu", {"lr": 7.0}]
    assert seed == Context(3, 0, run_seed=117).seed("x")
    assert other == Context(1, 1, run_seed=117).seed("x")


def test_samples_are_counted_where_the_task_counts_them(executor: Executor) -> None:
    hparams = {"lr": 0.1, "dropout": 0.0, "batch_size": 32}
    outcomes = train(executor, assign("torch", 0, steps=2, **hparams), assign("plain", 1, lr=1.0))
    assert outcomes[0, 0].samples == 64
    assert outcomes[1, 0].samples == 0


def test_curves_and_times_are_telemetry(executor: Executor) -> None:
    outcome = train(executor, assign("plain", steps=2, lr=1.0))[0, 0]
    assert outcome.telemetry.curve == ((1, "value", 2.0), (2, "value", 2.5))
    assert outcome.telemetry.seconds > 0
    assert outcome.telemetry.began is not None  # the simulated clock begins at 0
    assert outcome.telemetry.ended == outcome.telemetry.began + outcome.telemetry.seconds
    assert outcome.telemetry.worker
    if outcome.telemetry.task is not None:  # the caller of a study may not say
        assert 0 < outcome.telemetry.task <= outcome.telemetry.seconds


def test_heirs_are_given_the_state_that_the_decision_saw(executor: Executor) -> None:
    seen = train(executor, *(assign("spy", m) for m in range(4)))
    # The donor, member 0, trains on at once, and two others inherit from it.
    train(executor, *(assign("spy", m, 1, source) for m, source in enumerate((0, 0, 0, 3))))
    assert [executor.state((m, 1))["received"] for m in range(4)] == [
        seen[s, 0].digest for s in (0, 0, 0, 3)
    ]
    assert len({digest(executor.state((m, 1))) for m in range(4)}) == 4
    # And again, from what is by now a past segment.
    late = Assignment(2, 2, (1, 0), {"task": "spy"}, 117, 8, 4)
    train(executor, late)
    assert executor.state((2, 2))["received"] == seen[1, 0].digest


def test_a_held_state_never_changes(executor: Executor) -> None:
    first = train(executor, *(assign("spy", m) for m in range(3)))
    for interval in (1, 2):
        train(executor, *(assign("spy", m, interval, m) for m in range(3)))
    executor.state((0, 0))["weights"]["a"].zero_()
    for segment, outcome in first.items():
        assert digest(executor.state(segment)) == outcome.digest


def test_put_hold_and_retain(executor: Executor) -> None:
    state = Spy().fresh()
    before = digest(state)
    executor.put((7, 3), state)
    state["weights"]["a"].zero_()
    assert executor.holds((7, 3))
    assert not executor.holds((7, 4))
    assert digest(executor.state((7, 3))) == before
    train(executor, Assignment(1, 4, (7, 3), {"task": "spy"}, 117, 0, 1))
    assert executor.state((1, 4))["received"] == before
    executor.retain({(7, 3), (0, 99)})
    assert executor.holds((7, 3))
    assert not executor.holds((1, 4))
    assert not executor.holds((0, 99))
    assert digest(executor.state((7, 3))) == before
    executor.retain([])
    assert not executor.holds((7, 3))


def test_what_is_held_first_stays(executor: Executor) -> None:
    state = {"x": torch.ones(3)}
    executor.put((0, 0), state)
    executor.put((0, 0), {"x": torch.zeros(3)})
    train(executor, assign("draws"))
    assert digest(executor.state((0, 0))) == digest(state)


def test_letting_go_does_not_pull_states_from_under_those_who_start_from_them(
    executor: Executor,
) -> None:
    seen = train(executor, *(assign("spy", m) for m in range(4)))
    executor.submit([assign("spy", m, 1, 3 - m) for m in range(4)])
    executor.retain([])  # some of them train by now, some wait
    executor.submit([assign("spy", m) for m in range(4, 8)])
    for _ in range(8):
        executor.next()
    assert [executor.state((m, 1))["received"] for m in range(4)] == [
        seen[3 - m, 0].digest for m in range(4)
    ]
    executor.retain([])
    assert not any(executor.holds((m, 0)) for m in range(4))


def test_states_may_be_empty_and_grow(executor: Executor) -> None:
    train(executor, assign("bare", 0), assign("growing", 1))
    assert executor.state((0, 0)) == {}
    for interval, size in ((1, 100), (2, 10_000), (3, 1_000_000)):
        train(executor, assign("bare", 0, interval, 0), assign("growing", 1, interval, 1))
        x = executor.state((1, interval))["x"]
        assert x.equal(torch.full((size,), size / 100))
    executor.retain([])
    train(executor, assign("growing", 0))  # in memory that held something larger
    state = executor.state((0, 0))
    assert state["x"].tolist() == [0.0]
    assert state["none"].shape == (0,)


@pytest.mark.parametrize(
    ("what", "name"), [("error", "ValueError"), ("exit", "SystemExit"), *BASES]
)
@pytest.mark.parametrize("where", ["init", "train", "evaluate"])
def test_an_exception_is_an_outcome_and_the_others_go_on(
    executor: Executor, where: str, what: str, name: str
) -> None:
    failing = assign("fails", 1, where=where, what=what)
    outcomes = train(
        executor, assign("plain", 0, lr=1.0), failing, *(assign("draws", m) for m in range(2, 6))
    )
    failed = outcomes.pop((1, 0))
    assert failed.error.startswith("Traceback")
    assert f"in {where}" in failed.error
    assert failed.error.rstrip().endswith(f"{name}: no luck today")
    assert (failed.digest, dict(failed.metrics), failed.samples) == ("", {}, 0)
    assert failed.telemetry.worker
    assert not executor.holds((1, 0))
    for segment, outcome in outcomes.items():
        assert not outcome.error
        assert executor.holds(segment)
    again = train(
        executor, assign("fails", 1, where="nowhere", what="error")
    )  # a retry is another submission
    assert again[1, 0].metrics == {"score": 1.0}


def test_an_interrupt_that_a_task_raises_is_ctrl_c(executor: Executor) -> None:
    executor.submit([assign("fails", 0, where="train", what="interrupt"), assign("draws", 1)])
    finished = []
    interrupts = 0
    for _ in range(2):
        try:
            finished.append(executor.next().id)
        except KeyboardInterrupt:
            interrupts += 1
    assert (finished, interrupts) == ([(1, 0)], 1)


def test_settings_that_a_task_changes_are_those_of_before_for_the_next_member_and_the_caller(
    executor: Executor,
) -> None:
    before = torch.get_default_dtype(), np.geterr(), os.getcwd(), signal.getsignal(signal.SIGINT)
    fails = [assign("settings", m, fails=m == 2) for m in range(8)]
    outcomes = train(executor, *fails)
    assert [bool(outcomes[m, 0].error) for m in range(8)] == [m == 2 for m in range(8)]
    seen = [outcomes[m, 0].metrics for m in range(8) if m != 2]
    assert all(metrics == seen[0] for metrics in seen)
    assert seen[0]["bits"] == torch.finfo(before[0]).bits
    after = torch.get_default_dtype(), np.geterr(), os.getcwd(), signal.getsignal(signal.SIGINT)
    assert after == before


def flaky(folder: Path, times: int, what: str = "error", interval: int = 0) -> list[Assignment]:
    """Two members; the first fails so often."""
    return [
        assign(
            *("flaky", member, interval, member if interval else None),
            file=str(folder / f"{what} {times} {member} {interval}"),
            times=times if member == 0 else 0,
            what=what,
        )
        for member in range(2)
    ]


@pytest.mark.parametrize("what", ["error", "exit"])
def test_a_segment_that_succeeds_in_the_end_is_as_if_it_had_never_failed(
    executor: Executor,
    tmp_path: Path,
    what: str,
    caplog: pytest.LogCaptureFixture,
    retries: Callable[[], list[str]],
) -> None:
    runs = []
    for times in (0, 1, RETRIES):
        executor.retain([])
        caplog.clear()
        with caplog.at_level(logging.WARNING, "popgrad"):
            found = {}
            for interval in range(2):
                found |= train(executor, *flaky(tmp_path, times, what, interval))
        runs.append([(record(found[key]), found[key].telemetry.curve) for key in sorted(found)])
        assert len(retries()) == 2 * times
        assert attempts(flaky(tmp_path, times, what, 1)[0].hparams["file"]) == times + 1
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize(("what", "name"), [("error", "ValueError"), ("exit", "SystemExit")])
def test_a_segment_that_fails_every_time_has_its_first_error_and_the_others_go_on(
    executor: Executor,
    tmp_path: Path,
    what: str,
    name: str,
    caplog: pytest.LogCaptureFixture,
    retries: Callable[[], list[str]],
) -> None:
    with caplog.at_level(logging.WARNING, "popgrad"):
        outcomes = train(executor, *flaky(tmp_path, 99, what), assign("plain", 2, lr=1.0))
    assert outcomes[0, 0].error.startswith("Traceback")
    assert outcomes[0, 0].error.endswith(f"{name}: attempt 1\n")
    assert not outcomes[1, 0].error
    assert not outcomes[2, 0].error
    assert not executor.holds((0, 0))
    assert attempts(flaky(tmp_path, 99, what)[0].hparams["file"]) == RETRIES + 1
    assert retries() == [
        f"member 0, interval 0: attempt {n} of 3 failed, retraining it: {name}: attempt {n}"
        for n in (1, 2)
    ]


def test_what_would_come_again_is_not_trained_again(executor: Executor, tmp_path: Path) -> None:
    nan, refused = flaky(tmp_path, 0, "nan")[0], flaky(tmp_path, 99, "refusal")[0]
    assert math.isnan(train(executor, nan)[0, 0].metrics["score"])
    executor.submit([refused])
    with pytest.raises(UsageError, match="attempt 1"):
        executor.next()
    assert [attempts(each.hparams["file"]) for each in (nan, refused)] == [1, 1]


def drain(executor: Executor, count: int) -> tuple[list[Outcome], list[PopgradError]]:
    outcomes, errors = [], []
    for _ in range(count):
        try:
            outcomes.append(executor.next())
        except PopgradError as error:
            errors.append(error)
    return outcomes, errors


@pytest.mark.parametrize("where", ["init", "train", "evaluate"])
def test_what_popgrad_raises_on_purpose_is_raised(executor: Executor, where: str) -> None:
    executor.submit(
        [
            assign("fails", 0, where=where, what="refusal"),
            *(assign("draws", m) for m in range(1, 5)),
        ]
    )
    outcomes, (error,) = drain(executor, 5)
    assert type(error) is UsageError
    assert str(error) == "no luck today"
    assert sorted(each.id for each in outcomes) == [(m, 0) for m in range(1, 5)]


def test_a_state_that_is_not_plain_data_is_refused(executor: Executor) -> None:
    executor.submit([assign("fails", where="state", what="")])
    with pytest.raises(UsageError, match=r"state\['x'\] is a builtins\.object"):
        executor.next()


def test_checkpoints_are_written_under_their_digests(
    executor: Executor, checkpoints: Checkpoints
) -> None:
    outcomes = train(
        executor, assign("spy", 11), assign("growing", 12), assign("plain", 13, lr=1.0)
    )
    executor.flush()
    for segment, outcome in outcomes.items():
        assert (
            digest(checkpoints.load(outcome.digest))
            == outcome.digest
            == digest(executor.state(segment))
        )


def test_a_checkpoint_that_cannot_be_written_is_raised_and_not_the_members_fault(
    executor: Executor,
) -> None:
    full = assign("plain", 0, lr=1.0, note="full disk")
    assert not train(executor, full)[0, 0].error  # it is written while training goes on
    with pytest.raises(RunError, match="the disk is full"):
        executor.flush()
    executor.flush()  # it is said once
    executor.submit([full, full, *(assign("draws", m) for m in range(1, 5))])
    outcomes, errors = drain(executor, 6)
    with suppress(RunError):
        executor.flush()
    assert {str(error) for error in errors} <= {"the disk is full"}
    assert {each.id for each in outcomes if each.error} == set()


def test_a_checkpoint_is_written_only_where_one_is_wanted(
    executor: Executor, checkpoints: Checkpoints
) -> None:
    wanted, unwanted = assign("draws", 21), replace(assign("draws", 22), checkpoint=False)
    outcomes = train(executor, wanted, unwanted)
    executor.flush()
    assert checkpoints.has(outcomes[21, 0].digest)
    assert not checkpoints.has(outcomes[22, 0].digest)
    assert executor.holds((22, 0))


def test_the_callers_generators_and_modes_are_left_alone(executor: Executor) -> None:
    hparams = {"lr": 0.1, "dropout": 0.5, "batch_size": 32}
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    with torch.no_grad():
        outcomes = train(executor, assign("draws", 0), assign("torch", 1, **hparams))
        train(executor, assign("fails", 2, where="train", what="error"))
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert after == before
    assert not outcomes[1, 0].error  # it trained, though the caller's gradients were off


def test_waiting_for_nothing_is_an_error_and_no_hang(executor: Executor) -> None:
    with pytest.raises(RunError, match="nothing was submitted"):
        executor.next()


def test_the_fingerprint_is_of_one_thread_and_alike_everywhere(executor: Executor) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    serial = Serial(Plain(), CPU)
    assert executor.fingerprint == serial.fingerprint
    assert executor.fingerprint["threads"] == 1
    serial.close()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", TRAINERS)
def test_closing_abandons_what_is_left_and_can_be_done_twice(name: str) -> None:
    executor = start(name, Several(TASKS), CPU, workers=1)
    executor.put((9, 9), clone(Spy().fresh()))
    executor.submit([assign("draws", m) for m in range(5)])
    executor.next()
    executor.close()
    executor.close()
    assert not executor.holds((9, 9))
    with pytest.raises(RunError, match="nothing was submitted"):
        executor.next()


@pytest.mark.parametrize("name", TRAINERS)
def test_members_take_turns_over_the_devices(name: str) -> None:
    devices = (torch.device("cpu"), torch.device("meta"))
    executor = start(name, Plain(), devices, workers=1)
    train(executor, *(assign("plain", m, lr=1.0) for m in range(4)))
    assert [executor.state((m, 0))["seen"][0][5] for m in range(4)] == ["cpu", "meta"] * 2
    executor.close()
