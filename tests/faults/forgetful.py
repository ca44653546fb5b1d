"""A file system that forgets: what a folder may hold after the power has failed, at any moment.

`recording` notes in order what reaches the files below a folder: what SQLite writes, by a layer between it
and the files; all else by looking before and after each call that opens, renames, deletes or flushes. `image`
builds the folder as it may be found after the first so many of these events. It takes POSIX at its word:
content is safe once its file was flushed, a name once its folder was. What was not is kept, lost or torn, as
a seed has it.
"""

import builtins
import ctypes
import io
import os
import random
import sqlite3  # noqa: F401  # what it loads is looked for below
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any
from unittest.mock import patch

SECTOR = 512  # bytes that a disk writes as a whole
TOP = Path()


# --- what happens ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """A file (by number) got bytes at an offset; None = it was cut there."""

    of: int
    offset: int
    data: bytes | None


@dataclass(frozen=True)
class Named:
    """A folder (by path below the top) lost a name, got one for a file or folder, or both: a renaming."""

    of: Path
    gone: str | None
    made: str | None
    what: int | Path


@dataclass(frozen=True)
class Flushed:
    """A file or a folder is on the disk as it was then."""

    of: int | Path


Event = Written | Named | Flushed


# --- what is found afterwards ----------------------------------------------------------------------------


def image(happened: Sequence[Event], seed: object, target: Path) -> None:
    """Make `target` hold what may be left after these events.

    Args:
        happened: A recorder's first events; `target` stands for the folder that it watched, empty at first.
        seed: Decides what is left of that which was not flushed when the power fails; None = all of it is, as
            where a process is killed.
        target: A folder that does not exist.
    """
    rng = random.Random(repr(seed))
    chance = 1.0 if seed is None else rng.choice((0.0, 0.5, 0.9))  # all is lost, much is, little is
    flushed = {event.of: i for i, event in enumerate(happened) if isinstance(event, Flushed)}
    files: dict[int, bytearray] = {}
    folders: dict[Path, dict[str, int | Path]] = {}
    for i, event in enumerate(happened):
        safe = i < flushed.get(event.of, -1)
        if isinstance(event, Named) and (safe or rng.random() < chance):
            names = folders.setdefault(event.of, {})
            if event.gone is not None:
                names.pop(event.gone, None)
            if event.made is not None:
                names[event.made] = event.what
        if isinstance(event, Written) and (safe or rng.random() < chance):
            torn = not safe and seed is not None and rng.random() < 0.3
            _write(files.setdefault(event.of, bytearray()), event, rng if torn else None)
    _build(TOP, target, folders, files)


def _write(content: bytearray, event: Written, rng: random.Random | None) -> None:
    """Do it, or, where a generator is given, to some sectors only; the others stay as they are, or zero."""
    if event.data is None:
        del content[event.offset :]
        return
    end = event.offset + len(event.data)
    content.extend(bytes(max(0, end - len(content))))
    begin = event.offset
    while begin < end:
        until = min(end, (begin // SECTOR + 1) * SECTOR)
        if rng is None or rng.random() < 0.5:
            content[begin:until] = event.data[begin - event.offset : until - event.offset]
        begin = until


def _build(
    folder: Path,
    target: Path,
    folders: dict[Path, dict[str, int | Path]],
    files: dict[int, bytearray],
) -> None:
    target.mkdir()
    for name, what in folders.get(folder, {}).items():
        if isinstance(what, Path):
            _build(what, target / name, folders, files)
        else:
            (target / name).write_bytes(files.get(what, b""))


# --- noting it -------------------------------------------------------------------------------------------


@dataclass
class Recorder:
    """What has reached the files below a folder, in order.

    Attributes:
        top: The folder, empty at first; without links in its path.
        events: So far.
        lock: Held by whoever changes names, so that a look finds them at rest.
    """

    top: Path
    events: list[Event] = field(default_factory=list)
    lock: Any = field(default_factory=RLock)
    _names: dict[Path, tuple[int, int | Path]] = field(
        default_factory=dict
    )  # path -> inode, file or folder
    _contents: list[bytes | None] = field(default_factory=list)  # by file; None: SQLite tells of it

    def look(self) -> None:
        """Note what has changed since the last look: names, and contents of files that are not SQLite's."""
        found = {
            path.relative_to(self.top): path
            for path in sorted(self.top.rglob("*"))
            if not path.name.endswith(
                "-shm"
            )  # made anew by whoever opens first; it takes no part in recovery
        }
        inodes = {name: path.stat().st_ino for name, path in found.items()}
        left = {
            inode: name for name, (inode, _) in self._names.items() if inodes.get(name) != inode
        }
        for name, inode in inodes.items():
            if name in self._names and self._names[name][0] == inode:
                continue
            old = left.pop(inode, None)
            if old is not None:
                assert old.parent == name.parent, "nothing is moved between folders here"
                what = self._names.pop(old)[1]
            else:
                what = name if found[name].is_dir() else self._new_file()
            self._names[name] = inode, what
            self.events.append(Named(name.parent, old and old.name, name.name, what))
        for name in left.values():
            if (
                name not in inodes
            ):  # else another has taken the name, and what it stood for is gone with that
                self.events.append(Named(name.parent, name.name, None, self._names.pop(name)[1]))
        for name, (_, what) in self._names.items():
            if isinstance(what, int) and (before := self._contents[what]) is not None:
                with io.FileIO(found[name]) as file:  # what `open` is while recording comes here
                    self._compare(what, before, file.readall())

    def _new_file(self) -> int:
        self._contents.append(b"")
        return len(self._contents) - 1

    def _compare(self, file: int, before: bytes, now: bytes) -> None:
        kept = len(before) if now.startswith(before) else 0
        if kept < len(before):
            self.events.append(Written(file, kept, None))
        if kept < len(now):
            self.events.append(Written(file, kept, now[kept:]))
        self._contents[file] = now

    def told(self, path: Path) -> int | None:
        """The number of a file that SQLite has opened, and tells of from now on; None = it lies elsewhere."""
        self.look()
        if not path.is_relative_to(self.top):
            return None
        what = self._names[path.relative_to(self.top)][1]
        assert isinstance(what, int)
        self._contents[what] = None
        return what

    def flushed(self, inode: int) -> None:
        """Note that a file or folder is flushed, if it is one of these."""
        self.look()
        known = {self.top.stat().st_ino: TOP, **dict(self._names.values())}
        if inode in known:
            self.events.append(Flushed(known[inode]))


@contextmanager
def recording(top: Path) -> Iterator[Recorder]:
    """Note what this process does below a folder, which is empty. Needs the `sqlite_library`."""
    recorder = Recorder(top)
    library = sqlite_library()
    assert library is not None
    with ExitStack() as stack:
        for place, name in (
            *(
                (os, name)
                for name in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "open")
            ),
            *((io, "open"), (builtins, "open")),
        ):
            stack.enter_context(patch.object(place, name, _around(getattr(place, name), recorder)))
        for name in ("fsync", "fdatasync"):
            stack.enter_context(patch.object(os, name, _flushing(getattr(os, name), recorder)))
        stack.enter_context(_between(library).telling(recorder))
        yield recorder
        recorder.look()


def _around(original: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    """Look before it and after it: it changes names, or may empty a file."""

    def call(*args: Any, **given: Any) -> Any:
        with recorder.lock:
            recorder.look()
            try:
                return original(*args, **given)
            finally:
                recorder.look()

    return call


def _flushing(original: Callable[[Any], None], recorder: Recorder) -> Callable[[Any], None]:
    def call(file: Any) -> None:
        with recorder.lock:
            original(file)
            recorder.flushed(os.fstat(file if isinstance(file, int) else file.fileno()).st_ino)

    return call


# --- between SQLite and the files ------------------------------------------------------------------------

_Open = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_int, ctypes.c_void_p)
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_Write = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_Folder = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_SetCall = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_GetCall = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)


class _Vfs(ctypes.Structure):
    """SQLite's `sqlite3_vfs`, version 3."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("sizes", ctypes.c_int * 2),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("delete", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 11),
        ("set_call", ctypes.c_void_p),
        ("get_call", ctypes.c_void_p),
        ("next_call", ctypes.c_void_p),
    )


_METHODS = 1 + 18  # words of `sqlite3_io_methods`, version 3: the version, then functions
_WRITE, _TRUNCATE, _SYNC = 3, 4, 5  # which of them
_File = ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p * _METHODS))  # a file begins with its methods


@cache
def sqlite_library() -> ctypes.CDLL | None:
    """The library that the module sqlite3 uses, where it is one of its own and tells of its files."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    paths = {line.split()[-1] for line in maps.splitlines() if "/libsqlite3." in line}
    if len(paths) != 1:
        return None
    library = ctypes.CDLL(paths.pop())
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    return library if library.sqlite3_vfs_find(None).contents.version == 3 else None


@cache  # kept for good: a connection may outlive its test
def _between(library: ctypes.CDLL) -> "_Between":
    return _Between(library)


class _Between:
    """A layer (a "VFS") over SQLite's own, which tells a recorder what it does to files and folders."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._below = library.sqlite3_vfs_find(None)
        below = self._below.contents
        self._open, self._delete = _Open(below.open), _Delete(below.delete)
        self._vfs = _Vfs.from_buffer_copy(below)
        self._recorder: Recorder | None = None
        self._numbers: dict[int, int] = {}  # address of SQLite's file -> number
        self._methods: dict[int, Any] = {}  # address of the original's table -> ours
        self._call = _Folder(_GetCall(below.get_call)(self._below, b"openDirectory"))
        self._kept = _Open(self._opened), _Delete(self._deleted), _Folder(self._folder_opened)
        self._vfs.name = b"forgetful"
        self._vfs.open, self._vfs.delete = (
            ctypes.cast(each, ctypes.c_void_p) for each in self._kept[:2]
        )

    @contextmanager
    def telling(self, recorder: Recorder) -> Iterator[None]:
        """Be what SQLite opens files with, unless told otherwise."""
        set_call = _SetCall(self._below.contents.set_call)
        self._recorder = recorder
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)
        set_call(self._below, b"openDirectory", ctypes.cast(self._kept[2], ctypes.c_void_p))
        try:
            yield
        finally:
            set_call(self._below, b"openDirectory", None)
            self._library.sqlite3_vfs_register(self._below, 1)
            self._recorder = None
            self._numbers.clear()

    def _opened(self, _: int, path: int | None, file: int, flags: int, got: int) -> int:
        recorder = self._recorder
        self._numbers.pop(file, None)
        if path is None or recorder is None:
            return self._open(self._below, path, file, flags, got)
        with recorder.lock:
            recorder.look()
            code = self._open(self._below, path, file, flags, got)
            number = recorder.told(Path(os.fsdecode(ctypes.string_at(path)))) if code == 0 else None
        if number is not None:
            self._numbers[file] = number
            methods = ctypes.cast(file, _File)
            methods[0] = self._ours(methods[0])
        return code

    def _ours(self, methods: Any) -> Any:
        """The same methods, but for those that tell."""
        at = ctypes.addressof(methods.contents)
        if at not in self._methods:
            table = (ctypes.c_void_p * _METHODS).from_buffer_copy(methods.contents)
            write, truncate, sync = (
                _Write(table[_WRITE]),
                _Truncate(table[_TRUNCATE]),
                _Sync(table[_SYNC]),
            )

            def written(file: int, data: int, size: int, offset: int) -> int:
                self._tell(
                    file, lambda number: Written(number, offset, ctypes.string_at(data, size))
                )
                return write(file, data, size, offset)

            def truncated(file: int, size: int) -> int:
                self._tell(file, lambda number: Written(number, size, None))
                return truncate(file, size)

            def synced(file: int, flags: int) -> int:
                self._tell(file, Flushed)  # before it, since it may flush the folder after the file
                return sync(file, flags)

            ours = _Write(written), _Truncate(truncated), _Sync(synced)
            for index, each in zip((_WRITE, _TRUNCATE, _SYNC), ours, strict=True):
                table[index] = ctypes.cast(each, ctypes.c_void_p).value
            self._methods[at] = ctypes.pointer(table), ours
        return self._methods[at][0]

    def _tell(self, file: int, event: Callable[[int], Event]) -> None:
        if self._recorder is not None and file in self._numbers:
            with self._recorder.lock:
                self._recorder.look()
                self._recorder.events.append(event(self._numbers[file]))

    def _deleted(self, _: int, path: int, sync: int) -> int:
        if self._recorder is None:
            return self._delete(self._below, path, sync)
        with self._recorder.lock:
            self._recorder.look()
            code = self._delete(self._below, path, sync)
            self._recorder.look()
        return code

    def _folder_opened(self, path: bytes, got: int) -> int:
        """SQLite opens the folder of a file only in order to flush it, which it does next."""
        if self._recorder is not None:
            with self._recorder.lock:
                self._recorder.flushed(Path(os.fsdecode(path)).parent.stat().st_ino)
        return self._call(path, got)
