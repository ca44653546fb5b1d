"""Commands that inspect what exists: show, schedule, test, soup, tasks, strategies.

The first two and the last need no torch, so that they do not wait for it: its import takes seconds.
"""

from popgrad.cli import options, printing, reports
from popgrad.cli.arguments import read_run
from popgrad.cli.watch import follow
from popgrad.core.errors import UsageError
from popgrad.record import lineage
from popgrad.record.explanation import explanations


def show(
    directory: options.Run,
    every_row: options.All = False,
    tree: options.Ancestry = False,
    timings: options.Timings = False,
    watch: options.Watch = False,
    as_json: options.Json = False,
) -> None:
    """Show the status of a run, its winner, schedule and lineage, also while it is in progress.

    No code of the task is run.
    """
    views = {"--watch": watch, "--tree": tree, "--timings": timings, "--json": watch and as_json}
    given = [name for name, value in views.items() if value]
    if len(given) > 1:
        raise UsageError(f"{given[0]}, {given[1]}: given both; give one")
    if watch:
        follow(lambda: read_run(directory))
    elif timings:
        reports.show_timings(read_run(directory), as_json=as_json)
    elif tree:
        reports.show_tree(read_run(directory), every_branch=every_row, as_json=as_json)
    else:
        reports.show_run(read_run(directory), every_row=every_row, as_json=as_json)


def schedule(
    directory: options.Run,
    member: options.Member = None,
    explain: options.Explain = False,
    merged: options.Merged = False,
    as_csv: options.Csv = False,
    as_json: options.Json = False,
) -> None:
    """Print the schedule that trained the winner, or any member.

    No code of the task is run.
    """
    if as_csv and as_json:
        raise UsageError("--csv, --json: given both; give one")
    if explain and (as_csv or merged):
        other = "--csv" if as_csv else "--merged"
        raise UsageError(f"--explain, {other}: given both; give one")
    run = read_run(directory)
    line = run.record.lineage(member)
    if explain:
        explained = explanations(run.record, lineage.schedule(line, run.telemetry))
        reports.show_explanations(explained, as_json=as_json)
        return
    if not as_csv and not as_json:
        reports.show_schedule(line, run.record, run.telemetry)
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


def soup(
    directory: options.Run,
    read_test: options.ReadTest = False,
    task: options.NamedTask = None,
    data: options.DataDir = None,
    allow_changed_task: options.AllowChangedTask = False,
    as_json: options.Json = False,
) -> None:
    """Average the last members' weights to one model, and compare it with the winner."""
    from popgrad.runs.evaluate import open_result
    from popgrad.store.directory import find_run

    find_run(directory, "DIR")
    result = open_result(directory, data, task, allow_changed_task)
    found = result.soup(test=read_test, reader="popgrad soup")
    path = None if result.run_directory is None else result.run_directory.soup
    reports.show_soup(found, path, as_json=as_json)


def tasks(as_json: options.Json = False) -> None:
    """List the built-in tasks, their spaces, and their options."""
    from popgrad.tasks import TASKS

    reports.show_tasks(TASKS, as_json)


def strategies(as_json: options.Json = False) -> None:
    """List the strategies, and their options with defaults."""
    from popgrad.strategies import STRATEGIES

    reports.show_strategies(STRATEGIES, as_json)
