"""Commands that look at what there is: show, test, tasks."""

from popgrad.cli import options, printing
from popgrad.cli.request import open_run
from popgrad.reading import read_split
from popgrad.tasks import TASKS, Split


def show(directory: options.Run, as_json: options.Json = False) -> None:
    """Show the winner, its schedule and its lineage; of a run in progress too.

    No code of the task is run.
    """
    printing.show(open_run(directory), as_json=as_json)


def test(
    what: options.Tested,
    member: options.Member = None,  # noqa: PT028  # a command, no test
    best: options.Best = False,  # noqa: PT028
    validation: options.Validation = False,  # noqa: PT028
    data: options.DataDir = None,  # noqa: PT028
    as_json: options.Json = False,  # noqa: PT028
) -> None:
    """Test a run's winner, one of its members or checkpoints, or a pretrained network."""
    split: Split = "validation" if validation else "test"
    found = read_split(what, split=split, member=member, best=best, data_dir=data, reader="popgrad test")
    printing.show_reading(found, as_json)


def tasks(as_json: options.Json = False) -> None:
    """List the built-in tasks, what they search, and their options."""
    printing.show_tasks(TASKS, as_json)
