"""Tasks that are pickled by value keep the files and lines of their functions."""

import linecache
import traceback
import types

import pytest

from popgrad.core.errors import UsageError
from popgrad.tasks import Quadratic
from popgrad.tasks.copies import load_task, pickle_task

CELL = "def train():\n    1 / 0  # in a cell\n"


@pytest.fixture
def cell():
    """A function of a notebook's cell, whose source is in memory alone."""
    name = "<ipython-input-7>"
    linecache.cache[name] = (len(CELL), None, CELL.splitlines(True), name)
    module = types.ModuleType("__main__")
    exec(compile(CELL, name, "exec"), module.__dict__)
    yield module.train
    linecache.cache.pop(name, None)


def test_a_function_by_value_keeps_its_file_and_its_source(cell):
    task = Quadratic()
    object.__setattr__(task, "train", cell)
    pickled = pickle_task(task)
    linecache.cache.pop("<ipython-input-7>")
    loaded = load_task(pickled)
    assert loaded.train is not cell
    with pytest.raises(ZeroDivisionError) as caught:
        loaded.train()
    shown = "".join(traceback.format_tb(caught.value.__traceback__))
    assert 'File "<ipython-input-7>", line 2, in train' in shown
    assert "1 / 0  # in a cell" in shown


@pytest.mark.parametrize("kind", [ValueError, SystemExit, GeneratorExit])
def test_whatever_pickling_raises_is_a_refusal(kind):
    class Stubborn(Quadratic):
        def __reduce__(self):
            raise kind("not me")

    with pytest.raises(UsageError, match=rf"cannot be sent .*{kind.__name__}: not me"):
        pickle_task(Stubborn())
