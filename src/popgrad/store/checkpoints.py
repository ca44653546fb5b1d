"""Checkpoints: immutable files, named by the digest of their state, loaded without running code."""

import json
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from popgrad.core.errors import RunError
from popgrad.gates.files import exists
from popgrad.gates.sizes import check_memory, parse_json, read_tensor_header
from popgrad.state import State, Tree, digest_leaves, flatten, unflatten
from popgrad.store.atomic import flush, overwrite
from popgrad.store.spares import SUFFIX as ASIDE
from popgrad.store.spares import SpareFiles

SUFFIX = ".safetensors"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_WRITING = re.compile(rf"\.[0-9a-f]+{re.escape(ASIDE)}")
_FORGERY_ERRORS = (
    LookupError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    RuntimeError,
    MemoryError,
)
"""Errors that a forged file can cause while it is read."""

_SMALL = 256 << 20
"""Bytes of a state that are loaded without comparing them with the network."""

_STATE_PER_NETWORK = 256
"""Most bytes of a state for a byte of its network: some optimizers keep a hundred earlier gradients."""


class MissingCheckpointError(RunError):
    """A checkpoint that is not there."""


class DamagedCheckpointError(RunError):
    """A checkpoint whose content is proven to be another than its name states."""


@dataclass(frozen=True)
class Checkpoints:
    """A folder of states. Equal states share a file, so that inheritance copies none.

    A lost checkpoint can be retrained from the record: the journal is the truth, this saves time.

    Attributes:
        folder: Folder of the files; created with the first one.
        durable: Whether each file is flushed to the disk before it gets its name.
    """

    folder: Path
    durable: bool = False

    def path(self, digest: str) -> Path:
        """Return the path of a digest. Raises `RunError` if the string is not a digest."""
        # The digest may come from a foreign file.
        if not _DIGEST.fullmatch(digest):
            raise RunError(f"{digest[:80]!r} is not the digest of a state")
        return self.folder / f"{digest}{SUFFIX}"

    def has(self, digest: str) -> bool:
        """Return whether the file of a digest exists.

        Raises:
            RunError: That cannot be found out now, for example for lack of a permission.
        """
        path = self.path(digest)
        try:
            return exists(path)
        except OSError as error:
            raise _unreadable(path, error) from error

    def wait(self, digests: Iterable[str], seconds: float) -> None:
        """Wait until files exist that are still being written, for at most `seconds` in all."""
        end = time.monotonic() + seconds
        for digest in digests:
            while not self.has(digest) and time.monotonic() < end:
                time.sleep(0.01)

    def write(self, digest: str, tree: Tree, leaves: Sequence[torch.Tensor]) -> None:
        """Write a state. The file gets its name once it is complete.

        Args:
            digest: Digest of the state.
            tree: Structure of the state, as `state.flatten` returns it.
            leaves: Tensors of the state, in the order of `state.flatten`.

        Raises:
            RunError: The folder cannot be written, or the disk is full; no file is left behind.
        """
        path = self.path(digest)
        if self.has(digest):
            # The file may come from a process that was killed before it flushed it.
            if self.durable:
                self._flush(path)
            return

        # Under its own name a file is complete: readers, and a resume after a kill, rely on it.
        content = _serialise(tree, leaves)
        aside = self.folder / f".{uuid.uuid4().hex}{ASIDE}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._spares.take(aside, len(content))
            overwrite(aside, content)
            if self.durable:
                flush(aside)
            os.replace(aside, path)
            if self.durable:
                self._flush()
        except OSError as error:
            raise RunError(
                f"the checkpoint {path} cannot be written: {error.strerror}; what is recorded stays"
            ) from error
        finally:
            # The file does not exist if all went well.
            with suppress(OSError):
                aside.unlink()

    @property
    def _spares(self) -> SpareFiles:
        return SpareFiles(self.folder)

    def _flush(self, *files: Path) -> None:
        """Flush files, and the names in the folder and in its parent, which may be new."""
        for path in (*files, self.folder, self.folder.parent):
            flush(path)

    def save(self, state: State) -> str:
        """Write a state, and return its digest."""
        tree, leaves = flatten(state)
        digest = digest_leaves(tree, leaves)
        self.write(digest, tree, leaves)
        return digest

    def load(self, digest: str, network_bytes: Callable[[], int | None] | None = None) -> State:
        """Return the state of a digest, in torch's own memory.

        Args:
            digest: Digest of the state.
            network_bytes: Returns the bytes of the network that the state belongs to, None = unknown. It is
                called for a large file, which is compared with it before it is loaded.

        Raises:
            MissingCheckpointError: There is no such file.
            DamagedCheckpointError: It is no whole checkpoint, or its content differs from its name.
            RunError: It cannot be read now, or holds what no state of this network can.
        """
        path = self.path(digest)
        if not self.has(digest):
            raise _missing(path)

        try:
            _check_size(path, network_bytes)
            tree, leaves = _read(path)
            content_digest = digest_leaves(tree, leaves)
            state = _whole(tree, leaves) if content_digest == digest else None
        except DamagedCheckpointError:
            if not self.has(digest):
                raise _missing(path) from None
            raise
        except OSError as error:
            if not self.has(digest):
                raise _missing(path) from None
            raise _unreadable(path, error) from error
        except _FORGERY_ERRORS as error:
            if not self.has(digest):
                raise _missing(path) from None
            raise RunError(
                f"{path} is not a checkpoint that can be read: {_reason(error)}"
            ) from error

        # The run of this directory has dropped and overwritten it meanwhile.
        if state is None and not self.has(digest):
            raise _missing(path)
        if state is None:
            raise DamagedCheckpointError(
                f"the checkpoint {path} was altered: its content has the digest "
                f"{content_digest[:12]}…"
            )
        return state

    def unneeded(self, digests: Collection[str]) -> list[Path]:
        """Return the files of all other states."""
        kept = set(digests)
        files = (path for path in self._files() if _is_ours(path) and path.stem not in kept)
        return [path for path in files if not path.is_dir()]

    def leftovers(self) -> list[Path]:
        """Return partial and spare files. While a process writes, its file is among them."""
        return [path for path in self._files() if _WRITING.fullmatch(path.name)]

    def _files(self) -> list[Path]:
        try:
            return sorted(self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.folder} cannot be read now: {error.strerror}") from error

    def retain(self, digests: Collection[str]) -> None:
        """Delete the files of all other states. Other processes may write meanwhile.

        Some files become spare files that later checkpoints overwrite; a file with a second name
        elsewhere never does.

        Raises:
            RunError: The folder cannot be read or written now.
        """
        unneeded = self.unneeded(digests)
        try:
            if unneeded and self.durable:
                # First the names of the files that replace them have to be on the disk.
                flush(self.folder)
            self._spares.drop(unneeded)
        except OSError as error:
            raise RunError(
                f"a checkpoint in {self.folder} cannot be deleted: {error.strerror}"
            ) from error


def _serialise(tree: Tree, leaves: Sequence[torch.Tensor]) -> bytes:
    """Return the content of a file that holds a state."""
    complex_leaves = [i for i, leaf in enumerate(leaves) if leaf.is_complex()]
    tensors = {
        # The format lacks complex128, so complex numbers are stored as pairs.
        str(i): torch.view_as_real(leaf) if i in complex_leaves else leaf
        for i, leaf in enumerate(leaves)
    }
    dense = {name: tensor.cpu().contiguous() for name, tensor in _apart(tensors).items()}
    metadata = {"popgrad": "1", "tree": json.dumps(tree), "complex": json.dumps(complex_leaves)}
    return serialise(dense, metadata=metadata)


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors that share memory with others, which the format refuses."""
    uses = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    return {
        name: tensor.clone() if uses[tensor.untyped_storage().data_ptr()] > 1 else tensor
        for name, tensor in tensors.items()
    }


def _missing(path: Path) -> RunError:
    return MissingCheckpointError(f"the checkpoint {path} is missing")


def _unreadable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"the checkpoint {path} cannot be read now ({error.strerror or _reason(error)}); it is kept: "
        "continue once the cause is gone"
    )


def _damaged(path: Path, error: Exception) -> RunError:
    return DamagedCheckpointError(f"{path} is not a checkpoint that can be read: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return the message of an error in one line; it may quote the content of a file, which can be long."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _is_ours(path: Path) -> bool:
    """Return whether a file has the name of a checkpoint; other files in the folder are never deleted."""
    return path.suffix == SUFFIX and _DIGEST.fullmatch(path.stem) is not None


def _check_size(path: Path, network_bytes: Callable[[], int | None] | None) -> None:
    """Refuse a file that is not whole, or that holds more than a state of its network can.

    Raises:
        OSError: The file cannot be read now, or does not fit into memory.
        DamagedCheckpointError: It is not a whole file of tensors.
        RunError: It is too large.
    """
    try:
        header = read_tensor_header(path)
        size = header.size
    except ValueError as error:
        raise _damaged(path, error) from None

    if size <= _SMALL:
        return

    expected = None if network_bytes is None else network_bytes()
    if expected is None and header.holes:
        raise RunError(
            f"the checkpoint {path} holds {size >> 20} MiB of holes: no run has written it"
        )
    if expected is not None and size > _SMALL + _STATE_PER_NETWORK * expected:
        raise RunError(
            f"the checkpoint {path} holds {size >> 20} MiB, but a network of {expected / 2**20:.1f} MiB has "
            "no state of that size: it is not a checkpoint of this run"
        )
    check_memory(size, path)


def _read(path: Path) -> tuple[Tree, list[torch.Tensor]]:
    """Return the tree that a file holds, which may be anything, and its leaves.

    Raises:
        DamagedCheckpointError: The file does not describe a state.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tree = parse_json(metadata["tree"])
            complex_leaves = set(parse_json(metadata["complex"]))
            leaves = [file.get_tensor(str(i)).clone() for i in range(len(file.keys()))]
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None
    return tree, [
        torch.view_as_complex(leaf) if i in complex_leaves else leaf
        for i, leaf in enumerate(leaves)
    ]


def _whole(tree: Tree, leaves: Sequence[torch.Tensor]) -> State:
    """Return the state of a tree that `flatten` could have returned: each leaf once, none left over.

    A matching digest proves that a file is whole, not that popgrad wrote it.
    """
    state = unflatten(tree, leaves)
    state_tree, state_leaves = flatten(state)
    same = state_tree == tree and len(state_leaves) == len(leaves)
    if not isinstance(state, dict) or not same:
        raise ValueError("its tree is not that of a state")
    return state
