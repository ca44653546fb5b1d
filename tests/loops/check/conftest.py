"""The comparison with another process, made in this one: a new interpreter takes seconds."""

import pytest

from popgrad.loops.check import process


@pytest.fixture(autouse=True)
def in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that are marked as slow start processes."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(process, "train_elsewhere", process.first_interval)
