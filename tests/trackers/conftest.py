"""Places to log to, each with a reader of its own kind, and what a run should have left there."""

import json
import shutil
import struct
import warnings
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

import popgrad
from popgrad.core.score import Score
from popgrad.reports.points import points

KINDS = [
    "recorder",
    "tensorboard",
    pytest.param("mlflow", marks=pytest.mark.slow),
    pytest.param("wandb", marks=pytest.mark.slow),
]
"""The built-in trackers, and one of the user's own."""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """Nothing on this machine says where trackers log to."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Recorder:
    """A tracker of the user's own, which keeps everything."""

    points: dict = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    events: list = field(default_factory=list)
    files: dict = field(default_factory=dict)
    runs: list = field(default_factory=list)

    def open(self, run):
        self.runs.append(run)
        self.events.append("open")

    def log(self, tracked):
        self.events.append(tracked.segment.id)
        for step, numbers in tracked.points.items():
            for name, value in numbers.items():
                self.points[tracked.segment.member][name].append((step, value))

    def close(self, ending):
        self.events.append(ending.status)
        self.files = {path.name: path.read_bytes() for path in ending.files}


@dataclass
class Place:
    """A tracker, and what it holds of the run in a directory.

    Attributes:
        tracker: Value of the argument `tracker`.
        read: Returns {member: {name: [(step, value), ...]}}.
        statuses: Returns the set of the statuses of all runs; None = it knows none.
        files: Returns the content of the artefacts by name; None = it keeps none.
    """

    tracker: object
    read: object
    statuses: object = None
    files: object = None


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow store without runs: MLflow takes seconds to create one."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MLflowReader(f"sqlite:///{path}")
    return path


@pytest.fixture
def mlflow_store(empty_store, tmp_path, monkeypatch):
    """The URI of a store of the user's, which is set in the environment."""
    shutil.copyfile(empty_store, tmp_path / "store.db")
    uri = f"sqlite:///{tmp_path / 'store.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)  # MLflow puts artefacts there
    return uri


@pytest.fixture
def place(request, tmp_path):
    """The place that a test is parametrised with; its run is in tmp_path / "run"."""
    directory = tmp_path / "run"
    if request.param == "tensorboard":
        return Place("tensorboard", lambda: read_events(directory))
    if request.param == "mlflow":
        uri = request.getfixturevalue("mlflow_store")
        store = lambda: MLflowReader(uri)  # noqa: E731
        return Place(
            "mlflow",
            lambda: store().points(),
            lambda: {run.info.status.lower() for run in store().runs()},
            lambda: store().files(),
        )
    if request.param == "wandb":
        read = lambda: read_wandb(directory)  # noqa: E731
        words = {0: "finished", 1: "failed", 255: "killed"}
        return Place(
            "wandb",
            lambda: {member: run.points for member, run in read().items()},
            lambda: {words[run.exit_code] for run in read().values()},
            lambda: {name: text for run in read().values() for name, text in run.files.items()},
        )
    recorder = Recorder()
    return Place(
        recorder,
        lambda: recorder.points,
        lambda: {recorder.events[-1]},
        lambda: recorder.files,
    )


@pytest.fixture
def train(tmp_path):
    """A function that runs a small population, serially, in tmp_path / "run"."""

    def train(**keywords):
        given = {
            "population": 4,
            "intervals": 4,
            "interval": 10,
            "seed": 1,
            "executor": "serial",
            "directory": tmp_path / "run",
            "progress": False,
            "check": False,
        }
        return popgrad.run(keywords.pop("task", "quadratic"), **{**given, **keywords})

    return train


def expected(result):
    """{member: {name: [(step, value), ...]}} of a record, by the rule of a slot's own steps."""
    found = defaultdict(lambda: defaultdict(list))
    trained = defaultdict(int)
    for segment in result.segments:
        begin = trained[segment.member]
        curve = result.telemetry[segment.id]
        drawn = points(segment, curve, result.space, Score.parse(result.score_name))
        for step, numbers in drawn.items():
            for name, value in numbers.items():
                found[segment.member][name].append((begin + step, value))
        trained[segment.member] = begin + segment.steps
    return found


def same(found, wanted, rel=1e-6):
    """Whether two places hold the same points; TensorBoard keeps numbers in single precision."""
    near = {
        member: {
            name: [(step, pytest.approx(value, rel=rel)) for step, value in curve]
            for name, curve in curves.items()
        }
        for member, curves in wanted.items()
    }
    return {member: dict(curves) for member, curves in found.items()} == near


# --- readers ---------------------------------------------------------------------------------------------


def read_events(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for folder in sorted((directory / "events").glob("member-*")):
        events = EventAccumulator(str(folder)).Reload()
        found[int(folder.name.partition("-")[2])] = {
            tag: [(each.step, each.value) for each in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
    return found


class MLflowReader:
    """Reads a store of MLflow with MLflow's own client."""

    def __init__(self, uri):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient

            self.client = MlflowClient(tracking_uri=uri)

    def runs(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            experiments = [each.experiment_id for each in self.client.search_experiments()]
            return self.client.search_runs(experiments)

    def members(self):
        return {
            int(run.data.tags["popgrad.member"]): run
            for run in self.runs()
            if "popgrad.member" in run.data.tags
        }

    def population(self):
        (run,) = (run for run in self.runs() if "popgrad.member" not in run.data.tags)
        return run

    def points(self):
        found = {}
        for member, run in self.members().items():
            history = {
                name: self.client.get_metric_history(run.info.run_id, name)
                for name in run.data.metrics
            }
            found[member] = {
                name: [(each.step, each.value) for each in metrics]
                for name, metrics in history.items()
            }
        return found

    def files(self):
        run = self.population().info.run_id
        paths = [each.path for each in self.client.list_artifacts(run)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow.artifacts import download_artifacts

            uri = self.client.tracking_uri
            local = [
                download_artifacts(run_id=run, artifact_path=path, tracking_uri=uri)
                for path in paths
            ]
        contents = {}
        for name, path in zip(paths, local, strict=True):
            with open(path, "rb") as file:
                contents[name] = file.read()
        return contents


@dataclass
class WandbRun:
    """A run of W&B, from its files.

    Attributes:
        points: {name: [(step, value), ...]}; texts are values too.
        run: The record that describes it.
        summary: Last values by name.
        exit_code: Exit code of its last session; None = it was not finished.
        files: Content of the saved files by name.
    """

    points: dict = field(default_factory=lambda: defaultdict(list))
    run: object = None
    summary: dict = field(default_factory=dict)
    exit_code: int | None = None
    files: dict = field(default_factory=dict)


def read_wandb(directory):
    """Return the runs of a directory by member, their sessions in order.

    wandb has no reader in Python; the file is a log in blocks (7 bytes: checksum, length, kind) of records
    in its own protocol buffers.
    """
    found = defaultdict(WandbRun)
    for path in sorted((directory / "wandb").glob("*run-*/*.wandb")):
        run = found[int(path.stem.rpartition("-")[2])]
        run.exit_code = None
        for record in records(path.read_bytes()):
            _add(run, record, path.parent / "files")
    for run in found.values():
        run.points = {
            name: curve
            for name, curve in run.points.items()
            if not name.startswith("_") and not isinstance(curve[0][1], str)
        }
    return dict(found)


def records(data):
    from wandb.proto import wandb_internal_pb2

    block, header = 32768, struct.Struct("<IHB")
    assert data[:4] == b":W&B"
    at, content = 7, b""
    while at + header.size <= len(data):
        if block - at % block < header.size:
            at += block - at % block
            continue
        _, length, kind = header.unpack_from(data, at)
        content += data[at + header.size : at + header.size + length]
        at += header.size + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield wandb_internal_pb2.Record.FromString(content)
            content = b""


def _add(run, record, folder):
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run.run = record.run
    elif kind == "exit":
        run.exit_code = record.exit.exit_code
    elif kind == "history":
        row = {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in record.history.item
        }
        for name, value in row.items():
            run.points[name].append((row["_step"], value))
    elif kind == "summary":
        for item in record.summary.update:
            run.summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    elif kind == "files":
        for each in record.files.files:
            if (folder / each.path).is_file():
                run.files[each.path] = (folder / each.path).read_bytes()
