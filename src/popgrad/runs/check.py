"""The check of a task at the start of a run: a rehearsal of one member, before anything is written."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from popgrad.config import RunConfig
from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.initial import first_hparams
from popgrad.core.population import Hparams
from popgrad.core.score import Score
from popgrad.core.seeding import Rng
from popgrad.hardware import resolve_devices
from popgrad.loops.loop import Loop
from popgrad.loops.scan import scan_setup
from popgrad.runs.seen import CheckedTasks, task_fingerprint
from popgrad.tasks.base import Context, Task
from popgrad.tasks.continuation import check_continuation
from popgrad.tasks.copies import copy_task
from popgrad.tasks.evaluation import seeded
from popgrad.tasks.rehearsal import Rehearsal
from popgrad.tasks.settings import preserve_settings
from popgrad.tasks.torch_task import TorchTask

_MEMBERS = 2
"""Members that are tried: a mistake that concerns all fails in both."""

_ADVICE = "check=False (--no-check) starts without this check"

log = logging.getLogger("popgrad")


def check_task(task: Task, config: RunConfig, ranking: Score) -> None:
    """Rehearse a member of a run whose task is not known to train; nothing is written into the run.

    Global generators and settings are restored. A task that has passed is not checked again while its
    code and values are the same. Of a training loop only the setup is run, each time: an object that it does
    not track is logged as a warning.

    Args:
        task: Task to train, with the configured space. One of popgrad's own is not checked.
        config: Configuration of the run, with its device decided.
        ranking: Metric that ranks.

    Raises:
        UsageError: The task cannot be trained as it is; the message names the part and the cure.
    """
    if not config.check or _is_built_in(task):
        return
    device = _device(config)
    if device is None:
        log.info("the task is not checked: this machine has no %s", config.device)
        return

    if isinstance(task, Loop):
        _try_members(_scan, copy_task(task) or task, config, ranking.metric, device)
        return

    known = CheckedTasks()
    fingerprint = task_fingerprint(task, device.type)
    if fingerprint in known:
        return
    # In a copy, what the task's functions count or collect stays as it is. A task that cannot be copied
    # can only train in this process.
    _try_members(_rehearse, copy_task(task) or task, config, ranking.metric, device)
    known.add(fingerprint)


def _is_built_in(task: Task) -> bool:
    """Whether a task and its functions are popgrad's own, which are tested."""
    values = getattr(task, "__dict__", {}).values()
    parts = [type(task), *filter(callable, values)]
    return all(str(getattr(part, "__module__", "")).startswith("popgrad.") for part in parts)


def _device(config: RunConfig) -> torch.device | None:
    """Return the device of the first member; None if only the nodes of a cluster have it."""
    try:
        return resolve_devices(config.device)[0]
    except UsageError:
        if config.executor != "ray":
            raise
        return None


def _try_members(
    attempt: Callable[[Any, Hparams, Context, str], None],
    task: Task,
    config: RunConfig,
    metric: str,
    device: torch.device,
) -> None:
    """Try the first member. If its code raises, the next one decides whether all are concerned."""
    hparams, _ = first_hparams(task.space, Rng(config.seed), config.population, config.initial)
    refusals: list[UsageError] = []
    for member, own in enumerate(hparams[:_MEMBERS]):
        ctx = Context(member=member, device=device, run_seed=config.seed)
        try:
            attempt(task, own, ctx, metric)
        except UsageError as error:
            if not _is_raised(error):
                raise
            refusals.append(error)
        else:
            break

    if len(refusals) == min(len(hparams), _MEMBERS):
        raise UsageError(f"{refusals[0]}; {_ADVICE}") from refusals[0].__cause__
    if refusals:
        log.warning("in the check of the task, one member of %d failed: %s", _MEMBERS, refusals[0])


def _is_raised(error: UsageError) -> bool:
    """Whether an error explains an exception of the user's code, which another member may not raise."""
    return error.__cause__ is not None and not isinstance(error.__cause__, PopgradError)


def _rehearse(task: Task, hparams: Hparams, ctx: Context, metric: str) -> None:
    """Rehearse a member of a task."""
    with _as_in_a_run(ctx):
        Rehearsal(task, hparams, ctx, metric).run()
        if isinstance(task, TorchTask):
            check_continuation(task, hparams, ctx)


def _scan(loop: Loop, hparams: Hparams, ctx: Context, metric: str) -> None:
    """Run the setup of a loop, and warn of what it does not track. A round of it would take too long."""
    del metric
    with _as_in_a_run(ctx):
        untracked = scan_setup(loop, hparams, ctx)
    for each in untracked:
        log.warning("%s", each)


@contextmanager
def _as_in_a_run(ctx: Context) -> Iterator[None]:
    """Compute as a worker does; restore generators and settings."""
    # The run gives the same warnings, and prints the same words.
    with (
        redirect_stdout(sys.stderr),
        threadpool_limits(1),
        warnings.catch_warnings(),
        preserve_settings(),
        seeded(ctx),
    ):
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        yield
    if ctx.device.type == "cuda":
        torch.cuda.empty_cache()  # the workers need it
