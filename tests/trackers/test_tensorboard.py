"""The tracker "tensorboard", which writes the events of `report.events`."""

import errno
import sys

import pytest
from tests.trackers.conftest import expected, read_events, same

from popgrad.core.errors import UsageError
from popgrad.reports.events import Events
from popgrad.tasks.base import Task
from popgrad.trackers.tensorboard import TensorBoardTracker


def test_with_the_key_events_everything_is_written_once(train, tmp_path):
    result = train(tracker="tensorboard", events=True, intervals=2)
    assert same(read_events(tmp_path / "run"), expected(result))
    for folder in (tmp_path / "run" / "events").iterdir():
        assert len(list(folder.iterdir())) == 1


def test_half_an_event_on_a_full_disk_hides_none_that_follow(train, tmp_path, monkeypatch):
    write = Events._append
    calls = []

    def full(self, name, first, summaries):
        calls.append(name)
        if len(calls) == 3:
            with self._files[name].open("ab") as file:
                file.write(b"half an event")
            raise OSError(errno.ENOSPC, "no space left on device")
        write(self, name, first, summaries)

    monkeypatch.setattr(Events, "_append", full)
    result = train(tracker="tensorboard", population=2, intervals=3)
    assert same(read_events(tmp_path / "run"), expected(result))


def test_without_tensorboard_nothing_is_written(train, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(UsageError, match=r"pip install 'popgrad\[tensorboard\]'"):
        train(tracker="tensorboard")
    assert not list(tmp_path.iterdir())


def test_without_a_directory_it_has_nowhere_to_write():
    with pytest.raises(UsageError, match="choose a directory for it"):
        TensorBoardTracker(None)


def test_a_task_without_images_has_no_samples(tmp_path):
    from popgrad.trackers.tensorboard import write_samples

    class Plain(Task):
        pass

    write_samples(Events(tmp_path, {}, "score"), Plain)
    assert not list(tmp_path.iterdir())
