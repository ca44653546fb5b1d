"""IPBT in a run: restarts transform weights, the budget ends it, and a resume goes the same way."""

import popgrad
from popgrad.core.plan import Transform

GIVEN = {
    **{"strategy": "ipbt", "population": 3, "intervals": 20, "interval": 10, "seed": 0},
    **{"executor": "serial", "progress": False, "stagnant_rounds": 1, "slow_rounds": 3},
}


def test_restarts_are_recorded_and_the_budget_is_spent_once():
    result = popgrad.run("quadratic", **GIVEN)
    assert sum(segment.length for segment in result.segments) == 3 * 20
    assert sum(segment.interval == 0 for segment in result.segments) == 6
    assert all(segment.steps == 10 * segment.length for segment in result.segments)

    changed = [segment for segment in result.segments if segment.transform is not None]
    fresh = [segment for segment in result.segments if segment.interval and segment.source is None]
    assert changed
    shrunk = Transform("shrink-perturb", {"keep": 0.2, "noise": 0.1})
    assert all(segment.transform == shrunk for segment in changed)
    assert len(fresh) == len(changed)
    assert {segment.length for segment in changed} == {segment.length for segment in fresh}
    assert min(segment.length for segment in changed) == 2


def test_a_resumed_run_makes_the_same_decisions(tmp_path):
    whole = popgrad.run("quadratic", **GIVEN)
    seen = []

    def stop(end):
        seen.append(end)
        return len(seen) == 3

    popgrad.run("quadratic", directory=tmp_path / "run", on_interval=stop, **GIVEN)
    resumed = popgrad.resume(tmp_path / "run", progress=False)
    assert resumed.segments == whole.segments
    assert resumed.record.decisions == whole.record.decisions
