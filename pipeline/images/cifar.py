"""CIFAR-100 from its published archive: checksum verified, read without unpacking; its pickles are not trusted (``pickles``).

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np

from pipeline.config import InputError
from pipeline.images.pickles import array, text, unpickled

ARCHIVE = "cifar-100-python.tar.gz"
FOLDER = "cifar-100-python"

#: MD5 of the published archive, and of the files in it.
MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
FILES = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}

#: No file of the archive is larger (bytes); the largest, train, has 155 million.
LIMIT = 256 << 20

#: Of an image: what networks see where no settings describe features.
SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Images:
    """Images (rows, channel RGB, row, column) uint8, 0 to 255, and their classes (rows,) int64, fine labels."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]


class Split(NamedTuple):
    """Rows of the training images, (n,) int64 each, ascending, without a row in common."""

    train: np.ndarray
    validation: np.ndarray


def find_cifar100(data_root: Path) -> Path:
    """The archive in ``data_root``, else the folder it unpacks to; ``InputError`` where there is neither."""
    for path in (data_root / ARCHIVE, data_root / FOLDER):
        if path.exists():
            return path
    raise InputError(
        f"no {ARCHIVE} in {data_root}; fetch it with 'make data DATASET=cifar100', or put it there by hand"
    )


def read_cifar100(path: Path, *, checksum: str | None = MD5) -> Images:
    """CIFAR-100 from its archive ``cifar-100-python.tar.gz``, or from the folder it unpacks to.

    50,000 training and 10,000 test images of 100 classes. ``checksum`` is the MD5 expected of the archive; a
    folder's files are compared with the published ones. None: neither is looked at (stand-ins, tests).
    Raises ``InputError`` for another checksum, a damaged archive, and a pickle with anything in it but
    arrays, bytes, strings, numbers, lists and dicts.
    """
    contents = read_folder(path, checksum) if path.is_dir() else read_archive(path, checksum)
    meta = unpickled(contents["meta"], f"{path}: meta")
    names = meta.get("fine_label_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, bytes | str) for name in names):
        raise InputError(f"{path}: meta: expected fine_label_names, a list of class names")
    classes = tuple(text(name) for name in names)
    train, train_labels = part(unpickled(contents["train"], f"{path}: train"), f"{path}: train", len(classes))
    test, test_labels = part(unpickled(contents["test"], f"{path}: test"), f"{path}: test", len(classes))
    return Images(train, train_labels, test, test_labels, classes)


def split(labels: np.ndarray, seed: int, validation: int | None = None) -> Split:
    """The rows of ``labels`` in two random parts, the same for the same ``seed``.

    ``validation``: size of the second part, by default a tenth (5,000 of 50,000). Classes are not balanced.
    """
    rows = len(labels)
    size = rows // 10 if validation is None else validation
    if not 0 <= size < rows:
        raise InputError(f"validation = {size}: expected 0 to {rows - 1}, fewer than the {rows} images")
    order = np.random.default_rng(seed).permutation(rows).astype(np.int64)
    return Split(train=np.sort(order[size:]), validation=np.sort(order[:size]))


def read_archive(path: Path, checksum: str | None) -> dict[str, bytes]:
    """The three files of the archive, by name."""
    if not path.is_file():
        raise InputError(f"no file {path}; expected {ARCHIVE} (make data DATASET=cifar100)")
    contents: dict[str, bytes] = {}
    with path.open("rb") as file:
        if checksum is not None:
            check(hashlib.file_digest(file, "md5").hexdigest(), checksum, path)
            file.seek(0)
        try:
            with gzip.open(file) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    name = PurePosixPath(member.name).name
                    content = tar.extractfile(member) if member.isreg() and name in FILES else None
                    if content is not None and name not in contents:
                        contents[name] = limited(content, f"{path}: {name}")
                while stream.read(1 << 20):  # gzip's own checksum comes after tar's last block
                    pass
        except InputError:
            raise
        except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
            raise InputError(f"{path}: damaged archive ({error}); fetch it again") from None
    for name in FILES:
        if name not in contents:
            raise InputError(f"{path}: no file {name} in it; expected {', '.join(FILES)}, as in {ARCHIVE}")
    return contents


def read_folder(path: Path, checksum: str | None) -> dict[str, bytes]:
    """The three files of the unpacked folder, by name."""
    contents: dict[str, bytes] = {}
    for name, md5 in FILES.items():
        file = path / name
        if not file.is_file():
            raise InputError(f"no file {file}; expected {', '.join(FILES)} there, as in {ARCHIVE}")
        with file.open("rb") as content:
            contents[name] = limited(content, str(file))
        if checksum is not None:
            check(hashlib.md5(contents[name]).hexdigest(), md5, file)
    return contents


def limited(content: IO[bytes], where: str) -> bytes:
    data = content.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise InputError(f"{where}: more than {LIMIT >> 20} MiB; expected the file of {ARCHIVE}")
    return data


def check(digest: str, expected: str, path: Path) -> None:
    if digest != expected:
        raise InputError(
            f"{path}: MD5 {digest}, expected {expected}; remove it and fetch it again (make data DATASET=cifar100)"
        )


def part(pickled: dict[str, Any], where: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (rows, 3, 32, 32) uint8 and labels (rows,) int64 of one of the two files."""
    pixels, labels = pickled.get("data"), pickled.get("fine_labels")
    if not isinstance(labels, list) or not labels or not all(type(label) is int for label in labels):
        raise InputError(f"{where}: expected fine_labels, a list of whole numbers")
    if not all(0 <= label < classes for label in labels):
        raise InputError(f"{where}: labels {min(labels)} to {max(labels)}, expected 0 to {classes - 1}")
    images = array(pixels, where)
    if images.shape != (len(labels), math.prod(SHAPE)):
        raise InputError(
            f"{where}: data of shape {images.shape}, expected {(len(labels), math.prod(SHAPE))} for its labels"
        )
    return images.reshape(-1, *SHAPE), np.array(labels, dtype=np.int64)
