"""What is read is bounded before it is read."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from popgrad.gates.sizes import (
    available_memory,
    check_memory,
    parse_json,
    parse_toml,
    read_tensor_header,
)


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 60_000) + " = 1",
        '"a".' + " . ".join(["'b'"] * 60_000) + " = 1",
        "[" + ".".join("a" * 60_000) + "]",
        "x = {" + ".".join("a" * 60_000) + " = 1}",
    ],
    ids=["a key", "quoted", "a table", "inline"],
)
def test_a_key_of_many_parts_takes_no_memory(text: str) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="a key of more than"):
        parse_toml(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_dots_elsewhere_are_no_parts_of_a_key() -> None:
    dots = "a." * 100
    text = f'# {dots}\nx = \'{dots}\'\ny = """\n{dots}"""\nz = [{"1.5, " * 100}]\n\'{dots}\' = 1\n'
    assert parse_toml(text)["x"] == dots
    assert parse_toml(text)[dots] == 1


def test_deep_text_is_a_value_error() -> None:
    for parse, text in ((parse_toml, "x = " + "[" * 9_999), (parse_json, "[" * 99_999)):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse(text)


def test_the_header_of_a_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.ones(1).half()}, path, metadata={"x": "y"})
    header = read_tensor_header(path)
    assert header.shapes == {"a": (2, 3), "b": (1,)}
    assert (header.size, header.metadata) == (26, {"x": "y"})


def described(path: Path, size: int = 12, **changes: Any) -> Path:
    about = {"0": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12], **changes}}
    text = json.dumps(about).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with path.open("r+b") as file:
        file.truncate(8 + len(text) + size)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [4]},
        {"shape": [2**62, 2**62]},
        {"shape": [1] * 100},
        {"shape": "3"},
        {"shape": [-3]},
        {"data_offsets": [0, 2**40]},
        {"data_offsets": [12, 0]},
        {"data_offsets": [0]},
        {"data_offsets": [0.5, 12]},
        {"size": 11},
        {"size": 80 << 30},
    ],
    ids=str,
)
def test_a_header_that_states_other_sizes_than_the_file_has_is_refused(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^(the|its|it has) "):
        read_tensor_header(described(tmp_path / "x", **changes))


def test_more_than_there_is_memory_for_is_refused() -> None:
    check_memory(1, "file")
    if available_memory() is not None:
        with pytest.raises(OSError, match="of memory are available"):
            check_memory(1 << 60, "file")
