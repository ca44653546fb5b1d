"""What the command line takes, in the panels of its help."""

import importlib.metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from popgrad.data import DATASETS


def _argument(show: str, text: str) -> Any:
    return typer.Argument(metavar=show, help=text, show_default=False)


def _option(name: str, show: str | None, text: str, panel: str | None = None, **more: Any) -> Any:
    if show in _PARSERS:
        more["parser"] = _PARSERS[show]
    return typer.Option(
        name, metavar=show, help=text, rich_help_panel=panel, show_default=False, **more
    )


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"given {text!r}; a whole number is allowed") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"given {text!r}; a number is allowed") from None


_PARSERS: dict[str | None, Any] = {"N": _integer, "X": _number}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("popgrad"))
        raise typer.Exit


_POPULATION, _MACHINE, _PLACES = "The population", "The machine", "What goes where"
_BEGIN, _END = "What to begin with", "When to stop"

What = Annotated[
    str,
    _argument(
        "TASK|CONFIG",
        "A task (see `popgrad tasks`), module:Name, file.py:Name, or a TOML or JSON file.",
    ),
]
Run = Annotated[Path, _argument("DIR", "The directory of a run.")]
Tested = Annotated[
    str,
    _argument("WHAT", "The directory of a run, a file among its checkpoints, or pretrained:NAME."),
]
Original = Annotated[str, _argument("FILE", "A JSON file of the original project.")]
Dataset = Annotated[str, _argument("NAME", f"{' or '.join(DATASETS)}.")]

Version = Annotated[
    bool, _option("--version", None, "Print the version.", callback=_print_version, is_eager=True)
]
Settings = Annotated[
    list[str] | None,
    _option(
        "--set", "KEY=VALUE", "Any key of a configuration, or an option of the task; repeatable."
    ),
]
MoreIntervals = Annotated[
    int | None, _option("--intervals", "N", "Intervals in all; else as configured.")
]
NewPopulation = Annotated[
    int | None,
    _option("--population", "N", "Members from the next decision on; the best stay. Else as many."),
]
Grow = Annotated[
    str | None,
    _option("--grow", "HOW", "New members: clone (the default of pbt), else sample: fresh ones."),
]
AllowChangedTask = Annotated[
    bool,
    _option("--allow-changed-task", None, "Go on although the source of the task has changed."),
]
DownloadTo = Annotated[
    Path | None, _option("--dir", "DIR", "Where to; else POPGRAD_DATA, else the user's cache.")
]

Population = Annotated[int | None, _option("--population", "N", "Members; else 10.", _POPULATION)]
Intervals = Annotated[
    int | None,
    _option("--intervals", "N", "Intervals that each member trains; else 20.", _POPULATION),
]
Interval = Annotated[
    str | None,
    _option(
        "--interval",
        "LENGTH",
        'Training between two decisions: "275" steps, or "2 epochs"; else 1 epoch.',
        _POPULATION,
    ),
]
Epochs = Annotated[
    int | None, _option("--epochs", "N", "Epochs in all, in place of intervals.", _POPULATION)
]
Strategy = Annotated[
    str | None, _option("--strategy", "NAME", "pbt, else random-search.", _POPULATION)
]
Fraction = Annotated[
    float | None,
    _option(
        "--fraction", "X", "Share that is replaced, and share that donates: 0 to 0.5.", _POPULATION
    ),
]
BurnIn = Annotated[
    int | None, _option("--burn-in", "N", "Intervals before a member can be replaced.", _POPULATION)
]
Seed = Annotated[int | None, _option("--seed", "N", "Same seed, same run; else 0.", _POPULATION)]

Executor = Annotated[
    str | None,
    _option("--executor", "NAME", "processes, serial, vectorised, or auto: the fastest.", _MACHINE),
]
Workers = Annotated[
    int | None, _option("--workers", "N", "Worker processes; else one per core.", _MACHINE)
]
RunMode = Annotated[
    str | None,
    _option(
        "--mode",
        "MODE",
        "sync: all decide at once; async: each as soon as it has trained.",
        _POPULATION,
    ),
]
Deadline = Annotated[
    str | None,
    _option(
        "--deadline",
        "TIME",
        "A member that trains an interval for longer has failed: 90s, 10m.",
        _MACHINE,
    ),
]
Address = Annotated[
    str | None,
    _option(
        "--address",
        "HOST:PORT",
        "Cluster of the executor ray, auto or local; else RAY_ADDRESS.",
        _MACHINE,
    ),
]
Cpus = Annotated[
    float | None, _option("--cpus", "X", "CPUs of the cluster for a member; else 1.", _MACHINE)
]
Gpus = Annotated[
    float | None, _option("--gpus", "X", "GPUs of the cluster for a member; else 0.", _MACHINE)
]
Device = Annotated[
    str | None, _option("--device", "DEVICE", "cpu, cuda, cuda:0,1 or auto.", _MACHINE)
]

Initial = Annotated[
    Path | None,
    _option("--initial", "FILE", "JSON list of the first members' hyperparameters.", _BEGIN),
]
CheckpointEvery = Annotated[
    int | None,
    _option(
        "--checkpoint-every", "N", "Intervals between two checkpoints of a member; else 1.", _PLACES
    ),
]
Durability = Annotated[
    str | None,
    _option(
        "--durability", "NAME", "What the record survives: process (any kill), else power.", _PLACES
    ),
]
Weights = Annotated[
    Path | None,
    _option("--from", "WEIGHTS", "Of every member: a file, or the run of a winner.", _BEGIN),
]
MaxTime = Annotated[
    str | None, _option("--max-time", "TIME", "Start no further interval after 90s, 10m, 2h.", _END)
]
TargetScore = Annotated[
    float | None, _option("--target-score", "X", "Start no further interval at this score.", _END)
]

Directory = Annotated[
    Path | None, _option("--dir", "DIR", "Where to keep the run; else a new one in runs/.", _PLACES)
]
Storage = Annotated[
    str | None,
    _option(
        "--storage", "URL", "Where a copy of the run goes after each interval, as s3://...", _PLACES
    ),
]
FromStorage = Annotated[
    str | None,
    _option(
        "--from-storage", "URL", "First bring the run from there, into DIR, which must be new."
    ),
]
DataDir = Annotated[
    Path | None,
    _option(
        "--data-dir", "DIR", "Where data lies; else POPGRAD_DATA, else the user's cache.", _PLACES
    ),
]
Mode = Annotated[
    str,
    _option(
        "--mode",
        "MODE",
        "parallel (the default: tests beside the training), train, traintest (in turn), test or val.",
    ),
]
Member = Annotated[int | None, _option("--member", "N", "A member of the run; else the winner.")]
Best = Annotated[bool, _option("--best", None, "The member's best checkpoint; else its last.")]
Merged = Annotated[
    bool, _option("--merged", None, "Neighbours with equal values as one phase, as in the table.")
]
FreshSeed = Annotated[
    int | None,
    _option("--fresh-seed", "N", "Train one new model from this seed, under the schedule alone."),
]
Kept = Annotated[
    Path | None, _option("--dir", "DIR", "Where to keep the model; else it is not kept.")
]
Examined = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]", help="The directory of a run; else the installation.", show_default=False
    ),
]
OnlyWinner = Annotated[
    bool,
    _option(
        "--only-winner",
        None,
        "Keep the winner's checkpoint alone; going on trains the others again.",
    ),
]
DryRun = Annotated[bool, _option("--dry-run", None, "Delete nothing; say what would be.")]
Csv = Annotated[bool, _option("--csv", None, "Print CSV instead of a table.", _PLACES)]
Validation = Annotated[
    bool, _option("--validation", None, "The validation split instead of the test split.")
]
Events = Annotated[
    bool,
    _option("--events", None, "Write TensorBoard events (needs the extra tensorboard).", _PLACES),
]
Debug = Annotated[bool, _option("--debug", None, "Write no tables, figures and events.", _PLACES)]
NoTest = Annotated[
    bool, _option("--no-test", None, "Leave the test split unread at the end.", _PLACES)
]
Plain = Annotated[
    bool,
    _option("--plain", None, "Progress as a line for each interval, not as a live table.", _PLACES),
]
Json = Annotated[bool, _option("--json", None, "Print JSON instead of tables.", _PLACES)]
