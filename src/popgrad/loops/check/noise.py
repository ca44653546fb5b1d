"""Variables that differ from one moment to the next and explain no difference of training."""

import os
import re
import time
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(
    r"(^|_)(time|times|clock|started|elapsed|tic|toc|t0|now|date|stamp|timestamp|seconds|duration|pid|pids|fd|"
    r"fileno|ident|id|uuid|logger|log|logs|logging|writer|bar|pbar|progress|tqdm|hist|history|histories)(_|$)",
    re.I,
)

_MODULES = (
    *("logging", "threading", "multiprocessing", "subprocess", "queue", "socket", "io", "_io", "asyncio"),
    *("concurrent", "weakref", "ctypes", "tqdm", "rich", "mlflow", "wandb", "tensorboard", "sqlite3"),
    *("_thread", "selectors", "signal", "tempfile", "contextvars", "tensorboardX", "matplotlib"),
)  # fmt: skip

_DAYS = 10 * 86_400.0


def is_noise(path: str, value: object) -> bool:
    """Whether a plain value is a clock, a number of the system, or a log.

    Args:
        path: Path of the value, such as "self.start_time".
        value: The value.

    Example:
        >>> is_noise("self.start_time", 3.0), is_noise("counter", 16), is_noise("seen", os.getpid())
        (True, False, True)
    """
    name = (re.findall(r"[A-Za-z_]\w*", path) or [""])[-1]
    if _NAME.search(re.sub(r"([a-z])([A-Z])", r"\1_\2", name)):
        return True
    if isinstance(value, float) and abs(value - time.time()) < _DAYS:
        return True
    return type(value) is int and value == os.getpid()


def is_noisy_object(value: Any) -> bool:
    """Whether an object belongs to logging, processes, files, or a library that trains nothing."""
    package = type(value).__module__.partition(".")[0]
    return package in _MODULES or type(value).__module__ == "torch.utils.tensorboard.writer"


def only_shared(some: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the keys of both mappings, in the order of the first."""
    return [key for key in some if key in other]
