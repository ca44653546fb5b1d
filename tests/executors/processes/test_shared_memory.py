import gc
import os
import resource
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from popgrad.executors.processes.shared_memory import Layout, SharedState, View, make_layout

shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
dtypes = st.sampled_from(
    [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.uint8]
)
leaves_ = st.lists(
    st.builds(lambda shape, dtype: torch.randint(0, 2, shape).to(dtype), shapes, dtypes),
    max_size=6,
)


def write(slot: SharedState, *leaves: torch.Tensor) -> Layout:
    where = make_layout(None, leaves)
    slot.write(where, leaves)
    return where


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(
        x.dtype == y.dtype and x.equal(y) for x, y in zip(a, b, strict=True)
    )


@given(leaves_)
def test_leaves_come_back_in_memory_of_their_own(leaves: list[torch.Tensor]) -> None:
    slot = SharedState()
    where = write(slot, *leaves)
    found = slot.read(where)
    assert same(found, leaves)
    assert all(leaf.data_ptr() % 64 == 0 for leaf in found)
    for leaf in found:
        leaf.zero_()
    assert same(slot.read(where), leaves)
    slot.close()


@given(leaves_)
def test_leaves_lie_apart_at_multiples_of_64_bytes(leaves: list[torch.Tensor]) -> None:
    where = make_layout({"a": 1}, leaves)
    assert where.tree == {"a": 1}
    end = 0
    for (name, shape, offset), leaf in zip(where.leaves, leaves, strict=True):
        assert (name, shape) == (str(leaf.dtype).removeprefix("torch."), tuple(leaf.shape))
        assert offset % 64 == 0
        assert offset >= end
        end = offset + leaf.numel() * leaf.element_size()
    assert where.size >= end


def test_a_slot_grows_and_is_used_again() -> None:
    slot = SharedState()
    for size in (0, 10, 100_000, 3, 0, 500_000):
        leaves = [torch.rand(size), torch.rand(size // 2)]
        assert same(slot.read(write(slot, *leaves)), leaves)
    slot.close()


def test_another_view_of_a_slot_sees_what_is_written_and_follows_when_it_grows() -> None:
    slot = SharedState()
    view = View(slot.path)
    for size in (10, 200_000, 20):
        leaves = [torch.rand(size)]
        assert same(view.read(write(slot, *leaves)), leaves)
        back = [torch.rand(size * 3)]
        where = make_layout(None, back)
        view.write(where, back)
        assert same(slot.read(where), back)
    view.close()
    slot.close()


def test_tensors_of_any_order_in_memory_are_written() -> None:
    slot = SharedState()
    leaves = [
        torch.rand(3, 5).t(),
        torch.rand(9)[::2],
        torch.ones(1).expand(4),
        torch.rand(2, 3, 4, 4)[:, 1],
    ]
    assert same(slot.read(write(slot, *leaves)), leaves)
    slot.close()


def test_full_memory_is_an_error_and_not_the_end_of_the_process() -> None:
    slot = SharedState()
    kept = [torch.rand(10)]
    where = write(slot, *kept)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(slot, torch.zeros(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert same(slot.read(where), kept)
    write(slot, torch.zeros(1_000_000))
    slot.close()


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="this system does not list open files"
)
def test_closing_gives_files_and_memory_back() -> None:
    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count("memfd:popgrad")

    gc.collect()
    files, maps = len(os.listdir("/proc/self/fd")), mapped()
    slots = [SharedState() for _ in range(5)]
    for slot in slots:
        slot.read(write(slot, torch.rand(1000)))
    assert mapped() == maps  # a mapping would take a second file
    assert len(os.listdir("/proc/self/fd")) == files + 5
    for slot in slots:
        slot.close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == files
    assert mapped() == maps
