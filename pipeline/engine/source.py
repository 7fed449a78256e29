"""What runs are trained and tested on: the cached features of a corpus of sounds, or the images of an archive."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import cache, places
from pipeline.config import FeatureSpec, InputError, Settings
from pipeline.corpus import UNLABELLED, Corpus, part_names
from pipeline.corpus.clips import require_folds
from pipeline.files import Stamp, stamp
from pipeline.images.archive import Archive
from pipeline.label_sets import LabelSets
from pipeline.runs import DataSet
from pipeline.runs.planned import Files
from pipeline.runs.record import IMAGES
from pipeline.teacher_files.fitting import Clips


@dataclass(frozen=True)
class Source:
    """What runs are trained and tested on."""

    files: Files
    data_set: DataSet
    digests: dict[str, str]
    """Fold → digest of its content."""
    classes: tuple[str, ...]
    label_sets: LabelSets = ()
    """By label the numbers of its classes, where clips have several labels; else ()."""

    @property
    def name(self) -> str:
        return self.data_set.corpus

    @property
    def folds(self) -> tuple[int, ...]:
        """All that there are, without the clips that have no label."""
        return tuple(sorted({*map(int, self.digests)} - {UNLABELLED}))

    @property
    def has_unlabelled(self) -> bool:
        """Whether there are clips without a label beside those of the folds."""
        return str(UNLABELLED) in self.digests

    def spec(self, settings: Settings) -> FeatureSpec | None:
        """How its features are computed; None of images."""
        return None if isinstance(self.files, Archive) else settings.features

    def on(self, spec: FeatureSpec) -> Source:
        """The same clips, folds and views with other features. ``InputError`` where these are not there, or of other clips."""
        if isinstance(self.files, Archive) or cache.read_header(self.files[0]).spec == spec:
            return self
        parts = [int(part) for part in self.digests]
        paths = tuple(cache.fold_path(places.cache(), self.name, spec, part) for part in parts)
        if missing := [part for part, path in zip(parts, paths) if not path.is_file()]:
            raise InputError(
                f"no features of {part_names(missing)} in {paths[0].parent}; make them first: make features {as_sets(spec)} with the "
                "same dataset"
            )
        for path, other in zip(self.files, paths):
            here, there = cache.read_header(path), cache.read_header(other)
            if told(here) != told(there):
                raise InputError(
                    f"{other} is of other clips than {path}; expected the same, in one state: make features {as_sets(spec)} again"
                )
        headers = [cache.read_header(path) for path in paths]
        digests = {str(header.fold): header.digest for header in headers}
        return Source(paths, self.data_set, digests, self.classes, self.label_sets)

    @property
    def clips(self) -> Clips:
        """Names and folds of its clips, without what they hold."""
        if isinstance(self.files, Archive):
            from pipeline.images import samples as images

            return clips_of(images.read(self.files), self.data_set)
        headers = headers_of(self.files, tuple(map(stamp, self.files)))
        return Clips(
            tuple(clip for header in headers for clip in header.clips),
            np.repeat([header.fold for header in headers], [len(header.clips) for header in headers]),
            len(headers[0].spec.view_names),
            self.classes,
            {header.fold: header.digest for header in headers},
            self.data_set.all_folds,
            np.concatenate([header.labels for header in headers]),
        )


@functools.lru_cache(maxsize=4)  # of some settings: every teacher of a command is held against them
def headers_of(files: tuple[Path, ...], _states: tuple[Stamp, ...]) -> tuple[cache.Header, ...]:
    """Of folds' files, kept as long as these stay as they are."""
    return tuple(map(cache.read_header, files))


def classes_of(files: Files) -> tuple[str, ...]:
    """All classes of a corpus of sounds, by its features; () of images."""
    return () if isinstance(files, Archive) else cache.read_header(files[0]).classes


def told(header: cache.Header) -> tuple[object, ...]:
    """What features of other settings must say of the same clips."""
    return header.clips, header.labels, header.label_sets, sounds(header)


def sounds(header: cache.Header) -> tuple[tuple[str, int], ...]:
    """What features were computed from: files and their sizes."""
    return tuple((file.path, file.size) for file in header.files)


def as_sets(spec: FeatureSpec) -> str:
    """Where a spec differs from the default, as a make door takes it: SET="features.bins=64"; "" where it does not."""
    plain = FeatureSpec(seconds=spec.seconds)
    changed = [
        field.name for field in dataclasses.fields(spec) if getattr(spec, field.name) != getattr(plain, field.name)
    ]
    return 'SET="' + " ".join(f"features.{name}={getattr(spec, name)}" for name in changed) + '"' if changed else ""


def clips_of(data: cache.Data, data_set: DataSet, learned: tuple[int, ...] | None = None) -> Clips:
    """The same of what was loaded; ``learned``: the classes of the students that ask, None: all."""
    return Clips(
        tuple(data.clips),
        data.folds,
        data.features.shape[1],
        tuple(data.classes),
        data.digests,
        data_set.all_folds,
        data.labels,
        learned,
    )


def of_corpus(corpus: Corpus, settings: Settings) -> Source:
    """The cached features of a corpus of sounds."""
    files = feature_files(corpus, settings)
    data_set = DataSet(corpus.name, corpus.dataset, corpus.synthetic, tuple(corpus.all_folds))
    digests, about = {}, []
    for header in map(cache.read_header, files):  # one at a time: of many clips they are large
        digests[str(header.fold)] = header.digest
        about.append((header.classes, header.label_sets))
    return Source(files, data_set, digests, *about[0])


def of_archive(archive: Archive) -> Source:
    """The images of an archive; the test images are fold 0, the one that is held out."""
    from pipeline.images import samples as images

    data = images.read(archive)
    data_set = DataSet(data.corpus, IMAGES, data.synthetic, (images.TEST,))
    digests = {str(fold): digest for fold, digest in data.digests.items()}
    return Source(archive, data_set, digests, data.classes)


def wanted_folds(corpus: Corpus, folds: Sequence[int] | None) -> tuple[int, ...]:
    """The held-out folds asked for; all that are present by default. Two folds at least must be present."""
    if len(corpus.folds) < 2:
        raise InputError(
            f"{corpus.root} has fold {corpus.folds[0]} alone; expected two at least: one is held out, the others train"
        )
    require_folds(folds or (), corpus.folds, corpus.root)
    return tuple(folds or corpus.folds)


def feature_files(corpus: Corpus, settings: Settings) -> tuple[Path, ...]:
    """The cached files of all folds, and of clips without a label: a held-out fold's training needs all the others."""
    paths = tuple(cache.fold_path(places.cache(), corpus.name, settings.features, part) for part in corpus.parts)
    missing = [part for part, path in zip(corpus.parts, paths) if not path.is_file()]
    if missing:
        raise InputError(
            f"no features of {part_names(missing)} in {paths[0].parent}; make them first: "
            "'make features' (or 'python cli.py features') with the same dataset and settings"
        )
    return paths
