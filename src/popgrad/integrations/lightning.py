"""Lightning: a callback that makes each `Trainer.fit` train one member, epoch by epoch.

The boundary between two epochs is `on_train_epoch_start`, the only hook at which the epoch behind is
complete and nothing of the next has started: schedulers that step by the epoch do so after
`on_train_epoch_end`, and the iterator over the data is renewed after this hook. `PopgradCallback` has the
priority over other callbacks, so that their epoch begins with the state that the member continues from.
"""

import functools
import importlib
import inspect
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.core.score import Score
from popgrad.integrations.lightning_trainer import (
    LIBRARIES,
    ONE_DEVICE,
    TrainerState,
    averages,
    check_devices,
    check_trainer,
    is_a,
    tear_down,
)
from popgrad.loops.member import Finished, Member

_NEVER = sys.maxsize
"""Epochs before which a callback cannot stop a trainer."""


def PopgradCallback(m: Member) -> Any:  # noqa: N802  # the class of a callback has this name in Lightning
    """Return the callback through which a member drives a `Trainer`.

    A round of the member is an epoch, and its report is what the module has logged in the epoch
    (`trainer.callback_metrics`). Everything that a checkpoint of Lightning holds travels: the module, its
    optimizers and schedulers, the progress of the loops, and the states of callbacks and of the data
    module; but for `ModelCheckpoint` and `Timer`, which hold paths and clock times.

    popgrad decides when to stop: `max_epochs` is the length that schedulers are made for, and a callback
    that stops the trainer is overruled, with a warning.

    Args:
        m: Member, as the function of the loop gets it.

    Returns:
        A `Callback` of the library that is imported, lightning or pytorch_lightning.

    Raises:
        UsageError: Lightning is not installed, or the interval counts batches. The callback raises it for
            a trainer that it cannot drive: several devices, `ckpt_path`, loaders that are rebuilt every few
            epochs, `StochasticWeightAveraging`.

    Example:
        >>> import logging, warnings
        >>> import lightning.pytorch as pl
        >>> import popgrad, torch
        >>> from popgrad.integrations.lightning import PopgradCallback
        >>> logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        >>> warnings.filterwarnings("ignore", module="lightning")
        >>> warnings.filterwarnings("ignore", ".*does not have many workers.*")
        >>> class Net(pl.LightningModule):
        ...     def __init__(self, lr):
        ...         super().__init__()
        ...         self.layer, self.lr = torch.nn.Linear(2, 1), lr
        ...     def training_step(self, batch):
        ...         loss = self.layer(batch).square().mean()
        ...         self.log("loss", loss)
        ...         return loss
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=self.lr)
        ...     def train_dataloader(self):
        ...         return torch.utils.data.DataLoader(torch.ones(8, 2), 4)
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> def train(m):
        ...     trainer = pl.Trainer(
        ...         max_epochs=2, callbacks=[PopgradCallback(m)], accelerator="cpu", **quiet,
        ...         enable_model_summary=False,
        ...     )
        ...     trainer.fit(Net(lr=m["lr"]))
        >>> task = popgrad.loop(train, space={"lr": popgrad.LogUniform(1e-3, 0.1)}, minimize="loss")
        >>> result = popgrad.run(task, population=2, intervals=2, executor="serial", progress=False)
        >>> result.stopped
        'finished'
    """
    if m.live.turn.unit == "batches":
        raise UsageError(
            "interval: got a number of batches, but a member in Lightning is swapped between two epochs; "
            'give interval="1 report" (an epoch), "2 reports", ...; an epoch has N batches with '
            "Trainer(limit_train_batches=N)"
        )
    return _callback_type(_libraries())(m)


def _libraries() -> tuple[str, ...]:
    """Return the names of the libraries that are imported; of the one that is installed if none is.

    Raises:
        UsageError: None is installed.
    """
    imported = tuple(name for name in LIBRARIES if sys.modules.get(name) is not None)
    if imported:
        return imported
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
        else:
            return (name,)
    raise UsageError("PopgradCallback needs lightning: pip install 'popgrad[lightning]'")


@functools.cache
def _callback_type(libraries: tuple[str, ...]) -> Any:
    """Return the class of the callback, a subclass of the `Callback` of each library."""
    # With both imported, the trainer may be of either.
    bases = tuple(sys.modules[name].Callback for name in libraries)
    hooks = {
        name: hook for name, hook in vars(_Hooks).items() if name not in ("__dict__", "__weakref__")
    }
    return type("PopgradCallback", bases, hooks)


class _Hooks:
    """Hooks of the callback, in the order of their calls."""

    def __init__(self, m: Member) -> None:
        self._m = m
        # Length that the user has given to the trainer.
        self._epochs = -1
        # Epochs of the interval so far.
        self._trained = 0
        self._is_checked = False
        hparams = m.live.turn.hparams
        if "learning_rate" in hparams and "lr" not in {*hparams, *m.live.aliases.values()}:
            m.live.aliases.setdefault("learning_rate", "lr")

    @property
    def state_key(self) -> str:
        """Key of the callback's state, for which a trainer asks as it is made.

        No hook is called before a strategy of several devices starts its processes, each of which runs the
        whole script, so the trainer is found here.
        """
        frame = None if self._is_checked else inspect.currentframe()
        while frame is not None:
            connector: Any = frame.f_locals.get("self")
            if is_a(connector, "_CallbackConnector"):
                self._is_checked = True
                check_devices(connector.trainer)
                break
            frame = frame.f_back
        return "PopgradCallback"

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the state is the member's."""
        return {}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Check the trainer, and become the first of its callbacks."""
        del pl_module
        if stage != "fit":
            return
        check_trainer(trainer)
        trainer.callbacks = [self, *(each for each in trainer.callbacks if each is not self)]

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Refuse a checkpoint that a trainer starts from.

        Raises:
            UsageError: Always.
        """
        del trainer, pl_module, checkpoint
        raise UsageError(
            "Trainer.fit: got ckpt_path, whose learning rate and weight decay would replace those of the "
            'member; load the weights alone: Net.load_from_checkpoint(path, lr=m["lr"])'
        )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Track all that travels, and take over when to stop."""
        # Its handler of SIGTERM would let a worker finish its batch, and requeue jobs of Slurm.
        trainer._signal_connector.teardown()

        self._epochs = trainer.fit_loop.max_epochs
        trainer.fit_loop.min_epochs = _NEVER
        trainer.fit_loop.epoch_loop.max_steps = -1

        precision = trainer.precision_plugin
        self._m.track(
            model=pl_module,
            optimizers=trainer.optimizers,
            schedulers=[config.scheduler for config in trainer.lr_scheduler_configs],
            averages=list(averages(trainer)),
            precision=precision if precision.state_dict() else None,
            trainer=TrainerState(trainer),
        )

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Report the epoch behind, and continue with the state of the next."""
        del pl_module
        if trainer.should_stop:
            trainer.should_stop = False
            warnings.warn(
                "a callback (EarlyStopping, Timer) or the module has stopped the trainer: popgrad decides "
                "when to stop, and the member continues; leave the callback out, or stop the run by "
                "target_score",
                stacklevel=2,
            )
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self._m.live.has_started:
            self._trained += 1
            if self._trained == self._m.steps:
                _check_score(metrics, self._m.live.turn.score)
                self._trained = 0
        try:
            self._m.swap(**metrics)
        except Finished:
            tear_down(trainer)
            raise

        # What an epoch does not log is not reported.
        trainer.callback_metrics.clear()
        if self._epochs != -1:
            trainer.fit_loop.max_epochs = max(self._epochs, trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Keep the loop from ending by itself."""
        del pl_module
        # As late as possible, since modules read the length that their user has given.
        if self._epochs != -1 and trainer.current_epoch + 1 >= trainer.fit_loop.max_epochs:
            trainer.fit_loop.max_epochs = trainer.current_epoch + 2

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Let Ctrl-C through, which a trainer would turn into the end of the process with code 1."""
        if not isinstance(exception, KeyboardInterrupt):
            return
        for callback in trainer.callbacks:
            if callback is not self:
                callback.on_exception(trainer, pl_module, exception)
        for logger in trainer.loggers:
            logger.finalize("failed")
        trainer._teardown()
        raise exception

    def __reduce__(self) -> Any:
        """Refuse to be sent to another process.

        Raises:
            UsageError: Always.
        """
        raise UsageError(ONE_DEVICE.format("processes of its own"))


def _check_score(metrics: Mapping[str, float], score: str) -> None:
    """Check that an epoch has logged the metric that ranks.

    Raises:
        UsageError: It has not.
    """
    name = Score.parse(score).metric
    if name not in metrics:
        raise UsageError(
            f"popgrad.loop: the metric that ranks is {name!r}, but the epoch has logged "
            f"{', '.join(metrics) or 'nothing'}; log it in each epoch, self.log({name!r}, ...) in "
            "validation_step, with data for the validation and Trainer(check_val_every_n_epoch=1), or name "
            "another metric"
        )
