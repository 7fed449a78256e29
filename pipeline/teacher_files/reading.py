"""Teacher files → ``TeacherFile``: npz and HDF5, of any program. Nothing is unpickled, and no other file is followed to."""

from __future__ import annotations

import dataclasses
import functools
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.cache.reading import opened_unchecked
from pipeline.errors import Damaged, InputError
from pipeline.files import Stamp, damaged_part, stamp
from pipeline.plurals import many
from pipeline.processes.memory import free_memory
from pipeline.teacher_files import shapes
from pipeline.teacher_files.schema import (
    CHECKSUM,
    HDF5,
    MAP,
    OTHERS,
    VECTORS,
    TeacherFile,
    arrays_digest,
    views_of,
)

EXPECTED = "expected an npz or HDF5 file with arrays clip, logits or embedding, and trained_on (docs/teachers.md)"

PLAIN = "expected plain numbers or text: numpy.array(..., dtype=float) or dtype=str"

#: Bytes of a text of no fixed length, as Python has it.
TEXT = 64

#: Attributes of an HDF5 file that stand for arrays.
ATTRIBUTES = ("classes", "trained_on", "fold", "data", "view")


def read(path: Path) -> TeacherFile:
    """The file, checked in itself; kept as long as it stays as it is.

    Raises ``InputError``, one line, for a file that is missing, damaged or foreign, has pickled arrays, or whose arrays do not
    fit together.
    """
    return _read(path, stamp(path))


@functools.lru_cache(maxsize=64)
def _read(path: Path, _state: Stamp) -> TeacherFile:
    if not path.is_file():
        raise InputError(f"{path}: no such teacher file; {EXPECTED}")
    is_hdf5 = path.suffix.lower() in HDF5
    arrays = guarded(path, arrays_of_hdf5 if is_hdf5 else arrays_of_npz)
    checksum = arrays.pop(CHECKSUM, None)
    return dataclasses.replace(teacher_file(path, arrays), unchecked=is_hdf5 and checksum is None)


def guarded(path: Path, arrays: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of a file; whatever a library raises for a damaged or foreign one is one line."""
    try:
        return arrays(path)
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{path}: no permission to read it; chmod u+r {path}") from None
    except MemoryError:
        raise InputError(f"{path}: more than this machine's memory holds, or damaged; {EXPECTED}") from None
    except Exception as error:  # a flipped bit may raise anything in numpy, zipfile, zlib or h5py
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged or of another kind ({reason[:120]}); {EXPECTED}") from None


def arrays_of_npz(path: Path) -> dict[str, np.ndarray]:
    """Name → array. Pickled arrays are refused unread."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: no npz file (a zip archive of arrays); {EXPECTED}")
    with zipfile.ZipFile(path) as parts:
        require_room(path, sum(part.file_size for part in parts.infolist()))
    if part := damaged_part(path):  # numpy itself may stop before the checksum
        raise ValueError(f"{part} has another checksum")
    arrays = {}
    with np.load(path, allow_pickle=False) as archive:
        if len(archive.files) > len(set(archive.files)):
            raise ValueError("an array is there twice")
        for name in archive.files:
            require_known(name, path)
            try:
                values = archive[name]
            except ValueError as error:
                if "max_header_size" in str(error):  # which numpy calls unsafe too, and names pickling beside it
                    raise InputError(f"{path}: {name} has a header of more than 10,000 bytes; {PLAIN}") from None
                if "Object arrays" not in str(error):
                    raise
                raise pickled(path, name) from None
            if not isinstance(values, np.ndarray):
                raise InputError(f"{path}: {name} is no array; {EXPECTED}")
            arrays[name] = values
    return arrays


def arrays_of_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Name → array, of datasets and of the file's attributes; its checksum too, where it has one and it is right.

    A file that another program has open is no damaged one.
    """
    arrays: dict[str, np.ndarray] = {}
    with opened_unchecked(path) as file:
        datasets = datasets_of(file, path)
        require_room(path, sum(bytes_of(dataset) for dataset in datasets.values()))
        for name, dataset in datasets.items():
            arrays[name] = values_of(dataset, path, name)
        checksum = file.attrs.get(CHECKSUM)
        if checksum is not None and checksum != arrays_digest(arrays):
            raise Damaged(
                f"{path}: its arrays are not what was written (SHA-256 differs); copy it again from where it is whole, or write it "
                "again: audio-rkd teacher-file"
            )
        for name in (*ATTRIBUTES, CHECKSUM):
            if name in file.attrs and name not in arrays:
                arrays[name] = np.asarray(file.attrs[name])
    return arrays


def datasets_of(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """Name → dataset, unread. ``InputError`` for what lies in another file, or in this one by another name: no link is followed."""
    own = {name: file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None for name in file}
    if "maps" in own:
        if not isinstance(maps := own.pop("maps"), h5py.Group):
            raise InputError(f"{path}: maps is no group of this file itself; {EXPECTED}")
        hard = {key: isinstance(maps.get(key, getlink=True), h5py.HardLink) for key in maps}
        own |= {f"maps/{key}": maps[key] if hard[key] else None for key in hard}
    for name, dataset in own.items():
        require_known(name, path)
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise InputError(f"{path}: {name} is no dataset of this file itself; {EXPECTED}")
    return own


def bytes_of(dataset: h5py.Dataset) -> int:
    """What an array takes in memory, about."""
    return (dataset.size or 0) * (TEXT if dataset.dtype.hasobject else dataset.dtype.itemsize)


def require_room(path: Path, size: int) -> None:
    """``InputError`` for arrays of more bytes than there is memory for: a file may be small and claim them all the same."""
    if size > (free := free_memory()):
        raise InputError(
            f"{path}: its arrays take {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free; expected a file of fewer clips or "
            "outputs: of the terms' own alone, or in float32"
        )


def values_of(dataset: h5py.Dataset, path: Path, name: str) -> np.ndarray:
    if h5py.check_string_dtype(dataset.dtype):
        return np.asarray(dataset.asstr()[()])
    if dataset.dtype.kind == "O":
        raise pickled(path, name)
    return np.asarray(dataset[()])


def pickled(path: Path, name: str) -> InputError:
    return InputError(f"{path}: {name} holds Python objects, which are never unpickled; {PLAIN}")


def require_known(name: str, path: Path) -> None:
    """``InputError`` for an array that nobody would read."""
    known = (*OTHERS, *VECTORS)
    if name not in known and not MAP.fullmatch(name):
        import difflib

        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        suggestion = f", did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"{path}: unknown array {name!r}{suggestion}; expected some of {', '.join(known)}, maps/map1 …"
        )


def teacher_file(path: Path, arrays: Mapping[str, np.ndarray]) -> TeacherFile:
    """The arrays of a file as what they mean."""
    if "clip" not in arrays:
        raise InputError(f"{path}: no array clip; {EXPECTED}")
    clips = texts(arrays["clip"], "clip", path)
    views = views_of(texts(arrays["view"], "view", path), path) if "view" in arrays else None
    trained_on = integers(arrays["trained_on"], "trained_on", path, (1, 2)) if "trained_on" in arrays else None
    folds = integers(arrays["fold"], "fold", path, (1,)) if "fold" in arrays else None
    given = {name: arrays[name] for name in arrays if name not in OTHERS}
    layout = shapes.layout(path, given, len(clips), views, trained_on, folds)
    names, each_view = shapes.rows(clips, views, layout)
    shapes.require_each_once(path, names, each_view)
    outputs = {f"map{m[1]}" if (m := MAP.fullmatch(name)) else name: layout.rowwise(given[name]) for name in given}
    return TeacherFile(
        path,
        names,
        each_view,
        outputs,
        classes_of(arrays, given, path),
        shapes.folds_seen(trained_on, layout),
        () if folds is None else tuple(folds.tolist()),
        clip_folds(arrays, clips, layout, path),
        data_of(arrays, path),
        tuple(texts(arrays["channels_last"], "channels_last", path)) if "channels_last" in arrays else (),
    )


def texts(values: np.ndarray, name: str, path: Path) -> list[str]:
    """(n,) text, or whole numbers as text."""
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "USOTiu":
        raise InputError(
            f"{path}: {name} is {values.dtype} {values.shape}; expected a list of names: (n,) text, numpy.array([...], dtype=str)"
        )
    try:
        return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values.tolist()]
    except UnicodeDecodeError:
        raise InputError(f"{path}: {name} holds bytes that are no UTF-8; expected text") from None


def integers(values: np.ndarray, name: str, path: Path, dimensions: tuple[int, ...]) -> np.ndarray:
    """Whole numbers of one of so many dimensions; an empty list may be of any type."""
    if values.ndim not in dimensions or (values.size and values.dtype.kind not in "iu"):
        raise InputError(
            f"{path}: {name} is {values.dtype} {values.shape}; expected whole numbers, for example numpy.array([2, 3])"
        )
    return values.astype(np.int64)


def classes_of(arrays: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray], path: Path) -> tuple[str, ...]:
    """The names of the columns of logits; without them, or with one twice, nobody knows what they mean."""
    if "classes" not in arrays:
        if "logits" in given:
            raise InputError(
                f"{path}: logits without classes: which column is which class is not known; expected an array classes, "
                f"{many(given['logits'].shape[-1], 'name')} in the order of the columns"
            )
        return ()
    classes = texts(arrays["classes"], "classes", path)
    if double := sorted({name for name in classes if classes.count(name) > 1}):
        raise InputError(f"{path}: class {double[0]!r} is there twice; expected each name once")
    if "logits" in given and given["logits"].shape[-1] != len(classes):
        raise InputError(
            f"{path}: logits of {many(given['logits'].shape[-1], 'column')} and {many(len(classes), 'class')}; expected a name for each column"
        )
    return tuple(classes)


def clip_folds(
    arrays: Mapping[str, np.ndarray], clips: list[str], layout: shapes.Layout, path: Path
) -> tuple[int, ...]:
    """The fold of each row as the teacher had it; () where the file does not say."""
    if "clip_fold" not in arrays:
        return ()
    folds = integers(arrays["clip_fold"], "clip_fold", path, (1,))
    if len(folds) != len(clips):
        raise InputError(
            f"{path}: clip_fold of {many(len(folds), 'clip')}, clip of {len(clips)}; expected one fold per clip"
        )
    return tuple(np.repeat(folds, max(1, layout.views_of_clip)).tolist())


def data_of(arrays: Mapping[str, np.ndarray], path: Path) -> dict[int, str]:
    """Fold → digest of its features."""
    if "data" not in arrays:
        return {}
    try:
        kept: Any = json.loads(str(arrays["data"].item()))
        return {int(fold): str(digest) for fold, digest in kept.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: data is no JSON of folds and digests ({error}); expected none at all, or that"
        ) from None
