"""ESC-50: ``meta/esc50.csv`` and ``audio/``; 50 classes, 2,000 clips of 5 s, five folds.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015. CC BY-NC 3.0; the clips of
ESC-10 CC BY 3.0.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus.clips import (
    Clip,
    Corpus,
    checked,
    file_names,
)
from pipeline.corpus.tables import first_file, table
from pipeline.spelling import same

PLACES = ("ESC-50", "ESC-50-master")


def esc50(root: Path) -> Corpus:
    return part(root, "esc50")


def part(root: Path, dataset: str) -> Corpus:
    """All of it, or of ESC-10 the rows with ``esc10`` true, labels 0 to 9 in the order of ESC-50's."""
    path = first_file(root, "meta/esc50.csv", "esc50.csv")
    if not (root / "audio").is_dir():
        raise InputError(f"no folder {root / 'audio'}; expected the clips of ESC-50 there: unpack it again")
    there = {same(name) for name in file_names(root / "audio")}
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
        Clip(
            row.file_name("filename"),
            root / "audio" / row["filename"],
            row.whole("fold", 1, 5),
            labels[int(row["target"])],
            row["src_file"],
            5.0,
        )
        for row in rows
    ]
    present = {clip.fold for clip in clips if same(clip.name) in there}
    clips = [clip for clip in clips if clip.fold in present]
    classes = tuple(names[target] for target in sorted(names))
    return checked(root, dataset, classes, tuple(range(1, 6)), 5.0, clips, path)
