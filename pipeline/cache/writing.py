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

from pipeline.cache.schema import AXES, SCHEMA, File, Header, content_digest
from pipeline.config import FEATURES, VIEWS
from pipeline.runs.writing import sync_folder


def write_fold(path: Path, header: Header, blocks: Iterable[np.ndarray]) -> str:
    """Write a fold's file: under another name, synced, renamed. Returns its content digest.

    ``blocks`` are arrays (k, view, feature, bin, frame) float32, together ``header.clips`` in their order;
    they are written as they come. ``OSError`` says what the system refused; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Room first: HDF5 itself loses the reason of a failed write, and may fail again while closing.
        with unfinished.open("wb") as room:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(room.fileno(), 0, int(np.prod(header.shape)) * 4 + 65536)
        with h5py.File(unfinished, "w") as file:
            digest = write_content(file, header, blocks)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)
    return digest


def write_content(file: h5py.File, header: Header, blocks: Iterable[np.ndarray]) -> str:
    spec, text = header.spec, h5py.string_dtype("utf-8")

    def dataset(name: str, values: Any, dtype: Any, unit: str, description: str) -> h5py.Dataset:
        made = file.create_dataset(name, data=np.array(values, dtype=dtype))
        made.attrs["units"], made.attrs["description"] = unit, description
        return made

    scales = [
        dataset("clip", header.clips, text, "", "name of the clip, unique in the corpus"),
        dataset("view", VIEWS, text, "", "clean, or with Gaussian noise added to the samples"),
        dataset("feature", FEATURES, text, "", "librosa's name of the feature"),
        dataset("bin", np.arange(spec.bins), "<i4", "1", "row: MFCC coefficient, mel band or pitch class, from low"),
        dataset("frame", np.arange(spec.frames) * spec.hop_length / spec.sr, "<f8", "s", "centre of the frame"),
    ]  # fmt: skip
    for scale, axis in zip(scales, AXES, strict=True):
        scale.make_scale(axis)
    for name, values in (("feature_units", header.units), ("feature_calls", header.calls)):
        scales[2].attrs.create(name, values, dtype=text)

    per_clip = [
        dataset("label", header.labels, "<i8", "1", "index into the attribute classes of this file"),
        dataset("source", header.sources, text, "", "recording the clip was cut from"),
        *(dataset(f"file/{name}", values, dtype, unit, description)
          for name, dtype, unit, description, values in file_columns(header.files, text)),
    ]  # fmt: skip
    skipped = dataset("skipped/clip", [s.clip for s in header.skipped], text, "", "name of a clip left out")
    skipped.make_scale("skipped clip")
    per_skipped = [
        *(dataset(f"skipped/{name}", values, dtype, unit, description)
          for name, dtype, unit, description, values in file_columns([s.file for s in header.skipped], text)),
        *(dataset(f"skipped/{name}", [getattr(s, name) for s in header.skipped], text, "", f"{name} of the failure")
          for name in ("reason", "expected", "found")),
    ]  # fmt: skip
    for made in per_clip:
        made.dims[0].label = "clip"
        made.dims[0].attach_scale(scales[0])
    for made in per_skipped:
        made.dims[0].label = "skipped clip"
        made.dims[0].attach_scale(skipped)

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

    # No time of writing here: the same clips and settings give the same file.
    file.attrs["title"] = f"stacked LibROSA features of {header.corpus}, fold {header.fold}"
    file.attrs["schema"] = SCHEMA
    file.attrs["corpus"], file.attrs["dataset"] = header.corpus, header.dataset
    file.attrs["synthetic"], file.attrs["plain"] = header.synthetic, header.plain
    file.attrs["fold"], file.attrs["skipped"] = header.fold, len(header.skipped)
    file.attrs.create("classes", header.classes, dtype=text)
    file.attrs["spec"] = json.dumps(dataclasses.asdict(spec))
    file.attrs["versions"] = json.dumps(header.versions)
    digest = content_digest(written(features, blocks), header.labels, header.clips)
    file.attrs["digest"] = digest
    return digest


def file_columns(files: Sequence[File], text: Any) -> list[tuple[str, Any, str, str, list[Any]]]:
    """Name, type, unit, description and values of the columns that ``File``s become."""
    seconds = [float("nan") if f.seconds is None else f.seconds for f in files]
    return [
        ("path", text, "", "path in the corpus", [f.path for f in files]),
        ("size", "<i8", "byte", "size of the file", [f.size for f in files]),
        ("mtime_ns", "<i8", "ns", "time of its last change since 1970", [f.mtime_ns for f in files]),
        ("sha256", text, "", "SHA-256 of the file, empty where it could not be read", [f.sha256 for f in files]),
        ("seconds", "<f8", "s", "length by the corpus' annotation, NaN where it has none", seconds),
    ]  # fmt: skip


def written(features: h5py.Dataset, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Each block, after it was written behind the ones before."""
    done = 0
    for block in blocks:
        features[done : done + len(block)] = block
        done += len(block)
        yield block
    if done != len(features):
        raise ValueError(f"{done} clips were given, {len(features)} are announced")
