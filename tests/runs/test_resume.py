"""A run can be stopped anywhere and gone on with: the record is that of a run never stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import AllMembersFailedError, Plan, RunError, Segment, Strategy, UsageError
from popgrad.engine.callbacks import IntervalEnd
from popgrad.store.directory import Directory
from spies import CLIMB, Spy, odd, read, record

GIVEN: dict[str, Any] = {
    "population": 3,
    "intervals": 4,
    "interval": 2,
    "executor": "serial",
    "fraction": 0.4,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupts."""
    directory = tmp_path_factory.mktemp("whole")
    popgrad.run(Spy(), directory=directory, **GIVEN)
    return directory


def stop_at(count: int) -> Callable[[Any], None]:
    """A callback that is interrupted at its `count`-th call, like by Ctrl-C."""
    calls: list[Any] = []

    def callback(what: Segment | IntervalEnd) -> None:
        calls.append(what)
        if len(calls) == count:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize(
    "interrupted",
    [pytest.param({"on_segment": n}, id=f"segment {n}") for n in range(1, 13)]
    + [pytest.param({"on_interval": n}, id=f"interval {n}") for n in range(1, 5)],
)
def test_a_run_interrupted_anywhere_goes_on_as_if_it_were_not(
    interrupted: dict[str, int], whole: Path, tmp_path: Path
) -> None:
    ((which, count),) = interrupted.items()
    with pytest.raises(KeyboardInterrupt):
        popgrad.run(Spy(), directory=tmp_path / "run", **{which: stop_at(count)}, **GIVEN)
    assert popgrad.load(tmp_path / "run").stopped == "unfinished"
    result = popgrad.resume(tmp_path / "run", task=Spy())
    assert result.stopped == "finished"
    assert record(tmp_path / "run") == record(whole)
    assert result.segments == popgrad.load(whole).segments


def test_a_run_may_be_interrupted_again_and_again(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        popgrad.run(Spy(), directory=tmp_path / "run", on_segment=stop_at(1), **GIVEN)
    for _ in range(11):
        with pytest.raises(KeyboardInterrupt):
            popgrad.resume(tmp_path / "run", task=Spy(), on_segment=stop_at(1))
    assert popgrad.resume(tmp_path / "run", task=Spy()).stopped == "finished"
    assert record(tmp_path / "run") == record(whole)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_strategy_goes_on_with_the_memory_that_it_had(mode: str, tmp_path: Path) -> None:
    def step(rng: Any, population: Any, ready: Any, memory: Any) -> Any:
        members = tuple(ready.tolist())
        hparams = tuple({**population.hparams[i], "mix": memory["count"] / 100} for i in members)
        plan = Plan(members, members, hparams, ({"mix": "given"},) * len(members))
        return plan, {"count": memory["count"] + 1}

    def train(directory: Path, **callbacks: Any) -> tuple[str, str]:
        popgrad.run(Spy(), directory=directory, strategy=counting, mode=mode, **given, **callbacks)
        return record(directory)

    counting = Strategy(init=lambda: {"count": 0}, step=step)
    given = {key: value for key, value in GIVEN.items() if key != "fraction"}
    if mode == "async":
        given |= {"executor": "processes", "workers": 1}
    uninterrupted = train(tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", on_interval=stop_at(2))
    popgrad.resume(tmp_path / "run", task=Spy(), strategy=counting)
    assert record(tmp_path / "run") == uninterrupted


def test_an_interrupt_within_a_task_leaves_a_run_that_can_go_on(
    whole: Path, tmp_path: Path
) -> None:
    class Interrupted(Spy):
        def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
            if (ctx.member, ctx.interval) == (1, 2):
                raise KeyboardInterrupt
            return super().train(state, hparams, steps, ctx)

    with pytest.raises(KeyboardInterrupt):
        popgrad.run(Interrupted(), directory=tmp_path / "run", **GIVEN)
    assert [s.id for s in popgrad.load(tmp_path / "run").segments][-1] == (0, 2)
    popgrad.resume(tmp_path / "run", task=Spy(), allow_changed_task=True)
    assert record(tmp_path / "run") == record(whole)


def test_a_run_goes_on_under_another_executor(tmp_path: Path) -> None:
    given = {**GIVEN, "population": 4, "resample_probability": 0.3}
    popgrad.run(odd(), directory=tmp_path / "whole", **given)
    with pytest.raises(KeyboardInterrupt):
        popgrad.run(odd(), directory=tmp_path / "run", on_segment=stop_at(6), **given)
    with pytest.raises(KeyboardInterrupt):
        popgrad.resume(
            tmp_path / "run", task=odd(), executor="processes", workers=2, on_segment=stop_at(5)
        )
    popgrad.resume(tmp_path / "run", task=odd(), executor="serial")
    assert record(tmp_path / "run") == record(tmp_path / "whole")


def test_more_intervals_give_the_run_that_asked_for_them_at_once(
    whole: Path, tmp_path: Path
) -> None:
    popgrad.run(Spy(), directory=tmp_path / "run", **{**GIVEN, "intervals": 1})
    for intervals in (2, 4):
        result = popgrad.resume(tmp_path / "run", task=Spy(), intervals=intervals)
        assert result.config.intervals == intervals
    assert record(tmp_path / "run") == record(whole)


def test_fewer_intervals_than_are_recorded_are_refused_and_change_nothing(whole: Path) -> None:
    before = record(whole)
    with pytest.raises(
        UsageError, match="intervals: expected at least 4, which are recorded, got 3"
    ):
        popgrad.resume(whole, task=Spy(), intervals=3)
    assert record(whole) == before
    assert popgrad.load(whole).stopped == "finished"


def test_going_on_with_a_finished_run_trains_nothing(whole: Path) -> None:
    class Untouchable(Spy):
        def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
            raise AssertionError("trained again")

    before = record(whole), popgrad.load(whole, task=Spy()).winner.segment
    result = popgrad.resume(whole, task=Untouchable(), allow_changed_task=True)
    assert (record(whole), result.winner.segment) == before
    assert result.stopped == "finished"


def test_who_kept_a_failure_is_not_asked_again_at_the_end(tmp_path: Path) -> None:
    given = {**GIVEN, "strategy": "random-search"}
    del given["fraction"]
    task = Spy(broken={(1, 1): "nan"})
    popgrad.run(task, directory=tmp_path / "run", **given)
    before = record(tmp_path / "run")
    popgrad.resume(tmp_path / "run", task=task)
    assert record(tmp_path / "run") == before


# --- the task -----------------------------------------------------------------------------------------


def test_a_task_whose_source_has_changed_is_refused_unless_allowed(tmp_path: Path) -> None:
    file = tmp_path / "climb.py"
    file.write_text(CLIMB)
    given = {**GIVEN, "intervals": 2}
    popgrad.run(f"{file}:Climb", directory=tmp_path / "run", **given)
    file.write_text(CLIMB.replace("* steps", "* steps * 2"))
    before = record(tmp_path / "run")
    with pytest.raises(UsageError, match="the source of the task has changed"):
        popgrad.resume(tmp_path / "run", intervals=3)
    assert record(tmp_path / "run") == before
    result = popgrad.resume(tmp_path / "run", intervals=3, allow_changed_task=True)
    assert len(result.segments) == 9
    file.write_text(CLIMB)
    popgrad.run(f"{file}:Climb", directory=tmp_path / "whole", **{**given, "intervals": 3})
    assert read(tmp_path / "run")[0][:6] == read(tmp_path / "whole")[0][:6]
    assert read(tmp_path / "run")[0][6:] != read(tmp_path / "whole")[0][6:]


def test_an_instance_has_to_be_given_again(whole: Path) -> None:
    with pytest.raises(UsageError, match=r"given a task instance; pass it again, popgrad.resume\("):
        popgrad.resume(whole)


def test_all_members_failed_leaves_the_record_and_a_run_to_go_on_with(tmp_path: Path) -> None:
    broken = Spy(broken={(m, 2): "raise" for m in range(3)})
    for go in (
        lambda: popgrad.run(broken, directory=tmp_path / "run", **GIVEN),
        lambda: popgrad.resume(tmp_path / "run", task=broken),
    ):
        with pytest.raises(
            AllMembersFailedError, match=r"(?s)broken on purpose: member 0, interval 2"
        ):
            go()
    result = popgrad.load(tmp_path / "run")
    assert [s.status for s in result.segments] == ["done"] * 6 + ["failed"] * 3
    assert result.stopped == "unfinished"
    assert (tmp_path / "run" / "history.csv").exists()


# --- the directory ------------------------------------------------------------------------------------


def test_a_directory_that_holds_something_is_refused_and_untouched(
    whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    for directory in (tmp_path / "mine", tmp_path / "mine" / "notes.txt", whole):
        with pytest.raises(UsageError, match="choose another one with --dir"):
            popgrad.run(Spy(), directory=directory, **GIVEN)
    assert [(p.name, p.read_text()) for p in (tmp_path / "mine").iterdir()] == [
        ("notes.txt", "precious")
    ]


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    def disturb(end: IntervalEnd) -> None:
        with pytest.raises(RunError, match=f"process {os.getpid()} is at work on"):
            popgrad.resume(tmp_path / "run", task=Spy())
        assert len(popgrad.load(tmp_path / "run").segments) == 3 * (
            end.interval + 1
        )  # looking is allowed

    popgrad.run(Spy(), directory=tmp_path / "run", on_interval=disturb, **{**GIVEN, "intervals": 2})


@pytest.mark.parametrize("go", [popgrad.resume, popgrad.load])
def test_where_there_is_no_run_there_is_nothing_to_go_on_with(go: Any, tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match="this is not the directory of a run"):
            go(directory)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("go", [popgrad.resume, popgrad.load])
def test_a_journal_that_lacks_the_facts_of_its_run_is_damaged(go: Any, tmp_path: Path) -> None:
    """No run leaves one: a journal appears with its facts or not at all."""
    from popgrad.store.journal import Journal

    Journal(Directory(tmp_path).journal, create=True).close()
    with pytest.raises(RunError, match="the journal is damaged: config of the run cannot be None"):
        go(tmp_path)


def test_wrong_changes_are_refused_and_change_nothing(whole: Path) -> None:
    before, configuration = record(whole), (whole / "run.toml").read_text()
    for given, message in (
        (
            {"executor": "threads"},
            "executor: expected one of processes, serial, .*, auto, got 'threads'",
        ),
        ({"device": "tpu"}, "device 'tpu' does not exist here"),
        ({"workers": 0}, "workers: expected at least 1, got 0"),
        ({"intervals": 0}, "intervals: expected at least 1, got 0"),
    ):
        with pytest.raises(UsageError, match=message):
            popgrad.resume(whole, task=Spy(), **given)  # type: ignore[arg-type]
    assert record(whole) == before
    assert (whole / "run.toml").read_text() == configuration


# --- kill -9 ------------------------------------------------------------------------------------------

SCRIPT = """
import sys
import popgrad

def tell(segment):
    print(*segment.id, flush=True)

if sys.argv[2] == "run":
    popgrad.run("quadratic", population=4, intervals=150, interval=1, seed=2, executor="serial",
                fraction=0.5, directory=sys.argv[1], on_segment=tell)
else:
    popgrad.resume(sys.argv[1], executor="processes", workers=2, on_segment=tell)
"""


def killed(directory: Path, how: str, lines: int) -> list[int]:
    """Start or resume the run in another process; kill it, wherever it is, once it has told of `lines`."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(directory), how], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        try:
            told = [process.stdout.readline() for _ in range(lines)]
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    return [int(line.split()[1]) for line in told]


def test_a_run_that_is_killed_twice_gives_the_record_of_one_that_was_not(tmp_path: Path) -> None:
    """First a serial run is killed, then the controller of two workers, in the middle of whatever they do."""
    given: dict[str, Any] = {
        "population": 4,
        "intervals": 150,
        "interval": 1,
        "seed": 2,
        "fraction": 0.5,
    }
    popgrad.run("quadratic", executor="serial", directory=tmp_path / "whole", **given)
    first = killed(tmp_path / "run", "run", 30)
    assert len(popgrad.load(tmp_path / "run").segments) >= 30
    second = killed(tmp_path / "run", "resume", 61)
    assert min(second) >= max(first)  # what was recorded is not computed again
    assert 91 <= len(popgrad.load(tmp_path / "run").segments) < 600
    popgrad.resume(tmp_path / "run", executor="serial")
    assert record(tmp_path / "run") == record(tmp_path / "whole")
    best = [(tmp_path / name / "best.json").read_bytes() for name in ("run", "whole")]
    assert best[0] == best[1]
    left = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert sorted(left) == sorted(
        path.name for path in (tmp_path / "whole" / "checkpoints").iterdir()
    )


def test_the_controllers_time_is_summed_over_sessions(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        popgrad.run(odd(), directory=directory, on_interval=stop_at(1), **GIVEN)
    first = popgrad.load(directory).timings.controller
    assert min(first.values()) > 0
    popgrad.resume(directory, task=odd())
    second = popgrad.load(directory).timings.controller
    assert second.keys() == first.keys()
    assert all(second[activity] > first[activity] for activity in first)


def test_an_interrupted_run_without_a_checkpoint_of_its_winner_has_its_figures_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("popgrad.store.checkpoints.time.sleep", waited.append)
    directory = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        popgrad.run(odd(), directory=directory, on_interval=stop_at(1), checkpoint_every=9, **GIVEN)
    assert waited == []
    assert (directory / "results.png").exists()
    assert not (directory / "best.json").exists()
    popgrad.resume(directory, task=odd(), progress=False)
    assert (directory / "best.json").exists()
