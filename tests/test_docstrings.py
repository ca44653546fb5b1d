"""The prose of the source: docstrings name things, words are those of the field, examples run."""

import ast
import doctest
import importlib
import importlib.util
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import popgrad

SRC = Path(popgrad.__file__).parent
FILES = {
    ".".join(path.relative_to(SRC.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SRC.rglob("*.py"))
}

# A first line that starts with one of these describes a thing without naming it.
OPENINGS = (
    *("What", "Who", "Whose", "Whoever", "Whom", "Where", "How"),
    *("Of", "By", "That", "The same"),
)

# Words that the source does not use, as patterns of whole words, each with the word to use.
WORDS = {
    r"who|whom|whoever": "the noun; machines, functions and members are 'it'",
    r"nobody|somebody|everybody|anybody|someone|anyone|everyone": "'no member', 'a caller', 'all'",
    r"likewise|see there|see above": "the sentence itself: an entry is read alone",
    r"told|tell|tells|telling": "'given', 'informs', 'states'",
    r"say|says|said|saying": "'states', 'names'",
    r"anew": "'again'; 'rebuilt'",
    r"made again": "'rebuilt'",
    r"trained again|trains again|train again": "'retrained', 'retrains', 'retrain'",
    r"(?:go|goes|going|gone|went) on": "'continue'",
    r"so-manieth": "the number",
    r"(?:is|are) (?:there|allowed)\b(?=[;:,.]|$)": "'exists'; 'expected ...'",
    r"whole numbers?": "'integer'",
    r"an? (?:\w+ )?text": "'a string'",
    r"flags?": "'a boolean'",
    r"chances?": "'probability'",
    r"lent|lends?": "'view'",
    r"lets? go of": "'drop', 'release'",
    r"looks?": "'reads', 'checks'",
    r"hand(?:s|ed)? (?:it |them )?on": "'pass'",
    r"begun": "'started'",
    r"otherwise than": "'differs from'",
    r"have something done": "the plain verb",
}
PATTERNS = {re.compile(rf"\b(?:{word})\b", re.I): cure for word, cure in WORDS.items()}

# Uses that are right: (module, words with their context) -> the reason.
ALLOWED_WORDS: dict[tuple[str, str], str] = {
    ("popgrad.runs.study", "`tell`"): "the method",
    ("popgrad.runs.study", "study.tell("): "a call of the method",
    ("popgrad.cli.app", "popgrad tell"): "the command",
    ("popgrad.cli.study", "study, ask, tell."): "the command",
}

# Public names without an example -> the reason.
WITHOUT_EXAMPLE = {
    "PopgradError": "an error: its message is its documentation",
    "UsageError": "an error",
    "DataError": "an error",
    "RunError": "an error",
    "AllMembersFailedError": "an error",
}

# Public names of types, which have no docstring of their own.
TYPES = {"Hparams"}

# Modules that need an extra to be imported.
EXTRAS = {
    "popgrad.executors.ray": "ray",
    "popgrad.integrations.sb3": "stable_baselines3",
    "popgrad.integrations.transformers": "transformers",
}


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Docstrings of the module, its classes, functions, and attributes, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                yield node.lineno, inspect.cleandoc(text)


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Strings of more than a word, which users or readers see, and comments, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.parametrize("module", FILES)
def test_the_first_line_of_a_docstring_names_the_thing(module: str) -> None:
    wrong = [
        f"{FILES[module]}:{line}: {text.splitlines()[0]}"
        for line, text in docstrings(ast.parse(FILES[module].read_text(encoding="utf-8")))
        if re.match(rf"(?:{'|'.join(OPENINGS)})\b", text)
    ]
    assert not wrong, "name the thing first:\n" + "\n".join(wrong)


@pytest.mark.parametrize("module", FILES)
def test_the_words_are_those_of_the_field(module: str) -> None:
    allowed = [words for name, words in ALLOWED_WORDS if name == module]
    wrong = []
    for line, text in prose(FILES[module].read_text(encoding="utf-8")):
        for words in allowed:
            text = text.replace(words, "")
        for pattern, cure in PATTERNS.items():
            for match in pattern.finditer(text):
                number = line + text.count("\n", 0, match.start())
                wrong.append(f"{FILES[module]}:{number}: {match[0]!r}; write {cure}")
    assert not wrong, "\n".join(wrong)


def test_each_allowed_use_is_still_there() -> None:
    for (module, words), reason in ALLOWED_WORDS.items():
        pieces = [text for _, text in prose(FILES[module].read_text(encoding="utf-8"))]
        assert any(words in piece for piece in pieces), f"{module} no longer has {words!r}"
        assert reason


@pytest.mark.parametrize("module", FILES)
def test_the_examples_run(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package, extra in EXTRAS.items():
        if module.startswith(package) and importlib.util.find_spec(extra) is None:
            pytest.skip(f"{extra} is not installed")
    if module == "popgrad.__main__":
        return  # runs the command line when it is imported

    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner()
    examples = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    for example in examples:
        runner.run(example)
    assert not runner.failures, capsys.readouterr().out


@pytest.mark.parametrize("name", popgrad.__all__)
def test_a_public_name_has_an_example(name: str) -> None:
    if name in TYPES:
        return
    if name in WITHOUT_EXAMPLE:
        assert issubclass(getattr(popgrad, name), popgrad.PopgradError)
        return
    assert ">>> " in (getattr(popgrad, name).__doc__ or ""), f"popgrad.{name} has no example"
