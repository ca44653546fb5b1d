"""Failures that end a run at once: a fault that concerns all members, and any one with `fail_fast`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import AllMembersFailedError, RunError
from spies import record

GIVEN: dict[str, Any] = {
    "intervals": 2, "interval": 1, "outputs": False, "seed": 0, "check": False,
}  # fmt: skip


@dataclass(frozen=True)
class Mistaken:
    """Raises in the segments of some members, while a file is there; counts what it trains.

    Attributes:
        folder: Where segments are counted, in the file "trained".
        kind: Type of the exception.
        members: Members that fail; None = all.
        interval: Interval in which they fail.
        named: Whether the message names the member.
    """

    folder: str
    kind: type[BaseException] = KeyError
    members: tuple[int, ...] | None = None
    interval: int = 0
    named: bool = False
    space: popgrad.Space = field(
        default_factory=lambda: popgrad.Space({"h": popgrad.Uniform(0.0, 1.0)})
    )
    score: str = "h"

    def init(self, hparams: Any, ctx: Any) -> dict[str, Any]:
        return {"x": 0.0}

    def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
        with (Path(self.folder) / "trained").open("a") as file:
            file.write(f"{ctx.member} ")
        fails = self.members is None or ctx.member in self.members
        if fails and ctx.interval == self.interval and not (Path(self.folder) / "mended").exists():
            raise self.kind(f"wrong {ctx.member}" if self.named else "wrong")
        return {"x": state["x"] + hparams["h"]}

    def evaluate(self, state: Any, hparams: Any, split: str, ctx: Any) -> dict[str, float]:
        return {"h": state["x"]}


def trained(folder: Path) -> str:
    return (folder / "trained").read_text()


def ended(folder: Path, task: Any, **given: Any) -> str:
    keys = {"population": 6, "executor": "serial", **GIVEN, **given}
    with pytest.raises(RunError) as caught:
        popgrad.run(task, directory=folder / "run", **keys)
    assert not isinstance(caught.value, AllMembersFailedError)
    assert caught.value.in_task
    return str(caught.value)


@pytest.mark.parametrize("kind", [KeyError, NameError, TypeError, AttributeError])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_mistake_in_the_code_is_trained_twice_and_not_by_every_member(
    tmp_path: Path, kind: type[Exception], mode: str
) -> None:
    said = ended(tmp_path, Mistaken(str(tmp_path), kind), mode=mode)
    first, _, traceback = said.partition("\n")
    assert first.startswith(f"member 0, interval 0: {kind.__name__}: ")
    assert f"({__file__}, line " in first
    assert first.endswith("; the same in all attempts, so no other member is trained")
    assert traceback.startswith("Traceback")
    assert trained(tmp_path) == "0 0 "


def test_an_exception_that_may_depend_on_hyperparameters_has_to_come_three_times(
    tmp_path: Path,
) -> None:
    assert "member 2" in ended(tmp_path, Mistaken(str(tmp_path), ValueError))
    assert trained(tmp_path) == "0 0 1 1 2 2 "


def test_once_the_task_is_mended_the_run_continues_as_if_it_had_never_failed(
    tmp_path: Path,
) -> None:
    task = Mistaken(str(tmp_path))
    ended(tmp_path, task)
    (tmp_path / "mended").touch()
    popgrad.resume(tmp_path / "run", task=task)
    popgrad.run(task, directory=tmp_path / "whole", population=6, executor="serial", **GIVEN)
    assert record(tmp_path / "run") == record(tmp_path / "whole")


def test_a_run_that_is_resumed_as_it_is_lets_the_members_fail_alone(tmp_path: Path) -> None:
    task = Mistaken(str(tmp_path), members=(0, 1, 2, 3))
    ended(tmp_path, task)
    result = popgrad.resume(tmp_path / "run", task=task)
    assert [s.id for s in result.segments if s.failed] == [(m, 0) for m in range(4)]


@pytest.mark.parametrize(
    "task",
    [
        {"members": (1,)},  # another has trained
        {"interval": 1, "members": (0, 1)},  # all have trained
        {"kind": ValueError, "members": (0, 1)},
        {"kind": ValueError, "members": (0, 1, 2, 3), "named": True},  # not the same
        {"kind": OSError, "members": (0, 1)},  # it may pass
    ],
)
def test_the_others_go_on_without_a_member_that_fails_alone(
    tmp_path: Path, task: dict[str, Any]
) -> None:
    result = popgrad.run(Mistaken(str(tmp_path), **task), population=6, executor="serial", **GIVEN)
    assert result.stopped == "finished"
    assert {s.member for s in result.segments if s.failed} == set(task["members"])


@pytest.mark.parametrize("kind", [KeyError, OSError, SystemExit])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_with_fail_fast_the_first_failure_ends_the_run_and_is_tried_again(
    tmp_path: Path, kind: type[BaseException], mode: str
) -> None:
    task = Mistaken(str(tmp_path), kind, members=(2,), interval=1)
    given: dict[str, Any] = {"population": 4, "executor": "serial", "mode": mode, **GIVEN}
    said = ended(tmp_path, task, population=4, mode=mode, fail_fast=True)
    assert said.startswith(f"member 2, interval 1: {kind.__name__}: ")
    assert "the run ends with the first failure (fail_fast)\nTraceback" in said
    (tmp_path / "mended").touch()
    assert popgrad.resume(tmp_path / "run", task=task).stopped == "finished"
    popgrad.run(task, directory=tmp_path / "whole", **given)
    assert popgrad.load(tmp_path / "run").segments == popgrad.load(tmp_path / "whole").segments


def test_a_score_that_is_not_finite_ends_a_run_with_fail_fast_too(tmp_path: Path) -> None:
    class Lost(Mistaken):
        def evaluate(self, state: Any, hparams: Any, split: str, ctx: Any) -> dict[str, float]:
            return {"h": float("nan")}

    with pytest.raises(RunError, match=r"^member 0, interval 0: the score \(h\) is nan; the run"):
        popgrad.run(
            Lost(str(tmp_path), members=()),
            population=3,
            executor="serial",
            fail_fast=True,
            **GIVEN,
        )


@pytest.mark.parametrize("executor", ["processes", "vectorised"])
def test_other_executors_end_as_early(executor: str, tmp_path: Path) -> None:
    def loss(module: Any, batch: Any, hparams: Any) -> Any:
        with (tmp_path / "trained").open("a") as file:
            file.write(".")
        return missing_name  # type: ignore[name-defined]  # noqa: F821

    task = replace(popgrad.tasks.digits(), loss=loss)  # type: ignore[type-var]
    with pytest.raises(RunError, match=r"^member \d, interval 0: NameError: .*test_early_end.py"):
        popgrad.run(task, population=8, executor=executor, workers=1, **GIVEN)
    assert len(trained(tmp_path)) <= 4
