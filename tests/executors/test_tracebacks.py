"""Tracebacks show the user's lines, and not those of popgrad that called them."""

import torch

from popgrad.core.segment import Assignment
from popgrad.executors.base import train_segment
from popgrad.executors.tracebacks import format_exception
from popgrad.tasks import Quadratic


class Broken(Quadratic):
    def train(self, state, hparams, steps, ctx):
        try:
            return {}["missing"]
        except KeyError:
            raise ValueError("look here") from None

    def evaluate(self, state, hparams, split, ctx):
        return {}["missing"]


def error_of(task):
    assignment = Assignment(0, 0, None, {"h0": 1.0, "h1": 0.0}, 0, 0, 1)
    return train_segment(task, assignment, None, torch.device("cpu"), None, "here")[0].error


def test_a_traceback_begins_with_the_users_line():
    error = error_of(Broken())
    head, first, line, last = error.strip().splitlines()[:4]
    assert head == "Traceback (most recent call last):"
    assert first.startswith(f'  File "{__file__}", line ')
    assert first.endswith(" in train")
    assert line.strip() == 'raise ValueError("look here") from None'
    assert last == "ValueError: look here"


def test_where_no_line_is_the_users_popgrads_own_are_shown():
    class Odd(Quadratic):
        train = None

    assert "tasks" in error_of(Odd()) or "executors" in error_of(Odd())
    assert error_of(Odd()).rstrip().endswith("TypeError: 'NoneType' object is not callable")


def test_causes_and_groups_are_trimmed_and_long_messages_cut():
    try:
        try:
            raise OSError("x" * 10**6)
        except OSError as error:
            raise ExceptionGroup("several", [ValueError("one")]) from error
    except ExceptionGroup as error:
        text = format_exception(error)
    assert len(text) < 25_000
    assert "characters are left out" in text
    assert text.startswith("Traceback")
    assert "ValueError: one" in text
