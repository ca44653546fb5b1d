"""Storage: a folder that outlives this machine, by its URL: file://, s3:// and whatever else fsspec knows."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from popgrad.core.errors import RunError, UsageError

_ASIDE = ".part"


class Storage:
    """A folder of files by name; "/" within a name leads into a folder.

    Args:
        url: Such as "s3://bucket/runs/1" or "file:///mnt/shared/runs/1".

    Raises:
        UsageError: There is no such kind of storage, or what reads it is not installed. Every method raises
            `RunError` where the storage cannot be read or written.
    """

    def __init__(self, url: str) -> None:
        import fsspec  # takes a tenth of a second, and few need it; torch requires it

        self.url = url
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            needed = "pip install 'popgrad[s3]'" if url.startswith("s3:") else str(error)
            raise UsageError(
                f"storage: given {url!r}, which needs what is not installed: {needed}"
            ) from error
        except ValueError as error:
            raise UsageError(
                f"storage: given {url!r}: {error}; allowed is a URL such as s3://bucket/folder or "
                "file:///folder"
            ) from error
        self._root = self._root.rstrip("/")

    @contextmanager
    def _said(self) -> Iterator[Any]:
        """Turn what the many kinds raise into a `RunError`."""
        try:
            yield self._files
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(
                f"storage: given {self.url!r}, which is no folder; name one"
            ) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise RunError(f"the storage {self.url} cannot be read or written: {reason}") from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by name; nothing where there is no folder yet."""
        with self._said() as files:
            files.invalidate_cache()
            found = files.find(self._root, detail=True)
            sizes = {
                path.removeprefix(f"{self._root}/"): each["size"] for path, each in found.items()
            }
        return {name: size for name, size in sizes.items() if not name.endswith(_ASIDE)}

    def send(self, path: Path, name: str) -> None:
        """Copy a file there. Killed on the way, it may be there in part, which its size tells."""
        with self._said() as files:
            files.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            files.put_file(str(path), self._path(name))

    def replace(self, content: bytes, name: str) -> None:
        """Write a file, in place of one of that name, as a whole or not at all."""
        with self._said() as files:
            files.makedirs(self._root, exist_ok=True)
            aside = self._path(name + _ASIDE)
            files.pipe_file(aside, content)
            files.mv(aside, self._path(name))

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file from there."""
        with self._said() as files:
            files.get_file(self._path(name), str(path))

    def delete(self, names: Collection[str]) -> None:
        """Delete files."""
        with self._said() as files:
            if names:
                files.rm([self._path(name) for name in names])
