"""An exported student on a sound, with onnxruntime and numpy: no torch, so it runs where torch is not installed.

    PYTHONPATH=. python examples/onnx_student.py exports/CORPUS/cnn2-…-fold1-seed0 sound.wav [more.flac …]

From this project's folder, whose feature module is the network's input; what else it needs is in README.md here. A
sound longer than the clip length is cut; ``audio-rkd predict`` hears all of it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from pipeline import config, features
from pipeline.audio import reading as audio
from pipeline.files import sha256


def described(path: Path, *keys: str) -> list:
    """What an export's JSON file has under ``keys``."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return [values[key] for key in keys]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise config.InputError(f"{path}: {error!r}; expected a folder that audio-rkd export wrote") from None


def main(folder: Path, sounds: list[str]) -> None:
    (digests,) = described(folder / "proof.json", "sha256")
    names = dict.fromkeys(("model.onnx", "features.json", "labels.json", *digests))
    if wrong := [name for name in names if sha256(folder / name) != digests.get(name)]:
        raise config.InputError(f"{folder / wrong[0]}: not the file that proof.json names; export it again")
    spec = config.build(config.FeatureSpec, *described(folder / "features.json", "spec"), str(folder / "features.json"))
    classes, synthetic = described(folder / "labels.json", "classes", "synthetic")
    try:  # model.int8.onnx takes the same input and is about a quarter of the size.
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each of its reasons
        raise config.InputError(f"{folder / 'model.onnx'}: {str(error).splitlines()[0]}; export it again") from None
    temperature = float(session.get_modelmeta().custom_metadata_map.get("temperature", 1))  # of audio-rkd calibrate
    if synthetic:
        print("SYNTHETIC: trained on made-up sounds; it knows nothing of real ones.", file=sys.stderr)
    for sound in sounds:
        samples = audio.read_clip(sound, sr=spec.sr, samples=spec.samples, short=spec.short)
        batch = features.extract(samples, spec)[None]  # (1, 5, bins, frames), raw: the network standardises
        logits = session.run(["logits"], {"features": batch})[0][0] / temperature
        probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        best = np.argsort(-probabilities)[:3]
        print(sound, *(f"{classes[i]} {100 * probabilities[i]:.1f} %" for i in best), sep="   ")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python examples/onnx_student.py EXPORT_FOLDER SOUND…")
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except (config.InputError, OSError) as error:
        sys.exit(f"error: {error}")
