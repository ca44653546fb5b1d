"""One batch through every part of a `TorchTask`, so that a slip is named before anything is trained."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.spelling import did_you_mean
from popgrad.data.splits import Splits
from popgrad.metrics import as_numbers
from popgrad.tasks import binding
from popgrad.tasks.base import Context
from popgrad.tasks.calls import explained
from popgrad.tasks.parts import CALLS

Batch = tuple[torch.Tensor, ...]

_OPTIMIZER_PARTS = ("param_groups", "zero_grad", "step", "state_dict", "load_state_dict")
_SCHEDULER_PARTS = ("step", "state_dict", "load_state_dict")


def read_splits(data: Callable[[], object]) -> Splits:
    """Return the data of a task.

    Args:
        data: The task's function.

    Raises:
        UsageError: It fails, or returns something else than `Splits`.
        OSError: A file cannot be read.
    """
    try:
        with explained("data", CALLS["data"]):
            splits: Any = data()
    except UsageError as error:
        if isinstance(error.__cause__, OSError):  # the disk may be back at the next attempt
            raise error.__cause__ from None
        raise
    if isinstance(splits, Splits):
        return splits
    if isinstance(splits, Mapping) and splits.keys() == {"train", "validation", "test"}:
        return Splits(**splits)
    with suppress(Exception):
        if isinstance(splits["train"], tuple):
            return splits  # type: ignore[no-any-return]  # an object that gives parts by name, too

    expected = "Splits(train=(inputs, targets), validation=..., test=...)"
    cure = ""
    if type(splits).__name__ == "DataLoader":
        cure = "; read its data set into tensors, or write a task of the protocol Task around it"
    elif isinstance(splits, tuple | list) and len(splits) == 3:
        cure = "; write Splits(...) around the three"
    raise UsageError(f"{_wrong('data', expected, splits)}{cure}")


def check_score_among(metric: str, metrics: Iterable[str]) -> None:
    """Refuse a metric that is to rank and is not evaluated.

    Args:
        metric: Name of the metric that ranks.
        metrics: Names of the metrics.

    Raises:
        UsageError: It is not among them.
    """
    names = list(metrics)
    if metric not in names:
        evaluated = ", ".join(names) or "nothing"
        similar = did_you_mean(metric, names)
        raise UsageError(f"the task's score is {metric!r}, but it evaluates {evaluated}{similar}")


class Trial:
    """The parts of a task, called one after the other as a segment calls them.

    Args:
        task: The `TorchTask`.
        hparams: Complete hyperparameters.
        ctx: Context with the device.
        batch: First batch of training, on the device.
        validation: First batch of the validation, on the device, as large as an evaluation takes it.
        metric: Name of the metric that ranks.
    """

    def __init__(
        self,
        task: Any,
        hparams: Hparams,
        ctx: Context,
        batch: Batch,
        validation: Batch,
        metric: str,
    ) -> None:
        self._task = task
        self._hparams = hparams
        self._ctx = ctx
        self._batch = batch
        self._validation = validation
        self._metric = metric
        # As in a segment: a mapping that is no dictionary.
        self._tracked: Any = binding.TrackedHparams(hparams, set())

    def run(self) -> None:
        """Call every part once.

        Raises:
            UsageError: Names the part that cannot be used, and the cure.
        """
        module = self._module()
        self._check_schedulers(self._optimizers(module))
        learner = self._task.learner(self._hparams, self._ctx.device)
        module = learner.module
        optimizers = learner.optimizers

        module.train()
        self._check_augment()
        self._check_labels(module)
        self._check_step(module, optimizers)
        self._check_last_batch(module)
        self._check_metrics(self._outputs(module.eval()))

    # --- model, optimizer, scheduler --------------------------------------------------------------

    def _module(self) -> nn.Module:
        with self._explained("model"):
            module = self._task.model(self._tracked)
        if not isinstance(module, nn.Module):
            raise _wrong("model", "a module", module)

        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if is_lazy(tensor):
                shape = ", ".join(map(str, (1, *self._batch[0].shape[1:])))
                raise UsageError(
                    f"model: {name} of the lazy module has no shape before its first batch; give the layer "
                    f"all its sizes, or run a batch in model: module(torch.zeros({shape}))"
                )
            if tensor.is_meta:
                raise UsageError(
                    f"model: {name} is on meta and has no values; make the module on the CPU, popgrad moves "
                    "it"
                )
        with self._explained("model", "moving the module to its device"):
            return module.to(self._ctx.device)

    def _optimizers(self, module: nn.Module) -> Mapping[str, Optimizer]:
        with self._explained("optimizer"):
            made = self._task.optimizer(module, self._tracked)
        optimizers = made if isinstance(made, Mapping) else {"optimizer": made}
        for name, optimizer in optimizers.items():
            if not isinstance(name, str) or not _has(optimizer, _OPTIMIZER_PARTS):
                raise _wrong("optimizer", "an optimizer, or a mapping of several by name", made)

        parameters = {id(parameter) for parameter in module.parameters()}
        trained = {
            id(parameter)
            for optimizer in optimizers.values()
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        if parameters and not parameters & trained:
            raise UsageError(
                "optimizer: it trains no parameter of the module that it is given; make it of "
                "module.parameters()"
            )
        return optimizers

    def _check_schedulers(self, optimizers: Mapping[str, Optimizer]) -> None:
        if self._task.scheduler is None:
            return
        for optimizer in optimizers.values():
            with self._explained("scheduler"):
                scheduler = self._task.scheduler(optimizer)
            if not _has(scheduler, _SCHEDULER_PARTS):
                raise _wrong("scheduler", "a scheduler of torch", scheduler)

    # --- training ---------------------------------------------------------------------------------

    def _check_augment(self) -> None:
        if self._task.augment is None:
            return
        stream = torch.Generator().manual_seed(self._ctx.library_seed("augment"))
        with self._explained("augment"):
            inputs = self._task.augment(self._batch[0].clone(), stream)

        samples = len(self._batch[0])
        if not isinstance(inputs, torch.Tensor) or inputs.dim() == 0 or len(inputs) != samples:
            raise _wrong("augment", f"inputs [{samples}, ...], as many as it is given", inputs)
        self._batch = (inputs, *self._batch[1:])

    def _check_labels(self, module: nn.Module) -> None:
        """Refuse labels for which the module has no output; on a GPU, they would end the process."""
        if not self._task.is_plain_classification or len(self._batch) < 2:
            return
        with torch.no_grad(), self._explained("model", "module(batch[0])"):
            outputs = module(self._batch[0])
        if not isinstance(outputs, torch.Tensor):
            raise UsageError(
                f"loss: the module returns a {type(outputs).__name__}, but the default loss takes a tensor "
                "[b, classes]; write a loss and a predict that choose it"
            )

        for split in ("train", "validation"):
            _check_label_range(split, self._task.split(split, self._ctx.device)[1], outputs)

    def _check_step(self, module: nn.Module, optimizers: Mapping[str, Optimizer]) -> None:
        numbers: Any = binding.TrackedHparams(
            binding.tensors(self._hparams, self._ctx.device), set()
        )

        def loss(batch: Batch) -> torch.Tensor:
            with self._explained("loss"):
                value = self._task.loss(module, batch, numbers)
            # A step of the user's own may take any result.
            if self._task.has_plain_step:
                _check_loss(value)
            return value  # type: ignore[no-any-return]

        with self._explained("step"):
            value = self._task.step(module, optimizers, self._batch, loss)
        if value is None:
            raise _wrong("step", "the 0-d loss of the batch", None)
        with self._explained("step", "torch.as_tensor of what it returns"):
            value = torch.as_tensor(value)
        if value.numel() != 1:
            raise _wrong("step", "the 0-d loss of the batch", value)

    def _check_last_batch(self, module: nn.Module) -> None:
        """Refuse a module that cannot train on a single sample, if an epoch ends with one."""
        task = self._task
        samples = len(task.split("train", self._ctx.device)[0])
        size = task.samples_a_step(self._hparams)
        single = samples > size > 1 and samples % size == 1 and not task.drop_last
        if not single or not task.has_plain_step:
            return

        one = tuple(tensor[:1] for tensor in self._batch)
        numbers = binding.tensors(self._hparams, self._ctx.device)
        cure = f"{samples} samples in batches of {size} leave one; set drop_last=True"
        with torch.no_grad(), explained("loss", "the last batch of an epoch", lambda _: cure):
            task.loss(module, one, numbers)

    # --- evaluation -------------------------------------------------------------------------------

    @torch.no_grad()
    def _outputs(self, module: nn.Module) -> torch.Tensor:
        with self._explained("predict"):
            outputs = self._task.predict(module, self._validation)
        samples = len(self._validation[0])
        if not isinstance(outputs, torch.Tensor) or outputs.dim() == 0 or len(outputs) != samples:
            raise _wrong("predict", f"a tensor [{samples}, ...], a row for each sample", outputs)
        return outputs

    @torch.no_grad()
    def _check_metrics(self, outputs: torch.Tensor) -> None:
        whole = len(self._task.split("validation", self._ctx.device)[0])
        try:
            with self._explained("metrics"):
                metrics = self._task.metrics(outputs, self._validation[-1])
        except UsageError:
            # It may need more samples than a batch has, for example each class once.
            if len(outputs) < whole:
                return
            raise
        check_score_among(self._metric, as_numbers(metrics))

    # --- errors -----------------------------------------------------------------------------------

    def _explained(self, part: str, call: str = "") -> AbstractContextManager[None]:
        return explained(part, call or CALLS[part], self._cure)

    def _cure(self, error: BaseException) -> str:
        """Return the cure for a usual exception; "" = unknown."""
        message = str(error).lower()
        if isinstance(error, KeyError):
            return f"the hyperparameters are {', '.join(self._hparams) or 'none'}"
        if "trackedhparams" in message:
            return "hparams is a mapping that cannot be changed; use dict(hparams)"
        if "closure" in message:
            return "this optimizer needs a closure; write a step that passes one"
        if "device" in message or "cuda" in message:
            return (
                f"popgrad moves the module and the batches to {self._ctx.device}; make other tensors there "
                "too: device=batch[0].device"
            )
        if "dtype" in message or "scalar type" in message:
            kinds = ", ".join(str(tensor.dtype).removeprefix("torch.") for tensor in self._batch)
            advice = "in data, use .float() for inputs, .long() for classes"
            return f"the tensors of a batch are {kinds}; {advice}"
        if "size" in message or "shape" in message:
            shapes = ", ".join(str(list(tensor.shape)) for tensor in self._batch)
            return f"the tensors of this batch are {shapes}"
        return ""


def _check_loss(value: object) -> None:
    """Refuse the result of a loss on which nothing can be trained."""
    if not isinstance(value, torch.Tensor):
        error = _wrong("loss", "a 0-d tensor", value)
        cure = "; return the tensor itself, without .item() or float()"
        raise UsageError(f"{error}{cure}") if isinstance(value, float) else error
    if value.numel() != 1:
        raise UsageError(f"{_wrong('loss', 'a 0-d tensor', value)}; take its mean()")
    if not value.requires_grad:
        raise UsageError(
            "loss: it has no gradient; compute it from the output of the module, without detach(), argmax or "
            "no_grad()"
        )


def _check_label_range(split: str, labels: torch.Tensor, outputs: torch.Tensor) -> None:
    if outputs.dim() < 2 or labels.shape[1:] == outputs.shape[1:]:
        return  # probabilities, which cross entropy takes too
    if labels.dtype not in (torch.int64, torch.uint8) or labels.shape[1:] != outputs.shape[2:]:
        kind = str(labels.dtype).removeprefix("torch.")
        raise UsageError(
            f"data: the labels of {split} are {kind} {list(labels.shape)}, but cross entropy takes class "
            "indices, int64 [n]; convert them in data, or write a loss for them"
        )

    classes = outputs.shape[1]
    low = int(labels.min())
    high = int(labels.max())
    if high >= classes or (low < 0 and low != _IGNORED):
        raise UsageError(
            f"data: the labels of {split} are {low} to {high}, but the module has {classes} outputs, for "
            f"labels 0 to {classes - 1}"
        )


_IGNORED = -100
"""Label that torch's cross entropy leaves out."""


def _has(value: object, parts: Iterable[str]) -> bool:
    return not isinstance(value, type) and all(hasattr(value, part) for part in parts)


def _wrong(part: str, expected: str, value: object) -> UsageError:
    """Return the error for a function that returns something else than expected."""
    got = f"a {type(value).__name__}"
    if value is None:
        got = "None; end it with return ..."
    elif isinstance(value, torch.Tensor):
        got = f"a tensor of shape {list(value.shape)}"
    elif isinstance(value, type):
        got = f"the class {value.__name__}"
    elif isinstance(value, bool | int | float | str):
        got = f"{value!r:.80}"
    return UsageError(f"{part}: expected {CALLS[part]} to return {expected}, got {got}")
