"""The documentation is true: links lead somewhere, snippets and commands run as a reader would run them.

Fences, by their info string:

    python, console             run, in the order of the page, in one folder and one namespace a page
    python no-run               compiled only
    console no-run              each `$ popgrad` line must name a command and options that exist
    ANYTHING file=NAME          written to NAME, for the snippets after it
"""

import functools
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from program import popgrad

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
]
RUN_PAGES = [page for page in PAGES if page.name == "README.md" or page.parent == ROOT / "docs"]
SECONDS = 300  # for one command; far more than any should need, so that a hang is what fails

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<info>[^`\n]*)$")
LINK = re.compile(
    r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)|^ {0,3}\[[^\]]+\]:\s*(\S+)|(?:src|href)=\"([^\"]+)\"", re.M
)
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
SHELL = re.compile(r"[|<>;&$`*~\\]")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and marks, the line of its first line (from 1), its text."""

    language: str
    marks: tuple[str, ...]
    line: int
    text: str


def blocks(text: str) -> list[Block]:
    found, lines = [], text.splitlines()
    start, opening = 0, None
    for number, line in enumerate(lines):
        match = FENCE.match(line)
        if opening is None and match:
            start, opening = number, match
        elif (
            opening is not None
            and line.strip().startswith(opening["fence"])
            and not line.strip("`~ ")
        ):
            body = [inner.removeprefix(opening["indent"]) for inner in lines[start + 1 : number]]
            language, *marks = opening["info"].split() or [""]
            found.append(Block(language, tuple(marks), start + 2, "\n".join(body) + "\n"))
            opening = None
    return found


def prose(text: str) -> str:
    """The page with its fenced blocks and inline code blanked."""
    lines = text.splitlines()
    for block in blocks(text):
        for number in range(block.line - 2, block.line + block.text.count("\n")):
            lines[number] = ""
    return re.sub(r"`[^`\n]*`", "``", "\n".join(lines))


def anchors(text: str) -> set[str]:
    """What `#...` may name on a page: its headings the way GitHub spells them, and explicit ids."""
    found: dict[str, int] = {}
    inside = {number for b in blocks(text) for number in range(b.line, b.line + b.text.count("\n"))}
    for number, line in enumerate(text.splitlines(), start=1):
        if number not in inside and (match := re.match(r"#{1,6} +(.+?)[ #]*$", line)):
            title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", match[1])
            slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
    numbered = {f"{slug}-{i}" for slug, more in found.items() for i in range(1, more + 1)}
    return set(found) | numbered | set(re.findall(r"\b(?:id|name)=\"([^\"]+)\"", text))


def broken_links(page: Path, root: Path) -> list[str]:
    broken = []
    for match in LINK.finditer(prose(page.read_text())):
        target = next(group for group in match.groups() if group)
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue  # elsewhere on the web
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        if not to.exists() or not to.is_relative_to(root):
            broken.append(f"{target}: there is no such file in the repository")
        elif anchor and to.suffix == ".md" and anchor not in anchors(to.read_text()):
            broken.append(f"{target}: {to.name} has no such heading")
    return broken


def commands(block: Block) -> list[tuple[int, str]]:
    """(offset of its line, command) of each `$ popgrad` line; continued by a backslash, cut at a comment."""
    found: list[tuple[int, str]] = []
    lines = block.text.splitlines()
    for offset, line in enumerate(lines):
        if re.match(r"\$ popgrad( |$)", line):
            command, following = line[2:], offset
            while command.endswith("\\"):
                following += 1
                command = command[:-1] + lines[following].strip().removeprefix("> ")
            found.append((offset, re.sub(r"\s+#\s.*$", "", command)))
    return found


def run(command: str, folder: Path) -> str:
    """Run a line of shell that starts with `popgrad`; return what it printed if it fails, else "".

    A line without syntax of the shell runs in this process, which saves a start of Python for each.
    """
    if not SHELL.search(command) and folder == Path.cwd():
        done = popgrad(*shlex.split(command)[1:])
        return f"{done.out}{done.err}exit code {done.code}" if done.code else ""

    line = f"{shlex.quote(sys.executable)} -m {command}"
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200", "TERM": "dumb"}
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return f"{ended.stdout}exit code {ended.returncode}" if ended.returncode else ""


@functools.cache
def options(command: str) -> frozenset[str] | None:
    """The options in a command's help; None where there is no such command."""
    shown = popgrad(*filter(None, [command]), "--help")
    return None if shown.code else frozenset(OPTION.findall(ANSI.sub("", shown.out)))


def unknown(command: str) -> str:
    """What of a line does not exist: its command, or an option; "" = nothing."""
    words = shlex.split(re.split(r"[|<>;&]", command)[0])[1:]
    name = next((word for word in words[:1] if not word.startswith("-")), "")
    known = options(name)
    if known is None:
        return f"popgrad has no command {name!r}"
    given = [word.partition("=")[0] for word in words if OPTION.match(word)]
    wrong = [option for option in given if option not in known]
    return f"popgrad {name} has no option {wrong[0]}" if wrong else ""


def run_page(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a reader does who follows the page from top to bottom in an empty folder.

    Its Python is a script of its own, with every line at its place on the page: tracebacks point there, and
    source, pickles and child processes find their `__main__` as in a script of the user's.
    """
    script = folder / f"{page.stem.lower()}_page.py"
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.syspath_prepend(folder)
    try:
        follow(blocks(page.read_text()), page.name, script, main)
    finally:  # another page may write modules of the same names
        for path in folder.glob("*.py"):
            sys.modules.pop(path.stem, None)


def follow(found: list[Block], page: str, script: Path, main: types.ModuleType) -> None:
    """Write, run or check each block; the working folder is the script's."""
    written = ""
    for block in found:
        where = f"{page}:{block.line}"
        file = next(
            (mark.removeprefix("file=") for mark in block.marks if mark.startswith("file=")), None
        )
        if file:
            (script.parent / file).write_text(block.text)
            importlib.invalidate_caches()  # they may list the folder from before
        elif block.language == "python":
            text = "\n" * (block.line - 1) + block.text
            code = compile(text, str(script), "exec", dont_inherit=True)
            if "no-run" not in block.marks:
                written += "\n" * (block.line - 1 - written.count("\n")) + block.text
                script.write_text(written)
                exec(code, main.__dict__)
        elif block.language == "console":
            for offset, command in commands(block):
                if "no-run" in block.marks:
                    assert not unknown(command), f"{where} (+{offset}): {unknown(command)}"
                else:
                    failure = run(command, script.parent)
                    assert not failure, f"{where} (+{offset}): {command}\n{failure}"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, ROOT) == []


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("page", RUN_PAGES, ids=name)
def test_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page(page, tmp_path, monkeypatch)


def test_every_public_name_is_documented() -> None:
    import popgrad

    undocumented = []
    for public in popgrad.__all__:
        value = getattr(popgrad, public)
        documented = inspect.getdoc(value) or ""
        generated = documented.startswith(
            f"{public}("
        )  # what @dataclass writes where there is nothing
        if (inspect.isclass(value) or inspect.isroutine(value)) and (not documented or generated):
            undocumented.append(public)
    assert undocumented == []


def test_the_tree_of_the_readme_is_that_of_the_package() -> None:
    tree = (ROOT / "README.md").read_text().partition("src/popgrad/\n")[2].partition("```")[0]
    top = {match[1].strip("/") for match in re.finditer(r"^  (\S+)  ", tree, re.M)}
    source = ROOT / "src" / "popgrad"
    present = {path.name for path in source.iterdir()} - {"__pycache__", "py.typed"}
    assert top == {entry for entry in present if not entry.startswith("__")}

    folder = source
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        names = [word.strip(",") for word in line.split("  ")[indent // 2].split()]
        if indent == 2:
            folder = source / names[0]
        paths = [source / name if indent == 2 else folder / name for name in names]
        assert all(path.exists() for path in paths), line


def test_the_page_of_the_benchmarks_names_every_file() -> None:
    folder = ROOT / "benchmarks"
    named = set(re.findall(r"`([\w-]+\.(?:py|md))`", (folder / "README.md").read_text()))
    present = {path.name for path in folder.iterdir() if path.suffix in (".py", ".md")}
    assert named == present - {"README.md"}


def write_page(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text)
    return path


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Two words\n## Two `words`!\n```\n# No heading\n```\n")
    good = "[a](other.md) ![b](other.md#two-words) [c](#here) [d](other.md#two-words-1) `[x](gone.md)`\n"
    good += '# Here\n<img src="other.md"> [w](https://x.test/y)\n```\n[a](gone.md)\n```\n'
    assert broken_links(write_page(tmp_path, good), tmp_path) == []
    bad = "[a](gone.md) ![b](other.md#three) [c](#there) [d](other.md#no-heading) [out](../x.md)\n"
    bad += '<img src="x.png">\n\n[r]: gone.md\n'
    assert len(broken_links(write_page(tmp_path, bad), tmp_path)) == 7


def test_blocks_are_read_with_their_marks_and_lines() -> None:
    text = "a\n```python no-run\nx\n```\n\n1. b\n   ```toml file=t.toml\n   y = 1\n     z\n   ```\n"
    text += "````\n```\n````\n"
    assert blocks(text) == [
        Block("python", ("no-run",), 3, "x\n"),
        Block("toml", ("file=t.toml",), 8, "y = 1\n  z\n"),
        Block("", (), 12, "```\n"),
    ]


def test_a_page_is_run_in_order_in_one_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "```text file=given.txt\nhello\n```\n"
        "```python file=given.py\nWORD = 'hello'\n```\n"
        "```python\nimport inspect\nclass A:\n    x = 1\nassert __name__ == '__main__'\n```\n"
        "```python no-run\nraise SystemExit\n```\n"
        "```python\nimport given, pathlib\n"
        "assert pathlib.Path('given.txt').read_text() == given.WORD + '\\n'\n"
        "assert 'x = 1' in inspect.getsource(A)\npathlib.Path('ran.txt').touch()\n```\n"
    )
    run_page(write_page(tmp_path, text), tmp_path, monkeypatch)
    assert (tmp_path / "ran.txt").exists()
    assert "given" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        "```python\nassert 1 == 2\n```\n",
        "```python no-run\nx = = 1\n```\n",
        "```console\n$ popgrad no-such-command\n```\n",
        "```console\n$ popgrad no-such-command > file.txt\n```\n",
        "```console no-run\n$ popgrad no-such-command\n```\n",
        "```console no-run\n$ popgrad run digits --no-such-option 3 # a comment\n```\n",
    ],
)
def test_a_page_that_is_wrong_is_found(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((AssertionError, SyntaxError)):
        run_page(write_page(tmp_path, text), tmp_path, monkeypatch)


def test_commands_are_read_as_a_shell_would() -> None:
    text = "$ popgrad run digits \\\n    --seed 1  # why\nsome output\n$ make demo\n$ popgrad\n$ popgrades\n"
    assert commands(Block("console", (), 1, text)) == [
        (0, "popgrad run digits --seed 1"),
        (4, "popgrad"),
    ]
