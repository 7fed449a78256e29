"""Checkpoints → what they say of sounds: any file, any length, one run or several.

``model.pt`` alone is enough: it holds the feature settings, the standardisation (buffers of the network) and the
class names. Reading a checkpoint needs torch only; the audio libraries are imported when there is a sound to read. A
sound no longer than the clip length is one clip exactly as in stage one; a longer one is heard in windows of the clip
length that overlap by half, the last one ending with the sound.
"""

from __future__ import annotations

import dataclasses
import math
import queue
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from pipeline import config, features
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import files
from pipeline.extras import install_line
from pipeline.models import Network
from pipeline.models.saved import network_of, read_payload

#: Windows whose features are held at a time.
BATCH = 16


@dataclass(frozen=True)
class Checkpoint:
    """A ``model.pt``: the network in evaluation mode, and all that is needed to feed it and to read its answer."""

    path: Path
    network: Network
    spec: FeatureSpec
    classes: tuple[str, ...]
    corpus: str
    synthetic: bool
    name: str
    """Model, mix, fold and seed, for people."""


@dataclass(frozen=True)
class Prediction:
    """What one or several runs say of a sound, window by window."""

    seconds: float
    """Length of the sound."""
    times: tuple[tuple[float, float], ...]
    """Start and end of each window in seconds; the end no later than the sound's."""
    logits: np.ndarray
    """(runs, windows, classes) float32."""

    @property
    def probabilities(self) -> np.ndarray:
        """(windows, classes) float64: the softmax of each run, averaged over the runs."""
        values = self.logits.astype(np.float64)
        values = np.exp(values - values.max(-1, keepdims=True))
        return (values / values.sum(-1, keepdims=True)).mean(0)


# -------------------------------------------------------------------------------------------- checkpoints


def run_folder(path: Path) -> Path:
    """The finished run of a run folder or of the ``model.pt`` in it, with the record that other commands than predict need.

    Raises ``InputError`` as ``read_payload``, and for a ``model.pt`` without the run's other files.
    """
    read_payload(path)
    folder = path if path.is_dir() else path.parent
    for name in ("config.json", "result.json"):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; a model.pt alone is enough for predict only: expected the "
                             "folder of a finished run, such as runs/CORPUS/student-…/MIX/fold1-seed0")  # fmt: skip
    return folder


def checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a run folder or file; raises as ``read_payload``."""
    payload = read_payload(path)
    return Checkpoint(
        path=path,
        network=network_of(payload),
        spec=config.build(FeatureSpec, payload["features"], f"{path} [features]"),
        classes=tuple(payload["classes"]),
        corpus=payload["corpus"],
        synthetic=bool(payload["synthetic"]),
        name=f"{payload['model']} {payload['mix']} fold {payload['fold']} seed {payload['seed']}",
    )


def ensemble(paths: Sequence[Path]) -> list[Checkpoint]:
    """Checkpoints that can vote together: the same corpus and classes, and the same features of a clean clip."""
    members = [checkpoint(path) for path in paths]
    for other in members[1:]:
        if other.classes != members[0].classes:
            raise InputError(f"{other.path} knows other classes (corpus {other.corpus}) than {members[0].path} "
                             f"(corpus {members[0].corpus}); runs that vote together need the same ones")  # fmt: skip
        if other.corpus != members[0].corpus:
            raise InputError(f"{other.path} was trained on corpus {other.corpus}, {members[0].path} on "
                             f"{members[0].corpus}; runs that vote together need the same one")  # fmt: skip
        theirs, ours = (dataclasses.asdict(clean(one.spec)) for one in (other, members[0]))
        if theirs != ours:
            differing = ", ".join(
                f"{k} = {theirs[k]!r}, not {ours[k]!r}" for k in ours if theirs[k] != ours[k]
            )
            raise InputError(f"{other.path} was trained on other features than {members[0].path} ({differing}); "
                             "runs that vote together need the same ones")  # fmt: skip
    return members


def clean(spec: FeatureSpec) -> FeatureSpec:
    """``spec`` without what concerns the noisy view only."""
    return dataclasses.replace(spec, noise_std=0.0, noise_seed=0)


# -------------------------------------------------------------------------------------------------- sounds


def sound_files(path: Path) -> list[Path]:
    """``path`` itself, or the sound files below a folder, as ``corpus.files.sounds`` finds them. ``InputError`` where it
    has none."""
    if not path.is_dir():
        return [path]
    found = files.sounds(path)
    if not found:
        raise InputError(
            f"{path}: a folder without sound files; expected some of {', '.join(files.SUFFIXES)} in it"
        )
    return found


def read_sound(path: Path, spec: FeatureSpec) -> np.ndarray:
    """A file of any format, rate and length as (n,) float32 at ``spec.sr``, not cut; ``audio.ClipError`` as there.

    Of a corpus' clip these are stage one's samples, unless the file goes on beyond the clip's annotated length
    (ADPCM, which pads to whole blocks): without the corpus' table nobody knows.
    """
    import soundfile

    from pipeline.audio import reading as audio

    try:
        stated = soundfile.info(path)
        samples = max(1, math.ceil(stated.frames * spec.sr / stated.samplerate))
    except (soundfile.SoundFileError, OSError):
        samples = spec.samples  # read_clip says what is wrong
    return audio.read_clip(path, sr=spec.sr, samples=samples)


def read_stream(stream: IO[bytes], spec: FeatureSpec, name: str = "-") -> np.ndarray:
    """``read_sound`` of a whole WAV (or another format with a header) from a pipe, which errors call ``name``."""
    from pipeline.audio import reading as audio

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard-input"
        path.write_bytes(stream.read())
        try:
            return read_sound(path, spec)
        except audio.ClipError as error:
            raise audio.ClipError(name, error.reason, error.expected, error.found) from None


def microphone(spec: FeatureSpec) -> Iterator[np.ndarray]:
    """Windows (clip length,) float32 from the default input, one every half clip length, without end."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        what = (
            "needs the package sounddevice" if isinstance(error, ImportError) else f"cannot start ({error})"
        )
        raise InputError(f"the microphone {what}; install it: {install_line('mic')} "
                         "(on Linux PortAudio too: apt install libportaudio2)") from None  # fmt: skip
    half = spec.samples // 2
    blocks: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    heard = np.zeros(0, dtype=np.float32)
    try:
        with sounddevice.InputStream(samplerate=spec.sr, channels=1, dtype="float32",
                                     callback=lambda data, *_: blocks.put(data[:, 0].copy())):  # fmt: skip
            while True:
                while len(heard) < spec.samples:
                    heard = np.concatenate([heard, blocks.get()])
                yield heard[: spec.samples]
                heard = heard[half:]
    except sounddevice.PortAudioError as error:
        raise InputError(f"the microphone cannot be opened ({error}); expected an input device that records "
                         f"{spec.sr} Hz: see 'python -m sounddevice'") from None  # fmt: skip


# ---------------------------------------------------------------------------------------------- predicting


def starts(samples: int, size: int, slack: int) -> list[int]:
    """First samples of the windows of ``size`` that cover a sound of ``samples`` samples.

    One window where the sound is no longer than ``size`` + ``slack``: stage one too cuts what a few samples of
    rounding leave over. Else a window every ``size`` // 2, and a last one that ends with the sound.
    """
    if samples <= size + slack:
        return [0]
    return [*range(0, samples - size, max(1, size // 2)), samples - size]


def windows(samples: np.ndarray, spec: FeatureSpec) -> Iterator[tuple[int, np.ndarray]]:
    """(start, samples of the clip length) of a sound (n,); a short one is padded with zeros."""
    for start in starts(len(samples), spec.samples, spec.hop_length):
        part = samples[start : start + spec.samples]
        yield start, np.pad(part, (0, spec.samples - len(part)))


@torch.inference_mode()
def logits(members: Sequence[Checkpoint], clips: np.ndarray) -> np.ndarray:
    """(runs, clips, classes) float32 of samples (clips, n) float32 at the members' rate and clip length."""
    values = torch.from_numpy(features.extract(clips, members[0].spec))
    return torch.stack([member.network(values).logits for member in members]).numpy()


def predict(members: Sequence[Checkpoint], samples: np.ndarray) -> Prediction:
    """What the members (one, or an ``ensemble``) say of a sound: (n,) float32 in full scale, at their rate."""
    spec = members[0].spec
    parts = list(windows(samples, spec))
    found = [
        logits(members, np.stack([part for _, part in parts[i : i + BATCH]]))
        for i in range(0, len(parts), BATCH)
    ]
    seconds = len(samples) / spec.sr
    times = tuple((start / spec.sr, min((start + spec.samples) / spec.sr, seconds)) for start, _ in parts)
    return Prediction(seconds, times, np.concatenate(found, axis=1))
