"""Errors of a user's functions: one line with the reason and the place."""

import json

import pytest
import torch

from popgrad import UsageError
from popgrad.tasks.calls import explained, is_users


def test_the_innermost_line_of_the_users_code_is_named() -> None:
    def loss() -> None:
        json.loads("{")  # fails in Python's own code

    with pytest.raises(UsageError) as caught, explained("loss", "loss()"):
        loss()
    message = str(caught.value)
    assert message.startswith("loss: loss() fails with JSONDecodeError: ")
    assert "(test_calls.py, line " in message
    assert message.endswith('json.loads("{")  # fails in Python\'s own code)')
    assert isinstance(caught.value.__cause__, json.JSONDecodeError)


def test_a_long_message_is_one_short_line() -> None:
    with pytest.raises(UsageError) as caught, explained("loss", "loss()", lambda _: "write less"):
        raise ValueError("too\nlong " * 1000)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(caught.value).endswith("; write less")


def test_errors_on_purpose_and_interrupts_pass() -> None:
    with pytest.raises(UsageError, match=r"^mine$"), explained("loss", "loss()"):
        raise UsageError("mine")
    with pytest.raises(KeyboardInterrupt), explained("loss", "loss()"):
        raise KeyboardInterrupt


def test_the_end_of_the_program_is_an_error_of_the_function() -> None:
    with (
        pytest.raises(UsageError, match=r"^loss: loss\(\) fails with SystemExit: 3"),
        explained("loss", "loss()"),
    ):
        raise SystemExit(3)


def test_files_of_the_user() -> None:
    assert is_users(__file__)
    assert not any(
        map(is_users, (torch.__file__, json.__file__, explained.__code__.co_filename, "<string>"))
    )
