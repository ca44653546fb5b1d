"""Checkpoints: immutable files, named by the digest of the state they hold, loaded without running code."""

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from popgrad.core.errors import RunError
from popgrad.state import State, Tree, digest_leaves, flatten, unflatten

SUFFIX = ".safetensors"
_ASIDE = ".part"


@dataclass(frozen=True)
class Checkpoints:
    """A folder of states. Equal states share a file, so that inheriting copies none.

    Attributes:
        folder: Where they lie; made when the first one is written.
    """

    folder: Path

    def path(self, digest: str) -> Path:
        """Where the state of a digest lies, or would lie."""
        return self.folder / f"{digest}{SUFFIX}"

    def write(self, digest: str, tree: Tree, leaves: Sequence[torch.Tensor]) -> None:
        """Keep a state that was taken apart by `state.flatten`: written aside, then renamed.

        Raises:
            RunError: The folder cannot be written, or the disk is full; nothing is left behind.
        """
        path = self.path(digest)
        if path.exists():
            return
        parts = [i for i, leaf in enumerate(leaves) if leaf.is_complex()]  # the format lacks complex128
        tensors = {str(i): torch.view_as_real(leaf) if i in parts else leaf for i, leaf in enumerate(leaves)}
        content = serialise(
            {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()},
            metadata={"popgrad": "1", "tree": json.dumps(tree), "complex": json.dumps(parts)},
        )
        aside = self.folder / f".{uuid.uuid4().hex}{_ASIDE}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(content)
            os.replace(aside, path)
        except OSError as error:
            raise RunError(f"the checkpoint {path} cannot be written: {error}") from error
        finally:
            with suppress(OSError):  # it is gone when all went well
                aside.unlink()

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
            raise RunError(f"the checkpoint {path} is missing")
        try:
            with safe_open(path, framework="pt") as file:
                tree, parts = (json.loads(file.metadata()[key]) for key in ("tree", "complex"))
                leaves = [file.get_tensor(str(i)).clone() for i in range(len(file.keys()))]
            leaves = [torch.view_as_complex(leaf) if i in parts else leaf for i, leaf in enumerate(leaves)]
            found = digest_leaves(tree, leaves)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise RunError(f"{path} is not a checkpoint that can be read: {error}") from error
        if found != digest:
            raise RunError(f"the checkpoint {path} was altered: its content has the digest {found[:12]}…")
        return unflatten(tree, leaves)  # type: ignore[no-any-return]

    def retain(self, digests: Iterable[str]) -> None:
        """Delete every checkpoint but these, and what a killed writer has left. Not while others write."""
        if not self.folder.is_dir():
            return
        kept = {f"{digest}{SUFFIX}" for digest in digests}
        for path in self.folder.iterdir():
            if path.suffix in (SUFFIX, _ASIDE) and path.name not in kept:
                path.unlink(missing_ok=True)
