"""The file `trackers.json`: the intervals that each tracker has logged. It is no part of the record."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from popgrad.gates.files import exists, read_bytes
from popgrad.gates.sizes import TEXT, parse_json
from popgrad.store.atomic import replacing
from popgrad.trackers.base import Account

log = logging.getLogger("popgrad")


def read_accounts(path: Path | None) -> dict[str, Account]:
    """Return the accounts by tracker; none if the file is missing, or damaged, which is logged.

    Args:
        path: Path of the file; None = there is none.
    """
    if path is None or not exists(path):
        return {}
    try:
        return {name: _account(value) for name, value in parse_json(read_bytes(path, TEXT)).items()}
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        log.warning(
            "%s cannot be read, so that trackers log the run from its start: %s", path, error
        )
        return {}


def _account(value: Mapping[str, Any]) -> Account:
    intervals = {int(member): int(count) for member, count in value["intervals"].items()}
    return Account(intervals, str(value["status"]))


def write_accounts(path: Path | None, accounts: Mapping[str, Account]) -> None:
    """Write the accounts; if that fails, the next session logs some segments again.

    Args:
        path: Path of the file; None = they are not kept.
        accounts: Accounts by tracker.
    """
    if path is None:
        return
    content = {
        name: {
            "status": account.status,
            "intervals": {str(member): count for member, count in account.intervals.items()},
        }
        for name, account in accounts.items()
    }
    try:
        with replacing(path) as aside:
            aside.write_text(json.dumps(content) + "\n", encoding="utf-8")
    except OSError as error:
        log.debug("%s is not written: %s", path, error)
