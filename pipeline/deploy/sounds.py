"""Sounds that a run is asked about: files, folders and the microphone, cut into windows.

A sound no longer than the clip length is one clip exactly as in stage one; a longer one is heard in windows of the clip
length that overlap by half, the last one ending with the sound.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr

from pipeline.audio import decoding, reading
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import files
from pipeline.extras import install_line

#: Frames of a file that are read at a time.
BLOCK = 1 << 16


def sound_files(path: Path) -> list[Path]:
    """``path`` itself, or the sound files below a folder (``corpus.files.sounds``); ``InputError`` where it has none."""
    if not path.is_dir():
        return [path]
    paths = files.sounds(path)
    if not paths:
        more = files.remedy(files.unread(path))
        raise InputError(f"{path}: a folder without sound files; expected some of {files.formats()} in it{more}")
    return paths


def left_out(folder: Path) -> str:
    """A line on the files of a folder that look like sounds and are not read; "" where there are none."""
    names = files.unread(folder)
    if not names:
        return ""
    counted = (
        "1 file that looks like a sound is" if len(names) == 1 else f"{len(names)} files that look like sounds are"
    )
    return f"{folder}: {counted} not read, such as {names[0]}{files.remedy(names)}"


def sound_blocks(path: Path, sr: int) -> Iterator[np.ndarray]:
    """A file of any format, rate and length as blocks (n,) float32 at ``sr``, one after the other, not cut.

    Of a corpus' clip these are stage one's samples, unless the file goes on beyond the clip's annotated length (ADPCM, which
    pads to whole blocks): without the corpus' table nobody knows. ``reading.ClipError`` as there; what is lacking at the
    file's end is raised behind the last block.
    """
    with reading.opening(path) as sound:
        stream = soxr.ResampleStream(sound.rate, sr, 1, dtype="float32", quality="HQ")
        for block in sound.blocks(BLOCK):
            samples = reading.mono(block)
            reading.check_values(path, samples, sound.rate, sound.frames - len(samples))
            yield samples if sound.rate == sr else stream.resample_chunk(samples)
        if sound.rate != sr:
            yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
        reading.check_length(sound)


def window_count(path: Path, spec: FeatureSpec) -> int:
    """How many windows a file has by its header; 1 where that cannot be read (whoever hears it says why), or gives no length."""
    seconds = decoding.seconds_stated(path)
    rest = round(seconds * spec.sr) - spec.samples
    return 1 if rest <= spec.hop_length else -(-rest // max(1, spec.samples // 2)) + 1  # as many as ``starts`` has


def microphone(spec: FeatureSpec) -> Iterator[np.ndarray]:
    """Windows (clip length,) float32 from the default input, one per half clip length, without end."""
    try:
        import sounddevice  # an extra, and it looks for PortAudio at once
    except (ImportError, OSError) as error:
        absent = isinstance(error, ImportError)
        reason = "needs the package sounddevice" if absent else f"cannot start ({error})"
        raise InputError(
            f"the microphone {reason}; install it: {install_line('mic')} "
            "(on Linux PortAudio too: apt install libportaudio2)"
        ) from None
    half = spec.samples // 2
    blocks: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    heard = np.zeros(0, dtype=np.float32)

    def heard_now(data: np.ndarray, *_: object) -> None:
        blocks.put(data[:, 0].copy())

    try:
        with sounddevice.InputStream(samplerate=spec.sr, channels=1, dtype="float32", callback=heard_now):
            while True:
                while len(heard) < spec.samples:
                    heard = np.concatenate([heard, blocks.get()])
                yield heard[: spec.samples]
                heard = heard[half:]
    except sounddevice.PortAudioError as error:
        raise InputError(
            f"the microphone cannot be opened ({error}); expected an input device that records {spec.sr} Hz: "
            "see 'python -m sounddevice'"
        ) from None


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
    a block are held. The window of a short sound is filled up as ``spec.short`` says; with the last one all has been heard.
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
    yield last, reading.filled(part, size, spec.short), heard
