"""``noise``: the accuracy of finished runs on the clean clips of their held-out folds with white noise added; of clips with several
labels the mean average precision.

A clip's noise is that of its noisy view (``audio.noise``), as strong as a signal-to-noise ratio says: 10 log₁₀ of the mean square of
the sound, what fills it up left out, over the noise's. It is the same at every ratio but for its strength. A silent clip gets none.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipeline import features, runs, training
from pipeline.audio import reading
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import Clip, Corpus
from pipeline.deploy.prediction import clean
from pipeline.engine.records import model_of, read_model
from pipeline.figures import evaluation
from pipeline.label_sets import mean_average_precision, measure
from pipeline.models import Network
from pipeline.progress import progress
from pipeline.report.aggregation import STAMP
from pipeline.report.table import Column, Table, number, of, padded
from pipeline.report.told import of_table
from pipeline.report.wording import trusted_teachers
from pipeline.runs import Predictions, Record
from pipeline.runs.by_clip import by_clip

#: Clips whose features are held at a time.
BLOCK = 32

CSV = "noise.csv"


@dataclass
class Heard:
    """One run, and the share of clips of its held-out fold that it names rightly, in percent: as they are, and at each ratio. Where
    clips are windows of files, of the files, by the mean over their windows, as in every report."""

    record: Record
    network: Network
    percents: dict[float, float] = field(default_factory=dict)

    def measure(self, told: Predictions, level: float) -> None:
        whole = by_clip(told)
        if self.record.several_labels:
            self.percents[level] = 100 * mean_average_precision(whole.labels, whole.logits)
        else:
            right = int((evaluation.predicted(whole.logits) == whole.labels).sum())
            self.percents[level] = 100 * right / len(whole.labels)


@dataclass(frozen=True)
class Row:
    """What runs of one mix and of the same settings have in common."""

    name: str
    settings: str
    runs: int
    clean: float
    noisy: tuple[float, ...]
    """Accuracies, or mean average precisions, in percent, means over the folds' means, one for each ratio."""


def noisy(sound: np.ndarray, name: str, spec: FeatureSpec, levels: Sequence[float]) -> np.ndarray:
    """(levels, samples) float32: the clip with noise of each signal-to-noise ratio in dB. ``sound`` (n,): not yet filled up."""
    clip, sound = reading.filled(sound, spec.samples, spec.short), sound[: spec.samples]
    hiss = reading.noise(name, spec.samples, std=1.0, seed=spec.noise_seed)
    power = float(np.mean(np.square(sound, dtype=np.float64))) if len(sound) else 0.0
    strengths = [math.sqrt(power / 10 ** (level / 10)) for level in levels]
    return np.stack([clip + np.float32(strength) * hiss for strength in strengths])


def heard(records: Sequence[Record], corpus: Corpus, levels: Sequence[float]) -> list[Heard]:
    """The runs, each asked about the clips that it was tested on."""
    each = [Heard(record, model_of(read_model(record.folder))) for record in records]
    alike: dict[tuple[int, FeatureSpec, tuple[str, ...]], list[Heard]] = {}
    for one in each:
        alike.setdefault((one.record.fold, clean_of(one.record, corpus), classes_of(one, corpus)), []).append(one)
    tested = {key: clips_of(group, corpus) for key, group in alike.items()}
    with progress("noise", sum(map(len, tested.values())), "clip", sys.stderr) as tell:
        for (fold, spec, classes), group in alike.items():
            seeded = dataclasses.replace(spec, noise_seed=group[0].record.settings.features.noise_seed)
            clips = tested[fold, spec, classes]
            logits = np.empty((len(group), len(levels), len(clips), len(classes)), np.float32)
            for start in range(0, len(clips), BLOCK):
                block = clips[start : start + BLOCK]
                logits[:, :, start : start + BLOCK] = answers(group, block, seeded, levels)
                tell(len(block))
            for one, own in zip(group, logits):
                told = runs.read_rows(one.record.folder)
                one.measure(told, math.inf)
                for level, in_noise in zip(levels, own):
                    one.measure(told._replace(logits=in_noise), level)
    return each


def classes_of(one: Heard, corpus: Corpus) -> tuple[str, ...]:
    """The classes that a run tells apart, in its order."""
    return one.record.classes or tuple(corpus.classes)


def clean_of(record: Record, corpus: Corpus) -> FeatureSpec:
    """The features of a run's clean clips. ``InputError`` for a run of images, and of another corpus or clip length."""
    if record.corpus != corpus.name:
        raise InputError(
            f"{record.folder} is of {record.corpus}, and {corpus.root} of {corpus.name}; expected the corpus that it was tested on: "
            "--dataset and --data"
        )
    return clean(record.settings.features)


def clips_of(group: Sequence[Heard], corpus: Corpus) -> list[Clip]:
    """The clips that runs of one fold were tested on.

    ``InputError`` where the corpus does not have them any more, or runs were tested on unlike ones.
    """
    by_name = {clip.name: clip for clip in corpus.clips}
    first: list[str] = []
    for one in group:
        told = runs.read_rows(one.record.folder)
        names = [str(name) for name in told.clips]
        first = first or names
        classes = classes_of(one, corpus)
        wrong = [
            name
            for name, label in zip(names, told.labels)
            if name not in by_name or names_of(by_name[name], corpus) != own_names(label, classes)
        ]
        if wrong or names != first:
            those = (
                f"{wrong[0]}, which is not in {corpus.root} as it was"
                if wrong
                else "other clips than the runs beside it"
            )
            raise InputError(
                f"{one.record.folder} was tested on {those}; expected the corpus as it was, and runs that it tested alike"
            )
    return [by_name[name] for name in first]


def names_of(clip: Clip, corpus: Corpus) -> set[str]:
    """The classes of a clip."""
    return {
        corpus.classes[number] for number in (corpus.label_sets[clip.label] if corpus.label_sets else (clip.label,))
    }


def own_names(label: np.ndarray, classes: Sequence[str]) -> set[str]:
    """The classes of a row of a run's predictions: a number, or 1 for each class that a clip has."""
    return {classes[number] for number in (np.flatnonzero(label).tolist() if label.ndim else (int(label),))}


def answers(group: Sequence[Heard], clips: Sequence[Clip], spec: FeatureSpec, levels: Sequence[float]) -> np.ndarray:
    """(runs, levels, clips, classes): the logits of runs of some clips in noise."""
    blocks = []
    for clip in clips:
        try:
            sound = reading.read_sound(
                clip.path, sr=spec.sr, samples=spec.samples, seconds=clip.seconds, start=clip.start or 0.0
            )
        except reading.ClipError as error:
            raise InputError(f"{error}; expected the clips that the runs were tested on") from None
        blocks.append(features.extract(noisy(sound, clip.name, spec, levels), spec))
    values = torch.from_numpy(np.stack(blocks, 1))  # (level, clip, feature, bin, frame)
    with torch.no_grad(), training.tuned(values.device, tf32=False):
        return np.stack([np.stack([one.network(x).logits.numpy() for x in values]) for one in group])


def rows(each: Sequence[Heard], levels: Sequence[float]) -> list[Row]:
    """Runs that differ in fold and seed alone, as a row."""
    alike: dict[tuple[str, str], list[Heard]] = {}
    for one in each:
        alike.setdefault((one.record.row_mix or "teacher", settings_of(one.record)), []).append(one)

    def mean(group: Sequence[Heard], level: float) -> float:
        folds = {one.record.fold for one in group}
        by_fold = [[one.percents[level] for one in group if one.record.fold == fold] for fold in sorted(folds)]
        return float(np.mean([np.mean(fold) for fold in by_fold]))

    return [
        Row(
            name,
            settings,
            len(group),
            mean(group, math.inf),
            tuple(mean(group, level) for level in levels),
        )
        for (name, settings), group in alike.items()
    ]


def settings_of(record: Record) -> str:
    """How a run was trained; of steps and generations where they lie, for those of one network and mix learn from unlike teachers."""
    if record.is_teacher_or_student:
        return f"{record.model}-{record.preset}-{record.digest}"
    return "/".join(record.folder.parent.parts[-3 if record.is_generation else -2 :])


def in_noise(place: int, row: Row) -> float:
    return row.noisy[place]


def table_of(each: Sequence[Heard], levels: Sequence[float]) -> Table:
    columns = [
        Column("mix", of("name"), "mix"),
        Column("settings", of("settings"), "settings"),
        Column("runs", of("runs"), "runs"),
        Column("clean_percent", of("clean"), "clean", "%", number),
    ]
    for place, level in enumerate(levels):
        name = f"{level:g} dB".replace("-", "−")
        columns.append(Column(f"snr_{level:g}_percent", partial(in_noise, place), name, "%", number))
    return Table.build("", columns, rows(each, levels))


def of_corpus(root: Path, corpus: Corpus) -> list[Record]:
    """The finished runs of the corpus below ``root`` that did not fail; ``InputError`` where there is none."""
    records = [record for record in runs.find(root, corpus.name) if not record.result.failed]
    if not records:
        raise InputError(
            f"{root / corpus.name}: no finished run there; expected some: make distill, or the folder of a run"
        )
    return records


def report(records: Sequence[Record], corpus: Corpus, levels: Sequence[float], reports: Path) -> str:
    """The table as text; the same as CSV in ``reports``. ``InputError`` as ``heard``."""
    table = table_of(heard(records, corpus, levels), levels)
    target = reports / corpus.name / CSV
    target.parent.mkdir(parents=True, exist_ok=True)
    runs.write_atomic(target, table.csv().encode())
    stamp = f"{STAMP} " if any(record.synthetic for record in records) else ""
    title = f"{stamp}{corpus.name}: {measure(records[0].several_labels)} on held-out clips in white noise, by signal-to-noise ratio; means over folds"
    notes = trusted_teachers(records)
    return of_table("\n".join([title, "", *padded(table), *notes, f"table: {target}", ""]), title, table, notes)
