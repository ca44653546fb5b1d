"""The program as tests call it: in this process, or in one of its own."""

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import popgrad as package
from popgrad import cli
from popgrad.store.journal import Journal

SMALL = ("--population", "4", "--intervals", "3", "--interval", "4", "--executor", "serial")
SRC = str(Path(package.__file__).parents[1])


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def popgrad(*argv: str) -> Done:
    """Call the program in this process; an exception that it lets through fails the test."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    handler = signal.getsignal(signal.SIGTERM)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["popgrad", *argv]
        try:
            cli.main()
        except SystemExit as error:
            code = error.code
        finally:
            sys.argv = before
            signal.signal(signal.SIGTERM, handler)
            logging.getLogger("popgrad").handlers.clear()
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


def refused(*argv: str) -> str:
    """What is said of a mistake: one line, and nothing else."""
    done = popgrad(*argv)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("popgrad: ")
    assert done.err.count("\n") == 1
    return done.err


def start_program(*argv: str, **variables: str) -> "subprocess.Popen[str]":
    """Start the program in a process of its own, which SIGINT interrupts.

    A shell that starts the tests in the background lets them ignore SIGINT, and so would this process.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "popgrad", *argv],
            env=os.environ | {"PYTHONPATH": SRC} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


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
