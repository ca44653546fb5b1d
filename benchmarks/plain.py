"""Plain PyTorch loops, each in a process of its own: the steps of a population, and nothing else.

The benchmarks start it. By hand: python benchmarks/plain.py MEMBERS STEPS INTERVALS
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from member import Member, first, own

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""What popgrad's workers tell glibc: to keep freed memory. The loops are to have no less."""


def loop(members: Sequence[int], steps: int, intervals: int) -> None:
    """Train and evaluate members in turn; says when it is ready, and waits for a line before it begins."""
    torch.set_num_threads(1)
    hparams = first(max(members) + 1)
    population = [Member(*own("fc", hparams[member]), seed=member) for member in members]
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(intervals):
        for member in population:
            member.train(steps)
            member.evaluate()
    print("done", flush=True)


def loops_seconds(size: int, workers: int, steps: int, intervals: int) -> float:
    """Wall seconds of `size` members in `workers` processes, from when all of them are ready."""
    shares = [range(worker, size, workers) for worker in range(workers)]
    processes = [_start(share, steps, intervals) for share in shares]
    try:
        _wait(processes, "ready")
        begin = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        _wait(processes, "done")
        return time.perf_counter() - begin
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _start(members: Sequence[int], steps: int, intervals: int) -> "subprocess.Popen[str]":
    given = [",".join(map(str, members)), str(steps), str(intervals)]
    return subprocess.Popen(
        [sys.executable, str(Path(__file__)), *given],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **MALLOC},
    )  # fmt: skip


def _wait(processes: Sequence["subprocess.Popen[str]"], word: str) -> None:
    for process in processes:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        if said != word:
            raise RuntimeError(f"a plain loop ended before it was {word}; its error is above")


if __name__ == "__main__":
    loop([int(member) for member in sys.argv[1].split(",")], int(sys.argv[2]), int(sys.argv[3]))
