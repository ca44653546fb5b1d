"""A loop as a task: made, referred to, evaluated, and its source compared."""

import functools

import pytest
import torch
from torch.nn import functional

import popgrad
from loops.loops import INPUTS, TARGETS, Trainer, make, network, plain
from popgrad.core.errors import UsageError
from popgrad.loops.loop import Loop
from popgrad.tasks.base import is_modular
from popgrad.tasks.reference import full_reference, resolve_task, source_digest

SPACE = {"lr": popgrad.LogUniform(1e-4, 0.5)}


def evaluate(model, split):
    assert not model.training
    assert not torch.is_grad_enabled()
    return {"loss": functional.mse_loss(model(INPUTS), TARGETS).item() + (split == "test")}


def test_a_decorator_and_a_call_make_the_same_task():
    @popgrad.loop(space=SPACE, minimize="loss")
    def train(m):
        plain(m)

    assert isinstance(train, Loop)
    assert (train.score, train.name) == ("-loss", "train")
    made = popgrad.loop(plain, space=SPACE, score="-loss")
    assert (made.score, made.name, made.space) == ("-loss", "plain", train.space)


def test_a_partial_function_is_a_loop_too():
    def function(m, extra):
        m["lr"]
        for _ in m:
            m.report(loss=extra)

    task = make(functools.partial(function, extra=0.5))
    assert task.name == "function"
    assert Trainer(task).after(1)["metrics"] == {"loss": 0.5}


async def coroutine(m):
    pass


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: popgrad.loop(plain, space=SPACE), "score: expected the name of the metric"),
        (lambda: popgrad.loop(plain, space=None, score="x"), "space: expected a Space"),
        (
            lambda: popgrad.loop(3, space=SPACE, score="x"),
            "expected a function that takes a member, got 3",
        ),
        (lambda: popgrad.loop(lambda: None, space=SPACE, score="x"), "of one argument, the member"),
        (lambda: popgrad.loop(lambda a, b: None, space=SPACE, score="x"), r"got one of \(a, b\)"),
        (lambda: popgrad.loop(coroutine, space=SPACE, score="x"), "got one with async"),
        (lambda: popgrad.loop(plain, space=SPACE, score="x", reuse="yes"), 'True, False or "auto"'),
        (
            lambda: popgrad.loop(plain, space=SPACE, score="x", module=3),
            "module: expected a function",
        ),
        (lambda: popgrad.loop(make(plain), space=SPACE, score="x"), "is a loop already"),
        (lambda: popgrad.loop(plain, space=SPACE, score="a", minimize="b"), "minimize"),
    ],
)
def test_a_wrong_argument_is_refused(make_it, message):
    with pytest.raises(UsageError, match=message):
        make_it()


# --- evaluation and the network -------------------------------------------------------------------


def test_the_metrics_of_a_state_are_those_that_were_reported():
    trainer = Trainer(make(plain))
    state = trainer.after(2)
    metrics = trainer.loop.evaluate(state, trainer.hparams, "validation", popgrad.Context())
    assert metrics == state["metrics"]


def test_another_split_needs_an_evaluation():
    trainer = Trainer(make(plain))
    with pytest.raises(UsageError, match="loop plain: no evaluation on the test split"):
        trainer.loop.evaluate(trainer.fresh(), trainer.hparams, "test", popgrad.Context())


def test_an_evaluation_gets_the_trained_module():
    task = make(plain, evaluate=evaluate, module=lambda hparams: network())
    trainer = Trainer(task)
    state = trainer.after(2)
    metrics = task.evaluate(state, trainer.hparams, "test", popgrad.Context())
    assert metrics["loss"] == pytest.approx(state["metrics"]["loss"] + 1.0, rel=1e-6)


def test_without_a_module_an_evaluation_gets_the_tracked_states():
    def function(m):
        m["lr"]
        weight = torch.zeros(2)
        m.track(weight=weight)
        for _ in m:
            weight += 1.0
            m.report(loss=0.0)

    task = make(function, evaluate=lambda states, split: {"sum": states["weight"]["tensor"].sum()})
    trainer = Trainer(task)
    assert task.evaluate(trainer.after(2), {"lr": 0.1}, "test", popgrad.Context()) == {"sum": 4.0}


def test_only_a_loop_with_a_module_has_networks():
    assert not is_modular(make(plain))
    assert is_modular(make(plain, module=lambda hparams: network()))
    with pytest.raises(UsageError, match="give module="):
        make(plain).module({}, {})


def test_the_winner_is_written_and_loaded(tmp_path):
    task = make(plain, evaluate=evaluate, module=lambda hparams: network())
    keys = {"population": 3, "intervals": 2, "executor": "serial", "progress": False}
    result = popgrad.run(task, directory=tmp_path / "run", **keys)
    model = popgrad.load_model(tmp_path / "run" / "best.safetensors", task=task)
    loss = functional.mse_loss(model(INPUTS), TARGETS).item()
    assert loss == pytest.approx(result.winner.segment.metrics["loss"], rel=1e-6)
    assert result.test()["loss"] == pytest.approx(loss + 1.0, rel=1e-6)


def test_the_module_is_the_one_named_model_among_several():
    def function(m):
        model, other = network(), network()
        m.track(other=other, model=model)
        m["lr"]
        for _ in m:
            m.report(loss=0.0)

    trainer = Trainer(make(function, module=lambda hparams: network()))
    state = trainer.after(1)
    module = trainer.loop.module(state, {"lr": 0.1})
    assert torch.equal(module[0].weight, state["model"]["0.weight"])


# --- references and sources -----------------------------------------------------------------------

SCRIPT = """
import popgrad

RATE = 0.5

@popgrad.loop(space={"lr": popgrad.LogUniform(1e-4, 0.5)}, minimize="loss")
def train(m):
    m.state["x"] = 1.0
    for _ in m:
        m.state["x"] -= m["lr"] * RATE * m.state["x"]
        m.report(loss=m.state["x"] ** 2)
"""


def test_a_file_with_a_loop_is_a_task(tmp_path):
    file = tmp_path / "train.py"
    file.write_text(SCRIPT)
    assert full_reference(str(file)) == f"{file}:train"
    assert isinstance(resolve_task(f"{file}:train", {}), Loop)


def test_a_loop_without_its_decorator_is_refused_with_the_cure(tmp_path):
    file = tmp_path / "train.py"
    file.write_text("def train(m):\n    pass\n")
    with pytest.raises(UsageError, match="takes a member; make a task of it: put @popgrad"):
        resolve_task(f"{file}:train", {})


def test_the_digest_covers_the_whole_file_of_a_loop(tmp_path):
    file = tmp_path / "train.py"
    file.write_text(SCRIPT)
    before = source_digest(resolve_task(f"{file}:train", {}), None)
    assert source_digest(resolve_task(f"{file}:train", {}), None) == before
    file.write_text(SCRIPT.replace("RATE = 0.5", "RATE = 0.4"))
    assert source_digest(resolve_task(f"{file}:train", {}), None) != before


# --- intervals ------------------------------------------------------------------------------------


def run(task, **keys):
    return popgrad.run(task, population=2, executor="serial", check=False, progress=False, **keys)


def test_an_interval_is_a_report_by_default():
    result = run(make(plain), intervals=2)
    assert result.config.interval == "1 report"
    assert result.winner.schedule.steps == 2


def test_an_interval_may_be_several_reports():
    assert run(make(plain), intervals=2, interval="3 reports").winner.schedule.steps == 6


def test_an_interval_may_be_batches():
    def function(m):
        m["lr"]
        for _ in m:
            for _ in m.batches([1, 2, 3]):
                pass
            m.report(loss=0.0)

    result = run(make(function), intervals=2, interval=5)
    assert result.winner.schedule.steps == 10


@pytest.mark.parametrize(
    ("task", "interval", "message"),
    [
        (make(plain), 5, "take them all from m.batches"),
        (make(plain), "1 epoch", "a training loop counts no epochs; give its reports"),
        ("quadratic", "1 report", "a Quadratic makes no reports, only a training loop does"),
    ],
)
def test_an_interval_in_another_unit_is_refused(task, interval, message):
    with pytest.raises(UsageError, match=message):
        run(task, intervals=2, interval=interval)


def test_a_stack_takes_no_loops():
    with pytest.raises(UsageError, match="only those of a TorchTask can, and this is a Loop"):
        popgrad.run(make(plain), population=2, executor="vectorised", progress=False)
