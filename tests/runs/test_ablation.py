"""An ablation trains models alone, with equal budgets and shared seeds, and continues where it stopped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import popgrad
from popgrad import Ablation, Context, LogUniform, Space, UsageError
from spies import Spy, odd, record

GIVEN: dict[str, Any] = {
    "population": 4,
    "intervals": 4,
    "interval": 3,
    "fraction": 0.25,
    "outputs": False,
    "executor": "serial",
    "progress": False,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ablation") / "run"
    popgrad.run(odd(), directory=directory, **GIVEN)
    return directory


def ablate(run: Path, keep: Path, **more: Any) -> Ablation:
    return popgrad.ablate(run, **{"seeds": 2, "keep": keep, "task": odd(), **more})


def test_all_models_of_a_seed_train_as_long_from_fresh_weights(run: Path, tmp_path: Path) -> None:
    before = record(run)
    found = ablate(run, tmp_path / "kept")
    assert record(run) == before
    names = [name for arm in found.arms for name in arm.name.split(", ")]
    assert names[0] == "schedule"
    assert set(names) == {
        *("schedule", "best constant", "final values", "mean values", "random search"),
    }
    assert {steps for arm in found.arms for steps in arm.steps} == {12}
    assert found.run_steps == found.search_steps == 4 * 4 * 3

    for arm in found.arms:
        for seed, score in zip(found.seeds, arm.scores, strict=True):
            name = arm.name.split(",")[0].replace(" ", "-")
            kept = popgrad.load(tmp_path / "kept" / f"{name}-{seed}", task=odd())
            assert kept.winner.score == score
            assert kept.winner.lineage[0].source is None
            assert {each.seed for each in kept.segments} == {seed}
            if arm is not found.schedule:
                phases = kept.schedule().merged().phases
                assert [dict(phase.hparams) for phase in phases] == [dict(arm.hparams)]


def test_the_schedule_is_that_of_the_winner(run: Path, tmp_path: Path) -> None:
    found = ablate(run, tmp_path / "kept", random_search=False, seeds=1)
    kept = popgrad.load(tmp_path / "kept" / f"schedule-{found.seeds[0]}", task=odd())
    assert kept.schedule() == popgrad.load(run, task=odd()).schedule()
    assert found.search_steps == 0
    assert not (tmp_path / "kept" / "random-search").exists()


class StopError(Exception):
    pass


def test_an_interrupted_ablation_continues_and_ends_as_if_it_had_not_been(
    run: Path, tmp_path: Path
) -> None:
    counts: list[tuple[int, int]] = []
    whole = ablate(run, tmp_path / "whole", on_progress=lambda *count: counts.append(count))
    assert counts[-1][0] <= counts[-1][1]

    stops = [6, 30]  # within the random search, and within a model

    def stop(done: int, total: int) -> None:
        if done == stops[0]:
            del stops[0]
            raise StopError

    for _ in (6, 30):
        with pytest.raises(StopError):
            ablate(run, tmp_path / "kept", on_progress=stop)
    assert ablate(run, tmp_path / "kept") == whole
    more = ablate(run, tmp_path / "kept", seeds=3)
    assert more.arms[0].scores[:2] == whole.arms[0].scores


def test_a_summary_and_a_figure_are_written(run: Path, tmp_path: Path) -> None:
    found = ablate(run, tmp_path / "kept", random_search=False)
    summary = json.loads((tmp_path / "kept" / "ablation.json").read_text())
    assert summary["sentence"] == found.sentence
    assert [arm["values"] for arm in summary["arms"]] == [list(arm.scores) for arm in found.arms]
    assert (tmp_path / "kept" / "ablation.png").exists()


def test_it_is_kept_in_the_directory_of_the_run(tmp_path: Path) -> None:
    popgrad.run("quadratic", directory=tmp_path / "run", **GIVEN)
    popgrad.ablate(tmp_path / "run", seeds=1, random_search=False)
    assert (tmp_path / "run" / "ablation" / "ablation.json").exists()
    popgrad.ablate(tmp_path / "run", seeds=1, random_search=False)


def test_the_test_split_is_read_on_request_alone_and_each_reading_is_recorded(
    run: Path, tmp_path: Path
) -> None:
    def readings(found: Ablation) -> list[Any]:
        names = [arm.name.split(",")[0].replace(" ", "-") for arm in found.arms]
        kept = [popgrad.load(tmp_path / f"kept/{name}-{found.seeds[0]}") for name in names]
        opened = []
        for each in kept:
            assert each.run_directory is not None
            with each.run_directory.reading() as journal:
                opened += [(row["reader"], row["split"]) for row in journal.readings()]
        return opened

    found = ablate(run, tmp_path / "kept", seeds=1, random_search=False)
    assert readings(found) == []
    assert found.arms[0].tests == ()
    tested = ablate(run, tmp_path / "kept", seeds=1, random_search=False, test=True)
    assert readings(tested) == [("popgrad ablate", "test")] * len(tested.arms)
    assert all(len(arm.tests) == 1 for arm in tested.arms)
    assert tested.outcome == found.outcome


def test_models_that_fail_are_counted(tmp_path: Path) -> None:
    popgrad.run(Spy(), directory=tmp_path / "run", **GIVEN)
    broken = Spy(broken={(0, 2): "nan"})
    found = popgrad.ablate(
        tmp_path / "run", seeds=1, random_search=False, task=broken, allow_changed_task=True
    )
    assert [arm.failed for arm in found.arms] == [1] * len(found.arms)
    assert found.outcome in ("failed", "constant")


class Noisy:
    """Gradient descent with noisy gradients: a rate has to be large at first and small in the end."""

    space = Space({"lr": LogUniform(1e-3, 1.0)})
    score = "-loss"

    def init(self, hparams: Any, ctx: Context) -> dict[str, Any]:
        return {"x": [5.0] * 30}

    def train(self, state: Any, hparams: Any, steps: int, ctx: Context) -> dict[str, Any]:
        rng = np.random.default_rng(ctx.seed("noise"))
        x = np.array(state["x"])
        for _ in range(steps):
            x = x - hparams["lr"] * (x + rng.standard_normal(30))
        return {"x": x.tolist()}

    def evaluate(self, state: Any, hparams: Any, split: Any, ctx: Context) -> dict[str, float]:
        return {"loss": float(np.mean(np.square(state["x"])))}


def test_a_schedule_that_is_known_to_help_is_found_to_help(tmp_path: Path) -> None:
    given = {**GIVEN, "population": 10, "intervals": 16, "interval": 12}
    popgrad.run(Noisy(), directory=tmp_path / "run", **given)
    found = popgrad.ablate(tmp_path / "run", random_search=False, task=Noisy())
    assert found.outcome == "schedule"
    assert all(found.improvement(arm).value > 0.8 for arm in found.arms[1:])


# What is refused


@pytest.mark.parametrize("seeds", [0, -1, 1.5, True, 10_000])
def test_numbers_of_seeds_that_make_no_sense_are_refused(
    run: Path, tmp_path: Path, seeds: Any
) -> None:
    with pytest.raises(UsageError, match="seeds: expected an integer"):
        ablate(run, tmp_path / "kept", seeds=seeds)


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    def stop(segment: Any) -> None:
        raise StopError

    with pytest.raises(StopError):
        popgrad.run("quadratic", directory=tmp_path / "run", on_segment=stop, **GIVEN)
    with pytest.raises(UsageError, match="not finished"):
        popgrad.ablate(tmp_path / "run")
    assert not (tmp_path / "run" / "ablation").exists()


def test_a_directory_that_holds_something_else_is_left_alone(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds no ablation"):
        ablate(run, other)
    assert [each.name for each in other.iterdir()] == ["letter.txt"]

    ablate(run, tmp_path / "kept", seeds=1, random_search=False)
    popgrad.run("quadratic", directory=tmp_path / "run", **GIVEN)
    with pytest.raises(UsageError, match="ablation of another run"):
        popgrad.ablate(tmp_path / "run", keep=tmp_path / "kept")


def test_models_of_an_earlier_winner_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    popgrad.run("quadratic", directory=tmp_path / "run", **GIVEN)
    popgrad.ablate(tmp_path / "run", seeds=1, random_search=False)
    popgrad.resume(tmp_path / "run", intervals=6, progress=False)
    with pytest.raises(UsageError, match="since the run has changed"):
        popgrad.ablate(tmp_path / "run", seeds=1, random_search=False)


def test_a_link_in_the_directory_of_the_run_is_not_followed(tmp_path: Path) -> None:
    popgrad.run("quadratic", directory=tmp_path / "run", **GIVEN)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "ablation").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(popgrad.RunError):
        popgrad.ablate(tmp_path / "run", seeds=1, random_search=False)
    assert list((tmp_path / "elsewhere").iterdir()) == []
