"""Commands that inspect what exists: show, schedule, test, tasks.

The first two read the record alone, so that they do not wait for torch, which takes seconds to import.
"""

from popgrad.cli import options, printing, reports
from popgrad.cli.arguments import read_run
from popgrad.core.errors import UsageError
from popgrad.record import lineage


def show(
    directory: options.Run,
    every_row: options.All = False,
    watch: options.Watch = False,
    as_json: options.Json = False,
) -> None:
    """Show the status of a run, its winner, schedule and lineage, also while it is in progress.

    No code of the task is run.
    """
    if watch and as_json:
        raise UsageError("--watch, --json: given both; give one")
    if watch:
        reports.watch(lambda: read_run(directory))
    else:
        reports.show_run(read_run(directory), every_row=every_row, as_json=as_json)


def schedule(
    directory: options.Run,
    member: options.Member = None,
    merged: options.Merged = False,
    as_csv: options.Csv = False,
    as_json: options.Json = False,
) -> None:
    """Print the schedule that trained the winner, or any member.

    No code of the task is run.
    """
    if as_csv and as_json:
        raise UsageError("--csv, --json: given both; give one")
    run = read_run(directory)
    line = run.record.lineage(member)
    if not as_csv and not as_json:
        reports.show_schedule(line, run.record.space, run.telemetry)
        return

    whole = lineage.schedule(line, run.telemetry)
    if merged:
        whole = whole.merged()
    printing.print_text(whole.to_csv() if as_csv else whole.to_json())


def test(
    what: options.Tested,
    member: options.Member = None,  # noqa: PT028  # a command, not a test
    best: options.Best = False,  # noqa: PT028
    validation: options.Validation = False,  # noqa: PT028
    task: options.NamedTask = None,  # noqa: PT028
    data: options.DataDir = None,  # noqa: PT028
    allow_changed_task: options.AllowChangedTask = False,  # noqa: PT028
    as_json: options.Json = False,  # noqa: PT028
) -> None:
    """Test a run's winner, one of its members or checkpoints, or a pretrained network."""
    from popgrad.runs.evaluate import evaluate_split

    evaluation = evaluate_split(
        what,
        split="validation" if validation else "test",
        member=member,
        best=best,
        data_dir=data,
        task=task,
        reader="popgrad test",
        allow_changed_task=allow_changed_task,
    )
    reports.show_evaluation(evaluation, as_json)


def tasks(as_json: options.Json = False) -> None:
    """List the built-in tasks, their spaces, and their options."""
    from popgrad.tasks import TASKS

    reports.show_tasks(TASKS, as_json)
