"""The scale of the mel-spectrogram: in dB as it is stored, as amplitude or as power; without the held-out folds.

The stored dB are turned back when they are loaded, so the same cached features serve all three; how accuracies are
measured: see ``bench.settings``. Silence below the floor of 80 dB under a clip's peak stays that floor.

    python -m bench.mel --dataset urbansound8k --data ../shared/urbansound8k-mini --seeds 3
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import torch

from bench.settings import arguments, line, loaded, table
from pipeline.config import FEATURES

#: What divides dB to give the exponent of ten; None leaves them.
SCALES = {"dB": None, "amplitude": 20.0, "power": 10.0}


def row(chosen: argparse.Namespace, scale: str) -> str:
    """One scale's line: trains all its runs, in one thread."""
    torch.set_num_threads(1)
    data, settings = loaded(chosen)
    if divisor := SCALES[scale]:
        features, mel = np.array(data.features), FEATURES.index("melspectrogram")
        features[:, :, mel] = 10 ** (features[:, :, mel] / divisor)
        data = dataclasses.replace(data, features=features)
    return line(f"mel-spectrogram as {scale}", data, settings, chosen.seeds)


def main() -> None:
    table(arguments(__doc__ or "").parse_args(), row, SCALES)


if __name__ == "__main__":
    main()
