"""An exported student on WAV files with onnxruntime and numpy alone: no Python features, no librosa, none of this project.

    python sound_student.py exports/CORPUS/cnn2-…-fold1-seed0 sound.wav [more.wav …]

The folder has student-sound.onnx for 22,050 Hz and, of export --rate, student-sound.RATE.onnx. PCM of 8, 16, 24 or 32 bits;
a longer sound than the clip length is heard in windows that overlap by half, and their mean is shown.
"""

import hashlib
import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime


def read_wav(path: str) -> tuple[int, np.ndarray]:
    """Sampling rate and samples (n,) float32 in full scale, the mean of the channels."""
    with wave.open(path) as file:
        rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
        data = np.frombuffer(file.readframes(file.getnframes()), np.uint8).reshape(-1, width)
    if width == 1:  # the only one without a sign
        data = data ^ 128
    wide = np.zeros((len(data), 4), np.uint8)
    wide[:, 4 - width :] = data  # little-endian: the value's bytes are the highest of 32 bits
    return rate, (wide.view("<i4").reshape(-1, channels) / 2**31).mean(axis=1).astype(np.float32)


def main(folder: Path, sounds: list[str]) -> None:
    digests = json.loads((folder / "proof.json").read_text(encoding="utf-8"))["sha256"]
    models: dict[int, onnxruntime.InferenceSession] = {}
    for file in [folder / "student-sound.onnx", *folder.glob("student-sound.[0-9]*[0-9].onnx")]:
        if hashlib.sha256(file.read_bytes()).hexdigest() != digests.get(file.name):
            raise ValueError(f"{file} is not the file that proof.json names: export it again")
        model = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        models[int(model.get_modelmeta().custom_metadata_map["rate"])] = model
    for sound in sounds:
        rate, samples = read_wav(sound)
        if rate not in models or not len(samples):
            raise ValueError(f"{sound}: {len(samples)} samples at {rate} Hz; known are {sorted(models)} Hz (--rate)")
        about = models[rate].get_modelmeta().custom_metadata_map
        size = round(float(about["seconds"]) * rate)
        last = len(samples) - size if len(samples) > size + rate // 43 else 0  # a few samples more are no window
        windows = [samples[start : start + size][None] for start in [*range(0, last, size // 2), last]]
        values = np.mean([models[rate].run(["probabilities"], {"samples": window})[0][0] for window in windows], axis=0)
        classes = json.loads(about["classes"])
        print(sound, *(f"{classes[i]} {100 * values[i]:.1f} %" for i in np.argsort(-values)[:3]), sep="   ")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python sound_student.py EXPORT_FOLDER SOUND.wav…")
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except Exception as error:  # onnxruntime has a class of its own for each of its reasons
        line = (str(error) or type(error).__name__).splitlines()[0]
        sys.exit(f"error: {line}; expected PCM WAV files, {sys.argv[1]} with proof.json and student-sound.onnx whole")
