"""Mutations of valid files and command lines, tried in one process of their own, whose memory is measured.

python fuzzing.py SEED FOLDER KIND=COUNT... prints what went wrong as JSON. FOLDER is a `Sandbox`.
"""

import contextlib
import copy
import dataclasses
import functools
import json
import logging
import os
import random
import shutil
import signal
import sqlite3
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import tomli_w
import torch
import typer

import memory
from popgrad import data, load_model
from popgrad.cli.app import app
from popgrad.cli.arguments import read_config, read_initial
from popgrad.core.errors import PopgradError, RunError
from popgrad.executors import EXECUTORS
from popgrad.record.schedule import Schedule
from popgrad.runs.build import build
from popgrad.runs.winner import load_weights
from popgrad.state import digest
from popgrad.store.checkpoints import Checkpoints
from popgrad.tasks.toys import Quadratic
from program import popgrad

SECONDS = 20
"""Seconds after which a case hangs."""

SMALL = {
    "task": "quadratic",
    "population": 3,
    "intervals": 2,
    "interval": "2",
    "executor": "serial",
    "outputs": False,
}


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """A folder with a part that cases may write to, and a part that none may touch.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def work(self) -> Path:
        """Working directory of the cases."""
        return self.path / "work"

    @property
    def run(self) -> Path:
        """A finished run, which cases copy."""
        return self.path / "run"

    @property
    def outside(self) -> Path:
        """What belongs to somebody else: text, code, another run, storage."""
        return self.path / "outside"

    @property
    def mark(self) -> Path:
        """A file that the canaries' code writes."""
        return self.path / "executed"

    @property
    def evil(self) -> str:
        """Code that leaves the mark."""
        return (
            f"import pathlib\npathlib.Path({str(self.mark)!r}).touch()\n"
            "from popgrad.tasks import Quadratic\nready = Quadratic()\n"
            "def metric(outputs, targets):\n    return 1.0\n"
        )

    def create(self) -> None:
        """Create the folder, with a finished run, a study and the canaries."""
        from promises.test_fuzz import start_study

        self.work.mkdir(parents=True)
        Path(self.path / "small.json").write_text(json.dumps(SMALL))
        done = popgrad("run", str(self.path / "small.json"), "--dir", str(self.run))
        assert done.code == 0, done
        (self.path / "asked").mkdir()
        with contextlib.chdir(self.path / "asked"):
            start_study()
        (self.run / "evil.py").write_text(self.evil)
        (self.run / "pack").mkdir()
        (self.run / "pack" / "__init__.py").write_text(self.evil)
        self.outside.mkdir()
        (self.outside / "evil.py").write_text(self.evil)
        (self.outside / "notes.txt").write_text("mine")
        (self.outside / "storage").mkdir()
        (self.outside / "storage" / "journal.db").write_text("mine")
        shutil.copytree(self.run, self.outside / "run")
        for name in ("lock", "notes.part"):
            (self.outside / name).write_text("mine")


# --- values that are tried in every place -------------------------------------------------------------


def values(box: Sandbox) -> list[Any]:
    """Values that a hostile file may have in any place."""
    inside, outside = f"{box.work}/run", box.outside
    return [
        *(
            0,
            -1,
            1,
            3,
            1.5,
            2**31,
            2**63,
            -(2**70),
            1e308,
            True,
            False,
            None,
            "",
            " ",
            "x",
            "\x1b[2J",
        ),
        *("٣", "9" * 99, "1e999", "nan", "\ud800", "a\0b", "x" * 300, "../..", "~"),
        *([], [1], [[]], {}, {"x": 1}, ["x", {}], {"kind": "uniform"}, [0] * 50, {"name": "pbt"}),
        *("/dev/zero", "/dev/stdin", "/proc/self/mem", str(outside), str(outside / "notes.txt")),
        *(f"file://{outside}/storage", f"{outside}/storage", f"{outside}/run", inside),
        *(f"{inside}/evil.py:ready", f"{inside}/checkpoints/../evil.py:ready", "run/evil.py:ready"),
        *(f"{outside}/evil.py:ready", f"{outside}/evil.py:metric", f"-{inside}/evil.py:metric"),
        *(
            "evil:ready",
            "pack:ready",
            "pack.evil:ready",
            "os:system",
            "builtins:exec",
            "posix:mkdir",
        ),
        *(
            "popgrad.lookup:import_object",
            "popgrad.lookup:_load_file",
            "popgrad.tasks:resolve_task",
        ),
        *("popgrad.tasks.reference:resolve_task", "popgrad.runs.api:run", "subprocess:Popen"),
        *("quadratic", "digits", "mnist-fc", "schedule", "custom", "serial", "auto", "vectorised"),
    ]


def scramble(rng: random.Random, value: Any, pool: list[Any], depth: int = 0) -> Any:
    """Return a value with one random part replaced, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9 - 0.1 * depth:
        key = rng.choice(list(value))
        choice = rng.random()
        rest = {name: part for name, part in value.items() if name != key}
        if choice < 0.1:
            return rest
        if choice < 0.15:
            return {
                **value,
                rng.choice(["x", "__proto__", "task", "", "\x1b", key * 9]): rng.choice(pool),
            }
        return {**value, key: scramble(rng, value[key], pool, depth + 1)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        i = rng.randrange(len(value))
        return [*value[:i], scramble(rng, value[i], pool, depth + 1), *value[i + 1 :]]
    return copy.deepcopy(rng.choice(pool))


def flip(rng: random.Random, content: bytes) -> bytes:
    """Return content with a few bytes changed, cut out, doubled or inserted."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0 if i < len(data):
                data[i] ^= 1 << rng.randrange(8)
            case 1:
                del data[i : i + rng.choice([1, 8, 100, 10**9])]
            case 2:
                data[i:i] = rng.choice([b"\0", b"9" * 50, b"[" * 500, b"{", b'"', rng.randbytes(8)])
            case 3:
                data[i:i] = data[i : i + 64]
            case _:
                data[i : i + 8] = struct.pack("<Q", rng.choice([0, 2**31, 2**40, 2**63, 2**64 - 1]))
    return bytes(data)


def swap(rng: random.Random, path: Path, box: Sandbox) -> None:
    """Put something else in the place of a file or folder."""
    away = path.with_name(f"{path.name}.away")
    if path.exists():
        path.rename(away)
    match rng.randrange(8):
        case 0:
            path.symlink_to(rng.choice([box.outside, box.outside / "run" / path.name]))
        case 1:
            path.symlink_to(box.outside / "notes.txt")
        case 2:
            os.mkfifo(path)
        case 3:
            path.mkdir()
        case 4:
            path.symlink_to("/dev/zero")
        case 5:
            with path.open("wb") as file:
                file.truncate(rng.choice([0, 1 << 20, 3 << 30, 80 << 30]))
        case 6:
            path.hardlink_to(box.outside / "notes.txt")
        case _:
            path.symlink_to(path)


# --- kinds of cases -----------------------------------------------------------------------------------


def try_record(rng: random.Random, box: Sandbox, pool: list[Any]) -> object:
    """Alter a copy of a run, and call a command on it."""
    folder = box.work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(box.run, folder)
    what = rng.random()
    told: object
    if what < 0.45:
        told = _alter_facts(rng, folder, pool)
    elif what < 0.65:
        told = _alter_rows(rng, folder, pool)
    elif what < 0.75:
        told = _alter_tables(rng, folder)
    elif what < 0.85:
        journal = folder / "journal.db"
        journal.write_bytes(flip(rng, journal.read_bytes()))
        told = "bytes"
    else:
        names = [
            "journal.db",
            "checkpoints",
            "lock",
            "run.toml",
            "best.json",
            "journal.db-wal",
            "events",
        ]
        names += ["journal.db-shm", "journal.db-journal", "history.csv", f".{os.getpid()}.run.toml"]
        names += [
            "checkpoints/.00.part",
            *(f"checkpoints/{p.name}" for p in (folder / "checkpoints").iterdir()),
        ]
        name = rng.choice(names)
        told = name
        swap(rng, folder / name, box)
    argv = rng.choice(
        [
            *(["show", "run"], ["show", "run", "--json"], ["schedule", "run"], ["doctor", "run"]),
            *(["test", "run"], ["gc", "run"], ["gc", "run", "--only-winner"], ["replay", "run"]),
            *(
                ["resume", "run"],
                ["resume", "run", "--intervals", "3"],
                ["resume", "run", "--population", "4"],
            ),
            *(["replay", "run", "--fresh-seed", "1"], ["test", "run", "--allow-changed-task"]),
        ]
    )
    call(*argv)
    return told, argv


def _alter_facts(rng: random.Random, folder: Path, pool: list[Any]) -> object:
    with closing(sqlite3.connect(folder / "journal.db")) as database, database:
        facts = dict(database.execute("SELECT key, value FROM about").fetchall())
        key = rng.choice(["config"] * 8 + list(facts))
        value = json.loads(facts[key])
        for _ in range(rng.randint(1, 3)):
            value = scramble(rng, value, pool)
        if key == "config" and isinstance(value, dict) and rng.random() < 0.4:
            value["task"] = rng.choice(
                [each for each in pool if isinstance(each, str) and ":" in each]
            )
            value["options"] = rng.choice(
                [
                    {},
                    {"path": f"{folder}/evil.py", "what": "task"},
                    {"reference": f"{folder}/evil.py:ready"},
                ]
            )
        try:
            text = json.dumps(value)
            database.execute("UPDATE about SET value = ? WHERE key = ?", (text, key))
        except (UnicodeEncodeError, OverflowError):
            pass
    return key, value


def _alter_rows(rng: random.Random, folder: Path, pool: list[Any]) -> object:
    table, columns = rng.choice(
        [
            (
                "segments",
                ["interval", "member", "source_member", "source_interval", "seed", "first_step"],
            ),
            (
                "segments",
                ["steps", "samples", "hparams", "changes", "score", "metrics", "digest", "error"],
            ),
            ("decisions", ["number", "plan", "memory"]),
            ("telemetry", ["seconds", "worker", "curve"]),
        ]
    )
    column = rng.choice(columns)
    with closing(sqlite3.connect(folder / "journal.db")) as database, database:
        (old,) = database.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()
        if isinstance(old, str) and old[:1] in ("[", "{") and rng.random() < 0.7:
            value: Any = json.dumps(scramble(rng, json.loads(old), pool))
        else:
            value = rng.choice([*pool, "[" * 9_999, b"\x80", "x" * 99_999, "../../../etc/passwd"])
        with contextlib.suppress(sqlite3.Error, UnicodeEncodeError, OverflowError):
            database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} IS ?", (value, old))
    return table, column, repr(value)[:80]


_ENDLESS = "WITH RECURSIVE e(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM e) SELECT"
_TABLES = [
    "CREATE TRIGGER t AFTER INSERT ON about BEGIN DELETE FROM segments; END",
    "CREATE VIEW v AS SELECT 1",
    f"DROP TABLE about; CREATE VIEW about AS {_ENDLESS} 'format' AS key, '2' AS value FROM e",
    f"DROP TABLE segments; CREATE VIEW segments AS {_ENDLESS} n AS interval, n AS member FROM e",
    "DROP TABLE about; CREATE TABLE about (key TEXT, value TEXT AS (hex(zeroblob(400000000))))",
    "DROP TABLE decisions",
    "CREATE INDEX i ON segments (score)",
    "DELETE FROM about",
    "UPDATE segments SET error = hex(zeroblob(9000000)) WHERE member = 1 AND interval = 1",
    "UPDATE about SET value = hex(zeroblob(9000000)) WHERE key = 'config'",
    "UPDATE telemetry SET curve = hex(zeroblob(9000000)) WHERE member = 1 AND interval = 1",
    "DELETE FROM segments WHERE interval = 0",
    "INSERT INTO about VALUES ('x', '1')",
    "PRAGMA journal_mode=DELETE",
]


def _alter_tables(rng: random.Random, folder: Path) -> object:
    statement = rng.choice(_TABLES)
    with closing(sqlite3.connect(folder / "journal.db")) as database:
        database.executescript(statement)
    return statement


_STATES: list[dict[str, Any]] = [
    {"x": torch.zeros(3), "steps": 2},
    {
        "model": {"a": torch.ones(2, 2), "b": [torch.zeros(1), 0.5, None, "t"]},
        "c": torch.ones(1) * 1j,
    },
]


def try_tensors(rng: random.Random, box: Sandbox, pool: list[Any]) -> object:
    """Alter a checkpoint, or weights with their description, and load it."""
    folder = box.work / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    checkpoints = Checkpoints(folder)
    name = checkpoints.save(rng.choice(_STATES))
    kept = checkpoints.save({"kept": torch.ones(2)})
    path = checkpoints.path(name)
    choice = rng.random()
    if choice < 0.5:
        path.write_bytes(flip(rng, path.read_bytes()))
    elif choice < 0.8:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        text = json.dumps(scramble(rng, header, [*pool, *_HEADERS])).encode(errors="replace")
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    elif choice < 0.9:
        swap(rng, path, box)
    else:
        size = rng.choice([3 << 30, 80 << 30])
        about = {"0": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
        text = json.dumps(about).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        os.truncate(path, 8 + len(text) + size)

    for load in (
        lambda: checkpoints.load(name, lambda: 1000),
        lambda: load_weights(path, lambda: 1000),
        lambda: _load_network(rng, path, pool),
    ):
        with contextlib.suppress(PopgradError):
            load()
    with contextlib.suppress(PopgradError):
        checkpoints.retain([kept])
    assert digest(checkpoints.load(kept)) == kept, "a good checkpoint is gone"
    return choice


_HEADERS = [
    {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 2**64]},
    [0, 2**62],
    "F8_E4M3",
]


def _load_network(rng: random.Random, path: Path, pool: list[Any]) -> None:
    described = {
        "task": "digits",
        "options": {"n_hiddens": [4]},
        "hparams": {"lr": 0.1, "keep_prob": 1.0},
    }
    text = json.dumps(scramble(rng, described, pool))
    path.with_suffix(".json").write_text(text)
    load_model(path)


def try_configuration(rng: random.Random, box: Sandbox, pool: list[Any]) -> object:
    """Write a configuration, or a file that an option names, and build the components of a run."""
    name = rng.choice(["c.json", "c.toml"])
    empty(box.work)
    path = box.work / name
    config: Any = rng.choice([SMALL, {**SMALL, "task": "mnist-fc"}, _FULL])
    for _ in range(rng.randint(1, 3)):
        config = scramble(rng, config, [*pool, rng.choice(_LARGE)])
    # A task or metric that a user's configuration names is executed; code in any other place is not.
    for key, plain in (("task", "quadratic"), ("options", {})):
        if isinstance(config, dict) and "evil" in str(config.get(key)):
            config = {**config, key: plain}
    choice = rng.random()
    if choice < 0.02:
        swap(rng, path, box)
    elif choice < 0.04:
        path.write_text(rng.choice(_TEXTS))
    else:
        try:
            text = json.dumps(config) if name == "c.json" else tomli_w.dumps(config)
            content = text.encode()
        except (TypeError, AttributeError, ValueError):  # not every value can be written as TOML
            content = json.dumps(config).encode()
        path.write_bytes(flip(rng, content) if choice < 0.2 else content)

    for read in (
        lambda: build(read_config(str(path), {}, {}, [])[0]),
        lambda: read_initial(path),
        lambda: Schedule.read(path.rename(path.with_suffix(rng.choice([".json", ".csv"])))),
    ):
        with contextlib.suppress(PopgradError):
            read()
    return name, repr(config)[:300]


_FULL = {
    **SMALL,
    "space": {
        "h0": {"kind": "uniform", "low": 0, "high": 1},
        "h2": {"kind": "choice", "options": ["a", 1]},
    },
    "strategy": {"name": "pbt", "fraction": 0.5, "factors": [0.8, 1.25]},
    "initial": [{"h0": 0.5}],
    "options": {"lr": 0.1},
}
_LARGE = [
    {"kind": "choice", "options": list(range(10_000))},
    [64] * 10_000,
    [[64] * 999] * 99,
    functools.reduce(lambda inner, _: [inner], range(60), []),
]
_TEXTS = [
    ".".join("a" * 60_000) + " = 1",
    "'a'." + ".".join("a" * 60_000) + " = 1",
    "[" + ".".join("a" * 60_000) + "]",
    "x = " + "[" * 9_000,
    "x = " + "{a=" * 9_000,
    "[" * 200_000,
    "{" + ",".join(f'"{i}": 1' for i in range(100_000)) + "}",
    '{"task": "quadratic", "initial": [' + "1," * 150_000 + "1]}",
    "9" * 200_000,
]


def empty(folder: Path) -> None:
    """Delete everything in a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def try_command_line(rng: random.Random, box: Sandbox, pool: list[Any]) -> object:
    """Call a command with random words."""
    from promises.test_fuzz import COMMANDS, FIRST, parameter_values, with_token

    empty(box.work)
    shutil.copytree(box.run, box.work / "run")
    shutil.copytree(box.path / "asked", box.work, dirs_exist_ok=True)
    for name in ("small.json", "initial.json", "original.json"):
        (box.work / name).write_text(_FILES[name])
    command = rng.choice(sorted(COMMANDS))
    argv = [command, *(FIRST[command] if rng.random() < 0.9 else [])]
    for _ in range(rng.randint(1, 3)):
        parameter = rng.choice(COMMANDS[command].params)
        option = parameter.opts[-1] if parameter.opts[-1].startswith("-") else ""
        texts = [each for each in pool if isinstance(each, str) and "\0" not in each]
        if getattr(parameter, "is_flag", False):
            argv.append(option)
            continue
        value = rng.choice([*parameter_values(parameter), *texts])
        argv.append(f"{option}={value}" if option else value)
    # A path that a command line names may be written to.
    if any(
        str(box.outside) in word or word.startswith(("--keep", "--dir=/", "--dir=~"))
        for word in argv
    ):
        return "skipped"
    argv = [word for word in argv if "evil" not in word and ".." not in word and "~" not in word]
    call(*with_token(argv))
    return argv


_FILES = {
    "small.json": json.dumps(SMALL),
    "initial.json": '[{"h0": 0.5}]',
    "original.json": '{"general": {"model": "fc"}, "train": {"num_worker_tot": 2}}',
}

KINDS: dict[str, Callable[[random.Random, Sandbox, list[Any]], object]] = {
    "record": try_record,
    "tensors": try_tensors,
    "configuration": try_configuration,
    "command line": try_command_line,
}


# --- the process --------------------------------------------------------------------------------------


def call(*argv: str) -> None:
    """Call the program; it ends with an exit code, and an error is one line that is no traceback."""
    done = popgrad(*argv)
    assert done.code in (0, 1, 2, 130), done
    assert "Traceback" not in done.err or "in train" in done.err, done
    assert done.code == 0 or len(done.err) < 20_000, len(done.err)


def refuse(*given: object, **named: object) -> None:
    raise RunError("this executor is not tried here")


def hang(*_: object) -> None:
    raise TimeoutError("it hangs")


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Let no case start other processes, load data from the network, or train for long."""
    train = Quadratic.train
    count = 0

    def briefly(self: Quadratic, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
        nonlocal count
        count += 1
        if steps > 50 or count % 20 == 0:
            raise KeyboardInterrupt
        return train(self, state, hparams, steps, ctx)

    stubs = dict.fromkeys(("processes", "ray"), refuse)
    # typer makes the same command anew for each call, which takes most of the time of a case.
    command = typer.main.get_command(app)
    with (
        patch.object(typer.main, "get_command", lambda _: command),
        patch.object(Quadratic, "train", briefly),
        patch.dict(EXECUTORS, stubs),
        patch.object(data, "download", lambda *_, **__: []),
    ):
        yield


def main() -> None:
    seed, box = int(sys.argv[1]), Sandbox(Path(sys.argv[2]))
    os.chdir(box.work)
    sys.path[:0] = [str(box.work / "run"), str(box.outside)]
    os.environ["POPGRAD_DATA"] = str(box.work / "nowhere")
    torch.set_num_threads(1)
    logging.getLogger("popgrad").addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    pool = values(box)
    wrong: list[str] = []
    signal.signal(signal.SIGALRM, hang)

    cases = [kind for kind, count in _counts(sys.argv[3:]) for _ in range(count)]
    with bounded():
        for number, kind in enumerate(cases):
            # Each case can be tried alone.
            rng = random.Random(f"{seed} {number}")
            told: object = None
            signal.alarm(SECONDS)
            try:
                told = KINDS[kind](rng, box, pool)
            except BaseException as error:
                place = error.__traceback__
                while place is not None and place.tb_next is not None:
                    place = place.tb_next
                where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
                wrong.append(
                    f"{kind} {seed} {number}: {type(error).__name__}: {error!s:.300} at {where}"
                )
            signal.alarm(0)
            if box.mark.exists():
                wrong.append(f"{kind} {seed} {number}: code was executed: {told!r:.500}")
                box.mark.unlink()
    print(json.dumps({"cases": len(cases), "wrong": wrong[:20], "peak": memory.peak()}))


def _counts(words: list[str]) -> Iterator[tuple[str, int]]:
    """Yield the kinds and the numbers of cases of words such as "record=100"."""
    for word in words:
        kind, _, count = word.partition("=")
        yield kind, int(count)


if __name__ == "__main__":
    main()
