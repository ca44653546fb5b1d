"""Members in Lightning: equal to an uninterrupted fit, one record everywhere, and faults that teach."""

import logging
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_limits

pytest.importorskip("lightning")

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, StochasticWeightAveraging

import lightning_loops as loops
import popgrad
from popgrad.core.errors import UsageError
from popgrad.integrations.lightning import PopgradCallback
from popgrad.integrations.lightning_trainer import LIBRARIES
from popgrad.loops.member import Finished
from popgrad.state import digest
from popgrad.tasks.evaluation import seed_generators
from program import SRC, start_program
from spies import record

pytestmark = [
    pytest.mark.slow,
    # Lightning's own, under a torch that is newer.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]

RUN: dict[str, Any] = {"progress": False, "check": False, "executor": "serial"}
ALONE: dict[str, Any] = {"population": 1, "strategy": "random-search", **RUN}
SMALL: dict[str, Any] = {"population": 4, "intervals": 4, **RUN}

SCRIPTS = [
    *(loops.by_step, loops.by_epoch, loops.plateau, loops.mixed, loops.patient, loops.averaged),
    *(loops.in_workers, loops.sampled, loops.gan),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    loops.SEEDS.clear()
    loops.LIVE.clear()
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def run_alone(script: loops.Fit, **changes: Any) -> Any:
    return popgrad.run(loops.task(script), **{**ALONE, "intervals": loops.EPOCHS, **changes})


# --- an uninterrupted fit --------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [pytest.param(1, marks=pytest.mark.long), 3])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: each.__name__)
def test_a_member_alone_is_an_uninterrupted_fit(script: loops.Fit, interval: int) -> None:
    count = loops.EPOCHS // interval
    result = run_alone(script, intervals=count, interval=f"{interval} reports")
    state = result.winner.state

    with threadpool_limits(1):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        seed_generators(loops.SEEDS[0][1])
        seeds = loops.Seeds([train for _, _, train in loops.SEEDS], interval)
        trainer, net = script(result.segments[0].hparams, [seeds])
        torch.set_num_threads(threads)

    for name, tensor in seeds.trained.items():
        assert torch.equal(tensor, state["model"][name]), name
    for number, optimizer in enumerate(trainer.optimizers):
        moments = state["tracked"][f"optimizers.{number}"]["moments"]
        assert digest(moments) == digest(optimizer.state_dict()["state"])
    for number, config in enumerate(trainer.lr_scheduler_configs):
        saved = state["tracked"][f"schedulers.{number}"]["state"]
        assert digest(saved) == digest(config.scheduler.state_dict())
    for name, value in result.segments[-1].metrics.items():
        assert value == float(trainer.callback_metrics[name]), name

    rest = state["tracked"]["trainer"]["state"]
    averages = [each for each in trainer.callbacks if hasattr(each, "_average_model")]
    for number, each in enumerate(averages):
        average = state["tracked"][f"averages.{number}"]["tensors"]
        for name, tensor in each._average_model.state_dict().items():
            assert torch.equal(tensor, average[name]), name
    for each in trainer.callbacks:
        if isinstance(each, EarlyStopping):
            assert digest(rest["callbacks"][each.state_key]) == digest(each.state_dict())
    if isinstance(net, loops.Net):
        assert rest["module"] == {"validations": loops.EPOCHS} == {"validations": net.validations}


def test_the_last_step_of_each_script_was_taken_and_a_rate_was_reduced() -> None:
    """The comparisons above compare something: all steps, and a plateau that has acted."""
    result = run_alone(loops.plateau)
    assert len(loops.LIVE) == loops.EPOCHS * 6
    assert loops.LIVE[-1].rate < result.segments[0].hparams["lr"]
    assert [step.epoch for step in loops.LIVE] == sorted([*range(loops.EPOCHS)] * 6)


# --- a population ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [loops.by_step, pytest.param(loops.in_workers, marks=pytest.mark.long)],
    ids=lambda each: each.__name__,
)
def test_the_record_is_the_same_everywhere(script: loops.Fit, tmp_path: Path) -> None:
    task = loops.task(script)
    serial = popgrad.run(task, directory=tmp_path / "serial", **SMALL)
    assert any(row.source is not None and row.source[0] != row.id[0] for row in serial.segments)

    two = {**SMALL, "executor": "processes", "workers": 2, "directory": tmp_path / "processes"}
    popgrad.run(task, **two)
    assert record(tmp_path / "processes") == record(tmp_path / "serial")

    popgrad.run(task, **{**SMALL, "intervals": 2, "directory": tmp_path / "resumed"})
    popgrad.resume(tmp_path / "resumed", task=task, intervals=4, progress=False)
    assert record(tmp_path / "resumed") == record(tmp_path / "serial")

    assert popgrad.replay(tmp_path / "serial", task=task).identical


def cosine(step: int) -> float:
    return (1.0 + math.cos(math.pi * step / (loops.EPOCHS * 6))) / 2.0


def test_the_recorded_values_are_live_in_each_step() -> None:
    result = popgrad.run(loops.task(loops.by_step), **SMALL)
    rows = {row.id: row for row in result.segments}
    heirs = {row.id for row in result.segments if row.source and row.source[0] != row.id[0]}
    assert heirs

    assert len(loops.LIVE) == 4 * 4 * 6
    for step in loops.LIVE:
        hparams = rows[step.member, step.interval].hparams
        assert step.hparams == hparams
        assert (step.base, step.weight_decay) == (hparams["lr"], hparams["weight_decay"])
        assert step.rate == pytest.approx(cosine(step.epoch * 6 + step.batch) * hparams["lr"])
        assert step.of_module == hparams["lr"]
        assert step.epoch == step.interval
        assert step.max_epochs == loops.EPOCHS


def test_learning_rate_is_the_rate_of_the_optimizer() -> None:
    def script(hparams: Any, callbacks: list[Any]) -> Any:
        return loops.by_step({"weight_decay": 0.01, "lr": hparams["learning_rate"]}, callbacks)

    space = {"learning_rate": popgrad.LogUniform(1e-3, 1e-1)}
    popgrad.run(loops.task(script, space=space), **SMALL)
    assert loops.LIVE
    assert all(step.base == step.hparams["learning_rate"] for step in loops.LIVE)


def test_a_used_loop_gives_the_record_too() -> None:
    new = popgrad.run(loops.task(loops.by_step), **SMALL)
    used = popgrad.run(loops.task(loops.by_step, reuse=True), **SMALL)
    assert used.segments == new.segments


# --- length of a run -------------------------------------------------------------------------------------


def test_a_run_may_be_longer_than_the_trainer() -> None:
    def script(hparams: Any, callbacks: list[Any]) -> Any:
        return loops.fit(hparams, callbacks, max_epochs=2)

    popgrad.run(loops.task(script), **ALONE, intervals=2, interval="3 reports")
    assert [step.epoch for step in loops.LIVE[::6]] == [0, 1, 2, 3, 4, 5]
    # Modules that scale by it see their user's value, as long as that is not passed.
    assert [step.max_epochs for step in loops.LIVE[::6]] == [2, 2, 3, 4, 5, 6]


def test_a_trainer_does_not_end_in_the_middle_of_an_epoch() -> None:
    def script(hparams: Any, callbacks: list[Any]) -> Any:
        return loops.fit(hparams, callbacks, max_steps=9, max_epochs=-1)

    popgrad.run(loops.task(script), **ALONE, intervals=3)
    assert len(loops.LIVE) == 18


def test_popgrad_overrules_early_stopping_with_a_warning() -> None:
    def script(hparams: Any, callbacks: list[Any]) -> Any:
        stopping = EarlyStopping("val_loss", patience=1, min_delta=100.0)
        return loops.fit(hparams, [*callbacks, stopping])

    with pytest.warns(UserWarning, match="popgrad decides when to stop"):
        result = popgrad.run(loops.task(script), **ALONE, intervals=4)
    assert len(result.segments) == 4
    assert len(loops.LIVE) == 24
    (stopping,) = result.winner.state["tracked"]["trainer"]["state"]["callbacks"].values()
    assert stopping["wait_count"] == 3


def test_a_run_in_batches_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r'got a number of batches.*"1 report".*limit_train_batches=N'
    ):
        popgrad.run(loops.task(loops.by_step), **ALONE, intervals=2, interval=200)


def test_an_epoch_may_be_any_number_of_batches() -> None:
    def script(hparams: Any, callbacks: list[Any]) -> Any:
        return loops.fit(hparams, callbacks, limit_train_batches=4)

    popgrad.run(loops.task(script), **ALONE, intervals=2)
    assert [(step.epoch, step.batch) for step in loops.LIVE] == [
        (e, b) for e in (0, 1) for b in range(4)
    ]


# --- metrics ---------------------------------------------------------------------------------------------


def every_second(hparams: Any, callbacks: list[Any]) -> Any:
    return loops.fit(hparams, callbacks, check_val_every_n_epoch=2)


def test_the_metric_that_ranks_has_to_be_logged_in_the_epoch() -> None:
    """That of the sanity check does not count."""
    message = (
        r"'val_loss', but the epoch has logged train_loss; log it in each epoch, "
        r"self.log\('val_loss', ...\) in validation_step.*check_val_every_n_epoch=1"
    )
    with pytest.raises(UsageError, match=message):
        popgrad.run(loops.task(every_second), **ALONE, intervals=2)


def test_a_metric_of_an_earlier_epoch_does_not_count() -> None:
    result = popgrad.run(loops.task(every_second), **ALONE, intervals=2, interval="2 reports")
    assert len(result.segments) == 2
    with pytest.raises(UsageError, match="the epoch has logged train_loss;"):
        popgrad.run(loops.task(every_second), **ALONE, intervals=2, interval="3 reports")


def test_a_misspelt_metric_is_named() -> None:
    with pytest.raises(
        UsageError, match="'valid_loss', but the epoch has logged train_loss, val_loss;"
    ):
        popgrad.run(loops.task(loops.by_step, minimize="valid_loss"), **ALONE, intervals=1)


# --- trainers that a member cannot drive -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"devices": 2},
            "one process on one device, got DDPStrategy with 2 devices; give devices=1",
        ),
        ({"devices": 2, "strategy": "ddp_spawn"}, "got DDPStrategy with 2 devices"),
        ({"devices": 1, "strategy": "ddp"}, "got DDPStrategy with 1 devices"),
        ({"reload_dataloaders_every_n_epochs": 2}, "got reload_dataloaders_every_n_epochs=2"),
    ],
)
def test_a_trainer_that_cannot_be_driven_is_refused(options: dict[str, Any], message: str) -> None:
    def script(hparams: Any, callbacks: list[Any]) -> Any:
        return loops.fit(hparams, callbacks, **options)

    with pytest.raises(UsageError, match=message):
        popgrad.run(loops.task(script), **ALONE, intervals=1)
    assert multiprocessing.active_children() == []
    assert "LOCAL_RANK" not in os.environ


def test_a_refused_strategy_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", start)

    def script(hparams: Any, callbacks: list[Any]) -> Any:
        return loops.fit(hparams, callbacks, devices=2)

    with pytest.raises(UsageError, match="one process on one device"):
        popgrad.run(loops.task(script), **ALONE, intervals=1, outputs=False)


def test_averages_that_nothing_can_inherit_are_refused() -> None:
    def script(hparams: Any, callbacks: list[Any]) -> Any:
        return loops.fit(hparams, [*callbacks, StochasticWeightAveraging(1e-2)])

    with pytest.raises(UsageError, match=r"StochasticWeightAveraging.*EMAWeightAveraging"):
        popgrad.run(loops.task(script), **ALONE, intervals=1)


def test_a_checkpoint_to_start_from_is_refused(tmp_path: Path) -> None:
    trainer, _ = loops.fit({"lr": 0.01, "weight_decay": 0.0}, [], max_epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")

    def train(m: Any) -> None:
        trainer = pl.Trainer(callbacks=[PopgradCallback(m)], max_epochs=2, **loops.QUIET)
        net = loops.Net(m["lr"], m["weight_decay"])
        trainer.fit(net, loops.loader(), loops.validation(), ckpt_path=tmp_path / "one.ckpt")

    task = popgrad.loop(train, space=loops.SPACE, minimize="val_loss")
    with pytest.raises(UsageError, match=r"got ckpt_path.*load_from_checkpoint"):
        popgrad.run(task, **ALONE, intervals=1)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"needs lightning: pip install 'popgrad\[lightning\]'"):
        popgrad.run(loops.task(loops.by_step), **ALONE, intervals=1)


# --- loaders ---------------------------------------------------------------------------------------------


def test_loaders_that_are_made_again_know_their_epoch() -> None:
    requested = []

    class Reloaded(loops.Data):
        def train_dataloader(self) -> Any:
            requested.append(self.trainer.current_epoch)
            return loops.loader()

    def script(hparams: Any, callbacks: list[Any]) -> Any:
        return loops.fit(hparams, callbacks, data=Reloaded(), reload_dataloaders_every_n_epochs=1)

    popgrad.run(loops.task(script), **ALONE, intervals=3)
    # Each setup requests one, and each epoch behind it; the last of a segment is that of its boundary.
    assert requested == [0, 0, 1, 0, 1, 2, 0, 2, 3]


# --- the end of a segment --------------------------------------------------------------------------------


def test_a_segment_tears_its_trainer_down(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []
    bars: list[Any] = []

    class Noted(loops.Net):
        def teardown(self, stage: str) -> None:
            calls.append("module")

    class Prepared(loops.Data):
        def teardown(self, stage: str) -> None:
            calls.append("data")

    class Ending(pl.Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            calls.append("trained")

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            calls.append("failed")

        def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
            calls.append("callback")

    class Log(pl.loggers.CSVLogger):
        def finalize(self, status: str) -> None:
            calls.append(status)
            super().finalize(status)

    def train(m: Any) -> None:
        bars.append(pl.callbacks.TQDMProgressBar())
        log = Log(tmp_path)
        options = {**loops.QUIET, "enable_progress_bar": True, "logger": log, "max_epochs": 9}
        options["log_every_n_steps"] = 1
        trainer = pl.Trainer(callbacks=[PopgradCallback(m), Ending(), bars[-1]], **options)
        try:
            trainer.fit(Noted(m["lr"], m["weight_decay"]), Prepared())
        except Finished:
            calls.append("finished")
            raise
        calls.append("behind")

    task = popgrad.loop(train, space=loops.SPACE, minimize="val_loss")
    handler = signal.getsignal(signal.SIGTERM)  # a library of another test may have set one
    popgrad.run(task, **ALONE, intervals=1)
    assert calls == ["data", "callback", "module", "success", "finished"] * 2
    assert multiprocessing.active_children() == []
    assert bars[-1].train_progress_bar.disable  # closed
    assert signal.getsignal(signal.SIGTERM) is handler
    capfd.readouterr()


def test_checkpoints_of_lightning_are_written_and_their_paths_do_not_travel(tmp_path: Path) -> None:
    def script(hparams: Any, callbacks: list[Any]) -> Any:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        keeper = ModelCheckpoint(folder, monitor="val_loss")
        return loops.fit(hparams, [*callbacks, keeper], enable_checkpointing=True)

    result = popgrad.run(loops.task(script), **ALONE, intervals=2)
    assert list(tmp_path.rglob("*.ckpt"))
    assert str(tmp_path) not in repr(result.winner.state)


def test_an_error_of_the_module_is_a_failed_segment() -> None:
    class Broken(loops.Net):
        def on_train_epoch_end(self) -> None:
            raise ValueError("broken here")

    def script(hparams: Any, callbacks: list[Any]) -> Any:
        return loops.fit(hparams, callbacks, module=Broken(hparams["lr"], hparams["weight_decay"]))

    with pytest.raises(popgrad.PopgradError, match="broken here"):
        popgrad.run(loops.task(script), **ALONE, intervals=1)


# --- Lightning alone -------------------------------------------------------------------------------------


def test_a_checkpoint_replaces_the_values_that_were_asked_for(tmp_path: Path) -> None:
    """The trap of `fit(ckpt_path=)`, which docs/lightning.md names."""
    trainer, _ = loops.fit({"lr": 0.01, "weight_decay": 0.01}, [], schedule="epoch", max_epochs=2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    live: list[Any] = []

    class Live(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            (group,) = trainer.optimizers[0].param_groups
            bases = trainer.lr_scheduler_configs[0].scheduler.base_lrs
            asked = (pl_module.hparams.lr, pl_module.hparams.weight_decay)
            live.append((group["lr"], group["initial_lr"], bases, group["weight_decay"], asked))

    net = loops.Net(lr=0.005, weight_decay=0.3, schedule="epoch")
    trainer = pl.Trainer(max_epochs=4, callbacks=[Live()], **loops.QUIET)
    trainer.fit(net, loops.loader(), loops.validation(), ckpt_path=tmp_path / "two.ckpt")
    assert len(live) == 2 * 6
    for _, initial, bases, decay, asked in live:
        assert asked == (0.005, 0.3)
        assert (initial, bases, decay) == (0.01, [0.01], 0.01)
    # The cosine of the donor's rate.
    assert live[0][0] == pytest.approx(0.01 * cosine(12))
    assert live[-1][0] == pytest.approx(0.01 * cosine(18))


# --- other processes -------------------------------------------------------------------------------------

OTHER = """
import sys
import IMPORTED as pl
import torch
import popgrad
from popgrad.integrations.lightning import PopgradCallback
from popgrad.integrations.lightning_trainer import LIBRARIES

class Net(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.layer, self.lr = torch.nn.Linear(2, 1), lr
    def training_step(self, batch):
        loss = self.layer(batch).square().mean()
        self.log("loss", loss)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(8, 2), 4)

def train(m):
    callback = PopgradCallback(m)
    assert isinstance(callback, pl.Callback)
    trainer = pl.Trainer(max_epochs=2, callbacks=callback, accelerator="cpu", logger=False,
                         enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(Net(m["lr"]))

task = popgrad.loop(train, space={"lr": popgrad.LogUniform(1e-3, 0.1)}, minimize="loss")
result = popgrad.run(task, population=2, intervals=2, executor="serial", progress=False)
names = ("lightning.pytorch", "pytorch_lightning")
print([name for name in names if name in sys.modules])
"""


@pytest.mark.parametrize(
    "names", [["pytorch_lightning"], ["lightning.pytorch", "pytorch_lightning"]]
)
def test_either_library_works_and_both(names: list[str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    also = "".join(f"import {name}\n" for name in names)
    script.write_text(also + OTHER.replace("IMPORTED", names[-1]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        env=os.environ | {"PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(str(names))


STOPPED = """
import os, pathlib, signal
import lightning.pytorch as pl
import lightning_loops as loops
import popgrad
from popgrad.integrations.lightning import PopgradCallback
from popgrad.integrations.lightning_trainer import LIBRARIES

class Signal(pl.Callback):
    def __init__(self, m):
        self.m = m
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        sent = pathlib.Path(__file__).with_suffix(".sent")
        if (self.m.interval, batch_idx) == (1, 3) and os.environ.get("SIGNAL") and not sent.exists():
            sent.touch()
            to = os.getpid() if os.environ["SERIAL"] else os.getppid()
            os.kill(to, int(os.environ["SIGNAL"]))

def train(m):
    loops.by_step({name: m[name] for name in loops.SPACE}, [Signal(m), PopgradCallback(m)])

task = popgrad.loop(train, space=loops.SPACE, minimize="val_loss")
"""


@pytest.mark.parametrize(
    ("number", "executor"),
    [
        pytest.param(signal.SIGINT, "processes", marks=pytest.mark.long),
        (signal.SIGTERM, "serial"),
        pytest.param(signal.SIGINT, "serial", marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, "processes", marks=pytest.mark.long),
    ],
)
def test_a_run_that_is_stopped_ends_with_130_and_is_resumed(
    number: signal.Signals, executor: str, tmp_path: Path
) -> None:
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    variables = {"PYTHONPATH": os.pathsep.join([SRC, str(Path(loops.__file__).parent)])}
    command = (
        "run",
        f"{script}:task",
        "--population",
        "3",
        "--intervals",
        "3",
        "--no-check",
        "--no-test",
        "--dir",
    )
    directory = str(tmp_path / "run")
    program = start_program(
        *command,
        directory,
        "--executor",
        executor,
        "--workers",
        "1",
        SIGNAL=str(int(number)),
        SERIAL="yes" if executor == "serial" else "",
        **variables,
    )
    _, err = program.communicate(timeout=100)
    assert program.returncode == 130, err
    assert f"continue with: popgrad resume {directory}" in err
    assert len(popgrad.load(directory).segments) == 3

    for argv in (("resume", directory, "--no-test"), (*command, str(tmp_path / "whole"))):
        program = start_program(*argv, "--executor", "serial", **variables)
        _, err = program.communicate(timeout=100)
        assert program.returncode == 0, err
    assert record(directory) == record(tmp_path / "whole")
