"""Runs → what their networks listen to: measured, written as JSON and pictures, in words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import runs
from pipeline.config import InputError
from pipeline.figures import statistics
from pipeline.figures.explained import concepts
from pipeline.figures.explained.discarded import USUAL, Discarded, Search
from pipeline.figures.explained.foreground import LEAST, MARGIN, MARGINS
from pipeline.files import json_bytes
from pipeline.report import plots, votes
from pipeline.report.aggregation import ratio
from pipeline.report.explaining import listeners, measuring, pictures, results, wording
from pipeline.report.explaining.clips import Clips, chosen
from pipeline.report.explaining.listeners import DISTILLED, LABELS, TEACHER, Compared, Listener
from pipeline.report.explaining.results import FIGURES, Explained, Heard, values
from pipeline.report.wording import trusted_teachers

#: Clips that are drawn.
DRAWN = 3


def explain(
    paths: Sequence[Path],
    cache_root: Path,
    reports_root: Path,
    *,
    clips: int = 10,
    layer: str = "embedding",
    search: Search = USUAL,
    jobs: int = 0,
) -> tuple[Explained, str]:
    """Measure, write JSON and pictures below ``reports_root/CORPUS``, and what is printed. Goes on where an earlier call was stopped.
    ``jobs``: as ``measuring.measured``.

    Raises ``InputError``, one line, before anything is measured for runs that are missing, damaged, failed, of images or of several
    corpora, without a mel-spectrogram, of features that are gone or were changed, and where no clip has an event.
    """
    plots.require_matplotlib()
    compared = listeners.compared(votes.records(paths))
    explained = measured(compared, cache_root, clips, layer, search, jobs)
    folder = reports_root / explained.corpus
    figures = folder / results.FOLDER / f"{explained.name}.json"
    runs.write_atomic(figures, json_bytes(results.as_json(explained)))
    pictures_folder = folder / "pictures" / explained.folder
    drawn = pictures.of_explained(explained)
    for picture in drawn:
        plots.save(picture, pictures_folder)
    files = [f"picture: {pictures_folder / picture.name}.png" for picture in drawn]
    return explained, "\n".join([wording.text(explained).rstrip(), "", *files, f"figures: {figures}", ""])


def measured(
    compared: Sequence[Compared], cache_root: Path, count: int, layer: str, search: Search, jobs: int
) -> Explained:
    """All that ``explain`` says. ``InputError`` as ``listeners``, ``clips`` and ``measuring``; what was measured before is not again."""
    first = compared[0].listeners[0].record
    by_fold = {
        one.fold: chosen(one.listeners[0].record, cache_root, count, told_by(compared, one.fold)) for one in compared
    }
    asked = [
        [measuring.states_of(each.record, by_fold[one.fold], layer, search, cache_root) for each in one.listeners]
        for one in compared
    ]
    let_go = measuring.measured([state for one in asked for states, _ in one for state in states], jobs)
    heard: list[Heard] = []
    drawn: dict[str, Any] = {}
    records = [each.record for one in compared for each in one.listeners]
    notes = [*(note for one in compared for note in one.notes), *trusted_teachers(records)]
    for one, networks in zip(compared, asked):
        clips = by_fold[one.fold]
        each = [({state.epoch: let_go[state.key] for state in states}, moved) for states, moved in networks]
        moving = np.all([list(by_epoch.values())[-1].error > 0 for by_epoch, _ in each], axis=0)
        if not moving.any():
            raise InputError(
                f"fold {one.fold}: no clip moves the output {layer} of every network after its last epoch; expected another --layer"
            )
        if not moving.all():
            notes.append(
                f"Fold {one.fold}, seed {one.seed}: {np.sum(~moving):,} of {len(moving):,} clips do not move the output of some network "
                "at all, and are left out."
            )
        for listener, (by_epoch, moved) in zip(one.listeners, each):
            heard.append(figures_of(listener, clips, by_epoch, moved, moving))
        drawn = drawn or drawing(clips, one.listeners, each, moving)
    return Explained(
        corpus=first.corpus,
        synthetic=first.synthetic,
        name=name_of(heard, layer),
        layer=layer,
        search=search._asdict(),
        heard=tuple(heard),
        clips={str(fold): clips.names for fold, clips in by_fold.items()},
        left_out={str(fold): clips.left_out for fold, clips in by_fold.items()},
        chance={f"{margin:g}": chance(list(by_fold.values()), margin) for margin in MARGINS},
        differences=differences(heard, ratio(first)),
        drawn=drawn,
        notes=tuple(dict.fromkeys(notes)),
    )


def told_by(compared: Sequence[Compared], fold: int) -> tuple[str, ...]:
    """The classes that all networks of a fold, but teachers, tell apart; a teacher may have others. (): all there are.

    ``InputError`` where they have none in common."""
    there = [each for one in compared if one.fold == fold for each in one.listeners]
    records = [each.record for each in there if each.kind != TEACHER] or [each.record for each in there]
    known = [record.classes for record in records if record.classes]
    shared = tuple(name for name in (known[0] if known else ()) if all(name in classes for classes in known))
    if known and not shared:
        raise InputError(
            f"fold {fold}: {', '.join(str(record.folder) for record in records)} have no class in common; expected runs of the same "
            "classes: explain them one by one"
        )
    return shared


def figures_of(
    listener: Listener, clips: Clips, by_epoch: Mapping[int, Discarded], moved: np.ndarray | None, moving: np.ndarray
) -> Heard:
    """A network's figures at each margin, over the clips with an event at that margin that move every network's last output."""
    figures: dict[str, dict[str, float | None]] = {}
    usual: list[concepts.Counts] = []
    for margin in MARGINS:
        used = moving & (clips.shares(margin) >= LEAST)
        if not used.any():
            figures[f"{margin:g}"] = dict.fromkeys((*FIGURES, "background")) | {"clips": 0}
            continue
        sound, counting = clips.foreground(margin)[used], clips.counting[used]
        counted = [
            concepts.counts(one.entropies[used], sound, counting, moving=one.error[used] > 0)
            for one in by_epoch.values()
        ]
        several = len(counted) > 1
        learned = concepts.learning(counted, sound, moved if several else None)
        last = counted[-1]
        values = (last.n_fg, last.n_bg, last.share, learned.mean, learned.variance, learned.stable if several else None)
        figures[f"{margin:g}"] = dict(zip(FIGURES, values)) | {"background": last.background, "clips": int(used.sum())}
        usual = counted if margin == MARGIN else usual
    record = listener.record
    return Heard(
        listener.kind,
        listener.row,
        record.model,
        record.fold,
        record.seed,
        str(record.folder),
        record.result.weights,
        tuple(by_epoch),
        figures,
        {"n_fg": [one.n_fg for one in usual], "n_bg": [one.n_bg for one in usual]},
    )


def chance(each: Sequence[Clips], margin: float) -> float:
    """Share of the blocks that are foreground, mean over the clips that have an event at that margin."""
    shares = [
        float(sound[counting].mean())
        for clips in each
        for sound, counting, share in zip(clips.foreground(margin), clips.counting, clips.shares(margin))
        if share >= LEAST
    ]
    return float(np.mean(shares)) if shares else 0.0


def differences(heard: Sequence[Heard], ratio: float) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Each distilled row less the networks on labels of the same fold and seed, by the house's paired test over the folds."""
    rows: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for row, model in dict.fromkeys((one.row, one.model) for one in heard if one.kind == DISTILLED):
        labels = [one for one in heard if (one.kind, one.model) == (LABELS, model)]
        for margin in (f"{m:g}" for m in MARGINS):
            for figure in FIGURES:
                ours, theirs = (values(part, margin, figure) for part in ([o for o in heard if o.row == row], labels))
                if test := statistics.comparison(ours, theirs, ratio):
                    told = {"difference": test.difference, "low": test.low, "high": test.high, "p": test.p}
                    rows.setdefault(row, {}).setdefault(margin, {})[figure] = told | {
                        "folds": test.units,
                        "pairs": test.n,
                    }
    return rows


def drawing(
    clips: Clips,
    listeners: Sequence[Listener],
    each: Sequence[tuple[Mapping[int, Discarded], np.ndarray | None]],
    moving: np.ndarray,
) -> dict[str, Any]:
    """What the picture is made of: up to ``DRAWN`` clips of different classes, those whose foreground is nearest to a fifth."""
    shares, rows = clips.shares(MARGIN), np.flatnonzero(moving)
    ordered = sorted(rows, key=lambda i: (abs(shares[i] - 0.2), clips.names[i]))
    picked = list({clips.labels[i]: i for i in reversed(ordered)}.values())[::-1][:DRAWN]
    sound, counting = clips.foreground(MARGIN), clips.counting
    used = moving & (shares >= LEAST)
    networks = []
    for listener, (by_epoch, _) in zip(listeners, each):
        last = list(by_epoch.values())[-1].entropies
        mean = concepts.counts(last[used], sound[used], counting[used]).background
        depth = np.where(counting, mean - last, 0)[picked]
        networks.append({"kind": listener.kind, "row": listener.row, "depth": np.round(depth, 4).tolist()})
    return {
        "fold": clips.fold,
        "clips": [{"name": clips.names[i], "class": clips.labels[i], "real": clips.real[i]} for i in picked],
        "frame_seconds": clips.frame_seconds,
        "mel": np.round(clips.mel[picked].astype(np.float64), 2).tolist(),
        "foreground": sound[picked].astype(int).tolist(),
        "networks": networks,
    }


def name_of(heard: Sequence[Heard], layer: str) -> str:
    """The same runs and layer, the same files; measured again they replace what was there."""
    content = "\n".join(sorted("/".join(Path(one.run).resolve().parts[-4:]) for one in heard))
    return f"{layer}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
