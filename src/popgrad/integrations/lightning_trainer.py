"""A trainer of Lightning that a member drives: the state beside its module, checks, and its end."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from popgrad.core.errors import UsageError

LIBRARIES = ("lightning.pytorch", "pytorch_lightning")
"""Names under which the library is installed: one code, whose classes differ."""

ONE_DEVICE = (
    "Trainer: a member trains in one process on one device, got {}; give devices=1 and no strategy, and more "
    "workers to popgrad.run for more members at a time"
)
"""Message for a trainer of several processes."""


class TrainerState:
    """State of a trainer beside module, optimizers and schedulers: as much as its checkpoints hold.

    Args:
        trainer: Trainer that fits.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """Return the progress of the loops, the states of callbacks and data, and what hooks add."""
        trainer = self._trainer
        loops = trainer.fit_loop.state_dict()
        # Loaders begin a new epoch.
        loops["state_dict"] = {
            key: value for key, value in loops["state_dict"].items() if key != "combined_loader"
        }

        checkpoint = self._checkpoint()
        trainer.lightning_module.on_save_checkpoint(checkpoint)
        added = {key: checkpoint[key] for key in checkpoint if key not in self._checkpoint()}

        callbacks = {key: each.state_dict() for key, each in self._callbacks().items()}
        data = trainer.datamodule
        return {
            "loops": loops,
            "callbacks": {key: each for key, each in callbacks.items() if each},
            "datamodule": data.state_dict() if data is not None else {},
            "module": added,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        trainer = self._trainer
        trainer.fit_loop.load_state_dict(state["loops"])
        for loop in _loops(trainer.fit_loop):
            # It would skip the epoch, or train the rest of one.
            loop._restarting = False
            loop._loaded_from_state_dict = False
            loop._resuming_from_checkpoint = False

        for key, callback in self._callbacks().items():
            if key in state["callbacks"]:
                callback.load_state_dict(state["callbacks"][key])
        if trainer.datamodule is not None and state["datamodule"]:
            trainer.datamodule.load_state_dict(state["datamodule"])
        trainer.lightning_module.on_load_checkpoint({**self._checkpoint(), **state["module"]})
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        """Repeat what a trainer does for an epoch before its hooks, now that the epoch is known."""
        loop = self._trainer.fit_loop
        if loop._should_reload_train_dl:
            loop.setup_data()
        for loader in loop._combined_loader.flattened:
            batches = getattr(loader, "batch_sampler", None)
            samplers: tuple[Any, ...] = (
                getattr(loader, "sampler", None),
                getattr(batches, "sampler", None),
            )
            for sampler in {id(each): each for each in samplers}.values():
                if callable(getattr(sampler, "set_epoch", None)):
                    sampler.set_epoch(self._trainer.current_epoch)

    def _callbacks(self) -> dict[str, Any]:
        """Return the callbacks whose state travels, by their keys."""
        return {
            each.state_key: each
            for each in self._trainer.callbacks
            if not is_a(each, "Checkpoint", "Timer") and each.state_key != "PopgradCallback"
        }

    def _checkpoint(self) -> dict[str, Any]:
        """Return the entries of a checkpoint that a module's hooks may expect."""
        trainer = self._trainer
        return {
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "state_dict": trainer.lightning_module.state_dict(),
        }


def check_devices(trainer: Any) -> None:
    """Check that a trainer trains in this process, on one device.

    Raises:
        UsageError: It does not.
    """
    strategy = trainer.strategy
    if trainer.world_size != 1 or not is_a(strategy, "SingleDeviceStrategy"):
        name = type(strategy).__name__
        raise UsageError(ONE_DEVICE.format(f"{name} with {trainer.world_size} devices"))


def check_trainer(trainer: Any) -> None:
    """Check that a member can drive a trainer.

    Raises:
        UsageError: It cannot.
    """
    check_devices(trainer)
    epochs = trainer.reload_dataloaders_every_n_epochs
    if epochs > 1:
        raise UsageError(
            f"Trainer: got reload_dataloaders_every_n_epochs={epochs}, but loaders are "
            "rebuilt for each interval; give 0 or 1"
        )
    for callback in trainer.callbacks:
        if is_a(callback, "StochasticWeightAveraging"):
            raise UsageError(
                "Trainer: StochasticWeightAveraging keeps its average where nothing can inherit it; give "
                "lightning.pytorch.callbacks.EMAWeightAveraging or WeightAveraging"
            )


def averages(trainer: Any) -> Iterator[nn.Module]:
    """Yield the averaged models of callbacks."""
    for callback in trainer.callbacks:
        average = getattr(callback, "_average_model", None)
        if isinstance(average, nn.Module):
            yield average


def _loops(loop: Any) -> Iterator[Any]:
    """Yield a loop of a trainer, and the loops inside."""
    yield loop
    for inner in vars(loop).values():
        if is_a(inner, "_Loop"):
            yield from _loops(inner)


def is_a(candidate: Any, *names: str) -> bool:
    """Whether an object is of a class of Lightning, from either library."""
    return any(
        each.__name__ in names and each.__module__.startswith(LIBRARIES)
        for each in type(candidate).__mro__
    )


def tear_down(trainer: Any) -> None:
    """Close what a trainer has opened, as at the end of `fit`, but for hooks that mean a trained model.

    The trainer then lets `Finished` through, as it does with any exception. Its callbacks and loggers are
    taken away before, since they would take this for a failure.
    """
    module, data, bar = trainer.lightning_module, trainer.datamodule, trainer.progress_bar_callback
    if bar is not None:
        bar.on_train_end(trainer, module)
    if data is not None:
        data.teardown("fit")
    for callback in trainer.callbacks:
        callback.teardown(trainer, module, "fit")
    module.teardown("fit")
    for logger in trainer.loggers:
        logger.finalize("success")

    trainer.callbacks = []
    trainer.loggers = []
