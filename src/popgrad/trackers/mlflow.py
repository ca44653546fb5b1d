"""The tracker "mlflow": a run for the population, and one nested in it for each member."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.gates.files import check_own
from popgrad.trackers.base import Ending, TrackedRun, TrackedSegment
from popgrad.trackers.mlflow_runs import MLflowRuns
from popgrad.trackers.quiet import quiet

_VARIABLES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Members wait for the answer. With MLflow's own values that can be minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Variables that hold during each call, unless they are set."""

_FILES = ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "mlflow.db-journal")
"""Files of a store in the directory of a run; a link would lead to another store."""

_STATUS = {"finished": "FINISHED", "killed": "KILLED", "failed": "FAILED"}
_MOST_METRICS = 1000
"""Most metrics of one request."""


class MLflowTracker:
    """Logs to the server or store that MLflow is set to, else to `mlflow/` in the directory of the run.

    Runs are found again by their tags, so that nothing but the run's name has to be kept.
    """

    def __init__(self, directory: Path | None) -> None:
        """Check that there is somewhere to log to; nothing is written yet.

        Args:
            directory: Directory of the run; None = in memory only.

        Raises:
            UsageError: mlflow is not installed, or there is neither a directory nor a tracking URI.
        """
        with _quiet():
            try:
                import mlflow
            except ImportError as error:
                raise UsageError(
                    "tracker: mlflow needs an extra: pip install 'popgrad[mlflow]'"
                ) from error
            self._uri = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None

        if self._uri is None and directory is None:
            raise UsageError(
                "tracker: mlflow has nowhere to log to, as the run is kept in memory only: choose a "
                "directory for it, or set MLFLOW_TRACKING_URI"
            )
        self._client: Any = None
        self._runs: MLflowRuns | None = None

    def open(self, run: TrackedRun) -> Mapping[int, int]:
        """Find the runs of earlier sessions, or create that of the population."""
        from mlflow import MlflowClient

        uri = self._uri
        folder = None
        if uri is None:
            assert run.directory is not None
            folder = run.directory / "mlflow"
            folder.mkdir(exist_ok=True)
            check_own(folder, folders=("artifacts",), files=_FILES)
            uri = f"sqlite:///{folder / 'mlflow.db'}"
        with _quiet():
            self._client = MlflowClient(tracking_uri=uri)
            self._runs = MLflowRuns(self._client, run, folder)
            return self._runs.held

    def log(self, tracked: TrackedSegment) -> None:
        """Log a segment in one request; if it is repeated, equal points are kept once."""
        from mlflow.entities import Metric, RunTag

        assert self._runs is not None
        segment = tracked.segment
        metrics = [
            Metric(_plain(name), value, int(1000 * tracked.time), step)
            for step, numbers in tracked.points.items()
            for name, value in numbers.items()
        ]
        tags = [RunTag(_plain(name), text) for name, text in tracked.texts.items()]
        if segment.failed:
            tags.append(RunTag("error", segment.error or "the score is not finite"))
        with _quiet():
            run = self._runs.member(segment.member)
            for first in range(0, len(metrics), _MOST_METRICS):
                self._client.log_batch(run, metrics[first : first + _MOST_METRICS], tags=tags)

    def close(self, ending: Ending) -> None:
        """Keep the artefacts with the run of the population, and end all runs."""
        assert self._runs is not None
        with _quiet():
            try:
                self._keep(ending, self._runs)
            finally:
                self._runs.end(_STATUS[ending.status])

    def _keep(self, ending: Ending, runs: MLflowRuns) -> None:
        if ending.winner is not None:
            self._client.set_tag(runs.population, "winner", f"member-{ending.winner.member:02d}")
        if ending.files:
            runs.check_artefacts()
        for path in ending.files:
            self._client.log_artifact(runs.population, str(path))


def _plain(name: str) -> str:
    """Return a name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)


def _quiet() -> AbstractContextManager[None]:
    return quiet("mlflow", "alembic", "urllib3", variables=_VARIABLES)
