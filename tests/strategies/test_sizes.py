"""Runs that change their size, with members that fail, under each strategy that selects otherwise."""

import math

import numpy as np
import pytest

import popgrad
from popgrad.core.space import Choice, Integer, LogUniform, Space

SETTINGS = {
    "gap": {},
    "initiator": {},
    "mo-pbt": {"objectives": ["reward", "-width"]},
    "pairwise": {},
    "t-test": {"alpha": 0.5},
    "threshold": {},
    "tournament": {},
}


class Failing:
    """A task with random scores of several samples, of which every sixth fails."""

    space = Space(
        {
            "lr": LogUniform(1e-4, 1.0),
            "act": Choice(("relu", "elu")),
            "width": Integer(1, 64, init_only=True),
        }
    )
    score = "reward"

    def init(self, hparams, ctx):
        return {"width": hparams["width"]}

    def train(self, state, hparams, steps, ctx):
        # An init-only hyperparameter has to be that of the weights.
        assert state["width"] == hparams["width"]
        return state

    def evaluate(self, state, hparams, split, ctx):
        rng = np.random.default_rng([ctx.member, ctx.interval])
        samples = rng.normal(size=5)
        if rng.random() < 1 / 6:
            samples[0] = math.nan
        return {"reward": samples.tolist(), "width": float(hparams["width"])}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("name", SETTINGS)
def test_failed_and_new_members_inherit_from_living_ones_at_every_size(name, mode, tmp_path):
    if name == "pairwise" and mode == "async":
        pytest.skip("it decides for all members at once")
    settings = {"interval": 1, "executor": "serial", "strategy": name, "mode": mode}
    directory = tmp_path / "run"
    popgrad.run(
        Failing(), population=6, intervals=4, directory=directory, **settings, **SETTINGS[name]
    )
    popgrad.resume(directory, task=Failing(), population=9, intervals=8)
    result = popgrad.resume(directory, task=Failing(), population=3, intervals=12)

    assert result.size == 3
    assert result.stopped == "finished"
    by_id = {segment.id: segment for segment in result.segments}
    heirs = [segment for segment in result.segments if segment.source is not None]
    assert any(segment.failed for segment in result.segments)
    assert not any(by_id[segment.source].failed for segment in heirs)
    # New members are clones: after the first segments, none starts fresh.
    fresh = [segment for segment in result.segments if segment.source is None]
    assert all(segment.interval == 0 and segment.member < 6 for segment in fresh)
