import re
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from popgrad.core.errors import DataError
from popgrad.data import class_names, read_folder


def flat(value: int, shape: tuple[int, ...] = (4, 3)) -> np.ndarray:
    return np.full(shape, value, np.uint8)


def test_a_flat_folder_is_read_in_order_of_names(tmp_path, write_png):
    for name, value in (("b_7", 1), ("a_b_12", 2), ("c_0", 3)):
        write_png(tmp_path / f"{name}.png", flat(value))
    (tmp_path / "README.txt").write_text("passed over")
    (tmp_path / "._b_7.png").write_text("passed over")
    images, labels = read_folder(tmp_path)
    assert images.shape == (3, 1, 4, 3)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert images[:, 0, 0, 0].tolist() == [2, 1, 3]
    assert labels.tolist() == [12, 7, 0]
    assert class_names(tmp_path) is None


def test_numbers_as_folders_are_the_labels(tmp_path, write_png):
    for label in (2, 7):
        write_png(tmp_path / str(label) / "x.png", flat(label))
    images, labels = read_folder(tmp_path)
    assert labels.tolist() == images[:, 0, 0, 0].tolist() == [2, 7]
    assert class_names(tmp_path) is None


def test_other_folders_are_numbered_in_order_of_names(tmp_path, write_png):
    for name, value in (("dog", 1), ("cat", 0), ("eel", 2)):
        write_png(tmp_path / name / "1.PNG", flat(value))
    images, labels = read_folder(tmp_path)
    assert labels.tolist() == images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert class_names(tmp_path) == ("cat", "dog", "eel")


def test_given_classes_decide_on_the_labels(tmp_path, write_png):
    write_png(tmp_path / "dog" / "1.png", flat(1))
    assert read_folder(tmp_path, classes=("cat", "dog"))[1].tolist() == [1]
    with pytest.raises(DataError, match="dog: expected one of the classes cat, eel, got dog"):
        read_folder(tmp_path, classes=("cat", "eel"))


shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(
    pixels=st.one_of(shapes, shapes.map(lambda hw: (*hw, 3))).flatmap(
        lambda s: hnp.arrays(np.uint8, (2, *s))
    )
)
def test_every_pixel_lands_in_its_place(tmp_path_factory, write_png, pixels):
    folder = tmp_path_factory.mktemp("png")
    for i, image in enumerate(pixels):
        write_png(folder / f"{i}_0.png", image)
    images, _ = read_folder(folder)
    expected = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, 3, 1)
    assert images.is_contiguous()
    np.testing.assert_array_equal(images.numpy(), expected)


def test_black_and_white_is_grey_and_a_palette_is_its_colours(tmp_path):
    white = Image.new("1", (2, 2), 1)
    (tmp_path / "grey").mkdir()
    white.save(tmp_path / "grey" / "0_0.png")
    assert read_folder(tmp_path / "grey")[0].flatten().tolist() == [255] * 4
    (tmp_path / "colour").mkdir()
    Image.new("RGB", (1, 1), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE).save(
        tmp_path / "colour" / "0_0.png"
    )
    assert read_folder(tmp_path / "colour")[0].flatten().tolist() == [10, 20, 30]


@pytest.mark.parametrize("odd", [flat(0, (3, 4)), flat(0, (4, 3, 3))], ids=["size", "colour"])
def test_an_image_unlike_the_first_is_named(tmp_path, write_png, odd):
    write_png(tmp_path / "a_0.png", flat(0))
    write_png(tmp_path / "b_0.png", flat(0))
    write_png(tmp_path / "c_0.png", odd)
    with pytest.raises(DataError, match=r"c_0\.png: expected .* \[4, 3\] in a_0\.png, got "):
        read_folder(tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path, write_png):
    write_png(tmp_path / "a_0.png", flat(0))
    (tmp_path / "b_1.png").write_text("this is not a PNG file at all")
    with pytest.raises(DataError, match=r"b_1\.png: not a PNG image"):
        read_folder(tmp_path)


def test_a_truncated_image_is_named_or_whole_but_never_other_pixels(tmp_path, write_png):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3), np.uint8)
    whole = write_png(tmp_path / "a_0.png", pixels).read_bytes()
    as_promised = 0
    for end in range(len(whole)):
        (tmp_path / "a_0.png").write_bytes(whole[:end])
        try:
            images, _ = read_folder(tmp_path)
        except DataError as error:
            as_promised += bool(re.search(r"a_0\.png: not a (readable )?PNG image", str(error)))
        else:
            as_promised += images.flatten().tolist() == pixels.flatten().tolist()
            assert (
                end > len(whole) - 30
            )  # all but the last checksums and the end mark, which decoders do without
    assert as_promised == len(whole)


def test_a_decompression_bomb_is_not_decoded(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    (tmp_path / "x_0.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
    )
    with pytest.raises(DataError, match=r"x_0\.png: 50000 x 50000 pixels, at most"):
        read_folder(tmp_path)


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "LA"])
def test_alpha_and_deep_colours_are_refused(tmp_path, mode):
    Image.new(mode, (2, 2)).save(tmp_path / "x_0.png")
    with pytest.raises(DataError, match=r"x_0\.png: mode .*8-bit grey or RGB"):
        read_folder(tmp_path)


def test_a_folder_that_is_neither_layout_is_refused(tmp_path, write_png):
    with pytest.raises(DataError, match="no images; expected"):
        read_folder(tmp_path)
    with pytest.raises(DataError, match="absent: cannot be read"):
        read_folder(tmp_path / "absent")
    write_png(tmp_path / "unlabelled.png", flat(0))
    with pytest.raises(DataError, match=r"unlabelled\.png: .*_<label>\.png"):
        read_folder(tmp_path)
    (tmp_path / "3").mkdir()
    with pytest.raises(DataError, match=r"holds both PNG files and folders \(3/\)"):
        read_folder(tmp_path)
    (tmp_path / "unlabelled.png").unlink()
    with pytest.raises(DataError, match="3: a class folder without PNG files"):
        read_folder(tmp_path)


def test_a_label_of_thirty_digits_is_named(tmp_path, write_png):
    write_png(tmp_path / "a_0.png", flat(0))
    write_png(tmp_path / f"b_{'9' * 30}.png", flat(0))
    with pytest.raises(
        DataError, match=r"b_9+\.png: expected a label of at most 100,000,000, got 9+"
    ):
        read_folder(tmp_path)
