"""Writing a fold's file."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline import locks
from pipeline.cache import checking
from pipeline.cache.header import CLIP_DIGESTS, HEADER_DIGEST, LABEL_SETS, all_but_features
from pipeline.cache.reading import blocks, check, in_use, read_header
from pipeline.cache.schema import (
    AXES,
    SCHEMA,
    File,
    Header,
    clip_digest,
    content_digest,
    header_digest,
)
from pipeline.config import InputError
from pipeline.corpus.clips import part_name
from pipeline.files import sync_folder

TEXT = h5py.string_dtype("utf-8")


def write_fold(path: Path, header: Header, blocks: Iterable[np.ndarray]) -> str:
    """Write a fold's file: under another name, synced, renamed. Returns its content digest.

    ``blocks`` are arrays (k, view, feature, bin, frame) float32, together ``header.clips`` in their order;
    they are written as they come. ``OSError`` says what the system refused, ``InUse`` that another program has the file
    of that name open for writing; nothing is left behind then, and nothing replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Room first: HDF5 itself loses the reason of a failed write, and may fail again while closing.
        with unfinished.open("wb") as room:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(room.fileno(), 0, int(np.prod(header.shape)) * 4 + 65536)
        # Nobody else knows its name, so no lock is needed: there are file systems without.
        with h5py.File(unfinished, "w", locking=False) as file:
            digest = write_content(file, header, blocks)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        if path.is_file() and locks.in_use(path):
            raise in_use(path)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)
    return digest


def write_content(file: h5py.File, header: Header, blocks: Iterable[np.ndarray]) -> str:
    """All of a fold's file. Returns its content digest."""
    scales = write_scales(file, header)
    write_columns(file, header, scales[0])
    features = features_dataset(file, header, scales)
    write_attributes(file, header)
    digests: list[str] = []
    digest = content_digest(written(features, blocks, digests), header.labels, header.clips, header.label_sets)
    file.attrs["digest"] = digest
    words = "SHA-256 of the clip's features, both views, as little-endian float32"
    column = dataset(file, CLIP_DIGESTS, digests, TEXT, "", words)
    column.dims[0].label = "clip"
    column.dims[0].attach_scale(scales[0])
    file.attrs[HEADER_DIGEST] = header_digest(all_but_features(file))
    return digest


def dataset(file: h5py.File, name: str, values: Any, dtype: Any, unit: str, description: str) -> h5py.Dataset:
    written = file.create_dataset(name, data=np.array(values, dtype=dtype))
    written.attrs["units"], written.attrs["description"] = unit, description
    return written


def write_scales(file: h5py.File, header: Header) -> list[h5py.Dataset]:
    """One for each of ``AXES``."""
    spec = header.spec
    rows = "row: MFCC coefficient, mel band or pitch class, from low"
    seconds = np.arange(spec.frames) * spec.hop_length / spec.sr
    views = "clean, or with Gaussian noise added to the samples"
    views += "; or changed in speed, gain and level of noise" if spec.views else ""
    scales = [
        dataset(file, "clip", header.clips, TEXT, "", "name of the clip, unique in the corpus"),
        dataset(file, "view", spec.view_names, TEXT, "", views),
        dataset(file, "feature", spec.names, TEXT, "", "librosa's name of the feature"),
        dataset(file, "bin", np.arange(spec.bins), "<i4", "1", rows),
        dataset(file, "frame", seconds, "<f8", "s", "centre of the frame"),
    ]
    for scale, axis in zip(scales, AXES, strict=True):
        scale.make_scale(axis)
    for name, values in (("feature_units", header.units), ("feature_calls", header.calls)):
        scales[2].attrs.create(name, values, dtype=TEXT)
    return scales


def write_columns(file: h5py.File, header: Header, clips: h5py.Dataset) -> None:
    """What is said of each clip, along the scale ``clips``, and of each that was skipped, along a scale of its own."""
    named = "the dataset label_sets" if header.label_sets else "the attribute classes"
    if header.label_sets:
        texts = [" ".join(map(str, numbers)) for numbers in header.label_sets]
        words = "the classes of a label: indices into the attribute classes of this file, with spaces between"
        dataset(file, LABEL_SETS, texts, TEXT, "", words).make_scale("label")
    per_clip = [
        dataset(file, "label", header.labels, "<i8", "1", f"index into {named} of this file"),
        dataset(file, "source", header.sources, TEXT, "", "recording the clip was cut from"),
        *(
            dataset(file, f"file/{name}", values, dtype, unit, description)
            for name, dtype, unit, description, values in file_columns(header.files)
        ),
        *window_columns(file, header),
    ]
    skipped = dataset(file, "skipped/clip", [s.clip for s in header.skipped], TEXT, "", "name of a clip left out")
    skipped.make_scale("skipped clip")
    of_skipped = file_columns([s.file for s in header.skipped])
    for name in ("reason", "expected", "found"):
        of_skipped.append((name, TEXT, "", f"{name} of the failure", [getattr(s, name) for s in header.skipped]))
    per_skipped = [
        dataset(file, f"skipped/{name}", values, dtype, unit, description)
        for name, dtype, unit, description, values in of_skipped
    ]
    for scale, label, columns in ((clips, "clip", per_clip), (skipped, "skipped clip", per_skipped)):
        for column in columns:
            column.dims[0].label = label
            column.dims[0].attach_scale(scale)


def window_columns(file: h5py.File, header: Header) -> list[h5py.Dataset]:
    """Which part of its file each clip is; nothing where each is its whole file."""
    if not header.windows:
        return []
    starts, seconds = zip(*header.windows)
    return [
        dataset(file, "window/start", starts, "<f8", "s", "where the clip begins in its file"),
        dataset(file, "window/seconds", seconds, "<f8", "s", "how much of its file the clip is"),
    ]


def features_dataset(file: h5py.File, header: Header, scales: Sequence[h5py.Dataset]) -> h5py.Dataset:
    layout = (
        {"chunks": (1, *header.shape[1:]), "compression": "gzip", "shuffle": True}
        if header.compressed and header.clips
        else {}
    )
    features = file.create_dataset("features", shape=header.shape, dtype="<f4", **layout)
    features.attrs["units"] = "by feature: attribute feature_units of feature"
    features.attrs["description"] = "stacked LibROSA features of every clip and its noisy copy"
    for index, (scale, axis) in enumerate(zip(scales, AXES, strict=True)):
        features.dims[index].label = axis
        features.dims[index].attach_scale(scale)
    return features


def write_attributes(file: h5py.File, header: Header) -> None:
    """Without a time of writing: the same clips and settings give the same file."""
    file.attrs["title"] = f"stacked LibROSA features of {header.corpus}, {part_name(header.fold)}"
    file.attrs["schema"] = SCHEMA
    file.attrs["corpus"], file.attrs["dataset"] = header.corpus, header.dataset
    file.attrs["synthetic"], file.attrs["plain"] = header.synthetic, header.plain
    file.attrs["fold"], file.attrs["skipped"] = header.fold, len(header.skipped)
    file.attrs.create("classes", header.classes, dtype=TEXT)
    file.attrs["spec"] = json.dumps(dataclasses.asdict(header.spec))
    file.attrs["versions"] = json.dumps(header.versions)


def file_columns(files: Sequence[File]) -> list[tuple[str, Any, str, str, list[Any]]]:
    """Name, type, unit, description and values of the columns that ``File``s become."""
    seconds = [float("nan") if f.seconds is None else f.seconds for f in files]
    hashes = [f.sha256 for f in files]
    return [
        ("path", TEXT, "", "path in the corpus", [f.path for f in files]),
        ("size", "<i8", "byte", "size of the file", [f.size for f in files]),
        ("mtime_ns", "<i8", "ns", "time of its last change since 1970", [f.mtime_ns for f in files]),
        ("sha256", TEXT, "", "SHA-256 of the file, empty where it could not be read", hashes),
        ("seconds", "<f8", "s", "length by the corpus' annotation, NaN where it has none", seconds),
    ]


def written(features: h5py.Dataset, blocks: Iterable[np.ndarray], digests: list[str]) -> Iterator[np.ndarray]:
    """Each block, after it was written behind the ones before; ``digests`` gets that of each clip."""
    done = 0
    for block in blocks:
        features[done : done + len(block)] = block
        digests += map(clip_digest, block)
        done += len(block)
        yield block
    if done != len(features):
        raise ValueError(f"{done} clips were given, {len(features)} are announced")


def add_clip_digests(path: Path) -> bool:
    """Write a file of before there were digests by clip once more, with them; whether it was done.

    First the whole file is compared with the fold's digest: ``InputError`` where its features are not what was written. Not done
    where there are digests already, where another process is at the fold, and where nothing can be written: it serves as it is.
    """
    header = read_header(path)
    if header.clip_digests or not header.clips:
        return False
    if damaged := check(path, again=True).damaged:
        raise InputError(f"{path}: {checking.words(damaged)}; {checking.remedy(path)}")
    try:
        with locks.locked(path, f"fold {header.fold}"):
            write_fold(path, header, blocks(path, header))
    except (InputError, OSError):
        return False
    checking.noted(path, checking.state(path), read_header(path), ())
    return True
