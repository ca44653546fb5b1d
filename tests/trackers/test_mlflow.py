"""The tracker "mlflow", read back with MLflow's own client from real stores and a real server."""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest
from tests.trackers.conftest import MLflowReader, expected, same

import popgrad
from popgrad.core.errors import UsageError
from popgrad.core.space import Choice
from popgrad.tasks.toys import Quadratic
from popgrad.trackers.mlflow import MLflowTracker

pytestmark = pytest.mark.slow


def test_without_settings_the_store_is_in_the_directory_of_the_run(train, tmp_path):
    directory = tmp_path / "my run #1 ü"
    result = train(tracker="mlflow", task="digits", intervals=2, directory=directory)
    found = MLflowReader(f"sqlite:///{directory / 'mlflow' / 'mlflow.db'}")
    assert same(found.points(), expected(result))
    assert "best.safetensors" in found.files()
    assert list((directory / "mlflow" / "artifacts").rglob("best.safetensors"))
    assert sorted(each.name for each in tmp_path.iterdir()) == [directory.name]


def test_members_are_nested_in_the_run_of_the_population(train, mlflow_store, tmp_path):
    result = train(tracker=["mlflow"], intervals=2)
    found = MLflowReader(mlflow_store)
    population = found.population()
    assert population.info.run_name == "run"
    assert population.data.tags["winner"] == f"member-{result.winner.member:02d}"
    for member, run in found.members().items():
        assert run.info.run_name == f"member-{member:02d}"
        assert run.data.tags["mlflow.parentRunId"] == population.info.run_id
        assert not run.data.params  # MLflow's parameters cannot change
    assert not (tmp_path / "run" / "mlflow").exists()


def test_hyperparameters_that_are_no_numbers_are_tags(train, mlflow_store):
    result = train(tracker="mlflow", intervals=2, space={"kind": Choice(("a", "b"))})
    last = {segment.member: segment.hparams["kind"] for segment in result.segments}
    tags = {
        member: run.data.tags["hyperparameters/kind"]
        for member, run in MLflowReader(mlflow_store).members().items()
    }
    assert tags == last


def test_the_experiment_is_the_one_that_is_set(train, mlflow_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    train(tracker="mlflow", intervals=1)
    found = MLflowReader(mlflow_store)
    experiment = found.client.get_experiment_by_name("mine")
    assert {run.info.experiment_id for run in found.runs()} == {experiment.experiment_id}


def test_a_killed_session_is_continued_although_its_account_is_lost(train, mlflow_store, tmp_path):
    """The runs themselves tell how far they have come."""
    train(tracker="mlflow", intervals=2)
    (tmp_path / "run" / "trackers.json").unlink()
    result = popgrad.resume(tmp_path / "run", intervals=3, progress=False)
    assert same(MLflowReader(mlflow_store).points(), expected(result))


def test_a_run_in_memory_is_logged_with_its_winner(train, mlflow_store):
    result = train(tracker="mlflow", task="digits", intervals=1, directory=None)
    found = MLflowReader(mlflow_store)
    assert same(found.points(), expected(result))
    assert set(found.files()) == {"schedule.json", "run.toml", "best.json", "best.safetensors"}


def test_more_points_than_one_request_may_have(train, mlflow_store, monkeypatch):
    monkeypatch.setattr("popgrad.trackers.mlflow._MOST_METRICS", 5)
    result = train(tracker="mlflow", task="digits", intervals=1, log_every=1)
    assert len(expected(result)[0]["train/train_loss"]) == 10
    assert same(MLflowReader(mlflow_store).points(), expected(result))


class OddNames(Quadratic):
    """A task with a metric that MLflow would refuse."""

    def evaluate(self, state, hparams, split, ctx):
        return {**super().evaluate(state, hparams, split, ctx), "top@5": 1.0}


def test_names_have_the_characters_that_mlflow_allows(train, mlflow_store):
    train(tracker="mlflow", task=OddNames(), intervals=1)
    assert MLflowReader(mlflow_store).points()[0]["validation/top_5"] == [(10, 1.0)]


def test_a_server_that_is_away_costs_a_warning(train, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = train(tracker="mlflow")
    assert result.stopped == "finished"
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) == 2
    assert {each.name for each in caplog.records if each.levelname == "WARNING"} == {"popgrad"}
    assert warnings[0].startswith("tracker mlflow failed, training continues: MlflowException")
    assert "16 segments are not logged" in warnings[1]


def test_artefacts_do_not_leave_the_directory_because_a_database_says_so(train, tmp_path, caplog):
    outside = tmp_path / "outside"
    store = tmp_path / "run" / "mlflow" / "mlflow.db"
    train(tracker="mlflow", intervals=1)
    found = MLflowReader(f"sqlite:///{store}")
    found.client.delete_run(found.population().info.run_id)
    (experiment,) = (each for each in found.client.search_experiments() if each.name == "popgrad")
    found.client.rename_experiment(experiment.experiment_id, "old")
    found.client.create_experiment("popgrad", artifact_location=outside.as_uri())
    popgrad.resume(tmp_path / "run", intervals=2, progress=False)
    assert "outside of the run's directory" in caplog.text
    assert not outside.exists()


def test_without_mlflow_nothing_is_written(train, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r"pip install 'popgrad\[mlflow\]'"):
        train(tracker="mlflow")
    assert not list(tmp_path.iterdir())


def test_without_a_place_it_says_what_to_set():
    with pytest.raises(UsageError, match="choose a directory for it, or set MLFLOW_TRACKING_URI"):
        MLflowTracker(None)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def wait_for(port, server):
    """Wait until a server answers, at most a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise AssertionError("the server does not answer")


@pytest.fixture
def server(empty_store, tmp_path):
    """The address of a server of MLflow, in a process of its own."""
    shutil.copyfile(empty_store, tmp_path / "server.db")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "artefacts")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(
        command, env=environment, cwd=tmp_path, start_new_session=True, **quiet
    )
    try:
        wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait()


@pytest.mark.long
def test_a_real_server_has_runs_and_artefacts(server, train, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    train(tracker="mlflow", task="digits", intervals=1)
    result = popgrad.resume(tmp_path / "run", intervals=2, progress=False)
    assert capfd.readouterr() == ("", "")
    found = MLflowReader(server)
    assert same(found.points(), expected(result))
    assert {run.info.status for run in found.runs()} == {"FINISHED"}
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == found.files()["best.safetensors"]
