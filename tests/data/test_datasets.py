import gzip
import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from popgrad.core.errors import DataError, UsageError
from popgrad.data import DATASETS, DataFile, content_md5, data_dir, load, splits
from popgrad.data.splits import default_validation


def same(found: tuple[torch.Tensor, torch.Tensor], images: np.ndarray, labels: np.ndarray) -> bool:
    expected = torch.tensor(images)[:, None], torch.tensor(labels.astype(np.int64))
    return all(a.dtype == b.dtype and a.equal(b) for a, b in zip(found, expected, strict=True))


def write_folders(place: Path, digits, write_png, *, flat: bool, validation: int = 0) -> None:
    """The first images go to val/, where it is asked for."""
    for part, images, labels in (("train", *digits[:2]), ("test", *digits[2:])):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = place / ("val" if part == "train" and i < validation else part)
            write_png(folder / (f"{i:03}_{label}.png" if flat else f"{label}/{i:03}.png"), image)


def test_idx_files_are_found_in_the_folder_of_the_name_or_beside_it(idx_dir, tiny, digits):
    for directory in (idx_dir, str(idx_dir), idx_dir / "tiny"):
        raw = load(tiny, directory)
        assert same(raw.train, *digits[:2])
        assert same(raw.test, *digits[2:])
        assert raw.validation is None


@pytest.mark.parametrize("spelling", ["{}", "{}.gz", "dotted", "dotted.gz"])
def test_every_usual_spelling_is_found(tmp_path, tiny, contents, digits, spelling):
    for name, content in contents.items():
        file = spelling.format(name).replace("dotted", name.replace("-idx", ".idx"))
        (tmp_path / file).write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
    assert same(load(tiny, tmp_path).train, *digits[:2])


def test_the_folder_of_the_name_goes_first(idx_dir, tiny, contents, as_idx):
    for name in contents:
        (idx_dir / name).write_bytes(b"not read")
    assert len(load(tiny, idx_dir).train[0]) == 40


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "class folders"])
def test_folders_of_png_hold_the_same(tmp_path, tiny, digits, write_png, flat):
    write_folders(tmp_path, digits, write_png, flat=flat)
    raw = load(tiny, tmp_path)
    order = np.arange(40) if flat else np.argsort(digits[1], kind="stable")
    assert same(raw.train, digits[0][order], digits[1][order])
    assert same(raw.test, *digits[2:])  # ten images, one of a class: the same order either way


def test_a_validation_folder_is_used_as_it_is(tmp_path, tiny, digits, write_png):
    write_folders(tmp_path, digits, write_png, flat=True, validation=7)
    assert same(load(tiny, tmp_path).validation, digits[0][:7], digits[1][:7])
    found = splits(tiny, tmp_path, validation=5000)
    assert [len(found[name][1]) for name in ("train", "validation", "test")] == [33, 7, 10]


def test_named_classes_have_the_labels_of_the_training_folder(tmp_path, tiny, write_png):
    pixels = np.zeros((4, 3), np.uint8)
    for file in ("train/cat/0.png", "train/dog/0.png", "test/dog/0.png"):
        write_png(tmp_path / file, pixels)
    assert load(tiny, tmp_path).test[1].tolist() == [1]
    (tmp_path / "train" / "cat").rename(tmp_path / "train" / "0")
    (tmp_path / "train" / "dog").rename(tmp_path / "train" / "1")
    with pytest.raises(
        DataError, match="test: its classes have names, those of train/ have numbers"
    ):
        load(tiny, tmp_path)


def test_what_is_missing_is_named_with_the_ways_to_get_it(tmp_path, tiny):
    with pytest.raises(DataError) as caught:
        load(tiny, tmp_path / "nowhere")
    message = str(caught.value)
    assert "\n" not in message
    for said in (
        *(str(tmp_path / "nowhere" / "tiny"), "train-images-idx3-ubyte[.gz]", "train/ and test/"),
        *(f"`popgrad data tiny --dir {tmp_path / 'nowhere'}`", "--data-dir", "POPGRAD_DATA"),
    ):
        assert said in message


def test_what_is_there_in_part_is_said(idx_dir, tiny):
    (idx_dir / "tiny" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"tiny lacks t10k-labels-idx1-ubyte\)"):
        load(tiny, idx_dir)
    (idx_dir / "train").mkdir()
    for file in (idx_dir / "tiny").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="lacks test/"):
        load(tiny, idx_dir)


def test_the_files_of_another_known_set_are_refused(idx_dir, tiny, contents, monkeypatch):
    digest = hashlib.md5(contents["train-labels-idx1-ubyte"]).hexdigest()
    fashion = DATASETS["fashion-mnist"]
    files = tuple(
        DataFile(f.name, digest if "train-labels" in f.name else f.md5) for f in fashion.files
    )
    monkeypatch.setitem(DATASETS, "fashion-mnist", replace(fashion, files=files))
    mnist = replace(DATASETS["mnist"], shape=(1, 4, 3))
    with pytest.raises(DataError, match="the labels of fashion-mnist, not of mnist"):
        load(mnist, idx_dir / "tiny")
    assert len(load(replace(mnist, files=files), idx_dir / "tiny").train[0]) == 40


def test_smaller_data_than_the_real_is_taken(idx_dir):
    found = splits(replace(DATASETS["mnist"], shape=(1, 4, 3)), idx_dir / "tiny", validation=10)
    assert [len(found[name][0]) for name in ("train", "validation", "test")] == [30, 10, 10]


@pytest.mark.parametrize(
    ("file", "array", "why"),
    [
        (
            0,
            np.zeros((40, 3, 4), "u1"),
            r"images of torch.uint8 \[1, 4, 3\] .* tiny has, got torch.uint8 \[1, 3, 4\]",
        ),
        (0, np.zeros((40, 4, 3), "i2"), "expected images of .*, got torch.int16"),
        (0, np.zeros((40, 12), "u1"), r"expected images of .*, got torch.uint8 \[12\]"),
        (0, np.zeros((39, 4, 3), "u1"), r"each of the 39 images in .*, got labels of shape \[40\]"),
        (1, np.zeros((40, 1), "u1"), r"each of the 40 images in .*, got labels of shape \[40, 1\]"),
        (1, np.full(40, 10, "u1"), "expected labels from 0 to 9, got 10 to 10"),
        (1, np.full(40, -1, "i1"), "expected labels from 0 to 9, got -1 to -1"),
        (1, np.zeros(40, "f4"), "expected integer labels, got torch.float32"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(idx_dir, tiny, as_idx, file, array, why):
    name = tiny.files[file].name
    (idx_dir / "tiny" / f"{name}.gz").write_bytes(as_idx(array))
    with pytest.raises(DataError, match=f"train-(images|labels).*{why}"):
        load(tiny, idx_dir)


def test_no_images_at_all_are_refused(idx_dir, tiny, as_idx):
    (idx_dir / "tiny" / "t10k-images-idx3-ubyte.gz").write_bytes(as_idx(np.zeros((0, 4, 3), "u1")))
    (idx_dir / "tiny" / "t10k-labels-idx1-ubyte.gz").write_bytes(as_idx(np.zeros(0, "u1")))
    with pytest.raises(DataError, match="at least one"):
        load(tiny, idx_dir)


def test_colour_where_grey_belongs_is_refused(tmp_path, tiny, write_png):
    write_png(tmp_path / "train" / "0_0.png", np.zeros((4, 3, 3), np.uint8))
    write_png(tmp_path / "test" / "0_0.png", np.zeros((4, 3, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"train: expected images of .*, got torch.uint8 \[3, 4, 3\]"
    ):
        load(tiny, tmp_path)


def test_splits_are_normalised_and_repeatable(idx_dir, tiny, digits):
    found, again, other = (splits(tiny, idx_dir, validation=10, seed=seed) for seed in (4, 4, 5))
    assert [len(found[name][0]) for name in ("train", "validation", "test")] == [30, 10, 10]
    assert sorted(found.validation[1].tolist()) == list(range(10))  # stratified
    assert found.validation[0].equal(again.validation[0])
    assert not found.validation[0].equal(other.validation[0])
    expected = (torch.tensor(digits[2])[:, None] / 255 - 0.5) / 0.25
    assert found.test[0].dtype == torch.float32
    torch.testing.assert_close(found.test[0], expected)


def test_too_large_a_validation_part_is_said(idx_dir, tiny):
    with pytest.raises(
        UsageError, match="validation: expected 1 to 39 of 40 training samples, got 5000"
    ):
        splits(tiny, idx_dir, validation=5000)


def test_small_data_has_a_validation_part_of_its_own_size(idx_dir, tiny):
    found = splits(tiny, idx_dir)
    assert sorted(found.validation[1].tolist()) == list(range(10))  # one of each class
    assert len(found.train[0]) == 30


@pytest.mark.parametrize(
    ("samples", "classes", "held_out"),
    [(60_000, 10, 5000), (3_000, 10, 250), (5_001, 10, 416), (100, 10, 10), (10**6, 10, 5000)],
)
def test_a_twelfth_validates_unless_another_number_is_given(samples, classes, held_out):
    assert default_validation(torch.arange(samples) % classes) == held_out


def test_an_unknown_name_is_said(tmp_path):
    with pytest.raises(
        UsageError, match="data set: expected one of fashion-mnist, mnist, got 'minst'"
    ):
        load("minst", tmp_path)


def test_where_data_is_looked_for(monkeypatch):
    monkeypatch.setenv("POPGRAD_DATA", "/from/environment")
    assert data_dir("/given") == Path("/given")
    assert data_dir() == Path("/from/environment")
    monkeypatch.setenv("POPGRAD_DATA", "")
    assert data_dir().name == "popgrad"
    assert data_dir("~/data") == Path.home() / "data"


def test_the_real_mnist_is_the_real_mnist(mnist_dir):
    place = mnist_dir / "mnist" if (mnist_dir / "mnist").is_dir() else mnist_dir
    for file in DATASETS["mnist"].files:
        (path,) = place.glob(f"{file.name.split('-idx')[0]}*")
        assert content_md5(path) == file.md5
    with pytest.raises(DataError, match=re.escape("the labels of mnist, not of fashion-mnist")):
        load("fashion-mnist", place)


def test_the_real_mnist_is_split_55_5_10(mnist_dir):
    start = time.perf_counter()
    found = splits("mnist", mnist_dir)
    seconds = time.perf_counter() - start
    assert [len(found[name][0]) for name in ("train", "validation", "test")] == [
        55_000,
        5_000,
        10_000,
    ]
    assert found.train[0].shape[1:] == (1, 28, 28)
    assert abs(float(found.train[0].mean())) < 0.01
    assert abs(float(found.train[0].std()) - 1) < 0.01
    raw = load("mnist", mnist_dir)
    for cls, count in enumerate(raw.train[1].bincount().tolist()):
        assert abs(int((found.validation[1] == cls).sum()) - count / 12) <= 1
    pixels = {image.numpy().tobytes() for image in found.train[0]}
    assert len(pixels) == 55_000  # no two of MNIST's training images are the same ...
    assert not any(
        image.numpy().tobytes() in pixels for image in found.validation[0]
    )  # ... so none is in both
    assert seconds < 10  # 1.2 s on 2 cores; what it must not become is minutes


@pytest.mark.parametrize("name", DATASETS)
def test_the_documentation_shows_the_digests(name):
    table = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    column = 1 + sorted(DATASETS, reverse=True).index(name)
    for file in DATASETS[name].files:
        (row,) = [line for line in table.splitlines() if line.startswith(f"| {file.name} ")]
        assert row.strip("| ").split(" | ")[column] == file.md5
