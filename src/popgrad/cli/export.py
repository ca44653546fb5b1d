"""The command export: the record of a run for other tools. It reads the record alone."""

from popgrad.cli import options, printing
from popgrad.cli.arguments import read_run
from popgrad.core.errors import UsageError
from popgrad.runs.export import check_format, write
from popgrad.runs.export import export as exported


def export(
    directory: options.Run,
    format: options.ExportFormat,  # noqa: A002  # the name of the option
    output: options.ExportFile = None,
) -> None:
    """Write the record of a run, or its family tree, for other tools.

    alife: the family tree in the ALife phylogeny data standard (CSV). newick: the family tree with
    branch lengths in steps. dot: the family tree for Graphviz. csv, parquet: a row for each segment.
    json: the head and the columns of the dashboard. No code of the task is run.
    """
    check_format(format, "--format")
    if format == "parquet" and output is None:
        raise UsageError("-o: expected a file for parquet, which is no text, got none")
    run = read_run(directory)
    content = exported(run.record, run.telemetry, run.status, run.directory.name, format)
    if output is not None:
        write(content, output)
    else:
        assert isinstance(content, str)
        printing.print_text(content)
