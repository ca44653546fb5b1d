"""Checks of a trainer of Transformers: what cannot train members is refused, with the cure."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.loops.member import Member

_OF_THE_OPTIMIZER = ("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon")
"""Arguments that the trainer reads only if it makes the optimizer itself."""


def check_trainer(m: Member, trainer: Any, args: Any, state: Any) -> None:
    """Check that a trainer can train members.

    Args:
        m: Member.
        trainer: Trainer at the start of `train`.
        args: Its arguments.
        state: Its state.

    Raises:
        UsageError: It cannot; the message names the argument and the cure.
    """
    for name, reason in _refusals(args):
        raise UsageError(f"TrainingArguments({name}={_shown(args, name)}): {reason}")

    if m.live.turn.unit == "batches":
        raise UsageError(
            'an interval of a Trainer is one epoch or several: give interval="1 report" (the default) or '
            '"2 reports" (--interval), not a number of batches'
        )
    if state.global_step:
        raise UsageError(
            "trainer.train(resume_from_checkpoint=...): popgrad loads the states of members itself, and "
            "resumes its own runs (popgrad resume); leave it out"
        )
    if trainer.eval_dataset is None:
        raise UsageError(
            "Trainer(eval_dataset=None): members are ranked by the metrics of an evaluation after each "
            "epoch; give an eval_dataset"
        )
    if args.device.type != m.device.type:
        raise UsageError(
            f"the Trainer computes on {args.device}, and popgrad gives the member {m.device}: set "
            "TrainingArguments(use_cpu=True), or the run's device (--device)"
        )
    _check_callbacks(trainer)


def _check_callbacks(trainer: Any) -> None:
    from transformers import EarlyStoppingCallback

    if any(isinstance(each, EarlyStoppingCallback) for each in trainer.callback_handler.callbacks):
        raise UsageError(
            "EarlyStoppingCallback: popgrad decides when a member stops, and its patience does not travel; "
            "remove it"
        )


def _shown(args: Any, name: str) -> str:
    value = getattr(args, name)
    return repr(getattr(value, "value", value))


def _refusals(args: Any) -> Iterator[tuple[str, str]]:
    """Yield the arguments that cannot be obeyed, with the reason and the cure."""
    if args.max_steps > 0:
        yield "max_steps", "a member trains whole epochs; set num_train_epochs instead"
    if args.num_train_epochs != int(args.num_train_epochs) or args.num_train_epochs < 1:
        yield "num_train_epochs", "expected an integer, the epochs of the whole run"

    if args.load_best_model_at_end:
        yield "load_best_model_at_end", "it would replace the weights of the member; leave it out"
    if args.save_strategy != "no":
        yield (
            "save_strategy",
            'all members would write into one output_dir, and popgrad keeps their states itself; set "no"',
        )
    if args.push_to_hub:
        yield "push_to_hub", "every member would push; publish the winner after the run"

    if args.auto_find_batch_size:
        yield "auto_find_batch_size", "the record would not hold the batch size that is found"
    if args.deepspeed or args.fsdp:
        name = "deepspeed" if args.deepspeed else "fsdp"
        yield name, "a member trains in one process; sharded models are not supported"

    if args.world_size > 1:
        yield "local_rank", "a member trains in one process; start the run without a launcher"
    if args.n_gpu > 1:
        yield "n_gpu", "a member trains on one device; set CUDA_VISIBLE_DEVICES to one of them"


def check_length(m: Member, args: Any) -> None:
    """Check that a trainer has an epoch for each that the segment trains.

    Raises:
        UsageError: It ends before.
    """
    end = m.first_step + m.steps
    if end > args.num_train_epochs:
        raise UsageError(
            f"num_train_epochs={int(args.num_train_epochs)} in TrainingArguments, and the run trains its "
            f"members for {end} epochs or more: set it to at least the run's intervals (times the epochs of "
            "each); it is also the length of the scheduler"
        )


def check_hparams(m: Member, args: Any, *, own_optimizer: bool) -> None:
    """Compare training arguments with the hyperparameters of their names.

    Args:
        m: Member.
        args: Arguments of the trainer.
        own_optimizer: Whether the function has made the optimizer, so that the arguments of the
            trainer's are not read.

    Raises:
        UsageError: One has another value.
    """
    hparams = m.live.turn.hparams
    for name in (field.name for field in dataclasses.fields(args)):
        if name not in hparams or name in m.live.functions:
            continue
        if own_optimizer and name in _OF_THE_OPTIMIZER:
            continue
        if getattr(args, name) != hparams[name]:
            raise UsageError(
                f"hyperparameter {name!r} is {hparams[name]!r} in the record, and {_shown(args, name)} in "
                f"TrainingArguments: pass it, TrainingArguments({name}=m[{name!r}]), or give the "
                "hyperparameter another name"
            )
