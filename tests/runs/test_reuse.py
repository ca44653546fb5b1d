"""`reuse="auto"`: loops are used again only if the check finds nothing that leaks, and the run says so."""

import logging

import pytest

import popgrad
from loops.loops import make, network, plain, train_round
from popgrad.store.directory import open_record

KEYS = {"population": 3, "intervals": 2, "executor": "serial", "seed": 2, "progress": False}


def leaking(m):
    import torch

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    seen = [0]
    for _ in m:
        train_round(m, model, optimizer, steps=len(seen))
        seen.append(0)


@pytest.mark.parametrize(
    ("function", "reuse", "said"),
    [
        (plain, True, "loops are used again, since the check found nothing that leaks"),
        (
            leaking,
            False,
            "each segment gets a new loop: one that has served another member would keep",
        ),
    ],
)
def test_reuse_is_earned_recorded_and_told(function, reuse, said, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="popgrad")
    task = make(function, reuse="auto")
    result = popgrad.run(task, directory=tmp_path / "run", **KEYS)
    assert said in caplog.text
    assert open_record(tmp_path / "run").reuse is reuse
    # The record is that of new loops either way.
    assert result.segments == popgrad.run(make(function), **KEYS).segments


def test_a_resumed_run_keeps_its_choice(tmp_path, caplog):
    task = make(plain, reuse="auto")
    popgrad.run(task, directory=tmp_path / "run", **KEYS)
    caplog.clear()
    caplog.set_level(logging.INFO, logger="popgrad")
    popgrad.resume(tmp_path / "run", task=task, intervals=3, progress=False)
    assert "loops are used again" not in caplog.text
    assert open_record(tmp_path / "run").reuse is True


def test_a_task_that_is_no_loop_has_no_choice(tmp_path):
    popgrad.run("quadratic", directory=tmp_path / "run", **KEYS)
    assert open_record(tmp_path / "run").reuse is None
