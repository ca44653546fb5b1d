"""Commands that keep files in order: data, convert."""

from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from popgrad import config as configuration
from popgrad.cli import options, printing
from popgrad.cli.request import read_config
from popgrad.core.errors import UsageError
from popgrad.data import data_dir, download


def data(name: options.Dataset, directory: options.DownloadTo = None) -> None:
    """Download a data set; what is there already is checked and kept."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=printing.err, disable=not printing.err.is_terminal) as progress:
        bars: dict[str, Any] = {}

        def report(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=total)
            progress.update(bars[file], completed=done, total=total)

        files = download(name, data_dir(directory), progress=report)
    for file in files:
        printing.out.print(str(file), markup=False, soft_wrap=True)


def convert(file: options.Original) -> None:
    """Print a JSON file of the original project as TOML, with notes on what has no effect."""
    if not file.endswith((".json", ".toml")):
        raise UsageError(f"FILE: given {file!r}; a .json file of the original project is converted")
    config, notes = read_config(file, {}, {}, [])
    printing.explain(notes)
    printing.out.out(configuration.write(config, brief=True), highlight=False)
