"""Checkpoints → what they say of sounds: any file, any length, one run or several.

``model.pt`` alone is enough: it holds the feature settings, the standardisation (buffers of the network) and the
class names. Reading a checkpoint needs torch only; the audio libraries are imported when there is a sound to read. A
sound no longer than the clip length is one clip exactly as in stage one; a longer one is heard in windows of the clip
length that overlap by half, the last one ending with the sound.
"""

from __future__ import annotations

import dataclasses
import queue
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
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

#: Frames of a file that are read at a time.
BLOCK = 1 << 16


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
    return np.concatenate(list(sound_blocks(path, spec.sr)))


def sound_blocks(path: Path, sr: int) -> Iterator[np.ndarray]:
    """``read_sound`` in blocks (n,), one after the other; what is lacking at the file's end is raised behind the last."""
    import soxr

    from pipeline.audio import reading as audio

    with audio.opening(path) as sound:
        stream = soxr.ResampleStream(sound.rate, sr, 1, dtype="float32", quality="HQ")
        for block in sound.blocks(BLOCK):
            samples = audio.mono(block)
            audio.check_values(path, samples, sound.rate, sound.frames - len(samples))
            yield samples if sound.rate == sr else stream.resample_chunk(samples)
        if sound.rate != sr:
            yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
        audio.check_length(sound)


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


def one_thread() -> None:
    """Compute in one thread from here on: the transforms of a clip are so small that more only wait for each other."""
    torch.set_num_threads(1)


def prepare(members: Sequence[Checkpoint]) -> None:
    """Compile what the features need where it is not: behind a lock, for of two processes at once one could spoil it."""
    if features.kernels_note():
        features.warm_up(members[0].spec)


def starts(samples: int, size: int, slack: int) -> list[int]:
    """First samples of the windows of ``size`` that cover a sound of ``samples`` samples.

    One window where the sound is no longer than ``size`` + ``slack``: stage one too cuts what a few samples of
    rounding leave over. Else a window every ``size`` // 2, and a last one that ends with the sound.
    """
    if samples <= size + slack:
        return [0]
    return [*range(0, samples - size, max(1, size // 2)), samples - size]


def windows(blocks: Iterable[np.ndarray], spec: FeatureSpec) -> Iterator[tuple[int, np.ndarray, int]]:
    """(first sample, samples of the clip length, samples heard so far) of the windows of a sound, in turn.

    They lie where ``starts`` says; the sound comes in ``blocks`` (n,) of any lengths, of which no more than a window and
    a block are held. The window of a short sound is padded with zeros; with the last one all has been heard.
    """
    size, half = spec.samples, max(1, spec.samples // 2)
    held, first, place = np.zeros(0, np.float32), 0, 0
    for block in blocks:
        held = np.concatenate([held, block])
        # Only where more follows: else it is the last window, which ends with the sound.
        while (heard := first + len(held)) > place + size + (0 if place else spec.hop_length):
            yield place, held[place - first : place - first + size], heard
            place += half
        spare = max(0, min(place - first, len(held) - size))
        held, first = held[spare:], first + spare
    heard = first + len(held)
    last = 0 if heard <= size + spec.hop_length else heard - size
    part = held[last - first : last - first + size]
    yield last, np.pad(part, (0, size - len(part))), heard


@torch.inference_mode()
def logits(members: Sequence[Checkpoint], clips: np.ndarray) -> np.ndarray:
    """(runs, clips, classes) float32 of samples (clips, n) float32 at the members' rate and clip length."""
    values = torch.from_numpy(features.extract(clips, members[0].spec))
    return torch.stack([member.network(values).logits for member in members]).numpy()


def predict(members: Sequence[Checkpoint], blocks: Iterable[np.ndarray]) -> Prediction:
    """What the members (one, or an ``ensemble``) say of a sound: blocks (n,) of float32 in full scale, at their rate.

    The windows are computed ``BATCH`` at a time while the sound is read, so that its length costs no memory.
    """
    spec = members[0].spec
    places, values, heard = [], [], 0
    source = windows(blocks, spec)
    while parts := list(islice(source, BATCH)):
        values.append(logits(members, np.stack([part for _, part, _ in parts])))
        places += [start for start, _, _ in parts]
        heard = parts[-1][2]
    seconds = heard / spec.sr
    times = tuple((start / spec.sr, min((start + spec.samples) / spec.sr, seconds)) for start in places)
    return Prediction(seconds, times, np.concatenate(values, axis=1))


def predict_file(members: Sequence[Checkpoint], path: Path) -> Prediction:
    """``predict`` of a sound file; raises ``audio.ClipError`` for what stage one refuses."""
    return predict(members, sound_blocks(path, members[0].spec.sr))


def predict_stream(members: Sequence[Checkpoint], stream: IO[bytes], name: str = "-") -> Prediction:
    """``predict_file`` of a whole WAV (or another format with a header) from a pipe, which errors call ``name``."""
    from pipeline import audio

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard-input"
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
        try:
            return predict_file(members, path)
        except audio.ClipError as error:
            raise audio.ClipError(name, error.reason, error.expected, error.found) from None
