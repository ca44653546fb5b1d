"""Leases: which caller trains which open segment of a study, as files that are claimed by a rename.

An open segment is a file `STEP-MEMBER-INTERVAL.open.json`; a claimed one is `STEP-TOKEN.lease.json`, of which
the token names the segment, the process of the claimant and the moment. The time of the file's last change
is the heartbeat. All of it can be rebuilt from the journal, but for the errors of earlier attempts.
"""

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Assignment
from popgrad.gates.files import check_own, read_bytes
from popgrad.gates.sizes import TEXT, parse_json
from popgrad.store.atomic import leftovers, replacing

_TOKEN = re.compile(r"([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,15})-([0-9a-f]{12})")
_OPEN = re.compile(r"([0-9]{1,19})-([0-9]{1,9})-([0-9]{1,9})\.open\.json")
_LEASED = re.compile(rf"([0-9]{{1,19}})-({_TOKEN.pattern})\.lease\.json")


@dataclass(frozen=True)
class Token:
    """Name of a lease.

    Attributes:
        member: Slot of the segment.
        interval: Interval of the segment.
        process: Number of the claimant's process.
        began: Time of the claim, in milliseconds since 1970.
        nonce: Random characters, so that no two leases have one name.

    Example:
        >>> Token.parse("3-17-4242-1700000000000-0123456789ab").segment
        (3, 17)
    """

    member: int
    interval: int
    process: int
    began: int
    nonce: str

    @classmethod
    def new(cls, segment: SegmentId) -> "Token":
        """Return the name of a lease that this process takes now."""
        return cls(*segment, os.getpid(), int(time.time() * 1000), secrets.token_hex(6))

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Read a token.

        Raises:
            UsageError: The string is none.
        """
        match = _TOKEN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise UsageError(
                f"token: expected the token of an assignment, as `ask` returned it, got {text!r:.80}"
            )
        member, interval, process, began = map(int, match.groups()[:4])
        return cls(member, interval, process, began, match[5])

    def __str__(self) -> str:
        return f"{self.member}-{self.interval}-{self.process}-{self.began}-{self.nonce}"

    @property
    def segment(self) -> SegmentId:
        """(member, interval)."""
        return self.member, self.interval

    @property
    def seconds(self) -> float:
        """Seconds since the claim."""
        return max(0.0, time.time() - self.began / 1000)


@dataclass(frozen=True)
class Offer:
    """An open segment with all that a caller needs to train it.

    Attributes:
        assignment: The segment.
        digest: Digest of the state that it starts from; "" = a fresh member.
        path: Path that was given in place of that state; "" = the state itself was.
        errors: Errors of the earlier attempts.
    """

    assignment: Assignment
    digest: str = ""
    path: str = ""
    errors: tuple[str, ...] = ()


Describe = Callable[[Assignment], Offer]
"""Makes the offer of an assignment: it finds the state that the assignment starts from."""


@dataclass(frozen=True)
class Lease:
    """A claimed offer.

    Attributes:
        token: Name of the lease.
        offer: The open segment.
        file: File of the lease, whose time of change is the heartbeat; None = in memory.
    """

    token: Token
    offer: Offer
    file: Path | None = None


class Leases(Protocol):
    """Open segments of a study, and the leases on them.

    `claim` and `renew` need no lock; all other methods are called by the process that holds the
    lock of the study.
    """

    def publish(self, assignments: Sequence[Assignment], describe: Describe) -> None:
        """Make these the open segments; those that are open or claimed already stay as they are.

        Args:
            assignments: All open segments.
            describe: Makes the offer of a segment that is neither.
        """

    def claim(self) -> Lease | None:
        """Claim the open segment with the fewest steps behind it; None = there is none."""

    def claim_expired(self, seconds: float) -> Lease | None:
        """Claim a segment whose lease was not renewed for so long; None = there is none."""

    def renew(self, token: Token) -> bool:
        """Renew a lease, and return whether it was still held."""

    def find(self, token: Token) -> Lease | None:
        """Return a lease; None = it is no longer held."""

    def reopen(self, lease: Lease, error: str) -> None:
        """Offer a leased segment again after a failed attempt."""


class MemoryLeases:
    """Leases of a study in memory."""

    def __init__(self) -> None:
        self._open: dict[SegmentId, Offer] = {}
        self._leases: dict[SegmentId, Lease] = {}
        self._heartbeats: dict[SegmentId, float] = {}

    def publish(self, assignments: Sequence[Assignment], describe: Describe) -> None:
        """Make these the open segments."""
        wanted = {assignment.id: assignment for assignment in assignments}
        self._leases = {key: lease for key, lease in self._leases.items() if key in wanted}
        self._open = {
            key: self._open[key] if key in self._open else describe(assignment)
            for key, assignment in wanted.items()
            if key not in self._leases
        }

    def claim(self) -> Lease | None:
        """Claim the open segment with the fewest steps behind it; None = there is none."""
        if not self._open:
            return None
        first = min(self._open, key=lambda key: (self._open[key].assignment.first_step, key))
        return self._lease(self._open.pop(first))

    def claim_expired(self, seconds: float) -> Lease | None:
        """Claim a segment whose lease was not renewed for so long; None = there is none."""
        now = time.time()
        for key, lease in self._leases.items():
            if now - self._heartbeats[key] > seconds:
                return self._lease(lease.offer)
        return None

    def _lease(self, offer: Offer) -> Lease:
        segment = offer.assignment.id
        self._leases[segment] = Lease(Token.new(segment), offer)
        self._heartbeats[segment] = time.time()
        return self._leases[segment]

    def renew(self, token: Token) -> bool:
        """Renew a lease, and return whether it was still held."""
        held = self.find(token) is not None
        if held:
            self._heartbeats[token.segment] = time.time()
        return held

    def find(self, token: Token) -> Lease | None:
        """Return a lease; None = it is no longer held."""
        lease = self._leases.get(token.segment)
        return lease if lease is not None and lease.token == token else None

    def reopen(self, lease: Lease, error: str) -> None:
        """Offer a leased segment again after a failed attempt."""
        del self._leases[lease.token.segment]
        offer = lease.offer
        self._open[lease.token.segment] = replace(offer, errors=(*offer.errors, error))


class FileLeases:
    """Leases of a study in a directory, which several processes of one machine share.

    Args:
        directory: Directory of the study.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folder = directory / "leases"

    def publish(self, assignments: Sequence[Assignment], describe: Describe) -> None:
        """Make these the open segments.

        Raises:
            RunError: The folder cannot be written, or a file in it lies elsewhere.
        """
        missing = {assignment.id: assignment for assignment in assignments}
        open_ids = set(missing)
        with self._errors():
            self._folder.mkdir(exist_ok=True)
            check_own(self._folder, files=(".json",))
            for path in leftovers(self._folder):
                path.unlink(missing_ok=True)
            for path, segment, _ in self._files():
                if segment not in open_ids:
                    path.unlink(missing_ok=True)
                missing.pop(segment, None)
            for assignment in missing.values():
                offer = describe(assignment)
                self._write(self._open_path(offer), offer)

    def claim(self) -> Lease | None:
        """Claim the open segment with the fewest steps behind it; None = there is none."""
        with self._errors():
            for path, segment, token in self._files():
                if token is None:
                    lease = self._take(path, Token.new(segment))
                    if lease is not None:
                        return lease
        return None

    def claim_expired(self, seconds: float) -> Lease | None:
        """Claim a segment whose lease was not renewed for so long; None = there is none."""
        with self._errors():
            for path, segment, token in self._files():
                if token is not None and time.time() - path.stat().st_mtime > seconds:
                    lease = self._take(path, Token.new(segment))
                    if lease is not None:
                        return lease
        return None

    def _take(self, path: Path, token: Token) -> Lease | None:
        """Rename a file to the lease of a token; None = another process was faster."""
        leased = path.with_name(f"{path.name.partition('-')[0]}-{token}.lease.json")
        try:
            # Before the rename, so that the lease never has the age of the offer.
            os.utime(path)
            os.rename(path, leased)
        except FileNotFoundError:
            return None
        return self.find(token)

    def renew(self, token: Token) -> bool:
        """Renew a lease, and return whether it was still held."""
        with self._errors():
            path = self._find(token)
            if path is None:
                return False
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def find(self, token: Token) -> Lease | None:
        """Return a lease; None = it is no longer held."""
        with self._errors():
            path = self._find(token)
            if path is None:
                return None
            try:
                offer = _read_offer(path, token.segment)
            except FileNotFoundError:
                return None
        return Lease(token, offer, path)

    def reopen(self, lease: Lease, error: str) -> None:
        """Offer a leased segment again after a failed attempt.

        If the process is killed between the two writes, the lease expires with its error.
        """
        assert lease.file is not None
        offer = replace(lease.offer, errors=(*lease.offer.errors, error))
        with self._errors():
            self._write(lease.file, offer)
            os.rename(lease.file, self._open_path(offer))

    def _find(self, token: Token) -> Path | None:
        found = (path for path, _, each in self._files() if each == token)
        return next(found, None)

    def _files(self) -> list[tuple[Path, SegmentId, Token | None]]:
        """Return path, segment and token of each file, in the order in which to train the segments."""
        if self._folder.is_symlink():
            raise RunError(f"{self._folder} is a symbolic link: put a folder in its place")
        found: list[tuple[int, SegmentId, str, Token | None]] = []
        with suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if match := _OPEN.fullmatch(name):
                    found.append((int(match[1]), (int(match[2]), int(match[3])), name, None))
                elif match := _LEASED.fullmatch(name):
                    token = Token.parse(match[2])
                    found.append((int(match[1]), token.segment, name, token))
        found.sort(key=lambda each: each[:3])
        return [(self._folder / name, segment, token) for _, segment, name, token in found]

    def _open_path(self, offer: Offer) -> Path:
        assignment = offer.assignment
        name = f"{assignment.first_step}-{assignment.member}-{assignment.interval}.open.json"
        return self._folder / name

    def _write(self, path: Path, offer: Offer) -> None:
        with replacing(path) as aside:
            aside.write_text(json.dumps(asdict(offer)), encoding="utf-8")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the errors of the file system into a `RunError`."""
        try:
            yield
        except OSError as error:
            raise RunError(
                f"the leases in {self._folder} cannot be read or written: {error.strerror or error}"
            ) from error


def _read_offer(path: Path, segment: SegmentId) -> Offer:
    """Read the offer of a segment from a file, which may have been altered.

    Raises:
        FileNotFoundError: The file does not exist any more.
        RunError: It holds no offer of this segment.
    """
    try:
        values = parse_json(read_bytes(path, TEXT))
        offer = _offer(values)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise RunError(f"{path} is damaged ({error}): delete it, and ask again") from None
    if offer.assignment.id != segment:
        raise RunError(f"{path} is of another segment: delete it, and ask again")
    return offer


def _offer(values: Any) -> Offer:
    """Return the offer of plain values. Raises an error unless they are of one."""
    assignment = dict(values["assignment"])
    source = assignment.pop("source")
    hparams = assignment["hparams"]
    counts = [assignment[name] for name in ("member", "interval", "seed", "first_step", "steps")]
    texts = [values["digest"], values["path"], *values["errors"]]
    if not all(type(count) is int for count in (*counts, *(source or ()))):
        raise ValueError("a count is no integer")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("an error or a path is no string")
    if not all(isinstance(value, bool | int | float | str) for value in hparams.values()):
        raise ValueError("a hyperparameter is no scalar")

    pair = None if source is None else (source[0], source[1])
    return Offer(
        Assignment(source=pair, **assignment),
        values["digest"],
        values["path"],
        tuple(values["errors"]),
    )
