"""Downloads of the known data sets; files are checked before they get their names."""

import http.client
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from popgrad.core.errors import DataError, UsageError
from popgrad.data.datasets import DataFile, Dataset, dataset_named, find_file
from popgrad.data.idx import content_md5
from popgrad.gates.files import exists, open_regular

Progress = Callable[[str, int, int | None], None]
"""Function to call with each piece: (file name, bytes so far, bytes in all or None)."""

_TIMEOUT = 30.0  # seconds without an answer or a byte, long for any of the mirrors
_TRIES = 20  # requests for one file to one mirror, before it is given up
_CHUNK = 1 << 16
_NO_CONNECTION = "no connection"  # the reason if the name of a mirror cannot be resolved
# Files of the known sets have at most 26 MB; a server must not fill the disk.
_MOST_BYTES = 1 << 28


def download(
    dataset: str | Dataset,
    directory: Path | str,
    *,
    mirrors: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Fetch a data set into `<directory>/<name>/`, where `load` finds it.

    A correct file is kept, and so are all four in `<directory>/` itself. Others are written to
    `<file>.part`, checked by the MD5 of their decompressed content, and only then renamed. A
    partial file of a broken connection is continued, also by a later call. If a mirror sends
    something else, or nothing, the next one is tried.

    Args:
        dataset: A name in `DATASETS`, or a description of your own.
        directory: Directory of data; created if it is missing.
        mirrors: http or https addresses to use instead of the data set's own; None = those.
        progress: Function to call with each piece that arrives; None = no call.

    Returns:
        Paths of the four files, in the order of `Dataset.files`.

    Raises:
        UsageError: No data set has that name, or a mirror is neither http nor https.
        DataError: The directory cannot be written, or no mirror has a file; with the reason of
            each.
    """
    known = dataset_named(dataset)
    addresses = [
        mirror if mirror.endswith("/") else f"{mirror}/" for mirror in mirrors or known.mirrors
    ]
    for address in addresses:
        if not address.startswith(("http://", "https://")):
            raise UsageError(f"mirror: expected an http:// or https:// address, got {address!r}")

    root = Path(directory).expanduser()
    folder = root / known.name
    beside = [find_file(root, file.name) for file in known.files]
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        if all(
            path and _is_right(path, file) for path, file in zip(beside, known.files, strict=True)
        ):
            return [path for path in beside if path]
        folder.mkdir(parents=True, exist_ok=True)
        return [_obtain(file, folder, addresses, progress) for file in known.files]
    except DataError as error:
        names = ", ".join(file.name for file in known.files)
        raise DataError(
            f"{error}; put the files ({names}, each also as .gz) into {folder}"
        ) from None
    except OSError as error:
        # These are errors of the disk: `_fetch_from` catches those of a mirror.
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another --dir"
        ) from None
    finally:
        with suppress(OSError):  # folders of this call stay only if they hold something
            for path in created:
                path.rmdir()


def _obtain(
    file: DataFile, folder: Path, mirrors: Sequence[str], progress: Progress | None
) -> Path:
    """Return the path of a correct file: the present one, or one fetched from a mirror."""
    present = find_file(folder, file.name)
    if present is not None and _is_right(present, file):
        return present

    target = folder / f"{file.name}.gz"
    part = folder / f"{file.name}.gz.part"
    report = partial(progress, target.name) if progress else _report_nothing
    reasons = []
    for mirror in mirrors:
        reason = None
        if not _is_right(part, file):
            reason = _fetch_from(f"{mirror}{target.name}", part, file, report)
        if reason is None:
            os.replace(part, target)
            return target
        reasons.append(f"{mirror}: {reason}")

    if reasons and all(reason.endswith(_NO_CONNECTION) for reason in reasons):
        hosts = " nor ".join(urllib.parse.urlsplit(mirror).netloc for mirror in mirrors)
        raise DataError(f"{target.name} could not be fetched: no connection to {hosts}")
    raise DataError(
        f"{target.name} could not be fetched: {'; '.join(reasons) or 'no mirror is known'}"
    )


def _report_nothing(done: int, total: int | None) -> None:
    """Report no progress: the default."""


def _is_right(path: Path, file: DataFile) -> bool:
    # A file that cannot be read now is not to be replaced: this raises the system's error.
    if exists(path):
        open_regular(path).close()
    try:
        return content_md5(path) == file.md5
    except DataError:
        # The file is absent, or its start alone exists.
        return False


def _fetch_from(
    url: str, part: Path, file: DataFile, report: Callable[[int, int | None], None]
) -> str | None:
    """Fetch a file from one mirror.

    Returns:
        None = the file is complete and correct; else the reason why it is not.
    """
    # Bytes from an earlier call or from another mirror may be wrong.
    inherited = _size(part) > 0
    reason = ""
    for _ in range(_TRIES):
        before = _size(part)
        try:
            _transfer(url, part, report)
        except (OSError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if isinstance(getattr(error, "reason", None), socket.gaierror):
                reason = _NO_CONNECTION
            if _size(part) <= before:
                return reason
            # The connection broke off after it brought something: continue from there.
            continue

        if _is_right(part, file):
            return None
        part.unlink()
        reason = f"it sends another file than {file.name} (the MD5 of the content differs)"
        if not inherited:
            return reason
        # The earlier part may be wrong, so the file is fetched once more from its
        # start.
        inherited = False
    return reason


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https alone; urllib's default also follows redirections to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _transfer(url: str, part: Path, report: Callable[[int, int | None], None]) -> None:
    """Send one request: append to the partial file, or start over if the server cannot."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with _opener().open(request, timeout=_TIMEOUT) as response:
            done = have if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            if done and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink()
                raise ConnectionError("it answered with another range than asked for")

            length = response.headers.get("Content-Length")
            total = done + int(length) if length and length.isdecimal() else None
            with part.open("ab" if done else "wb") as out:
                while chunk := response.read(_CHUNK):
                    done += out.write(chunk)
                    if done > _MOST_BYTES:
                        part.unlink()
                        raise ConnectionError(f"it sends more than {_MOST_BYTES} bytes")
                    report(done, total)

            if total is not None and done < total:
                raise ConnectionError(f"the connection closed after {done} of {total} bytes")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        # It is longer than the file can be.
        part.unlink()
        _transfer(url, part, report)
