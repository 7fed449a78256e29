"""A clip's file as samples, and the noise that its noisy view gets.

Formats: what libsndfile reads: WAV (8 to 32-bit, float, μ-law, A-law, MS- and IMA-ADPCM, extensible header), AIFF,
FLAC, OGG, MP3; any number of channels, any rate. soundfile reads a damaged WAV without an error, so what a file
lacks is found here by the annotation, or else by the file's own header.
"""

from __future__ import annotations

import hashlib
import math
import stat
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from pipeline.audio import containers
from pipeline.config import LOUDEST, InputError

#: Read beyond the clip's end, where the file goes on: the resampling filter looks ahead less than this.
LOOKAHEAD_SECONDS = 0.25

#: A clip may be this much shorter than its annotation: encoders' frames (5 ms in UrbanSound8K), rounded times.
TOLERANCE_SECONDS = 0.05
TOLERANCE_PART = 0.2

#: Frames a second of a sound file, least and most.
RATES = (100, 1_000_000)

#: Reasons that lie with the file system, not with what is in the file: another time it may be read.
MISSING, FORBIDDEN, FAILING = "missing", "no permission to read it", "cannot be read"
PASSING = frozenset((MISSING, FORBIDDEN, FAILING))

#: libsndfile's code for what the system refused.
SYSTEM_ERROR = 2

#: Longest block of ADPCM in use: the last one is all there or not.
ADPCM_BLOCK = 2048


class ClipError(InputError):
    """A clip that cannot be used: ``path``, ``reason``, ``expected`` and ``found``, each a few words."""

    def __init__(self, path: Path | str, reason: str, expected: str, found: str) -> None:
        super().__init__(f"{path}: {reason}; expected {expected}, found {found}")
        self.path, self.reason, self.expected, self.found = Path(path), reason, expected, found

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled with the message alone, but workers hand these on.
        return ClipError, (self.path, self.reason, self.expected, self.found)


def read_clip(path: Path | str, *, sr: int, samples: int, seconds: float | None = None) -> np.ndarray:
    """The clip as (samples,) float32 at ``sr`` Hz: the channels' mean, resampled, cut or zero-padded at its end.

    ``seconds`` is the annotated length: what lies beyond it (ADPCM pads to whole blocks) is cut before resampling.
    Full scale is 1.0. The values are those of ``librosa.load(path, sr=sr, res_type="soxr_hq")`` within float32
    rounding. Raises ``ClipError`` for a file that is missing, forbidden, empty, not sound, cut off, not finite, or
    louder than ``LOUDEST``.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate, stated, coding = file.samplerate, file.frames, file.subtype
            check_rate(path, rate)
            wanted = min(stated, math.ceil((samples / sr + LOOKAHEAD_SECONDS) * rate))
            frames = file.read(wanted, dtype="float32", always_2d=True)
        if not len(frames):
            raise ClipError(path, "a header without sound", "at least one frame", "0 frames")
        check_length(
            Path(path), stated if len(frames) == wanted else len(frames), stated, rate, coding, seconds
        )
    except (soundfile.SoundFileError, OSError) as error:
        raise unreadable(Path(path), error) from None
    # By more than a frame: annotated times are rounded, and their clips are whole.
    if seconds is not None and len(frames) - seconds * rate > 1:
        frames = frames[: max(1, round(seconds * rate))]
    sound = mono(frames)
    check_values(path, sound, rate)
    if rate != sr:
        sound = soxr.resample(sound, rate, sr, quality="HQ")
    clip = np.zeros(samples, dtype=np.float32)
    clip[: len(sound)] = sound[:samples]
    return clip


def mono(frames: np.ndarray) -> np.ndarray:
    """(frames, channels) → (frames,), the mean of the channels."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    if frames.shape[1] == 2:
        # The same as the mean bit for bit, and several times as fast.
        return (frames[:, 0] + frames[:, 1]) * np.float32(0.5)
    return frames.mean(axis=1)


def noise(name: str, samples: int, *, std: float, seed: int) -> np.ndarray:
    """(samples,) float32 white Gaussian noise of standard deviation ``std`` (full scale is 1.0).

    It depends on the clip's ``name`` and on ``seed``, not on order, process or backend; ``std`` only scales it.
    """
    if std == 0:
        return np.zeros(samples, dtype=np.float32)
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    values = np.random.Generator(np.random.SFC64(int.from_bytes(key[:16]))).standard_normal(
        samples, np.float32
    )
    values *= np.float32(std)
    return values


# ---------------------------------------------------------------------------------------------- what is wrong


def check_rate(path: Path | str, rate: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise ClipError(
            path, "an impossible sampling rate", f"{RATES[0]:,} to {RATES[1]:,} Hz", f"{rate:,} Hz"
        )


def check_values(path: Path | str, sound: np.ndarray, rate: int) -> None:
    """``ClipError`` for samples (frames,) that are not finite, or beyond ``LOUDEST``."""
    if not (finite := np.isfinite(sound)).all():
        place = int(np.argmin(finite))
        raise ClipError(
            path, "samples that are no numbers", "finite float32 samples", f"{sound[place]} at frame {place}"
        )
    place = int(np.argmax(np.abs(sound)))
    if abs(sound[place]) > LOUDEST:
        raise ClipError(
            path,
            "samples far beyond full scale",
            f"at most {LOUDEST:g} times full scale",
            f"{sound[place]:.3g} at {place / rate:.3f} s (frame {place})",
        )


def check_length(path: Path, there: int, stated: int, rate: int, coding: str, seconds: float | None) -> None:
    """``ClipError`` where fewer frames are ``there`` than the annotation says or, without one, the file's header."""
    whole = seconds * rate if seconds is not None else max(stated, there / containers.part_there(path))
    tolerance = max(1, min(TOLERANCE_SECONDS * rate, TOLERANCE_PART * whole))
    if "ADPCM" in coding:
        tolerance = max(tolerance, min(ADPCM_BLOCK, 0.5 * whole))
    if whole - there > tolerance:
        said = "annotation" if seconds is not None else "header"
        raise ClipError(path, "cut off", f"{whole / rate:.3f} s by its {said}", f"{there / rate:.3f} s")
    if seconds is None and not containers.ended(path):
        raise ClipError(path, "cut off", "a last page marked as the end", f"{there / rate:.3f} s without one")


def unreadable(path: Path, error: Exception) -> ClipError:
    """Why libsndfile could not read a file, which it does not say: asked of the file itself."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except FileNotFoundError:
        return ClipError(path, MISSING, "a sound file", "no file")
    except IsADirectoryError:
        return ClipError(path, "not a file", "a sound file", "a folder")
    except PermissionError:
        return ClipError(path, FORBIDDEN, "a file this user may read", mode(path))
    except OSError as problem:
        return ClipError(path, FAILING, "a sound file", str(problem.strerror or problem))
    if not head:
        return ClipError(path, "an empty file", "a sound file", "0 bytes")
    words = " ".join(str(error).replace(f"Error opening {str(path)!r}:", "").split())
    text = head.decode("utf-8", errors="ignore")
    if len(text) > 0.9 * len(head) and all(letter.isprintable() or letter.isspace() for letter in text):
        return ClipError(path, "text, not sound", "a sound file", f"{' '.join(text.split())[:40]!r}")
    if isinstance(error, OSError) or getattr(error, "code", None) == SYSTEM_ERROR:
        return ClipError(path, FAILING, "a sound file", words)
    return ClipError(
        path, "damaged, or a format that libsndfile cannot read", "WAV, AIFF, FLAC, OGG or MP3", words
    )


def readable(path: Path) -> bool:
    """Whether the file system gives a file's whole content, whatever that is."""
    try:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass
    except OSError:
        return False
    return True


def mode(path: Path) -> str:
    try:
        return stat.filemode(path.stat().st_mode)
    except OSError:
        return "a folder that is closed to this user"
