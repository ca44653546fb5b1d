"""Configurations and command lines of every kind: each runs, or is refused in one line with exit code 2."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popgrad import data
from popgrad.cli import app, watch
from popgrad.cli.app import command as command_named
from popgrad.config.model import RunConfig
from popgrad.core.errors import UsageError
from popgrad.dashboard import serve
from popgrad.executors.ray import cluster
from program import Done, popgrad

SMALL = {"population": 3, "intervals": 2, "interval": "2", "executor": "serial", "outputs": False}
STUDY = {
    "population": 3,
    "intervals": 2,
    "interval": "2",
    "score": "x",
    "space": {"lr": {"kind": "uniform", "low": 0, "high": 1}},
}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every cluster: dozens of them, one after the other, take minutes and at times never answer."""

    def refuse(address: str, options: object) -> None:
        raise UsageError(
            f"address: expected a running cluster, got {address!r}; there is none here"
        )

    monkeypatch.setattr(cluster, "_init", refuse)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the view of a study, which is in progress until its callers have trained it."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "_pause", interrupt)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt no server: it answers nothing, and ends as soon as it listens."""
    monkeypatch.setattr(serve.Server, "run", lambda _: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, and files that options may name."""
    folder = tmp_path_factory.mktemp("fuzz")
    with inside(folder):
        Path("small.json").write_text(json.dumps({"task": "quadratic", **SMALL}))
        Path("initial.json").write_text('[{"h0": 0.5}]')
        Path("original.json").write_text(
            '{"general": {"model": "fc"}, "train": {"num_worker_tot": 2}}'
        )
        assert popgrad("run", "small.json", "--dir", "run").code == 0
        net = {"task": "digits", "options": {"n_hiddens": [4]}, **SMALL, "intervals": 1}
        Path("net.json").write_text(json.dumps(net))
        assert popgrad("run", "net.json", "--dir", "net", "--no-test").code == 0
        start_study()
    return folder


def start_study() -> None:
    """Start a study in the working directory, and write the token of its first assignment."""
    Path("study.json").write_text(json.dumps(STUDY))
    assert popgrad("study", "study", "study.json").code == 0
    Path("token").write_text(popgrad("ask", "study").json["token"])


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def check(done: Done, argv: object) -> None:
    """It worked, was interrupted, or a user reads one line that says what to do."""
    assert done.code in (0, 2, 130), (argv, done)
    assert "Traceback" not in done.err, (argv, done)
    if done.code == 2:
        assert done.out == "", (argv, done)
        last = done.err.splitlines()[-1]  # notes on what has no effect may come before it
        assert last.startswith("popgrad: "), (argv, done)
        assert len(last) < 1_500, (argv, done)


# Configurations

ABSURD: list[Any] = [
    *(0, -1, 1.5, 10**30, -(10**30), 1e308, True, False, "", " ", "x", "\x1b[2J", "é←", "9" * 99),
    *(
        [],
        [1],
        [[]],
        {},
        {"x": 1},
        {"name": 5},
        {"kind": "uniform"},
        ["x", 1, {}],
        "../..",
        "/dev/null",
        "1e999",
    ),
]
NEAR: dict[str, list[Any]] = {
    "task": [
        "quadratic",
        "Quadratic",
        "quadratic:",
        ":quadratic",
        "os:mkdir",
        "json:loads",
        "nowhere.py:Task",
    ],
    "options": [
        {},
        {"lr": 0.1},
        {"lr": "0.1"},
        {"lr": []},
        {"lr": 10**400},
        {"score": "p"},
        {"space": {}},
    ],
    "space": [
        {},
        {"h0": {"kind": "uniform", "low": 0, "high": 1}},
        {"h0": {"kind": "uniform", "low": 1, "high": 0}},
        {
            "h0": {"kind": "constant", "value": 0.5},
            "h2": {"kind": "choice", "options": ["a", True, 1, 1.0]},
        },
        {"h0": {"kind": "choice", "options": []}},
        {"h0": {"kind": "integer", "low": 0, "high": 2**60}},
        {"h1": {"kind": "log_uniform", "low": 5e-324, "high": 1.7e308}},
        {"h1": {"kind": "one_minus", "low": 0.5, "high": 1}},
        {"a b": {"kind": "constant", "value": 1}},
        {"h3": {"kind": "ordinal", "options": [1, 2, 3], "init_only": True}},
    ],
    "population": [1, 2, 4, "4", "four", 100_001, 10**12],
    "intervals": [1, 2, "2", 2.0, None],
    "interval": [1, "2 steps", "1 epoch", "2 steps within epochs", "1 week", "0", 2**63, "9" * 40],
    "epochs": [1, 2, "1"],
    "seed": [0, 2**63 - 1, 2**63, "7", 2**64],
    "strategy": [
        "pbt",
        "random-search",
        "schedule",
        "custom",
        {"name": "pbt", "fraction": 0.5},
        {"name": "pbt", "fraction": 0.6},
        {"fraction": 1e-300, "burn_in": 2**62},
        {"factors": []},
        {"factors": [0.5, "x"]},
        {"factors": [5e-324, 1e308]},
        {"resample_probability": 2},
        {"name": "schedule", "phases": [{"step": 2, "h0": 0.1}]},
        {"name": "schedule", "phases": [{"step": 0, "h0": "x"}, {"epoch": 1}, 5]},
        {"name": "pbt", "phases": []},
    ],
    "executor": ["serial", "Serial", "ray", "vectorised"],
    "workers": [1, 2**40],
    "device": ["cpu", "auto", "cuda", "cuda:99", "cuda:", "cpu:0", "meta", "mps"],
    "max_time": [1e-9, "1s", "0.1h", "1 y", "-1s"],
    "target_score": [-1e308, 1e308, "0.5"],
    "initial": [
        [{}],
        [{"h0": 0.5}],
        [{"h0": 2}],
        [{"h9": 1}],
        [{"h0": "x"}],
        [{}] * 9,
        [{"h0": None}],
    ],
    "weights": ["nowhere", "small.json", ".", "run", "a\0b"],
    "data_dir": ["nowhere", "small.json", "a\0b"],
    "load": ["nowhere", ".", "small.json", "run", "a\0b"],
    "runs_dir": ["runs", "small.json", "small.json/x", "a\0b", "x" * 300, ""],
    "checkpoint_every": [1, 2, 2**63],
    "durability": ["process", "power", "Power"],
    "log_every": [1, 2**63],
    "outputs": [False, "false", "no", "maybe"],
    "events": [False, "false"],
    "sleep": [0, 1e9, 1e10],
    "made_with": [{}, {"python": "2.7"}, {"python": 3}],
}
KEYS = [*RunConfig.model_fields, "unknown"]
CHANGES = st.sampled_from(KEYS).flatmap(
    lambda key: st.tuples(st.just(key), st.sampled_from([*NEAR.get(key, []), *ABSURD]))
)


def started(values: dict[str, Any], folder: Path) -> Done:
    with inside(folder):
        Path("fuzz.json").write_text(json.dumps(values))
        return popgrad("run", "fuzz.json")


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("key", KEYS)
def test_any_value_of_a_key_runs_or_is_refused(key: str, finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "copy"))
    for value in [*NEAR.get(key, []), *ABSURD]:
        values = {"task": "quadratic", **SMALL, key: value}
        check(started(values, folder), values)


@settings(max_examples=100)
@given(st.lists(CHANGES, min_size=2, max_size=4))
def test_any_configuration_runs_or_is_refused(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, Any]]
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("config") / "copy"))
    values = {"task": "quadratic", **SMALL, **dict(changes)}
    check(started(values, folder), values)


# Command lines

NUMBERS = [
    "1",
    "2",
    "0",
    "-1",
    "3",
    "0.5",
    "nan",
    "-inf",
    "1e400",
    "9" * 30,
    "",
    "x",
    "\x1b[2J",
    "٣",
]
VALUES: dict[str, list[str]] = {  # by what the help says an option takes
    "TASK|CONFIG": [
        "quadratic",
        "small.json",
        "original.json",
        "nowhere.toml",
        "json:loads",
        "run",
        "\x1b",
        "",
    ],
    "DIR": [
        "run",
        "net",
        "study",
        ".",
        "nowhere",
        "new",
        "small.json",
        "small.json/x",
        "",
        "~",
        "\x1b[2J",
    ],
    "[FOLDER]": [".", "run", "nowhere", "small.json", "", "~", "x" * 300, "\x1b[2J"],
    "[DIR]...": ["run", ".", "nowhere", "small.json", "", "\x1b[2J"],
    "DIR...": ["run", ".", "study", "nowhere", "small.json", "", "\x1b[2J"],
    "NAMES": [
        "pbt",
        "random-search,pbt:fraction=0.5",
        "pbt:fraction=9",
        "pbt:factors=[1,2],pbt",
        "pbt,pbt",
        "pbt:name=x",
        "pbt:",
        ",",
        "",
        "\x1b[2J",
    ],
    "FILE": ["initial.json", "original.json", "small.json", "nowhere.json", "run", "", "a.toml"],
    "WHAT": ["run", ".", "pretrained:x", "pretrained:../../x", "run/checkpoints/0.safetensors", ""],
    "WEIGHTS": ["run", "nowhere", "small.json", ""],
    "N": NUMBERS,
    "X": NUMBERS,
    "KEY=VALUE": [
        "seed=1",
        "lr=0.1",
        "lr=x",
        "=",
        "a.b.c=1",
        "task=5",
        "space.h0=1",
        "initial=[{}]",
        "x",
        "lr=[1",
    ],
    "LENGTH": ["2", "1 epoch", "0", "x"],
    "NAME": [
        "serial",
        "pbt",
        "random-search",
        "schedule",
        "mnist",
        "vectorised",
        "ray",
        "",
        "\x1b[2J",
    ],
    "DEVICE": ["cpu", "auto", "cuda:99", "", "x"],
    "TIME": ["1s", "0", "x", "1e-9"],
    "FIGURE": ["lineage", "founders", "results", "timeline", "lin", "", "\x1b[2J"],
    "FORMAT": ["alife", "newick", "dot", "csv", "parquet", "json", "xml", "", "\x1b[2J"],
    "WxH": ["4x3", "3", "x", "0x0", "1e9x1", "nanx1", "", "٣x٣"],
    "MODE": ["train", "traintest", "test", "val", "x"],
}
FIRST = {  # what makes each run short, where there is nothing wrong with the rest
    "run": [
        "quadratic",
        "--population=3",
        "--intervals=2",
        "--interval=2",
        "--executor=serial",
        "--debug",
    ],
    "train": [
        "small.json",
        "--set=population=1",
        "--set=initial=[{h0=0.5, h1=0.5}]",
        "--mode=train",
        "--debug",
    ],
    "resume": ["run", "--executor=serial"],
    **{name: ["run"] for name in ("replay", "show", "watch", "schedule", "test")},
    **{name: ["run"] for name in ("report", "gc", "doctor")},
    "list": ["."],
    "plot": ["run", "lineage"],
    "export": ["run", "--format=csv"],
    "soup": ["net"],
    "convert": ["original.json"],
    "data": ["mnist"],
    "tasks": [],
    "strategies": [],
    "new": ["script.py"],
    "check": ["quadratic"],
    "benchmark": [
        "quadratic",
        "--population=2",
        "--intervals=2",
        "--interval=1",
        "--executor=serial",
        "--seeds=1",
        "--debug",
    ],
    "compare": ["run"],
    "study": ["other", "study.json"],
    "ask": ["study"],
    "dashboard": ["run", "--port=0"],
    "ablate": ["run", "--seeds=2", "--no-random-search"],
    "tell": ["study", "TOKEN", "x=1", "--path=place"],
}
COMMANDS: Any = {name: command_named(name) for name in app.COMMANDS}


def parameter_values(parameter: Any) -> list[str]:
    shown = parameter.metavar or parameter.type.name.upper()
    return VALUES.get(shown, [*NUMBERS, *VALUES["DIR"]])


def words(parameter: Any) -> st.SearchStrategy[str]:
    """A parameter of a command as words of a command line."""
    option = parameter.opts[-1] if parameter.opts[-1].startswith("-") else ""
    if getattr(parameter, "is_flag", False):
        return st.just(option)
    return st.sampled_from(parameter_values(parameter)).map(
        lambda value: f"{option}={value}" if option else value
    )


def lines(command: str) -> st.SearchStrategy[list[str]]:
    anything = st.sampled_from(["--no-such", "--", "-x", "more", "\x1b[2J", "--json"])
    given = st.one_of(*(words(each) for each in COMMANDS[command].params), anything)
    first = st.sampled_from([FIRST[command]] * 9 + [[]])
    return st.builds(
        lambda begin, rest: [command, *begin, *rest], first, st.lists(given, max_size=3)
    )


def with_token(argv: list[str]) -> list[str]:
    """Return words in which the token of the study in the working directory stands for TOKEN."""
    return [Path("token").read_text() if word == "TOKEN" else word for word in argv]


def called(folder: Path, argv: list[str]) -> Done:
    with inside(folder), pytest.MonkeyPatch.context() as patch:
        argv = with_token(argv)
        patch.setattr(data, "download", lambda *_, **__: [])
        patch.setattr("webbrowser.open", lambda _: True)
        patch.setenv("POPGRAD_DATA", "nowhere")
        return popgrad(*argv)


EXAMPLES = {"check": 6}
"""Command lines to try of the commands that take seconds each; 25 of all others."""


def test_every_command_is_tried_and_works(finished: Path, tmp_path: Path) -> None:
    assert FIRST.keys() == COMMANDS.keys()
    for command, first in FIRST.items():
        folder = Path(shutil.copytree(finished, tmp_path / command))
        done = called(folder, [command, *first])
        assert done.code == 0, (command, done)


@pytest.mark.parametrize("command", COMMANDS)
def test_any_command_line_runs_or_is_refused(
    command: str, finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(max_examples=EXAMPLES.get(command, 25))
    @given(lines(command))
    def tried(argv: list[str]) -> None:
        folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp(command) / "copy"))
        check(called(folder, argv), argv)

    tried()
