"""The Trainer of Transformers trains members: exactly, and with the hyperparameters of the record."""

import gc
import importlib
import json
import math
import multiprocessing
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, set_seed

import popgrad
from integrations import trainers
from integrations.trainers import ALL, EPOCHS, RATE, arguments, build, eval_set, fit, task
from popgrad import Context, UsageError
from popgrad.integrations.transformers import PopgradCallback
from popgrad.loops.loop import Loop
from popgrad.loops.member import Finished, Member
from popgrad.loops.turn import Turn
from popgrad.state import State, digest
from popgrad.tasks.evaluation import seed_generators
from spies import read, record

pytestmark = pytest.mark.slow

HPARAMS = {"learning_rate": 3e-3}


@pytest.fixture(autouse=True)
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_OUTPUT", str(tmp_path / "output"))


def fresh(made: Loop, ctx: Context | None = None, hparams: Any = HPARAMS) -> State:
    """The state of a fresh member, as an executor makes it."""
    ctx = ctx or Context()
    seed_generators(ctx.library_seed("init"))
    return made.init(hparams, ctx)


def segments(made: Loop, count: int, hparams: Any = HPARAMS, *, steps: int = 1) -> State:
    """The state of a member after some segments, each in a loop of its own."""
    state = fresh(made, hparams=hparams)
    for number in range(count):
        ctx = Context(interval=number, first_step=number * steps)
        state = made.train(state, hparams, steps, ctx)
    return state


# --- one record --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one process, of which nobody takes notice."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINER_OUTPUT", str(directory.parent / "output"))
        trainers.run(task(trainers.full, ALL), directory=directory)
    return directory


def test_members_inherit_and_explore(whole: Path) -> None:
    found, _ = read(whole)
    heirs = [each for each in found if each.source and each.source[0] != each.member]
    assert heirs


def test_worker_processes_make_the_same_record(whole: Path, tmp_path: Path) -> None:
    made = task(trainers.full, ALL)
    trainers.run(made, directory=tmp_path / "run", executor="processes", workers=2)
    assert record(tmp_path / "run") == record(whole)


def test_a_run_that_is_stopped_and_resumed_makes_the_same_record(
    whole: Path, tmp_path: Path
) -> None:
    made = task(trainers.full, ALL)
    seen: list[Any] = []

    def stop(segment: Any) -> None:
        seen.append(segment)
        if len(seen) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainers.run(made, directory=tmp_path / "run", on_segment=stop)
    popgrad.resume(tmp_path / "run", task=made, progress=False)
    assert record(tmp_path / "run") == record(whole)


def test_loops_that_are_used_again_make_the_same_record(tmp_path: Path) -> None:
    for reuse in (False, True):
        made = task(reuse=reuse)
        trainers.run(made, directory=tmp_path / f"{reuse}", population=3)
    assert record(tmp_path / "True") == record(tmp_path / "False")


def test_a_replay_is_identical(whole: Path) -> None:
    assert popgrad.replay(whole, task=task(trainers.full, ALL)).identical


@pytest.mark.parametrize(
    "function",
    [
        trainers.plateau,
        pytest.param(trainers.loaded, marks=pytest.mark.long),
        pytest.param(trainers.from_init, marks=pytest.mark.long),
    ],
)
def test_a_replay_of_another_setting_is_identical(function: Any, tmp_path: Path) -> None:
    made = task(function)
    trainers.run(made, directory=tmp_path / "run", population=2, check=True)
    assert popgrad.replay(tmp_path / "run", task=made).identical
    assert not multiprocessing.active_children()


# --- one loop for many segments ----------------------------------------------------------------------


@dataclass
class Turns:
    """A hand-over that serves some segments, one after the other, from one loop.

    Attributes:
        turns: The segments; the source of each but the first is the state named by `follow`.
        follow: For each segment the number of the one that it inherits from.
        states: States at their ends.
    """

    turns: list[Turn]
    follow: list[int | None]
    states: list[State] = field(default_factory=list)

    def begin(self) -> Turn:
        return self.turns[0]

    def end(self, state: State, *, over: bool) -> Turn | None:
        self.states.append(state)
        if over or len(self.states) == len(self.turns):
            return None
        number = len(self.states)
        source = self.follow[number]
        assert source is not None
        return replace(self.turns[number], source=self.states[source])


@pytest.mark.parametrize(
    "function", [trainers.plain, trainers.loaded, trainers.plateau, trainers.persistent]
)
def test_a_loop_that_trains_many_segments_trains_each_as_a_new_one_does(function: Any) -> None:
    made = task(function)
    follow = [None, 0, 1]
    contexts = [Context(), Context(interval=1, first_step=1), Context(2, interval=2, first_step=2)]
    begun = fresh(made)

    alone: list[State] = []
    for source, ctx in zip(follow, contexts, strict=True):
        alone.append(made.train(begun if source is None else alone[source], HPARAMS, 1, ctx))

    turns = [Turn(HPARAMS, ctx, 1, "reports", None) for ctx in contexts]
    handover = Turns([replace(turns[0], source=begun), *turns[1:]], follow)
    seed_generators(Context().library_seed("init"))
    with pytest.raises(Finished):
        made.function(Member(handover.turns[0], handover))
    assert [digest(state) for state in handover.states] == [digest(each) for each in alone]


def sequential(m: Member, **options: Any) -> None:
    """Draws nothing while it trains, so that boundaries are all that is left to differ."""
    given = {"train_sampling_strategy": "sequential", "max_grad_norm": 0.5, **options}
    args = arguments(m, learning_rate=m["learning_rate"], **given)
    fit(m, args, model=build(dropout=0.0))


@pytest.mark.parametrize("accumulated", [1, 3])
def test_a_member_alone_trains_as_the_trainer_does_without_popgrad(accumulated: int) -> None:
    made = task(partial(sequential, gradient_accumulation_steps=accumulated))
    state = segments(made, EPOCHS)

    seed_generators(Context().library_seed("init"))
    model = build(dropout=0.0)
    args = arguments(
        None, train_sampling_strategy="sequential", max_grad_norm=0.5, disable_tqdm=True,
        gradient_accumulation_steps=accumulated, **HPARAMS,
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=args, train_dataset=trainers.train_set(), eval_dataset=eval_set()
    )
    trainer.train()

    assert state["tracked"]["trainer"]["state"]["global_step"] == trainer.state.global_step
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, state["model"][name]), name


def test_an_interval_of_several_epochs_is_one_of_each_behind_the_other() -> None:
    made = task(sequential)
    assert digest(segments(made, EPOCHS)["model"]) == digest(
        segments(made, 1, steps=EPOCHS)["model"]
    )


# --- hyperparameters ---------------------------------------------------------------------------------


def test_in_each_step_the_hyperparameters_are_those_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_STEPS", str(tmp_path / "steps"))
    trainers.run(task(trainers.full, ALL), directory=tmp_path / "run")
    steps = [json.loads(line) for line in (tmp_path / "steps").read_text().splitlines()]
    recorded = {(each.member, each.interval): each for each in read(tmp_path / "run")[0]}

    counted: Counter[tuple[int, int]] = Counter()
    for live in steps:
        segment = (live["member"], live["interval"])
        counted[segment] += 1
        hparams = recorded[segment].hparams
        # Biases and normalisations have a group of their own, without decay.
        assert live["weight_decay"] == [hparams["weight_decay"], 0.0]
        assert live["max_grad_norm"] == [hparams["max_grad_norm"]]
        for name in ("learning_rate", "adam_beta1", "adam_beta2", "adam_epsilon"):
            assert live[name] == [hparams[name]] * 2, name

        total = EPOCHS * 40 // hparams["per_device_train_batch_size"]
        share = cosine(live["step"], hparams["warmup_steps"], total)
        assert live["rate"] == pytest.approx([hparams["learning_rate"] * share] * 2)
    assert counted == {
        segment: 40 // each.hparams["per_device_train_batch_size"]
        for segment, each in recorded.items()
    }
    heirs = [each for each in recorded.values() if each.source and each.source[0] != each.member]
    assert any(
        each.hparams["learning_rate"] != recorded[each.source].hparams["learning_rate"]
        and each.hparams["weight_decay"] != recorded[each.source].hparams["weight_decay"]
        for each in heirs
        if each.source
    )


def test_all_hyperparameters_may_be_passed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hparams = {**HPARAMS, "weight_decay": 0.2, "adam_beta1": 0.8}
    made = task(lambda m: fit(m, arguments(m, **m.hparams)), {name: ALL[name] for name in hparams})
    monkeypatch.setenv("TRAINER_STEPS", str(tmp_path / "steps"))
    segments(made, 2, hparams)
    steps = [json.loads(line) for line in (tmp_path / "steps").read_text().splitlines()]
    assert len(steps) == 10
    for live in steps:
        assert live["learning_rate"] == [3e-3, 3e-3]
        assert live["weight_decay"] == [0.2, 0.0]
        assert live["adam_beta1"] == [0.8, 0.8]


def cosine(step: int, warmup: int, total: int) -> float:
    """The share of the rate in a step, from 0."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def test_an_heir_with_another_batch_size_continues_at_the_same_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(m: Member) -> None:
        size = m["per_device_train_batch_size"]
        fit(m, arguments(m, learning_rate=m["learning_rate"], per_device_train_batch_size=size))

    made = task(train, {**RATE, "per_device_train_batch_size": popgrad.Choice((4, 8))})
    small, large = ({**HPARAMS, "per_device_train_batch_size": size} for size in (4, 8))
    donor = made.train(fresh(made, hparams=large), large, 1, Context())
    monkeypatch.setenv("TRAINER_STEPS", str(tmp_path / "steps"))
    heir = made.train(donor, small, 1, Context(interval=1, first_step=1))

    steps = [json.loads(line) for line in (tmp_path / "steps").read_text().splitlines()]
    assert [each["step"] for each in steps] == list(range(10, 20))
    assert [each["rate"][0] for each in steps] == pytest.approx(
        [HPARAMS["learning_rate"] * (1 - step / 30) for step in range(10, 20)]
    )
    assert heir["tracked"]["trainer"]["state"]["global_step"] == 20


def test_a_hyperparameter_that_is_not_passed_to_the_arguments_is_refused() -> None:
    made = task(lambda m: fit(m, arguments(m)))
    with pytest.raises(
        UsageError, match=r"TrainingArguments\(learning_rate=m\['learning_rate'\]\)"
    ):
        fresh(made, Context())


@pytest.mark.parametrize("read", [True, False])
def test_an_optimizer_of_ones_own_has_the_rate_too(
    read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(m: Member) -> None:
        model = build()
        options = {"lr": m["learning_rate"]} if read else {}
        optimizer = torch.optim.SGD(model.parameters(), **options)
        fit(m, arguments(m), model=model, optimizers=(optimizer, None))

    monkeypatch.setenv("TRAINER_STEPS", str(tmp_path / "steps"))
    segments(task(train), 1)
    steps = [json.loads(line) for line in (tmp_path / "steps").read_text().splitlines()]
    expected = [HPARAMS["learning_rate"] * (1 - step / 15) for step in range(5)]
    assert [each["rate"][0] for each in steps] == pytest.approx(expected)


# --- what travels, and what is reported --------------------------------------------------------------


def test_metrics_are_those_of_the_epoch_without_times() -> None:
    state = segments(task(), 1)
    assert state["metrics"].keys() == {"eval_loss", "eval_accuracy"}


@pytest.mark.parametrize("strategy", ["no", "steps"])
def test_an_evaluation_is_made_at_the_end_of_each_epoch_if_none_is_requested(strategy: str) -> None:
    requested = segments(task(sequential), 2)
    made = task(partial(sequential, eval_strategy=strategy, eval_steps=2))
    assert segments(made, 2)["metrics"] == requested["metrics"]


def test_several_datasets_are_evaluated() -> None:
    def train(m: Member) -> None:
        given = {"small": eval_set(), "large": trainers.train_set()}
        fit(m, arguments(m, learning_rate=m["learning_rate"]), eval_dataset=given)

    names = {f"eval_{each}_{metric}" for each in given_names() for metric in ("loss", "accuracy")}
    assert segments(task(train), 1)["metrics"].keys() == names


def given_names() -> tuple[str, str]:
    return "small", "large"


def test_counters_of_the_trainer_travel_and_its_log_does_not() -> None:
    def train(m: Member) -> None:
        options = {"metric_for_best_model": "eval_loss", "include_num_input_tokens_seen": "all"}
        fit(m, arguments(m, learning_rate=m["learning_rate"], **options))

    made = task(train)
    first, second = segments(made, 1), segments(made, 2)
    numbers = second["tracked"]["trainer"]["state"]
    assert numbers["global_step"] == 10
    assert numbers["num_input_tokens_seen"] == 2 * 40 * 6
    assert numbers["best_metric"] == min(each["metrics"]["eval_loss"] for each in (first, second))
    assert numbers.keys() == {
        "global_step", "epoch_steps", "best_metric", "best_global_step", "num_input_tokens_seen",
    }  # fmt: skip


class Logs(TrainerCallback):
    """Keeps the training losses that a trainer logs."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = losses

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])


def test_the_logged_loss_of_an_heir_is_the_mean_over_its_own_steps() -> None:
    losses: list[float] = []

    def train(m: Member) -> None:
        args = arguments(m, learning_rate=m["learning_rate"], logging_strategy="epoch")
        fit(m, args, callbacks=[PopgradCallback(m), Logs(losses)])

    segments(task(train), EPOCHS)
    assert len(losses) == EPOCHS
    assert losses == pytest.approx([math.log(2)] * EPOCHS, rel=0.1)


# --- order of the data -------------------------------------------------------------------------------


class Noted(trainers.Sentences):
    """Notes the indices that are read, and the epochs that it is given."""

    def __init__(self) -> None:
        super().__init__(40, seed=1)
        self.read: list[int] = []
        self.epochs: list[int] = []

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        return super().__getitem__(index)

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accelerator_config": {"use_seedable_sampler": False}},
        {"data_seed": 7},
        {"train_sampling_strategy": "group_by_length"},
        {"train_sampling_strategy": "batch_rebalance"},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, pytest.param(2, marks=pytest.mark.long)])
def test_each_epoch_has_an_order_of_its_own(options: dict[str, Any], steps: int) -> None:
    noted = Noted()

    def train(m: Member) -> None:
        args = arguments(m, learning_rate=m["learning_rate"], num_train_epochs=4, **options)
        fit(m, args, train_dataset=noted)

    made = task(train)
    state = fresh(made)
    orders = []
    for number in range(4 // steps):
        state = made.train(
            state, HPARAMS, steps, Context(interval=number, first_step=number * steps)
        )
        orders += noted.read[-steps * 40 :]
    epochs = [tuple(orders[start : start + 40]) for start in range(0, 160, 40)]
    assert all(sorted(each) == list(range(40)) for each in epochs)
    assert len(set(epochs)) == 4
    assert noted.epochs[-1] == 3


def test_members_have_orders_of_their_own() -> None:
    noted = Noted()
    made = task(
        lambda m: fit(m, arguments(m, **{"learning_rate": m["learning_rate"]}), train_dataset=noted)
    )
    orders = []
    for member in range(2):
        ctx = Context(member)
        made.train(fresh(made, ctx), HPARAMS, 1, ctx)
        orders.append(noted.read[-40:])
    assert orders[0] != orders[1]


# --- fresh members -----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [trainers.plain, trainers.from_init])
def test_fresh_members_differ(function: Any) -> None:
    made = task(function)
    states = [digest(fresh(made, Context(member))["model"]) for member in (0, 1, 0)]
    assert states[0] == states[2] != states[1]


def seeded(m: Member, *, seed: int) -> None:
    set_seed(seed)
    fit(m, arguments(m, learning_rate=m["learning_rate"]))


def test_a_function_that_seeds_by_itself_is_warned_of_equal_members() -> None:
    made = task(partial(seeded, seed=42))
    with pytest.warns(UserWarning, match="the generators with 42, so that all members may start"):
        fresh(made, Context())


def test_a_function_may_seed_with_a_seed_of_the_member() -> None:
    def train(m: Member) -> None:
        seeded(m, seed=m.seed("setup") % 2**32)

    made = task(train)
    assert digest(fresh(made, Context(0))) != digest(fresh(made, Context(1)))


# --- refused -----------------------------------------------------------------------------------------


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"max_steps": 7}, "max_steps=7.*set num_train_epochs"),
    ({"num_train_epochs": 1.5}, "num_train_epochs=1.5.*an integer"),
    ({"save_strategy": "epoch"}, 'save_strategy=.epoch.*set "no"'),
    (
        {"load_best_model_at_end": True, "save_strategy": "epoch"},
        "load_best_model_at_end.*replace the weights",
    ),
    ({"auto_find_batch_size": True}, "auto_find_batch_size"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_arguments_that_cannot_be_obeyed_are_refused(options: dict[str, Any], message: str) -> None:
    made = task(lambda m: fit(m, arguments(m, learning_rate=m["learning_rate"], **options)))
    with pytest.raises(UsageError, match=message):
        fresh(made, Context())


def test_an_evaluation_needs_a_dataset() -> None:
    def train(m: Member) -> None:
        args = arguments(m, learning_rate=m["learning_rate"], eval_strategy="no")
        fit(m, args, eval_dataset=None)

    with pytest.raises(UsageError, match="give an eval_dataset"):
        fresh(task(train))


def test_intervals_in_batches_are_refused() -> None:
    with pytest.raises(UsageError, match="one epoch or several"):
        trainers.run(task(), interval=20)


def test_early_stopping_is_refused() -> None:
    def train(m: Member) -> None:
        options = {"metric_for_best_model": "eval_loss", "learning_rate": m["learning_rate"]}
        callbacks = [PopgradCallback(m), EarlyStoppingCallback(1)]
        fit(m, arguments(m, **options), callbacks=callbacks)

    with pytest.raises(UsageError, match="EarlyStoppingCallback: popgrad decides"):
        fresh(task(train), Context())


class Stop(TrainerCallback):
    """Stops a trainer after an epoch."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = True


def test_a_callback_that_stops_the_trainer_is_refused() -> None:
    def train(m: Member) -> None:
        args = arguments(m, learning_rate=m["learning_rate"])
        fit(m, args, callbacks=[PopgradCallback(m), Stop()])

    with pytest.raises(UsageError, match="a callback has stopped the trainer after 5 of 15 steps"):
        segments(task(train), 1)


def test_a_trainer_that_ends_before_the_run_is_refused() -> None:
    with pytest.raises(UsageError, match=r"num_train_epochs=3 .* for 4 epochs or more"):
        trainers.run(task(), population=2, intervals=4)


def test_a_checkpoint_of_the_trainers_own_is_refused(tmp_path: Path) -> None:
    args = arguments(None, disable_tqdm=True, save_strategy="epoch", num_train_epochs=1)
    Trainer(model=build(), args=args, train_dataset=eval_set(), eval_dataset=eval_set()).train()

    def train(m: Member) -> None:
        args = arguments(m, learning_rate=m["learning_rate"])
        trainer = Trainer(
            model=build(), args=args, train_dataset=eval_set(), eval_dataset=eval_set(),
            callbacks=[PopgradCallback(m)],
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=True)

    with pytest.raises(UsageError, match="resume_from_checkpoint"):
        fresh(task(train), Context())


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "popgrad.integrations.transformers"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UsageError, match=r"pip install 'popgrad\[transformers\]'"):
        importlib.import_module(name)


# --- ends --------------------------------------------------------------------------------------------


def added(m: Member) -> None:
    """Adds the callback after the trainer is made, with its progress bar."""
    args = arguments(m, learning_rate=m["learning_rate"])
    trainer = Trainer(
        model=build(), args=args, train_dataset=trainers.train_set(), eval_dataset=eval_set()
    )
    trainer.add_callback(PopgradCallback(m))
    trainer.train()


def test_the_callback_may_be_added_later() -> None:
    assert digest(segments(task(added), 2)["model"]) == digest(segments(task(), 2)["model"])


@pytest.mark.parametrize("quiet", [True, False])
def test_a_trainer_prints_nothing(quiet: bool, capfd: pytest.CaptureFixture[str]) -> None:
    def train(m: Member) -> None:
        options = {"disable_tqdm": quiet, "logging_steps": 1}
        fit(m, arguments(m, learning_rate=m["learning_rate"], **options))

    segments(task(train), EPOCHS)
    assert capfd.readouterr() == ("", "")


class Failing(trainers.Sentences):
    """Raises an exception once, in the middle of an epoch."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(40, seed=1)
        self.left = 90
        self.error = error

    def __getitem__(self, index: int) -> Any:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return super().__getitem__(index)


def test_a_segment_that_failed_is_retried_with_the_same_bits(tmp_path: Path) -> None:
    dataset = Failing(ZeroDivisionError())

    def train(m: Member) -> None:
        fit(m, arguments(m, learning_rate=m["learning_rate"]), train_dataset=dataset)

    options = {"population": 2, "intervals": 2}
    trainers.run(task(train), directory=tmp_path / "failing", **options)
    assert dataset.left < 0
    trainers.run(task(train), directory=tmp_path / "run", **options)
    assert record(tmp_path / "failing") == record(tmp_path / "run")


class Interrupting(TrainerCallback):
    """Interrupts a trainer like Ctrl-C, in the middle of an epoch."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 7:
            raise KeyboardInterrupt


def test_an_interrupt_leaves_no_loader_worker(capfd: pytest.CaptureFixture[str]) -> None:
    def train(m: Member) -> None:
        args = arguments(m, learning_rate=m["learning_rate"], dataloader_num_workers=2)
        fit(m, args, callbacks=[PopgradCallback(m), Interrupting()])

    with pytest.raises(KeyboardInterrupt):
        segments(task(train), 2)
    gc.collect()
    assert not multiprocessing.active_children()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("function", [trainers.loaded, trainers.persistent])
def test_a_segment_leaves_no_loader_worker(function: Any) -> None:
    segments(task(function), 2)
    gc.collect()
    assert not multiprocessing.active_children()
