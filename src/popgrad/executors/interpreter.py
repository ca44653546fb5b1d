"""A fresh interpreter, for workers and for the monitor: no fork, since torch may have threads already."""

import os
import subprocess
import sys
from typing import Any

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def interpreter(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start Python with one thread, in a process group of its own: Ctrl-C in a terminal does not reach it.

    It finds modules where this process does, and so puts no working directory before them, in which a file
    could stand for another module. It does not run the user's main module again.

    Args:
        arguments: After `python -P`: "-c" or "-m", and what follows.
        options: Of `subprocess.Popen`.
    """
    path = os.pathsep.join(str(entry) or os.curdir for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        env={**os.environ, **THREADS, "PYTHONPATH": path},
        process_group=0,
        **options,
    )
