"""Commands on studies, whose members are trained by other programs: study, ask, tell.

They print one line of JSON each, to be read by a script in any language.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from popgrad import config as configuration
from popgrad.cli import options, printing
from popgrad.core.errors import UsageError
from popgrad.core.spelling import did_you_mean
from popgrad.gates.files import read_bytes
from popgrad.gates.sizes import TEXT, parse_json
from popgrad.store.directory import find_run

if TYPE_CHECKING:  # it needs torch, which takes seconds
    from popgrad.runs.study import Study

_WRITTEN = ("task", "made_with")
"""Keys of the run.toml of a study that no study is given."""


def study(
    directory: options.Studied,
    file: options.StudyFile = None,
    settings: options.Settings = None,
    intervals: options.MoreIntervals = None,
    population: options.NewPopulation = None,
    retry: options.Retry = False,
) -> None:
    """Create a study, whose members are trained by its callers, and print its status.

    Several callers may create it at once. Without a file, the study in DIR is opened.

    --intervals, --population and --retry continue a study that has ended.
    """
    from popgrad.runs.study import Study

    resumes = retry or intervals is not None or population is not None
    if file is not None and resumes:
        raise UsageError(
            "CONFIG: given together with --intervals, --population or --retry, which continue a study; "
            "leave them out"
        )
    if file is not None:
        with Study(directory=directory, **_arguments(file, settings or [])) as created:
            _print_status(created)
        return

    find_run(directory, "DIR")
    with Study.open(directory) as opened:
        if resumes:
            opened.resume(intervals=intervals, population=population)
        _print_status(opened)


def _arguments(file: str, settings: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a new study, from a file and settings over it.

    Raises:
        UsageError: The file cannot be read, or has a key that no study has.
    """
    from popgrad.runs.study import ARGUMENTS

    values = configuration.override(configuration.read(Path(file)), settings)
    values |= values.pop("options", {})  # keys that no run has, such as lease
    for key in _WRITTEN:
        values.pop(key, None)

    strategy = values.pop("strategy", "pbt")
    own = dict(strategy) if isinstance(strategy, dict) else {"name": strategy}
    for key in values:
        if key not in ARGUMENTS:
            similar = did_you_mean(key, ARGUMENTS)
            raise UsageError(
                f"{key}: a study has no such key{similar or '; it has '}"
                + ("" if similar else ", ".join(ARGUMENTS))
            )
    if "space" not in values:
        raise UsageError(
            'space: expected dimensions by name, such as lr = {kind = "uniform", low = 0.0, high = 0.1}'
        )
    return {**values, "strategy": own.pop("name", "pbt"), **own}


def _print_status(opened: "Study") -> None:
    result = opened.result
    _print(
        {
            "status": "finished" if opened.finished else "open",
            "stopped": result.stopped,
            "completed_intervals": result.status.completed,
            "requested_intervals": result.status.intervals,
            "directory": str(opened.directory),
        }
    )


def ask(directory: options.Studied, wait: options.Wait = None) -> None:
    """Print the next assignment of a study as JSON, and lease it.

    The entry "status" is "train", with the assignment; "wait", if there is nothing to do now; or "finished".
    """
    from popgrad.runs.study import Study

    find_run(directory, "DIR")
    with Study.open(directory) as opened:
        assignment = opened.ask(wait=wait or 0.0)
        if assignment is not None:
            _print({"status": "train", **assignment.to_dict()})
        else:
            _print({"status": "finished" if opened.finished else "wait"})


def tell(
    directory: options.Studied,
    token: options.StudyToken,
    metrics: options.Metrics = None,
    path: options.StatePath = None,
    state: options.StateFile = None,
    error: options.Failure = None,
) -> None:
    """Record the outcome of an assignment of a study.

    An outcome that is recorded already is ignored. Exit code 1 if another one is recorded.
    """
    from popgrad.runs.study import Study

    find_run(directory, "DIR")
    numbers = None if error is not None and not metrics else _numbers(metrics or [])
    whole = None if state is None else _read_state(state)
    with Study.open(directory) as opened:
        opened.tell(token, numbers, state=whole, path=path, error=error)
        _print({"status": "finished" if opened.finished else "recorded"})


def _numbers(texts: Sequence[str]) -> dict[str, float]:
    """Return metrics that the command line gives as NAME=VALUE."""
    numbers = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            if not equals or not name or not value.isascii():
                raise ValueError
            numbers[name] = float(value)
        except ValueError:
            raise UsageError(
                f"METRIC=VALUE: expected a name and a number, such as accuracy=0.9, got {text!r:.80}"
            ) from None
    return numbers


def _read_state(file: str) -> Any:
    """Read a state from a JSON file, or from standard input."""
    try:
        content = sys.stdin.buffer.read(TEXT) if file == "-" else read_bytes(file, TEXT)
        return parse_json(content)
    except OSError as error:
        raise UsageError(f"--state: cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"--state: {file} is not JSON: {error}") from None


def _print(data: dict[str, Any]) -> None:
    """Print plain data as one line of JSON."""
    printing.print_text(json.dumps(data) + "\n")
