"""The source of a scheduler runs as it is, and sets what the schedule says, whatever its names hold."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn, optim

from popgrad.record.schedule import Phase, Schedule
from popgrad.record.scheduler_source import scheduler_source


def names_of(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(source, names)
    return names


def schedule(*values: dict[str, Any], steps: int = 3) -> Schedule:
    return Schedule(tuple(Phase(i * steps, steps, each) for i, each in enumerate(values)))


def test_every_step_has_the_scheduled_values() -> None:
    given = schedule(
        {"lr": 0.1, "momentum": 0.5}, {"lr": 0.01, "momentum": 0.9}, {"lr": 1 / 3, "momentum": 0.9}
    )
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=7.0, momentum=0.1)
    scheduler = names_of(scheduler_source(given, "x"))["Schedule"](optimizer)
    for step in range(12):
        (group,) = optimizer.param_groups
        assert {name: group[name] for name in ("lr", "momentum")} == given.at(step)
        optimizer.step()
        scheduler.step()


def test_other_hyperparameters_are_read_by_name() -> None:
    given = schedule(
        {"layers": 3, "kind": "relu", "wide": True}, {"layers": 4, "kind": "tanh", "wide": False}
    )
    names = names_of(scheduler_source(given, "x"))
    assert names["Schedule"].KEYS == {}
    for step in range(8):
        assert {name: names["value"](name, step) for name in given.at(0)} == given.at(step)


def test_a_long_schedule_has_short_lines() -> None:
    given = schedule(*({"lr": 1 / (3 + number)} for number in range(500)))
    source = scheduler_source(given, "x")
    assert max(map(len, source.splitlines())) <= 102
    assert names_of(source)["value"]("lr", 1_200) == given.at(1_200)["lr"]


texts = st.text(max_size=20) | st.sampled_from(
    ['"""', "'", "\\", "{x}", "\n# x\nraise", "\u202e", "__import__"]
)
values = st.floats(allow_nan=False) | st.integers() | st.booleans() | texts


@given(st.dictionaries(texts, values, max_size=4), texts)
def test_names_and_values_stay_what_they_are(hparams: dict[str, Any], title: str) -> None:
    source = scheduler_source(schedule(hparams, {**hparams, "lr": 0.5}), title)
    assert source.isascii()
    names = names_of(source)
    for name, value in hparams.items():
        assert names["value"](name, 0) == value
    assert set(names) <= {
        "__builtins__",
        "bisect_right",
        "LRScheduler",
        "STEPS",
        "VALUES",
        "value",
        "Schedule",
    }


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_are_code(value: float) -> None:
    assert names_of(scheduler_source(schedule({"x": value}), "x"))["value"]("x", 0) == value
