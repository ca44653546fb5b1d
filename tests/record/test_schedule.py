"""Schedules: by step, merged, as text and back, and as a scheduler of torch."""

import copy
import io
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

import popgrad
from popgrad.core.errors import UsageError
from popgrad.record.lineage import schedule
from popgrad.record.schedule import Phase, Schedule
from popgrad.tasks import TASKS


def made(*phases: tuple[int, Mapping[str, Any]]) -> Schedule:
    """From the steps and the hyperparameters of each phase."""
    firsts = itertools.accumulate((steps for steps, _ in phases), initial=0)
    return Schedule(
        tuple(Phase(first, *phase) for first, phase in zip(firsts, phases, strict=False))
    )


TWO = made(
    (3, {"lr": 0.1, "momentum": 0.9, "width": 8, "kind": "a", "flag": True}),
    (2, {"lr": 0.30000000000000004, "momentum": 0, "width": 8, "kind": "1", "flag": False}),
)


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([0.1, 0.2])), min_size=1, max_size=20))
def test_merging_changes_no_step(parts):
    phases, step = [], 0
    for steps, lr in parts:
        phases.append(Phase(step, steps, {"lr": lr}))
        step += steps
    whole = Schedule(tuple(phases))
    merged = whole.merged()
    wanted = [lr for steps, lr in parts for _ in range(steps)]
    assert [whole.at(i)["lr"] for i in range(step)] == wanted
    assert [merged.at(i)["lr"] for i in range(step)] == wanted
    assert all(
        a.hparams != b.hparams for a, b in zip(merged.phases, merged.phases[1:], strict=False)
    )


@pytest.mark.parametrize(
    "phases",
    [(), (Phase(5, 1, {}),), (Phase(0, 5, {}), Phase(4, 5, {})), (Phase(0, 0, {}),)],
    ids=["empty", "late", "overlap", "no steps"],
)
def test_a_schedule_with_a_gap_is_refused(phases):
    with pytest.raises(UsageError, match="phase"):
        Schedule(phases)


def test_a_loop_gets_what_trained_each_step() -> None:
    assert [TWO.at(step)["lr"] for step in range(TWO.steps)] == [0.1] * 3 + [
        0.30000000000000004
    ] * 2


# --- text ---

ODD = ("", " ", " 1", "1", "1_0", "1e-3", "0x1", "nan", "-inf", "True", "false", "none", '"', '"a"', '"a" b',
       "a,b", "a\r\nb", "\r", "\t", "\0", "\ud800", "\ufeff", "é ←")  # fmt: skip
VALUES = (
    st.floats(allow_nan=False) | st.integers() | st.booleans() | st.text() | st.sampled_from(ODD)
)


def phases(names: set[str]) -> st.SearchStrategy[Any]:
    hparams = st.fixed_dictionaries(dict.fromkeys(sorted(names), VALUES))
    return st.lists(st.tuples(st.integers(1, 10**9), hparams), min_size=1, max_size=4)


SCHEDULES = st.sets(st.sampled_from(("lr", "kind", "steps", "first_step"))).flatmap(phases)


@given(
    SCHEDULES.map(
        lambda drawn: made(*((steps, dict(sorted(each.items()))) for steps, each in drawn))
    )
)
def test_text_reads_back_as_the_same_values_of_the_same_types(whole: Schedule) -> None:
    # repr tells True from 1 and -0.0 from 0.0, which == does not.
    assert repr(Schedule.from_json(whole.to_json())) == repr(whole)
    assert repr(Schedule.from_csv(whole.to_csv())) == repr(whole)


@pytest.mark.parametrize("text", ODD)
def test_a_string_is_never_read_as_something_else(text: str, tmp_path: Path) -> None:
    whole = made((1, {"kind": text}))
    for name, written in (("a.csv", whole.to_csv()), ("a.json", whole.to_json())):
        (tmp_path / name).write_text(written, encoding="utf-8")
        assert Schedule.read(tmp_path / name) == whole


def test_json_is_a_list_of_rows() -> None:
    assert json.loads(TWO.to_json()) == TWO.rows()
    assert len(TWO.to_json().splitlines()) == 4


def test_csv_has_a_column_for_each_hyperparameter() -> None:
    assert TWO.to_csv() == (
        "first_step,steps,lr,momentum,width,kind,flag\n"
        "0,3,0.1,0.9,8,a,True\n"
        '3,2,0.30000000000000004,0,8,"""1""",False\n'
    )


def test_a_hyperparameter_that_a_phase_lacks_is_an_empty_cell() -> None:
    some = made((1, {"a": 1}), (1, {"b": ""}))
    assert some.to_csv() == 'first_step,steps,a,b\n0,1,1,\n1,1,,""""""\n'
    assert Schedule.from_csv(some.to_csv()) == some


def test_csv_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    text = TWO.to_csv().replace("True", "TRUE").replace("False", "FALSE").replace("\n", "\r\n")
    (tmp_path / "s.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert repr(Schedule.read(tmp_path / "s.csv")) == repr(TWO)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.json", "[", "is not JSON"),
        ("s.json", "[" * 100_000, "is not JSON"),
        ("s.json", "{}", "a JSON list of phases, got a dict"),
        ("s.json", "[]", "at least one phase"),
        ("s.json", "[1]", "phase 0: expected first_step, steps and a mapping hparams, got 1"),
        ("s.json", '[{"first_step": 0, "steps": 1}]', "got {'first_step': 0"),
        ("s.json", '[{"first_step": 0, "steps": 1, "hparams": []}]', "a mapping hparams"),
        (
            "s.json",
            '[{"first_step": 0, "steps": true, "hparams": {}}]',
            "phase 0, steps: expected an integer, got True",
        ),
        (
            "s.json",
            '[{"first_step": 0, "steps": 1, "hparams": {"lr": [1]}}]',
            r"phase 0, lr: .*got \[1\]",
        ),
        ("s.json", '[{"first_step": 1, "steps": 1, "hparams": {}}]', "begins at step 0"),
        ("s.csv", "", r"first_step and steps as its first columns, got \[\]"),
        ("s.csv", "step,lr\n1,2\n", r"got \['step', 'lr'\]"),
        ("s.csv", "first_step,steps,lr\n", "at least one phase"),
        ("s.csv", "first_step,steps,lr\n0,1\n", "phase 0: expected 3 columns, got 2"),
        ("s.csv", "first_step,steps,lr\n0,1.5,2\n", "phase 0, steps: expected an integer, got 1.5"),
        ("s.csv", "first_step,steps\n0,1\n5,1\n", "begins at step 1"),
        ("s.csv", '"' + "a" * 200_000, "is not CSV"),
        ("s.csv", "\xff", "cannot read a schedule from"),
    ],
)
def test_a_file_that_holds_no_schedule_is_refused(
    name: str, text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(
        UsageError, match=f"cannot read a schedule from .*{name}: .*{said}|{said} .*{name}"
    ):
        Schedule.read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.json", "cannot read a schedule from .*gone.json"),
        ("gone", "schedule: expected a .json or .csv file, got .*gone"),
        ("s.toml", "schedule: expected a .json or .csv file, got .*s.toml"),
        (".", r"got the directory .*; the schedule of a run is popgrad.load\('.*'\).schedule\(\)"),
    ],
)
def test_what_is_no_schedule_is_refused(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").touch()
    with pytest.raises(UsageError, match=said):
        Schedule.read(tmp_path / name)


def test_the_schedule_of_a_run_is_its_winners_and_needs_no_task(tmp_path: Path) -> None:
    task = TASKS["quadratic"]()
    small = {"population": 4, "intervals": 3, "interval": 5, "executor": "serial", "outputs": False}
    result = popgrad.run(task, directory=tmp_path / "run", **small)
    loaded = popgrad.load(tmp_path / "run")
    with pytest.raises(UsageError, match=r"pass it again, popgrad.load\(directory, task=...\)"):
        _ = loaded.winner
    assert loaded.schedule() == result.schedule() == result.winner.schedule
    assert result.winner.schedule.steps == 15
    for member in range(4):
        assert loaded.schedule(member) == schedule(result.lineage(member))


def test_the_schedule_of_a_directory_is_read_as_the_refusal_says(tmp_path: Path) -> None:
    small = {"population": 2, "intervals": 2, "interval": 5, "executor": "serial"}
    result = popgrad.run("quadratic", directory=tmp_path / "run", outputs=False, **small)
    with pytest.raises(UsageError) as refusal:
        Schedule.read(tmp_path / "run")
    advice = str(refusal.value).rpartition(" is ")[2]
    assert advice == f"popgrad.load('{tmp_path / 'run'}').schedule()"
    assert eval(advice, {"popgrad": popgrad}) == result.schedule()


# --- as a scheduler ---


def optimizer(kind: type[Optimizer] = SGD, **options: Any) -> Optimizer:
    groups = [{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(2)]
    groups[1]["lr"] = 7.0  # type: ignore[assignment]
    return kind(groups, **options)  # type: ignore[call-arg]


def live(of: Optimizer, name: str) -> set[Any]:
    return {group[name] for group in of.param_groups}


def train(of: Optimizer, *schedulers: LRScheduler, steps: int, name: str = "lr") -> list[set[Any]]:
    """What trained each step: the values of the parameter groups."""
    seen = []
    for _ in range(steps):
        seen.append(live(of, name))
        of.step()
        for each in schedulers:
            each.step()
    return seen


@given(st.lists(st.tuples(st.integers(1, 3), st.floats(1e-9, 1e3)), min_size=1, max_size=6))
def test_every_group_gets_exactly_what_the_schedule_says(drawn: list[tuple[int, float]]) -> None:
    whole = made(*((steps, {"lr": lr}) for steps, lr in drawn))
    sgd = optimizer(lr=0.5)
    steps = whole.steps + 2  # past the end, the last ones
    wanted = [{whole.at(step)["lr"]} for step in range(steps)]
    assert train(sgd, whole.scheduler(sgd), steps=steps) == wanted


def test_it_is_a_scheduler_of_torch() -> None:
    sgd = optimizer(lr=0.5)
    scheduler = TWO.scheduler(sgd)
    assert isinstance(scheduler, LRScheduler)
    assert scheduler.get_last_lr() == [0.1, 0.1]
    train(sgd, scheduler, steps=3)
    assert scheduler.get_last_lr() == [0.30000000000000004] * 2


def test_another_hyperparameter_leaves_the_learning_rate_as_it_is() -> None:
    sgd = optimizer(lr=0.5)
    assert (
        train(sgd, TWO.scheduler(sgd, "momentum"), steps=5, name="momentum")
        == [{0.9}] * 3 + [{0}] * 2
    )
    assert live(sgd, "lr") == {0.5, 7.0}


def test_several_go_together() -> None:
    sgd = optimizer(lr=0.5)
    train(sgd, TWO.scheduler(sgd, "momentum"), TWO.scheduler(sgd), steps=3)
    assert (live(sgd, "lr"), live(sgd, "momentum")) == ({0.30000000000000004}, {0})


def test_a_rate_that_is_a_tensor_stays_one() -> None:
    adam = Adam([torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.5), foreach=False)
    rate = adam.param_groups[0]["lr"]
    train(adam, TWO.scheduler(adam), steps=3)
    assert adam.param_groups[0]["lr"] is rate
    assert rate == torch.tensor(0.30000000000000004)


@pytest.mark.parametrize("name", ["lr", "momentum"])
@pytest.mark.parametrize("done", range(6))
def test_a_state_goes_on_where_it_was(done: int, name: str) -> None:
    first = optimizer(lr=0.5)
    scheduler = TWO.scheduler(first, name)
    train(first, scheduler, steps=done)
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)  # plain data, so that it is safe to load
    second = optimizer(lr=0.5)  # new, and its state is not loaded: the scheduler's is enough
    again = TWO.scheduler(second, name)
    again.load_state_dict(copy.deepcopy(state))
    assert again.state_dict() == state
    whole = [{TWO.at(step)[name]} for step in range(8)]
    assert train(second, again, steps=8 - done, name=name) == whole[done:]


@pytest.mark.parametrize("done", range(6))
def test_it_can_begin_after_steps_that_are_trained_already(done: int) -> None:
    sgd = optimizer(lr=0.5)
    seen = train(sgd, TWO.scheduler(sgd, last_step=done - 1), steps=3)
    assert seen == [{TWO.at(step)["lr"]} for step in range(done, done + 3)]


@pytest.mark.parametrize(
    ("name", "last_step", "said"),
    [
        (
            "rate",
            -1,
            "the schedule \\(lr, momentum, width, kind, flag\\), got 'rate'",
        ),
        ("kind", -1, "expected a number, but kind is 'a'"),
        ("flag", -1, "expected a number, but flag is True"),
        ("width", -1, "the optimizer \\(lr, momentum"),
        ("lr", -2, "last_step: expected a step from 0, or -1 for none, got -2"),
    ],
)
def test_what_cannot_be_set_is_named_and_nothing_is(name: str, last_step: int, said: str) -> None:
    sgd = optimizer(lr=0.5)
    before = copy.deepcopy(sgd.state_dict())
    with pytest.raises(UsageError, match=said):
        TWO.scheduler(sgd, name, last_step=last_step)
    assert sgd.state_dict() == before


# --- a table to read ---


def test_printed_it_is_a_short_table() -> None:
    equal = {"lr": 0.123456, "act": "a"}
    whole = made((2, equal), (3, equal), (1, {"lr": 1.0, "act": "b"}))
    assert str(whole).splitlines() == [
        "steps      lr  act",
        " 0..4  0.1235    a",
        " 5..5       1    b",
    ]


def test_a_hyperparameter_with_the_name_of_a_column_is_qualified() -> None:
    odd = made((1, {"steps": 2, "first_step": 3, "hparams.steps": 4, "live_last.lr": 5}))
    assert odd.to_csv().splitlines()[0] == (
        "first_step,steps,hparams.steps,hparams.first_step,hparams.hparams.steps,hparams.live_last.lr"
    )
    assert Schedule.from_csv(odd.to_csv()) == odd
    # Files from before.
    assert Schedule.from_csv("first_step,steps,steps\n0,1,2\n") == made((1, {"steps": 2}))


@pytest.mark.parametrize(
    "live", ["[]", '{"lr": [1]}', '{"lr": [1, "a"]}', '{"other": [1, 2]}', '{"lr": 3}', "7"]
)
def test_live_values_that_are_none_are_refused(live: str) -> None:
    text = f'[{{"first_step": 0, "steps": 1, "hparams": {{"lr": 0.1}}, "live": {live}}}]'
    with pytest.raises(UsageError, match="phase 0, live: expected two numbers for each"):
        Schedule.from_json(text)
    with pytest.raises(UsageError, match="phase 0, live: expected two numbers"):
        Schedule.from_csv("first_step,steps,lr,live_first.lr\n0,1,0.1,0.1\n")
