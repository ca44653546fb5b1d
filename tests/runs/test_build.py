"""What a configuration names is made, or refused with what there is."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import popgrad
from popgrad import Constant, TorchTask, UsageError, random_search
from popgrad.config.model import parse
from popgrad.executors import Serial
from popgrad.hardware import versions
from popgrad.runs.build import build
from popgrad.runs.components import make_task
from popgrad.tasks import Quadratic
from spies import Plain, Spy, odd


def config(**values: Any) -> Any:
    return parse({"task": "quadratic", "interval": 3, "executor": "serial", **values})


def test_what_was_left_open_is_filled_in() -> None:
    components = build(config(device="auto"))
    assert components.config.device in ("cpu", "cuda:0")
    assert components.config.strategy.options()["fraction"] == 0.2
    assert isinstance(components.task, Quadratic)
    assert parse(components.config.model_dump(mode="json")) == components.config
    assert build(components.config).config == components.config


def test_the_executor_is_started_when_it_is_asked_for() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    components = build(config())
    assert torch.get_num_threads() == 2
    executor = components.make_executor(save=None)
    assert isinstance(executor, Serial)
    assert torch.get_num_threads() == 1
    executor.close()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def test_epochs_are_counted_in_intervals() -> None:
    """97 samples in batches of 32 are 4 steps an epoch."""
    space = {"batch_size": Constant(32).spec()}
    for interval, intervals in (
        ("1 epoch", 6),
        ("4 epochs", 2),
        ("3", 8),
        ("3 steps within epochs", 12),
    ):
        found = build(config(interval=interval, epochs=6, space=space), odd()).config
        assert (found.intervals, found.epochs) == (intervals, None)
    with pytest.raises(UsageError, match="a Quadratic counts no epochs"):
        build(config(epochs=6))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "cifar"}, "there is no task 'cifar'; there is digits, mnist-fc"),
        ({"task": "nowhere_at_all:Name"}, "'nowhere_at_all' cannot be imported"),
        ({"task": "nowhere.py:Name"}, "there is no task file nowhere.py"),
        ({"options": {"speed": 3}}, "task quadratic has no option 'speed'; it has lr"),
        ({"options": {"lr": True}}, "option lr: expected a number, got True"),
        (
            {"space": {"lr": {"kind": "gaussian"}}},
            "space.lr: kind: expected one of uniform, .*, got 'gaussian'",
        ),
        ({"space": {"lr": {"kind": "uniform", "low": 1}}}, "space.lr: missing field high"),
        (
            {"space": {"l r": {"kind": "constant", "value": 1}}},
            "hyperparameter name: expected .*, got 'l r'",
        ),
        (
            {"strategy": {"name": "custom"}},
            "strategy: the run was given a Strategy object; pass it again, strategy=",
        ),
        (
            {"strategy": {"name": "pbt", "fraction": "half"}},
            "option fraction: expected a number, got 'half'",
        ),
        (
            {"strategy": {"name": "pbt", "fraction": 0.7}},
            r"fraction: expected .*\[0, 0.5\].*, got 0.7",
        ),
        ({"strategy": {"name": "schedule", "phases": 3}}, "phases"),
        ({"strategy": {"name": "schedule", "phases": "abc"}}, "phases"),
        ({"strategy": {"name": "schedule", "phases": [3]}}, "phases"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build(config(**values))
    assert "\n" not in str(caught.value)


def test_a_given_task_stands_for_the_named_one_and_takes_the_space() -> None:
    task = make_task(config(space={"mix": {"kind": "constant", "value": 0.5}}), Spy())
    assert isinstance(task, Spy)
    assert task.space["mix"] == Constant(0.5)
    assert make_task(config(), task) is task
    with pytest.raises(UsageError, match="change it in the task's code"):
        make_task(config(space={"lr": {"kind": "constant", "value": 0.5}}), Plain())


def test_a_given_strategy_stands_for_the_named_one() -> None:
    strategy = random_search(Quadratic().space)
    assert build(config(population=1), strategy=strategy).strategy is strategy


def test_weights_are_read_into_a_torch_task_only(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.arange(3.0)}, tmp_path / "w.safetensors")
    task = make_task(config(weights=str(tmp_path / "w.safetensors")), odd())
    assert isinstance(task, TorchTask)
    assert task.weights is not None
    assert torch.equal(task.weights["w"], torch.arange(3.0))
    with pytest.raises(
        UsageError, match="weights: only a TorchTask can start from weights, got a Spy"
    ):
        make_task(config(weights=str(tmp_path / "w.safetensors")), Spy())


def test_versions_are_those_that_results_depend_on() -> None:
    assert set(versions()) == {"python", "popgrad", "torch", "numpy"}
    assert all(versions().values())


def test_a_task_that_cannot_be_sent_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    task = Plain()
    task.lock = threading.Lock()
    with pytest.raises(UsageError, match="cannot be sent to worker processes"):
        popgrad.run(task, interval=3, executor="processes", directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
