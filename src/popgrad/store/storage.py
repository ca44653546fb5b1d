"""Storage that outlives this machine: a folder behind a URL such as file:// or s3://, read by fsspec."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from popgrad.core.errors import RunError, UsageError

_ASIDE = ".part"


class Storage:
    """A folder of files by name; "/" within a name leads into a subfolder.

    Every method raises `RunError` if the storage cannot be read or written.

    Args:
        url: URL of the folder, such as "s3://bucket/runs/1" or "file:///mnt/shared/runs/1".

    Raises:
        UsageError: The kind of storage is unknown, or the package that reads it is not installed.
    """

    def __init__(self, url: str) -> None:
        # Imported here, since it takes a tenth of a second and few runs need it. torch
        # requires it.
        import fsspec

        self.url = url
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            needed = "pip install 'popgrad[s3]'" if url.startswith("s3:") else str(error)
            raise UsageError(
                f"storage: {url!r} needs a package that is not installed: {needed}"
            ) from error
        except ValueError as error:
            raise UsageError(
                "storage: expected a URL such as s3://bucket/folder or file:///folder, "
                f"got {url!r}: {error}"
            ) from error
        self._root = self._root.rstrip("/")

    @contextmanager
    def _access(self) -> Iterator[Any]:
        """Give the file system, and turn the errors of its many kinds into a `RunError`."""
        try:
            yield self._files
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"storage: expected a folder, got {self.url!r}") from error
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise RunError(f"the storage {self.url} cannot be read or written: {reason}") from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def sizes(self) -> dict[str, int]:
        """Return the size of each file in bytes, by name; empty if the folder does not exist yet."""
        with self._access() as files:
            files.invalidate_cache()
            details = files.find(self._root, detail=True)
            sizes = {
                path.removeprefix(f"{self._root}/"): file["size"] for path, file in details.items()
            }
        return {name: size for name, size in sizes.items() if not name.endswith(_ASIDE)}

    def read(self, name: str, most: int) -> bytes | None:
        """Return the content of a small file; None = there is none of that name and size.

        Args:
            name: Name of the file.
            most: Largest size in bytes.
        """
        with self._access() as files:
            files.invalidate_cache()
            try:
                found = files.info(self._path(name))
                if found["type"] != "file" or found["size"] > most:
                    return None
                return bytes(files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def send(self, path: Path, name: str) -> None:
        """Upload a file.

        If this is killed, a part of the file may remain, which its size reveals.
        """
        with self._access() as files:
            files.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            files.put_file(str(path), self._path(name))

    def replace(self, content: bytes, name: str) -> None:
        """Write a file as a whole or not at all; it replaces one of the same name."""
        with self._access() as files:
            files.makedirs(self._root, exist_ok=True)
            aside = self._path(name + _ASIDE)
            files.pipe_file(aside, content)
            files.mv(aside, self._path(name))

    def fetch(self, name: str, path: Path) -> None:
        """Download a file."""
        with self._access() as files:
            files.get_file(self._path(name), str(path))

    def delete(self, names: Collection[str]) -> None:
        """Delete files."""
        with self._access() as files:
            if names:
                files.rm([self._path(name) for name in names])
