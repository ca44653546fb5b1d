"""Quiet calls of a tracker's library."""

import logging
import os
import warnings

import pytest

from popgrad.trackers.quiet import quiet


def test_logs_and_warnings_are_silent_and_come_back(caplog):
    logger = logging.getLogger("popgrad.example")
    logger.setLevel(logging.INFO)
    with quiet("popgrad.example"):
        logger.error("hidden")
        warnings.warn("hidden", stacklevel=1)
    logger.info("shown")
    with pytest.warns(UserWarning, match="shown"):
        warnings.warn("shown", stacklevel=1)
    assert caplog.messages == ["shown"]


def test_variables_that_are_set_stay(monkeypatch):
    monkeypatch.setenv("POPGRAD_SET", "theirs")
    monkeypatch.delenv("POPGRAD_UNSET", raising=False)
    with quiet(variables={"POPGRAD_SET": "a", "POPGRAD_UNSET": "b"}):
        assert (os.environ["POPGRAD_SET"], os.environ["POPGRAD_UNSET"]) == ("theirs", "b")
    assert os.environ["POPGRAD_SET"] == "theirs"
    assert "POPGRAD_UNSET" not in os.environ
