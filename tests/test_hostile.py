"""Files of somebody else's making: each is used, or refused in one line; nothing in it is ever executed."""

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from popgrad.core.errors import RunError
from popgrad.state import digest, digest_leaves
from popgrad.store.checkpoints import Checkpoints

ZEROS = torch.zeros(3)


@pytest.fixture(autouse=True)
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of one's own; code that is executed leaves a mark in it, and fails the test."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "executed").exists()


class Exploit:
    """Executed when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def torch_file(path: Path) -> None:
    torch.save({"model": Exploit()}, path)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../executed/x", b"")
        file.writestr("archive/data.pkl", pickle.dumps(Exploit()))


def header(size: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(struct.pack("<Q", size) + b"{}") and None


def tensor(**changes: Any) -> Callable[[Path], None]:
    """A safetensors file with one tensor, whose description is changed."""
    described = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12], **changes}
    about = {"__metadata__": {"tree": '{"d": [["x", {"t": 0}]]}', "complex": "[]"}, "0": described}
    text = json.dumps(about).encode()
    return lambda path: path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(12)) and None


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "pickle": lambda path: path.write_bytes(pickle.dumps(Exploit())),
    "torch.save": torch_file,
    "zip": archive,
    "nothing": lambda path: path.touch(),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "header without end": header(2**60),
    "header of all": header(2**64 - 1),
    "deep header": lambda path: path.write_bytes(struct.pack("<Q", 800_000) + b'{"a":' * 160_000),
    "shape overflows": tensor(shape=[2**33, 2**33]),
    "shape overflows at zero": tensor(shape=[2**62, 2**62, 0], data_offsets=[0, 0]),
    "shape below zero": tensor(shape=[-3]),
    "shape of many": tensor(shape=[3] + [1] * 10_000),
    "shape that is a text": tensor(shape="3"),
    "offsets beyond the end": tensor(data_offsets=[0, 2**40]),
    "unknown type": tensor(dtype="PICKLE"),
}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    made = Checkpoints(tmp_path / "checkpoints")
    made.folder.mkdir()
    return made


@pytest.mark.parametrize("what", FOREIGN)
def test_a_checkpoint_that_is_another_file_is_refused(checkpoints: Checkpoints, what: str) -> None:
    name = "0" * 64
    FOREIGN[what](checkpoints.path(name))
    with pytest.raises(RunError, match=r"^[^\n]*0\.safetensors[^\n]*$"):
        checkpoints.load(name)


TREES: dict[str, tuple[Any, int]] = {  # the tree, and how many leaves there are
    "a leaf that is not there": ({"d": [["x", {"t": 1}]]}, 1),
    "a leaf below zero": ({"d": [["x", {"t": -1}]]}, 1),
    "a huge leaf": ({"d": [["x", {"t": 10**30}]]}, 1),
    "a leaf with a text": ({"d": [["x", {"t": "0"}]]}, 1),
    "a leaf with a fraction": ({"d": [["x", {"t": 0.5}]]}, 1),
    "a leaf twice": ({"d": [["x", {"t": 0}], ["y", {"t": 0}]]}, 1),
    "a leaf left over": ({"d": []}, 1),
    "an unknown kind": ({"d": [["x", {"pickle": "gASV"}]]}, 0),
    "two kinds": ({"d": [["x", {"t": 0, "n": 0}]]}, 1),
    "no kind": ({"d": [["x", {}]]}, 0),
    "no float": ({"d": [["x", {"f": "__import__('os')"}]]}, 0),
    "a float of another type": ({"d": [["x", {"f": 5}]]}, 0),
    "a float beyond all": ({"d": [["x", {"f": "0x1p99999"}]]}, 0),
    "a float in another way": ({"d": [["x", 0.5]]}, 0),
    "no pairs": ({"d": 5}, 0),
    "a pair of one": ({"d": [["x"]]}, 0),
    "a key that is a list": ({"d": [[["x"], 1]]}, 0),
    "a key that is nothing": ({"d": [[None, 1]]}, 0),
    "a key twice": ({"d": [["x", 1], ["x", 2]]}, 0),
    "a list that is a text": ({"d": [["x", {"l": "abc"}]]}, 0),
    "a list that is a number": ({"d": [["x", {"u": 3}]]}, 0),
    "a bare list": ([1, 2], 0),
    "a bare number": (5, 0),
    "a list at the top": ({"l": [1]}, 0),
}


@pytest.mark.parametrize("what", TREES)
def test_a_tree_that_no_state_has_is_refused_though_its_digest_is_right(
    checkpoints: Checkpoints, what: str
) -> None:
    tree, count = TREES[what]
    leaves = [ZEROS.clone() for _ in range(count)]
    name = digest_leaves(tree, leaves)
    about = {"popgrad": "1", "tree": json.dumps(tree), "complex": "[]"}
    checkpoints.path(name).write_bytes(save({str(i): leaf for i, leaf in enumerate(leaves)}, metadata=about))
    with pytest.raises(RunError, match=r"is not a checkpoint that can be read: [^\n]+$"):
        checkpoints.load(name)


@pytest.mark.parametrize(
    ("tree", "parts"),
    [
        ("[" * 100_000, "[]"),
        ('{"d": [["k", ' * 320 + "1" + "]]}" * 320, "[]"),
        ("9" * 100_000, "[]"),
        ("[" + "[]," * 300_000 + "[]]", "[]"),
        ('{"d": [["x", {"t": 0}]]}', "[0]"),  # no complex number
        ('{"d": [["x", {"t": 0}]]}', "5"),
        ('{"d": [["x", {"t": 0}]]}', "{"),
    ],
    ids=["deep", "a deep tree", "a huge number", "long", "not complex", "no list", "no JSON"],
)
def test_what_a_checkpoint_says_of_itself_may_be_anything(
    checkpoints: Checkpoints, tree: str, parts: str
) -> None:
    name = "0" * 64
    save_file({"0": ZEROS}, checkpoints.path(name), metadata={"tree": tree, "complex": parts})
    with pytest.raises(RunError, match=r"^[^\n]{1,600}$"):
        checkpoints.load(name)


def test_files_of_others_are_not_deleted(checkpoints: Checkpoints, tmp_path: Path) -> None:
    others = tmp_path / "models"
    others.mkdir()
    for name in ("mine.safetensors", "half.part", "notes.txt"):
        (others / name).touch()
    checkpoints.folder.rmdir()
    checkpoints.folder.symlink_to(others)  # as somebody may hand a run on
    kept = checkpoints.save({"x": 1})
    assert checkpoints.leftovers() == []
    checkpoints.retain([])
    assert kept == digest({"x": 1})
    assert sorted(os.listdir(others)) == ["half.part", "mine.safetensors", "notes.txt"]
