"""How well our definition of foreground finds the events that the built-in corpus was made of (docs/explain.md).

    python -m bench.foreground [--clips 100]

Each made-up clip is made once more as its event and the noise behind it apart. Truth: a block of the mel plane is event where more than half
of its real cells hold more of the event than of the noise. Beside it: what "no block is" and "every block is" would reach.
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import soxr

from pipeline import features
from pipeline.config import FeatureSpec
from pipeline.corpus import URBANSOUND8K, made_up
from pipeline.corpus.made_up.recipes import SR
from pipeline.figures.explained import foreground

SPEC = FeatureSpec(use="melspectrogram")


def parts(number: int, label: int, place: tuple[int, int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Of a made-up clip, at the features' rate: its event, and the noise behind it (n,) float32, not yet filled up."""
    rng = np.random.default_rng([seed, 1, number])
    sound, background = made_up.recording(label, rng)
    again = copy.deepcopy(rng)
    whole = made_up.piece(sound, background, SR, 1, rng, place)[:, 0]
    event = made_up.piece(sound, np.zeros_like(background), SR, 1, again, place)[:, 0]
    return soxr.resample(event, SR, SPEC.sr), soxr.resample(whole - event, SR, SPEC.sr)


def planes(event: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Mel planes in dB of the clip, of its event and of the noise, and its real frames."""
    clips = np.zeros((3, SPEC.samples), dtype=np.float32)
    for row, samples in enumerate((event + noise, event, noise)):
        clips[row, : len(samples)] = samples[: SPEC.samples]
    whole, event_plane, noise_plane = features.extract(clips, SPEC)[:, 0]
    return whole, event_plane, noise_plane, foreground.real_frames(whole, SPEC, len(event) / SPEC.sr)


def agreement(margin: float, drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]) -> dict[str, float]:
    """Of the blocks of clips with an event by our definition: agreement, precision, recall, and the share that is event."""
    ours, truth = [], []
    for whole, event, noise, real in drawn:
        if foreground.share(whole, real, margin) < foreground.LEAST:
            continue
        chosen, counting = foreground.blocks(foreground.foreground(whole, real, margin), real)
        loud = (event > noise) & (event > whole[:, :real].max() - foreground.RANGE)
        loud[:, real:] = False
        ours.append(chosen[counting])
        truth.append(foreground.blocks(loud, real)[0][counting])
    chosen, true = np.concatenate(ours), np.concatenate(truth)
    return {
        "clips": len(ours),
        "agreement": float((chosen == true).mean()),
        "precision": float(true[chosen].mean()),
        "recall": float(chosen[true].mean()),
        "event": float(true.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=100)
    count = parser.parse_args().clips
    places = [(fold, label, take) for fold in made_up.FOLDS for label in range(len(URBANSOUND8K)) for take in (0, 1)]
    step = max(1, len(places) // count)
    drawn = [
        planes(*parts(number, place[1], (*place, 0))) for number, place in enumerate(places) if number % step == 0
    ][:count]
    print(f"{len(drawn)} made-up clips, one a recording")
    print("margin/dB  clips  agreement  precision  recall  blocks that are event")
    for margin in foreground.MARGINS:
        row = agreement(margin, drawn)
        print(
            f"{margin:9g}  {row['clips']:5.0f}  {row['agreement']:9.3f}  {row['precision']:9.3f}  {row['recall']:6.3f}"
            f"  {row['event']:.3f}"
        )


if __name__ == "__main__":
    main()
