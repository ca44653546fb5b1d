"""The exception behind a failure, as its traceback states it."""

import pytest

from popgrad.core.fault import Fault

TORCH = """Traceback (most recent call last):
  File "/home/me/wine.py", line 7, in train
    loss.backward()
  File "/env/lib/python3.11/site-packages/torch/_tensor.py", line 600, in backward
    torch.autograd.backward(
RuntimeError: element 0 of tensors does not require grad
and a second line of the message
"""
CHAINED = """Traceback (most recent call last):
  File "a.py", line 1, in f
    {}["x"]
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in f
    raise Broken
__main__.Broken
"""
SYNTAX = """Traceback (most recent call last):
  File "a.py", line 2, in train
    import other
  File "b.py", line 9
    def (
        ^
SyntaxError: invalid syntax
"""


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (
            TORCH,
            Fault(
                *("RuntimeError", "element 0 of tensors does not require grad"),
                *("/home/me/wine.py", 7),
            ),
        ),
        (CHAINED, Fault("__main__.Broken", "", "a.py", 3)),
        (SYNTAX, Fault("SyntaxError", "invalid syntax", "b.py", 9)),
        ("the worker process ended with code -9", None),
        ("", None),
        ("Traceback (most recent call last):\n", None),
    ],
)
def test_the_exception_and_the_innermost_line_of_the_users_code(
    error: str, fault: Fault | None
) -> None:
    assert Fault.read(error) == fault


def test_only_some_exceptions_are_sure_to_come_again() -> None:
    kinds = {kind: Fault(kind, "", "a.py", 1) for kind in ("KeyError", "ValueError", "OSError")}
    assert {kind: fault.repeats for kind, fault in kinds.items()} == {
        "KeyError": True,
        "ValueError": True,
        "OSError": False,
    }
    assert not Fault("RuntimeError", "DefaultCPUAllocator: can't allocate memory", "a", 1).repeats
    assert [kind for kind, fault in kinds.items() if fault.mistake] == ["KeyError"]
