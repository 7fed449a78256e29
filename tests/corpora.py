"""Tables and clips of corpora in the published layouts, and the line of an error."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config import InputError
from pipeline.corpus.verification import PUBLISHED


def write_table(path: Path, columns: list[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def line(caught: pytest.ExceptionInfo[InputError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


SR = 8000


def write_clip(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(SR * seconds), np.float32), SR)


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def esc(root: Path) -> Path:
    names = list(PUBLISHED["esc50"].classes)
    rows: list[dict[str, object]] = []
    for fold in (1, 2):
        for label in ("dog", "cat", "rain"):
            number = names.index(label)
            row: dict[str, object] = {
                "filename": f"{fold}-77-A-{number}.wav",
                "fold": fold,
                "target": number,
                "category": label,
            }
            rows.append(row | {"esc10": label in PUBLISHED["esc10"].classes, "src_file": 77 + fold, "take": "A"})
            write_clip(root / "audio" / str(row["filename"]), 5.0)
    write_rows(root / "meta/esc50.csv", rows)
    return root
