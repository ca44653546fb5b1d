"""A fresh interpreter for workers and the monitor: no fork, since torch may have threads."""

import os
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Variables that limit libraries to one thread; they are read when the interpreter starts."""


def interpreter(
    *arguments: str, variables: Mapping[str, str] = MappingProxyType({}), **options: Any
) -> subprocess.Popen[bytes]:
    """Start Python with one thread, in its own process group, which Ctrl-C does not reach.

    It searches modules in the paths of this process alone, without the working directory, in which
    a file could shadow a module. It does not run the user's main module again.

    Args:
        arguments: Arguments of `python -P`: "-c" or "-m", and what follows.
        variables: Further variables of its environment.
        options: Options of `subprocess.Popen`.
    """
    path = os.pathsep.join(str(entry) or os.curdir for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        env={**os.environ, **THREADS, "PYTHONPATH": path, **variables},
        process_group=0,
        **options,
    )
