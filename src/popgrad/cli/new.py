"""The command that writes a script to start from: new."""

import shlex
from pathlib import Path

from popgrad.cli import options, printing
from popgrad.core.errors import UsageError

_TEMPLATES = Path(__file__).parent / "templates"

_NAME = "train.py"
"""Name of the script in the text of the templates."""

_IMPORTED = ("lightning", "popgrad", "sklearn", "stable_baselines3", "torch", "transformers")
"""Modules that the templates import, and that a script of the same name would hide."""

_OPTIONS = {"transformers": " --intervals 4"}
"""Options that `popgrad run` needs for a template: its trainer trains this number of epochs."""

EXTRAS = ("lightning", "transformers", "sb3")
"""Libraries that have a template, by the names of their extras."""


def new(
    file: options.NewFile,
    lightning: options.Lightning = False,
    transformers: options.Transformers = False,
    sb3: options.Sb3 = False,
) -> None:
    """Write a small script with a training loop, to start from."""
    given = dict(zip(EXTRAS, (lightning, transformers, sb3), strict=True))
    chosen = [name for name, is_given in given.items() if is_given]
    if len(chosen) > 1:
        names = " and ".join(f"--{name}" for name in chosen)
        raise UsageError(f"{names}: a script has one of them; leave the others out")

    path = Path(file)
    _check_name(path)
    template = chosen[0] if chosen else "plain"
    text = (_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8").replace(_NAME, path.name)
    _write(path, text)

    shown = shlex.quote(file)
    printing.print_line(f"wrote {file}")
    for name in chosen:
        printing.print_line(f"needs: pip install 'popgrad[{name}]'")
    printing.print_line(f"next: python {shown}")
    printing.print_line(f"next: popgrad run {shown}:train{_OPTIONS.get(template, '')}")
    printing.print_line("next: put your own data, model and training in place of the example's")


def _check_name(path: Path) -> None:
    if path.suffix != ".py":
        raise UsageError(
            f"FILE: expected a name that ends in .py, such as {_NAME}, got {str(path)!r}"
        )
    if path.stem in _IMPORTED:
        raise UsageError(
            f"FILE: a script called {path.name} would hide the module {path.stem} that it imports; give "
            f"another name, such as {_NAME}"
        )


def _write(path: Path, text: str) -> None:
    """Write a new file; whatever has its name stays as it is."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            f"FILE: {path} exists, and is not overwritten; give another name"
        ) from None
    except FileNotFoundError:
        raise UsageError(f"FILE: there is no folder {path.parent}; create it first") from None
