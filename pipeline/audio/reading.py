"""A clip's file as samples, what is wrong with a sound file, and the noise that a noisy view gets.

Formats: what libsndfile reads: WAV (8 to 32-bit, float, μ-law, A-law, MS- and IMA-ADPCM, extensible header), AIFF,
FLAC, OGG, MP3; with the extra ``media`` also what FFmpeg reads (``media``): M4A, AAC, WMA, AMR, and the sound of MP4, MOV, WebM,
Matroska and AVI; any number of channels, any rate. They are read by ``decoding``, to the end of what is in them. What a file lacks is found here by the annotation, or else by the file's own structure (``containers``).
"""

from __future__ import annotations

import hashlib
import math
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from pipeline.audio import decoding, media
from pipeline.audio.decoding import PIPE
from pipeline.config import LOUDEST, InputError
from pipeline.extras import is_installed

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

#: A reason that lies with what is installed: another time it may be read, too.
NEEDED = media.NEEDED

#: Reasons that lie in the file.
EMPTY, TEXT, NO_BYTES = "a header without sound", "text, not sound", "an empty file"
DAMAGED = "damaged, or a format that libsndfile cannot read"
UNREADABLE = PASSING | {TEXT, NO_BYTES, DAMAGED, media.DAMAGED}

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


def read_clip(
    path: Path | str, *, sr: int, samples: int, seconds: float | None = None, short: str = "pad"
) -> np.ndarray:
    """The clip as (samples,) float32 at ``sr`` Hz: ``read_sound``, cut or filled up as ``filled`` does."""
    return filled(read_sound(path, sr=sr, samples=samples, seconds=seconds), samples, short)


def read_sound(
    path: Path | str, *, sr: int, samples: int, seconds: float | None = None, start: float = 0.0
) -> np.ndarray:
    """The sound of a clip as (n,) float32 at ``sr`` Hz: the channels' mean, resampled; of longer ones somewhat more than
    ``samples``.

    ``seconds`` is the annotated length: what lies beyond it (ADPCM pads to whole blocks) is cut before resampling. ``start``: where
    the clip begins in its file, in seconds; it has no annotated length then.
    Full scale is 1.0. The values are those of ``librosa.load(path, sr=sr, res_type="soxr_hq")`` within float32
    rounding. Raises ``ClipError`` for a file that is missing, forbidden, empty, not sound, cut off, not finite, or
    louder than ``LOUDEST``.
    """
    with opening(path) as sound:
        enough = math.ceil((samples / sr + LOOKAHEAD_SECONDS) * sound.rate)
        blocks = [np.zeros(0, np.float32)]
        first = round(start * sound.rate)
        wanted = first + max(enough, math.ceil((seconds or 0) * sound.rate))
        for block in sound.blocks(max(1, wanted - first), first):
            blocks.append(mono(block[max(0, first - (sound.frames - len(block))) :]))
            if sound.frames >= wanted:
                break
        check_length(sound, seconds)
    heard = np.concatenate(blocks)[:enough]
    # By more than a frame: annotated times are rounded, and their clips are whole.
    if seconds is not None and len(heard) - seconds * sound.rate > 1:
        heard = heard[: max(1, round(seconds * sound.rate))]
    check_values(path, heard, sound.rate)
    if sound.rate != sr:
        heard = soxr.resample(heard, sound.rate, sr, quality="HQ")
    return heard


def filled(sound: np.ndarray, samples: int, short: str = "pad") -> np.ndarray:
    """(n,) → (samples,) float32: cut, or filled up with zeros ("pad") or with the sound again and again ("loop")."""
    if short == "loop" and 0 < len(sound) < samples:
        return np.resize(sound, samples).astype(np.float32, copy=False)
    clip = np.zeros(samples, dtype=np.float32)
    clip[: len(sound)] = sound[:samples]
    return clip


@contextmanager
def opening(path: Path | str) -> Iterator[decoding.Sound]:
    """``decoding.opening``, whose errors, and those of reading in it, become ``ClipError``."""
    try:
        with decoding.opening(path) as sound:
            check_rate(path, sound.rate)
            yield sound
    except media.MediaError as error:
        raise ClipError(path, error.reason, error.expected, error.found) from None
    except (soundfile.SoundFileError, OSError, decoding.NotRegularError) as error:
        raise unreadable(Path(path), error) from None


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
    values = np.random.Generator(np.random.SFC64(int.from_bytes(key[:16]))).standard_normal(samples, np.float32)
    values *= np.float32(std)
    return values


def check_rate(path: Path | str, rate: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise ClipError(path, "an impossible sampling rate", f"{RATES[0]:,} to {RATES[1]:,} Hz", f"{rate:,} Hz")


def check_values(path: Path | str, sound: np.ndarray, rate: int, first: int = 0) -> None:
    """``ClipError`` for samples (frames,) that are not finite, or beyond ``LOUDEST``; ``first``: frame of the first."""
    if not len(sound):
        return
    if not (finite := np.isfinite(sound)).all():
        place = int(np.argmin(finite))
        raise ClipError(
            path,
            "samples that are no numbers",
            "finite float32 samples",
            f"{sound[place]} at frame {first + place}",
        )
    place = int(np.argmax(np.abs(sound)))
    if abs(sound[place]) > LOUDEST:
        raise ClipError(
            path,
            "samples far beyond full scale",
            f"at most {LOUDEST:g} times full scale",
            f"{sound[place]:.3g} at {(first + place) / rate:.3f} s (frame {first + place})",
        )


def check_length(sound: decoding.Sound, seconds: float | None = None) -> None:
    """``ClipError`` where fewer frames are there than the annotation says or, without one, the file's structure.

    Of a sound that has been read: to its end, or as far as it was wanted.
    """
    there, rate, layout = sound.whole, sound.rate, sound.layout
    if sound.ended and not sound.frames:
        raise ClipError(sound.path, EMPTY, "at least one frame", "0 frames")
    whole = seconds * rate if seconds is not None else max(sound.announced, there / layout.present)
    tolerance = max(1, min(TOLERANCE_SECONDS * rate, TOLERANCE_PART * whole))
    if "ADPCM" in sound.coding:
        tolerance = max(tolerance, min(ADPCM_BLOCK, 0.5 * whole))
    if whole - there > tolerance:
        source = "annotation" if seconds is not None else "header"
        raise ClipError(sound.path, "cut off", f"{whole / rate:.3f} s by its {source}", f"{there / rate:.3f} s")
    if seconds is None and layout.lacking:
        raise ClipError(sound.path, "cut off", layout.lacking, f"{there / rate:.3f} s without one")


def unreadable(path: Path, error: Exception) -> ClipError:
    """Why libsndfile could not read a file, which it does not say: asked of the file itself."""
    if isinstance(error, decoding.NotRegularError):
        remedy = " (what comes from a pipe is read as '-')" if str(error) == PIPE else ""
        return ClipError(path, "not a file", f"a sound file{remedy}", str(error))
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except FileNotFoundError:
        return ClipError(path, MISSING, "a sound file", "no file")
    except PermissionError:
        return ClipError(path, FORBIDDEN, "a file this user may read", mode(path))
    except OSError as problem:
        return ClipError(path, FAILING, "a sound file", str(problem.strerror or problem))
    if not head:
        return ClipError(path, NO_BYTES, "a sound file", "0 bytes")
    words = " ".join(re.sub(r"^Error opening .*?: (?=\w)", "", str(error)).split())
    text = head.decode("utf-8", errors="ignore")
    if len(text) > 0.9 * len(head) and all(letter.isprintable() or letter.isspace() for letter in text):
        return ClipError(path, TEXT, "a sound file", f"{' '.join(text.split())[:40]!r}")
    if isinstance(error, OSError) or getattr(error, "code", None) == SYSTEM_ERROR:
        return ClipError(path, FAILING, "a sound file", words)
    return ClipError(path, DAMAGED, "WAV, AIFF, FLAC, OGG or MP3", words)


def given_now(path: Path, reason: str) -> bool:
    """Whether the reason why a file could not be read holds no more: the file system gives its whole content, whatever that is,
    or what decodes it is installed."""
    if reason == NEEDED:
        return is_installed("av")
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
