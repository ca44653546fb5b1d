"""Files of somebody else's making: each is used, or refused in one line; nothing in it is ever executed."""

import gzip
import json
import os
import pickle
import shutil
import sqlite3
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save, save_file

from popgrad import load, load_model, resume
from popgrad.core.errors import DataError, PopgradError, RunError, UsageError
from popgrad.data import read_folder, read_idx
from popgrad.data.datasets import load as load_data
from popgrad.record.schedule import Schedule
from popgrad.state import digest, digest_leaves
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.database import add
from popgrad.tasks import Quadratic
from program import Done, popgrad, refused

ZEROS = torch.zeros(3)


@pytest.fixture(autouse=True)
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of one's own; code that is executed leaves a mark in it, and fails the test."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "executed").exists()


class Exploit:
    """Executed when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def torch_file(path: Path) -> None:
    torch.save({"model": Exploit()}, path)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../executed/x", b"")
        file.writestr("archive/data.pkl", pickle.dumps(Exploit()))


def header(size: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(struct.pack("<Q", size) + b"{}") and None


def tensor(**changes: Any) -> Callable[[Path], None]:
    """A safetensors file with one tensor, whose description is changed."""
    described = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12], **changes}
    about = {"__metadata__": {"tree": '{"d": [["x", {"t": 0}]]}', "complex": "[]"}, "0": described}
    text = json.dumps(about).encode()
    return lambda path: path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(12)) and None


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "pickle": lambda path: path.write_bytes(pickle.dumps(Exploit())),
    "torch.save": torch_file,
    "zip": archive,
    "nothing": lambda path: path.touch(),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "header without end": header(2**60),
    "header of all": header(2**64 - 1),
    "deep header": lambda path: path.write_bytes(struct.pack("<Q", 800_000) + b'{"a":' * 160_000),
    "shape overflows": tensor(shape=[2**33, 2**33]),
    "shape overflows at zero": tensor(shape=[2**62, 2**62, 0], data_offsets=[0, 0]),
    "shape below zero": tensor(shape=[-3]),
    "shape of many": tensor(shape=[3] + [1] * 10_000),
    "shape that is a text": tensor(shape="3"),
    "offsets beyond the end": tensor(data_offsets=[0, 2**40]),
    "unknown type": tensor(dtype="PICKLE"),
}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    made = Checkpoints(tmp_path / "checkpoints")
    made.folder.mkdir()
    return made


@pytest.mark.parametrize("what", FOREIGN)
def test_a_checkpoint_that_is_another_file_is_refused(checkpoints: Checkpoints, what: str) -> None:
    name = "0" * 64
    FOREIGN[what](checkpoints.path(name))
    with pytest.raises(RunError, match=r"^[^\n]*0\.safetensors[^\n]*$"):
        checkpoints.load(name)


TREES: dict[str, tuple[Any, int]] = {  # the tree, and how many leaves there are
    "a leaf that is not there": ({"d": [["x", {"t": 1}]]}, 1),
    "a leaf below zero": ({"d": [["x", {"t": -1}]]}, 1),
    "a huge leaf": ({"d": [["x", {"t": 10**30}]]}, 1),
    "a leaf with a text": ({"d": [["x", {"t": "0"}]]}, 1),
    "a leaf with a fraction": ({"d": [["x", {"t": 0.5}]]}, 1),
    "a leaf twice": ({"d": [["x", {"t": 0}], ["y", {"t": 0}]]}, 1),
    "a leaf left over": ({"d": []}, 1),
    "an unknown kind": ({"d": [["x", {"pickle": "gASV"}]]}, 0),
    "two kinds": ({"d": [["x", {"t": 0, "n": 0}]]}, 1),
    "no kind": ({"d": [["x", {}]]}, 0),
    "no float": ({"d": [["x", {"f": "__import__('os')"}]]}, 0),
    "a float of another type": ({"d": [["x", {"f": 5}]]}, 0),
    "a float beyond all": ({"d": [["x", {"f": "0x1p99999"}]]}, 0),
    "a float in another way": ({"d": [["x", 0.5]]}, 0),
    "no pairs": ({"d": 5}, 0),
    "a pair of one": ({"d": [["x"]]}, 0),
    "a key that is a list": ({"d": [[["x"], 1]]}, 0),
    "a key that is nothing": ({"d": [[None, 1]]}, 0),
    "a key twice": ({"d": [["x", 1], ["x", 2]]}, 0),
    "a list that is a text": ({"d": [["x", {"l": "abc"}]]}, 0),
    "a list that is a number": ({"d": [["x", {"u": 3}]]}, 0),
    "a bare list": ([1, 2], 0),
    "a bare number": (5, 0),
    "a list at the top": ({"l": [1]}, 0),
}


@pytest.mark.parametrize("what", TREES)
def test_a_tree_that_no_state_has_is_refused_though_its_digest_is_right(
    checkpoints: Checkpoints, what: str
) -> None:
    tree, count = TREES[what]
    leaves = [ZEROS.clone() for _ in range(count)]
    name = digest_leaves(tree, leaves)
    about = {"popgrad": "1", "tree": json.dumps(tree), "complex": "[]"}
    checkpoints.path(name).write_bytes(
        save({str(i): leaf for i, leaf in enumerate(leaves)}, metadata=about)
    )
    with pytest.raises(RunError, match=r"is not a checkpoint that can be read: [^\n]+$"):
        checkpoints.load(name)


@pytest.mark.parametrize(
    ("tree", "parts"),
    [
        ("[" * 100_000, "[]"),
        ('{"d": [["k", ' * 320 + "1" + "]]}" * 320, "[]"),
        ("9" * 100_000, "[]"),
        ("[" + "[]," * 300_000 + "[]]", "[]"),
        ('{"d": [["x", {"t": 0}]]}', "[0]"),  # no complex number
        ('{"d": [["x", {"t": 0}]]}', "5"),
        ('{"d": [["x", {"t": 0}]]}', "{"),
    ],
    ids=["deep", "a deep tree", "a huge number", "long", "not complex", "no list", "no JSON"],
)
def test_what_a_checkpoint_says_of_itself_may_be_anything(
    checkpoints: Checkpoints, tree: str, parts: str
) -> None:
    name = "0" * 64
    save_file({"0": ZEROS}, checkpoints.path(name), metadata={"tree": tree, "complex": parts})
    with pytest.raises(RunError, match=r"^[^\n]{1,600}$"):
        checkpoints.load(name)


def test_files_of_others_are_not_deleted(checkpoints: Checkpoints, tmp_path: Path) -> None:
    others = tmp_path / "models"
    others.mkdir()
    for name in ("mine.safetensors", "half.part", "notes.txt"):
        (others / name).touch()
    checkpoints.folder.rmdir()
    checkpoints.folder.symlink_to(others)  # as somebody may hand a run on
    kept = checkpoints.save({"x": 1})
    assert checkpoints.leftovers() == []
    checkpoints.retain([])
    assert kept == digest({"x": 1})
    assert sorted(os.listdir(others)) == ["half.part", "mine.safetensors", "notes.txt"]


# A journal of somebody else's


COMMANDS = {
    "show": lambda place: popgrad("show", str(place)),
    "show --json": lambda place: popgrad("show", str(place), "--json"),
    "schedule": lambda place: popgrad("schedule", str(place)),
    "test": lambda place: popgrad("test", str(place)),
    "replay": lambda place: popgrad("replay", str(place)),
    "resume": lambda place: popgrad("resume", str(place), "--intervals", "4"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("finished") / "run"
    small = (
        "--population",
        "3",
        "--intervals",
        "3",
        "--interval",
        "2",
        "--executor",
        "serial",
        "--debug",
    )
    assert popgrad("run", "quadratic", *small, "--dir", str(place)).code == 0
    return place


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def change(place: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(place / "journal.db")) as database, database:
        assert database.execute(statement, values).rowcount != 0


def tell(place: Path, **facts: object) -> None:
    """Have the journal say something else of the run; `...` has it say nothing."""
    for key, value in facts.items():
        if value is ...:
            change(place, "DELETE FROM about WHERE key = ?", key)
        else:
            change(place, "INSERT OR REPLACE INTO about VALUES (?, ?)", key, json.dumps(value))


def configured(place: Path, **values: object) -> None:
    with closing(sqlite3.connect(place / "journal.db")) as database:
        (text,) = database.execute("SELECT value FROM about WHERE key = 'config'").fetchone()
    tell(place, config={**json.loads(text), **values})


def refused_by(command: str, place: Path) -> str:
    done = COMMANDS[command](place)
    assert done.code in (1, 2), done
    assert done.out == ""
    assert done.err.startswith("popgrad: ")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    return done.err


ABOUT: dict[str, dict[str, Any]] = {
    **{
        f"no {key}": {key: ...}
        for key in ("config", "space", "score", "given_task", "task_digest", "stopped")
    },
    **{
        f"{key} is a number": {key: 5}
        for key in ("config", "space", "score", "given_task", "task_digest")
    },
    "config is a list": {"config": []},
    "config is empty": {"config": {}},
    "config has a key of its own": {"config": {"task": "quadratic", "shell": "rm"}},
    "a huge population": {"config": {"task": "quadratic", "population": 10**15}},
    "space is a list": {"space": ["h0"]},
    "space of texts": {"space": {"h0": "uniform", "h1": "uniform"}},
    "space of unknown kinds": {"space": {"h0": {"kind": "os.system"}, "h1": {"kind": "uniform"}}},
    "space with a strange name": {"space": {"\x1b[2J": {"kind": "constant", "value": 1}}},
    "space with another name": {"space": {"lr": {"kind": "constant", "value": 1}}},
    "space without names": {"space": {}},
    "a bound beyond all": {
        "space": {"h0": {"kind": "uniform", "low": 0, "high": 10**400}, "h1": {}}
    },
    "score is nothing": {"score": None},
    **{
        f"sizes are {sizes!r}": {"sizes": sizes}
        for sizes in (3, [], ["3"], [3.5], [0], [True], [10**15], {"0": 3}, [1], [2, 2])
    },
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("what", ABOUT)
def test_what_a_journal_says_of_its_run_is_used_or_refused(
    what: str, command: str, place: Path
) -> None:
    tell(place, **ABOUT[what])
    refused_by(command, place)


def test_a_fingerprint_is_a_table(place: Path) -> None:
    tell(place, fingerprint=[1])
    assert "fingerprint" in refused_by("resume", place)


BLOB, HUGE = b"\x80\x04K\x01.", 2**63 - 1
DEEP = "[" * 50_000
CELLS: list[tuple[str, object]] = [
    *(("member", value) for value in (-1, 3, HUGE, 0.5, "one", BLOB)),
    *(("interval", value) for value in (-1, HUGE, 0.5, "one", BLOB)),
    *(("source_member", value) for value in (0.5, "one", BLOB, 7, -1)),
    *(("source_interval", value) for value in (0.5, "one", BLOB, 7, -1)),
    *(
        (name, value)
        for name in ("first_step", "steps", "samples")
        for value in (-1, 0.5, "one", BLOB)
    ),
    *(("seed", value) for value in (0.5, "one", BLOB)),
    *(
        (name, value)
        for name in ("hparams", "changes", "metrics")
        for value in (
            "",
            "{",
            "5",
            "[]",
            "null",
            DEEP,
            BLOB,
            '{"h0": [1]}',
            '{"h0": null}',
            7,
            "9" * 9_999,
        )
    ),
    *(("hparams", value) for value in ("{}", '{"h0": 0.5}', '{"h0": 0.5, "h1": 0.5, "h2": 0.5}')),
    *(("metrics", value) for value in ('{"q": "high"}', '{"q": {}}', f'{{"q": {"9" * 500}}}')),
    *(("score", value) for value in ("high", BLOB)),
    *(("digest", value) for value in ("../../secret", "/etc/passwd", "\x1b[2J", BLOB)),
    *((name, BLOB) for name in ("status", "error")),
]


@pytest.mark.parametrize(("column", "value"), CELLS)
def test_a_row_that_cannot_be_is_refused(column: str, value: object, place: Path) -> None:
    change(place, f"UPDATE segments SET {column} = ? WHERE member = 1 AND interval = 1", value)
    for command in COMMANDS:
        refused_by(command, place)


DECISIONS: dict[str, tuple[str, object]] = {
    "no plan": ("plan", "{}"),
    "a list": ("plan", "[]"),
    "deep": ("plan", DEEP),
    "bytes": ("plan", BLOB),
    "members of texts": ("plan", {"members": ["0", "1", "2"]}),
    "members beyond": ("plan", {"members": [0, 1, 9]}),
    "members below": ("plan", {"members": [0, 1, -1]}),
    "sources beyond": ("plan", {"sources": [0, 1, 10**30]}),
    "sources of fractions": ("plan", {"sources": [0, 1, 0.5]}),
    "too few": ("plan", {"sources": [0, 1]}),
    "a size of texts": ("plan", {"size": "3"}),
    "a size that is not that of the plan": ("plan", {"size": 2}),
    "a size that nobody was told of": ("plan", {"size": 3}),
    "no members": ("plan", {"members": [], "sources": [], "hparams": [], "changes": [], "size": 0}),
    "starts of texts": ("plan", {"starts": ["one", "two", "three"]}),
    "hparams of lists": ("plan", {"hparams": [[], [], []]}),
    "hparams of others": ("plan", {"hparams": [{}, {}, {}]}),
    "rests of numbers": ("plan", {"rests": [1, 0, 0]}),
    "too few rests": ("plan", {"rests": [True]}),
    "lengths without a shared budget": ("plan", {"lengths": [2, 2, 2]}),
    "lengths without end": ("plan", {"lengths": [10**12] * 3}),
    "roles of lists": ("plan", {"roles": [[], [], []]}),
    "transforms of texts": ("plan", {"transforms": ["shrink-perturb"] * 3}),
    "keeps what is not there": ("plan", {"keep": [[0, 99]]}),
    "archived from what is not there": ("plan", {"archived": [[0, 0, 99]]}),
    "archived for no member": ("plan", {"archived": [[9, 0, 0]]}),
    "a source of the archive without its segment": ("plan", {"sources": [-2, 1, 2]}),
    "memory is a list": ("memory", "[]"),
    "memory is deep": ("memory", DEEP),
}


@pytest.mark.parametrize("what", DECISIONS)
def test_a_decision_that_cannot_be_is_refused(what: str, place: Path) -> None:
    column, value = DECISIONS[what]
    if isinstance(value, dict):
        with closing(sqlite3.connect(place / "journal.db")) as database:
            (text,) = database.execute("SELECT plan FROM decisions WHERE number = 1").fetchone()
        value = json.dumps({**json.loads(text), **value})
    change(place, f"UPDATE decisions SET {column} = ? WHERE number = 1", value)
    refused_by("resume", place)


PARTS: dict[str, object] = {
    "a list": [],
    "evaluations without the score": {"evaluations": [[1, {}], [2, {"q": 1.0}]]},
    "evaluations out of order": {"evaluations": [[2, {"q": 1.0}], [1, {"q": 1.0}]]},
    "evaluations beyond its steps": {"evaluations": [[1, {"q": 1.0}], [10**30, {"q": 1.0}]]},
    "evaluations of texts": {"evaluations": [["one", {"q": 1.0}]]},
    "no samples": {"samples": {"q": []}},
    "samples of texts": {"samples": {"q": ["one"]}},
    "a length without end": {"length": 10**30},
    "a length below": {"length": 0},
    "a role that is a number": {"role": 5},
    "a long role": {"role": "a" * 201},
    "a transform without numbers": {"transform": ["shrink-perturb"]},
    "a transform of infinite numbers": {"transform": ["shrink-perturb", {"keep": "inf"}]},
}


@pytest.mark.parametrize("what", PARTS)
def test_parts_of_a_segment_that_cannot_be_are_refused(what: str, place: Path) -> None:
    with closing(sqlite3.connect(place / "journal.db")) as database, database:
        add(database, "parts", 1, 1, json.dumps(PARTS[what]))
    for command in COMMANDS:
        refused_by(command, place)


def test_sources_that_run_in_a_circle_are_refused(place: Path) -> None:
    change(
        place, "UPDATE segments SET source_member = member, source_interval = 2 WHERE interval = 1"
    )
    for command in COMMANDS:
        assert "circle" in refused_by(command, place)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON segments BEGIN DELETE FROM segments; END",
        "CREATE TABLE more (x)",
        "CREATE VIEW v AS SELECT load_extension('executed.so')",
        "CREATE INDEX i ON segments (score)",
        "ALTER TABLE segments ADD COLUMN x",
        "DROP TABLE decisions",
    ],
)
def test_tables_that_are_not_ours_are_refused(statement: str, place: Path) -> None:
    with closing(sqlite3.connect(place / "journal.db")) as database:
        database.executescript(statement)
    for command in COMMANDS:
        assert "other tables" in refused_by(command, place)


def test_a_view_in_place_of_a_table_is_refused(place: Path) -> None:
    with closing(sqlite3.connect(place / "journal.db")) as database:
        database.executescript(
            "ALTER TABLE segments RENAME TO hidden; CREATE VIEW segments AS SELECT * FROM hidden"
        )
    for command in COMMANDS:
        assert "other tables" in refused_by(command, place)


def test_a_pipe_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "journal.db")
    for command in COMMANDS:
        refused_by(command, tmp_path / "run")
    for use in (load, resume):
        with pytest.raises(PopgradError):
            use(tmp_path / "run")


def test_the_configuration_in_a_run_is_not_read_back(place: Path) -> None:
    (place / "run.toml").write_text('task = "os:mkdir"\noptions.path = "executed"\n')
    for command in COMMANDS.values():
        assert command(place).code == 0


# A task that a journal names


EVIL = "import os\nos.mkdir('executed')\nfrom popgrad.tasks import Quadratic\nready = Quadratic()\n"
GUARDED = {
    "resume": lambda place: resume(place),
    "winner": lambda place: load(place).winner,
    "popgrad replay": lambda place: raised(popgrad("replay", str(place))),
    "test": lambda place: load(place).test(),
    "popgrad resume": lambda place: raised(popgrad("resume", str(place), "--intervals", "4")),
    "popgrad test": lambda place: raised(popgrad("test", str(place))),
}


def raised(done: Done) -> None:
    if done.code:
        raise (UsageError if done.code == 2 else RunError)(done.err.strip())


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """`sys.path` for as long as the test lasts; modules that were imported meanwhile are forgotten."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield sys.path
    for name in set(sys.modules) - before:
        del sys.modules[name]


INSIDE = {
    "a file": lambda place: f"{place}/evil.py:ready",
    "a file by a way round": lambda place: f"{place}/checkpoints/../evil.py:ready",
    "a file from here": lambda place: f"{place.name}/evil.py:ready",
    "a link to a file": lambda place: f"{place.parent}/link.py:ready",
    "a module": lambda place: "evil:ready",
    "a package": lambda place: "pack:ready",
    "a module of a package": lambda place: "pack.evil:ready",
    "a folder as a package": lambda place: f"{place.name}.evil:ready",
    "a folder in a folder": lambda place: f"{place.parent.name}.{place.name}.evil:ready",
}


def with_evil(place: Path, paths: list[str]) -> None:
    """Code within the run, that is found by every way there is."""
    (place / "pack").mkdir()
    for name in ("evil.py", "pack/__init__.py", "pack/evil.py"):
        (place / name).write_text(EVIL)
    (place.parent / "link.py").symlink_to(place / "evil.py")
    paths[:0] = map(str, (place, place.parent, place.parent.parent))


@pytest.mark.parametrize("command", GUARDED)
@pytest.mark.parametrize("what", INSIDE)
def test_code_in_the_directory_of_a_run_is_not_executed(
    what: str, command: str, place: Path, paths: list[str]
) -> None:
    with_evil(place, paths)
    configured(place, task=INSIDE[what](place))
    with pytest.raises(
        UsageError, match=r"^[^\n]*in the directory of the run[^\n]*task=\.\.\.[^\n]*$"
    ):
        GUARDED[command](place)
    assert popgrad("show", str(place)).code == 0


@pytest.mark.parametrize("command", GUARDED)
def test_a_metric_in_the_directory_of_a_run_is_not_executed(
    command: str, place: Path, paths: list[str]
) -> None:
    with_evil(place, paths)
    configured(place, task="digits", options={"metric": f"{place}/evil.py:ready"})
    with pytest.raises(UsageError, match="in the directory of the run"):
        GUARDED[command](place)


@pytest.mark.parametrize("command", GUARDED)
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("os:mkdir", {"path": "executed"}),
        ("os:system", {"command": "mkdir executed"}),
        ("subprocess:run", {"args": ["mkdir", "executed"]}),
        ("subprocess:Popen", {"args": ["mkdir", "executed"]}),
        ("runpy:run_path", {"path_name": "evil.py"}),
        ("builtins:exec", {}),
        ("shutil:rmtree", {"path": "run"}),
        ("torch.serialization:load", {"f": "evil.pt", "weights_only": False}),
        ("numpy:load", {"file": "evil.npy", "allow_pickle": True}),
        ("popgrad.lookup:os", {}),
        ("popgrad.lookup:importlib", {}),
    ],
)
def test_what_makes_no_task_is_not_called(
    task: str, options: dict[str, Any], command: str, place: Path
) -> None:
    Path("evil.py").write_text(EVIL)
    torch_file(Path("evil.pt"))
    Path("evil.npy").write_bytes(pickle.dumps(Exploit()))
    configured(place, task=task, options=options)
    with pytest.raises(UsageError, match=r"^[^\n]+$"):
        GUARDED[command](place)
    assert place.is_dir()


def test_a_task_that_was_moved_out_of_a_run_can_be_given_again(
    place: Path, paths: list[str]
) -> None:
    with_evil(place, paths)
    configured(place, task=f"{place}/evil.py:ready", options={"lr": 0.01})
    assert resume(place, task=Quadratic(), intervals=4, allow_changed_task=True).winner.score < 1.2
    assert load(place, task=Quadratic()).test()


def test_a_task_beside_a_run_is_executed_as_ever(tmp_path: Path, paths: list[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "from popgrad.tasks import Quadratic\n\ndef make():\n    return Quadratic()\n"
    )
    small = (
        "--population",
        "2",
        "--intervals",
        "2",
        "--interval",
        "2",
        "--executor",
        "serial",
        "--debug",
    )
    assert popgrad("run", "mine.py:make", *small, "--dir", "mine").code == 0
    assert popgrad("resume", "mine", "--intervals", "3").code == 0
    assert load(tmp_path / "mine").test()


@pytest.mark.parametrize(
    "source", ["raise SystemExit(3)", "import sys\nsys.exit()", "raise ValueError('a\\nb')"]
)
def test_a_task_that_ends_the_program_is_a_mistake_as_any(source: str, paths: list[str]) -> None:
    Path("ends.py").write_text(source)
    for task in ("ends.py:Task", "ends:Task"):
        paths.insert(0, str(Path.cwd()))
        assert "ends" in refused("run", task)


# What reaches the terminal


COMMANDING = "\x1b[2J\x1b]0;title\x07\x9b31m\x7f\u202eevil"


def harmless(text: str) -> bool:
    return all(each.isprintable() or each == "\n" for each in text)


def test_what_a_journal_says_commands_no_terminal(place: Path) -> None:
    choice = {"kind": "choice", "options": [COMMANDING, "b"]}
    spec = {"kind": "uniform", "low": 0.0, "high": 1.0}
    tell(place, score=f"-{COMMANDING}", space={"h0": choice, "h1": spec})
    for member, interval in ((m, i) for m in range(3) for i in range(3)):
        where = f"WHERE member = {member} AND interval = {interval}"
        hparams = json.dumps({"h0": COMMANDING, "h1": 0.5})
        change(place, f"UPDATE segments SET hparams = ?, error = ? {where}", hparams, COMMANDING)
        change(
            place,
            f"UPDATE segments SET metrics = ? {where}",
            json.dumps({COMMANDING: 1.0, "q": 0.5}),
        )
    for command in ("show", "show --json", "schedule"):
        done = COMMANDS[command](place)
        assert done.code == 0
        assert harmless(done.out)
        assert "evil" in done.out
    assert r"\x1b]0;title" in COMMANDS["show"](place).out
    assert harmless(popgrad("schedule", str(place), "--csv").out)
    assert harmless(refused_by("resume", place))


@pytest.mark.parametrize(
    "argv",
    [
        (COMMANDING,),
        ("run", f"{COMMANDING}.toml"),
        ("run", f"{COMMANDING}.py:Task"),
        ("run", "quadratic", "--set", f"{COMMANDING}=1"),
        ("run", "quadratic", "--set", f"device={COMMANDING}"),
        ("run", "quadratic", f"--{COMMANDING}"),
        ("show", COMMANDING),
        ("convert", f"{COMMANDING}.json"),
        ("test", f"pretrained:{COMMANDING}"),
    ],
)
def test_a_mistake_is_repeated_without_commanding_the_terminal(argv: tuple[str, ...]) -> None:
    assert harmless(refused(*argv))


def test_a_place_with_a_strange_name_is_shown_escaped() -> None:
    small = (
        "--population",
        "2",
        "--intervals",
        "2",
        "--interval",
        "2",
        "--executor",
        "serial",
        "--debug",
    )
    done = popgrad("run", "quadratic", *small, "--dir", COMMANDING)
    assert done.code == 0
    assert Path(COMMANDING).is_dir()
    assert harmless(done.out + done.err)


@pytest.mark.parametrize(
    "task", ["../../x:Name", "a/b.py:Name;rm", "pretrained:../../x", "-", "x" * 5000]
)
def test_a_task_of_a_strange_name_is_none(task: str) -> None:
    assert "task" in refused("run", "--", task)
    assert "task" in refused("run", "--", f"{task}.py:Name")


@pytest.mark.parametrize(
    "name", ["../../x", "", "/etc/passwd", "fc/../fc", "fc.safetensors", "fc\n"]
)
def test_a_pretrained_network_is_one_of_those_that_there_are(name: str) -> None:
    message = refused("test", f"pretrained:{name}")
    assert "pretrained: expected one of fc, conv, fc-pbt, conv-pbt, got" in message


@pytest.mark.parametrize(
    "name", ["-", "~", "$(mkdir executed)", ";mkdir executed", "a b", "é←", "%s{0}"]
)
def test_a_directory_may_have_any_name(name: str) -> None:
    small = (
        "--population",
        "2",
        "--intervals",
        "2",
        "--interval",
        "2",
        "--executor",
        "serial",
        "--debug",
    )
    assert popgrad("run", "quadratic", *small, f"--dir={name}").code == 0
    assert popgrad("show", "--", name).code == 0
    assert os.listdir() == [name]


def test_a_directory_that_cannot_be_is_refused() -> None:
    Path("file").touch()
    for where in ("file", "file/x", "/proc/x"):
        assert "directory" in refused("run", "quadratic", "--dir", where)
        assert "directory" in refused("run", "quadratic", "--set", f'runs_dir="{where}"')
    assert "DIR" in refused("show", "x" * 5000)


# Weights, and configurations


@pytest.mark.parametrize(
    "what", [what for what in FOREIGN if what not in ("folder", "shape of many")]
)
def test_weights_that_are_another_file_are_refused(what: str) -> None:
    FOREIGN[what](Path("best.safetensors"))
    Path("best.json").write_text(
        '{"task": "digits", "options": {}, "hparams": {"lr": 0.1, "keep_prob": 1.0}}'
    )
    assert "best.safetensors" in refused(
        "run", "digits", "--from", "best.safetensors", "--executor", "serial"
    )
    with pytest.raises(UsageError, match=r"^[^\n]*best\.safetensors[^\n]*$"):
        load_model("best.safetensors")


NETWORK = {"lr": 0.1, "keep_prob": 1.0}
NETWORKS: dict[str, Any] = {
    "a list": [],
    "a task that is a number": {"task": 5, "hparams": {}},
    "a task that is a list": {"task": ["digits"], "hparams": {}},
    "a function of Python": {"task": "os:mkdir", "options": {"path": "executed"}, "hparams": {}},
    "no such option": {"task": "digits", "options": {"x": 1}, "hparams": {}},
    "sizes below zero": {"task": "digits", "options": {"n_hiddens": [-5]}, "hparams": NETWORK},
    "sizes beyond all": {"task": "digits", "options": {"n_hiddens": [10**12]}, "hparams": NETWORK},
    "code beside it": {"task": "evil.py:ready", "hparams": {}},
    "a module beside it": {"task": "evil:ready", "hparams": {}},
    "other hyperparameters": {"task": "digits", "hparams": {"lr": {}, "keep_prob": []}},
}


@pytest.mark.parametrize("what", NETWORKS)
def test_what_is_said_of_a_network_may_be_anything(what: str, paths: list[str]) -> None:
    Path("evil.py").write_text(EVIL)
    paths.insert(0, str(Path.cwd()))
    save_file({"w": ZEROS}, "best.safetensors")
    Path("best.json").write_text(json.dumps(NETWORKS[what]))
    with pytest.raises(UsageError, match=r"^[^\n]+$"):
        load_model("best.safetensors")


TOML = {
    "deep lists": "options.x = " + "[" * 5_000,
    "deep tables": "options.x = " + "{a=" * 5_000,
    "less deep": "options.x = " + "[" * 100 + "]" * 100,
    "a deep key": "options." + ".".join("a" * 500) + " = 1",
    "a huge number": "population = " + "9" * 5_000,
    "a huge number in hexadecimal": "population = 0x" + "f" * 9_000,
    "a huge option": "options.lr = 0x" + "f" * 9_000,
    "too many members": "population = 100001",
    "an interval without end": f'interval = "{"9" * 1_000}"',
    "nan": "target_score = nan",
    "inf": "max_time = inf",
    "a date": "options.x = 1979-05-27",
    "a key that commands": '"\\u001b[2J" = 1',
    "an option that commands": 'options."\\u001b[2J" = 1',
    "a place with NUL": 'runs_dir = "a\\u0000b"',
    "a long key": f"{'k' * 100_000} = 1",
    "many mistakes": "initial = [" + "1," * 50_000 + "]",
    "no text": b"\xff\xfe",
    "bytes": pickle.dumps(Exploit()),
    "a run that is none": 'load = "/"',
    "every type": "population = [1]\nspace = 3\nstrategy = [1]\ndevice = {}\ninitial = 0.5\ninterval = {}",
}
JSON = {
    "deep lists": '{"options": ' + "[" * 100_000,
    "a huge number": '{"population": ' + "9" * 100_000 + "}",
    "nan": '{"target_score": NaN}',
    "inf": '{"max_time": 1e999}',
    "a lone surrogate": '{"runs_dir": "\\ud800"}',
    "a lone surrogate as a key": '{"options": {"\\ud800": 1}}',
    "a place with NUL": '{"data_dir": "a\\u0000b"}',
    "no table": "[1]",
    "an original that is deep": '{"general": {"model": ' + "[" * 50 + "]" * 50 + "}}",
    "an original that is huge": '{"general": {"model": "fc"}, "train": {"num_worker_tot": 1'
    + "0" * 400
    + "}}",
    "an original with many members": '{"general": {"model": "fc"}, "train": {"num_worker_tot": 1000000000}}',
    "an original with keys that command": '{"general": {"model": "fc", "\\u001b[2J": 1}}',
    "an original of other types": '{"general": {"model": {"fc": []}}, "train": 5}',
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((f"{what}.toml", text) for what, text in TOML.items()),
        *((f"{what}.json", text) for what, text in JSON.items()),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_one_short_line(
    name: str, text: str | bytes
) -> None:
    task = b'task = "quadratic"\n' if name.endswith(".toml") else b""
    Path(name).write_bytes(task + (text if isinstance(text, bytes) else text.encode()))
    said = refused("run", name)
    assert harmless(said)
    assert len(said) < 1_000
    assert os.listdir() == [name]


def test_a_configuration_without_end_is_refused() -> None:
    Path("zero.toml").symlink_to("/dev/zero")
    os.mkfifo("pipe.json")
    with Path("large.toml").open("wb") as file:
        file.truncate(1 << 40)
    for name in ("zero.toml", "pipe.json", "large.toml"):
        assert "cannot read" in refused("run", name)


def test_hyperparameters_to_begin_with_may_be_anything() -> None:
    for text in (
        "[" * 100_000,
        "[1]",
        '[{"lr": NaN}]',
        "9" * 100_000,
        "\ud800".encode("utf-8", "surrogatepass"),
    ):
        Path("initial.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        assert "initial" in refused("run", "quadratic", "--initial", "initial.json")


# Data


def test_images_that_fit_into_no_memory_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("L", (4096, 4096)).save(folder / "0_0.png")
    for i in range(1, 20_000):
        (folder / f"{i}_0.png").touch()
    with pytest.raises(DataError, match=r"images[^\n]*$"):
        read_folder(folder)


def test_a_place_of_data_with_too_long_a_name_is_not_there() -> None:
    for name in ("x" * 5_000, "a\0b"):
        with pytest.raises(DataError, match="is not complete in"):
            load_data("mnist", name)


def test_data_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes([0, 0, 8, 1, 0, 0, 0, 9]))
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match="takes 9 bytes after the header, found more"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_network_whose_description_is_deep_is_refused() -> None:
    save_file({"w": ZEROS}, "best.safetensors")
    Path("best.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match=r"^cannot read best\.json[^\n]+$"):
        load_model("best.safetensors")


def test_a_lock_that_leads_elsewhere_is_not_emptied(place: Path) -> None:
    mine = place.parent / "mine.txt"
    mine.write_text("mine")
    (place / "lock").unlink(missing_ok=True)
    (place / "lock").symlink_to(mine)
    assert "lock" in refused_by("resume", place)
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("name", ["a\nb", "x" * 5_000])
def test_a_name_with_line_breaks_or_without_end_gives_one_line(name: str) -> None:
    for argv in (
        ("show", name),
        ("test", name),
        ("resume", name),
        ("run", f"{name}.toml"),
        ("run", f"{name}.py:X"),
    ):
        refused(*argv)
    Path("file").touch()
    refused("run", "quadratic", "--executor", "serial", "--dir", f"file/{name}")
    refused("run", "digits", "--executor", "serial", "--from", name)


@pytest.mark.parametrize("name", [f"a_{'9' * 30}.png", f"{'9' * 30}/a.png", f"a_{2**63}.png"])
def test_a_label_of_thirty_digits_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "images" / name
    path.parent.mkdir(parents=True)
    Image.new("L", (2, 2)).save(path)
    with pytest.raises(DataError, match=r"^[^\n]*expected a label of at most [^\n]*$"):
        read_folder(tmp_path / "images")


def test_data_that_really_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    head = bytes([0, 0, 8, 1]) + struct.pack(">I", 3 << 30)
    piece = gzip.compress(bytes(1 << 20))
    path.write_bytes(gzip.compress(head) + piece * 3072)
    tracemalloc.start()
    with pytest.raises(DataError, match="expected at most 1024 MiB, got 3072 MiB"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("name", ["x.toml", "x.json", "x.csv"])
def test_what_an_option_names_is_a_regular_file(name: str) -> None:
    Path(name).symlink_to("/dev/zero")
    os.mkfifo(f"pipe-{name}")
    for path in (name, f"pipe-{name}"):
        if not name.endswith(".csv"):
            assert "not a regular file" in refused("run", path)
            assert "not a regular file" in refused("run", "quadratic", "--initial", path)
        if not name.endswith(".toml"):
            with pytest.raises(UsageError, match="not a regular file"):
                Schedule.read(path)


@pytest.mark.parametrize(
    "argv",
    [
        ("--interval", "٣"),
        ("--population", "٣"),
        ("--max-time", "٣s"),
        ("--set", "interval=٣"),
        ("--set", "seed='٣'"),
        ("--set", "target_score='٣'"),
        ("--set", "options.lr='٣'"),
    ],
)
def test_digits_of_other_scripts_are_no_numbers(argv: tuple[str, ...]) -> None:
    assert "expected a" in refused("run", "quadratic", *argv)
    csv = "first_step,steps,lr\n0,٣,0.1\n"
    with pytest.raises(UsageError, match="expected an integer"):
        Schedule.from_csv(csv)


@pytest.mark.parametrize(
    "values",
    [
        {"task": "mnist-fc", "options": {"n_hiddens": [8] * 10_000}},
        {"task": "mnist-conv", "options": {"n_filters": [8] * 10_000}},
        {"task": "digits", "options": {"n_hiddens": [8] * 10_000}},
        {"task": "digits", "options": {"n_hiddens": [10**12]}},
        {"task": "digits", "options": {"n_hiddens": [-5]}},
        {"space": {"h0": {"kind": "choice", "options": list(range(10_000))}}},
        {"space": {f"h{i}": {"kind": "constant", "value": 1} for i in range(10_000)}},
        {"initial": [{}] * 100_001},
        {"made_with": {str(i): i for i in range(100_000)}},
    ],
    ids=["layers", "filters", "digits", "wide", "negative", "options", "names", "members", "keys"],
)
def test_a_huge_configuration_is_refused(values: dict[str, Any]) -> None:
    Path("huge.json").write_text(json.dumps({"task": "quadratic", "executor": "serial", **values}))
    assert len(refused("run", "huge.json")) < 1_000
