"""An exported student on a sound, with onnxruntime and numpy: no torch, so it runs where torch is not installed.

    python examples/onnx_student.py exports/CORPUS/cnn2-…-fold1-seed0 sound.wav [more.flac …]

Needs this project (its feature module is the network's input), librosa, soundfile, soxr and onnxruntime. A sound
longer than the clip length is cut; ``audio-rkd predict`` hears all of it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from pipeline import audio, config, features


def main(folder: Path, sounds: list[str]) -> None:
    spec = config.FeatureSpec(**json.loads((folder / "features.json").read_text())["spec"])
    labels = json.loads((folder / "labels.json").read_text())
    # model.int8.onnx takes the same input and is about a quarter of the size.
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    if labels["synthetic"]:
        print("SYNTHETIC: trained on made-up sounds; it knows nothing of real ones.", file=sys.stderr)
    for sound in sounds:
        samples = audio.read_clip(sound, sr=spec.sr, samples=spec.samples)
        batch = features.extract(samples, spec)[
            np.newaxis
        ]  # (1, 5, bins, frames), raw: the network standardises
        logits = session.run(["logits"], {"features": batch})[0][0]
        probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        best = np.argsort(-probabilities)[:3]
        print(sound, *(f"{labels['classes'][i]} {100 * probabilities[i]:.1f} %" for i in best), sep="   ")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python examples/onnx_student.py EXPORT_FOLDER SOUND…")
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except (config.InputError, OSError) as error:
        sys.exit(f"error: {error}")
