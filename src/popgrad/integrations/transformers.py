"""The trainer of Transformers: an epoch is a round, and the arguments hold the hyperparameters."""

import functools
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from popgrad.core.errors import UsageError
from popgrad.integrations.transformers_checks import check_hparams, check_length, check_trainer
from popgrad.loops.member import Member

try:
    import accelerate  # noqa: F401
    from transformers import Trainer, TrainerCallback
    from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
    from transformers.trainer_callback import PrinterCallback, ProgressCallback
except ImportError as error:
    raise UsageError(
        f"popgrad.integrations.transformers needs the extra of that name ({error}): "
        "pip install 'popgrad[transformers]'"
    ) from error

OPTIONS = {
    "learning_rate": "lr",
    "adam_beta1": "beta1",
    "adam_beta2": "beta2",
    "adam_epsilon": "eps",
}
"""Options of an optimizer, by the names that the trainer's arguments have for them."""

READ_IN_EACH_STEP = {"max_grad_norm"}
"""Arguments that the trainer reads in each step, so that they are written and compared there."""

_TIMES = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
"""Ends of the names of measured times, which differ from one evaluation to the next."""

_WRITTEN_BY_HAND = 1_000_000
"""Seeds below it are taken for constants; fewer than one in a thousand of popgrad's are."""


class PopgradCallback(TrainerCallback):  # type: ignore[misc]
    """Callback that makes a `transformers.Trainer` train a member: `callbacks=[PopgradCallback(m)]`.

    At the start of an epoch the donor's model, optimizer, scheduler and counters are loaded, and the
    hyperparameters are compared with the record. The metrics of the evaluation at its end are reported.
    A hyperparameter with the name of a training argument is that argument: pass it,
    `TrainingArguments(learning_rate=m["learning_rate"])`.

    Args:
        m: Member, as the function of a loop gets it.

    Example:
        >>> def train(m):
        ...     args = TrainingArguments(
        ...         learning_rate=m["learning_rate"], num_train_epochs=5, save_strategy="no"
        ...     )
        ...     callbacks = [PopgradCallback(m)]
        ...     Trainer(build_model(), args, train_dataset=..., eval_dataset=..., callbacks=callbacks).train()
        >>> import popgrad
        >>> space = {"learning_rate": popgrad.LogUniform(1e-5, 1e-3)}
        >>> popgrad.loop(train, space=space, minimize="eval_loss").name
        'train'
    """

    def __init__(self, m: Member) -> None:
        self._m = m
        # The trainer seeds the generators itself, later.
        self._seed_of_setup = torch.initial_seed()
        # Whether the function has made the optimizer.
        self._has_optimizer = False
        self._numbers: TrainerNumbers | None = None
        # Epochs that this trainer has started.
        self._epochs = 0
        self._metrics: dict[str, Any] = {}
        # Step of the last evaluation; None = there was none since the last boundary.
        self._evaluated_at: int | None = None

    # --- events of the trainer --------------------------------------------------------------------

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make fresh members differ, and remove progress bars."""
        del state, control, kwargs
        trainer = _calling_trainer()
        _remove_printers(trainer)
        self._has_optimizer = trainer.optimizer is not None
        if trainer.model_init is not None:
            # The trainer seeds with it before it makes the model.
            args.seed = self._m.seed("trainer") % 2**32
        elif self._m.fresh and self._seed_of_setup < _WRITTEN_BY_HAND:
            warnings.warn(
                f"the function has seeded the generators with {self._seed_of_setup}, so that all members may "
                "start from the same weights; remove the call (set_seed), or seed with "
                'm.seed("setup") % 2**32',
                stacklevel=2,
            )

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check the arguments, and track what travels."""
        del control
        trainer = _calling_trainer()
        _remove_printers(trainer)
        check_trainer(self._m, trainer, args, state)
        has_own = self._has_optimizer or trainer.optimizer_cls_and_kwargs is not None
        check_hparams(self._m, args, own_optimizer=has_own)
        self._bind(args)

        self._numbers = TrainerNumbers(state, state.max_steps // int(args.num_train_epochs))
        self._m.track(
            model=kwargs["model"],
            optimizer=kwargs["optimizer"],
            scheduler=kwargs["lr_scheduler"],
            scaler=getattr(trainer.accelerator, "scaler", None),
            trainer=self._numbers,
        )

    def _bind(self, args: Any) -> None:
        """State where hyperparameters with names of the trainer live."""
        live = self._m.live
        unbound = live.turn.hparams.keys() - live.functions.keys() - live.aliases.keys()
        for name in sorted(unbound & OPTIONS.keys()):
            self._m.alias(**{name: OPTIONS[name]})
        for name in sorted(unbound & READ_IN_EACH_STEP):
            places = (
                functools.partial(setattr, args, name),
                functools.partial(getattr, args, name),
            )
            self._m.on(**{name: places})

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pass the boundary between two epochs, before the trainer draws a batch."""
        del control
        m = self._m
        if self._numbers is None:
            raise UsageError("PopgradCallback: pass it to the Trainer before trainer.train()")
        self._numbers.has_moved = False
        m.swap(**self._metrics)
        self._metrics = {}
        self._evaluated_at = None
        check_length(m, args)

        if self._numbers.has_moved:
            _move_scheduler(kwargs["lr_scheduler"], state.global_step)
        # Epochs of one segment follow each other in the trainer's own count.
        within = m.live.rounds - m.first_step
        seed = m.seed("order") + within
        loader = kwargs["train_dataloader"]
        _set_order(loader, seed, self._epochs, m.live.rounds)
        trainer = _calling_trainer()
        if not within:
            _drop_workers(loader, *getattr(trainer, "_eval_dataloaders", {}).values())
        # The logged loss is the mean over the steps since then.
        trainer._globalstep_last_logged = state.global_step
        self._epochs += 1

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Request an evaluation if the arguments have not."""
        del args, kwargs
        if self._evaluated_at != state.global_step:
            control.should_evaluate = True

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **kwargs: Any
    ) -> None:
        """Keep the metrics, those of several datasets together."""
        del args, control, kwargs
        if self._evaluated_at != state.global_step:
            self._metrics = {}
        self._evaluated_at = state.global_step
        self._metrics |= {
            name: value
            for name, value in metrics.items()
            if name != "epoch" and not name.endswith(_TIMES)
        }

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the last epoch of the trainer."""
        del args, kwargs
        if control.should_training_stop and state.global_step < state.max_steps:
            raise UsageError(
                f"a callback has stopped the trainer after {state.global_step} of {state.max_steps} steps; "
                "popgrad decides when a member stops: remove the callback"
            )
        self._m.finish(**self._metrics)


class TrainerNumbers:
    """Numbers of a trainer that travel.

    Args:
        state: State of the trainer.
        epoch_steps: Steps of the optimizer in an epoch.

    Attributes:
        has_moved: Whether the donor had epochs of another length, so that the step is another one.
    """

    def __init__(self, state: Any, epoch_steps: int) -> None:
        self._state = state
        self._epoch_steps = epoch_steps
        self.has_moved = False

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers."""
        best = self._state.best_metric
        return {
            "global_step": self._state.global_step,
            "epoch_steps": self._epoch_steps,
            "best_metric": None if best is None else float(best),
            "best_global_step": self._state.best_global_step,
            "num_input_tokens_seen": int(self._state.num_input_tokens_seen),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take the numbers over. Steps are counted in epochs, since the batch size may be searched."""
        self.has_moved = saved["epoch_steps"] != self._epoch_steps
        epochs = saved["global_step"] // saved["epoch_steps"]
        self._state.global_step = epochs * self._epoch_steps
        for name in ("best_metric", "best_global_step", "num_input_tokens_seen"):
            setattr(self._state, name, saved[name])


def _calling_trainer() -> Any:
    """Return the trainer that calls a callback: its events name everything but it."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Trainer):
            return owner
        frame = frame.f_back
    raise UsageError("PopgradCallback: expected to be called by a transformers.Trainer")


def _remove_printers(trainer: Any) -> None:
    """Remove progress bars and printed logs, which would go through popgrad's own display."""
    handler = trainer.callback_handler
    printers = (ProgressCallback, PrinterCallback, DEFAULT_PROGRESS_CALLBACK)
    for each in handler.callbacks:
        bar = getattr(each, "training_bar", None)
        if isinstance(each, printers) and bar is not None:
            bar.close()
    # Another list, since the handler iterates over its own while it calls.
    handler.callbacks = [each for each in handler.callbacks if not isinstance(each, printers)]


# --- order of the data, position of the scheduler ------------------------------------------------


def _set_order(loader: Any, seed: int, epoch: int, behind: int) -> None:
    """Make the order of the data that of the member's segment.

    The trainer seeds samplers with a constant and with the number of its epoch, and counts the epochs of
    one segment only: all segments would see the same order.

    Args:
        loader: Loader of the training set.
        seed: Seed of the order of the segment.
        epoch: Number of the epoch as the trainer counts.
        behind: Epochs behind the state.
    """
    for sampler in _samplers(loader):
        for name in ("initial_seed", "seed"):
            if hasattr(sampler, "set_epoch") and isinstance(getattr(sampler, name, None), int):
                setattr(sampler, name, seed - epoch)

    dataset: Any = getattr(loader, "dataset", None)
    if hasattr(dataset, "set_epoch"):

        def set_epoch(given: int) -> None:
            type(loader).set_epoch(loader, given)
            dataset.set_epoch(given - epoch + behind)

        loader.set_epoch = set_epoch


def _samplers(loader: Any) -> Iterator[Any]:
    """Yield the samplers of a loader, also those inside of others."""
    for outer in (loader, getattr(loader, "batch_sampler", None)):
        for name in ("sampler", "batch_sampler"):
            inner = getattr(outer, name, None)
            if inner is not None:
                yield inner
                yield getattr(inner, "sampler", None)


def _drop_workers(*loaders: Any) -> None:
    """End persistent workers of loaders: they keep the generators of the segment that started them."""
    for loader in loaders:
        inner = getattr(loader, "base_dataloader", loader)
        if getattr(inner, "_iterator", None) is not None:
            inner._iterator = None


def _move_scheduler(scheduler: Any, step: int) -> None:
    """Set the position of a scheduler whose rate depends on nothing else."""
    if isinstance(scheduler, LambdaLR):
        # torch would warn that the scheduler is stepped before its optimizer.
        vars(scheduler.optimizer)["_opt_called"] = True
        scheduler.last_epoch = step - 1
        scheduler.step()
