"""Folders of PNG files, in two layouts: `<anything>_<label>.png` or `<label>/<anything>.png`.

In the second, names that are all numbers are the labels; other names are numbered in sorted order.
"""

import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from popgrad.core.errors import DataError
from popgrad.gates.files import open_regular
from popgrad.gates.sizes import DATA, SAMPLES

_READ_AS = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
"""Mode to convert a PNG to, by its own: black-and-white to grey, a palette to its colours."""

_LABELS = 1_000_000  # classes that a folder may have; no classifier has more
_MOST_PIXELS = 1 << 24
"""16 megapixels, 4096 x 4096: far above any data set held in memory, far below what exhausts it."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror or error})")


def _pngs(folder: Path) -> list[Path]:
    try:
        return [
            path for path in _visible(folder) if path.suffix.lower() == ".png" and path.is_file()
        ]
    except OSError as error:
        raise _unreadable(folder, error) from None


def _numeric(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def class_names(folder: Path | str) -> tuple[str, ...] | None:
    """Return the classes of a folder of named class folders, in the order of their labels.

    Returns:
        Names, sorted; None = labels are numbers: a flat folder, or class folders named by numbers.

    Raises:
        DataError: The folder cannot be read.
    """
    names = tuple(path.name for path in _visible(Path(folder)) if path.is_dir())
    return None if all(_numeric(name) for name in names) else names


def _flat(files: Sequence[Path]) -> list[tuple[Path, int]]:
    labelled = []
    for file in files:
        match = re.search(r"_([0-9]+)$", file.stem)
        if match is None:
            raise DataError(
                f"{file}: expected a name that ends in _<label>.png, such as 00017_3.png"
            )
        labelled.append((file, _label(file, match[1])))
    return labelled


def _label(path: Path, digits: str) -> int:
    label = int(digits)
    if label > SAMPLES:
        raise DataError(f"{path}: expected a label of at most {SAMPLES:,}, got {digits}")
    return label


def _classes(folders: Sequence[Path], classes: Sequence[str] | None) -> list[tuple[Path, int]]:
    labelled = []
    for folder in folders:
        if classes is not None and folder.name not in classes:
            raise DataError(
                f"{folder}: expected one of the classes {', '.join(classes)}, got {folder.name}"
            )

        label = _label(folder, folder.name) if classes is None else classes.index(folder.name)
        files = _pngs(folder)
        if not files:
            raise DataError(f"{folder}: a class folder without PNG files; fill or remove it")
        labelled += [(file, label) for file in files]
    return labelled


def _read_png(file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Read [H, W] or [H, W, 3].

    The size is checked before the image is decoded: a small file can hold a huge image.
    """
    try:
        with open_regular(file) as stream:
            start = stream.read(24)
            if len(start) < 24 or start[:8] != _SIGNATURE or start[12:16] != b"IHDR":
                raise DataError(f"{file}: not a PNG image")

            width, height = struct.unpack(">II", start[16:24])
            if width * height > _MOST_PIXELS:
                raise DataError(
                    f"{file}: {width} x {height} pixels, at most {_MOST_PIXELS} are read"
                )

            stream.seek(0)
            with Image.open(stream, formats=("PNG",)) as image:
                if image.mode not in _READ_AS:
                    raise DataError(
                        f"{file}: mode {image.mode}; save it as 8-bit grey or RGB, without alpha"
                    )
                return np.asarray(image.convert(_READ_AS[image.mode]))
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        # Pillow raises all of these for damaged files.
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: not a readable PNG image ({reason})") from None


def read_folder(
    path: Path | str, *, classes: Sequence[str] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read a folder of PNG files in either layout, in sorted order of their names.

    Hidden files and files that are not named .png are skipped.

    Args:
        path: Folder to read.
        classes: Names of the class folders in the order of their labels, so that a test folder that
            lacks a class gives the others the same labels; None = those of the folder itself.

    Returns:
        images: [n, C, H, W] uint8; C is 1 for grey and 3 for colour.
        labels: [n] int64.

    Raises:
        DataError: The folder cannot be read, is empty, or mixes the layouts; a file names no label,
            is not a readable PNG image, is too large to be decoded, or differs from the first in
            size or mode.
    """
    path = Path(path)
    files = _pngs(path)
    folders = [entry for entry in _visible(path) if entry.is_dir()]
    if files and folders:
        raise DataError(
            f"{path}: holds both PNG files and folders ({folders[0].name}/); keep one of the layouts"
        )
    labelled = _flat(files) if files else _classes(folders, classes or class_names(path))
    for file, label in labelled:
        if label >= _LABELS:
            raise DataError(f"{str(file)[:200]}: expected a label below {_LABELS:,}, got {label}")
    if not labelled:
        raise DataError(
            f"{path}: no images; expected <anything>_<label>.png or <label>/<anything>.png"
        )

    # All images have the shape of the first.
    first = _read_png(labelled[0][0])
    if len(labelled) * first.nbytes > DATA:
        raise DataError(
            f"{path}: {len(labelled)} images of {list(first.shape)} take more than {DATA >> 20} MiB, and do "
            "not fit into memory as this data is held"
        )
    try:
        images = np.empty((len(labelled), *first.shape), np.uint8)
    except MemoryError:
        raise DataError(
            f"{path}: {len(labelled)} images of {list(first.shape)} do not fit into memory"
        ) from None

    for i, (file, _) in enumerate(labelled):
        image = _read_png(file)
        if image.shape != first.shape:
            raise DataError(
                f"{file}: expected [height, width(, colours)] like {list(first.shape)} in "
                f"{labelled[0][0].name}, got {list(image.shape)}"
            )
        images[i] = image

    channels_first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return (
        torch.tensor(np.ascontiguousarray(channels_first)),
        torch.tensor([label for _, label in labelled], dtype=torch.int64),
    )
