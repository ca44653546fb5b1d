"""What is right and wrong with an installation and with a run, and what to do. No code of a task is run."""

from popgrad.doctor.finding import Finding
from popgrad.doctor.installation import examine_installation
from popgrad.doctor.run import examine_run

__all__ = ["Finding", "examine_installation", "examine_run"]
