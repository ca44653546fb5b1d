"""Checkpoints: immutable files named by the digest of the state that they hold, loaded without executing code."""

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from popgrad.core.errors import RunError
from popgrad.state import State, Tree, digest_leaves, flatten, unflatten

SUFFIX = ".safetensors"


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
        """Keep a state that was taken apart by `state.flatten`: written aside, then renamed."""
        path = self.path(digest)
        if path.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {str(i): leaf.cpu().contiguous().clone() for i, leaf in enumerate(leaves)}
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", suffix=".part", delete=False) as aside:
            pass
        try:
            save_file(tensors, aside.name, metadata={"popgrad": "1", "tree": json.dumps(tree)})
            os.replace(aside.name, path)
        except BaseException:
            Path(aside.name).unlink(missing_ok=True)
            raise

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
                tree = json.loads(file.metadata()["tree"])
                leaves = [file.get_tensor(str(i)).clone() for i in range(len(file.keys()))]
            found = digest_leaves(tree, leaves)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise RunError(f"{path} is not a checkpoint that can be read: {error}") from error
        if found != digest:
            raise RunError(f"the checkpoint {path} was altered: its content has the digest {found[:12]}…")
        return unflatten(tree, leaves)  # type: ignore[no-any-return]

    def retain(self, digests: Iterable[str]) -> None:
        """Delete every checkpoint but these, and what a killed writer has left."""
        if not self.folder.is_dir():
            return
        kept = {f"{digest}{SUFFIX}" for digest in digests}
        for path in self.folder.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)
