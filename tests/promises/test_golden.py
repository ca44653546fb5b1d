"""Five runs have the record that they had before the code was laid out anew, digest by digest.

The bits of a state depend on the machine: they are compared on a machine with the recorded
arithmetic, and the rest of the record everywhere.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import Result
from popgrad.executors.fingerprint import fingerprint_with
from popgrad.store.directory import open_record

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "serial": ("digits", {"seed": 3, "executor": "serial"}),
    "processes": ("digits", {"seed": 3, "executor": "processes", "workers": 2}),
    "stacked": ("digits", {"seed": 3, "executor": "vectorised", "workers": 1}),
    "async": ("digits", {"seed": 3, "mode": "async", "workers": 1}),
    "mnist": ("mnist-fc", {"intervals": 2}),
}
BITS = ("arithmetic", "capability", "machine", "torch", "numpy")


def record_digest(result: Result, directory: Path) -> str:
    """SHA-256 of all segments and decisions."""
    record = open_record(directory, all_decisions=True)
    segments = [
        [
            *(s.member, s.interval, s.source, dict(s.hparams), dict(s.changes), s.seed),
            *(
                s.first_step,
                s.steps,
                s.samples,
                s.score,
                dict(s.metrics),
                s.digest,
                s.status,
                s.error,
            ),
        ]
        for s in result.segments
    ]
    decisions = [
        [
            *(d.number, d.plan.members, d.plan.sources, [dict(h) for h in d.plan.hparams]),
            *([dict(c) for c in d.plan.changes], dict(d.memory), d.starts, d.size),
        ]
        for d in record.decisions
    ]
    return hashlib.sha256(json.dumps([segments, decisions]).encode()).hexdigest()


@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_the_record_that_it_had_before(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    task, keys = RUNS[name]
    golden = GOLDEN[name]
    if name == "mnist":
        keys = {**keys, "data_dir": request.getfixturevalue("mnist_dir")}
    result = popgrad.run(task, directory=tmp_path / "run", outputs=False, **keys)

    assert len(result.segments) == golden["segments"]
    record = open_record(tmp_path / "run", all_decisions=True)
    assert len(record.decisions) == golden["decisions"]
    first = [dict(segment.hparams) for segment in result.segments if segment.interval == 0]
    assert first == golden["first_hparams"]

    present = fingerprint_with()
    differing = [key for key in BITS if present[key] != golden["fingerprint"][key]]
    if differing:
        pytest.skip(f"bits are those of another machine: {', '.join(differing)} differ")
    assert record_digest(result, tmp_path / "run") == golden["record"]


def test_processes_have_the_record_of_one_process() -> None:
    assert GOLDEN["serial"]["record"] == GOLDEN["processes"]["record"]
