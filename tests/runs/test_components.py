"""The metric that ranks: given with the task or with the run, in one direction, the same for a resume."""

from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import Space, Uniform, UsageError, config

KEYS: dict[str, Any] = {"population": 4, "intervals": 3, "interval": 2, "executor": "serial"}


class Falling:
    """A task whose loss falls by h with each step."""

    space = Space({"h": Uniform(0.1, 0.2)})
    score = "-loss"

    def init(self, hparams: Any, ctx: Any) -> Any:
        return {"x": 1.0}

    def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
        return {"x": state["x"] - steps * hparams["h"]}

    def evaluate(self, state: Any, hparams: Any, split: str, ctx: Any) -> dict[str, float]:
        return {"loss": state["x"], "gain": 1 - state["x"]}


class Minimizing:
    """The same, with the attribute `minimize` in place of `score`."""

    minimize = "loss"
    space, init, train, evaluate = Falling.space, Falling.init, Falling.train, Falling.evaluate


class Rising(Falling):
    score = "loss"


class Explicit(Falling):
    score = "+loss"


def test_to_minimise_is_the_same_run_however_it_is_given() -> None:
    expected = popgrad.run(Falling(), **KEYS).segments
    assert expected == popgrad.run(Minimizing(), **KEYS).segments  # type: ignore[arg-type]
    assert expected == popgrad.run(Rising(), minimize="loss", **KEYS).segments
    assert expected == popgrad.run(Explicit(), score="-loss", **KEYS).segments
    assert min(segment.metrics["loss"] for segment in expected) == -max(s.score for s in expected)
    gains = popgrad.run(Falling(), score="gain", **KEYS)
    assert gains.score_name == "gain"
    assert gains.winner.score == gains.winner.segment.metrics["gain"]


def test_a_loss_is_not_maximised_without_a_word(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="score: 'loss' would be maximised") as caught:
        popgrad.run(Rising(), **KEYS, directory=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="score: 'loss' would be maximised"):
        popgrad.run(Falling(), score="loss", **KEYS)
    worst = popgrad.run(Explicit(), **KEYS)
    assert worst.score_name == "loss"
    assert worst.winner.score == worst.winner.segment.metrics["loss"]


def test_two_metrics_do_not_rank() -> None:
    with pytest.raises(UsageError, match="score, minimize: got 'gain' and 'loss'"):
        popgrad.run(Falling(), score="gain", minimize="loss", **KEYS)


def test_a_target_is_the_value_of_the_metric(tmp_path: Path) -> None:
    keys = {**KEYS, "intervals": 30, "directory": tmp_path / "run"}
    result = popgrad.run(Falling(), target_score=-0.5, **keys)
    assert result.stopped == "target score"
    assert max(segment.interval for segment in result.segments) < 10
    assert -0.5 >= min(segment.metrics["loss"] for segment in result.segments) > -1.5
    again = popgrad.resume(tmp_path / "run", task=Falling(), target_score=-2.0)
    assert -2.0 >= min(segment.metrics["loss"] for segment in again.segments) > -3.0


def test_a_target_that_no_error_can_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"target_score: got -0\.5, but mse is minimised"):
        popgrad.run(
            Falling(), minimize="mse", target_score=-0.5, **KEYS, directory=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_direction_when_it_is_continued(tmp_path: Path) -> None:
    popgrad.run(Rising(), minimize="loss", **KEYS, directory=tmp_path / "run")
    longer = popgrad.resume(tmp_path / "run", task=Rising(), intervals=4)
    assert longer.score_name == "-loss"
    assert popgrad.replay(tmp_path / "run", task=Rising()).identical
    popgrad.run(Falling(), **KEYS, directory=tmp_path / "low")
    with pytest.raises(UsageError, match="the score of the task is 'loss', but the run was"):
        popgrad.resume(tmp_path / "low", task=Rising(), intervals=4)


STARTING = {"kind": "uniform", "low": 0.0, "high": 0.9, "start": [0.1, 0.2]}


def test_a_file_and_the_command_line_give_a_start_range_and_factors_by_name(tmp_path: Path) -> None:
    text = """
        task = "quadratic"
        [strategy]
        factors = {h1 = [0.5, 2.0], default = [3.0]}
        [space]
        h0 = {kind = "uniform", low = 0.0, high = 0.9, start = [0.1, 0.2]}
    """
    (tmp_path / "run.toml").write_text(text)
    from_file = config.parse(config.read(tmp_path / "run.toml"))
    words = [
        "task=quadratic",
        "strategy.factors={h1 = [0.5, 2.0], default = [3.0]}",
        "space.h0={kind='uniform', low=0.0, high=0.9, start=[0.1, 0.2]}",
    ]
    from_words = config.parse(config.override({}, words))
    assert from_file.space == from_words.space == {"h0": STARTING}
    assert from_file.strategy == from_words.strategy


def test_a_run_with_a_start_range_and_factors_by_name_is_as_given_and_continues(
    tmp_path: Path,
) -> None:
    keys: dict[str, Any] = {
        "space": {"h0": STARTING, "h1": Uniform(0.0, 1.0)},
        "factors": {"h0": [0.5, 2.0], "default": [0.9]},
        "seed": 3,
        "fraction": 0.5,
        **KEYS,
    }
    whole = popgrad.run("quadratic", **keys, directory=tmp_path / "whole")
    popgrad.run("quadratic", **{**keys, "intervals": 2}, directory=tmp_path / "part")
    resumed = popgrad.resume(tmp_path / "part", intervals=3)
    assert whole.segments == resumed.segments
    assert resumed.space["h0"] == Uniform(0.0, 0.9, start=(0.1, 0.2))

    first = [segment for segment in whole.segments if segment.interval == 0]
    assert all(0.1 <= segment.hparams["h0"] <= 0.2 for segment in first)
    heirs = [s for s in whole.segments if s.source and s.source[0] != s.member]
    assert {s.changes["h0"] for s in heirs} <= {0.5, 2.0}
    assert {s.changes["h1"] for s in heirs} == {0.9}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"space": {"h0": {**STARTING, "start": [0.1, 1.0]}}},
            r"^space\.h0: start: expected two numbers in \[0\.0, 0\.9\], the lower first, got ",
        ),
        ({"factors": {"h2": [0.5]}}, "^factors: unknown hyperparameter 'h2'"),
        ({"factors": {"h0": 0.5}}, "factors: expected a list of numbers or a table"),
    ],
)
def test_a_start_or_factors_that_cannot_be_used_are_refused_before_the_run(
    keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        popgrad.run("quadratic", **KEYS, **keys, directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
