"""Studies from the command line: created, asked and told by other programs, and shown as a run is."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import popgrad as package
from popgrad import Study
from popgrad.tasks import Quadratic
from program import SRC, popgrad, refused

PAGE = Path(__file__).parents[2] / "docs" / "ask-tell.md"
CONFIG = """
score = "q"
population = 3
intervals = 3
interval = 10
seed = 4
lease = 60
outputs = false

[strategy]
name = "pbt"
fraction = 0.5

[space]
h0 = {kind = "uniform", low = 0.0, high = 1.0}
h1 = {kind = "uniform", low = 0.0, high = 1.0}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Create a study; return its directory."""
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(CONFIG)
    assert popgrad("study", "asked", "study.toml").json["status"] == "open"
    return "asked"


def ask(directory: str) -> dict[str, Any]:
    done = popgrad("ask", directory)
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    return dict(done.json)


def train(directory: str) -> int:
    """Train what is asked for through the commands alone; return the number of segments."""
    task = Quadratic()
    count = 0
    while (assignment := ask(directory))["status"] == "train":
        source = assignment["source"]
        state = {"theta": [0.9, 0.9]} if source is None else source["state"]
        ctx = package.Context()
        state = task.train(state, assignment["hparams"], assignment["steps"], ctx)
        score = task.evaluate(state, assignment["hparams"], "validation", ctx)["q"]
        Path("state.json").write_text(json.dumps(state))
        done = popgrad(
            "tell", directory, assignment["token"], f"q={score!r}", "--state", "state.json"
        )
        assert done.code == 0, done.err
        count += 1
    assert assignment["status"] == "finished"
    return count


def test_the_commands_make_the_record_of_a_run(study: str) -> None:
    run = package.run(
        "quadratic",
        population=3,
        intervals=3,
        interval=10,
        seed=4,
        fraction=0.5,
        executor="serial",
        progress=False,
    )
    assert train(study) == 9
    assert package.load(study).segments == run.segments


def test_a_study_is_shown_as_a_run_is(study: str) -> None:
    first = ask(study)
    assert popgrad("show", study).out.startswith("study, in progress, 0 of 3 intervals")
    popgrad("tell", study, first["token"], "q=0.5", "--path", "mine")
    shown = popgrad("show", study, "--json").json
    assert (shown["in_progress"], shown["stopped"]) == (True, "unfinished")
    assert popgrad("schedule", study).code == 0
    assert "no problems" in popgrad("doctor", study).out
    assert popgrad("gc", study).code == 0
    Path("asked/checkpoints").rename("aside")
    assert "a study cannot retrain it" in popgrad("doctor", study).out


def test_a_study_is_continued(study: str) -> None:
    train(study)
    assert popgrad("show", study).out.startswith("study, finished 3 of 3 intervals")
    assert ask(study) == {"status": "finished"}
    status = popgrad("study", study, "--intervals", "4").json
    assert (status["status"], status["completed_intervals"]) == ("open", 3)
    assert train(study) == 3
    assert popgrad("study", study).json["stopped"] == "finished"


def test_nothing_to_do_now_is_not_the_end(study: str) -> None:
    tokens = [ask(study)["token"] for _ in range(3)]
    assert ask(study) == {"status": "wait"}
    for token in tokens:
        done = popgrad("tell", study, token, "q=nan", "--state", "state.json")
        assert done.code == 2, "there is no such file"
        done = popgrad("tell", study, token, "--error", "no luck")
        assert done.json == {"status": "recorded"}
    assert ask(study)["attempt"] == 2


def test_a_second_outcome_that_differs_is_an_error(study: str) -> None:
    token = ask(study)["token"]
    assert popgrad("tell", study, token, "q=1", "--path", "a").code == 0
    assert popgrad("tell", study, token, "q=1", "--path", "a").code == 0
    done = popgrad("tell", study, token, "q=1", "--path", "b")
    assert done.code == 1
    assert "two outcomes that differ" in done.err


def test_a_state_from_standard_input(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        class buffer:  # noqa: N801
            read = staticmethod(lambda size: b'{"x": 1}')

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert popgrad("tell", study, ask(study)["token"], "q=1", "--state", "-").code == 0
    assert package.load(study).segments[0].digest == package.state.digest({"x": 1})  # type: ignore[attr-defined]


def test_a_study_describes_itself_and_can_be_repeated(study: str) -> None:
    train(study)
    assert popgrad("study", "again", f"{study}/run.toml").code == 0
    assert train("again") == 9
    assert package.load("again").segments == package.load(study).segments
    assert "create one by `popgrad study DIR" in refused("run", f"{study}/run.toml")


def test_what_is_no_run_cannot_be_done_with_a_study(study: str) -> None:
    popgrad("tell", study, ask(study)["token"], "q=1", "--path", "x")
    for command in ("resume", "replay"):
        assert "is a study, which has no task" in refused(command, study)
    assert "a study has no task" in refused("test", study)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("tell", "asked", "0-0", "q=1"), "token: expected the token"),
        (("tell", "asked", "TOKEN", "q"), "METRIC=VALUE: expected a name and a number"),
        (("tell", "asked", "TOKEN", "q=high"), "METRIC=VALUE"),
        (("tell", "asked", "TOKEN", "q=1"), "state, path: expected"),
        (("tell", "asked", "TOKEN", "q=1", "--state", "study.toml"), "study.toml is not JSON"),
        (("tell", "asked", "TOKEN"), "metrics: the study ranks by 'q', got nothing"),
        (("ask", "nowhere"), "DIR: nowhere holds no run"),
        (("study", "nowhere"), "DIR: nowhere holds no run"),
        (("study", "asked", "study.toml", "--retry"), "CONFIG: given together with"),
        (("study", "asked", "study.toml", "--set", "seed=9"), "seed: the study in"),
        (("study", "new", "study.toml", "--set", "workers=9"), "workers: a study has no such key"),
        (("study", "new", "study.toml", "--set", "leese=9"), "did you mean 'lease'"),
        (("study", "new", "missing.toml"), "cannot read missing.toml"),
    ],
)
def test_mistakes_are_named_in_a_line(study: str, argv: tuple[str, ...], message: str) -> None:
    token = ask(study)["token"]
    assert message in refused(*(token if word == "TOKEN" else word for word in argv))
    assert not Path("new").exists()


# --- the programs of the documentation --------------------------------------------------------------


def block(name: str) -> str:
    """Return the text of a file on the page."""
    text = PAGE.read_text(encoding="utf-8")
    return text.partition(f"file={name}\n")[2].partition("\n```")[0] + "\n"


@pytest.mark.slow
def test_the_simulator_in_another_language(tmp_path: Path) -> None:
    for name in ("simulation.toml", "simulate.sh"):
        (tmp_path / name).write_text(block(name))
    program = tmp_path / "bin" / "popgrad"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m popgrad "$@"\n')
    program.chmod(0o755)
    env = os.environ | {"PYTHONPATH": SRC, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    for argv in (
        ["popgrad", "study", "simulation", "simulation.toml"],
        ["sh", "simulate.sh", "simulation"],
    ):
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")

    result = package.load(tmp_path / "simulation")
    assert (len(result.segments), result.stopped) == (4, "finished")
    for segment in result.segments:
        start = 1.0
        if segment.source is not None:
            start = float((tmp_path / result.telemetry[segment.source].path).read_text())
        expected = start * (1 - 2 * float(segment.hparams["rate"])) ** 10
        assert segment.metrics["cost"] == pytest.approx(expected**2)


@pytest.mark.slow
def test_a_member_of_two_processes(tmp_path: Path) -> None:
    (tmp_path / "ddp.py").write_text(block("ddp.py"))
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "ddp.py")
    env = os.environ | {"PYTHONPATH": SRC, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launch], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result = Study.open(tmp_path / "ddp-study").result
    assert (len(result.segments), result.stopped) == (6, "finished")
    (first, *_, last) = result.lineage(result.winner.member)
    assert last.score > first.score
    lr = result.winner.state["optimizer"]["param_groups"][0]["lr"]
    assert lr == result.winner.hparams["lr"]
