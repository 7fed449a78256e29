"""Writing a teacher file: npz or HDF5 by its suffix, in full or not at all."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from pipeline.config import InputError
from pipeline.files import write_atomic
from pipeline.teacher_files.schema import CHECKSUM, HDF5, SUFFIXES, arrays_digest, is_teacher_file


def require_target(path: Path) -> None:
    """``InputError`` for a file's name that is of neither kind, or is a folder's."""
    if not is_teacher_file(path):
        raise InputError(f"{path}: expected a file's name that ends with {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file's name")


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """The arrays under their names, see the folder's ``__init__``; the same arrays give the same bytes.

    Either kind carries checksums: HDF5 that of all arrays as an attribute.
    """
    require_target(path)
    write_atomic(path, hdf5_bytes(arrays) if path.suffix.lower() in HDF5 else lambda file: npz(file, arrays))


def npz(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    np.savez(file, **arrays)  # type: ignore[arg-type]


def hdf5_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in arrays.items():
            text = values.dtype.kind == "U"
            file.create_dataset(
                name, data=values.astype(object) if text else values, dtype=h5py.string_dtype() if text else None
            )
        file.attrs[CHECKSUM] = arrays_digest(arrays)
    return buffer.getvalue()
