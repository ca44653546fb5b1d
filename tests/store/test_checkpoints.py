import math
import os
import pickle
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from popgrad.core.errors import RunError
from popgrad.state import State, digest, flatten
from popgrad.store.checkpoints import Checkpoints

DTYPES = (
    *(
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.complex64,
        torch.complex128,
    ),
    *(
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.uint16,
        torch.int32,
        torch.uint32,
        torch.int64,
        torch.uint64,
    ),
    *(torch.bool, torch.float8_e4m3fn, torch.float8_e5m2),
)
STATE = {"weights": {"w": torch.arange(6.0).view(2, 3)}, "steps": 7}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def names(checkpoints: Checkpoints) -> set[str]:
    return set(os.listdir(checkpoints.folder)) if checkpoints.folder.exists() else set()


def same(a: Any, b: Any) -> bool:
    """Equal in structure, types and bits."""
    if isinstance(a, torch.Tensor | np.ndarray):
        return type(a) is type(b) and digest(a) == digest(b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@pytest.mark.parametrize("shape", [(33,), (), (0,), (3, 0, 2), (1, 2, 3)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_kind_of_tensor_comes_back_bit_for_bit(
    checkpoints: Checkpoints, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    size = math.prod(shape) * dtype.itemsize
    generator = torch.Generator().manual_seed(1)
    high = 2 if dtype is torch.bool else 256  # all bits at random: every nan there is, too
    raw = torch.randint(0, high, (size,), dtype=torch.uint8, generator=generator)
    tensor = raw.view(dtype).view(shape)
    found = checkpoints.load(checkpoints.save({"x": tensor}))["x"]
    assert found.dtype == dtype
    assert found.shape == shape
    assert found.reshape(-1).view(torch.uint8).equal(raw)
    assert found.data_ptr() % 64 == 0  # bits of a product depend on it


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(trees)
def test_structure_and_numbers_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, tree: object
) -> None:
    checkpoints = Checkpoints(tmp_path_factory.mktemp("checkpoints"))
    assert same(checkpoints.load(checkpoints.save({"tree": tree})), {"tree": tree})


def test_a_whole_state_comes_back(checkpoints: Checkpoints) -> None:
    module = torch.nn.Linear(33, 10)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.randn(4, 33)).sum().backward()
    optimizer.step()
    shared = torch.randn(3)
    state = {
        "model": dict(module.named_parameters()),
        "moments": optimizer.state_dict()["state"],
        "views": [torch.randn(4, 5).t(), torch.randn(9)[1::2], torch.ones(1).expand(3)],
        "shared": (shared, shared),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::2],
        "rates": [0.1 + 0.2, math.inf, -0.0],
    }
    found = checkpoints.load(checkpoints.save(state))
    assert same(
        found, {**state, "model": {name: p.detach() for name, p in module.named_parameters()}}
    )


def test_a_loaded_state_is_its_own(checkpoints: Checkpoints) -> None:
    name = checkpoints.save(STATE)
    checkpoints.load(name)["weights"]["w"].zero_()
    assert same(checkpoints.load(name), STATE)


def test_files_are_named_by_content_and_equal_states_share_one(checkpoints: Checkpoints) -> None:
    first = checkpoints.save(STATE)
    assert first == digest(STATE)
    assert checkpoints.path(first).is_file()
    before = checkpoints.path(first).stat()
    assert checkpoints.save({**STATE, "steps": 7}) == first
    assert checkpoints.path(first).stat() == before
    assert checkpoints.save({**STATE, "steps": 8}) != first
    assert len(names(checkpoints)) == 2


def test_others_may_read_what_the_umask_allows(checkpoints: Checkpoints) -> None:
    before = os.umask(0o022)
    path = checkpoints.path(checkpoints.save(STATE))
    os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_missing_checkpoint_is_said(checkpoints: Checkpoints) -> None:
    with pytest.raises(RunError, match=r"the checkpoint .*abc\.safetensors is missing"):
        checkpoints.load(ABC)


def test_any_altered_byte_is_found(checkpoints: Checkpoints) -> None:
    name = checkpoints.save(STATE)
    path = checkpoints.path(name)
    content, refused = path.read_bytes(), 0
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        try:
            found = checkpoints.load(name)
        except RunError:
            refused += 1
        else:
            assert same(
                found, STATE
            )  # a byte that means nothing, such as the name of a key that nobody reads
    assert refused > len(content) // 2


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_refused(checkpoints: Checkpoints, length: int) -> None:
    name = checkpoints.save(STATE)
    path = checkpoints.path(name)
    os.truncate(path, length if length >= 0 else path.stat().st_size + length)
    with pytest.raises(RunError, match=r"is not a checkpoint that can be read"):
        checkpoints.load(name)


def test_the_state_of_another_is_refused(checkpoints: Checkpoints) -> None:
    one, other = checkpoints.save(STATE), checkpoints.save({"steps": 1})
    checkpoints.path(one).replace(checkpoints.path(other))
    with pytest.raises(RunError, match="was altered"):
        checkpoints.load(other)


class Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


ABC = f"{'0' * 61}abc"
FOREIGN = {
    "text": lambda path: path.write_text("accuracy 0.97\n" * 100),
    "directory": lambda path: path.mkdir(),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Exploit())),
    "torch.save": lambda path: torch.save({"x": Exploit()}, path),
    "somebody else's": lambda path: save_file({"weight": torch.zeros(3)}, path),
    "with metadata": lambda path: save_file(
        {"0": torch.zeros(3)}, path, metadata={"tree": "{", "complex": "[]"}
    ),
    "with gaps": lambda path: save_file(
        {"5": torch.zeros(3)}, path, metadata={"tree": '{"t": 5}', "complex": "[]"}
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_that_is_not_ours_is_refused_and_never_executed(
    checkpoints: Checkpoints, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.folder.mkdir()
    monkeypatch.chdir(checkpoints.folder)
    FOREIGN[what](checkpoints.path(ABC))
    with pytest.raises(RunError, match=r"^[^\n]*abc\.safetensors[^\n]*$"):
        checkpoints.load(ABC)
    assert names(checkpoints) == {f"{ABC}.safetensors"}


@pytest.mark.parametrize(
    "digest", ["", "abc", "../../secret", "/etc/passwd", ABC.upper(), f"{ABC}/..", f"{ABC}\n"]
)
def test_what_is_no_digest_names_no_file(checkpoints: Checkpoints, digest: str) -> None:
    for use in (checkpoints.path, checkpoints.has, checkpoints.load):
        with pytest.raises(RunError, match=r"^[^\n]* is not the digest of a state$"):
            use(digest)


def test_retain_deletes_the_others_and_leaves_those_who_write_alone(
    checkpoints: Checkpoints,
) -> None:
    kept, dropped = checkpoints.save(STATE), checkpoints.save({"steps": 1})
    (checkpoints.folder / ".0123.part").write_bytes(b"half")
    (checkpoints.folder / "notes.txt").write_text("the user's own")
    assert checkpoints.unneeded([kept]) == [checkpoints.path(dropped)]
    checkpoints.retain([kept, ABC])
    assert names(checkpoints) == {f"{kept}.safetensors", ".0123.part", "notes.txt"}
    assert [path.name for path in checkpoints.leftovers()] == [".0123.part"]
    with pytest.raises(RunError, match="missing"):
        checkpoints.load(dropped)
    checkpoints.retain([])
    assert names(checkpoints) == {".0123.part", "notes.txt"}


def large(seed: int, size: int = 20_000) -> State:
    return {"w": torch.randn(size, generator=torch.Generator().manual_seed(seed)), "steps": seed}


def test_a_large_file_that_is_let_go_is_written_over_by_the_next(checkpoints: Checkpoints) -> None:
    old = checkpoints.save(large(0, 30_000))
    inode = checkpoints.path(old).stat().st_ino
    checkpoints.retain([])
    assert names(checkpoints) == {".00.part"} == {path.name for path in checkpoints.leftovers()}
    assert not checkpoints.has(old)
    new = checkpoints.save(large(1))
    assert names(checkpoints) == {f"{new}.safetensors"}
    assert checkpoints.path(new).stat().st_ino == inode
    assert digest(checkpoints.load(new)) == new  # shorter than what was there
    other = checkpoints.save(large(2))  # no spare is left
    assert checkpoints.path(other).stat().st_ino != inode
    assert digest(checkpoints.load(other)) == other


def test_spare_files_are_few_and_none_of_them_is_small(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("popgrad.store.spares._MAX_SPARES", 3)
    for seed in range(5):
        checkpoints.save(large(seed))
    checkpoints.save({"small": 1})
    checkpoints.retain([])
    assert names(checkpoints) == {".00.part", ".01.part", ".02.part"}


def test_a_file_that_somebody_has_linked_is_not_written_over(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    kept = checkpoints.save(large(0))
    (tmp_path / "backup").hardlink_to(checkpoints.path(kept))
    before = (tmp_path / "backup").read_bytes()
    checkpoints.retain([])
    checkpoints.save(large(1))
    assert (tmp_path / "backup").read_bytes() == before


def test_a_state_that_is_written_over_while_it_is_read_is_missing(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, gone = safe_open, checkpoints.save(large(0))

    def slowly(path: Path, **given: Any) -> Any:
        opened = original(path, **given)
        checkpoints.retain([])
        checkpoints.save(large(1))
        return opened

    monkeypatch.setattr("popgrad.store.checkpoints.safe_open", slowly)
    with pytest.raises(RunError, match="missing"):
        checkpoints.load(gone)


def test_retain_needs_no_folder(checkpoints: Checkpoints) -> None:
    checkpoints.retain([])
    assert not checkpoints.folder.exists()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond it fails half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_leaves_no_half_file(checkpoints: Checkpoints) -> None:
    with (
        largest_file(100_000),
        pytest.raises(RunError, match=r"cannot be written: .*File too large"),
    ):
        checkpoints.save({"x": torch.zeros(100_000)})
    assert names(checkpoints) == set()
    checkpoints.save({"x": torch.zeros(100_000)})


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        Checkpoints(tmp_path / "file" / "checkpoints").save(STATE)


def test_an_interrupted_write_leaves_no_half_file(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.write(digest(STATE), *flatten(STATE))
    assert names(checkpoints) == set()
