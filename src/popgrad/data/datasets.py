"""Data sets by name, and the readers that find them on disk."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import platformdirs
import torch

from popgrad.core.errors import DataError, UsageError
from popgrad.core.spelling import did_you_mean
from popgrad.data.folders import class_names, read_folder
from popgrad.data.idx import content_md5, read_idx
from popgrad.data.splits import Splits, default_validation, stratified
from popgrad.gates.files import is_regular

Pair = tuple[torch.Tensor, torch.Tensor]


class DataFile(NamedTuple):
    """A file of a data set.

    Attributes:
        name: Name without .gz.
        md5: MD5 of the content after decompression.
    """

    name: str
    md5: str


@dataclass(frozen=True)
class Dataset:
    """The description of a data set, known before any of it is read.

    Attributes:
        name: Name for users, and name of the folder that holds it.
        files: Four IDX files: training images, training labels, test images, test labels.
        mirrors: Addresses, http or https, of folders that hold `<file>.gz`; tried in this order.
        mean: Mean of the training pixels, scaled to [0, 1].
        std: Standard deviation of the training pixels, on the same scale.
        shape: (channels, height, width) of an image.
        classes: Number of classes; labels are 0 to classes - 1.
    """

    name: str
    files: tuple[DataFile, ...]
    mirrors: tuple[str, ...]
    mean: float
    std: float
    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10


@dataclass(frozen=True, eq=False)
class Raw:
    """A data set as stored: images [n, C, H, W] uint8 with labels [n] int64, for each part.

    Attributes:
        train: Images and labels to train on.
        test: Images and labels of the test set.
        validation: Images and labels of a validation set that came with the data; None = none did.
    """

    train: Pair
    test: Pair
    validation: Pair | None = None


_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _files(*digests: str) -> tuple[DataFile, ...]:
    return tuple(DataFile(name, digest) for name, digest in zip(_NAMES, digests, strict=True))


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(  # LeCun, Cortes, Burges
            name="mnist",
            files=_files(
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            mean=0.1307,
            std=0.3081,
        ),
        Dataset(  # Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747
            name="fashion-mnist",
            files=_files(
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                "9018921c3c673c538a1fc5bad174d6f9",
                "8181f5470baa50b63fa0f6fddb340f0a",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
            mirrors=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            mean=0.2860,
            std=0.3530,
        ),
    )
}


def dataset_named(dataset: str | Dataset) -> Dataset:
    """Return the data set of that name; a `Dataset` is passed through.

    Raises:
        UsageError: No data set has that name.
    """
    if isinstance(dataset, Dataset):
        return dataset
    if dataset not in DATASETS:
        raise UsageError(
            f"data set: expected one of {', '.join(sorted(DATASETS))}, got {dataset!r}"
            f"{did_you_mean(dataset, DATASETS)}"
        )
    return DATASETS[dataset]


def data_dir(directory: Path | str | None = None) -> Path:
    """Return the directory of data: the given one, else $POPGRAD_DATA, else the user's cache."""
    chosen = directory or os.environ.get("POPGRAD_DATA") or platformdirs.user_cache_dir("popgrad")
    return Path(chosen).expanduser()


def find_file(folder: Path, name: str) -> Path | None:
    """Return the file of that name in any spelling, compressed first, as a download writes it.

    Raises:
        DataError: The folder cannot be read now.
    """
    dotted = name.replace("-idx", ".idx")
    spellings = (f"{name}.gz", name, f"{dotted}.gz", dotted)
    paths = (folder / spelling for spelling in spellings)
    try:
        return next((path for path in paths if is_regular(path)), None)
    except OSError as error:
        # Not to be taken for a file that is missing.
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from None


def is_complete(dataset: str | Dataset, directory: Path | str | None = None) -> bool:
    """Return whether `load` finds a data set: its four IDX files, or its folders. Nothing is read.

    Args:
        dataset: A name in `DATASETS`, or a description of your own.
        directory: Directory of data; None = that of `data_dir`.
    """
    known = dataset_named(dataset)
    root = data_dir(directory)
    return any(
        all(find_file(folder, file.name) for file in known.files)
        or all(os.path.isdir(folder / part) for part in ("train", "test"))
        for folder in (root / known.name, root)
    )


def load(dataset: str | Dataset, directory: Path | str | None = None) -> Raw:
    """Read a data set from `<directory>/<name>/`, or else from `<directory>/` itself.

    Either of them may hold the four IDX files, or folders train/ and test/ (and val/) of PNG files.

    Args:
        dataset: A name in `DATASETS`, or a description of your own.
        directory: Directory of data; None = that of `data_dir`.

    Raises:
        UsageError: No data set has that name.
        DataError: No data exists there, or it is that of another known data set, is damaged, or has
            images or labels that do not fit the description.
    """
    known = dataset_named(dataset)
    root = data_dir(directory)
    folders = (root / known.name, root)
    for folder in folders:
        files = [find_file(folder, file.name) for file in known.files]
        paths = [path for path in files if path is not None]
        if len(paths) == len(known.files):
            return _load_idx(known, paths)
        # Path.is_dir would raise if a name is too long; such a folder does not exist.
        if os.path.isdir(folder / "train") and os.path.isdir(folder / "test"):
            return _load_folders(known, folder)

    first = known.files[0].name
    raise DataError(
        f"{known.name} is not complete in {folders[0]} nor in {folders[1]}{_incomplete(known, folders)}: "
        f"expected {first}[.gz] and three more IDX files, or folders train/ and test/ of PNG files; "
        f"get it with `popgrad data {known.name} --dir {root}`, or name its directory: --data-dir or "
        "POPGRAD_DATA"
    )


def _incomplete(known: Dataset, folders: tuple[Path, ...]) -> str:
    """Name the missing files of a folder that holds a part of the data; "" if none does."""
    for folder in folders:
        absent = [file.name for file in known.files if find_file(folder, file.name) is None]
        if len(absent) < len(known.files):
            return f" ({folder} lacks {', '.join(absent)})"
        parts = [name for name in ("train", "test") if not os.path.isdir(folder / name)]
        if len(parts) == 1:
            return f" ({folder} lacks {parts[0]}/)"
    return ""


def _load_idx(known: Dataset, paths: list[Path]) -> Raw:
    # The known sets share their file names; the training labels, 60 kB, identify them.
    digest = content_md5(paths[1])
    for other in DATASETS.values():
        if digest == other.files[1].md5 != known.files[1].md5:
            raise DataError(
                f"{paths[1]}: these are the labels of {other.name}, not of {known.name}; "
                f"keep each in a folder of its name"
            )

    tensors = [read_idx(path) for path in paths]
    parts = []
    for i in (0, 2):
        images = tensors[i]
        labels = tensors[i + 1]
        images = images[:, None] if images.dim() == 3 else images
        if labels.is_floating_point():
            raise DataError(f"{paths[i + 1]}: expected integer labels, got {labels.dtype}")
        parts.append(_checked(known, images, labels.long(), paths[i], paths[i + 1]))
    return Raw(train=parts[0], test=parts[1])


def _load_folders(known: Dataset, root: Path) -> Raw:
    # The other folders are read with the classes of train/: one may lack a class.
    classes = class_names(root / "train")
    parts: dict[str, Pair] = {}
    for folder in (root / name for name in ("train", "test", "val") if (root / name).is_dir()):
        if classes is None and class_names(folder) is not None:
            raise DataError(
                f"{folder}: its classes have names, those of train/ have numbers; name them alike"
            )

        images, labels = read_folder(folder, classes=classes)
        parts[folder.name] = _checked(known, images, labels, folder, folder)

    return Raw(train=parts["train"], test=parts["test"], validation=parts.get("val"))


def _checked(
    known: Dataset, images: torch.Tensor, labels: torch.Tensor, images_at: Path, labels_at: Path
) -> Pair:
    if images.dtype != torch.uint8 or images.shape[1:] != known.shape:
        raise DataError(
            f"{images_at}: expected images of torch.uint8 {list(known.shape)} (channels, height, width), "
            f"as {known.name} has, got {images.dtype} {list(images.shape[1:])}"
        )
    if len(images) == 0 or labels.shape != (len(images),):
        raise DataError(
            f"{labels_at}: expected a label for each of the {len(images)} images in {images_at.name}, "
            f"and at least one, got labels of shape {list(labels.shape)}"
        )

    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= known.classes:
        raise DataError(
            f"{labels_at}: expected labels from 0 to {known.classes - 1}, got {low} to {high}"
        )
    return images, labels


def splits(
    dataset: str | Dataset,
    directory: Path | str | None = None,
    *,
    validation: int | None = None,
    seed: int = 0,
) -> Splits:
    """Read training, validation and test data, ready to be trained on.

    Args:
        dataset: A name in `DATASETS`, or a description of your own.
        directory: Directory of data; None = that of `data_dir`.
        validation: Number of samples to split off the training data, stratified by class; None = a
            twelfth, at most 5,000 and at least one for each class: 5,000 of MNIST's 60,000, which leave
            55,000. Not used if the data has a val/ folder.
        seed: Seed of the draw of these samples.

    Returns:
        Images [n, C, H, W] float32, (pixel / 255 - mean) / std, with labels [n] int64.

    Raises:
        UsageError: No data set has that name, or `validation` does not fit its training data.
        DataError: The data cannot be read, or does not fit its description (see `load`).
    """
    known = dataset_named(dataset)
    raw = load(known, directory)

    if raw.validation is not None:
        train = raw.train
        held_out = raw.validation
    else:
        count = default_validation(raw.train[1]) if validation is None else validation
        train, held_out = stratified(*raw.train, validation=count, seed=seed)

    def normalised(images: torch.Tensor, labels: torch.Tensor) -> Pair:
        return images.float().div_(255).sub_(known.mean).div_(known.std), labels

    return Splits(normalised(*train), normalised(*held_out), normalised(*raw.test))
