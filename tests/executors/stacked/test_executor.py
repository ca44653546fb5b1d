"""What the vectorised executor keeps: the promises of every executor, for tasks that can be stacked."""

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import popgrad
from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Hparams, SegmentId
from popgrad.core.segment import Assignment, Outcome
from popgrad.core.space import Integer, LogUniform, Space, Uniform
from popgrad.data import Splits
from popgrad.executors import EXECUTORS, Serial, Vectorised
from popgrad.executors.base import RETRIES
from popgrad.state import digest, flatten
from popgrad.store.checkpoints import Checkpoints
from popgrad.tasks import Quadratic, TorchTask, digits

CPU = (torch.device("cpu"),)
SIZE = 5


def network(hparams: Hparams) -> nn.Module:
    """Odd shapes, both kinds of dropout, and statistics that travel."""
    return nn.Sequential(
        nn.Linear(33, 17),
        nn.BatchNorm1d(17),
        nn.ReLU(),
        nn.Dropout(0.2),
        popgrad.nn.Dropout(),
        nn.Linear(17, 3),
    )


def standardised() -> Splits:
    """97 samples make batches of 32, 32, 32 and 1; the last is left out."""
    generator = torch.Generator().manual_seed(5)
    parts = []
    for n in (97, 31, 1):
        x = torch.randn(n, 33, generator=generator)
        parts.append((x, x[:, :3].argmax(1)))
    return Splits(*parts)


TASK = TorchTask(
    space=Space({"lr": LogUniform(1e-3, 1e-1), "dropout": Uniform(0.0, 0.6)}),
    model=network,
    optimizer=lambda module, hparams: torch.optim.AdamW(module.parameters(), weight_decay=0.1),
    data=standardised,
    batch_size=32,
    drop_last=True,
    evaluation_batch_size=7,
)


def make(task: Any = TASK, **options: Any) -> Vectorised:
    return Vectorised(task, CPU, **{"workers": 1, "width": SIZE, **options})


@pytest.fixture
def executor() -> Iterator[Vectorised]:
    made = make()
    yield made
    made.close()


def assign(member: int, interval: int = 0, source: int | None = None, **changes: Any) -> Assignment:
    """A segment of 4 steps; `source` is the member whose segment of the interval before it starts from."""
    hparams = {"lr": 0.01 * (1 + member), "dropout": 0.1 * member}
    before = None if source is None else (source, interval - 1)
    made = Assignment(member, interval, before, hparams, 117, interval * 4, 4)
    return replace(made, **changes)


def train(executor: Any, *assignments: Assignment) -> dict[SegmentId, Outcome]:
    executor.submit(assignments)
    outcomes = [executor.next() for _ in assignments]
    assert sorted(each.id for each in outcomes) == sorted(each.id for each in assignments)
    return {each.id: each for each in outcomes}


def record(outcomes: Mapping[SegmentId, Outcome]) -> dict[SegmentId, str]:
    return {
        key: repr((dict(each.metrics), each.digest, each.samples, each.error))
        for key, each in outcomes.items()
    }


SOURCES: Sequence[Sequence[int]] = ((0, 0, 2, 4, 4), (3, 1, 3, 3, 0))


def generations(executor: Any) -> dict[SegmentId, Outcome]:
    """Three intervals of five members, with exploit between them."""
    found = train(executor, *(assign(m) for m in range(SIZE)))
    for interval, sources in enumerate(SOURCES, 1):
        found |= train(executor, *(assign(m, interval, source) for m, source in enumerate(sources)))
    return found


@pytest.fixture(scope="module")
def expected() -> dict[SegmentId, str]:
    executor = make()
    found = generations(executor)
    executor.close()
    assert not any(each.error for each in found.values())
    assert len({each.digest for each in found.values()}) == 3 * SIZE
    return record(found)


# The same bits, whatever is cut


def test_it_repeats_itself_bit_for_bit(expected: dict[SegmentId, str]) -> None:
    executor = make()
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    torch.manual_seed(99)
    assert record(generations(executor)) == expected
    executor.close()


@pytest.mark.parametrize("missing", [(0,), (4,), (1, 3), (0, 1, 2, 3)])
def test_members_that_are_missing_change_nothing_for_the_others(
    expected: dict[SegmentId, str], missing: Sequence[int]
) -> None:
    executor = make()
    found = train(executor, *(assign(m) for m in range(SIZE) if m not in missing))
    found |= train(executor, *(assign(m) for m in missing))  # as after a resume in the middle
    for interval, sources in enumerate(SOURCES, 1):
        for m in missing:
            found |= train(executor, assign(m, interval, sources[m]))
        rest = [m for m in range(SIZE) if m not in missing]
        found |= train(executor, *(assign(m, interval, sources[m]) for m in reversed(rest)))
    assert record(found) == expected
    executor.close()


def test_what_was_put_trains_on_as_what_was_trained_here(expected: dict[SegmentId, str]) -> None:
    one, other = make(), make()
    train(one, *(assign(m) for m in range(SIZE)))
    for m in range(SIZE):
        other.put((m, 0), one.state((m, 0)))
    found = train(other, *(assign(m, 1, source) for m, source in enumerate(SOURCES[0])))
    assert record(found) == {key: expected[key] for key in found}
    one.close()
    other.close()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.drop, self.out = nn.GRU(11, 7), popgrad.nn.Dropout(), nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.drop(self.gru(x.unflatten(1, (3, 11)).transpose(0, 1))[0][-1]))


def convolution(hparams: Hparams) -> nn.Module:
    layers = [
        nn.Unflatten(1, (1, 3, 11)),
        nn.Conv2d(1, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, popgrad.nn.Dropout(), nn.Flatten(), nn.Linear(165, 3))


MODELS = {
    "perceptron": network,
    "convolution": convolution,
    "recurrent": lambda hparams: Recurrent(),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_a_members_bits_do_not_depend_on_what_the_others_do(kind: str, threads: int) -> None:
    for width, others in ((2, [7]), (3, [7, 8]), (7, range(6))):
        executor = make(replace(TASK, model=MODELS[kind]), width=width, workers=threads)
        first = train(executor, assign(6))[6, 0]
        executor.retain([])
        # The others diverge at once.
        wild = [assign(m, hparams={"lr": 1e30, "dropout": 0.9}) for m in others]
        found = train(executor, assign(6), *wild)
        assert math.isnan(found[others[0], 0].metrics["accuracy"])
        assert found[6, 0].digest == first.digest
        executor.close()


def test_a_population_that_is_wider_than_the_stack_trains_in_several() -> None:
    executor = make(width=2)
    found = generations(executor)
    again = make(width=2)
    assert record(generations(again)) == record(found)
    assert not any(each.error for each in found.values())
    executor.close()
    again.close()


def test_members_at_different_places_of_an_epoch_train_in_stacks_of_their_own() -> None:
    executor = make()
    train(executor, assign(0), assign(1, steps=5))
    found = train(
        executor, assign(0, 1, 0), assign(1, 1, 1, first_step=5), assign(2, 1, 1, first_step=5)
    )
    assert [found[m, 1].samples for m in range(3)] == [97 * 2 + 64, 97 * 2 + 96, 97 * 2 + 96]
    alone = make()
    for m, segment in ((0, (0, 0)), (1, (1, 0)), (2, (1, 0))):
        alone.put(segment, executor.state(segment))
        again = train(alone, assign(m, 1, segment[0], first_step=5 if m else 4))
        assert record(again) == record({(m, 1): found[m, 1]})
    executor.close()
    alone.close()


# States


def test_a_state_has_the_structure_that_it_has_in_serial(executor: Vectorised) -> None:
    serial = Serial(TASK, CPU)
    generations(serial)
    generations(executor)
    for m in range(SIZE):
        (tree, leaves), (other, others) = (
            flatten(executor.state((m, 2))),
            flatten(serial.state((m, 2))),
        )
        assert tree == other
        assert [(x.dtype, x.shape) for x in leaves] == [(x.dtype, x.shape) for x in others]
    serial.close()


def test_runs_go_on_under_another_executor_in_both_directions(executor: Vectorised) -> None:
    serial = Serial(TASK, CPU)
    train(serial, assign(0))
    train(executor, assign(0))
    executor.put((9, 0), serial.state((0, 0)))
    serial.put((9, 0), executor.state((0, 0)))
    assert not train(executor, assign(9, 1, 9))[9, 1].error
    assert not train(serial, assign(9, 1, 9))[9, 1].error
    serial.close()


def test_an_heir_starts_from_all_of_its_donors_state() -> None:
    """At a rate of zero, and betas of almost one, the heir ends with what it was given."""
    space = Space({"lr": Uniform(0.0, 1.0), "beta1": Uniform(0.0, 1.0), "beta2": Uniform(0.0, 1.0)})
    task = replace(
        TASK,
        space=space,
        model=lambda hparams: nn.Linear(33, 3),
        optimizer=lambda module, hparams: torch.optim.Adam(module.parameters()),
    )
    executor = make(task)
    kept = {"lr": 0.0, "beta1": 1.0 - 2**-30, "beta2": 1.0 - 2**-30}
    train(
        executor, *(assign(m, hparams={"lr": 0.1, "beta1": 0.9, "beta2": 0.99}) for m in range(3))
    )
    donors = [executor.state((m, 0)) for m in range(3)]
    # The donor trains on at once; its heirs start from what it was when the decision was made.
    train(executor, *(assign(m, 1, 1, hparams=kept) for m in range(3)))
    for m in range(3):
        heir = executor.state((m, 1))
        assert digest(heir["model"]) == digest(donors[1]["model"])
        assert heir["position"] == donors[1]["position"] + 97 + 32
        assert heir["steps"] == 8
        for index, moments in heir["optimizers"]["optimizer"].items():
            before = donors[1]["optimizers"]["optimizer"][index]
            assert moments["step"] == 8
            for name in ("exp_avg", "exp_avg_sq"):
                torch.testing.assert_close(moments[name], before[name], rtol=0, atol=1e-7)
                assert moments[name].any()
    executor.close()


def test_a_held_state_never_changes(executor: Vectorised) -> None:
    found = generations(executor)
    executor.state((0, 0))["model"]["0.weight"].zero_()
    for segment, outcome in found.items():
        assert digest(executor.state(segment)) == outcome.digest


def test_put_hold_and_retain(executor: Vectorised) -> None:
    train(executor, assign(0))
    state = executor.state((0, 0))
    before = digest(state)
    executor.put((7, 3), state)
    executor.put((7, 3), {"x": torch.zeros(3)})  # what is held first stays
    state["model"]["0.weight"].zero_()
    assert executor.holds((7, 3))
    assert not executor.holds((7, 4))
    assert digest(executor.state((7, 3))) == before
    executor.submit([replace(assign(1, 4), source=(7, 3))])
    executor.retain([])  # it has yet to start from it
    assert executor.holds((7, 3))
    assert not executor.next().error
    executor.retain([(7, 3), (0, 99)])
    assert [executor.holds(each) for each in ((7, 3), (1, 4), (0, 99))] == [True, False, False]
    executor.retain([])
    assert not executor.holds((7, 3))


# Checkpoints, curves and the caller


def test_checkpoints_are_written_where_they_are_due(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    executor = make(save=checkpoints.write)
    found = train(executor, *(assign(m, checkpoint=m != 1) for m in range(3)))
    executor.flush()
    assert not checkpoints.has(found[1, 0].digest)
    for m in (0, 2):
        assert digest(checkpoints.load(found[m, 0].digest)) == found[m, 0].digest
    executor.close()


def test_a_checkpoint_that_cannot_be_written_is_raised() -> None:
    def save(*state: Any) -> None:
        raise RunError("the disk is full")

    executor = make(save=save)
    found = train(executor, assign(0))
    with pytest.raises(RunError, match="the disk is full"):
        executor.flush()
    assert executor.holds((0, 0))
    assert found[0, 0].digest
    executor.close()


def test_curves_are_those_of_serial() -> None:
    task = replace(TASK, log_every=3)
    serial, executor = Serial(task, CPU), make(task)
    losses = []
    for one in (train(serial, assign(0), assign(1)), train(executor, assign(0), assign(1))):
        curves = [one[m, 0].telemetry.curve for m in range(2)]
        assert [[point[:2] for point in curve] for curve in curves] == [
            [(3, "train_loss"), (3, "lr"), (4, "train_loss"), (4, "lr")]
        ] * 2
        assert [curve[1][2] for curve in curves] == [0.01, 0.02]
        losses.append(
            [value for curve in curves for _, name, value in curve if name == "train_loss"]
        )
        assert one[0, 0].telemetry.seconds > 0
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    serial.close()
    executor.close()


def test_the_callers_generators_threads_and_modes_are_left_alone() -> None:
    torch.set_num_threads(2)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    executor = make()
    assert executor.fingerprint["threads"] == torch.get_num_threads() == 1
    assert executor.fingerprint["width"] == SIZE
    with torch.no_grad():
        assert not train(executor, assign(0))[0, 0].error
        assert not torch.is_grad_enabled()
    executor.close()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    executor.close()  # a second time: it is no longer this one's affair
    assert torch.get_num_threads() == 1
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert after == before


def test_closing_abandons_what_is_left() -> None:
    executor = make()
    executor.submit([assign(0), assign(1)])
    executor.next()
    executor.close()
    assert not executor.holds((0, 0))
    with pytest.raises(RunError, match="nothing was submitted"):
        executor.next()


# Failures


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(33, 3)
        self.register_buffer("scale", torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.scale


def failing(times: int, folder: Path, what: type[BaseException] = ArithmeticError) -> TorchTask:
    """A task whose metrics raise for a member with a scale of zero, so many times."""
    file = folder / "raised"

    def metrics(outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, float]:
        count = len(file.read_text()) if file.exists() else 0
        if outputs.std() < 1e-6 and count < times:
            file.write_text("." * (count + 1))
            raise what("no luck today")
        return {"accuracy": float((outputs.argmax(1) == targets).double().mean())}

    space = Space({"lr": LogUniform(1e-3, 1.0), "scale": Uniform(0.0, 1.0)})
    return replace(TASK, space=space, model=lambda hparams: Scaled(), metrics=metrics)


def scaled(member: int, zero: int) -> Assignment:
    return assign(
        member, hparams={"lr": 0.01, "scale": 0.0 if member == zero else 0.1 * (1 + member)}
    )


@pytest.mark.parametrize("what", [ArithmeticError, SystemExit])
def test_an_exception_is_its_members_and_the_others_go_on_as_without_it(
    tmp_path: Path, what: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    executor = make(failing(99, tmp_path, what))
    with caplog.at_level(logging.WARNING, "popgrad"):
        found = train(executor, *(scaled(m, 1) for m in range(SIZE)))
    failed = found.pop((1, 0))
    assert failed.error.startswith("Traceback")
    assert failed.error.rstrip().endswith(f"{what.__name__}: no luck today")
    assert (failed.digest, dict(failed.metrics), failed.samples) == ("", {}, 0)
    assert not executor.holds((1, 0))
    assert "a stack of 5 members failed" in caplog.messages[0]
    assert len(caplog.messages) == 1 + RETRIES
    without = make(failing(0, tmp_path))
    assert record(train(without, *(scaled(m, 1) for m in range(SIZE) if m != 1))) == record(found)
    executor.close()
    without.close()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_segment_that_succeeds_in_the_end_is_as_if_it_had_never_failed(
    tmp_path: Path, times: int
) -> None:
    executor, untroubled = make(failing(times, tmp_path)), make(failing(0, tmp_path))
    found = train(executor, *(scaled(m, 1) for m in range(3)))
    assert record(found) == record(train(untroubled, *(scaled(m, 1) for m in range(3))))
    executor.close()
    untroubled.close()


def test_where_everybody_fails_everybody_has_an_error(tmp_path: Path) -> None:
    def broken(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
        raise ZeroDivisionError("of everybody")

    executor = make(replace(TASK, loss=broken))
    found = train(executor, assign(0), assign(1))
    assert all(
        each.error.rstrip().endswith("ZeroDivisionError: of everybody") for each in found.values()
    )
    executor.close()


def test_a_member_that_diverges_leaves_the_others_as_they_are(
    expected: dict[SegmentId, str],
) -> None:
    executor = make()
    wild = assign(2, hparams={"lr": math.inf, "dropout": 0.0})
    found = train(executor, *(wild if m == 2 else assign(m) for m in range(SIZE)))
    assert math.isnan(found[2, 0].metrics["accuracy"])
    assert not found.pop((2, 0)).error
    assert record(found) == {key: expected[key] for key in found}
    executor.close()


# What cannot be stacked


def reading(hparams: Hparams) -> nn.Module:
    return nn.Sequential(nn.Linear(33, 3), nn.Softplus(1.0 + hparams["dropout"]))


def momentumless(hparams: Hparams) -> nn.Module:
    return nn.Sequential(nn.Linear(33, 3), nn.BatchNorm1d(3, momentum=None), popgrad.nn.Dropout())


def branching(module: nn.Module, batch: Any, hparams: Mapping[str, Any]) -> torch.Tensor:
    loss = functional.cross_entropy(module(batch[0]), batch[1])
    return loss if loss > 0 else -loss


def noisy(module: nn.Module, batch: Any, hparams: Mapping[str, Any]) -> torch.Tensor:
    return functional.cross_entropy(
        module(batch[0] + torch.bernoulli(batch[0].sigmoid())), batch[1]
    )


def drawing(module: nn.Module, batch: Any, hparams: Mapping[str, Any]) -> torch.Tensor:
    return functional.cross_entropy(module(batch[0]), batch[1]) * (1.0 + random.random())


def clipped(module: nn.Module, optimizers: Any, batch: Any, loss: Any) -> torch.Tensor:
    raise AssertionError("never called")


def attention(module: nn.Module, batch: Any, hparams: Mapping[str, Any]) -> torch.Tensor:
    rate = hparams["dropout"]
    return functional.cross_entropy(functional.dropout(module(batch[0]), rate), batch[1])


REFUSED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "step": ({"step": clipped}, "has a step of its own"),
    "scheduler": (
        {"scheduler": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)},
        "scheduler",
    ),
    "data_parallel": ({"data_parallel": ("cuda:0", "cuda:1")}, "data_parallel"),
    "optimizer": ({"optimizer": lambda m, _: torch.optim.Adagrad(m.parameters())}, "is Adagrad"),
    "plain attribute": ({"model": reading}, "the model reads hyperparameter 'dropout'"),
    "branches": ({"loss": branching}, "RuntimeError"),
    "average of BatchNorm": ({"model": momentumless}, "RuntimeError"),
    "torch's generator": ({"loss": noisy}, "bernoulli.default draws random numbers that depend on"),
    "Python's generator": ({"loss": drawing}, "global generator of Python"),
    "tensor rate": ({"loss": attention}, "popgrad.nn.Dropout"),
}


def attempt(task: TorchTask) -> None:
    executor = make(task)
    try:
        train(executor, assign(0), assign(1))
    finally:
        executor.close()


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_stacked_is_refused_with_the_reason_and_another_executor(case: str) -> None:
    changes, reason = REFUSED[case]
    with pytest.raises(UsageError, match="use the executor processes or serial") as caught:
        attempt(replace(TASK, **changes))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    if changes.get("step") is None and "data_parallel" not in changes:
        serial = Serial(replace(TASK, **changes), CPU)  # which does train it
        assert not train(serial, assign(0))[0, 0].error
        serial.close()


def test_only_a_torch_task_can_be_stacked() -> None:
    with pytest.raises(UsageError, match="a TorchTask can, and this is a Quadratic"):
        make(Quadratic())


class Longer(TorchTask):
    def train(self, state: Any, hparams: Hparams, steps: int, ctx: Any) -> Any:
        return super().train(state, hparams, 2 * steps, ctx)


def test_a_torch_task_that_trains_in_another_way_is_refused() -> None:
    fields = {name: getattr(TASK, name) for name in TASK.__dataclass_fields__}
    with pytest.raises(UsageError, match=r"a method 'train' of its own.*serial"):
        make(Longer(**fields))


def test_batch_sizes_that_differ_are_refused(executor: Vectorised) -> None:
    sizes = [assign(m, hparams={"lr": 0.1, "dropout": 0.0, "batch_size": 8 + m}) for m in range(2)]
    with pytest.raises(UsageError, match="differ in batch_size"):
        train(executor, *sizes)


def test_architectures_that_differ_are_refused() -> None:
    space = TASK.space.with_({"width": Integer(4, 9, init_only=True)})
    task = replace(
        TASK, space=space, model=lambda hparams: nn.Sequential(nn.Linear(33, hparams["width"]))
    )
    executor = make(task)
    widths = [assign(m, hparams={"lr": 0.1, "dropout": 0.0, "width": 4 + m}) for m in range(2)]
    with pytest.raises(UsageError, match="reads hyperparameter 'width', in which they differ"):
        train(executor, *widths)
    executor.close()


def test_a_hyperparameter_that_reaches_nothing_is_an_error(executor: Vectorised) -> None:
    with pytest.raises(UsageError, match="'lrr' reaches nothing"):
        train(executor, assign(0, hparams={"lrr": 0.1, "dropout": 0.0, "lr": 0.1}))


# Whole runs


@pytest.fixture(autouse=True)
def _as_wide_as_the_population(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run has to have the width of the run that was begun, and two threads take turns in tests."""
    monkeypatch.setitem(EXECUTORS, "vectorised", partial(Vectorised, width=SIZE))  # type: ignore[arg-type]


def run(task: Any = TASK, **given: Any) -> popgrad.Result:
    settings = {
        "population": SIZE,
        "intervals": 4,
        "interval": 3,
        "executor": "vectorised",
        "workers": 1,
    }
    return popgrad.run(task, **{**settings, "fraction": 0.4, **given})


def test_same_seed_same_run() -> None:
    segments = run().segments
    assert run().segments == segments
    assert run(seed=1).segments != segments


def test_a_run_that_was_stopped_becomes_one_that_never_was(tmp_path: Path) -> None:
    def stop(segment: popgrad.Segment) -> None:
        if segment.id == (2, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(directory=tmp_path / "run", on_segment=stop)
    assert popgrad.resume(tmp_path / "run", task=TASK).segments == run().segments


def test_members_that_fail_are_replaced(tmp_path: Path) -> None:
    task = replace(TASK, metrics=_half)
    result = run(task, population=6)
    assert len(result.segments) == 24
    failed = [segment for segment in result.segments if segment.status == "failed"]
    assert failed
    for segment in failed:
        heir = [s for s in result.segments if s.id == (segment.member, segment.interval + 1)]
        assert not heir or heir[0].source != segment.id


def _half(outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, float]:
    """Not finite for every third or so, told by a digit of the outputs."""
    found = float((outputs.argmax(1) == targets).double().mean())
    return {"accuracy": math.nan if int(abs(float(outputs.sum())) * 1000) % 3 == 0 else found}


def test_the_digits_learn_as_well_as_in_serial() -> None:
    """100 steps from the same starts, with the same batches and masks."""
    task = digits()
    hparams = [{"lr": 1e-3 * (1 + m), "keep_prob": 0.7 + 0.05 * m} for m in range(4)]
    steps = [Assignment(m, 0, None, each, 3, 0, 100) for m, each in enumerate(hparams)]
    serial, executor = Serial(task, CPU), make(task, width=4)
    alone, stacked = train(serial, *steps), train(executor, *steps)
    for m in range(4):
        one, other = alone[m, 0].metrics, stacked[m, 0].metrics
        assert other["loss"] == pytest.approx(one["loss"], rel=0.02)
        assert other["accuracy"] == pytest.approx(one["accuracy"], abs=0.01)
    serial.close()
    executor.close()


def test_a_rate_that_the_model_reads_may_differ_from_one_interval_to_the_next() -> None:
    def narrow(hparams: Hparams) -> nn.Module:
        return nn.Sequential(nn.Linear(33, 17), nn.Dropout(float(hparams["p"])), nn.Linear(17, 3))

    task = replace(
        TASK, space=Space({"p": Uniform(0.0, 1.0), "lr": LogUniform(1e-3, 1e-1)}), model=narrow
    )
    stacked, alone = make(task), Serial(task, CPU)
    for interval, p in enumerate((0.0, 0.7, 0.2)):
        segments = [
            assign(m, interval, m if interval else None, hparams={"p": p, "lr": 0.01})
            for m in range(SIZE)
        ]
        found, expected = train(stacked, *segments), train(alone, *segments)
        for each in segments:
            assert found[each.id].metrics["loss"] == pytest.approx(
                expected[each.id].metrics["loss"], rel=1e-3
            )
    stacked.close()
    alone.close()
