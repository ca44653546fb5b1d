"""What only a pool of processes can get wrong: death, signals, pickles, settings, files and memory."""

import contextlib
import errno
import gc
import io
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch

import popgrad
from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Hparams
from popgrad.core.segment import Assignment, Outcome
from popgrad.core.space import LogUniform, Space
from popgrad.data import Splits
from popgrad.executors import Serial, clocks
from popgrad.executors.processes import pool as processes
from popgrad.executors.processes import process
from popgrad.executors.processes.pool import Processes
from popgrad.hardware import available_cores
from popgrad.state import State
from popgrad.tasks import Context, Quadratic, Split, TorchTask

cloudpickle.register_pickle_by_value(sys.modules[__name__])

CPU = [torch.device("cpu")]
DEADLINE = 20.0  # seconds; all of this takes a fraction of one, on an idle machine


class Told:
    """Does to its own process what the hyperparameter "do" says; dies `times` times, counted in `file`."""

    space = Space({})
    score = "pid"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return {"x": torch.full((1000,), float(ctx.member))}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        print("member", ctx.member, "trains")
        if hparams["do"] == "die":
            file = Path(str(hparams["file"]))
            file.write_text(file.read_text() + "." if file.exists() else ".")
            if len(file.read_text()) <= int(hparams["times"]):
                state["x"].zero_()
                os.system(
                    "sleep 600 &"
                )  # what it starts, or forks, must not hide that it has ended
                if os.fork():
                    os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()
        if hparams["do"] == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        return state

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        odd = torch.ones(1) * 1.0
        return {"pid": os.getpid(), "bytes": odd.element_size(), "threads": torch.get_num_threads()}


def assign(member: int, do: str = "train", source: int | None = None, **hparams: Any) -> Assignment:
    interval, before = (0, None) if source is None else (1, (source, 0))
    return Assignment(member, interval, before, {"do": do, **hparams}, 1, interval, 1)


def train(pool: Processes, *assignments: Assignment) -> list[Outcome]:
    pool.submit(assignments)
    return [pool.next() for _ in assignments]


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it holds within the deadline."""
    end = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.01)
    return True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def temporary_files() -> set[Path]:
    return {
        path
        for folder in ("/dev/shm", tempfile.gettempdir())
        for path in Path(folder).glob("popgrad-*")
    }


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes and files in /proc")


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    """Two workers, of a caller with settings of its own: float64, and few files that may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    torch.set_default_dtype(torch.float64)
    before, files, temporary = children(), open_files(), temporary_files()
    pool = Processes(Told(), CPU, workers=2)
    torch.set_default_dtype(torch.float32)
    pids = {int(outcome.metrics["pid"]) for outcome in train(pool, *(assign(m) for m in range(20)))}
    yield pool
    pool.close()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert limit == (100, hard)
    assert children() == before
    assert not any(map(alive, pids))
    assert open_files() <= files
    assert temporary_files() == temporary


@linux
def test_workers_have_the_callers_settings_one_thread_and_no_ear_for_ctrl_c(
    pool: Processes,
) -> None:
    first, second = train(pool, assign(0, "interrupt")), train(pool, assign(1))
    for (outcome,) in (first, second):
        assert not outcome.error
        assert outcome.metrics["bytes"] == 8
        assert outcome.metrics["threads"] == 1
        assert outcome.metrics["pid"] != os.getpid()


@linux
def test_more_states_are_held_than_files_may_be_open_at_first(pool: Processes) -> None:
    for m in range(200):
        pool.put((m, 9), {"x": torch.full((3,), float(m))})
    assert [pool.state((m, 9))["x"][2].item() for m in range(200)] == list(range(200))


@linux
def test_a_state_that_a_worker_has_yet_to_read_is_not_written_over(pool: Processes) -> None:
    pids = {
        int(outcome.metrics["pid"]) for outcome in train(pool, *(assign(m) for m in range(40, 60)))
    }
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    heirs = [Assignment(m, 1, (m - 20, 0), {"do": "train"}, 1, 1, 1) for m in (60, 61)]
    pool.submit(heirs)
    pool.retain([])
    for m in range(30):
        pool.put((m, 7), {"x": torch.zeros(1000)})
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    for _ in heirs:
        pool.next()
    assert [pool.state((m, 1))["x"].unique().tolist() for m in (60, 61)] == [[40.0], [41.0]]


@linux
def test_a_segment_whose_worker_dies_is_trained_again_by_another(
    pool: Processes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(pool, assign(30))
    with caplog.at_level(logging.WARNING, "popgrad"):
        (outcome,) = train(pool, assign(31, "die", 30, file=str(tmp_path / "attempts"), times=1))
    assert not outcome.error
    assert outcome.digest == train(pool, assign(32, source=30))[0].digest
    assert pool.state((30, 0))["x"][0] == 30.0  # what is held stays
    assert (outcome.metrics["bytes"], outcome.metrics["threads"]) == (
        8,
        1,
    )  # settings are those at the start
    (said,) = caplog.messages
    assert said.startswith(
        "member 31, interval 1: attempt 1 of 3 failed, retraining it: the worker p"
    )


@linux
def test_a_segment_that_kills_every_worker_is_a_failure_and_the_others_go_on(
    pool: Processes, tmp_path: Path
) -> None:
    dying = assign(33, "die", file=str(tmp_path / "attempts"), times=99)
    failed, *others = sorted(
        train(pool, dying, *map(assign, range(34, 38))), key=lambda each: each.id
    )
    assert failed.error == (
        "the worker process ended with code -9 (killed: was memory short? Try fewer workers)"
    )
    assert (failed.digest, dict(failed.metrics)) == ("", {})
    assert (tmp_path / "attempts").read_text() == "..."
    assert not pool.holds((33, 0))
    assert not any(each.error for each in others)
    assert all(pool.holds(each.id) for each in others)


class Crashes(Quadratic):
    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


@linux
def test_a_crash_of_compiled_code_says_so_and_prints_the_line_of_the_task(
    capfd: pytest.CaptureFixture[str],
) -> None:
    pool = Processes(Crashes(), CPU, workers=1)
    (outcome,) = train(pool, Assignment(0, 0, None, {"h0": 1.0, "h1": 0.0}, 1, 0, 1))
    pool.close()
    assert outcome.error.startswith("the worker process ended with code -11 (a crash of compiled")
    assert f'File "{__file__}", line ' in capfd.readouterr().err


@linux
def test_a_worker_that_dies_while_it_has_nothing_to_do_is_replaced_by_one_that_computes_alike() -> (
    None
):
    pool = Processes(Told(), CPU, workers=1)
    pids = []
    for member in range(2):
        (outcome,) = train(pool, assign(member))
        assert not outcome.error
        pids.append(int(outcome.metrics["pid"]))
        os.kill(pids[-1], signal.SIGKILL)
        assert eventually(lambda: not alive(pids[-1]))
    assert pids[0] != pids[1]
    pool.fingerprint = {**pool.fingerprint, "arithmetic": "another"}
    for why in ("arithmetic of a worker process differs", "nothing was submitted"):  # and no hang
        with pytest.raises(RunError, match=why):
            train(pool, assign(2))
    pool.close()


@linux
def test_what_a_task_prints_reaches_standard_error_also_without_a_flush(
    capfd: pytest.CaptureFixture[str],
) -> None:
    pool = Processes(Told(), CPU, workers=1)
    train(pool, assign(7))
    pool.close()
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == "member 7 trains\n"


CONTROLLER = """
import subprocess, sys, torch
from popgrad.core.segment import Assignment
from popgrad.executors import Processes
from popgrad.tasks import Quadratic

class Busy(Quadratic):
    def train(self, state, hparams, steps, ctx):
        child = subprocess.Popen(["sleep", "600"])
        import os
        print(os.getpid(), child.pid, flush=True)
        while True:
            torch.randn(100, 100) @ torch.randn(100, 100)

# No guard against running twice: workers do not run this file again.
print("controller", flush=True)
pool = Processes(Busy(), [torch.device("cpu")], workers=2)
pool.put((9, 9), {"x": torch.zeros(100_000)})
pool.submit([Assignment(m, 0, None, {"h0": 1.0, "h1": 0.0}, 1, 0, 1) for m in range(3)])
pool.next()
"""


@linux
def test_workers_and_what_they_started_die_with_the_controller(tmp_path: Path) -> None:
    before = temporary_files()
    (tmp_path / "script.py").write_text(CONTROLLER)
    command = [sys.executable, str(tmp_path / "script.py")]
    path = os.pathsep.join(filter(None, sys.path))
    controller = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # where workers write
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    pids: list[int] = []
    try:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "controller\n"
        for _ in range(2):  # both workers train
            pids += map(int, controller.stdout.readline().split())
        assert all(map(alive, pids))
        controller.kill()
        controller.wait(DEADLINE)
        assert eventually(lambda: not any(map(alive, pids)))
        assert controller.stdout.read() == ""
    finally:
        controller.kill()
        controller.wait()
        assert controller.stdout is not None
        controller.stdout.close()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert temporary_files() == before


class Unpicklable(Quadratic):
    def __init__(self) -> None:
        object.__setattr__(self, "lock", threading.Lock())


class Ends(Quadratic):
    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


class Unloadable(Quadratic):
    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("a_module_that_is_not_there",)


def test_a_task_that_cannot_be_sent_is_refused_with_advice() -> None:
    with pytest.raises(
        UsageError, match=r"cannot be sent to worker processes .*lock.* serial executor"
    ):
        Processes(Unpicklable(), CPU, workers=1)


def test_a_task_that_cannot_be_loaded_is_refused_with_the_reason() -> None:
    with pytest.raises(
        UsageError, match=r"cannot be loaded in a worker .*a_module_that_is_not_there"
    ):
        Processes(Unloadable(), CPU, workers=1)


def test_a_worker_that_ends_while_it_starts_is_an_error() -> None:
    with pytest.raises(
        RunError, match=r"^the worker process ended with code 3 while it was starting; .* serial$"
    ):
        Processes(Ends(), CPU, workers=1)


class Hangs(Quadratic):
    def __setstate__(self, state: dict[str, Any]) -> None:
        threading.Event().wait()


def test_a_worker_that_hangs_while_it_starts_is_logged_and_an_error_in_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clocks, "SLOW_START", 0.01)
    monkeypatch.setattr(clocks, "_SHORTEST_LIMIT", 0.5)
    before = children()
    with (
        caplog.at_level(logging.WARNING, "popgrad"),
        pytest.raises(RunError, match=r"^worker 0 has not started in 0\.5 s: it loads the task"),
    ):
        Processes(Hangs(), CPU, workers=1, deadline=0.1)
    assert caplog.messages[0].startswith("waiting for worker 0 to start")
    assert children() == before


def test_a_worker_that_ends_while_it_starts_has_its_last_words_shown() -> None:
    class Talks(Quadratic):
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, ("import os; print('libcuda is missing', flush=True); os._exit(3)",)

    with pytest.raises(
        RunError, match=r"code 3 .* \(it printed 'libcuda is missing'\); .* serial$"
    ):
        Processes(Talks(), CPU, workers=1)


def test_no_room_for_another_process_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    files = open_files()
    monkeypatch.setattr(process, "interpreter", refuse)
    with pytest.raises(RunError, match=r"^no room for another worker process .*`ulimit -u`"):
        Processes(Quadratic(), CPU, workers=1)
    assert open_files() <= files


@pytest.mark.parametrize("workers", [0, -1])
def test_a_pool_has_at_least_one_worker(workers: int) -> None:
    with pytest.raises(UsageError, match=rf"^workers: expected at least 1, got {workers}"):
        Processes(Quadratic(), CPU, workers=workers)


def test_other_arithmetic_in_a_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    own = processes.fingerprint_with()
    monkeypatch.setattr(processes, "fingerprint_with", lambda: {**own, "arithmetic": "another"})
    with pytest.raises(RunError, match=r"arithmetic of a worker process differs .*MKL_CBWR=AUTO"):
        Processes(Quadratic(), CPU, workers=1)


def test_cores_are_counted_within_what_may_be_used() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


class Loud(Quadratic):
    """Says what it trains."""

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        print(f"member {ctx.member}, interval {ctx.interval}")
        return super().train(state, hparams, steps, ctx)


def test_what_a_task_prints_comes_through_the_controllers_standard_error() -> None:
    """A live table redirects `sys.stderr`; what went past it to the terminal was drawn over."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        result = popgrad.run(
            Loud(),
            population=3,
            intervals=2,
            interval=1,
            executor="processes",
            workers=2,
            progress=False,
            check=False,
        )
    assert len(result.segments) == 6
    assert sorted(said.getvalue().splitlines()) == sorted(
        f"member {m}, interval {i}" for m in range(3) for i in range(2)
    )


def _read_by(log: Path) -> Splits:
    with log.open("a") as file:
        file.write(f"{os.getpid()}\n")
    data = torch.arange(66.0).reshape(22, 3) / 10
    part = (data, (data.sum(1) > 3).long())
    return Splits(
        part, (data[:5].clone(), part[1][:5].clone()), (data[:5].clone(), part[1][:5].clone())
    )


def _shared(tensor: torch.Tensor) -> bool:
    """Whether a tensor lies in memory that this process maps and its workers can map too."""
    maps = [
        line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:popgrad" in line
    ]
    ranges = [line.split()[0].split("-") for line in maps]
    place = tensor.untyped_storage().data_ptr()
    return any(int(low, 16) <= place < int(high, 16) for low, high in ranges)


def test_data_is_read_once_and_lies_in_memory_once(tmp_path: Path) -> None:
    log = tmp_path / "readers"
    task = TorchTask(
        space=Space({"lr": LogUniform(1e-3, 1e-1)}),
        model=lambda hparams: torch.nn.Linear(3, 2),
        optimizer=lambda module, hparams: torch.optim.SGD(module.parameters(), lr=hparams["lr"]),
        data=partial(_read_by, log),
    )
    serial = Serial(task, CPU)
    serial.submit([Assignment(m, 0, None, {"lr": 0.1}, 3, 0, 5) for m in range(4)])
    expected = {outcome.id: outcome.digest for outcome in (serial.next() for _ in range(4))}
    serial.close()
    pool = Processes(task, CPU, workers=2)
    pool.submit([Assignment(m, 0, None, {"lr": 0.1}, 3, 0, 5) for m in range(4)])
    assert {outcome.id: outcome.digest for outcome in (pool.next() for _ in range(4))} == expected
    assert _shared(task.split("train", CPU[0])[0])
    pool.close()
    assert log.read_text() == f"{os.getpid()}\n"
    serial = Serial(task, CPU)  # what looks at the shared memory keeps it
    serial.submit([Assignment(0, 0, None, {"lr": 0.1}, 3, 0, 5)])
    assert serial.next().digest == expected[0, 0]
    serial.close()
