"""Limits of the system are named, with what to do."""

import errno
import os
import resource

import pytest

import popgrad
from popgrad.core.errors import UsageError
from popgrad.executors.processes.limits import check_file_limit, limit_error


@pytest.fixture
def hard(monkeypatch):
    def limit(number):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (number, number))

    return limit


def test_a_population_that_needs_more_files_than_permitted_is_refused_before_it_starts(
    hard, tmp_path
):
    hard(200)
    check_file_limit(20, 2)
    said = r"^population: 100 members .* need \d+ open files.*may open 200; .*ulimit -Hn.*serial$"
    with pytest.raises(UsageError, match=said):
        check_file_limit(100, 2)
    with pytest.raises(UsageError, match=said):
        popgrad.run("quadratic", population=100, intervals=1, workers=2, directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    popgrad.run("quadratic", population=100, intervals=1, executor="serial")
    hard(resource.RLIM_INFINITY)
    check_file_limit(10**6, 2)


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "`ulimit -n`"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "smaller population or model"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "smaller population or model"),
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "`ulimit -u`"),
        (RuntimeError("can't start new thread"), "`ulimit -u`"),
        (OSError("something else"), "serial"),
    ],
)
def test_each_limit_has_its_cure(error, cure):
    said = str(limit_error(error, "another worker process"))
    assert "for another worker process (" in said
    assert cure in said
