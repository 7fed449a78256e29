"""A corpus whose clips have several labels each: tones that sound at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

#: Class → Hz.
TONES = {"bass": 200.0, "flute": 1500.0, "whistle": 5000.0}

#: Which classes sound in the clips of each fold.
SETS = (("bass",), ("flute",), ("bass", "flute"), ("whistle", "bass"), ("bass", "flute", "whistle"), ("whistle",))


def tones(labels: tuple[str, ...], number: int, seconds: float = 0.5, sr: int = 22050) -> np.ndarray:
    """The sum of a clip's tones, each a little apart from clip to clip, in noise."""
    random = np.random.default_rng(number)
    times = np.arange(round(sr * seconds)) / sr
    sound = 0.01 * random.standard_normal(len(times))
    for label in labels:
        sound += 0.2 * np.sin(2 * np.pi * TONES[label] * random.uniform(0.95, 1.05) * times + random.uniform(0, 6))
    return sound.astype(np.float32)


def write_corpus(root: Path, folds: int = 2, repeats: int = 1, sets: tuple[tuple[str, ...], ...] = SETS) -> Path:
    """The table: of each fold ``repeats`` clips of each of ``sets``."""
    (root / "sounds").mkdir(parents=True)
    rows, number = ["path,label,fold,recording"], 0
    for fold in range(1, folds + 1):
        for labels in sets * repeats:
            soundfile.write(root / "sounds" / f"clip{number}.wav", tones(labels, number), 22050, subtype="FLOAT")
            rows.append(f"sounds/clip{number}.wav,{';'.join(labels)},{fold},r{number}")
            number += 1
    (root / "corpus.toml").write_text("seconds = 0.5\n")
    table = root / "clips.csv"
    table.write_text("\n".join(rows) + "\n")
    return table
