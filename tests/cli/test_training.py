"""Commands that train, as their users meet them: what they take, stop at, and go on from."""

import gzip
import json
import shutil
import signal
from pathlib import Path

import pytest

from popgrad.core.errors import DataError
from popgrad.runs.api import load
from program import SMALL, popgrad, record, refused, start_program
from spies import CLIMB


def test_run_shows_the_winner_and_keeps_the_run() -> None:
    done = popgrad("run", "quadratic", *SMALL, "--dir", "here")
    assert done.code == 0
    assert "winner" in done.out
    assert "Schedule" in done.out
    assert "on the test split, which selection has never seen: q " in done.out
    last = done.out.rpartition("kept in here (finished): ")[2].splitlines()
    assert {"history.csv", "results.png", "schedule.png"} <= set(last[0].split(", "))
    assert last[1:] == [
        "next: open here/schedule.png",
        "next: popgrad show here",
        "next: popgrad test here",
        "next: popgrad replay here",
        "next: popgrad resume here --intervals 6",
    ]
    first, lines = done.err.splitlines()[:3], done.err.splitlines()[3:]
    assert first[0].startswith("quadratic: 4 members, 3 intervals of 4 steps; strategy pbt")
    assert first[2] == "directory here; from another terminal: popgrad show here"
    assert [line.partition(":")[0] for line in lines] == [f"{i}/3 intervals" for i in (1, 2, 3)]
    assert "inherit" in lines[0]
    assert "inherit" not in lines[2]


def test_a_slip_in_a_task_is_one_line_before_the_run_is_created(tmp_path: Path) -> None:
    file, run = tmp_path / "climb.py", tmp_path / "run"
    file.write_text(CLIMB.replace('return {"q": state["x"]}', 'return {"q": state["y"]}'))
    message = refused("run", f"{file}:Climb", *SMALL, "--dir", str(run))
    assert 'fails with KeyError: \'y\' (climb.py, line 15: return {"q": state["y"]})' in message
    assert not run.exists()

    assert popgrad("run", f"{file}:Climb", *SMALL, "--dir", str(run), "--no-check").code == 1
    assert run.exists()


def test_the_same_command_twice_gives_two_directories_and_one_record() -> None:
    for _ in range(2):
        assert popgrad("run", "quadratic", *SMALL).code == 0
    first, second = Path("runs").iterdir()
    assert record(first) == record(second)


@pytest.mark.parametrize("name", ["run.toml", "run.json"])
def test_a_configuration_file_is_what_its_options_are(name: str, finished: Path) -> None:
    text = {
        "run.toml": 'task = "quadratic"\npopulation = 4\ninterval = 4\nexecutor = "serial"\n',
        "run.json": '{"task": "quadratic", "population": 4, "interval": "4", "executor": "serial"}',
    }
    Path(name).write_text(text[name])
    assert (
        popgrad("run", name, "--intervals", "2", "--set", "intervals=3", "--dir", "here").code == 0
    )
    assert record("here") == record(finished)


def test_the_run_toml_of_a_run_repeats_it() -> None:
    own = ("--fraction", "0.25", "--burn-in", "1", "--seed", "7", "--set", "lr=0.02")
    assert popgrad("run", "quadratic", *SMALL, *own, "--dir", "first").code == 0
    assert popgrad("run", "first/run.toml", "--dir", "second").code == 0
    assert record("first") == record("second")
    assert Path("first/run.toml").read_text() == Path("second/run.toml").read_text()


@pytest.mark.parametrize("task", ["toy.py:Toy", "toy.py:ready_made", "toy:Toy"])
def test_a_task_of_ones_own_is_run_by_file_or_module(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path.cwd())
    assert popgrad("run", task, *SMALL).code == 0
    assert [path.name.partition("-")[0] for path in Path("runs").iterdir()] == [
        "toy" if ".py" in task else "toy.Toy"
    ]


def test_settings_go_to_the_strategy_the_task_and_the_run() -> None:
    settings = ("seed=3", "strategy.fraction=0.5", "lr=0.5", "options.score=q")
    argv = [word for setting in settings for word in ("--set", setting)]
    assert popgrad("run", "quadratic", *SMALL, *argv, "--dir", "here").code == 0
    config = load("here").config
    assert (config.seed, config.options) == (3, {"lr": 0.5, "score": "q"})
    assert config.strategy.options()["fraction"] == 0.5


def test_members_begin_with_what_initial_holds() -> None:
    Path("best.json").write_text('{"initial": [{"h0": 0.25}, {"h0": 0.5, "h1": 0.75}]}')
    assert popgrad("run", "quadratic", *SMALL, "--initial", "best.json", "--dir", "here").code == 0
    first, second = load("here").segments[:2]
    assert first.hparams["h0"] == 0.25
    assert second.hparams == {"h0": 0.5, "h1": 0.75}


def test_members_begin_from_the_winner_of_another_run() -> None:
    digits = ("--population", "2", "--intervals", "1", "--interval", "1", "--executor", "serial")
    assert popgrad("run", "digits", *digits, "--dir", "first", "--no-test").code == 0
    assert popgrad("run", "digits", *digits, "--dir", "second", "--from", "first").code == 0
    assert load("first").segments[0].digest != load("second").segments[0].digest


def test_limits_end_a_run() -> None:
    done = popgrad("run", "toy.py:Toy", *SMALL, "--target-score", "0", "--json")
    assert (done.json["stopped"], done.json["intervals"]) == ("target score", 1)
    done = popgrad("run", "toy.py:Toy", *SMALL, "--max-time", "0.000001s", "--json")
    assert (done.json["stopped"], done.json["intervals"]) == ("time", 1)


def test_nothing_is_written_where_a_mistake_is_found_before_the_run() -> None:
    refused("run", "quadratic", *SMALL, "--seed", "-1")
    refused("run", "quadratic", *SMALL, "--device", "cuda:99", "--dir", "here")
    assert [path.name for path in Path().iterdir()] == ["toy.py"]


def test_what_a_task_prints_keeps_out_of_the_results() -> None:
    program = start_program(
        *("run", "toy.py:Toy", *SMALL[:-1], "processes", "--workers", "1", "--json"), "--no-check"
    )
    out, err = program.communicate(timeout=100)
    assert program.returncode == 0
    assert json.loads(out)["segments"] == 12
    assert err.count("the task says hello") == 12
    done = popgrad("run", "toy.py:Toy", *SMALL, "--json", "--no-check")
    assert done.json["segments"] == 12
    assert done.err.count("the task says hello") == 12


def test_a_run_that_fails_shows_what_the_task_ran_into_and_how_to_go_on() -> None:
    done = popgrad("run", "toy.py:Failing", *SMALL, "--no-check", "--dir", "a b")
    assert (done.code, done.out) == (1, "")
    assert "Traceback" in done.err
    assert "ZeroDivisionError: what the task ran into" in done.err
    assert done.err.endswith(
        "correct the task, and continue with: popgrad resume 'a b' --allow-changed-task\n"
    )
    task = Path("toy.py")
    task.write_text(task.read_text().replace("raise Zero", "return state\n        raise Zero"))
    assert popgrad("resume", "a b", "--allow-changed-task").code == 0
    assert popgrad("show", "a b").code == 0


def test_fail_fast_can_be_taken_back() -> None:
    source = Path("toy.py").read_text().replace('"q": state["x"]', '"q": [1.0, 1 / 0][ctx.member]')
    Path("half.py").write_text(source)
    small = ("--population", "2", "--intervals", "1", "--interval", "1", "--executor", "serial")
    argv = ("half.py:Toy", *small, "--no-test", "--no-check")
    done = popgrad("run", *argv, "--fail-fast", "--dir", "here")
    assert done.code == 1
    assert "the run ends with the first failure (fail_fast)" in done.err
    assert popgrad("resume", "here", "--no-test").code == 1
    assert popgrad("resume", "here", "--no-test", "--no-fail-fast").code == 1


@pytest.mark.parametrize(
    ("number", "executor"), [(signal.SIGINT, "serial"), (signal.SIGTERM, "processes")]
)
def test_a_run_that_is_stopped_is_gone_on_with_as_if_it_never_was(
    number: signal.Signals, executor: str
) -> None:
    small = (
        "run",
        "toy.py:Toy",
        "--population",
        "3",
        "--intervals",
        "4",
        "--interval",
        "5",
        "--dir",
    )
    program = start_program(*small, "here", "--executor", executor, "--workers", "1", HOLD="yes")
    assert program.stderr is not None
    while not (line := program.stderr.readline()).startswith("2/4 intervals"):
        assert line, "the run ended before it could be stopped"
    assert popgrad("show", "here").code == 0  # in progress
    program.send_signal(number)
    out, err = program.communicate(timeout=100)
    assert (program.returncode, out) == (130, "")
    assert err.endswith("popgrad: interrupted; continue with: popgrad resume here\n")
    assert popgrad("show", "here", "--json").json["stopped"] == "unfinished"
    assert popgrad("resume", "here", "--executor", "serial").code == 0
    assert popgrad(*small, "there", "--executor", "serial").code == 0
    assert record("here") == record("there")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--populatin", "3"), "there is no option --populatin; did you mean '--population'?"),
        (("--population", "many"), "--population: expected an integer, got 'many'"),
        (("--population", "0"), "population: expected at least 1, got 0"),
        (
            ("--population", "1"),
            "population: expected at least 2, got 1: pbt copies between members",
        ),
        (("--intervals", "1.5"), "--intervals: expected an integer, got '1.5'"),
        (("--interval", "1 epoch"), "a Quadratic counts no epochs; give a number of steps"),
        (("--interval", "soon"), "interval: expected a number of steps"),
        (
            ("--strategy", "hope"),
            "strategy: expected pbt, tournament, t-test, threshold, gap, initiator, backtracking, pb2, ",
        ),
        (
            ("--fraction", "0.7"),
            "fraction: expected a share of members in [0, 0.5] to replace, got 0.7",
        ),
        (("--fraction", "half"), "--fraction: expected a number, got 'half'"),
        (("--burn-in", "-1"), "burn_in: expected a number of intervals, 0 or more, got -1"),
        (("--seed", "-1"), "seed: expected at least 0, got -1"),
        (("--executor", "magic"), "executor: expected one of processes, serial, "),
        (("--workers", "0"), "workers: expected at least 1, got 0"),
        (("--device", "cuda:99"), "device 'cuda:99' does not exist here"),
        (("--max-time", "soon"), 'max_time: expected a time: seconds such as 90, or "90s"'),
        (("--target-score", "nan"), "got nan"),
        (("--initial", "none.json"), "--initial: cannot read none.json"),
        (("--initial", "toy.py"), "--initial: cannot read toy.py"),
        (("--from", "none"), "weights: only a TorchTask can start from weights"),
        (("--dir", "toy.py"), "the directory toy.py exists"),
        (("--dir", "toy.py/x"), "the directory toy.py/x cannot be created"),
        (("--set", "seed"), "--set: expected key=value"),
        (("--set", "strategy.temperature=1"), "strategy pbt has no option 'temperature'; it has "),
        (
            ("--set", "sede=1"),
            "task quadratic has no option 'sede'; it has lr, score; did you mean 'seed'?",
        ),
        (
            ("--set", "lr=fast"),
            "task quadratic, option lr: expected a number, got 'fast'",
        ),
        (("--set", "task.x=1"), "--set: 'task' is not a table"),
        (("--set", "space.h0.kind=odd"), "space.h0: kind: expected one of uniform, "),
    ],
)
def test_a_wrong_option_is_named_with_what_was_given_and_is_allowed(
    argv: tuple[str, ...], said: str
) -> None:
    assert said in refused("run", "quadratic", *SMALL, *argv)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.toml", "x = ", "c.toml is not TOML"),
        ("c.toml", "population = 4", "task is missing"),
        (
            "c.toml",
            'task = "quadratic"\npopulatoin = 4',
            "unknown key 'populatoin'; did you mean 'population'?",
        ),
        (
            "c.toml",
            'task = "quadratic"\nstrategy = 3',
            "strategy: expected a name or a table, got 3",
        ),
        ("c.toml", 'task = "quadratic"\nseed = 2020-01-01', "seed: expected "),
        ("c.toml", b"\xff\xfe", "cannot read c.toml"),
        ("c.json", "{", "c.json is not JSON"),
        ("c.json", "[" * 100_000, "c.json is not JSON"),
        ("c.json", "[1]", "c.json: expected a table of keys, got a list"),
        (
            "c.json",
            '{"task": "quadratic", "population": "many"}',
            "population: expected an integer, got 'many'",
        ),
    ],
)
def test_a_broken_configuration_is_named(name: str, text: str | bytes, said: str) -> None:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    assert said in refused("run", name, "--fraction", "0.2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "--initial: i.json holds no list of hyperparameters"),
        ("[1]", "--initial: i.json holds no list of hyperparameters"),
        ('[{"h0": 7}]', "initial[0].h0: expected uniform 0.0..1.0, got 7.0"),
        ('[{"h9": 1}]', "initial[0]: unknown hyperparameter h9; has h0, h1"),
        ('[{"h0": NaN}]', "got nan"),
        (
            json.dumps([{}] * 5),
            "initial: expected at most 4 sets of hyperparameters, one a member, got 5",
        ),
    ],
)
def test_wrong_initial_hyperparameters_are_named(text: str, said: str) -> None:
    Path("i.json").write_text(text)
    assert said in refused("run", "quadratic", *SMALL, "--initial", "i.json")


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", b"\xff" * 64])
def test_weights_that_cannot_be_read_are_named(content: bytes | None) -> None:
    if content is not None:
        Path("w.safetensors").write_bytes(content)
    assert "cannot read weights from w.safetensors" in refused(
        "run", "digits", "--from", "w.safetensors"
    )


IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.mark.parametrize(
    "content", [None, b"", b"foreign", gzip.compress(bytes(range(256)) * 9, mtime=0)[:99]]
)
def test_data_files_that_cannot_be_used_are_named(content: bytes | None) -> None:
    Path("files").mkdir()
    if content is not None:
        for name in IDX_FILES:
            Path("files", f"{name}.gz").write_bytes(content)
    said = refused("run", "mnist-fc", *SMALL, "--data-dir", "files", "--dir", "here")
    assert "files" in said
    assert "-ubyte" in said


def test_data_that_is_missing_in_the_middle_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(config: object, *, directory: Path, **others: object) -> None:
        directory.mkdir()
        (directory / "journal.db").touch()
        raise DataError("the disk is gone")

    monkeypatch.setattr("popgrad.runs.api.start", start)
    said = refused("run", "quadratic", *SMALL, "--dir", "here")
    assert said == "popgrad: the disk is gone; continue with: popgrad resume here\n"


# --- replay -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--population", "6"), "grows from 4 to 6 at the next decision: new members are cloned"),
        (
            ("--population", "6", "--grow", "sample"),
            "grows from 4 to 6 at the next decision: new members are sampled",
        ),
        (("--population", "2"), "shrinks from 4 to 2 at the next decision: the best stay"),
    ],
)
def test_resume_says_first_what_becomes_of_the_population(
    options: tuple[str, ...], said: str, finished: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(finished, tmp_path / "copy")
    done = popgrad(
        "resume", str(place), "--intervals", "5", "--plain", "--no-test", "--json", *options
    )
    assert done.code == 0
    assert done.err.splitlines()[0] == f"popgrad: the population {said}"
    members = int(options[1])
    assert f"{members} members from now on" in done.err
    assert done.json["members"] == members
    assert [each["member"] for each in done.json["population"]] == list(range(members))
    assert popgrad("show", str(place), "--json").json["winner"] == done.json["winner"]
    assert popgrad("schedule", str(place), "--json").code == 0
    assert popgrad("replay", str(place)).code == 0


def test_a_population_that_no_decision_could_change_is_refused(finished: Path) -> None:
    said = refused("resume", str(finished), "--population", "6")
    assert "pass --intervals too, at least 4" in said


def test_replay_says_whether_the_bits_are_the_same(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    assert popgrad("run", "digits", *SMALL, "--dir", run, "--debug").code == 0
    before = record(run)
    done = popgrad("replay", run)
    assert (done.code, "bit-identical to the record (digest " in done.out) == (0, True)
    found = popgrad("replay", run, "--member", "2", "--json", "--dir", str(tmp_path / "again")).json
    assert (found["identical"], found["member"], found["segments"]) == (True, 2, 3)
    assert {path.name for path in (tmp_path / "again").iterdir()} == {
        "best.json",
        "best.safetensors",
    }
    segment = popgrad("replay", run, "--member", "1", "--interval", "1", "--json").json
    assert (segment["identical"], segment["member"], segment["interval"]) == (True, 1, 1)
    assert segment["segments"] == 2
    said = refused("replay", run, "--member", "1", "--interval", "3")
    assert "no segment of member 1 in interval 3; its intervals lie in 0..2" in said
    assert "choose another one" in refused("replay", run, "--dir", str(tmp_path / "again"))
    assert "member 9 has no finished segment" in refused("replay", run, "--member", "9")
    assert record(run) == before


def test_replay_of_a_task_that_trains_otherwise_now_is_exit_code_1(tmp_path: Path) -> None:
    file, run = tmp_path / "climb.py", str(tmp_path / "run")
    file.write_text(CLIMB)
    assert popgrad("run", f"{file}:Climb", *SMALL, "--dir", run).code == 0
    file.write_text(CLIMB.replace("* steps", "* steps * 2"))
    assert "the source of the task has changed" in refused("replay", run)
    done = popgrad("replay", run, "--allow-changed-task")
    assert (done.code, "NOT identical: it differs from member" in done.out) == (1, True)


def test_replay_with_a_fresh_seed_trains_one_model_under_the_schedule(tmp_path: Path) -> None:
    run, fresh = str(tmp_path / "run"), str(tmp_path / "fresh")
    assert popgrad("run", "digits", *SMALL, "--dir", run, "--debug").code == 0
    done = popgrad("replay", run, "--fresh-seed", "5", "--dir", fresh)
    assert done.code == 0
    assert "under the schedule alone, accuracy " in done.out
    assert load(fresh).config.seed == 5
    assert popgrad("schedule", fresh, "--csv").out == popgrad("schedule", run, "--csv").out
    assert (
        popgrad("replay", run, "--fresh-seed", "5", "--json", "--no-test").json["directory"] is None
    )


def test_trackers_are_repeated_or_separated_by_commas_and_changed_by_resume() -> None:
    done = popgrad("run", "quadratic", *SMALL, "--dir", "here", "--tracker", "tensorboard")
    assert done.code == 0, done.err
    assert load("here").config.tracker == ["tensorboard"]
    assert Path("here/events/member-03").is_dir()
    done = popgrad("resume", "here", "--intervals", "4", "--tracker", "")
    assert done.code == 0, done.err
    assert load("here").config.tracker == []
    wrong = popgrad("run", "quadratic", "--tracker", "tensorboard,mlflo", "--dir", "other")
    assert wrong.code == 2
    assert "expected one of tensorboard, mlflow, wandb, got 'mlflo'" in wrong.err
    twice = popgrad("run", "quadratic", "--tracker", "mlflo", "--tracker", "wand", "--dir", "other")
    assert "got 'mlflo'" in twice.err
    assert "got 'wand'" in twice.err
    assert not Path("other").exists()
