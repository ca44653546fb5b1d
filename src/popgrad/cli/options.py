"""Arguments and options of the command line that are not keys of a configuration."""

from pathlib import Path
from typing import Annotated, Any

import typer

from popgrad.cli.key_options import PARSERS

_START = "What to start with"
_FILES = "Files and output"


def _argument(metavar: str, text: str) -> Any:
    return typer.Argument(metavar=metavar, help=text, show_default=False)


def _option(
    name: str, metavar: str | None, text: str, panel: str | None = None, short: str | None = None
) -> Any:
    return typer.Option(
        *filter(None, (short, name)),
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
Folder = Annotated[
    Path | None,
    _argument("[FOLDER]", "Folder to search. Default: runs, else the working directory."),
]
Studied = Annotated[Path, _argument("DIR", "Directory of the study.")]
Examined = Annotated[
    Path | None, _argument("[DIR]", "Directory of a run. Default: examine the installation.")
]
Tested = Annotated[
    str, _argument("WHAT", "Directory of a run, a file among its checkpoints, or pretrained:NAME.")
]
Original = Annotated[str, _argument("FILE", "JSON file of the original project.")]
Dataset = Annotated[str, _argument("NAME", "mnist or fashion-mnist.")]
NewFile = Annotated[str, _argument("FILE", "Script to write, such as train.py.")]

StudyFile = Annotated[
    str | None,
    _argument("[CONFIG]", "TOML or JSON file of a new study. Default: open the one in DIR."),
]
StudyToken = Annotated[str, _argument("TOKEN", "Token of the assignment, as `ask` printed it.")]
Metrics = Annotated[
    list[str] | None,
    _argument("[METRIC=VALUE]...", "Validation metrics, among them the one that ranks."),
]

# --- figures and exports ----------------------------------------------------------------------------

Plotted = Annotated[
    str,
    _argument("FIGURE", "schedule, lineage, results, founders, scores or timeline."),
]
PlotFile = Annotated[
    Path | None,
    _option(
        "--output",
        "FILE",
        "File to write, .png, .svg or .pdf; an older one of its kind is replaced. Default: FIGURE.png "
        "in the directory of the run.",
        short="-o",
    ),
]
PlotSize = Annotated[
    str | None,
    _option("--size", "WxH", "Width and height in inches, such as 8x5. Default: as it suits."),
]
PlotMember = Annotated[
    int | None,
    _option(
        "--member",
        "N",
        "Member whose lineage is drawn, of schedule, lineage or scores. Default: the winner.",
    ),
]
PlotColour = Annotated[
    str | None,
    _option(
        "--colour",
        "NAME",
        "Hyperparameter that colours the lineage. Default: the metric that ranks.",
    ),
]
ExportFormat = Annotated[
    str,
    _option("--format", "FORMAT", "alife, newick, dot, csv, parquet or json."),
]
ExportFile = Annotated[
    Path | None,
    _option(
        "--output",
        "FILE",
        "File to write; an older one is replaced. Default: standard output; parquet needs a file.",
        short="-o",
    ),
]

# --- comparisons ------------------------------------------------------------------------------------

Compared = Annotated[
    list[Path],
    _argument("DIR...", "Directories of runs, or folders that hold some, such as a benchmark."),
]
Strategies = Annotated[
    str | None,
    _option(
        "--strategies",
        "NAMES",
        "Strategies with commas between them, each with settings after colons: "
        "pbt,pbt:fraction=0.3,random-search. Default: pbt,random-search.",
    ),
]
Seeds = Annotated[
    int | None,
    _option(
        "--seeds", "N", "Seeds of each strategy, from --seed on; a verdict needs 5. Default: 5."
    ),
]
BenchmarkDirectory = Annotated[
    Path | None,
    _option(
        "--dir",
        "DIR",
        "Directory of the benchmark; one that exists is continued. Default: runs/benchmark-TASK.",
        _FILES,
    ),
]
Baseline = Annotated[
    str | None,
    _option(
        "--baseline",
        "NAME",
        "Strategy that the others are compared with. Default: random-search, else the first.",
    ),
]
TestWinners = Annotated[
    bool,
    _option(
        "--test",
        None,
        "Evaluate the winners on the test split, unless their test scores are on record.",
    ),
]
Figure = Annotated[
    Path | None, _option("--figure", "FILE", "Draw the comparison to a .png, .pdf or .svg.", _FILES)
]
EveryRun = Annotated[bool, _option("--all", None, "Print every run, too.", _FILES)]

# --- seeing -----------------------------------------------------------------------------------------

Folders = Annotated[
    list[Path] | None,
    _argument(
        "[DIR]...",
        "Directories of runs, or folders that hold some. Default: runs if it exists, else the working "
        "directory.",
    ),
]
Port = Annotated[
    int | None,
    _option("--port", "N", "Port on this machine; 0 is any free one. Default: 8642 if it is free."),
]
OpenBrowser = Annotated[bool, _option("--open", None, "Open the page in a browser.")]

# --- studies ----------------------------------------------------------------------------------------

Retry = Annotated[
    bool,
    _option("--retry", None, "If all members have failed, those that crashed try again."),
]
MoreIntervals = Annotated[
    int | None, _option("--intervals", "N", "Continue until each member has trained so many.")
]
NewPopulation = Annotated[
    int | None, _option("--population", "N", "Members from the next decision on.")
]
Wait = Annotated[
    float | None,
    _option("--wait", "X", "Seconds to wait until there is something to do. Default: 0."),
]
StatePath = Annotated[
    str | None,
    _option("--path", "PATH", "Place of the final state; heirs get it as their source."),
]
StateFile = Annotated[
    str | None,
    _option("--state", "FILE", "Final state as a JSON file, or - for standard input."),
]
Failure = Annotated[
    str | None, _option("--error", "MESSAGE", "Failure of the attempt, in place of an outcome.")
]

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
FreshSeeds = Annotated[
    int | None, _option("--seeds", "N", "Fresh seeds that each arm is trained with. Default: 5.")
]
NoRandomSearch = Annotated[
    bool,
    _option("--no-random-search", None, "Leave out random search, which costs as much as the run."),
]
ReadTest = Annotated[
    bool,
    _option(
        "--test",
        None,
        "Evaluate every model on the test split too; nothing is chosen by it, and it is recorded.",
    ),
]
AblationDirectory = Annotated[
    Path | None,
    _option(
        "--dir", "DIR", "Directory of the models. Default: ablation/ in the directory of the run."
    ),
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
CheckedSteps = Annotated[
    int | None,
    _option(
        "--steps", "N", "Reports of a loop, or steps of another task, in a segment. Default: 1."
    ),
]
CheckedInterval = Annotated[
    str | None,
    _option("--interval", "INTERVAL", "Length of a segment as in a run, such as 50 (batches)."),
]
CheckedSeed = Annotated[int | None, _option("--seed", "N", "Seed of the segments. Default: 0.")]
Device = Annotated[str | None, _option("--device", "DEVICE", "cpu, cuda, cuda:0,1 or auto.")]
Member = Annotated[int | None, _option("--member", "N", "Member of the run. Default: the winner.")]
MemberInterval = Annotated[
    int | None, _option("--interval", "N", "Interval of that member. Default: its last.")
]
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

Lightning = Annotated[bool, _option("--lightning", None, "Train with a Trainer of Lightning.")]
Transformers = Annotated[
    bool, _option("--transformers", None, "Train with a Trainer of Transformers.")
]
Sb3 = Annotated[bool, _option("--sb3", None, "Train with Stable-Baselines3.")]

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
Explain = Annotated[
    bool,
    _option(
        "--explain",
        None,
        "Print the simplest shape of each hyperparameter's path, and the code that makes it.",
    ),
]
All = Annotated[
    bool, _option("--all", None, "Print every member and every phase of the schedule.", _FILES)
]
Ancestry = Annotated[
    bool,
    _option("--tree", None, "Show the ancestry of the members as a tree, in place of tables."),
]
Timings = Annotated[
    bool, _option("--timings", None, "Show where the time of the run went, in place of tables.")
]
Csv = Annotated[bool, _option("--csv", None, "Print CSV instead of a table.", _FILES)]
Json = Annotated[bool, _option("--json", None, "Print JSON instead of tables.", _FILES)]
Debug = Annotated[bool, _option("--debug", None, "Write no tables, figures and events.", _FILES)]
Page = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="File to write. Default: report.html in the directory of the run.",
        show_default=False,
        rich_help_panel=_FILES,
    ),
]
Watch = Annotated[
    bool, _option("--watch", None, "Follow it as long as it is in progress, as `popgrad watch`.")
]
NoTest = Annotated[
    bool, _option("--no-test", None, "Leave the test split unread at the end.", _FILES)
]
Plain = Annotated[
    bool,
    _option("--plain", None, "Print a line for each interval instead of a live table.", _FILES),
]
