"""The doctor: examines an installation or a run, and advises. No code of a task is run."""

from popgrad.doctor.finding import Finding
from popgrad.doctor.installation import examine_installation
from popgrad.doctor.run import examine_run

__all__ = ["Finding", "examine_installation", "examine_run"]
