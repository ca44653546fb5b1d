"""Arguments and options of the command line that are not keys of a configuration."""

from pathlib import Path
from typing import Annotated, Any

import typer

from popgrad.cli.key_options import PARSERS

_START = "What to start with"
_FILES = "Files and output"


def _argument(metavar: str, text: str) -> Any:
    return typer.Argument(metavar=metavar, help=text, show_default=False)


def _option(name: str, metavar: str | None, text: str, panel: str | None = None) -> Any:
    return typer.Option(
        name,
        metavar=metavar or "",  # an option without a value shows no type
        help=text,
        rich_help_panel=panel,
        show_default=False,
        parser=PARSERS.get(metavar),
    )


# --- arguments --------------------------------------------------------------------------------------

What = Annotated[
    str,
    _argument(
        "TASK|CONFIG",
        "A task (see `popgrad tasks`), module:Name, file.py:Name, or a TOML or JSON file. The name may be "
        "left out if there is one task.",
    ),
]
Run = Annotated[Path, _argument("DIR", "Directory of a run.")]
Examined = Annotated[
    Path | None, _argument("[DIR]", "Directory of a run. Default: examine the installation.")
]
Tested = Annotated[
    str, _argument("WHAT", "Directory of a run, a file among its checkpoints, or pretrained:NAME.")
]
Original = Annotated[str, _argument("FILE", "JSON file of the original project.")]
Dataset = Annotated[str, _argument("NAME", "mnist or fashion-mnist.")]

# --- what to run ------------------------------------------------------------------------------------

Settings = Annotated[
    list[str] | None,
    _option(
        "--set", "KEY=VALUE", "Any key of a configuration, or an option of the task; repeatable."
    ),
]
Initial = Annotated[
    Path | None,
    _option("--initial", "FILE", "JSON list of the first members' hyperparameters.", _START),
]
FromStorage = Annotated[
    str | None,
    _option("--from-storage", "URL", "First copy the run from there into DIR, which must be new."),
]
AllowChangedTask = Annotated[
    bool,
    _option("--allow-changed-task", None, "Continue although the source of the task has changed."),
]
NamedTask = Annotated[
    str | None,
    _option(
        "--task",
        "TASK",
        "The task, module:Name or file.py:Name, of a run that was started from Python with an instance.",
    ),
]
FreshSeed = Annotated[
    int | None,
    _option("--fresh-seed", "N", "Train one new model from this seed, under the schedule alone."),
]
Mode = Annotated[
    str,
    _option(
        "--mode",
        "MODE",
        "parallel (tests beside the training), train, traintest (in turn), test or val. "
        "Default: parallel.",
    ),
]
Device = Annotated[str | None, _option("--device", "DEVICE", "cpu, cuda, cuda:0,1 or auto.")]
Member = Annotated[int | None, _option("--member", "N", "Member of the run. Default: the winner.")]
Best = Annotated[bool, _option("--best", None, "Use the member's best checkpoint, not its last.")]
Validation = Annotated[
    bool, _option("--validation", None, "Use the validation split, not the test split.")
]
OnlyWinner = Annotated[
    bool,
    _option(
        "--only-winner", None, "Keep the winner's checkpoint alone; to resume retrains the rest."
    ),
]
DryRun = Annotated[bool, _option("--dry-run", None, "Delete nothing; print what would be deleted.")]

# --- files and output -------------------------------------------------------------------------------

Directory = Annotated[
    Path | None,
    _option("--dir", "DIR", "Directory of the run. Default: a new one in runs/.", _FILES),
]
Keep = Annotated[
    Path | None, _option("--dir", "DIR", "Directory of the model. Default: it is not kept.")
]
DownloadTo = Annotated[
    Path | None,
    _option("--dir", "DIR", "Directory of the data. Default: POPGRAD_DATA, else the user's cache."),
]
DataDir = Annotated[
    Path | None,
    _option(
        "--data-dir",
        "DIR",
        "Directory of the data. Default: POPGRAD_DATA, else the user's cache.",
        _FILES,
    ),
]
Merged = Annotated[
    bool, _option("--merged", None, "Print neighbours with equal values as one phase.")
]
All = Annotated[
    bool, _option("--all", None, "Print every member and every phase of the schedule.", _FILES)
]
Csv = Annotated[bool, _option("--csv", None, "Print CSV instead of a table.", _FILES)]
Json = Annotated[bool, _option("--json", None, "Print JSON instead of tables.", _FILES)]
Debug = Annotated[bool, _option("--debug", None, "Write no tables, figures and events.", _FILES)]
Watch = Annotated[
    bool, _option("--watch", None, "Show it again every few seconds, as long as it is in progress.")
]
NoTest = Annotated[
    bool, _option("--no-test", None, "Leave the test split unread at the end.", _FILES)
]
Plain = Annotated[
    bool,
    _option("--plain", None, "Print a line for each interval instead of a live table.", _FILES),
]
