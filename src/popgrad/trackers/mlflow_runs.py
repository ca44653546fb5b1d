"""Runs of a population in MLflow: found again by their tags, or created."""

import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from popgrad.reports.points import INTERVAL
from popgrad.trackers.base import TrackedRun

_RUN = "popgrad.run"
_MEMBER = "popgrad.member"


class MLflowRuns:
    """A run for the population, and one nested in it for each member.

    Attributes:
        population: Id of the run of the population.
        held: Intervals that the runs of earlier sessions hold, by member.
    """

    def __init__(self, client: Any, run: TrackedRun, folder: Path | None) -> None:
        """Find the runs of earlier sessions, or create that of the population.

        Args:
            client: An `MlflowClient`.
            run: Run that is tracked.
            folder: Folder of a store in the run's directory; None = the store lies elsewhere.
        """
        self._client = client
        self._id = re.sub(r"\W", "", run.id)
        self._folder = folder
        self._experiment = self._find_experiment()
        self._members: dict[int, str] = {}  # ids of the members' runs
        self.population = ""
        self.held: dict[int, int] = {}
        self._find()
        if not self.population:
            tags = {key: str(run.config.get(key)) for key in ("task", "seed", "executor")}
            self.population = self._create(run.name, tags)

    def member(self, member: int) -> str:
        """Return the id of a member's run."""
        if member not in self._members:
            tags = {_MEMBER: str(member), "mlflow.parentRunId": self.population}
            self._members[member] = self._create(f"member-{member:02d}", tags)
        return self._members[member]

    def end(self, status: str) -> None:
        """End all runs with a status of MLflow; an error with one leaves none of the others open."""
        with ExitStack() as stack:
            for run in (self.population, *self._members.values()):
                stack.callback(self._client.set_terminated, run, status)

    def check_artefacts(self) -> None:
        """Refuse to write artefacts elsewhere because a database in the run's directory names it.

        Raises:
            ValueError: They would lie outside.
        """
        if self._folder is None:
            return
        uri = self._client.get_run(self.population).info.artifact_uri
        path = Path(url2pathname(urlsplit(uri).path)).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            raise ValueError(f"the artefacts would lie outside of the run's directory, in {uri}")

    def _find_experiment(self) -> str:
        """Return the id of the experiment that is set, else of "popgrad"."""
        if os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return os.environ["MLFLOW_EXPERIMENT_ID"]
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "popgrad"
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        artefacts = None if self._folder is None else (self._folder / "artifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=artefacts))

    def _find(self) -> None:
        """Reopen the runs of earlier sessions."""
        token = None
        while True:
            query = f"tags.`{_RUN}` = '{self._id}'"
            page = self._client.search_runs([self._experiment], query, page_token=token)
            for found in page:
                self._client.update_run(found.info.run_id, status="RUNNING")
                if _MEMBER not in found.data.tags:
                    self.population = found.info.run_id
                    continue
                member = int(found.data.tags[_MEMBER])
                self._members[member] = found.info.run_id
                self.held[member] = int(found.data.metrics.get(INTERVAL, -1)) + 1
            token = page.token
            if not token:
                return

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        tags = {**tags, _RUN: self._id}
        run = self._client.create_run(self._experiment, run_name=name, tags=tags)
        return str(run.info.run_id)
