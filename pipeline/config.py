"""Every setting of the project, as frozen dataclasses read from a TOML file that refuses unknown keys.

A *preset* is one TOML file with the tables ``[features]``, ``[teacher]`` and ``[student]``; the ones that
come with the project lie in ``pipeline/presets``, which also layers one on another. What a number depends on is a
field here, and the digest of the fields is part of every cache's and run's path, so changed settings never meet old results.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipeline import presets, samplers
from pipeline.bounds import LARGEST_VIEW, MOST
from pipeline.digests import completed as completed
from pipeline.digests import digest as digest
from pipeline.digests import identifying as identifying
from pipeline.errors import InputError as InputError

#: The stacked features, in the order of axis ``feature``.
FEATURES = ("mfcc", "melspectrogram", "chroma_stft", "chroma_cqt", "chroma_cens")

#: The two views of a clip, in the order of axis ``view``.
VIEWS = ("clean", "noisy")

#: Samples of more than so many times full scale are no sound; features square them in float32.
LOUDEST = 1e6

T = TypeVar("T")


@dataclass(frozen=True)
class FeatureSpec:
    """How a clip becomes an array (feature, bin, frame); the clip length comes from the corpus.

    ``version`` is raised whenever the same settings give other numbers, so that old caches are not reused.
    """

    seconds: float = 4.0
    sr: int = 22050
    n_fft: int = 2048
    hop_length: int = 512
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
    version: int = 1
    floor: float = 0.0
    """Frames quieter than this share of the clip's loudest, by their constant-Q transform, are silent: zeros in chroma_cqt and
    in what CENS smooths. 0 is librosa's own: it scales what rounding left in a silent frame to 1."""

    def __post_init__(self) -> None:
        for field_ in dataclasses.fields(self):
            value, kinds = (
                getattr(self, field_.name),
                {"int": int, "float": int | float}.get(str(field_.type)),
            )
            if kinds and (isinstance(value, bool) or not isinstance(value, kinds)):
                expected = "a whole number" if kinds is int else "a number"
                raise InputError(f"features.{field_.name} = {value!r}: expected {expected}")
        for name in ("sr", "n_fft", "hop_length", "bins", "bins_per_octave"):
            if getattr(self, name) < 1:
                raise InputError(f"features.{name} = {getattr(self, name)}: expected a positive whole number")
        check_most(self, "features.")
        if not 0 < self.seconds <= 600:
            raise InputError(f"features.seconds = {self.seconds}: expected more than 0 and at most 600")
        if not 0 <= self.noise_std <= 1:
            raise InputError(f"features.noise_std = {self.noise_std}: expected 0 to 1 (1 is full scale)")
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
        if self.bins_per_octave % (step := math.lcm(self.bins, self.cens_bins)):
            why = f" (of bins = {self.bins} and chroma_bins = {self.cens_bins})" if self.chroma_bins else ""
            raise InputError(
                f"features.bins_per_octave = {self.bins_per_octave}: expected a multiple of {step}{why}, "
                f"for example {step * max(1, round(self.bins_per_octave / step))}"
            )
        if self.tuning != "estimate" and not (isinstance(self.tuning, int | float) and -0.5 <= self.tuning < 0.5):
            raise InputError(f"features.tuning = {self.tuning!r}: expected 'estimate' or a number in [-0.5, 0.5)")

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
    def shape(self) -> tuple[int, int, int]:
        """(feature, bin, frame) of one view."""
        return len(FEATURES), self.bins, self.frames


@dataclass(frozen=True)
class TrainSettings:
    """How one network is trained. Optimiser: SGD with (Nesterov) momentum."""

    model: str = "resnet18"
    epochs: int = 40
    batch: int = 8
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    schedule: str = "step"
    """"step": lr × gamma every ``step_epochs``; "cosine": to 0 over the epochs; "constant"; all after the warm-up."""
    step_epochs: int = 10
    gamma: float = 0.1
    milestones: str = ""
    """Of "step": lr × gamma at each of these epochs, for example "60,120,160", instead of every ``step_epochs``."""
    warmup_epochs: float = 0.0
    """The learning rate rises linearly over this many epochs (fractions count steps)."""
    clip_norm: float = 0.0
    """Largest gradient norm of a run; 0: no clipping."""
    label_smoothing: float = 0.0
    """Of the term ``ce`` only."""
    class_weights: str = "none"
    """Of the term ``ce``: "none", or "balanced" (by the training folds' counts)."""
    precision: str = "float32"
    """"float32", or "bfloat16" (autocast; relations stay float32)."""
    tf32: bool = False
    """Allow TensorFloat-32 in float32 products on a GPU."""
    data: str = "float32"
    """Type of the features on the device: "float32" or "bfloat16"."""
    augment: str = "none"
    """Of images: "none", or "crop-flip" (shifted by up to 4 pixels and mirrored, anew in every epoch)."""
    teacher_epoch: str = "last"
    """Students only: which weights of the teacher teach: "last", or "best" (peeks at the held-out fold)."""
    teacher_seed: int = 0
    """Students only: the seed of the teacher that all seeds of a fold share."""
    sampler: str = "shuffle"
    """How batches are drawn: "shuffle", or "classes:4" for 4 clips of each of batch / 4 classes (``pipeline.samplers``)."""

    def __post_init__(self) -> None:
        choices = {
            "schedule": ("step", "cosine", "constant"),
            "class_weights": ("none", "balanced"),
            "precision": ("float32", "bfloat16"),
            "data": ("float32", "bfloat16"),
            "augment": ("none", "crop-flip"),
            "teacher_epoch": ("last", "best"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} = {getattr(self, name)!r}: expected one of {', '.join(allowed)}")
        for name in ("epochs", "batch", "step_epochs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: expected at least 1")
        for name in ("lr", "momentum", "weight_decay", "gamma", "warmup_epochs", "clip_norm", "teacher_seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} = {getattr(self, name)}: expected a number of at least 0")
        check_most(self)
        if self.momentum >= 1:
            raise InputError(f"momentum = {self.momentum}: expected a number below 1, for example 0.9")
        marks = self.milestones.replace(" ", "").split(",") if self.milestones else []
        if not all(mark.isdecimal() and mark.isascii() and len(mark) < 8 and int(mark) for mark in marks):
            raise InputError(f"milestones = {self.milestones!r}: expected epochs such as '60,120,160', or ''")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing = {self.label_smoothing}: expected 0 or more, below 1")
        samplers.check(self.sampler, self.batch)
        object.__setattr__(self, "model", self.model.replace("-", "_"))  # a network's name is its file's


@dataclass(frozen=True)
class Settings:
    """One preset: what the three stages do. ``preset`` is a name for people and paths."""

    preset: str = "default"
    features: FeatureSpec = field(default_factory=FeatureSpec)
    teacher: TrainSettings = field(default_factory=TrainSettings)
    student: TrainSettings = field(default_factory=lambda: TrainSettings(model="cnn2"))
    asked_seconds: float | None = field(default=None, compare=False)
    """``features.seconds`` of an override: the clip length is the corpus', so this may only agree (``for_corpus``)."""


#: Table of a preset → what its keys are.
KINDS: dict[str, Any] = {"features": FeatureSpec, "teacher": TrainSettings, "student": TrainSettings}


def check_most(settings: Any, prefix: str = "") -> None:
    """``InputError`` for a value above that of ``MOST``, with the reason. ``prefix``: of the name, for the message."""
    for setting in dataclasses.fields(settings):
        value, (most, why) = getattr(settings, setting.name), MOST.get(setting.name, (math.inf, ""))
        if setting.name in MOST and abs(value) > most:
            raise InputError(f"{prefix}{setting.name} = {value:g}: expected at most {most:,} ({why})")


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """``kind(**values)``, with a clear line for an unknown key or a value of the wrong type."""
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    clean: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}; expected one of {', '.join(known)}")
        wanted = str(known[key].type)
        names: dict[str, Any] = {
            "int": int,
            "float": (int, float),
            "str": str,
            "bool": bool,
            "float | str": (int, float, str),
        }
        if not isinstance(value, names[wanted]) or (isinstance(value, bool) and wanted != "bool"):
            number = ", a number such as 0.2" if wanted == "float" else ""
            raise InputError(f"{where}: {key} = {value!r}: expected {wanted}{number}")
        clean[key] = float(value) if wanted.startswith("float") and isinstance(value, int) else value
    try:
        return kind(**clean)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def read(preset: str = "default", overrides: Iterable[str] = ()) -> Settings:
    """The settings of a preset's name or TOML file, with ``table.key=value`` overrides (TOML values).

    What a preset leaves out is as in ``default``, or as in what its ``extends`` names (``pipeline.presets``).
    Raises ``InputError`` for a preset, table, key or value that is not known.
    """
    overrides = tuple(overrides)
    try:
        layers = presets.layers(preset)
    except ValueError as error:
        raise InputError(str(error)) from None
    tables: dict[str, Any] = {}
    for path, values in layers:
        require_tables(values, str(path))
        tables = {name: tables.get(name, {}) | values.get(name, {}) for name in KINDS}
        built = built_tables(tables, str(path))
    if overrides:
        for override in overrides:
            apply_override(tables, override)
        where = f"{path} with {', '.join(overrides)}"
        require_tables(tables, where)
        built = built_tables(tables, where)
    asked = built["features"].seconds if any(map(sets_seconds, overrides)) else None
    return Settings(preset=path.stem, asked_seconds=asked, **built)


def require_tables(tables: Mapping[str, Any], where: str) -> None:
    for table in tables:
        if table not in KINDS or not isinstance(tables[table], dict):
            raise InputError(f"{where}: unknown table [{table}]; expected {', '.join(KINDS)}")


def built_tables(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {name: build(kind, tables[name], f"{where} [{name}]") for name, kind in KINDS.items()}


def sets_seconds(override: str) -> bool:
    return override.partition("=")[0].replace(" ", "") == "features.seconds"


def apply_override(tables: dict[str, Any], override: str) -> None:
    """Set ``table.key=value`` in ``tables``; the value is TOML, or a plain word."""
    target, equals, text = override.partition("=")
    table, dot, key = target.strip().partition(".")
    if not (equals and dot and key):
        raise InputError(f"{override!r}: expected TABLE.KEY=VALUE, for example student.lr=0.002")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # a number of thousands of digits, too
        value = text.strip()
    tables.setdefault(table, {})[key.strip()] = value


def for_corpus(settings: Settings, seconds: float) -> Settings:
    """``settings`` with the clip length of a corpus. ``InputError`` where an override wants another one."""
    if settings.asked_seconds not in (None, seconds):
        raise InputError(
            f"features.seconds={settings.asked_seconds:g}: the clip length is the corpus', {seconds:g} s, and no "
            "setting; leave it out, or for a folder of your own write seconds into its corpus.toml"
        )
    return dataclasses.replace(settings, features=dataclasses.replace(settings.features, seconds=float(seconds)))
