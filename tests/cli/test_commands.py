"""The command line as its users meet it: exit codes, one line for each mistake, results alone on stdout."""

import gzip
import json
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from program import Done, popgrad, refused, start_program

from popgrad.cli import keeping, training
from popgrad.core.errors import DataError
from popgrad.run import load
from popgrad.store.journal import Journal
from popgrad.store.lineage import schedule

SMALL = ("--population", "4", "--intervals", "3", "--interval", "4", "--executor", "serial")

TASK = """
import os, signal
from pathlib import Path
from popgrad import Space, Uniform

class Toy:
    space = Space({"h": Uniform(0.0, 1.0)})
    score = "q"

    def init(self, hparams, ctx):
        return {"x": 0.0}

    def train(self, state, hparams, steps, ctx):
        print("the task says hello")
        while "HOLD" in os.environ and ctx.interval == 2:
            signal.pause()
        return {"x": state["x"] + steps * hparams["h"]}

    def evaluate(self, state, hparams, split, ctx):
        with Path("splits.txt").open("a") as file:
            file.write(split + "\\n")
        return {"q": state["x"], "broken": float("nan")}

class Failing(Toy):
    def train(self, state, hparams, steps, ctx):
        raise ZeroDivisionError("what the task ran into")

ready_made = Toy()
"""


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def record(directory: Path | str) -> tuple[Any, ...]:
    """What has to be equal between equal runs; scores that are not a number equal each other."""
    journal = Journal(Path(directory) / "journal.db", readonly=True)
    try:
        return repr(journal.segments()), journal.decisions()
    finally:
        journal.close()


def readings(directory: Path | str) -> list[str]:
    journal = Journal(Path(directory) / "journal.db", readonly=True)
    try:
        return [reading["reader"] for reading in journal.readings()]
    finally:
        journal.close()


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder with a task file; modules of tasks are forgotten afterwards."""
    (tmp_path / "toy.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("POPGRAD_DATA", raising=False)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("toy", "popgrad_task_")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that nobody changes."""
    place = tmp_path_factory.mktemp("finished") / "run"
    assert popgrad("run", "quadratic", *SMALL, "--dir", str(place)).code == 0
    return place


# --- each command ---


def test_run_shows_the_winner_and_keeps_the_run() -> None:
    done = popgrad("run", "quadratic", *SMALL, "--dir", "here")
    assert done.code == 0
    assert "winner" in done.out
    assert "Schedule" in done.out
    assert "on the test split, which selection has never seen: q " in done.out
    kept = done.out.rpartition("kept in here (finished): ")[2].strip().split(", ")
    assert {"history.csv", "results.png", "schedule.png"} <= set(kept)
    lines = done.err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"{i}/3 intervals" for i in (1, 2, 3)]
    assert "inherit" in lines[0]
    assert "inherit" not in lines[2]


def test_show_says_again_what_run_said(finished: Path) -> None:
    ran = popgrad("run", "quadratic", *SMALL, "--no-test", "--dir", "again")
    assert ran.out.startswith(popgrad("show", str(finished)).out)


def test_schedule_prints_the_table_of_show(finished: Path) -> None:
    done = popgrad("schedule", str(finished))
    assert done.code == 0
    _, _, table = done.out.rstrip().partition("Schedule")
    assert "0.." in table
    assert table in popgrad("show", str(finished)).out


def test_schedule_prints_exactly_what_is_read_back(finished: Path) -> None:
    result = load(finished)
    for chosen, whole in (
        ((), result.winner.schedule),
        (("--member", "1"), schedule(result.lineage(1))),
    ):
        for merging, wanted in (((), whole), (("--merged",), whole.merged())):
            argv = ("schedule", str(finished), *chosen, *merging)
            assert popgrad(*argv, "--csv") == Done(0, wanted.to_csv(), "")
            assert popgrad(*argv, "--json") == Done(0, wanted.to_json(), "")


def test_what_is_only_looked_at_needs_no_code_of_the_task() -> None:
    popgrad("run", "toy.py:Toy", *SMALL, "--dir", "here")
    Path("toy.py").unlink()
    assert popgrad("show", "here").code == 0
    assert popgrad("schedule", "here").code == 0
    assert popgrad("schedule", "here", "--csv").out.startswith("first_step,steps,h\n0,4,")


def test_the_schedule_of_nobody_is_refused() -> None:
    popgrad("run", "toy.py:Failing", *SMALL, "--dir", "here")
    done = popgrad("schedule", "here")
    assert (done.code, done.out) == (1, "")
    assert (
        done.err == "popgrad: no member has a finite score in the last interval, so the run has no winner\n"
    )
    assert popgrad("schedule", "here", "--member", "0").code == 0


def test_tables_are_not_cut_where_standard_output_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    space = ", ".join(
        f'hyperparameter_number_{i} = {{kind = "uniform", low = 0.0, high = 1.0}}' for i in range(9)
    )
    done = popgrad("run", "quadratic", *SMALL, "--set", f"space={{{space}}}")
    assert done.code == 0
    assert "…" not in done.out
    assert max(map(len, done.out.splitlines())) < 400


def test_every_json_output_can_be_parsed() -> None:
    run = popgrad("run", "toy.py:Toy", *SMALL, "--dir", "here", "--json")
    assert run.json["test"] == {"q": run.json["winner"]["score"], "broken": None}
    show = popgrad("show", "here", "--json")
    assert {**show.json, "test": run.json["test"]} == run.json
    test = popgrad("test", "here", "--json")
    assert (test.json["split"], test.json["metrics"]) == ("test", run.json["test"])
    resume = popgrad("resume", "here", "--intervals", "4", "--json")
    assert resume.json["intervals"] == 4
    tasks = popgrad("tasks", "--json")
    assert tasks.json["quadratic"]["options"] == {"lr": 0.01}


def test_tasks_names_what_they_search_and_take() -> None:
    lines = [line.rstrip() for line in popgrad("tasks").out.splitlines()]
    assert "  space   lr          log-uniform 0.0001..0.1" in lines
    assert "  option  batch_size  32" in lines


def test_test_reads_the_winner_on_the_test_split() -> None:
    popgrad("run", "toy.py:Toy", *SMALL, "--dir", "here", "--no-test")
    assert popgrad("test", "here").out.startswith("winner, member ")


def test_data_prints_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, directory: Path, progress: Callable[[str, int, int | None], None]) -> list[Path]:
        progress("a.gz", 1, 2)
        progress("a.gz", 2, 2)
        return [directory / name / "a.gz"]

    monkeypatch.setattr(keeping, "download", download)
    assert popgrad("data", "mnist", "--dir", "there").out == "there/mnist/a.gz\n"


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",)])
def test_help_names_the_commands(argv: tuple[str, ...]) -> None:
    done = popgrad(*argv)
    assert done.code == 0
    listed = done.out.partition("Commands")[2]
    commands = ("run", "resume", "train", "show", "schedule", "test", "tasks", "data", "convert")
    places = [listed.find(f"│ {command} ") for command in commands]
    assert -1 not in places
    assert places == sorted(places)  # first how one comes to a run, then what one does with it


def test_the_version_is_the_packages() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    version = tomllib.loads(pyproject.read_text())["project"]["version"]
    assert popgrad("--version") == Done(0, f"{version}\n", "")


# --- what can be run ---


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
    assert popgrad("run", name, "--intervals", "2", "--set", "intervals=3", "--dir", "here").code == 0
    assert record("here") == record(finished)


def test_the_run_toml_of_a_run_repeats_it() -> None:
    own = ("--fraction", "0.25", "--burn-in", "1", "--seed", "7", "--set", "lr=0.02")
    assert popgrad("run", "quadratic", *SMALL, *own, "--dir", "first").code == 0
    assert popgrad("run", "first/run.toml", "--dir", "second").code == 0
    assert record("first") == record("second")
    assert Path("first/run.toml").read_text() == Path("second/run.toml").read_text()


@pytest.mark.parametrize("task", ["toy.py:Toy", "toy.py:ready_made", "toy:Toy"])
def test_a_task_of_ones_own_is_run_by_file_or_module(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


# --- promises ---


def test_the_test_split_is_read_as_often_as_the_journal_says() -> None:
    popgrad("run", "toy.py:Toy", *SMALL, "--dir", "here", "--no-test")
    popgrad("show", "here")
    assert readings("here") == []
    popgrad("resume", "here", "--intervals", "4")
    popgrad("test", "here")
    splits = Path("splits.txt").read_text().split()
    assert readings("here") == ["final report", "popgrad test"]
    assert splits.count("test") == 2


def test_a_run_directory_is_left_as_it_is_by_what_only_reads_or_is_refused(finished: Path) -> None:
    before = contents(finished)
    finished.chmod(0o555)
    assert popgrad("show", str(finished)).code == 0
    assert popgrad("schedule", str(finished)).code == 0
    assert "member 9 has no finished segment" in refused("schedule", str(finished), "--member", "9")
    assert f"{finished} holds a run" in refused("run", "quadratic", *SMALL, "--dir", str(finished))
    assert "3 are recorded already" in refused("resume", str(finished), "--intervals", "2")
    finished.chmod(0o755)
    assert {**contents(finished), str(finished / "lock"): b""} == {**before, str(finished / "lock"): b""}


def test_nothing_is_written_where_a_mistake_is_found_before_the_run() -> None:
    refused("run", "quadratic", *SMALL, "--seed", "-1")
    refused("run", "quadratic", *SMALL, "--device", "cuda:99", "--dir", "here")
    assert [path.name for path in Path().iterdir()] == ["toy.py"]


def test_what_a_task_prints_keeps_out_of_the_results() -> None:
    program = start_program("run", "toy.py:Toy", *SMALL[:-1], "processes", "--workers", "1", "--json")
    out, err = program.communicate(timeout=100)
    assert program.returncode == 0
    assert json.loads(out)["segments"] == 12
    assert err.count("the task says hello") == 12
    done = popgrad("run", "toy.py:Toy", *SMALL, "--json")
    assert done.json["segments"] == 12
    assert done.err.count("the task says hello") == 12


def test_a_run_that_fails_shows_what_the_task_ran_into_and_how_to_go_on() -> None:
    done = popgrad("run", "toy.py:Failing", *SMALL, "--dir", "a b")
    assert (done.code, done.out) == (1, "")
    assert "Traceback" in done.err
    assert "ZeroDivisionError: what the task ran into" in done.err
    assert done.err.endswith("go on with: popgrad resume 'a b'\n")
    assert popgrad("show", "a b").code == 0


@pytest.mark.parametrize(("number", "executor"), [(signal.SIGINT, "serial"), (signal.SIGTERM, "processes")])
def test_a_run_that_is_stopped_is_gone_on_with_as_if_it_never_was(
    number: signal.Signals, executor: str
) -> None:
    small = ("run", "toy.py:Toy", "--population", "3", "--intervals", "4", "--interval", "5", "--dir")
    program = start_program(*small, "here", "--executor", executor, "--workers", "1", HOLD="yes")
    assert program.stderr is not None
    while not (line := program.stderr.readline()).startswith("2/4 intervals"):
        assert line, "the run ended before it could be stopped"
    assert popgrad("show", "here").code == 0  # in progress
    program.send_signal(number)
    out, err = program.communicate(timeout=100)
    assert (program.returncode, out) == (130, "")
    assert err.endswith("popgrad: interrupted; go on with: popgrad resume here\n")
    assert popgrad("show", "here", "--json").json["stopped"] == "unfinished"
    assert popgrad("resume", "here", "--executor", "serial").code == 0
    assert popgrad(*small, "there", "--executor", "serial").code == 0
    assert record("here") == record("there")


# --- mistakes ---


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--populatin", "3"), "No such option: --populatin"),
        (("--population", "many"), "'--population': given 'many'; a whole number is allowed"),
        (("--population", "0"), "population: given 0; Input should be greater than or equal to 1"),
        (("--population", "1"), "population: given 1; pbt copies between members and needs at least 2"),
        (("--intervals", "1.5"), "'--intervals': given '1.5'; a whole number is allowed"),
        (("--interval", "1 epoch"), "a Quadratic counts no epochs; give a number of steps"),
        (("--interval", "soon"), "interval: given 'soon'; an interval is a number of steps"),
        (("--strategy", "hope"), "strategy: given 'hope'; there is pbt, random-search"),
        (("--fraction", "0.7"), "fraction = 0.7: the share of members replaced has to be in [0, 0.5]"),
        (("--fraction", "half"), "'--fraction': given 'half'; a number is allowed"),
        (("--burn-in", "-1"), "burn_in = -1: a number of intervals, 0 or more"),
        (("--seed", "-1"), "seed: given -1; Input should be greater than or equal to 0"),
        (("--executor", "magic"), "executor: given 'magic'; there is "),
        (("--workers", "0"), "workers: given 0; Input should be greater than or equal to 1"),
        (("--device", "cuda:99"), "device 'cuda:99' does not exist here"),
        (("--max-time", "soon"), "max_time: given 'soon'"),
        (("--target-score", "nan"), "target_score: given nan"),
        (("--initial", "none.json"), "--initial: cannot read none.json"),
        (("--initial", "toy.py"), "--initial: cannot read toy.py"),
        (("--from", "none"), "weights: a Quadratic has none to start from"),
        (("--dir", "toy.py"), "the directory toy.py exists"),
        (("--dir", "toy.py/x"), "the directory toy.py/x cannot be made"),
        (("--set", "seed"), "--set 'seed': write key=value"),
        (("--set", "strategy.temperature=1"), "strategy pbt has no option 'temperature'; it has "),
        (("--set", "sede=1"), "task quadratic has no option 'sede'; it has lr"),
        (("--set", "lr=fast"), "task quadratic, option lr: given 'fast'"),
        (("--set", "task.x=1"), "--set 'task.x=1': 'task' is not a table"),
        (("--set", "space.h0.kind=odd"), "space.h0: kind = 'odd' is not known; use one of "),
    ],
)
def test_a_wrong_option_is_named_with_what_was_given_and_is_allowed(argv: tuple[str, ...], said: str) -> None:
    assert said in refused("run", "quadratic", *SMALL, *argv)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("fly",), "No such command 'fly'; see popgrad --help"),
        (("run",), "Missing argument 'TASK|CONFIG'; see popgrad run --help"),
        (("run", "nothing"), "there is no task 'nothing'; there is digits, "),
        (("run", "toy.py:Gone"), "task toy.py:Gone: toy.py has no 'Gone'"),
        (("run", "gone.py:Toy"), "there is no task file gone.py"),
        (("run", "gone_module:Toy"), "task module 'gone_module' cannot be imported"),
        (("run", "toy.py:os"), "toy.py:os is a module, no task: it has no space"),
        (("run", "none.toml"), "cannot read none.toml"),
        (("show", "."), "DIR: given ., which holds no run"),
        (("show", "toy.py"), "DIR: given toy.py, which holds no run"),
        (("test", "nowhere"), "which is neither the directory of a run"),
        (("schedule", "."), "DIR: given ., which holds no run"),
        (("schedule", ".", "--csv", "--json"), "--csv, --json: given both; give one"),
        (("resume", "nowhere"), "DIR: given nowhere, which holds no run"),
        (("data", "imagenet"), "'imagenet' is unknown; known are "),
    ],
)
def test_what_is_not_there_is_named(argv: tuple[str, ...], said: str) -> None:
    assert said in refused(*argv)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.toml", "x = ", "c.toml is not TOML"),
        ("c.toml", "population = 4", "task is missing"),
        ("c.toml", 'task = "quadratic"\npopulatoin = 4', "unknown key 'populatoin'; known are task, "),
        ("c.toml", 'task = "quadratic"\nstrategy = 3', "strategy: given 3"),
        ("c.toml", 'task = "quadratic"\nseed = 2020-01-01', "seed: given "),
        ("c.toml", b"\xff\xfe", "cannot read c.toml"),
        ("c.json", "{", "c.json is not JSON"),
        ("c.json", "[" * 100_000, "c.json is not JSON"),
        ("c.json", "[1]", "c.json holds a list; a configuration is a table of keys"),
        ("c.json", '{"task": "quadratic", "population": "many"}', "population: given 'many'"),
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
        ('[{"h0": 7}]', "initial[0].h0: given 7.0, allowed is uniform 0.0..1.0"),
        ('[{"h9": 1}]', "initial[0]: unknown hyperparameter h9; has h0, h1"),
        ('[{"h0": NaN}]', "given nan"),
        (json.dumps([{}] * 5), "initial: given 5 sets of hyperparameters for 4 members"),
    ],
)
def test_wrong_initial_hyperparameters_are_named(text: str, said: str) -> None:
    Path("i.json").write_text(text)
    assert said in refused("run", "quadratic", *SMALL, "--initial", "i.json")


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", b"\xff" * 64])
def test_weights_that_cannot_be_read_are_named(content: bytes | None) -> None:
    if content is not None:
        Path("w.safetensors").write_bytes(content)
    assert "cannot read weights from w.safetensors" in refused("run", "digits", "--from", "w.safetensors")


IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.mark.parametrize("content", [None, b"", b"foreign", gzip.compress(bytes(range(256)) * 9)[:99]])
def test_data_files_that_cannot_be_used_are_named(content: bytes | None) -> None:
    Path("files").mkdir()
    if content is not None:
        for name in IDX_FILES:
            Path("files", f"{name}.gz").write_bytes(content)
    said = refused("run", "mnist-fc", *SMALL, "--data-dir", "files", "--dir", "here")
    assert "files" in said
    assert "-ubyte" in said


def test_data_that_is_missing_in_the_middle_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(config: object, parts: object, directory: Path, watch: object) -> None:
        directory.mkdir()
        (directory / "journal.db").touch()
        raise DataError("the disk is gone")

    monkeypatch.setattr(training, "start", start)
    said = refused("run", "quadratic", *SMALL, "--dir", "here")
    assert said == "popgrad: the disk is gone; go on with: popgrad resume here\n"


WORDS = [
    *("schedule", "--csv", "--merged"),
    *("train", "convert", "--mode", "parallel", "--epochs", "--events", "--debug", "--member", "--best"),
    *(
        "run",
        "show",
        "test",
        "resume",
        "tasks",
        "data",
        "fly",
        "quadratic",
        "toy.py:Toy",
        "toy.py",
        "digits",
        ":",
        "-",
    ),
    *(
        "--population",
        "--intervals",
        "--interval",
        "--strategy",
        "--fraction",
        "--burn-in",
        "--seed",
        "--executor",
    ),
    *(
        "--workers",
        "--device",
        "--max-time",
        "--target-score",
        "--initial",
        "--from",
        "--dir",
        "--data-dir",
        "--set",
    ),
    *(
        "--no-test",
        "--json",
        "--help",
        "--",
        "-h",
        "--version",
        "--no-such",
        "serial",
        "processes",
        "pbt",
        "4",
        "-4",
    ),
    *(
        "random-search",
        "1 epoch",
        "0.5",
        "nan",
        "1e400",
        "9" * 30,
        "",
        " ",
        "seed=1",
        "seed=x",
        "lr=[1",
        "=",
        "a.b.c=1",
    ),
    *(
        "options=1",
        "space={}",
        "space.h0=1",
        "strategy=1",
        "strategy.name=7",
        "initial=[{}]",
        "interval=[]",
        "\x00",
    ),
    *(
        "\udcff",
        "é←",
        "/dev/null",
        "/",
        "cuda",
        "cuda:0,1",
        "10m",
        "-5s",
        "nowhere.toml",
        "toy.json",
        "task=5",
    ),
]


@given(st.lists(st.sampled_from(WORDS), max_size=9), st.booleans())
def test_no_command_line_ends_in_a_traceback(finished: Path, words: list[str], sensible: bool) -> None:
    argv = ["run", "quadratic", "--interval", "4", *words] if sensible else words
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "start", lambda *_, **__: load(finished))
        patch.setattr(keeping, "download", lambda *_, **__: [])
        patch.setattr(training, "train_one", lambda *_, **__: load(finished), raising=False)
        done = popgrad(*argv)
    assert done.code in (0, 2)
    assert "Traceback" not in done.err
    if done.code == 2:
        assert done.err.startswith("popgrad: ")
        assert done.err.count("\n") == 1
