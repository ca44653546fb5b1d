"""Leases on the open segments of a study, as files and in memory."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from popgrad.core.errors import RunError, UsageError
from popgrad.core.segment import Assignment
from popgrad.store.leases import FileLeases, Lease, Leases, MemoryLeases, Offer, Token

Age = Callable[[Token, float], None]


@pytest.fixture(params=["memory", "files"])
def leases(request: pytest.FixtureRequest, tmp_path: Path) -> Leases:
    return MemoryLeases() if request.param == "memory" else FileLeases(tmp_path)


@pytest.fixture
def age(leases: Leases, tmp_path: Path) -> Age:
    """Let a lease be renewed last so many seconds ago."""

    def make_older(token: Token, seconds: float) -> None:
        if isinstance(leases, MemoryLeases):
            leases._heartbeats[token.segment] -= seconds
            return
        (path,) = (tmp_path / "leases").glob(f"*{token}*")
        os.utime(path, (0, path.stat().st_mtime - seconds))

    return make_older


def assign(member: int, interval: int = 0, first_step: int = 0) -> Assignment:
    hparams = {"lr": 0.1, "kind": "a", "on": True, "n": 3}
    return Assignment(member, interval, (member, 5), hparams, 2**62, first_step, 7)


def describe(assignment: Assignment) -> Offer:
    return Offer(assignment, "ab" * 32, "my/path")


def claim(leases: Leases) -> Lease:
    lease = leases.claim()
    assert lease is not None
    return lease


def test_the_least_trained_segment_is_claimed_first_and_once(leases: Leases) -> None:
    offered = [assign(3, 1, 20), assign(1, 1, 10), assign(0, 1, 100), assign(2, 1, 10)]
    assert leases.claim() is None
    leases.publish(offered, describe)
    claimed = [claim(leases) for _ in offered]
    assert [lease.offer.assignment.member for lease in claimed] == [1, 2, 3, 0]
    assert claimed[0].offer == describe(offered[1])
    assert claimed[0].token.segment == (1, 1)
    assert claimed[0].token.process == os.getpid()
    assert leases.claim() is None


def test_what_is_open_or_claimed_stays_and_what_is_over_goes(leases: Leases) -> None:
    described: list[Assignment] = []

    def noted(assignment: Assignment) -> Offer:
        described.append(assignment)
        return describe(assignment)

    leases.publish([assign(0), assign(1)], noted)
    lease = claim(leases)
    leases.publish([assign(0), assign(1), assign(2)], noted)
    assert described == [assign(0), assign(1), assign(2)]
    assert leases.find(lease.token) == lease
    leases.publish([assign(2)], noted)
    assert leases.find(lease.token) is None
    assert claim(leases).offer.assignment.member == 2
    assert leases.claim() is None


def test_a_lease_expires_unless_it_is_renewed(leases: Leases, age: Age) -> None:
    leases.publish([assign(0), assign(1)], describe)
    first, second = claim(leases), claim(leases)
    assert leases.claim_expired(10) is None
    age(first.token, 11)
    age(second.token, 11)
    assert leases.renew(first.token)
    taken = leases.claim_expired(10)
    assert taken is not None
    assert taken.offer == second.offer
    assert leases.claim_expired(10) is None
    assert not leases.renew(second.token)
    assert leases.find(second.token) is None


def test_a_failed_attempt_is_offered_again_with_its_error(leases: Leases) -> None:
    leases.publish([assign(0)], describe)
    leases.reopen(claim(leases), "first\nwith ü")
    again = claim(leases)
    assert again.offer.errors == ("first\nwith ü",)
    leases.reopen(again, "second")
    assert claim(leases).offer.errors == ("first\nwith ü", "second")


def test_an_offer_that_has_waited_is_not_expired_when_it_is_claimed(tmp_path: Path) -> None:
    leases = FileLeases(tmp_path)
    leases.publish([assign(0)], describe)
    (path,) = (tmp_path / "leases").iterdir()
    os.utime(path, (0, 0))
    claim(leases)
    assert leases.claim_expired(10) is None


def test_claims_of_many_at_once_never_meet(tmp_path: Path) -> None:
    FileLeases(tmp_path).publish([assign(member) for member in range(60)], describe)
    claimed: list[list[int]] = [[] for _ in range(4)]

    def work(mine: list[int]) -> None:
        while lease := FileLeases(tmp_path).claim():
            mine.append(lease.offer.assignment.member)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in claimed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(member for mine in claimed for member in mine) == list(range(60))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    leases = FileLeases(tmp_path)
    leases.publish([assign(0)], describe)
    (tmp_path / "leases" / "notes.txt").write_text("mine")
    leases.publish([], describe)
    assert [path.name for path in (tmp_path / "leases").iterdir()] == ["notes.txt"]


def test_a_lease_of_another_segment_is_refused(tmp_path: Path) -> None:
    leases = FileLeases(tmp_path)
    leases.publish([assign(0)], describe)
    (path,) = (tmp_path / "leases").iterdir()
    path.rename(path.with_name("0-1-0.open.json"))
    with pytest.raises(RunError, match="is of another segment"):
        leases.claim()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(RunError, match=r"the leases in .* cannot be read or written"):
        FileLeases(tmp_path).publish([assign(0)], describe)


@pytest.mark.parametrize(
    "text", ["", "1-2", "a-0-1-1-0123456789ab", "../x", "1-2-3-4-0123456789abc"]
)
def test_a_token_is_checked(text: str) -> None:
    with pytest.raises(UsageError, match="token: expected the token"):
        Token.parse(text)


def test_a_token_reads_back() -> None:
    token = Token.new((3, 17))
    assert Token.parse(str(token)) == token
    assert 0 <= token.seconds < 60
