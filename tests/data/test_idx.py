import gzip
import hashlib
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from popgrad.core.errors import DataError
from popgrad.data import content_md5, read_idx

arrays = st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]).flatmap(
    lambda code: hnp.arrays(
        np.dtype(code), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
    )
)


@given(array=arrays, compressed=st.booleans())
def test_what_was_written_is_read(tmp_path_factory, as_idx, array, compressed):
    path = tmp_path_factory.mktemp("idx") / "any name"
    path.write_bytes(gzip.compress(as_idx(array)) if compressed else as_idx(array))
    tensor = read_idx(path)
    assert tensor.numpy().dtype == array.dtype
    np.testing.assert_array_equal(tensor.numpy(), array)


@given(content=st.binary(max_size=40))
def test_anything_else_is_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(content)
    valid = (
        len(content) >= 8
        and content[:2] == b"\0\0"
        and content[2] in (8, 9, 11, 12, 13, 14)
        and content[3] > 0
    )
    assume(not valid)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(dims=st.integers(1, 70), sizes=st.binary(max_size=16), rest=st.binary(max_size=16))
def test_a_header_with_any_sizes_is_read_or_refused(tmp_path_factory, dims, sizes, rest):
    content = bytes([0, 0, 8, dims]) + sizes.ljust(4 * dims, b"\0") + rest
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(content)
    with suppress(DataError):
        assert read_idx(path).numel() == len(content) - 4 - 4 * dims


def refused(path: Path, content: bytes, why: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: .*{why}"):
        read_idx(path)


def test_a_name_does_not_decide_on_compression(tmp_path, as_idx):
    (tmp_path / "plain.gz").write_bytes(as_idx(np.arange(3, dtype="u1")))
    assert read_idx(str(tmp_path / "plain.gz")).tolist() == [0, 1, 2]


def test_the_tensor_owns_its_memory_and_can_be_written(tmp_path, as_idx):
    path = tmp_path / "x"
    path.write_bytes(as_idx(np.arange(3, dtype="i4")))
    tensor = read_idx(path)
    tensor += 1
    assert tensor.tolist() == [1, 2, 3]
    assert read_idx(path).tolist() == [0, 1, 2]


def test_truncated_gzip_is_refused_wherever_it_ends(tmp_path, as_idx):
    whole = gzip.compress(as_idx(np.arange(200, dtype="u1")))
    for end in range(2, len(whole)):
        refused(tmp_path / "x.gz", whole[:end], "ends too early")


def test_damaged_gzip_is_refused(tmp_path, as_idx):
    whole = bytearray(gzip.compress(as_idx(np.zeros(200, dtype="u1"))))
    whole[-8] ^= 1  # the checksum
    refused(tmp_path / "x.gz", bytes(whole), "damaged")


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_length_that_differs_is_refused(tmp_path, as_idx, compress):
    whole = as_idx(np.arange(6, dtype="i2").reshape(2, 3))
    refused(
        tmp_path / "x",
        compress(whole[:-1]),
        r"shape \[2, 3\] takes 12 bytes after the header, found 11",
    )
    refused(tmp_path / "x", compress(whole + b"\0"), "takes 12 bytes after the header, found more")
    refused(tmp_path / "x", compress(whole[:10]), "ends within the sizes")
    refused(tmp_path / "x", compress(whole[:2]), "too short")


def test_a_foreign_file_is_refused(tmp_path):
    refused(
        tmp_path / "x",
        b"\x89PNG\r\n\x1a\n",
        "not an IDX file: it starts with 89 50 4e 47, expected 00 00",
    )
    refused(tmp_path / "x", b"\0\0\x0a\x01" + bytes(5), "not an IDX file")


def test_a_header_that_promises_terabytes_reserves_nothing(tmp_path):
    refused(tmp_path / "x", b"\0\0\x0e\x03" + b"\xff" * 12 + bytes(8), "found far fewer")


def test_what_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent: cannot be read \(No such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="Is a directory"):
        read_idx(tmp_path)


def test_the_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").write_bytes(gzip.compress(b"content", 1))
    (tmp_path / "c").write_bytes(gzip.compress(b"con") + gzip.compress(b"tent", 9))
    assert {content_md5(tmp_path / name) for name in "abc"} == {hashlib.md5(b"content").hexdigest()}


def test_an_integer_is_read_big_endian(tmp_path):
    (tmp_path / "x").write_bytes(bytes([0, 0, 0x0C, 1, 0, 0, 0, 1, 0, 0, 1, 2]))
    assert read_idx(tmp_path / "x").equal(torch.tensor([258], dtype=torch.int32))
