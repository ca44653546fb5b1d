"""Interval 0 in another process, in which strings have other hashes."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.executors.interpreter import interpreter
from popgrad.loops.check.finding import Finding, unequal
from popgrad.loops.check.states import differing_parts
from popgrad.state import State, flatten, raw, unflatten
from popgrad.tasks.base import Context, Task
from popgrad.tasks.calls import reason
from popgrad.tasks.copies import load_task, pickle_task
from popgrad.tasks.evaluation import seed_generators, seeded
from popgrad.tasks.settings import Settings

_MAIN = "from popgrad.loops.check.process import main; main()"

_LENGTH_BYTES = 8


@dataclass(frozen=True)
class _Message:
    """The message to the process, over a pipe of this one."""

    path: tuple[str, ...]
    settings: Settings
    task: bytes
    hparams: Hparams
    ctx: Context
    steps: int


def first_interval(task: Task, hparams: Hparams, ctx: Context, steps: int) -> State:
    """Train interval 0 of a fresh member, seeded as in a run.

    The caller restores the global generators, see `evaluation.seeded`.
    """
    seed_generators(ctx.library_seed("init"))
    state = task.init(hparams, ctx)
    seed_generators(ctx.library_seed("train"))
    return task.train(state, hparams, steps, ctx)


def compare_process(
    task: Task, hparams: Hparams, ctx: Context, steps: int, state: State
) -> list[Finding]:
    """Compare interval 0 of a fresh member with the same one in another process.

    Args:
        task: The task.
        hparams: Complete hyperparameters.
        ctx: Context of the segment.
        steps: Length of the segment.
        state: State at the end of the interval in this process.
    """
    try:
        other = train_elsewhere(task, hparams, ctx, steps)
    except UsageError as error:
        return [Finding("process", str(error), "make it train in a fresh process")]
    parts = differing_parts(state, other, ctx.device)
    return [unequal("process", parts)] if parts else []


def train_elsewhere(task: Task, hparams: Hparams, ctx: Context, steps: int) -> State:
    """Train interval 0 of a fresh member in a new process, with another PYTHONHASHSEED.

    Args:
        task: The task.
        hparams: Complete hyperparameters.
        ctx: Context of the segment.
        steps: Length of the segment.

    Raises:
        UsageError: The task cannot be sent there, or fails there.
    """
    message = _Message(tuple(sys.path), Settings.current(), pickle_task(task), hparams, ctx, steps)
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with interpreter("-c", _MAIN, variables={"PYTHONHASHSEED": seed}, **pipes) as process:
        try:
            answer, _ = process.communicate(pickle.dumps(message))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise UsageError(f"the process has ended with code {process.returncode}")
    return _read(answer)


def main() -> None:
    """Train the segment that standard input describes, and write its state to standard output."""
    answer = os.fdopen(os.dup(1), "wb")
    # What the task prints is no part of the answer.
    os.dup2(2, 1)

    message: _Message = pickle.load(sys.stdin.buffer)
    sys.path[:] = [*message.path, *(entry for entry in sys.path if entry not in message.path)]
    torch.set_num_threads(1)
    try:
        message.settings.apply()
        task = load_task(message.task)
        with threadpool_limits(1), seeded(message.ctx):
            state = first_interval(task, message.hparams, message.ctx, message.steps)
            written = _written(state)
    except Exception as error:
        written = _joined({"error": reason(error)}, b"")

    with answer:
        answer.write(written)


def _written(state: State) -> bytes:
    """Return a state as bytes: JSON, and the bytes of its leaves."""
    tree, leaves = flatten(state)
    kinds = [(str(leaf.dtype).removeprefix("torch."), list(leaf.shape)) for leaf in leaves]
    content = b"".join(raw(leaf).numpy().tobytes() for leaf in leaves)
    return _joined({"tree": tree, "leaves": kinds}, content)


def _joined(head: dict[str, Any], content: bytes) -> bytes:
    text = json.dumps(head).encode()
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + content


def _read(answer: bytes) -> State:
    """Return the state of an answer.

    Raises:
        UsageError: The answer is an error.
    """
    length = int.from_bytes(answer[:_LENGTH_BYTES], "little")
    position = _LENGTH_BYTES + length
    head = json.loads(answer[_LENGTH_BYTES:position])
    if "error" in head:
        raise UsageError(f"it fails there with {head['error']}")

    leaves = []
    for name, shape in head["leaves"]:
        leaf = torch.empty(shape, dtype=getattr(torch, name))
        size = leaf.numel() * leaf.element_size()
        if size:
            content = bytearray(answer[position : position + size])
            leaf = torch.frombuffer(content, dtype=leaf.dtype).reshape(shape)
        position += size
        leaves.append(leaf)
    return unflatten(head["tree"], leaves)  # type: ignore[no-any-return]
