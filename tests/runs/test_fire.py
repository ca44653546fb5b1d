"""FIRE PBT in a run: roles and curves are recorded, and a resume goes the same way."""

import popgrad

GIVEN = {
    **{"strategy": "fire", "population": 8, "intervals": 6, "interval": 10, "seed": 1},
    **{"executor": "serial", "progress": False},
}


def test_roles_and_curves_are_in_the_record():
    result = popgrad.run("quadratic", **GIVEN)
    roles = [segment.role for segment in result.segments if segment.interval == 0]
    assert roles == ["p1"] * 3 + ["p2"] * 3 + ["evaluator"] * 2
    assert {len(segment.evaluations) for segment in result.segments} == {10}
    assert len(result.segments) == 48  # evaluators are part of the budget
    # The evaluators train the weights of P2.
    parents = {s.source for s in result.segments if s.role == "evaluator" and s.interval == 1}
    assert parents <= {(member, 0) for member in (3, 4, 5)}


def test_a_resumed_run_makes_the_same_decisions(tmp_path):
    whole = popgrad.run("quadratic", **GIVEN)
    popgrad.run("quadratic", directory=tmp_path / "run", on_interval=lambda end: True, **GIVEN)
    resumed = popgrad.resume(tmp_path / "run", progress=False)
    assert resumed.segments == whole.segments
    assert resumed.record.decisions == whole.record.decisions
