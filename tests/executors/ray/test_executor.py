"""What only the executor on Ray can get wrong: room, addresses, deadlines, and how actors start and end."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch

import popgrad
from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Hparams
from popgrad.core.segment import Assignment
from popgrad.core.space import Space
from popgrad.data import Splits
from popgrad.executors import EXECUTORS, Serial
from popgrad.state import State
from popgrad.tasks import Context, Quadratic, Split, TorchTask

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

cloudpickle.register_pickle_by_value(sys.modules[__name__])

CPU = [torch.device("cpu")]


class Told:
    """Does to its own process what the hyperparameter "do" says."""

    space = Space({})
    score = "pid"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return {"x": torch.full((1000,), float(ctx.member))}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        if hparams["do"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if hparams["do"] == "hang":
            signal.pause()
        if hparams["do"] == "die once":
            once = Path(str(hparams["folder"])) / "died"
            if not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if hparams["do"] == "meet":
            (Path(str(hparams["folder"])) / str(os.getpid())).touch()
            # A new actor imports torch, on a busy machine in more than 30 s.
            end = time.monotonic() + 90
            while (
                len(os.listdir(str(hparams["folder"]))) < int(hparams.get("count", 2))
                and time.monotonic() < end
            ):
                time.sleep(0.01)
        return state

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        gpu = int(os.environ.get("CUDA_VISIBLE_DEVICES") or -1)
        set_before = os.environ["MKL_CBWR"] == "AUTO" and os.environ["OMP_NUM_THREADS"] == "1"
        return {
            "pid": os.getpid(),
            "threads": torch.get_num_threads(),
            "set": set_before,
            "gpu": gpu,
        }


class Unloadable(Quadratic):
    """Its module is not on the nodes."""

    def __reduce__(self) -> Any:
        return __import__, ("a_module_that_is_not_there",)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(
        "local",
        num_cpus=2,
        num_gpus=1,
        include_dashboard=False,
        object_store_memory=10**8,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


def assign(member: int, do: str = "train", interval: int = 0, **hparams: Any) -> Assignment:
    source = (member, interval - 1) if interval else None
    return Assignment(member, interval, source, {"do": do, **hparams}, 1, interval, 1)


def start(task: Any = None, **options: Any) -> Any:
    return EXECUTORS["ray"](task or Told(), CPU, **options)


def train(executor: Any, *assignments: Assignment) -> list[Any]:
    executor.submit(assignments)
    return [executor.next() for _ in assignments]


def test_actors_have_one_thread_and_as_many_fit_as_there_is_room_for() -> None:
    executor = start(cpus=0.5)
    outcomes = train(executor, *(assign(m) for m in range(40)))
    assert all(each.metrics["threads"] == each.metrics["set"] == 1 for each in outcomes)
    assert 1 <= len({each.metrics["pid"] for each in outcomes}) <= 4
    executor.close()
    assert ray.is_initialized()  # the caller's connection stays


def test_four_members_share_a_gpu_and_a_fifth_waits_for_one_of_them(tmp_path: Path) -> None:
    executor = start(cpus=0.1, gpus=0.25)
    outcomes = train(
        executor, *(assign(m, "meet", folder=str(tmp_path), count=4) for m in range(9))
    )
    assert all(each.metrics["gpu"] == 0 for each in outcomes)
    assert len({each.metrics["pid"] for each in outcomes}) == len(os.listdir(tmp_path)) == 4
    executor.close()


def test_what_takes_too_long_is_given_up_with_its_actor_and_not_trained_again() -> None:
    executor = start(workers=1, deadline=1.0)
    (first,) = train(executor, assign(0))
    (late,) = train(executor, assign(1, "hang"))
    assert late.error == "the segment took longer than the deadline of 1 s"
    assert late.telemetry.seconds >= 1.0
    assert not executor.holds((1, 0))
    executor._deadline = None  # its successor needs more than a second to start
    (heir,) = train(executor, assign(0, interval=1))
    assert heir.metrics["pid"] != first.metrics["pid"]
    executor.close()


def test_a_segment_that_kills_its_actor_each_time_fails_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture, retries: Callable[[], list[str]]
) -> None:
    executor = start(workers=2)
    with caplog.at_level(logging.WARNING, "popgrad"):
        outcomes = {
            each.id: each for each in train(executor, assign(0, "die"), assign(1), assign(2))
        }
    assert "was lost: ActorDiedError" in outcomes[0, 0].error
    assert outcomes[0, 0].error.startswith("actor ")
    assert not outcomes[1, 0].error
    assert len(retries()) == 2
    executor.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"gpus": 1.5},
            r"^cpus, gpus: a member takes 1 CPUs and 1\.5 GPUs, and no node of the cluster has them",
        ),
        ({"cpus": 0}, r"^cpus, gpus: expected numbers of at least 0, and not both 0, got 0 and 0"),
        ({"cpus": -1}, r"^cpus, gpus: expected numbers of at least 0, .* got -1 and 0"),
        ({"workers": 0}, r"^workers: expected at least 1, got 0"),
        (
            {"task": Unloadable()},
            r"cannot be loaded on the node .*a_module_that_is_not_there.*every node",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        start(**options)


def test_what_a_dead_actor_shared_its_node_with_goes_on(tmp_path: Path) -> None:
    executor = start(workers=2)
    first = train(executor, *(assign(m, "meet", folder=str(tmp_path)) for m in range(2)))
    train(executor, assign(0, "die once", interval=1, folder=str(tmp_path)))
    (tmp_path / "met").mkdir()
    later = train(executor, *(assign(m, "meet", folder=str(tmp_path / "met")) for m in range(2)))
    pids = [{each.metrics["pid"] for each in outcomes} for outcomes in (first, later)]
    assert [len(each) for each in pids] == [2, 2]
    assert len(pids[0] & pids[1]) == 1
    executor.close()


@pytest.mark.parametrize("error", ["ObjectStoreFullError", "OutOfDiskError"])
def test_where_states_have_no_room_the_run_ends_and_nobody_is_trained_again(
    error: str, monkeypatch: pytest.MonkeyPatch, retries: Callable[[], list[str]]
) -> None:
    def full(*given: Any) -> None:
        raise getattr(ray.exceptions, error)("full")

    message = (
        r"^neither Ray's object store nor the disk .*`ray start --object-store-memory`.*smaller"
    )
    executor = start(workers=1)
    monkeypatch.setattr(ray, "put", full)
    with pytest.raises(RunError, match=message):
        executor.put((0, 0), {"x": torch.zeros(3)})
    executor.submit([assign(0)])
    monkeypatch.setattr(ray, "get", full)  # as where an actor could not store what it had trained
    with pytest.raises(RunError, match=message):
        executor.next()
    assert not retries()
    executor.close()


def test_what_nodes_lack_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from popgrad.executors.ray.actor import Trainer

    monkeypatch.setitem(sys.modules, "not_installed", popgrad)
    monkeypatch.setitem(sys.modules, "not_installed.there", sys.modules[Trainer.__module__])
    monkeypatch.setattr(Trainer, "__module__", "not_installed.there")
    with pytest.raises(
        RunError, match=r"^actors end .*on every node \(.*No module named 'not_installed'\)"
    ):
        start()


def test_nodes_that_compute_differently_are_refused() -> None:
    executor = start(workers=2)
    train(executor, assign(0))
    executor._actors.fingerprint = {**executor.fingerprint, "capability": "another"}
    with pytest.raises(
        RunError,
        match=r"arithmetic of the node .* differs .*\(capability another and .*one kind of CPU",
    ):
        train(executor, *(assign(m, "die") for m in range(3)))  # those who take their places say so
    executor.close()


def _splits() -> Splits:
    data = torch.arange(66.0).reshape(22, 3) / 10
    part = (data, (data.sum(1) > 3).long())
    return Splits(
        part, (data[:5].clone(), part[1][:5].clone()), (data[:5].clone(), part[1][:5].clone())
    )


class Reader:
    """Reads the data where it is first needed, and says if that is in another process."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __call__(self) -> Splits:
        assert os.getpid() == self.pid, "the data was read again"
        return _splits()


def test_data_is_read_once_and_comes_out_of_the_object_store() -> None:
    task = TorchTask(
        space=Space({}),
        model=lambda hparams: torch.nn.Linear(3, 2),
        optimizer=lambda module, hparams: torch.optim.SGD(module.parameters(), lr=hparams["lr"]),
        data=Reader(),
    )
    wanted = [Assignment(m, 0, None, {"lr": 0.1}, 3, 0, 5) for m in range(3)]
    serial, executor = Serial(task, CPU), start(task, workers=2)
    expected = {outcome.id: outcome.digest for outcome in train(serial, *wanted)}  # type: ignore[arg-type]
    assert {outcome.id: outcome.digest for outcome in train(executor, *wanted)} == expected
    executor.close()
    serial.close()


def test_a_run_on_ray_is_the_serial_one_and_asks_for_a_gpu_only_where_members_take_one() -> None:
    serial, found = (
        popgrad.run("digits", population=4, intervals=3, interval=7, executor=name, workers=2)
        for name in ("serial", "ray")
    )
    assert [*map(repr, found.segments)] == [*map(repr, serial.segments)]
    with pytest.raises(
        UsageError,
        match=r"^device: on a cluster, expected cpu, .*gpus=0\.25; got 'cuda' with gpus=0",
    ):
        popgrad.run("digits", executor="ray", device="cuda")


@pytest.mark.long  # two minutes; tests/engine/test_resize.py has the other executors
def test_a_population_grows_and_shrinks_on_ray_as_in_one_process(tmp_path: Path) -> None:
    def changed(name: str) -> list[str]:
        place = tmp_path / name
        popgrad.run(
            "digits",
            population=3,
            intervals=2,
            interval=7,
            executor=name,
            workers=2,
            directory=place,
        )
        popgrad.resume(place, population=6, intervals=4)
        found = popgrad.resume(place, population=2, intervals=5)
        assert [sum(s.interval == i for s in found.segments) for i in range(5)] == [3, 3, 6, 6, 2]
        return [*map(repr, found.segments)]

    assert changed("ray") == changed("serial")


def test_where_something_else_answers_it_is_said_while_ray_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def init(address: str, **options: Any) -> None:
        end = time.monotonic() + 30
        while not caplog.messages and time.monotonic() < end:
            time.sleep(0.01)
        raise ConnectionError("no answer")

    ray.shutdown()  # the last tests: a caller's connection would be used
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("popgrad.executors.ray.cluster._CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(
            UsageError,
            match=rf"^address: expected a running cluster, got '{address}' \(no answer\)",
        ):
            start(address=address)
    assert caplog.messages == [
        f"address: {address} accepts connections, but does not answer as Ray yet; "
        "is it the address that `ray start` printed?"
    ]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "127.0.0.1:1",
            r"^address: expected a running cluster, got '127\.0\.0\.1:1' .* `ray start --head`",
        ),
        (
            "ray://host:10001",
            r"^address: expected .*, got 'ray://host:10001'; run popgrad on a node of the cluster",
        ),
    ],
)
def test_an_address_where_nothing_is_says_what_to_do(address: str, message: str) -> None:
    ray.shutdown()
    with pytest.raises(UsageError, match=message):
        start(address=address)


LOUD = """
import os
from pathlib import Path

from popgrad.tasks import Quadratic


class Loud(Quadratic):
    def train(self, state, hparams, steps, ctx):
        print("the task prints")
        os.system("echo what the task starts prints")
        if (ctx.member, ctx.interval) == (1, 1) and not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), 9)
        return super().train(state, hparams, steps, ctx)
"""


SCRIPT = """
import json

import popgrad
from loud import Loud

if __name__ == "__main__":
    size = {"population": 2, "intervals": 3, "interval": 2, "workers": 1}
    run = popgrad.run(Loud(), executor="ray", address="local", check=False, **size)
    print(json.dumps({"winner": run.winner.member}))
"""
COMMAND = (
    "run loud.py:Loud --population 2 --intervals 3 --interval 2 --workers 1 --executor ray "
    "--address local --json --no-check"
)


@pytest.mark.parametrize(
    "argv", [["-m", "popgrad", *COMMAND.split()], ["script.py"]], ids=["command", "script"]
)
def test_of_all_that_is_printed_on_a_cluster_only_the_result_comes_to_standard_output(
    argv: list[str], tmp_path: Path
) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, *argv], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists()
    assert "winner" in json.loads(done.stdout)
    for told in ("the task prints", "what the task starts prints", "(raylet)"):
        assert told in done.stderr


def test_ray_is_imported_only_when_it_is_wanted() -> None:
    code = "import sys, popgrad; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
