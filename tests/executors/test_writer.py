"""The thread that writes checkpoints: a disk that does not answer is said, and ends the wait."""

import logging
import threading

import pytest
import torch

from popgrad.core.errors import RunError
from popgrad.executors import writer
from popgrad.executors.writer import Writer


def test_a_disk_that_does_not_answer_is_logged_and_in_the_end_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "_SLOW_WRITE", 0.01)
    monkeypatch.setattr(writer, "WRITE_LIMIT", 0.03)
    answers = threading.Event()
    thread = Writer(lambda *_: answers.wait(60) and None)
    thread("digest", None, [torch.ones(2)])
    with (
        caplog.at_level(logging.WARNING, "popgrad"),
        pytest.raises(RunError, match=r"a checkpoint was not written in 0\.03 s; see whether the"),
    ):
        thread.flush()
    assert caplog.messages
    answers.set()
    thread.flush()
    thread.close()
