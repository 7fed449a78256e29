"""Which pictures a table and a mix have; drawn, saved, and as HTML."""

from __future__ import annotations

import re
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.errors import Damaged, InputError
from pipeline.figures import statistics
from pipeline.plurals import many, plural
from pipeline.processes import loky
from pipeline.processes.cores import usable
from pipeline.report import plots
from pipeline.report.aggregation import cell
from pipeline.report.page import gathering
from pipeline.report.page.gathering import Entry, Runs
from pipeline.report.plots import Picture
from pipeline.runs.damage import met

Embeddings = Callable[[Path], tuple[np.ndarray, np.ndarray, Sequence[str]]]
"""Run folder → of its held-out clips: embeddings (clips, D) float32, labels (clips,) int64, names."""


#: Of the pictures that are not on disk yet: a further process is started for so many, the time that its start takes.
PICTURES_A_PROCESS = 20


class Filed(Protocol):
    """What has a folder of pictures: a table, a comparison."""

    @property
    def folder(self) -> str: ...


@dataclass
class Gallery:
    """The page's figures, in its order; their pictures are drawn together, and saved below ``folder``/pictures."""

    folder: Path
    look: plots.Look
    shown: list[tuple[Picture, Path, str]] = field(default_factory=list)
    """Picture, the folder of its files, its words for those who cannot see it."""

    def figure(self, picture: Picture, table: Filed) -> str:
        """The HTML of a figure, with an empty place for its picture: see ``filled``."""
        stamp = "SYNTHETIC. " if self.look.synthetic else ""
        alt = escape(f"{stamp}{picture.title}. {picture.caption}", quote=True)
        self.shown.append((picture, self.folder / "pictures" / table.folder, alt))
        base = urllib.parse.quote(f"pictures/{table.folder}/{picture.name}")
        links = " ".join(f'<a href="{base}.{end}">{end.upper()}</a>' for end in ("png", "svg", "csv"))
        kind = ' class="wide"' if picture.wide else ""
        words = f'{escape(stamp + picture.caption)} <span class="files">{links}</span>'
        place = f"<!--picture {len(self.shown)}-->"
        return f"<figure{kind}>{place}<figcaption>{words}</figcaption></figure>"

    def filled(self, html: str) -> str:
        """The page with its pictures, each with ids of its own; saves their files."""
        wanted = {folder / picture.name: (picture, folder) for picture, folder, _ in self.shown}
        svgs = dict(zip(wanted, saved(list(wanted.values()))))

        def inlined(place: re.Match[str]) -> str:
            picture, folder, alt = self.shown[int(place[1]) - 1]
            return plots.inline(svgs[folder / picture.name], f"p{place[1]}", alt)

        return re.sub(r"<!--picture (\d+)-->", inlined, html)


def saved(wanted: Sequence[tuple[Picture, Path]]) -> list[str]:
    """The SVG of each picture; those that are not yet in their folder as they should be are drawn."""
    kept_pictures = [plots.kept(*one) for one in wanted]
    missing = [one for one, text in zip(wanted, kept_pictures) if text is None]
    if not missing:
        return [text for text in kept_pictures if text is not None]
    drawn = iter(drawings(missing))
    return [next(drawn) if text is None else text for text in kept_pictures]


def drawings(missing: Sequence[tuple[Picture, Path]]) -> list[str]:
    """``plots.save`` of each, in processes where they are many."""
    import joblib  # slow to import: a page whose pictures are there does without

    print(f"drawing {many(len(missing), 'picture')} …", file=sys.stderr, flush=True)
    jobs = min(usable(), 1 + len(missing) // PICTURES_A_PROCESS)
    if jobs == 1:
        return [plots.save(*one) for one in missing]
    with loky.results((joblib.delayed(plots.save)(*one) for one in missing), jobs) as drawn:
        return list(drawn)


def overview(table: Runs, look: plots.Look) -> list[Picture]:
    """Accuracy by fold of all mixes, and the differences to the baseline."""
    accuracies = {entry.name: entry.accuracies for entry in table.entries if entry.accuracies}
    several = any(entry.several for entry in table.entries)
    measured = ("mean average precision",) if several else ()
    drawn = [plots.fold_points("folds", accuracies, look, *measured)] if accuracies else []
    baseline = table.baseline
    compared = [entry for entry in table.entries if entry.row.comparison]
    if baseline and compared:
        differences = {e.name: statistics.paired(e.accuracies, baseline.accuracies) for e in compared}
        comparisons = {e.name: e.row.comparison for e in compared if e.row.comparison}
        drawn.append(plots.difference_points("differences", differences, comparisons, baseline.row.mix, look))
    return drawn


def curves(entry: Entry, look: plots.Look) -> list[Picture]:
    if not entry.histories:
        return []
    name = f"curves-{entry.slug}"
    return [
        plots.accuracy_curves(name, entry.histories, look),
        plots.term_curves(name, entry.histories, look),
    ]


def by_class(entry: Entry, teacher: Entry | None, look: plots.Look) -> list[Picture]:
    """A student's recalls beside its teacher's on the folds that both have; and the confusion matrix."""
    if not entry.predictions:
        return []
    if entry.several:
        return by_label(entry, teacher, look)
    counts = gathering.confusion(entry.predictions)
    classes = gathering.class_names(entry, len(counts))
    matrix = plots.confusion_matrix(f"confusion-{entry.slug}", counts, classes, f"Sum over {entry.over}", look)
    folds = {fold for fold, _ in entry.predictions}
    common = folds & {fold for fold, _ in teacher.predictions} if teacher and teacher is not entry else set()
    if not teacher or not common:
        return [matrix]
    ours, theirs = (gathering.recalls(gathering.confusion(one.predictions, common)) for one in (entry, teacher))
    # Several seeds of a fold hold out the same clips.
    sets = {fold: p.labels for (fold, _), p in entry.predictions.items() if fold in common}
    clips = np.bincount(np.concatenate(list(sets.values())), minlength=len(classes))
    over = f"{plural(len(common), 'Fold')} {gathering.listed(common)}, all seeds."
    return [plots.class_pairs(f"recall-{entry.slug}", theirs, ours, clips, classes, over, look), matrix]


def by_label(entry: Entry, teacher: Entry | None, look: plots.Look) -> list[Picture]:
    """Of clips with several labels: a student's average precision of each class beside its teacher's, on the folds that both have."""
    common = {fold for fold, _ in entry.predictions} & {fold for fold, _ in (teacher.predictions if teacher else ())}
    if not teacher or teacher is entry or not common:
        return []
    ours, theirs = (gathering.average_precisions(one.predictions, common) for one in (entry, teacher))
    sets = {fold: p.labels for (fold, _), p in entry.predictions.items() if fold in common}
    clips = np.sum([labels.sum(0) for labels in sets.values()], axis=0)
    classes = gathering.class_names(entry, len(clips))
    over = f"{plural(len(common), 'Fold')} {gathering.listed(common)}, all seeds."
    return [plots.class_pairs(f"precision-{entry.slug}", theirs, ours, clips, classes, over, look, "average precision")]


def shown_fold(table: Runs) -> int | None:
    """The one fold whose held-out clips are drawn: that which most rows have, the first of equals."""
    folds = [fold for entry in table.entries for fold in {cell(r)[0] for r in entry.counted}]
    return min(folds, key=lambda fold: (-folds.count(fold), fold)) if folds else None


def embedded(entry: Entry, fold: int, embeddings: Embeddings | None, look: plots.Look) -> Picture | str:
    """t-SNE of the first seed's held-out clips, of the runs that count; the reason, where there is none."""
    record = next((r for r in entry.counted if cell(r)[0] == fold), None)
    if record is None:
        return f"No t-SNE of {entry.name}: no run of fold {fold} counts."
    if entry.several:
        return "No t-SNE: its colours are of one class a clip, and these have several."
    if embeddings is None:
        return "No t-SNE: the embeddings were not asked for."
    name, role = f"tsne-{entry.slug}", entry.row.role
    kind = "windows" if record.result.test_windows else "clips"
    over = f"Clean {kind} of held-out fold {fold}, seed {cell(record)[1]}."
    try:
        values, labels, clips = embeddings(record.folder)
        classes = gathering.class_names(entry, max(len(entry.classes), int(labels.max()) + 1))
        return plots.scatter(name, f"t-SNE: {role}", values, labels, clips, classes, over, look)
    except (InputError, ValueError) as error:
        if isinstance(error, Damaged):
            met[str(error)] = None
        return f"No t-SNE of {entry.name}: {error}."
