"""The file of the accounts."""

import pytest

from popgrad.trackers.accounts import read_accounts, write_accounts
from popgrad.trackers.base import Account

ACCOUNTS = {"mlflow": Account({0: 3, 11: 2}, "finished"), "Mine": Account()}


def test_accounts_are_read_as_they_were_written(tmp_path):
    write_accounts(tmp_path / "trackers.json", ACCOUNTS)
    assert read_accounts(tmp_path / "trackers.json") == ACCOUNTS


def test_without_a_file_there_are_none(tmp_path):
    write_accounts(None, ACCOUNTS)
    assert read_accounts(None) == read_accounts(tmp_path / "trackers.json") == {}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', '{"a": {"intervals": {"x": 1}, "status": ""}}', "[" * 10**5]
)
def test_a_damaged_file_is_logged_and_counts_as_none(tmp_path, caplog, text):
    path = tmp_path / "trackers.json"
    path.write_text(text)
    assert read_accounts(path) == {}
    assert "trackers log the run from its start" in caplog.text


def test_a_disk_that_is_full_ends_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    write_accounts(tmp_path / "file" / "trackers.json", ACCOUNTS)
