"""The readers of the published data sets and of the built-in one. Which, and under which licence: see the package."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus.clips import MARKER, Clip, Corpus, checked, file_names
from pipeline.corpus.tables import first_file, first_folder, table

#: Classes of UrbanSound8K; the place is the label.
URBANSOUND8K = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling",
    "engine_idling", "gun_shot", "jackhammer", "siren", "street_music",
)  # fmt: skip


def urbansound8k(root: Path) -> Corpus:
    """UrbanSound8K in its own layout, or with the CSV and the folds at the top of the folder."""
    path = first_file(root, "metadata/UrbanSound8K.csv", "UrbanSound8K.csv")
    folds = tuple(range(1, 11))
    folders = {k: first_folder(root / "audio" / f"fold{k}", root / f"fold{k}") for k in folds}
    if not any(folders.values()):
        raise InputError(f"no folder audio/fold1 … audio/fold10 (nor fold1 … fold10) in {root}; "
                         "expected at least one fold's clips there: unpack the data set again")  # fmt: skip
    clips = []
    for row in table(
        path, "slice_file_name", "fsID", "start", "end", "fold", "classID", "class", unique="slice_file_name"
    ):
        name, fold = row.file_name("slice_file_name"), row.whole("fold", 1, 10)
        label = row.whole("classID", 0, len(URBANSOUND8K) - 1)
        if row["class"] != URBANSOUND8K[label]:
            raise row.error("class", f"{URBANSOUND8K[label]!r} for classID {label}")
        start, end = row.number("start"), row.number("end")
        if not 0 <= start < end:
            raise row.error("end", f"more than start = {row['start']}, which is 0 or more")
        folder = folders[fold]
        if folder is not None:
            clips.append(
                Clip(name, folder / name, fold, label, str(row.whole("fsID", 0)), round(end - start, 6))
            )
    return checked(root, "urbansound8k", URBANSOUND8K, folds, 4.0, clips, path)


def synthetic(root: Path) -> Corpus:
    """What ``pipeline.synthetic.write_synthetic`` wrote."""
    if not (root / MARKER).is_file():
        raise InputError(f"{root} has no file {MARKER}: the built-in corpus did not write it; expected a folder of "
                         "make demo's. For real clips in this layout: --dataset urbansound8k")  # fmt: skip
    return dataclasses.replace(urbansound8k(root), dataset="synthetic")


def esc50(root: Path) -> Corpus:
    """ESC-50: 50 classes, 2,000 clips."""
    return esc(root, "esc50")


def esc10(root: Path) -> Corpus:
    """ESC-10, a part of ESC-50: the rows with ``esc10`` true, labels 0 to 9 in the order of ESC-50's."""
    return esc(root, "esc10")


def esc(root: Path, dataset: str) -> Corpus:
    path = first_file(root, "meta/esc50.csv", "esc50.csv")
    if not (root / "audio").is_dir():
        raise InputError(f"no folder {root / 'audio'}; expected the clips of ESC-50 there: unpack it again")
    there = file_names(root / "audio")
    rows = list(table(path, "filename", "fold", "target", "category", "esc10", "src_file", unique="filename"))
    for row in rows:
        if row["esc10"].lower() not in ("true", "false"):
            raise row.error("esc10", "True or False")
    rows = [row for row in rows if dataset == "esc50" or row["esc10"].lower() == "true"]
    names: dict[int, str] = {}
    for row in rows:
        target = row.whole("target", 0, 49)
        if names.setdefault(target, row["category"]) != row["category"]:
            raise row.error("category", f"{names[target]!r} for target {target}, as in the rows above")
    # Classes are those of the table, also where a fold is absent: labels do not depend on what was unpacked.
    labels = {target: place for place, target in enumerate(sorted(names))}
    clips = [
        Clip(row.file_name("filename"), root / "audio" / row["filename"], row.whole("fold", 1, 5),
             labels[int(row["target"])], row["src_file"], 5.0)
        for row in rows
    ]  # fmt: skip
    present = {clip.fold for clip in clips if clip.name in there}
    clips = [clip for clip in clips if clip.fold in present]
    classes = tuple(names[target] for target in sorted(names))
    return checked(root, dataset, classes, tuple(range(1, 6)), 5.0, clips, path)
