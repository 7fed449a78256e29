"""What a fold's file holds, as frozen dataclasses; where it belongs; its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline import config
from pipeline.config import FeatureSpec
from pipeline.corpus.clips import UNLABELLED
from pipeline.label_sets import LabelSets, multi_hot, named

if TYPE_CHECKING:
    from pipeline.cache.on_disk import OnDisk

SCHEMA = 1
AXES = ("clip", "view", "feature", "bin", "frame")

#: Of the files of a corpus' features.
FILE_NAMES = r"(?:fold(\d+)|unlabelled)\.h5"


@dataclass(frozen=True, slots=True)  # there is one per clip
class File:
    """The file a clip was computed from: relative path, bytes, time of change, hash, annotated length."""

    path: str
    size: int
    mtime_ns: int
    sha256: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Failure:
    """A clip that could not be computed, in the words of ``audio.ClipError``."""

    clip: str
    file: File
    reason: str
    expected: str = ""
    found: str = ""


class Window(NamedTuple):
    """Which part of its file a clip is, in seconds."""

    start: float
    seconds: float


@dataclass(frozen=True)
class Header:
    """All that a fold's file says, without the features themselves; sequences are parallel, one entry per clip."""

    corpus: str
    dataset: str
    synthetic: bool
    fold: int
    classes: tuple[str, ...]
    spec: FeatureSpec
    clips: tuple[str, ...]
    labels: tuple[int, ...]
    sources: tuple[str, ...]
    files: tuple[File, ...]
    skipped: tuple[Failure, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    plain: bool = False
    """Computed by librosa's public functions one by one."""
    compressed: bool = False
    """Stored with gzip and shuffle, one chunk per clip."""
    units: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    """A unit and a description for each feature."""
    digest: str = ""
    clip_digests: tuple[str, ...] = field(default=(), compare=False)
    """``clip_digest`` of each clip; none in files of before there were any."""
    windows: tuple[Window, ...] = ()
    """Of each clip, where long files are several; else none."""
    label_sets: LabelSets = ()
    """By label the numbers of its classes, where clips have several labels; else none."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of each clip what it is called: a class, several with semicolons between, or "without a label"."""
        names = named(self.classes, self.label_sets)
        return tuple(names[label] if label >= 0 else "without a label" for label in self.labels)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return (len(self.clips), len(self.spec.view_names), *self.spec.shape)


@dataclass(frozen=True)
class Fold:
    """A whole file: ``features`` (clip, view, feature, bin, frame) float32 and what is said of them."""

    header: Header
    features: np.ndarray | OnDisk


@dataclass(frozen=True)
class Data:
    """The folds of a corpus, one after another."""

    features: np.ndarray | OnDisk
    """(clip, view, feature, bin, frame) float32; view 0 is clean, 1 is noisy, those behind are changed copies."""
    labels: np.ndarray
    """(clip,) int64; −1: without a label."""
    folds: np.ndarray
    """(clip,) int64; −1 of clips without a label."""
    clips: tuple[str, ...]
    sources: tuple[str, ...]
    classes: tuple[str, ...]
    corpus: str
    synthetic: bool
    spec: FeatureSpec
    skipped: dict[int, int]
    """Fold → number of clips that were left out."""
    digests: dict[int, str]
    """Fold → ``content_digest``."""
    hashes: tuple[str, ...] = ()
    """SHA-256 of each clip's file; "" where it is not known, empty where none is."""
    label_sets: LabelSets = ()
    """By label the numbers of its classes, where clips have several labels; else none: a label is the number of a class."""

    @property
    def targets(self) -> np.ndarray:
        """(label, class) float32, of ``label_sets``: 1 for each class of a label."""
        return multi_hot(self.label_sets, len(self.classes))


def fold_path(root: Path, corpus: str, spec: FeatureSpec, fold: int) -> Path:
    """Where the features of a fold, or of the clips without a label, belong; other settings are another folder."""
    return Path(root) / corpus / f"f{spec.bins}-{config.digest(spec)}" / file_name(fold)


def file_name(fold: int) -> str:
    """As ``FILE_NAMES``."""
    return "unlabelled.h5" if fold == UNLABELLED else f"fold{fold}.h5"


def content_digest(
    blocks: Iterable[np.ndarray], labels: Sequence[int], clips: Sequence[str], label_sets: LabelSets = ()
) -> str:
    """SHA-256 of features (little-endian float32, clip by clip), labels (int64) and names, in that order; of several labels a clip
    also of what the labels stand for."""
    state = hashlib.sha256()
    for block in blocks:
        state.update(np.ascontiguousarray(block, dtype="<f4").data)
    state.update(np.asarray(labels, dtype="<i8").tobytes())
    state.update("\n".join(clips).encode())
    if label_sets:
        state.update(json.dumps(label_sets).encode())
    return state.hexdigest()


def clip_digest(features: np.ndarray) -> str:
    """SHA-256 of a clip's features (view, feature, bin, frame), little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(features, dtype="<f4").data).hexdigest()


def header_digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of all that a fold's file says beside its features: name of a dataset or attribute → value, in JSON's types."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
