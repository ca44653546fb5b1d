"""The program: its help, its output for machines, one line for whatever is wrong on the command line."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

# Imported here: a first import while `start` is replaced would keep the replacement.
from popgrad.runs import replay, vanilla  # noqa: F401
from popgrad.runs.api import load
from program import SMALL, Done, popgrad, refused


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


def test_tables_are_not_cut_where_standard_output_is_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    space = ", ".join(
        f'hyperparameter_number_{i} = {{kind = "uniform", low = 0.0, high = 1.0}}' for i in range(9)
    )
    done = popgrad("run", "quadratic", *SMALL, "--set", f"space={{{space}}}")
    assert done.code == 0
    assert "…" not in done.out
    assert max(map(len, done.out.splitlines())) < 400


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("fly",), "there is no command 'fly'; see popgrad --help"),
        (("run",), "Missing argument 'TASK|CONFIG'; see popgrad run --help"),
        (("run", "nothing"), "there is no task 'nothing'; there is digits, "),
        (("run", "toy.py:Gone"), "task toy.py:Gone: toy.py has no 'Gone'"),
        (("run", "gone.py:Toy"), "there is no task file gone.py"),
        (("run", "gone_module:Toy"), "task module 'gone_module' cannot be imported"),
        (("run", "toy.py:os"), "toy.py:os is a module, not a task: it lacks space"),
        (("run", "none.toml"), "cannot read none.toml"),
        (("show", "."), "DIR: . holds no run"),
        (("show", "toy.py"), "DIR: toy.py holds no run"),
        (("test", "nowhere"), "nowhere holds no run"),
        (("schedule", "."), "DIR: . holds no run"),
        (("schedule", ".", "--csv", "--json"), "--csv, --json: given both; give one"),
        (("resume", "nowhere"), "DIR: nowhere holds no run"),
        (("data", "imagenet"), "data set: expected one of fashion-mnist, mnist, got 'imagenet'"),
    ],
)
def test_what_is_not_there_is_named(argv: tuple[str, ...], said: str) -> None:
    assert said in refused(*argv)


WORDS = [
    *("schedule", "--csv", "--merged"),
    *(
        "train",
        "convert",
        "--mode",
        "parallel",
        "--epochs",
        "--events",
        "--debug",
        "--member",
        "--best",
    ),
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
def test_no_command_line_ends_in_a_traceback(
    finished: Path, words: list[str], sensible: bool
) -> None:
    argv = ["run", "quadratic", "--interval", "4", *words] if sensible else words
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("popgrad.runs.api.start", lambda *_, **__: load(finished))
        patch.setattr("popgrad.data.download", lambda *_, **__: [])
        patch.setattr("popgrad.runs.vanilla.train", lambda *_, **__: load(finished))
        done = popgrad(*argv)
    assert done.code in (0, 2)
    assert "Traceback" not in done.err
    if done.code == 2:
        assert done.err.startswith("popgrad: ")
        assert done.err.count("\n") == 1
