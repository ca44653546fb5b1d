"""Data as tensors in memory: readers, data sets by name, splits and downloads."""

from popgrad.data.datasets import (
    DATASETS,
    DataFile,
    Dataset,
    Raw,
    data_dir,
    dataset_named,
    is_complete,
    load,
    splits,
)
from popgrad.data.download import Progress, download
from popgrad.data.folders import class_names, read_folder
from popgrad.data.idx import content_md5, read_idx
from popgrad.data.splits import Part, Splits, stratified

__all__ = [
    "DATASETS",
    "DataFile",
    "Dataset",
    "Part",
    "Progress",
    "Raw",
    "Splits",
    "class_names",
    "content_md5",
    "data_dir",
    "dataset_named",
    "download",
    "is_complete",
    "load",
    "read_folder",
    "read_idx",
    "splits",
    "stratified",
]
