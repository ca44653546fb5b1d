"""Foreign runs: their code, their links, their storage and their sizes, command by command."""

import errno
import hashlib
import json
import os
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

import popgrad as package
from popgrad import load, load_model, resume
from popgrad.core.errors import RunError, UsageError
from program import SRC, Done, popgrad

WRITING = {
    "resume": ("resume", "run", "--intervals", "4"),
    "gc": ("gc", "run"),
    "gc of all but the winner's": ("gc", "run", "--only-winner"),
    "test": ("test", "run"),
}
READING = {"show": ("show", "run"), "schedule": ("schedule", "run"), "doctor": ("doctor", "run")}
SMALL = (
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished") / "run"
    assert popgrad("run", "quadratic", *SMALL, "--dir", str(directory)).code == 0
    return directory


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a copy of the run, and another run that must stay as it is."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "run")
    shutil.copytree(finished, "mine")
    before = contents(Path("mine"))
    yield tmp_path
    assert contents(tmp_path / "mine") == before
    assert not (tmp_path / "executed").exists()


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def told(done: Done, *codes: int) -> str:
    assert done.code in codes, done
    assert "Traceback" not in done.err
    *progress, error = done.err.splitlines()
    assert not any(line.startswith("popgrad: ") for line in progress), done.err
    return error


def about(**facts: Any) -> None:
    with closing(sqlite3.connect("run/journal.db")) as database, database:
        for key, value in facts.items():
            row = (key, json.dumps(value))
            database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", row)


def configured(**values: Any) -> None:
    with closing(sqlite3.connect("run/journal.db")) as database:
        (text,) = database.execute("SELECT value FROM about WHERE key = 'config'").fetchone()
    about(config={**json.loads(text), **values})


# --- links ----------------------------------------------------------------------------------------------

LINKED = ["checkpoints", "journal.db", "run.toml", "best.json", "history.csv", "events", "lock"]


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("name", LINKED)
def test_a_link_to_what_is_mine_is_refused(name: str, command: str, folder: Path) -> None:
    path = folder / "run" / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    target = folder / "mine" / name
    path.symlink_to(target if target.exists() else folder / "mine")
    assert "is a symbolic link" in told(popgrad(*WRITING[command]), 1)


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("name", ["journal.db", "run.toml", "best.json"])
def test_a_file_with_a_second_name_is_refused(name: str, command: str, folder: Path) -> None:
    (folder / "run" / name).unlink()
    (folder / "run" / name).hardlink_to(folder / "mine" / name)
    assert "hard link" in told(popgrad(*WRITING[command]), 1)


def test_a_spare_file_that_is_a_link_is_not_written_over(folder: Path) -> None:
    """Its name is that of a dropped checkpoint, which a later one would be written to."""
    precious = folder / "precious"
    precious.write_bytes(bytes(1 << 20))
    for number in range(3):
        (folder / "run" / "checkpoints" / f".{number:02x}.part").symlink_to(precious)
    checkpoints = package.store.directory.Directory(folder / "run").checkpoints
    checkpoints.save({"x": torch.ones(100_000)})
    (folder / "run" / "checkpoints" / ".05.part").hardlink_to(precious)
    checkpoints.save({"x": torch.zeros(100_000)})
    assert precious.read_bytes() == bytes(1 << 20)


def test_a_temporary_name_that_is_a_link_is_not_followed(folder: Path) -> None:
    (folder / "precious").write_text("mine")
    (folder / "run" / f".{os.getpid()}.run.toml").symlink_to(folder / "precious")
    assert popgrad("resume", "run", "--intervals", "4").code in (0, 1)
    assert (folder / "precious").read_text() == "mine"


@pytest.mark.parametrize("what", ["a pipe", "a folder", "a device"])
def test_a_journal_is_a_regular_file(what: str, folder: Path) -> None:
    for name in ("journal.db", "journal.db-wal"):
        path = folder / "run" / name
        path.unlink(missing_ok=True)
        match what:
            case "a pipe":
                os.mkfifo(path)
            case "a folder":
                path.mkdir()
            case "a device":
                path.symlink_to("/dev/zero")
        for argv in (*READING.values(), *WRITING.values()):
            done = popgrad(*argv)
            assert done.code in (1, 2), done
            assert "Traceback" not in done.err


def test_a_rollback_journal_that_names_a_further_file_deletes_nothing(folder: Path) -> None:
    """SQLite deletes the file that such a journal names."""
    end = bytes.fromhex("d9d505f920a163d7")
    (folder / "run" / "journal.db-journal").write_bytes(end + bytes(1024) + end)
    for argv in WRITING.values():
        assert "was not written by popgrad" in told(popgrad(*argv), 1)


# --- storage and clusters ---------------------------------------------------------------------------------


def test_a_cluster_elsewhere_that_only_the_record_names_is_confirmed(folder: Path) -> None:
    configured(executor="ray", address="192.0.2.1:6379")
    before = (folder / "run" / "journal.db").read_bytes()
    message = told(popgrad("resume", "run", "--intervals", "4"), 2)
    assert "pass --address 192.0.2.1:6379" in message
    with pytest.raises(UsageError, match="which could execute code here"):
        resume("run", intervals=4)
    assert (folder / "run" / "journal.db").read_bytes() == before
    assert popgrad("resume", "run", "--intervals", "4", "--executor", "serial").code == 0


@pytest.mark.parametrize("what", ["a run", "another copy", "files", "nothing"])
def test_storage_that_only_the_record_names_is_confirmed(what: str, folder: Path) -> None:
    place = folder / "storage"
    match what:
        case "a run":
            shutil.copytree(folder / "mine", place)
        case "another copy":
            mine = ("run", "quadratic", *SMALL, "--dir", "other", "--storage", str(place))
            assert popgrad(*mine).code == 0
        case "files":
            place.mkdir()
            (place / "notes.txt").write_text("mine")
    before = contents(place) if place.exists() else {}
    configured(storage=f"file://{place}")
    journal = (folder / "run" / "journal.db").read_bytes()
    message = told(popgrad("resume", "run", "--intervals", "4"), 2)
    assert (
        "another run" in message if what == "another copy" else "nothing there confirms" in message
    )
    assert (contents(place) if place.exists() else {}) == before
    assert (folder / "run" / "journal.db").read_bytes() == journal

    named = popgrad("resume", "run", "--intervals", "4", "--storage", f"file://{place}")
    assert named.code == (2 if what in ("a run", "another copy") else 0), named
    if what == "files":
        assert (place / "notes.txt").read_text() == "mine"
        assert popgrad("resume", "run", "--intervals", "5").code == 0  # confirmed from now on


# --- code -----------------------------------------------------------------------------------------------

EVIL = "import os\nos.mkdir('executed')\nfrom popgrad.tasks import Quadratic\nready = Quadratic()\n"
RUNNING = {**WRITING, "replay": ("replay", "run"), "fresh": ("replay", "run", "--fresh-seed", "1")}


@pytest.mark.parametrize("command", [name for name in RUNNING if not name.startswith("gc")])
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("popgrad.lookup:_load_file", {"path": "run/evil.py", "what": "task"}),
        (
            "popgrad.lookup:import_object",
            {"reference": "evil.py:ready", "what": "task", "known": {}},
        ),
        ("popgrad.tasks.reference:resolve_task", {"reference": "evil.py:ready", "options": {}}),
        ("popgrad.tasks:mnist_fc", {"metric": "evil.py:ready"}),
        ("mnist-fc", {"metric": "-run/evil.py:ready"}),
        ("mnist-fc", {"metric": "evil.py:ready"}),
        ("mnist-conv", {"metric": "-evil.py:ready"}),
        ("evil.py:ready", {}),
        ("evil:ready", {}),
        ("os:mkdir", {"path": "executed"}),
    ],
)
def test_code_that_only_the_record_names_is_not_executed(
    task: str, options: dict[str, Any], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("evil.py", "run/evil.py"):
        Path(name).write_text(EVIL)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    configured(task=task, options=options)
    told(popgrad(*RUNNING[command]), 2)


METRIC = "def half(outputs, targets):\n    return 0.5\n"


def test_a_metric_is_imported_with_the_recorded_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the folder has moved; another source needs a word of the user."""
    Path("mine.py").write_text(
        "from popgrad.metrics import metric_named\nfrom popgrad.tasks import Quadratic\n\n"
        "def task(metric: str):\n    metric_named(metric)\n    return Quadratic()\n"
    )
    Path("metric.py").write_text(METRIC)
    start = ("run", "mine.py:task", *SMALL, "--set", "options.metric='metric.py:half'")
    assert popgrad(*start, "--dir", "own").code == 0
    assert set(load("own").record.code) == {"mine.py:task", "metric.py:half"}
    assert popgrad("resume", "own", "--intervals", "4").code == 0

    Path("metric.py").write_text(METRIC + EVIL)
    for argv in (("resume", "own"), ("test", "own"), ("replay", "own")):
        assert "the source of the metric has changed" in told(popgrad(*argv), 2)
    Path("metric.py").write_text(METRIC + "# harmless\n")
    for argv in (("resume", "own"), ("test", "own"), ("replay", "own")):
        assert popgrad(*argv, "--allow-changed-task").code == 0


def test_a_network_is_rebuilt_with_the_recorded_source(tmp_path: Path) -> None:
    Path("net.py").write_text(
        "from popgrad.tasks import digits\n\ndef task():\n    return digits()\n"
    )
    Path("out").mkdir()
    result = package.run(
        "digits", population=2, intervals=1, interval=1, executor="serial", directory="net"
    )
    shutil.copy("net/best.safetensors", "out")
    described = json.loads(Path("net/best.json").read_text()) | {
        "task": str(tmp_path / "net.py:task")
    }
    Path("out/best.json").write_text(json.dumps(described))
    with pytest.raises(UsageError, match="the source of the task has changed"):
        load_model("out/best.safetensors")
    digest = hashlib.sha256(Path("net.py").read_bytes()).hexdigest()
    Path("out/best.json").write_text(json.dumps(described | {"code": {"net.py:task": digest}}))
    assert load_model("out/best.safetensors")
    assert load_model("out/best.safetensors", task=result.task)


# --- sizes ----------------------------------------------------------------------------------------------


def sparse(path: Path, size: int) -> None:
    """Write a valid file of one tensor of so many bytes, which takes no space."""
    text = json.dumps({"0": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + size)


@pytest.mark.parametrize("size", [3 << 30, 80 << 30])
def test_states_and_weights_for_a_small_network_are_small(size: int, folder: Path) -> None:
    for path in (folder / "run" / "checkpoints").iterdir():
        sparse(path, size)
    message = told(popgrad("test", "run"), 1)
    assert "MiB" in message
    assert "MiB" in told(popgrad("resume", "run", "--intervals", "4"), 1)

    sparse(folder / "best.safetensors", size)
    Path("best.json").write_text('{"task": "digits", "hparams": {"lr": 0.1, "keep_prob": 1.0}}')
    with pytest.raises(UsageError, match="MiB"):
        load_model("best.safetensors")
    argv = ("run", "digits", *SMALL, "--from", "best.safetensors", "--dir", "new")
    assert "MiB" in told(popgrad(*argv), 2)
    assert not Path("new").exists()


@pytest.mark.parametrize("size", [100 << 20, 20 << 30])
def test_a_journal_with_holes_is_refused(size: int) -> None:
    os.truncate("run/journal.db", size)
    for argv in (*READING.values(), *WRITING.values()):
        done = popgrad(*argv)
        assert done.code == 1, done
        assert "which no run has written" in done.err + done.out


ENDLESS = "WITH RECURSIVE e(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM e) SELECT"
FACTS = "'format' AS key, '2' AS value FROM e"
COMPUTED = "(key TEXT, value TEXT AS (hex(zeroblob(4e8))))"
JOURNALS = {
    "facts without end": f"DROP TABLE about; CREATE VIEW about AS {ENDLESS} {FACTS}",
    "rows without end": f"DROP TABLE segments; CREATE VIEW segments AS {ENDLESS} n AS interval FROM e",
    "a computed column": f"DROP TABLE about; CREATE TABLE about {COMPUTED}",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON about BEGIN DELETE FROM segments; END",
    "a long error": "UPDATE segments SET error = hex(zeroblob(20000000)) WHERE member = 1",
    "a long fact": "UPDATE about SET value = hex(zeroblob(20000000)) WHERE key = 'config'",
    "a long plan": "UPDATE decisions SET plan = hex(zeroblob(20000000)) WHERE number = 1",
}


@pytest.mark.parametrize("what", JOURNALS)
def test_what_a_journal_holds_is_bounded_before_it_is_read(what: str) -> None:
    with closing(sqlite3.connect("run/journal.db")) as database:
        database.executescript(JOURNALS[what])
    told(popgrad("resume", "run", "--intervals", "4"), 1)


def test_more_rows_than_a_file_has_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of pages that lead to each other, which give rows without end in a file of a few KiB."""
    monkeypatch.setattr("popgrad.store.database.content_size", lambda _: 100)
    assert "more rows than its size allows" in told(popgrad("show", "run"), 1)


LACKING = [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]


@pytest.mark.parametrize("error", LACKING, ids=repr)
def test_a_lack_of_memory_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("popgrad.cli.inspect.read_run", lacking)
    assert "the memory does not suffice" in told(popgrad("show", "run"), 1)


# --- what cannot be read now ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENFILE])
def test_what_cannot_be_found_out_is_not_taken_for_missing(
    code: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(folder / "run" / "checkpoints")
    real = os.stat

    def stat(path: Any, *given: Any, **named: Any) -> os.stat_result:
        if "checkpoints/" in str(path):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr("popgrad.gates.files.os.stat", stat)
        with pytest.raises(RunError, match=f"cannot be read now .*{os.strerror(code)}") as caught:
            resume("run", intervals=4)
        assert "\n" not in str(caught.value)
        for argv in (("gc", "run"), ("test", "run")):
            assert os.strerror(code) in told(popgrad(*argv), 1)
        assert os.strerror(code) in " ".join(popgrad("doctor", "run").out.split())
    assert contents(folder / "run" / "checkpoints") == before
    assert resume("run", intervals=4).stopped == "finished"


def test_a_foreign_run_takes_little_memory(folder: Path) -> None:
    """Measured in a process of its own: sizes that a file states do not matter."""
    for path in (folder / "run" / "checkpoints").iterdir():
        sparse(path, 3 << 30)
    limit = 3 << 30  # of addresses; libraries take 1.5 GiB
    code = (
        "import atexit, memory\n"
        "atexit.register(lambda: print(memory.peak()))\n"
        "from popgrad.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "test", "run"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((SRC, str(Path(__file__).parents[1])))},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert int(done.stdout.splitlines()[-1]) < 1 << 30
