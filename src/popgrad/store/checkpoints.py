"""Checkpoints: immutable files, named by the digest of the state they hold, loaded without running code."""

import json
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from popgrad.core.errors import RunError
from popgrad.state import State, Tree, digest_leaves, flatten, unflatten
from popgrad.store.atomic import flush, overwrite

SUFFIX = ".safetensors"
_ASIDE = ".part"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_WRITING = re.compile(rf"\.[0-9a-f]+{re.escape(_ASIDE)}")
_SPARES = 64
"""Files of states that nobody needs any more, at most, that are written over by the next ones."""
_WORTH = 2**16
"""Bytes of a file from which on that takes less time than to delete one and make another."""
_FOREIGN = (
    OSError,
    LookupError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    RuntimeError,
)
"""What comes of a file that somebody else has made up."""


@dataclass(frozen=True)
class Checkpoints:
    """A folder of states. Equal states share a file, so that inheriting copies none.

    What is lost here can be trained again from the record: the journal is the truth, this saves time.

    Attributes:
        folder: Where they lie; made when the first one is written.
        durable: Whether each is flushed to the disk before it has its name.
    """

    folder: Path
    durable: bool = False

    def path(self, digest: str) -> Path:
        """Where the state of a digest lies, or would lie. Raises `RunError` where it is no digest."""
        if not _DIGEST.fullmatch(digest):  # it may come from a file of somebody else's
            raise RunError(f"{digest[:80]!r} is not the digest of a state")
        return self.folder / f"{digest}{SUFFIX}"

    def has(self, digest: str) -> bool:
        """Whether there is a file for a digest."""
        return self.path(digest).exists()

    def wait(self, digests: Iterable[str], seconds: float) -> None:
        """Wait for what is still being written, for so long at most: it may never come."""
        end = time.monotonic() + seconds
        for digest in digests:
            while not self.has(digest) and time.monotonic() < end:
                time.sleep(0.01)

    def write(self, digest: str, tree: Tree, leaves: Sequence[torch.Tensor]) -> None:
        """Keep a state that was taken apart by `state.flatten`: written aside, then renamed.

        Raises:
            RunError: The folder cannot be written, or the disk is full; nothing is left behind.
        """
        path = self.path(digest)
        if path.exists():
            if self.durable:  # it may be from a process that was killed before it had flushed it
                self._flush(path)
            return
        parts = [
            i for i, leaf in enumerate(leaves) if leaf.is_complex()
        ]  # the format lacks complex128
        tensors = {
            str(i): torch.view_as_real(leaf) if i in parts else leaf
            for i, leaf in enumerate(leaves)
        }
        content = serialise(
            {name: tensor.cpu().contiguous() for name, tensor in _apart(tensors).items()},
            metadata={"popgrad": "1", "tree": json.dumps(tree), "complex": json.dumps(parts)},
        )
        aside = self.folder / f".{uuid.uuid4().hex}{_ASIDE}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if len(content) >= _WORTH:
                self._take_spare(aside)
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
            with suppress(OSError):  # it is gone when all went well
                aside.unlink()

    def _take_spare(self, path: Path) -> None:
        """Have a spare file at a path, if there is one that no other process takes first."""
        for spare in self._spares():
            with suppress(OSError):
                os.rename(spare, path)
                return

    def _spares(self) -> Iterator[Path]:
        """Where spare files lie. What is there is among the leftovers of a run that was killed."""
        return (self.folder / f".{number:02x}{_ASIDE}" for number in range(_SPARES))

    def _flush(self, *files: Path) -> None:
        """Have files and the names of all on the disk: of the folder too, which may be new."""
        for each in (*files, self.folder, self.folder.parent):
            flush(each)

    def save(self, state: State) -> str:
        """Keep a state; returns its digest."""
        tree, leaves = flatten(state)
        digest = digest_leaves(tree, leaves)
        self.write(digest, tree, leaves)
        return digest

    def load(self, digest: str) -> State:
        """The state of a digest, in torch's own memory.

        Raises:
            RunError: There is no such file, it is not ours, or its content is not what its name says.
        """
        path = self.path(digest)
        if not path.exists():
            raise _missing(path)
        try:
            tree, leaves = _read(path)
            found = digest_leaves(tree, leaves)
            state = _whole(tree, leaves) if found == digest else None
        except (*_FOREIGN, SafetensorError) as error:
            if not path.exists():
                raise _missing(path) from None
            reason = " ".join(str(error).split())[:200]  # it may quote what is in the file
            raise RunError(f"{path} is not a checkpoint that can be read: {reason}") from error
        if (
            state is None and not path.exists()
        ):  # its run has let go of it meanwhile, and written over it
            raise _missing(path)
        if state is None:
            raise RunError(
                f"the checkpoint {path} was altered: its content has the digest {found[:12]}…"
            )
        return state

    def unneeded(self, digests: Collection[str]) -> list[Path]:
        """The files of all other states."""
        kept = set(digests)
        return [path for path in self._files() if _is_ours(path) and path.stem not in kept]

    def leftovers(self) -> list[Path]:
        """What writers that were killed have left. While others write, theirs is among it."""
        return [path for path in self._files() if _WRITING.fullmatch(path.name)]

    def _files(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.is_dir() else []

    def retain(self, digests: Collection[str]) -> None:
        """Let every other state go. Others may write meanwhile.

        Some of their files are kept to be written over; none that has a second name elsewhere.
        """
        unneeded = self.unneeded(digests)
        if unneeded and self.durable:
            flush(self.folder)  # what takes their place first
        free = (spare for spare in self._spares() if not spare.exists())
        for path in unneeded:
            with suppress(FileNotFoundError):
                known = path.stat()
                spare = (
                    next(free, None) if known.st_nlink == 1 and known.st_size >= _WORTH else None
                )
                if spare is None:
                    path.unlink()
                else:
                    path.rename(spare)


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors, copied where several lie in one piece of memory, which the format refuses."""
    places = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    return {
        name: tensor.clone() if places[tensor.untyped_storage().data_ptr()] > 1 else tensor
        for name, tensor in tensors.items()
    }


def _missing(path: Path) -> RunError:
    return RunError(f"the checkpoint {path} is missing")


def _is_ours(path: Path) -> bool:
    """Whether a file has the name of a checkpoint: what else lies in the folder is not deleted."""
    return path.suffix == SUFFIX and _DIGEST.fullmatch(path.stem) is not None


def _read(path: Path) -> tuple[Tree, list[torch.Tensor]]:
    """A file taken apart: the tree as it says, which may be anything, and the leaves."""
    if not path.is_file():  # a pipe would keep its reader waiting
        raise ValueError("it is no file")
    with safe_open(path, framework="pt") as file:
        tree, parts = (json.loads(file.metadata()[key]) for key in ("tree", "complex"))
        leaves = [file.get_tensor(str(i)).clone() for i in range(len(file.keys()))]
    return tree, [
        torch.view_as_complex(leaf) if i in parts else leaf for i, leaf in enumerate(leaves)
    ]


def _whole(tree: Tree, leaves: Sequence[torch.Tensor]) -> State:
    """The state of a tree, which has to be one that `flatten` makes: each leaf once, nothing left over.

    A digest says that a file is whole, and nothing of who made it.
    """
    state = unflatten(tree, leaves)
    again, found = flatten(state)
    if not isinstance(state, dict) or again != tree or len(found) != len(leaves):
        raise ValueError("its tree is not that of a state")
    return state
