"""A fold's file from what was computed of it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pipeline import cache, features
from pipeline.cache import Header, checking
from pipeline.config import FeatureSpec
from pipeline.corpus import Clip, Corpus
from pipeline.extraction import parts
from pipeline.extraction.state import Plan


def assemble(fold_plan: Plan, corpus: Corpus, spec: FeatureSpec, *, plain: bool, compress: bool) -> None:
    """Write a fold's file from its parts and the rows of its old file; then the parts go."""
    kept, _ = parts.found_parts(fold_plan.parts, check=False)
    failed = {failure.clip for failure in fold_plan.failed}
    clips = [clip for clip in fold_plan.clips if clip.name not in failed]
    keys = [fold_plan.keys[clip.name] for clip in clips]
    hashes = [kept[key].sha256 if key in kept else fold_plan.hashes[key] for key in keys]
    descriptions = features.describe(spec)
    header = Header(
        corpus=corpus.name,
        dataset=corpus.dataset,
        synthetic=corpus.synthetic,
        fold=fold_plan.fold,
        classes=tuple(corpus.classes),
        spec=spec,
        clips=tuple(clip.name for clip in clips),
        labels=tuple(clip.label for clip in clips),
        sources=tuple(clip.source for clip in clips),
        files=tuple(dataclasses.replace(fold_plan.files[clip.name], sha256=sha) for clip, sha in zip(clips, hashes)),
        skipped=tuple(sorted(fold_plan.failed, key=lambda f: f.clip)),
        versions=parts.versions(),
        plain=plain,
        compressed=compress,
        units=tuple(about["unit"] for about in descriptions.values()),
        calls=tuple(about["call"] for about in descriptions.values()),
        windows=tuple(window_of(clip, spec) for clip in clips) if corpus.windows else (),
        label_sets=corpus.label_sets,
    )
    cache.write_fold(fold_plan.path, header, gathered(fold_plan, keys, kept))
    shutil.rmtree(fold_plan.parts, ignore_errors=True)


def window_of(clip: Clip, spec: FeatureSpec) -> cache.Window:
    """Which part of its file a clip is."""
    from pipeline.audio.decoding import seconds_stated  # soundfile: a finished stage does without

    start = clip.start or 0.0
    return cache.Window(start, round(min(spec.seconds, (seconds_stated(clip.path) or 0.0) - start), 6))


def gathered(fold_plan: Plan, keys: list[str], kept: dict[str, parts.Row]) -> Iterator[np.ndarray]:
    """The features of the clips with these keys, in their order, from parts or else from the old file.

    What lies together in a part comes in one piece: to write a clip by itself takes HDF5 twice as long.
    """
    opened: Path | None = None
    with ExitStack() as stack:
        old = stack.enter_context(cache.opened(fold_plan.path))["features"] if fold_plan.rows else None
        header = cache.read_header(fold_plan.path) if fold_plan.rows else None
        places = [kept[key][:2] if key in kept else (None, fold_plan.rows[key]) for key in keys]
        for path, first, stop in pieces(places):
            if path is not None:
                if path != opened:
                    opened, block = path, parts.part_features(path)
                yield block[first:stop]
                continue
            assert old is not None and header is not None
            for row in range(first, stop):
                old_row = old[row : row + 1]
                checking.require(fold_plan.path, header, old_row, row)  # or it would be believed from now on
                yield old_row


def pieces(places: Iterable[tuple[Path | None, int]]) -> Iterator[tuple[Path | None, int, int]]:
    """Rows of files, in order, as a file, a first row and one past the last, where rows follow each other."""
    path, first, stop = None, 0, 0
    for there, row in places:
        if (there, row) != (path, stop):
            if first < stop:
                yield path, first, stop
            path, first = there, row
        stop = row + 1
    if first < stop:
        yield path, first, stop
