"""The choice whether loops of a run train several segments: only if the check finds nothing that leaks."""

import logging
import sys
from contextlib import redirect_stdout
from dataclasses import replace

import torch

from popgrad.config import RunConfig
from popgrad.core.errors import PopgradError
from popgrad.core.initial import first_hparams
from popgrad.core.seeding import Rng
from popgrad.hardware import resolve_devices
from popgrad.loops.check import leaks
from popgrad.loops.loop import Loop
from popgrad.tasks.base import Context, Task
from popgrad.tasks.copies import copy_task

log = logging.getLogger("popgrad")


def settle_reuse(task: Task, config: RunConfig, recorded: bool | None = None) -> Task:
    """Return the task with `reuse="auto"` decided; any other task as it is.

    The check trains five short segments of two members, of which nothing is kept. The choice is logged.

    Args:
        task: Task to train, with the configured space.
        config: Resolved configuration.
        recorded: Decision of the run that is resumed; None = it is made now.
    """
    if not isinstance(task, Loop) or task.reuse != "auto":
        return task
    if recorded is not None:
        return replace(task, reuse=recorded)
    if config.executor == "ray" and not torch.cuda.is_available() and config.gpus:
        log.info(
            'reuse="auto": each segment gets a new loop, since this machine has no GPU for the check'
        )
        return replace(task, reuse=False)

    reason = _reason_against(task, config)
    if reason:
        log.info('reuse="auto": each segment gets a new loop: %s', reason)
    else:
        log.info('reuse="auto": loops are used again, since the check found nothing that leaks')
    return replace(task, reuse=not reason)


def _reason_against(loop: Loop, config: RunConfig) -> str:
    """Return what the check has found, in words; "" = nothing."""
    hparams, _ = first_hparams(loop.space, Rng(config.seed), 2, config.initial[:2])
    ctx = Context(device=resolve_devices(config.device)[0], run_seed=config.seed)
    copy = copy_task(loop)
    trial = copy if isinstance(copy, Loop) else loop
    try:
        # Words of the loop belong to standard error, as in the run itself.
        with redirect_stdout(sys.stderr):
            found = leaks(trial, (hparams[0], hparams[1]), ctx, config.interval_length.count)
    except PopgradError as error:
        # One of the two members may be unlucky. If all are concerned, the run itself raises it.
        return str(error)
    if not found:
        return ""
    differing = ", ".join(found[0].variables or found[0].parts)
    return f"one that has served another member would keep {differing}; see {found[0].page}"


def reuse_of(task: Task) -> bool | None:
    """Return whether the loops of a task are used again; None if it is no loop."""
    return task.reuse is True if isinstance(task, Loop) else None
