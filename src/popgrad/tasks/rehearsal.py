"""A rehearsal of a task: a few single steps of one member, whose states are compared.

It finds what no single segment shows: a state that loses something when it is written and read back, and
training that keeps something outside of the state, which an heir and a resumed run do not get.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.seeding import derive
from popgrad.metrics import as_numbers
from popgrad.state import State, flatten, unflatten
from popgrad.tasks.base import Checkable, Context, Task
from popgrad.tasks.calls import explained
from popgrad.tasks.comparison import Difference, difference, losses
from popgrad.tasks.copies import copy_task
from popgrad.tasks.evaluation import seed_generators
from popgrad.tasks.settings import preserve_settings
from popgrad.tasks.trial import check_score_among

log = logging.getLogger("popgrad")

_SHARE = 1e-5
"""Difference, as a share of the largest value, that the order of additions can explain in float32."""

PATIENCE = 30.0
"""Seconds after which a rehearsal ends: comparing states takes four more steps."""


class Rehearsal:
    """A member of a task, rehearsed with its own hyperparameters.

    The caller seeds the global generators and restores them, see `evaluation.seeded`.

    Args:
        task: Task to rehearse.
        hparams: Complete hyperparameters of the member.
        ctx: Context of its first segment.
        metric: Name of the metric that ranks.
        patience: Seconds after which nothing further begins.
    """

    def __init__(
        self,
        task: Task,
        hparams: Hparams,
        ctx: Context,
        metric: str,
        patience: float = PATIENCE,
    ) -> None:
        self._task = task
        self._hparams = dict(hparams)
        self._ctx = replace(ctx, log=_check_point)
        self._metric = metric
        self._patience = patience
        self._begin = time.perf_counter()

    def run(self) -> None:
        """Try the parts of the task, and compare states.

        What only prevents equal bits is logged as a warning.

        Raises:
            UsageError: The task cannot be trained, or not continued from a state; the message names
                the part or the entry of the state.
        """
        ctx = self._ctx
        if isinstance(self._task, Checkable):
            seed_generators(ctx.library_seed("train"))
            self._task.check(dict(self._hparams), ctx, self._metric)

        fresh = self._init()
        first = _Stored("init", fresh)
        state = self._train(self._task, fresh, ctx)
        after_training = _Stored("train", state)
        if not isinstance(self._task, Checkable):
            self._evaluate(state, after_training)
        if self._is_over():
            return

        self._compare_twins(state, _Stored("train", state))
        if not self._is_over():
            self._compare_fresh(first)

    def _is_over(self) -> bool:
        if time.perf_counter() - self._begin < self._patience:
            return False
        log.info("the check of the task ends here: it has taken %g s", self._patience)
        return True

    # --- the methods of the task ------------------------------------------------------------------

    def _init(self) -> State:
        ctx = self._ctx
        seed_generators(derive(ctx.run_seed, "init", ctx.member, ctx.interval))
        return self._call(
            "init", "init(hparams, ctx)", lambda hparams: self._task.init(hparams, ctx)
        )

    def _train(self, task: Task, state: State, ctx: Context) -> State:
        seed_generators(ctx.library_seed("train"))
        return self._call(
            "train",
            "train(state, hparams, 1, ctx)",
            lambda hparams: task.train(state, hparams, 1, ctx),
        )

    def _call(self, name: str, call: str, method: Callable[[Hparams], Any]) -> State:
        """Return the state that a method of the task returns."""
        hparams = dict(self._hparams)
        # Settings of torch that the method changes are of its own segment alone.
        with preserve_settings(), explained(name, call, _cure):
            state = method(hparams)
        if hparams != self._hparams:
            raise UsageError(
                f"{name}: it changes hparams, which the record holds; change a copy, dict(hparams)"
            )
        if state is None:
            raise UsageError(f"{name}: expected the state, got None; end it with return state")
        return state  # type: ignore[no-any-return]

    def _evaluate(self, state: State, before: "_Stored") -> None:
        """Check the metrics, and that an evaluation leaves the state as it is."""
        with explained("evaluate", 'evaluate(state, hparams, "validation", ctx)', _cure):
            metrics = self._task.evaluate(state, dict(self._hparams), "validation", self._ctx)
        check_score_among(self._metric, as_numbers(metrics))

        changed = before.compared(_Stored("evaluate", state))
        if changed is not None:
            log.warning(
                "the task's evaluate changes the state, %s: an evaluation after the run gives other metrics "
                "than the record; let it change a copy",
                changed,
            )

    # --- a step from equal states -----------------------------------------------------------------

    def _compare_twins(self, state: State, stored: "_Stored") -> None:
        """Train the same step from the state in memory, and twice from the state as it is read back."""
        ctx = replace(self._ctx, interval=1, first_step=1)
        lost = losses(state, stored.restored())
        from_memory = _Stored("train", self._train(self._task, state, ctx))
        if self._is_over():
            return

        try:
            from_disk = _Stored("train", self._train(self._task, stored.restored(), ctx))
        except UsageError as error:
            raise UsageError(
                f"{error}; it trains a state in memory, but not the same state as a checkpoint gives it "
                f"back{lost}"
            ) from error
        if self._is_over():
            return

        again = _Stored("train", self._train(self._task, stored.restored(), ctx))
        unequal = from_disk.compared(again)
        if unequal is not None:
            self._explain_unequal(unequal, stored, ctx)
            return
        changed = from_memory.compared(from_disk)
        if changed is not None and not changed.is_rounding(_SHARE):
            raise UsageError(
                "train: a step from a state in memory differs from the same step from that state as a "
                f"checkpoint gives it back, {changed}: the state loses something that training needs{lost}"
            )

    def _explain_unequal(self, unequal: Difference, stored: "_Stored", ctx: Context) -> None:
        """Refuse a task that keeps something in itself; warn of one that draws at random."""
        if unequal.is_rounding(_SHARE) and ctx.device.type != "cpu":
            return  # kernels of a GPU may add in any order

        if self._repeats_in_copies(stored, ctx):
            raise UsageError(
                f"train: the same step from equal states gives two results, {unequal}, but one in fresh "
                "copies of the task: train keeps something outside of the state, which an heir and a resumed "
                "run do not get; keep it in the state"
            )
        log.warning(
            "the task's train is not repeatable: the same step from equal states gives two results, %s; it "
            "draws numbers without a seed (seed its generator by ctx.seed), reads a clock or another "
            "process, or keeps something outside of the state; bits of this run cannot be repeated",
            unequal,
        )

    def _repeats_in_copies(self, stored: "_Stored", ctx: Context) -> bool:
        """Whether the step gives equal states in two copies of the task; False if it cannot be copied."""
        ends = []
        for _ in range(2):
            copy = copy_task(self._task)
            if copy is None:
                return False
            ends.append(_Stored("train", self._train(copy, stored.restored(), ctx)))
        return ends[0].compared(ends[1]) is None

    # --- a second fresh member --------------------------------------------------------------------

    def _compare_fresh(self, first: "_Stored") -> None:
        """Refuse a task whose fresh members begin where another has trained to."""
        second = _Stored("init", self._init())
        changed = first.compared(second)
        if changed is None:
            return

        if second.compared(_Stored("init", self._init())) is None:
            raise UsageError(
                f"init: a fresh member begins with other values after another has trained, {changed}: they "
                "share a module or a tensor that was made once; make it in init (TorchTask: in model), or "
                "copy it there"
            )
        log.warning(
            "the task's init is not repeatable: with equal seeds it returns two states, %s; seed its "
            "generator by ctx.seed; bits of this run cannot be repeated",
            changed,
        )


class _Stored:
    """A state as a checkpoint holds it.

    Args:
        source: Method that returned the state, for messages.
        state: The state; it may change afterwards.
    """

    def __init__(self, source: str, state: State) -> None:
        try:
            tree, leaves = flatten(state)
        except UsageError as error:
            raise UsageError(f"{source}: {error}") from error
        self._tree = json.dumps(tree)
        self._leaves = [leaf.cpu().clone(memory_format=torch.contiguous_format) for leaf in leaves]

    def restored(self) -> State:
        """Return a copy of the state, on the CPU, as it is read back."""
        return unflatten(json.loads(self._tree), [leaf.clone() for leaf in self._leaves])  # type: ignore[no-any-return]

    def compared(self, other: "_Stored") -> Difference | None:
        """Return the first difference to another state; None = equal bits."""
        return difference(
            unflatten(json.loads(self._tree), self._leaves),
            unflatten(json.loads(other._tree), other._leaves),
            _SHARE,
        )


def _cure(error: BaseException) -> str:
    """Return the cure for a usual exception; "" = unknown."""
    if isinstance(error, TypeError) and "positional argument" in str(error):
        return (
            "the methods are init(self, hparams, ctx), train(self, state, hparams, steps, ctx) and "
            "evaluate(self, state, hparams, split, ctx)"
        )
    return ""


def _check_point(step: int, **numbers: float) -> None:
    """Refuse a point of a training curve that holds no numbers."""
    del step
    as_numbers(numbers)
