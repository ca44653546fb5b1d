"""Seeded evaluation: the global generators of a segment, and metrics outside of a run."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from popgrad.core.population import Hparams
from popgrad.metrics import as_numbers
from popgrad.state import State
from popgrad.tasks.base import Context, Split, Task
from popgrad.tasks.settings import preserve_settings


def seed_generators(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # the user's code may draw from the global generator

    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if started or torch.cuda.device_count() or torch.backends.mps.is_available():
        torch.manual_seed(seed)
    else:
        # `torch.manual_seed` would queue a call, with its traceback, for each kind of device that
        # may start later.
        torch.default_generator.manual_seed(seed)


def generator_states() -> tuple[Any, ...]:
    """Return the states of the global generators of Python, NumPy and torch."""
    # GPUs have no generators before CUDA has started.
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = torch.cuda.get_rng_state_all() if started else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), gpus  # noqa: NPY002


def restore_generators(states: tuple[Any, ...]) -> None:
    """Restore the result of `generator_states`."""
    python, legacy, cpu, gpus = states
    random.setstate(python)
    np.random.set_state(legacy)  # noqa: NPY002
    torch.set_rng_state(cpu)
    if gpus:
        torch.cuda.set_rng_state_all(gpus)


@contextmanager
def seeded(ctx: Context) -> Iterator[None]:
    """Seed all global generators for a segment; restore them and all settings afterwards."""
    draws = generator_states()
    grad = torch.is_grad_enabled()

    torch.set_grad_enabled(True)
    seed_generators(ctx.library_seed("train"))
    try:
        with preserve_settings():
            yield
    finally:
        restore_generators(draws)
        torch.set_grad_enabled(grad)


@contextmanager
def single_threaded(ctx: Context) -> Iterator[None]:
    """Seed all global generators, and compute on one thread, as in an executor, for equal bits."""
    threads = torch.get_num_threads()
    with threadpool_limits(1), seeded(ctx):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def evaluate(
    task: Task, state: State, hparams: Hparams, split: Split, ctx: Context
) -> dict[str, float]:
    """Return the metrics of a state on a split, outside of a run.

    It is seeded and runs on one thread, as in an executor, for equal bits.
    """
    with single_threaded(ctx):
        return as_numbers(task.evaluate(state, hparams, split, ctx))
