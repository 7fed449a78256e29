"""The features of a fold as one self-describing HDF5 file, written in full or not at all.

Layout, schema 1; n clips, those that were skipped not among them::

    features        (clip, view, feature, bin, frame) float32; contiguous, or gzip + shuffle a clip
    label           (clip,) int64, index into the attribute ``classes``; where clips have several labels into ``label_sets``
    label_sets      (label,) text: indices into ``classes``; only where clips have several labels
    clip source     (clip,) text: the clip's name; the recording it was cut from
    view feature bin frame    scales of the other axes; ``frame`` in seconds
    features_sha256 (clip,) text: SHA-256 of the clip's features; not in the first files, which get it when they are checked
    file/           path size mtime_ns sha256 seconds, (clip,): what each clip was computed from
    window/         start seconds, (clip,): which part of its file a clip is; only where long files are several clips
    skipped/        clip path size mtime_ns sha256 seconds reason expected found, (skipped,): the clips left out, and why

Every axis of every dataset has its scale and its label, every dataset its unit and description. Attributes of the
file: ``schema corpus dataset synthetic fold classes spec versions plain skipped digest``; ``spec`` (all
settings of stage one) and ``versions`` are JSON, ``digest`` is ``content_digest`` of what the file holds, ``header_digest``
the SHA-256 of all but the features. Both, and each clip's, are compared when a file is read (``checking``).
"""

from __future__ import annotations

from pipeline.cache.loading import described, load, read_fold
from pipeline.cache.on_disk import OnDisk, rows_of, rows_of_clips
from pipeline.cache.reading import (
    InUse,
    Unavailable,
    check,
    feature_blocks,
    opened,
    read_digests,
    read_header,
)
from pipeline.cache.schema import (
    Data,
    Failure,
    File,
    Fold,
    Header,
    Window,
    content_digest,
    fold_path,
)
from pipeline.cache.writing import add_clip_digests, write_fold

__all__ = [
    "Data",
    "Failure",
    "File",
    "Fold",
    "Header",
    "InUse",
    "OnDisk",
    "Unavailable",
    "Window",
    "add_clip_digests",
    "check",
    "content_digest",
    "described",
    "feature_blocks",
    "fold_path",
    "load",
    "opened",
    "read_digests",
    "read_fold",
    "read_header",
    "rows_of",
    "rows_of_clips",
    "write_fold",
]
