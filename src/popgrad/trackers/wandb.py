"""The tracker "wandb": a run for each member, in one group; offline unless `WANDB_MODE` is set."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.trackers.base import Ending, TrackedRun, TrackedSegment
from popgrad.trackers.quiet import quiet

_EXIT_CODES = {"finished": 0, "failed": 1, "killed": 255}
"""Exit code of a run, by status; 255 is what W&B itself states after Ctrl-C."""

_SERVICE = "WANDB_SERVICE"
"""Variable that W&B sets once its background process has started."""

_SETTINGS: dict[str, Any] = {
    "console": "off",  # the program's output is not W&B's to redirect
    "quiet": True,
    "silent": True,
    "disable_git": True,
    "save_code": False,
    "init_timeout": 10.0,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,  # each member's run would have the same curves of one machine
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 1.0,  # seconds that a kill may cost
}


class WandbTracker:
    """Logs to W&B: to `wandb/` in the directory of the run, from which `wandb sync` can upload it.

    The ids of runs follow from the run's own, so that a resumed run continues them.
    """

    def __init__(self, directory: Path | None) -> None:
        """Check that there is somewhere to log to; nothing is written yet.

        Args:
            directory: Directory of the run; None = in memory only.

        Raises:
            UsageError: wandb is not installed, or there is neither a directory nor `WANDB_DIR`.
        """
        with quiet("wandb"):
            try:
                import wandb  # noqa: F401
            except ImportError as error:
                raise UsageError(
                    "tracker: wandb needs an extra: pip install 'popgrad[wandb]'"
                ) from error
        self._folder = Path(os.environ["WANDB_DIR"]) if os.environ.get("WANDB_DIR") else directory
        if self._folder is None:
            raise UsageError(
                "tracker: wandb has nowhere to write, as the run is kept in memory only: choose a "
                "directory for it, or set WANDB_DIR"
            )
        self._run: TrackedRun | None = None
        self._members: dict[int, Any] = {}  # open runs
        self._owner = False  # whether the background process is this tracker's

    def open(self, run: TrackedRun) -> None:
        """Keep the run; those of the members are created as they finish their first segment."""
        self._run = run

    def log(self, tracked: TrackedSegment) -> None:
        """Log a segment: a row for each step, hyperparameters that are no numbers in the last one."""
        with quiet("wandb"):
            member = self._member(tracked.segment.member)
            *_, last = tracked.points
            for step, numbers in tracked.points.items():
                row: dict[str, Any] = dict(numbers)
                if step == last:
                    row |= tracked.texts
                # The last row is written at once, the others with the row that follows.
                member.log(row, step=step, commit=step == last)
            if tracked.segment.failed:
                member.summary["error"] = tracked.segment.error or "the score is not finite"

    def close(self, ending: Ending) -> None:
        """Keep the artefacts with the run of the winner, and end all runs."""
        import wandb

        with quiet("wandb"):
            try:
                if ending.winner is not None:
                    self._keep(ending)
            finally:
                while self._members:
                    _, member = self._members.popitem()
                    member.summary["status"] = ending.status
                    member.finish(exit_code=_EXIT_CODES[ending.status])
                if self._owner:
                    self._owner = False
                    wandb.teardown()

    def _keep(self, ending: Ending) -> None:
        assert ending.winner is not None
        run = self._member(ending.winner.member)
        run.summary["winner"] = True
        for path in ending.files:
            # A link to the file would lead nowhere once the run is moved.
            copy = Path(run.dir) / path.name
            shutil.copyfile(path, copy)
            run.save(str(copy), base_path=run.dir, policy="now")

    def _member(self, member: int) -> Any:
        """Return the open run of a member."""
        if member not in self._members:
            self._members[member] = self._start(member)
        return self._members[member]

    def _start(self, member: int) -> Any:
        import wandb

        assert self._run is not None
        assert self._folder is not None
        self._owner = self._owner or _SERVICE not in os.environ
        self._folder.mkdir(parents=True, exist_ok=True)
        # An earlier version may lack some of them.
        known = wandb.Settings.model_fields
        settings = {name: value for name, value in _SETTINGS.items() if name in known}
        run_id = re.sub(r"\W", "", self._run.id)[:16]
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "popgrad",
            group=os.environ.get("WANDB_RUN_GROUP") or f"{self._run.name}-{run_id[:8]}",
            id=f"{run_id}-{member}",
            name=f"member-{member:02d}",
            config={**self._run.config, "member": member},
            dir=str(self._folder),
            mode=os.environ.get("WANDB_MODE") or "offline",
            resume="allow",
            reinit="create_new",  # runs of the caller stay open
            settings=wandb.Settings(**settings),
        )
