"""What an open fold's file says of its clips: all but the features."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import h5py
import numpy as np

from pipeline import config, label_sets
from pipeline.cache.schema import Failure, File, Header, Window, header_digest
from pipeline.config import FeatureSpec
from pipeline.corpus.clips import UNLABELLED

#: The dataset of digests by clip, and the attribute that holds the digest of all but the features; later than the first files.
CLIP_DIGESTS, HEADER_DIGEST = "features_sha256", "header_digest"

#: The dataset that says what a label stands for, where clips have several.
LABEL_SETS = "label_sets"


def header_of(file: h5py.File) -> Header:
    """``ValueError`` where what the file says does not fit together, or is not what was written."""
    attrs = file.attrs
    if HEADER_DIGEST in attrs and header_digest(all_but_features(file)) != str(attrs[HEADER_DIGEST]):
        raise ValueError("what it says of its clips is not what was written: SHA-256 differs")
    header = Header(
        corpus=str(attrs["corpus"]),
        dataset=str(attrs["dataset"]),
        synthetic=bool(attrs["synthetic"]),
        fold=int(attrs["fold"]),
        classes=tuple(map(str, attrs["classes"])),
        spec=config.build(FeatureSpec, json.loads(attrs["spec"]), str(file.filename)),
        clips=texts(file["clip"]),
        labels=tuple(file["label"][()].tolist()),
        sources=shared(texts(file["source"])),
        files=files_of(file["file"]),
        skipped=tuple(
            Failure(*values)
            for values in zip(
                texts(file["skipped/clip"]),
                files_of(file["skipped"]),
                *(texts(file[f"skipped/{name}"]) for name in ("reason", "expected", "found")),
            )
        ),
        versions=json.loads(attrs["versions"]),
        plain=bool(attrs["plain"]),
        compressed=file["features"].compression is not None,
        units=tuple(map(str, file["feature"].attrs["feature_units"])),
        calls=tuple(map(str, file["feature"].attrs["feature_calls"])),
        digest=str(attrs["digest"]),
        clip_digests=texts(file[CLIP_DIGESTS]) if CLIP_DIGESTS in file else (),
        windows=tuple(map(Window, *(file[f"window/{name}"][()].tolist() for name in Window._fields)))
        if "window" in file
        else (),
        label_sets=tuple(tuple(map(int, text.split())) for text in texts(file[LABEL_SETS]))
        if LABEL_SETS in file
        else (),
    )
    if header.label_sets:
        label_sets.require(file.filename)
    require_fitting(file, header)
    return header


def unknown_setting(file: h5py.File) -> str:
    """A setting of features that only a later version has; "" where there is none."""
    known = {field.name for field in dataclasses.fields(FeatureSpec)}
    return next((f"features.{key}" for key in json.loads(file.attrs["spec"]) if key not in known), "")


def require_fitting(file: h5py.File, header: Header) -> None:
    """``ValueError`` where the parts of a file are of different lengths, or a label has no class."""
    if file["features"].shape != header.shape or file["features"].dtype != np.float32:
        raise ValueError(f"features {file['features'].shape}, expected {header.shape} float32")
    lengths = {len(header.labels), len(header.sources), len(header.files)}
    if header.clip_digests or HEADER_DIGEST in file.attrs:
        lengths.add(len(header.clip_digests))
    if "window" in file:
        lengths.add(len(header.windows))
    if lengths != {len(header.clips)}:
        raise ValueError("columns of different lengths")
    least = UNLABELLED if header.fold == UNLABELLED else 0
    count = len(header.label_sets or header.classes)
    if any(not least <= label < (count if least == 0 else 0) for label in header.labels):
        raise ValueError("a label without a class")
    if any(not 0 <= number < len(header.classes) for numbers in header.label_sets for number in numbers):
        raise ValueError("a label of a class that is not there")


def all_but_features(file: h5py.File) -> dict[str, Any]:
    """All that a file holds beside its features, in JSON's types: attributes, and datasets with their units and scales."""
    values = {f"@{name}": plain(value) for name, value in file.attrs.items() if name != HEADER_DIGEST}
    # What the settings mean: a later setting that is at its default is none, whether it is written or not.
    values["@spec"] = config.identifying(json.loads(file.attrs["spec"]), FeatureSpec)
    values |= {f"feature@{name}": plain(file["feature"].attrs[name]) for name in ("feature_units", "feature_calls")}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and name != "features":
            text = h5py.check_string_dtype(item.dtype)
            values[name] = texts(item) if text else [repr(value) for value in item[()].tolist()]

    file.visititems(visit)
    return values


def plain(value: Any) -> Any:
    """An attribute in JSON's types; texts are bytes or str, by how they were stored."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def texts(dataset: h5py.Dataset) -> tuple[str, ...]:
    return tuple(dataset.asstr()[()].tolist())


def shared(values: tuple[str, ...]) -> tuple[str, ...]:
    """The same, with one text for all that are equal."""
    each = dict(zip(values, values))
    return tuple(each[value] for value in values)


def files_of(group: h5py.Group) -> tuple[File, ...]:
    seconds = [None if np.isnan(s) else s for s in group["seconds"][()].tolist()]
    size, mtime_ns = (group[name][()].tolist() for name in ("size", "mtime_ns"))
    return tuple(map(File, texts(group["path"]), size, mtime_ns, texts(group["sha256"]), seconds))
