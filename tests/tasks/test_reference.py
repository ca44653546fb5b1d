"""Tasks by name: what can be said, and what a mistake is answered with."""

import inspect
import re
import sys
import typing
from functools import partial
from pathlib import Path

import pytest

from popgrad.core.errors import UsageError
from popgrad.strategies import STRATEGIES
from popgrad.tasks import TASKS, Quadratic, TorchTask, digits
from popgrad.tasks.expectation import expectation
from popgrad.tasks.reference import (
    check_options,
    full_reference,
    resolve_task,
    source_digest,
    task_instance,
)

SOURCE = """
import dataclasses
from popgrad.tasks import Quadratic, digits

@dataclasses.dataclass(frozen=True)
class Mine(Quadratic):
    slope: float = 1.0
    names: tuple[str, ...] = ()

def made(*, width: int, data_dir: str | None = None):
    task = digits(n_hiddens=(width,))
    object.__setattr__(task, "score", str(data_dir))
    return task

ready = Quadratic(lr=0.5)
number = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def refused(*args):
    with pytest.raises(UsageError) as caught:
        resolve_task(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", TASKS)
def test_built_in_tasks_have_names(name):
    assert resolve_task(name, {}).score


def test_options_are_handed_on_in_their_declared_types():
    task = resolve_task("digits", {"n_hiddens": [8, 4], "batch_size": 16})
    assert isinstance(task, TorchTask)
    assert task.batch_size == 16
    assert [layer.out_features for layer in task.model({})[::3]] == [8, 4, 10]
    assert resolve_task("quadratic", {"lr": 1}).lr == 1.0
    assert type(resolve_task("quadratic", {"lr": 1}).lr) is float


def test_a_class_or_a_function_in_a_module():
    assert resolve_task("popgrad.tasks.toys:Quadratic", {"lr": 0.5}).lr == 0.5
    assert resolve_task("popgrad.tasks.digits:digits", {}).score == "accuracy"


def test_a_class_a_function_or_a_task_in_a_file(file):
    assert resolve_task(f"{file}:Mine", {"slope": 2, "names": ["a"]}).slope == 2.0
    assert resolve_task(f"{file}:Mine", {"names": ["a"]}).names == ("a",)
    assert resolve_task(f"{file}:made", {"width": 8}).batch_size == 32
    assert resolve_task(f"{file}:ready", {}).lr == 0.5


def test_a_file_may_import_what_lies_beside_it(file):
    (file.parent / "beside_it.py").write_text("lr = 0.25")
    file.write_text(f"import beside_it\n{SOURCE}\nready = Quadratic(lr=beside_it.lr)")
    assert resolve_task(f"{file}:ready", {}).lr == 0.25


def test_the_data_directory_goes_to_tasks_that_take_one(file):
    assert resolve_task(f"{file}:made", {"width": 8}, "/there").score == "/there"
    assert (
        resolve_task(f"{file}:made", {"width": 8, "data_dir": "/mine"}, "/there").score == "/mine"
    )
    assert resolve_task("quadratic", {}, "/there") == Quadratic()


@pytest.mark.parametrize("reference", ["mine", "", ":", ":Name"])
def test_an_unknown_name_is_answered_with_those_that_exist(reference):
    message = refused(reference, {})
    assert repr(reference) in message
    assert all(name in message for name in TASKS)
    assert "module:Name" in message
    assert "file.py:Name" in message


@pytest.mark.parametrize("reference", ["digit", "digits:", "Digits", "dgits"])
def test_a_misspelt_name_is_answered_with_the_one_that_is_meant(reference):
    assert refused(reference, {}) == f"there is no task {reference!r}; did you mean 'digits'?"


def test_a_file_alone_is_answered_with_the_way_to_name_an_object_in_it(file):
    assert f"choose an object in this file: {file}:Name" in refused(str(file), {})


def test_what_is_not_there_is_said(file):
    assert "'Missing'" in refused(f"{file}:Missing", {})
    assert "'missing_module'" in refused("missing_module:Name", {})
    assert "'.relative'" in refused(".relative:Name", {})
    assert "there is no task file" in refused(f"{file.parent}/other.py:Name", {})


@pytest.mark.parametrize("source", ["1 / 0", "def (", "import missing_module"])
def test_a_file_that_fails_says_how(file, source):
    file.write_text(source)
    message = refused(f"{file}:Name", {})
    assert str(file) in message
    assert re.search("ZeroDivisionError|SyntaxError|ModuleNotFoundError", message)
    assert message.endswith(f"({file}, line 1)")


def test_a_task_that_cannot_be_made_says_where(file):
    file.write_text(f"{SOURCE}\nclass Broken(Quadratic):\n    def __init__(self):\n        1 / 0\n")
    said = refused(f"{file}:Broken", {})
    assert "cannot be made: ZeroDivisionError: division by zero (" in said
    assert said.endswith(f"{file}, line {file.read_text().count(chr(10))})")


def test_a_module_that_fails_says_how(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    (file.parent / "fails_on_import.py").write_text("1 / 0")
    assert "ZeroDivisionError" in refused("fails_on_import:Name", {})


def test_mistakes_a_file_makes_on_purpose_pass_through(file):
    file.write_text("from popgrad.core.errors import UsageError\nraise UsageError('no data here')")
    assert refused(f"{file}:Name", {}) == "no data here"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"width": 3}, ["'width'", "n_hiddens", "batch_size", "split_seed"]),
        ({"batch_size": "many"}, ["batch_size", "'many'", "integer"]),
        ({"batch_size": 2.5}, ["batch_size", "2.5", "integer"]),
        ({"batch_size": True}, ["batch_size", "True", "integer"]),
        ({"n_hiddens": [8, "x"]}, ["n_hiddens", "[8, 'x']", "integer"]),
        ({"n_hiddens": [8, True]}, ["n_hiddens", "[8, True]", "integers such as [64, 64]"]),
        ({"n_hiddens": 8}, ["n_hiddens", "8", "a list of integers such as [64, 64]"]),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(options, named):
    message = refused("digits", options)
    assert all(part in message for part in ["digits", *named])


@pytest.mark.parametrize("value", [True, "fast", None, float("nan"), float("inf")])
def test_a_number_is_a_finite_number(value):
    assert "lr" in refused("quadratic", {"lr": value})


def test_an_optional_number_may_be_left_open_but_is_no_boolean():
    assert resolve_task("mnist-fc", {"lr": None}).space == resolve_task("mnist-fc", {}).space
    assert "lr" in refused("mnist-fc", {"lr": True})
    assert resolve_task("mnist-fc", {"batch_norm": False})


def test_an_option_without_a_default_must_be_given(file):
    assert "needs the option width" in refused(f"{file}:made", {})


def test_a_ready_task_takes_no_options(file):
    assert "takes no options; got lr" in refused(f"{file}:ready", {"lr": 1})


def test_the_space_is_no_option():
    assert "'space'" in refused("quadratic", {"space": {}})


def test_options_of_any_callable_can_be_checked():
    assert check_options(partial(digits, batch_size=8), {"split_seed": 3}, "it") == {
        "split_seed": 3
    }

    def untyped(a, b=2, *more, **others): ...

    assert check_options(untyped, {"a": True, "b": object}, "it") == {"a": True, "b": object}
    with pytest.raises(UsageError, match="no option 'c'; it has a, b"):
        check_options(untyped, {"a": 1, "c": 1}, "it")


# A file or module alone, and a class alone


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from popgrad.tasks import Quadratic\nclass Mine(Quadratic): pass", "Mine"),
        ("from popgrad.tasks import Quadratic\nmine = Quadratic()\n_other = mine", "mine"),
        (
            "from popgrad.tasks import Quadratic\n"
            "class Mine(Quadratic): pass\nmine = Mine()",  # the ready one is meant
            "mine",
        ),
        (
            "from popgrad import TorchTask\nfrom popgrad.tasks import digits\n"
            "def mine() -> TorchTask: return digits()",
            "mine",
        ),
    ],
)
def test_the_only_task_of_a_file_needs_no_name(file, source, name):
    file.write_text(source)
    assert full_reference(str(file)) == f"{file}:{name}"


def test_several_tasks_are_listed_and_none_is_said(file):
    file.write_text(f"{SOURCE}\nother = Quadratic()")
    with pytest.raises(UsageError, match=rf"choose one of {file}:ready, {file}:other$"):
        full_reference(str(file))
    file.write_text("def made(): pass")
    with pytest.raises(UsageError, match=r"holds no class, object .*:NAME$"):
        full_reference(str(file))
    with pytest.raises(UsageError, match="there is no task file"):
        full_reference("missing.py")


@pytest.mark.parametrize("reference", ["digits", "digit", "", ":", "a:b", "x.toml:y", "json"])
def test_all_other_references_stay(reference):
    assert full_reference(reference) == reference


def test_a_class_that_needs_nothing_is_a_task():
    assert task_instance(Quadratic) == Quadratic()
    assert task_instance("digits") == "digits"
    assert task_instance(int) is int
    with pytest.raises(
        UsageError, match=r"class TorchTask.*'space'.*give an instance, TorchTask\("
    ):
        task_instance(TorchTask)


# The digest of the source


def test_built_in_tasks_have_no_source_of_the_users():
    assert source_digest(digits(), "digits") == ""
    assert source_digest(digits(), None) == ""
    assert source_digest(Quadratic(), None) == ""


def test_a_named_task_is_told_by_its_file(file, monkeypatch):
    one = source_digest(resolve_task(f"{file}:ready", {}), f"{file}:ready")
    assert re.fullmatch("[0-9a-f]{64}", one)
    assert source_digest(resolve_task(f"{file}:Mine", {}), f"{file}:Mine") == one
    file.write_text(SOURCE + "\n# changed\n")
    assert source_digest(resolve_task(f"{file}:ready", {}), f"{file}:ready") != one
    monkeypatch.syspath_prepend(file.parent)
    (file.parent / "as_module.py").write_text(SOURCE)
    assert source_digest(resolve_task("as_module:ready", {}), "as_module:ready") == one


def test_a_task_that_was_handed_over_is_told_by_what_its_user_wrote():
    class Mine(Quadratic):
        pass

    def other_loss(module, batch, hparams):
        return module(batch[0]).sum()

    def task(**changes):
        base = digits()
        return TorchTask(
            **{
                "space": base.space,
                "model": base.model,
                "optimizer": base.optimizer,
                "data": base.data,
                **changes,
            }
        )

    assert source_digest(Mine(), None)
    assert source_digest(task(), None) == ""
    mine = source_digest(task(loss=other_loss), None)
    assert re.fullmatch("[0-9a-f]{64}", mine)
    assert (
        source_digest(task(loss=lambda module, batch, hparams: module(batch[0]).mean()), None)
        != mine
    )


def test_where_there_is_no_source_to_read_there_is_no_digest():
    scope = {"Quadratic": Quadratic, "__name__": "nowhere"}
    exec("class Typed(Quadratic): pass", scope)
    assert source_digest(scope["Typed"](), None) == ""


def answer(factory, name, value):
    """The message on an option; one that is taken has none."""
    try:
        check_options(factory, {name: value}, "it")
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("factory", [*TASKS.values(), *STRATEGIES.values()])
def test_no_wrong_option_is_answered_in_the_words_of_a_library(factory):
    values = ["5x", "", -1, 1.5, None, True, [], [1], ["a"], {}, {"a": 1}, object(), [0.8, "x"]]
    for name in inspect.signature(factory).parameters.keys() - {"space"}:
        answers = {answer(factory, name, value) for value in values} - {""}
        assert answers
        for message in answers:
            assert message.startswith(f"it, option {name}: expected ")
            assert not re.search(r"valid |Input|instance|Sequence|parse|tuple", message)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "an integer"),
        (bool | None, "true or false"),
        (int | str, "an integer or a string"),
        (tuple[int, ...], "a list of integers"),
        (list, "a list"),
        (dict[str, int], "a table"),
        (typing.Literal["a", "b"], "one of a, b"),
        (typing.Annotated[float, "positive"], "a number"),
        (list[dict[str, float]], "a list of tables"),
        (Path, "a Path"),
    ],
)
def test_a_type_has_words(hint, words):
    assert expectation(hint) == words


def test_a_misspelt_option_is_answered_with_the_one_that_is_meant():
    assert refused("digits", {"batchsize": 8}).endswith("'batchsize'; did you mean 'batch_size'?")


def test_a_hyperparameter_in_place_of_an_option_is_answered_with_the_way_to_fix_it():
    assert refused("digits", {"lr": 0.01}) == (
        "task digits has no option 'lr': it is a hyperparameter; to fix it, set "
        'space.lr = {kind = "constant", value = 0.01}'
    )
