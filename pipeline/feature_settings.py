"""How a clip becomes an array: the table ``[features]`` of a preset."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from pipeline.bounds import LARGEST_VIEW, check_most
from pipeline.errors import InputError

#: The paper's features; those in use are stacked in this order, on axis ``feature``.
FEATURES = ("mfcc", "melspectrogram", "chroma_stft", "chroma_cqt", "chroma_cens")

#: These, and behind them what is there only by its name.
EVERY_FEATURE = (*FEATURES, "pcen")

#: ``use`` of the paper's five.
ALL = "all"

#: The views that every clip has, in the order of axis ``view``; changed copies come behind them.
VIEWS = ("clean", "noisy")

#: What a changed copy is called, with its number from 1.
CHANGED = "changed"

#: Samples of more than so many times full scale are no sound; features square them in float32.
LOUDEST = 1e6


@dataclass(frozen=True)
class FeatureSpec:
    """How a clip becomes an array (feature, bin, frame); the clip length comes from the corpus.

    ``version`` is raised whenever the same settings give other numbers, so that old caches are not reused.
    """

    seconds: float = 4.0
    """Length to which clips are cut or filled up; the corpus' own takes its place."""
    sr: int = 22050
    """Samples per second to which sounds are resampled."""
    n_fft: int = 2048
    """Length of the window of the short-time Fourier transform."""
    hop_length: int = 512
    """From one frame to the next."""
    bins: int = 20
    """Rows of each feature: ``n_mfcc``, ``n_mels`` and ``n_chroma``."""
    bins_per_octave: int = 40
    """Of the constant-Q transform; a multiple of ``bins`` and of ``chroma_bins``."""
    chroma_bins: int = 0
    """Rows of CENS; 0 means ``bins``. Fewer rows than ``bins`` are padded with zero rows."""
    tuning: float | str = "estimate"
    """Deviation from A440 in fractions of a bin, or "estimate" as librosa does, clip by clip."""
    noise_std: float = 0.001
    """Standard deviation of the Gaussian noise of the noisy view, in units of full scale (1.0)."""
    noise_seed: int = 0
    """Of the noise of the noisy view, with the clip's name."""
    version: int = 1
    floor: float = 0.0
    """Frames quieter than this share of the clip's loudest are silent: by their constant-Q transform zeros in chroma_cqt and in
    what CENS smooths, by their windowed samples zeros in chroma_stft. 0 is librosa's own: it scales what rounding left there to 1."""
    short: str = "pad"
    """What fills up a clip that is too short: "pad", zeros at its end; or "loop", the sound again from its beginning."""
    views: int = 0
    """Changed copies of each clip beside the clean and the noisy view: other speed, gain and level of noise
    (``pipeline.audio.changing``)."""
    backgrounds: str = ""
    """A folder of recordings: half of the changed copies lie in a piece of one. Kept as FOLDER@DIGEST of its contents."""
    rooms: str = ""
    """A folder of room responses: half of the changed copies are heard in one. Kept likewise."""
    use: str | list[str] = ALL
    """Which features: "all", the five of ``FEATURES``, or names of ``EVERY_FEATURE`` with commas (or a list), in any order; kept as
    text, in that order."""

    engine: str = "librosa"
    """What computes: "librosa", its numbers on the CPU; or "torch", the same to float32 on a GPU where there is one (of a fixed
    tuning and a floor only: docs/features.md)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "use", chosen(self.use))
        for field_ in dataclasses.fields(self):
            value, kinds = (
                getattr(self, field_.name),
                {"int": int, "float": int | float}.get(str(field_.type)),
            )
            if kinds and (isinstance(value, bool) or not isinstance(value, kinds)):
                expected = "a whole number" if kinds is int else "a number"
                raise InputError(f"features.{field_.name} = {value!r}: expected {expected}")
        if self.short not in ("pad", "loop"):
            raise InputError(f"features.short = {self.short!r}: expected 'pad' (zeros) or 'loop' (the sound again)")
        for name in ("sr", "n_fft", "hop_length", "bins", "bins_per_octave"):
            if getattr(self, name) < 1:
                raise InputError(f"features.{name} = {getattr(self, name)}: expected a positive whole number")
        check_most(self, "features.")
        if not 0 < self.seconds <= 600:
            raise InputError(f"features.seconds = {self.seconds}: expected more than 0 and at most 600")
        if not 0 <= self.noise_std <= 1:
            raise InputError(f"features.noise_std = {self.noise_std}: expected 0 to 1 (1 is full scale)")
        self.check_views()
        if not 0 <= self.chroma_bins <= self.bins:
            raise InputError(f"features.chroma_bins = {self.chroma_bins}: expected 0 to bins = {self.bins}")
        if not 0 <= self.floor < 1:
            raise InputError(
                f"features.floor = {self.floor}: expected 0 or more, below 1 (the clip's loudest frame), for example 1e-5"
            )
        if math.prod(self.shape) > LARGEST_VIEW:
            raise InputError(
                f"features.hop_length = {self.hop_length}: a clip of {self.seconds:g} s would become {self.frames:,} frames, "
                f"{4 * math.prod(self.shape) / 1e9:.1f} GB; expected at most {4 * LARGEST_VIEW / 1e9:.0f} GB: a larger "
                "hop_length, a smaller sr or fewer bins"
            )
        if self.bins_per_octave % (step := self.octave_step):
            why = f" (of bins = {self.bins} and chroma_bins = {self.cens_bins})" if self.chroma_bins else ""
            raise InputError(
                f"features.bins_per_octave = {self.bins_per_octave}: expected a multiple of {step}{why}, "
                f"for example {step * max(1, round(self.bins_per_octave / step))}"
            )
        if self.tuning != "estimate" and not (isinstance(self.tuning, int | float) and -0.5 <= self.tuning < 0.5):
            raise InputError(f"features.tuning = {self.tuning!r}: expected 'estimate' or a number in [-0.5, 0.5)")
        if self.engine not in ("librosa", "torch"):
            raise InputError(f"features.engine = {self.engine!r}: expected 'librosa' or 'torch'")
        chromagrams = any(name.startswith("chroma") for name in self.names)
        if self.engine == "torch" and chromagrams and (self.tuning == "estimate" or not self.floor):
            raise InputError(
                f"features.engine = 'torch': expected a fixed tuning and a floor for it, not features.tuning = {self.tuning!r} and "
                f"features.floor = {self.floor:g}: --preset device, or --set features.tuning=0.0 --set features.floor=1e-5"
            )

    def check_views(self) -> None:
        if self.views < 0:
            raise InputError(
                f"features.views = {self.views}: expected 0 or more, the number of changed copies beside clean and noisy"
            )
        for name in ("backgrounds", "rooms"):
            if getattr(self, name) and not self.views:
                raise InputError(
                    f"features.{name} = {getattr(self, name)!r}: only changed copies lie in it; expected features.views of 1 at least"
                )

    @property
    def samples(self) -> int:
        """Samples of a clip after it was cut or padded."""
        return round(self.sr * self.seconds)

    @property
    def frames(self) -> int:
        """Frames of a centred STFT of ``samples`` samples."""
        return 1 + self.samples // self.hop_length

    @property
    def cens_bins(self) -> int:
        return self.chroma_bins or self.bins

    @property
    def octave_step(self) -> int:
        """What ``bins_per_octave`` is a multiple of: the rows of the constant-Q chromagrams in use; 1 without any."""
        rows = {"chroma_cqt": self.bins, "chroma_cens": self.cens_bins}
        return math.lcm(*(count for name, count in rows.items() if name in self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """The features in use, in the order of axis ``feature``."""
        return FEATURES if self.use == ALL else tuple(str(self.use).split(","))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(feature, bin, frame) of one view."""
        return len(self.names), self.bins, self.frames

    @property
    def view_names(self) -> tuple[str, ...]:
        """The views of a clip, in the order of axis ``view``."""
        return view_names(len(VIEWS) + self.views)


def view_names(count: int) -> tuple[str, ...]:
    """What the first ``count`` views are called: clean, noisy, changed1, changed2, …"""
    return tuple(view_name(index) for index in range(count))


def view_name(index: int) -> str:
    return VIEWS[index] if index < len(VIEWS) else f"{CHANGED}{index - len(VIEWS) + 1}"


def view_index(name: str) -> int | None:
    """The place on axis ``view`` of a name, or of a place written as a number; None of any other text."""
    if name in VIEWS:
        return VIEWS.index(name)
    number = name.removeprefix(CHANGED)
    if not (number.isascii() and number.isdecimal() and len(number) < 5 and number == str(int(number))):
        return None
    if name == number:
        return int(number)
    return int(number) + len(VIEWS) - 1 if number != "0" else None


def chosen(use: object) -> str:
    """``use`` as it is kept. ``InputError`` for a name that is no feature, one that is there twice, and none."""
    words = use.replace(" ", "").split(",") if isinstance(use, str) else use
    expected = f"expected 'all' or some of {', '.join(EVERY_FEATURE)}, each once"
    if not isinstance(words, list | tuple) or not words:
        raise InputError(f"features.use = {use!r}: {expected}")
    if tuple(words) == (ALL,):
        return ALL
    if wrong := [word for place, word in enumerate(words) if word not in EVERY_FEATURE or word in words[:place]]:
        raise InputError(
            f"features.use = {use!r}: {wrong[0]!r} is {'there twice' if wrong[0] in EVERY_FEATURE else 'none'}; {expected}"
        )
    return ALL if set(words) == set(FEATURES) else ",".join(name for name in EVERY_FEATURE if name in words)
