"""What is on record of a run, typed; ``reading`` makes it of the files.

``config.json`` says what was trained, on what and with which settings, ``result.json`` how it came out. Files of earlier
versions lack some keys: what was not kept is None or empty here. Which roles there are is known here alone; others ask."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config
from pipeline.config import InputError, Settings
from pipeline.runs.ancestry import parents
from pipeline.runs.result import UNFINISHED as UNFINISHED
from pipeline.runs.result import Result as Result

if TYPE_CHECKING:
    from pipeline.losses.mix import LossMix

TEACHER, STUDENT, GENERATION, STEP = "teacher", "student", "generation", "step"

#: The data set of runs on images.
IMAGES = "cifar100"

#: Key → its value, as JSON holds it.
Table = Mapping[str, Any]


@dataclass(frozen=True)
class DataSet:
    """Of which data set a run is."""

    corpus: str
    dataset: str
    synthetic: bool
    all_folds: tuple[int, ...]
    """Of the published corpus, whatever part of it is there."""


@dataclass(frozen=True)
class Pack:
    """How a run was trained beside others."""

    runs: int | None = None
    layout: str = ""
    device: str = ""
    threads: int | None = None
    repeats: Path | None = None
    """The run that this one repeats."""
    measured: Table = field(default_factory=dict)
    """How size and layout were chosen."""
    live: bool = False
    """Whether teachers ran in every step; else what they say was computed once."""


class OfRole:
    """What has a role: which one is asked here alone."""

    role: str

    @property
    def is_teacher(self) -> bool:
        return self.role == TEACHER

    @property
    def is_student(self) -> bool:
        return self.role == STUDENT

    @property
    def is_generation(self) -> bool:
        """Whether it is of a born-again chain, behind its first teacher."""
        return self.role == GENERATION

    @property
    def is_step(self) -> bool:
        """Whether it is of an experiment, and none of the above."""
        return self.role == STEP

    @property
    def is_teacher_or_student(self) -> bool:
        """Whether it is of stages two or three."""
        return self.is_teacher or self.is_student


@dataclass(frozen=True)
class Record(OfRole):
    """One run: its folder, what it was to be, and how it came out."""

    folder: Path
    role: str
    corpus: str
    dataset: str
    synthetic: bool
    model: str
    preset: str
    fold: int
    """The one that was held out."""
    seed: int
    recorded_mix: str
    """As the version that trained it wrote it."""
    recorded_settings: Mapping[str, Table]
    """Table (features, teacher, student) → key → value, as recorded; later settings with their default. Digests are of these."""
    result: Result
    all_folds: tuple[int, ...] = ()
    """Of the published corpus."""
    data: Mapping[int, str] = field(default_factory=dict)
    """Fold → digest of its content."""
    skipped: Mapping[int, int] = field(default_factory=dict)
    """Fold → clips that could not be read, and are in no fold."""
    classes: tuple[str, ...] = ()
    """Empty where they were not kept."""
    shape: tuple[int, ...] = ()  # (feature, bin, frame) of an input
    slug: str = ""
    """The mix as part of a path, as it was when the run was trained."""
    teacher: Path | tuple[Path, ...] | None = None
    """The run, or file, that taught it, or several whose ensemble did."""
    start: Path | None = None
    """The run whose weights it began with."""
    base: Path | None = None
    """The student whose misses it learned."""
    generation: int = 0
    lineage: tuple[Path, ...] = ()
    """The runs that it goes back to, from the first ancestor to its teachers."""
    teacher_weights: Mapping[Path, str] = field(default_factory=dict)
    """Each of its ``parents`` → digest of its weights, of a file of its content, when it taught or was started from."""
    experiment: str | None = None
    step: str | None = None
    pack: Pack = field(default_factory=Pack)
    without: int | None = None  # another fold that it was not trained on
    crossed: bool = False  # whether each of its teachers spoke of the clips of one fold, on which it was not trained
    firsts: tuple[Path, ...] = ()
    """What a user named as the first teachers of its chain, or the folder of the teachers it is cross-fitted like."""
    contents: Mapping[Path, str] = field(default_factory=dict)  # empty where ``teacher_weights`` has all files
    trusted: bool = False  # whether a user vouched for a teacher that does not say what it was trained on
    identity: str = ""  # what all its files carry (``seal``); empty before there were identities
    plugins: Mapping[str, str] = field(default_factory=dict)  # files of a user's own that it used → SHA-256
    chosen: config.presets.Chosen | None = None  # by which folds its settings were chosen
    several_labels: bool = False  # whether its clips have several labels each
    peer: Path | None = None  # the run that it learned from while that learned from it

    @property
    def data_set(self) -> DataSet:
        return DataSet(self.corpus, self.dataset, self.synthetic, self.all_folds)

    @property
    def is_of_images(self) -> bool:
        return self.dataset == IMAGES

    @property
    def teachers(self) -> tuple[Path, ...]:
        if self.teacher is None:
            return ()
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    @property
    def parents(self) -> tuple[Path, ...]:
        """The runs that it goes back to directly: its teachers, the one it started from, and its base."""
        return parents(self.teachers, self.start, self.base)

    @property
    def digest(self) -> str:
        """Of the settings the run was trained with: (features, teacher) or (features, teacher, student)."""
        return settings_digest(self.role, self.recorded_settings)

    @property
    def teacher_digest(self) -> str:
        """``digest`` of a teacher with these settings."""
        return settings_digest(TEACHER, self.recorded_settings)

    @property
    def data_digest(self) -> str:
        """Of the content of all folds."""
        return config.digest({str(fold): digest for fold, digest in self.data.items()})

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings, with today's defaults for keys that there were not yet. ``InputError`` for what is unknown now."""
        where = f"{self.folder}/config.json"
        return Settings(preset=self.preset, chosen=self.chosen, **config.built_tables(self.recorded_settings, where))

    @property
    def trained_by(self) -> config.TrainSettings:
        """The part of the settings that the run itself was trained with."""
        return self.settings.teacher if self.is_teacher else self.settings.student

    @property
    def mix(self) -> LossMix | None:
        """None where one of its losses is gone since."""
        return parsed(self.recorded_mix)

    @property
    def mix_text(self) -> str:
        """The mix as this version writes it; as recorded where one of its losses is gone since."""
        return text_of(self.recorded_mix)

    @property
    def row_mix(self) -> str:
        """The mix by which rows of tables are told apart: "" for a teacher, whatever it was trained with."""
        return "" if self.is_teacher else self.mix_text

    @property
    def is_distilled(self) -> bool:
        """Whether ``distill`` trained it: by the fold's own teacher, by several of its teachers, by files."""
        return self.is_student or (self.is_step and self.experiment == STUDENT and self.without is None)

    @property
    def cell(self) -> tuple[int, int]:
        """(fold, seed)."""
        return self.fold, self.seed

    @property
    def name(self) -> str:
        """ "fold3-seed0"."""
        return f"fold{self.fold}-seed{self.seed}"


def settings_digest(role: str, settings: Mapping[str, Any]) -> str:
    """``config.digest`` over the settings (features, teacher, student: dataclasses, or their dictionaries) of a role's numbers."""
    names = ("features", "teacher") if role == TEACHER else ("features", "teacher", "student")
    return config.digest(*(config.identifying(settings[name], config.KINDS[name]) for name in names))


@functools.cache
def parsed(mix: str) -> LossMix | None:
    """The mix of a text; None where one of its losses is gone since it was written."""
    from pipeline.losses.mix import LossMix  # brings torch, and many commands read records without any

    try:
        return LossMix.parse(mix)
    except InputError:
        return None


@functools.cache
def text_of(mix: str) -> str:
    """A mix as this version writes it; as it stands where one of its losses is gone since."""
    return str(parsed(mix) or mix)
