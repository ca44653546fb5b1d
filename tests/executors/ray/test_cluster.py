"""A cluster of three nodes on this machine, which loses processes and nodes: the record stays serial's.

Ray's own processes are real ones, each node with an object store of its own; only the network is missing.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import popgrad
from popgrad.core.population import Hparams
from popgrad.core.space import LogUniform, Space
from popgrad.state import State
from popgrad.store.journal import Journal
from popgrad.tasks import Context, Split

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:FutureWarning:ray", "ignore:.*:ResourceWarning:ray"
)

MEMBERS, INTERVALS, STEPS = 6, 4, 20
NODE = {"num_cpus": 1, "object_store_memory": 10**8, "include_dashboard": False}


class Walk:
    """A state of two megabytes, which does not fit into a message; a segment takes about 0.2 seconds.

    With `fatal`, a file, the process of member 1 ends itself in interval 1 the first time it trains there.
    With `meet`, a folder, nobody trains on before two processes have come to the last interval.
    """

    space = Space({"lr": LogUniform(1e-3, 1e-1)})
    score = "score"

    def __init__(self, fatal: str = "", meet: str = "") -> None:
        self.fatal, self.meet = fatal, meet

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return {"x": torch.randn(500_000), "w": torch.randn(33, 33)}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        if self.fatal and (ctx.member, ctx.interval) == (1, 1):
            attempts = Path(self.fatal)
            attempts.write_text(attempts.read_text() + "." if attempts.exists() else ".")
            if attempts.read_text() == ".":
                os.kill(os.getpid(), signal.SIGKILL)
        if self.meet and ctx.interval == INTERVALS - 1:
            (Path(self.meet) / str(os.getpid())).touch()
            wait_for(lambda: len(os.listdir(self.meet)) >= 2)
        for _ in range(steps):
            state["w"] = torch.tanh(state["w"] @ state["w"] + hparams["lr"] * torch.randn(33, 33))
            state["x"] = state["x"] * (1 - hparams["lr"]) + torch.randn(500_000) * hparams["lr"]
        return state

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        return {"score": float(state["w"].sum()), "mean": float(state["x"].mean())}


class Nodes:
    """A cluster, and what is done to it. The controller is on the first node, which stays."""

    def __init__(self, count: int = 3) -> None:
        self.cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=NODE)
        self.others = [self.add() for _ in range(count - 1)]
        self.cluster.wait_for_nodes()
        self.cluster.connect()
        assert ray.get_runtime_context().get_node_id() == self.cluster.head_node.node_id

    def add(self) -> Any:
        return self.cluster.add_node(**{k: v for k, v in NODE.items() if k != "include_dashboard"})

    def lose(self) -> None:
        """One node is gone at once, with its actors and all that its object store alone has."""
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)

    def close(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    found = Nodes()
    yield found
    found.close()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return record(run(Walk(), "serial", tmp_path_factory.mktemp("serial") / "run"))


def run(task: Any, executor: str, directory: Path, **more: Any) -> popgrad.Result:
    return popgrad.run(
        task,
        population=MEMBERS,
        intervals=INTERVALS,
        interval=STEPS,
        seed=5,
        fraction=0.34,
        executor=executor,
        directory=directory,
        **more,
    )


def record(result: popgrad.Result) -> list[str]:
    journal = Journal(result.directory / "journal.db", readonly=True)
    found = [*map(repr, journal.segments()), *map(repr, journal.decisions())]
    journal.close()
    return found


class Once:
    """Does something the first time that it is told of a segment or an interval for which `when` holds."""

    def __init__(self, what: Callable[[], object], when: Callable[[Any], bool]) -> None:
        self.what, self.when, self.done = what, when, False

    def __call__(self, told: Any) -> None:
        if not self.done and self.when(told):
            self.done = True
            self.what()


def test_an_actor_that_is_killed_is_replaced_and_the_record_is_serials(
    nodes: Nodes, tmp_path: Path, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    found = run(Walk(str(tmp_path / "attempts")), "ray", tmp_path / "run")
    assert (tmp_path / "attempts").read_text() == ".."
    assert "member 1, interval 1: attempt 1 of 3 failed, retraining it: actor" in caplog.text
    assert record(found) == expected
    last = {s.digest for s in found.segments if s.interval == INTERVALS - 1}
    there = {path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert last <= there  # also those of actors on other nodes


def telemetry(directory: Path) -> Mapping[tuple[int, int], Any]:
    journal = Journal(directory / "journal.db", readonly=True)
    found = journal.telemetry()
    journal.close()
    return found


@pytest.mark.long
def test_a_node_is_lost_while_its_member_trains(
    nodes: Nodes, tmp_path: Path, expected: list[str]
) -> None:
    lose = Once(nodes.lose, lambda segment: segment.interval == 1)
    assert record(run(Walk(), "ray", tmp_path / "run", on_segment=lose)) == expected
    assert lose.done
    nodes.others.append(nodes.add())


@pytest.mark.long
def test_a_node_is_lost_between_the_decision_and_those_who_inherit(
    nodes: Nodes, tmp_path: Path, expected: list[str]
) -> None:
    lose = Once(nodes.lose, lambda end: end.interval == 1)
    assert record(run(Walk(), "ray", tmp_path / "run", on_interval=lose)) == expected
    assert lose.done
    nodes.others.append(nodes.add())


class Late(Walk):
    """Is loaded on the controller's node, elsewhere only when the file `may` is there."""

    def __init__(self, home: str, may: str) -> None:
        super().__init__()
        self.home, self.may = home, may

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        here = ray.get_runtime_context().get_node_id()
        wait_for(lambda: here == self.home or Path(self.may).exists())


@pytest.mark.long
def test_a_node_is_lost_while_actors_start_there(
    nodes: Nodes, tmp_path: Path, expected: list[str]
) -> None:
    wide = nodes.cluster.add_node(
        num_cpus=4, object_store_memory=10**8
    )  # at least three of the six are there
    wait_for(lambda: alive() == 4)

    def lose() -> None:
        nodes.cluster.remove_node(wide, allow_graceful=False)
        wait_for(lambda: alive() == 3)
        (tmp_path / "may").touch()

    once = Once(lose, lambda segment: True)
    task = Late(nodes.cluster.head_node.node_id, str(tmp_path / "may"))
    assert record(run(task, "ray", tmp_path / "run", on_segment=once)) == expected
    assert once.done


@pytest.mark.long
def test_a_node_that_joins_is_used(nodes: Nodes, tmp_path: Path, expected: list[str]) -> None:
    for _ in range(2):
        nodes.lose()
    wait_for(lambda: alive() == 1)
    (tmp_path / "met").mkdir()
    join = Once(lambda: nodes.others.append(nodes.add()), lambda end: end.interval == 0)
    found = run(Walk(meet=str(tmp_path / "met")), "ray", tmp_path / "run", on_interval=join)
    assert record(found) == expected
    workers: dict[int, set[str]] = {}
    for (_, interval), facts in telemetry(tmp_path / "run").items():
        workers.setdefault(interval, set()).add(facts.worker)
    assert len(workers[0]) == 1
    assert len(workers[INTERVALS - 1]) == 2
    nodes.others.append(nodes.add())


SCRIPT = """
import sys
from tests.executors.ray.test_cluster import Walk, run
if __name__ == "__main__":
    run(Walk(), "ray", __import__("pathlib").Path(sys.argv[1]), address=sys.argv[2], storage=sys.argv[3])
"""


@pytest.mark.long
@pytest.mark.parametrize("lost", [False, True], ids=["process", "machine"])
def test_the_controller_is_killed_and_the_run_goes_on(
    nodes: Nodes, tmp_path: Path, expected: list[str], lost: bool
) -> None:
    directory, storage = tmp_path / "run", f"file://{tmp_path}/storage"
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = {
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
        )
    }
    command = [
        sys.executable,
        str(tmp_path / "script.py"),
        str(directory),
        nodes.cluster.address,
        storage,
    ]
    controller = subprocess.Popen(command, env={**os.environ, **paths})
    wait_for(
        lambda: (directory / "journal.db").exists() and len(telemetry(directory)) >= 2 * MEMBERS + 1
    )
    controller.kill()
    controller.wait()
    before = popgrad.load(directory, task=Walk()).segments
    if lost:
        directory = popgrad.fetch(storage, tmp_path / "elsewhere")
        fetched = popgrad.load(directory, task=Walk()).segments
        assert len(fetched) >= len(before) - 2 * MEMBERS
        assert set(map(repr, fetched)) <= set(map(repr, before))
    found = popgrad.resume(directory, task=Walk(), allow_changed_task=True)
    assert record(found) == expected


def alive() -> int:
    """Nodes, as far as Ray knows."""
    return sum(node["Alive"] for node in ray.nodes())


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
