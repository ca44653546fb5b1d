"""Without the extra, the executor names it."""

import sys

import pytest

import popgrad
from popgrad.core.errors import UsageError


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("popgrad.executors.ray")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UsageError, match=r"^executor: ray needs the extra .*pip install 'popgrad\[ray\]'"
    ):
        popgrad.run("digits", population=2, intervals=1, interval=1, executor="ray")
