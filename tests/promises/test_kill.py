"""Kill it anywhere: by SIGKILL at any moment, then resume: the record is that of a run never killed.

A few kills are always made, and more than a hundred by `make test-long`, which writes what came of each into
the file that POPGRAD_TEST_KILLS names.
"""

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

import popgrad
from faults.controllers import Controller, Session, alive, eventually, shared_memory
from faults.moments import EDGES, PHASES, Moment
from spies import read, record

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

SESSIONS = (Session(), Session("processes", 1), Session("processes", 2))


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        session: Of whom.
        everything: Whether all workers are killed at once with their controller, else it alone.
        moment: When; None = by the clock.
        since: The event that the clock is started by: "go on" or the first "segment".
        share: Of the time that a run which is not killed takes from there.
    """

    session: Session
    everything: bool
    moment: Moment | None = None
    since: str = "go on"
    share: float = 0.0


@dataclass(frozen=True)
class Trial:
    """A run that is killed, perhaps again in its resume, and then gone on with to its end."""

    kills: tuple[Kill, ...]
    last: Session


@dataclass(frozen=True)
class Whole:
    """A run that is never killed.

    Attributes:
        directory: Where it lies.
        entries: How often it has entered each phase.
        seconds: From each kind of event, its first, to the end.
    """

    directory: Path
    entries: Counter[str]
    seconds: dict[str, float]


@cache
def whole(session: Session, folder: Path) -> Whole:
    directory = Path(mkdtemp(dir=folder))
    controller = Controller.start(directory / "run", session, directory / "trace", None)
    assert controller.finish() == 0, controller.said()
    events = controller.trace.events()
    seconds = {event["what"]: events[-1]["at"] - event["at"] for event in reversed(events)}
    return Whole(directory / "run", controller.trace.entries(), seconds)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs that are never killed are kept."""
    return tmp_path_factory.mktemp("whole")


# --- plans -----------------------------------------------------------------------------------------------


def drawn(
    rng: random.Random, phase: str | None, everything: bool, session: Session, folder: Path
) -> Kill:
    """A kill in a phase, or by the clock."""
    if phase is None:
        return Kill(session, everything, None, rng.choice(["go on", "segment"]), rng.random())
    count = whole(in_serial(session), folder).entries[phase]
    return Kill(session, everything, Moment(phase, rng.randint(1, count), rng.random()))


def trial(
    number: int, phase: str | None, everything: bool, session: Session, folder: Path
) -> Trial:
    """The trial of a number; equal arguments, equal trials. A third is killed again in the resume."""
    rng = random.Random(number)
    session = replace(session, every=rng.choice([1, 2]), outputs=phase == "ending")
    kills = [drawn(rng, phase, everything, session, folder)]
    if number % 3 == 2:
        moment = Moment(rng.choice(PHASES), rng.randint(1, 3), rng.random())
        kills.append(Kill(session, rng.random() < 0.5, moment))
    return Trial(tuple(kills), replace(session, executor=rng.choice(["serial", session.executor])))


# --- trials ----------------------------------------------------------------------------------------------


def struck(controller: Controller, kill: Kill, folder: Path) -> bool:
    """Kill the controller at its moment; returns whether it had not ended before."""
    if kill.moment is not None:
        there = controller.wait_for(controller.trace.held)
    else:
        wait = kill.share * whole(kill.session, folder).seconds[kill.since]
        begun = controller.wait_for(
            lambda: any(event["what"] == kill.since for event in controller.trace.events())
        )
        there = begun and not eventually(lambda: not controller.process.is_alive(), wait)
    workers = controller.kill(kill.everything)
    assert eventually(lambda: not any(map(alive, workers))), (
        f"workers outlive their controller: {workers}"
    )
    return there and controller.process.exitcode == -signal.SIGKILL


def died_in(controller: Controller) -> list[str]:
    """The phases that were entered and never left; where there was a moment to stay at, its phase first."""
    events = controller.trace.events()
    inside = controller.trace.unfinished()
    held = next((event["pid"] for event in events if event["what"] == "held"), None)
    phases = sorted(inside, key=lambda each: each[0] != held)
    return [phase for _, phase in phases]


def to_first_segment(controller: Controller) -> float | None:
    """Seconds from the start of a resume to the first segment that it records; None = none was missing."""
    at = {event["what"]: event["at"] for event in reversed(controller.trace.events())}
    return at["segment"] - at["go on"] if "segment" in at else None


def strike(kill: Kill, number: int, folder: Path, wholes: Path) -> tuple[Controller, bool]:
    """Start the controller of a session, by its number, and kill it; returns whether that succeeded."""
    while True:
        controller = Controller.start(
            folder / "run", kill.session, folder / f"{number}", kill.moment
        )
        killed = struck(controller, kill, wholes)
        if killed or kill.moment is not None:
            return controller, killed
        shutil.rmtree(folder)  # it was faster than the one that was not killed
        kill = replace(kill, share=kill.share / 2)


def perform(trial: Trial, folder: Path, wholes: Path) -> dict[str, Any]:
    """Kill and go on as planned, and look after every step; returns what came of it."""
    before, told, came = shared_memory(), 0, []
    for number, kill in enumerate(trial.kills):
        controller, killed = strike(kill, number, folder, wholes)
        told += sum(event["what"] == "segment" for event in controller.trace.events())
        if not killed:
            assert controller.process.exitcode in (0, -signal.SIGKILL), controller.said()
        elif kill.moment is not None:
            assert kill.moment.phase in died_in(controller), "it did not die where it was to"
        if (folder / "run" / "journal.db").exists():
            assert (
                len(popgrad.load(folder / "run").segments) >= told
            )  # nothing that was told of is lost
        came.append({"killed": killed, "recorded": told, **described(kill, controller)})
        came[-1]["seconds"] = to_first_segment(controller) if number else None
    last = Controller.start(folder / "run", trial.last, folder / "last", None)
    assert last.finish() == 0, last.said()
    assert eventually(lambda: not any(alive(event["pid"]) for event in last.trace.events()))
    assert eventually(lambda: shared_memory() <= before), "something is left in shared memory"
    never = whole(in_serial(trial.last), wholes).directory
    return {
        "kills": came,
        "equal": record(folder / "run") == record(never),
        "winner": winner(folder / "run") == winner(never),
        "left": sorted(files(folder / "run") ^ files(never)),
        "last": [trial.last.executor, trial.last.workers],
        "seconds": to_first_segment(last),
    }


def described(kill: Kill, controller: Controller) -> dict[str, Any]:
    return {
        "asked": "clock" if kill.moment is None else kill.moment.phase,
        "in": died_in(controller),
        "what": "everything" if kill.everything else "controller",
        "executor": kill.session.executor,
        "workers": kill.session.workers if kill.session.executor == "processes" else 0,
        "every": kill.session.every,
    }


def winner(directory: Path) -> list[bytes]:
    return [(directory / f"best.{suffix}").read_bytes() for suffix in ("json", "safetensors")]


def files(directory: Path) -> set[str]:
    """What lies in a run's directory, but for checkpoints whose writers have done their work."""
    return {
        path.name
        for path in directory.rglob("*")
        if path.parent.name != "checkpoints" or path.suffix == ".part"
    }


# --- a few kills -----------------------------------------------------------------------------------------

ONE, TWO = Session("processes", 1), Session("processes", 2)
FEW: tuple[tuple[str | None, bool, Session], ...] = (
    *((phase, False, Session()) for phase in ("deciding", "renaming", "committing", *EDGES)),
    *(
        (phase, True, Session())
        for phase in (None, "training", "deciding", "inheriting", "renaming")
    ),
    *((phase, False, ONE) for phase in ("training", "inheriting")),
    *(("writing", False, TWO), ("writing", True, ONE), ("committing", True, Session())),
)


def named(number: int) -> str:
    phase, everything, session = FEW[number]
    return f"{phase or 'clock'}, {session.executor}, {'everything' if everything else 'controller'}"


@pytest.mark.parametrize("number", range(len(FEW)), ids=named)
def test_a_run_that_is_killed_becomes_one_that_never_was(
    number: int, wholes: Path, tmp_path: Path
) -> None:
    planned = trial(number, *FEW[number], wholes)
    # To start workers takes most of the time: here only those have some who are killed first.
    again = tuple(replace(kill, session=in_serial(kill.session)) for kill in planned.kills[1:])
    planned = Trial((planned.kills[0], *again), in_serial(planned.last))
    came = perform(planned, tmp_path, wholes)
    assert came["kills"][0]["killed"] or planned.kills[0].moment is None
    assert right(came)


def in_serial(session: Session) -> Session:
    return replace(session, executor="serial", workers=1)


def right(came: dict[str, Any]) -> bool:
    return bool(came["equal"] and came["winner"] and not came["left"])


# --- while the population changes ------------------------------------------------------------------------

CHANGE = 4  # the transaction that changes it: the configuration and two segments come before it


@pytest.mark.parametrize("population", [2, 5])
@pytest.mark.parametrize(
    "moment",
    [
        *(Moment("deciding", 1, part) for part in (0.0, 0.9)),
        *(Moment("committing", CHANGE, part) for part in (0.0, 0.5, 0.9)),
        *(Moment("training", entry, 0.5) for entry in (2, 3, 5)),
    ],
    ids=lambda moment: f"{moment.phase} {moment.entry}, {moment.part}",
)
def test_a_run_that_is_killed_while_its_population_changes(
    moment: Moment, population: int, tmp_path: Path
) -> None:
    for name in ("whole", "run"):
        first = Controller.start(
            tmp_path / name, Session(), tmp_path / f"{name}-0", Moment("training", 5, 0.5)
        )
        assert first.wait_for(first.trace.held)
        first.kill(True)
    other = Session(population=population)
    killed = Controller.start(tmp_path / "run", other, tmp_path / "killed", moment)
    assert killed.wait_for(killed.trace.held), killed.said()
    killed.kill(True)
    assert moment.phase in died_in(killed)
    for name, session in (("whole", other), ("run", Session())):
        last = Controller.start(tmp_path / name, session, tmp_path / f"{name}-1", None)
        assert last.finish() == 0, last.said()
    assert record(tmp_path / "run") == record(tmp_path / "whole")
    assert winner(tmp_path / "run") == winner(tmp_path / "whole")
    decision = read(tmp_path / "run")[1][1]
    assert (decision.size, decision.plan.members) == (population, tuple(range(population)))


# --- with every part of a plan ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "entry"),
    [("deciding", 2), ("training", 8), ("committing", 9)],
)
def test_a_run_that_is_killed_with_every_part_of_a_plan(
    phase: str, entry: int, wholes: Path, tmp_path: Path
) -> None:
    session = Session(parts=True, every=2)
    kill = Kill(session, True, Moment(phase, entry, 0.5))
    came = perform(Trial((kill,), session), tmp_path, wholes)
    assert came["kills"][0]["killed"]
    assert right(came)
    segments, decisions = read(tmp_path / "run")
    assert any(segment.transform for segment in segments)
    assert any(decision.archived for decision in decisions)


# --- a hundred -------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_hundred_kills(wholes: Path, tmp_path: Path) -> None:
    """At least ten in each phase; half of the controller alone, half of everything; the rest by the clock."""
    phases = [*PHASES * 12, *EDGES * 4, *[None] * 24]
    results = []
    for number, phase in enumerate(phases):
        before = phases[:number].count(phase)
        planned = trial(number, phase, before % 2 == 1, SESSIONS[before // 2 % 3], wholes)
        came = perform(planned, tmp_path / f"{number}", wholes)
        results.append(came)
        print(number, "right" if right(came) else "WRONG", json.dumps(came))
    if target := os.environ.get("POPGRAD_TEST_KILLS"):
        Path(target).write_text(json.dumps(results, indent=1) + "\n")
    kills = [kill for came in results for kill in came["kills"] if kill["killed"]]
    inside = Counter(kill["in"][0] for kill in kills if kill["asked"] in PHASES)
    what = Counter(kill["what"] for kill in kills)
    print(f"{len(kills)} kills, {dict(inside)}, {dict(what)}")
    assert len(kills) >= 100
    assert all(inside[phase] >= 10 for phase in PHASES)
    assert min(what["controller"], what["everything"]) >= 0.4 * len(kills)
    assert [number for number, came in enumerate(results) if not right(came)] == []


# --- SIGTERM ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [Session(), ONE], ids=lambda session: session.executor)
def test_a_run_that_is_terminated_ends_its_workers_and_can_be_gone_on_with(
    session: Session, wholes: Path, tmp_path: Path
) -> None:
    """SIGTERM acts as Ctrl-C, for a run from Python too."""
    controller = Controller.start(
        tmp_path / "run", session, tmp_path / "0", Moment("training", 5, 0.5)
    )
    assert controller.wait_for(controller.trace.held)
    workers = controller.workers()
    assert len(workers) == (session.executor == "processes")
    os.kill(controller.pid, signal.SIGTERM)
    assert controller.finish() == 130, controller.said()
    assert not any(map(alive, workers))
    assert popgrad.load(tmp_path / "run").stopped == "unfinished"
    assert len(popgrad.load(tmp_path / "run").segments) == 4
    assert (tmp_path / "run" / "best.json").exists()  # what there is, as after Ctrl-C
    last = Controller.start(tmp_path / "run", Session(), tmp_path / "1", None)
    assert last.finish() == 0, last.said()
    assert record(tmp_path / "run") == record(whole(Session(), wholes).directory)
