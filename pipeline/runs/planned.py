"""What a run is before it is trained: all that its numbers depend on, and the folder that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline import config, places
from pipeline.config import InputError, Settings, TrainSettings
from pipeline.images.archive import Archive
from pipeline.losses import LossMix
from pipeline.losses.mixable import taught_live
from pipeline.runs.ancestry import as_paths, others, parents, path_of, recorded
from pipeline.runs.paths import cell_path, named_in_path
from pipeline.runs.record import GENERATION, STEP, STUDENT, TEACHER, OfRole, settings_digest
from pipeline.teacher_files import is_teacher_file

#: In place of the teachers of a run that is ``crossed``.
CROSSED = "cross-fitted"

#: Between the random numbers of one generation and the next of the same seed.
GENERATION_STRIDE = 1_000_003

#: Role → how far above a run's folder its stage's folder is, and the folder that holds what was trained alike.
DEPTHS = {TEACHER: (0, 0), STUDENT: (1, 1), GENERATION: (2, 1), STEP: (1, 0)}

#: What the packs load their data from: the folds' files, or an archive.
Files = tuple[Path, ...] | Archive


@dataclass(frozen=True)
class PlannedRun(OfRole):
    """One training to be. Equal trainings are equal in what their folder follows from, whoever asks for them."""

    experiment: str
    step: str
    role: str
    """"teacher" and "student" as the stages have them, "generation" of a born-again chain, "step" of any experiment."""
    corpus: str
    settings: Settings
    """``network`` is its table "teacher" (of teachers) or "student"."""
    fold: int
    """Held out: the task is to tell its clips' classes, learned on all others."""
    seed: int
    mix: LossMix
    teachers: tuple[Path, ...] = ()
    """The runs, or files, that teach it; none, one, or the members of an ensemble."""
    generation: int = 0
    """How many networks of its own kind came before it in its chain."""
    firsts: tuple[Path, ...] = ()
    """Folders of runs that a user named as the first teachers of a chain, or files as anybody's: those of all folds."""
    start: Path | None = None
    """The run whose last weights it begins with."""
    base: Path | None = None
    """The student whose misses it learns: what ``teacher.base`` of a loss is."""
    at: Path | None = None
    """Where it goes instead; of a repetition."""
    contents: tuple[tuple[Path, str], ...] = ()
    """Of those of its teachers and ``firsts`` that are files: digest of their content."""
    without: int | None = None
    """Another fold that it is not trained on."""
    crossed: bool = False
    """Whether each of its teachers speaks of the clips of one fold, on which it was not trained; ``firsts`` is then the folder of
    the teachers of whole folds that they are like."""
    unlike: bool = False
    """Whether a teacher may have other features: what it says is then computed from its own, and joined by clip and view."""
    peer: str = ""
    """The step whose run of the same fold and seed it learns from while that learns from it; "": it has none."""

    def __post_init__(self) -> None:
        if self.role not in DEPTHS:
            raise InputError(f"role {self.role!r}: expected one of {', '.join(DEPTHS)}")

    @property
    def network(self) -> TrainSettings:
        return self.settings.teacher if self.is_teacher else self.settings.student

    @property
    def changed_inputs(self) -> bool:
        """Whether its teachers have to run in every step, on inputs that no array knows: augmented, or mixed."""
        return self.network.taught_on_augmented or self.hears_mixtures

    @property
    def hears_mixtures(self) -> bool:
        """Whether its teachers have to run on mixed inputs themselves: a term learns more of them than targets that can be mixed."""
        return bool(self.network.mixup) and taught_live(self.mix)

    @property
    def parents(self) -> tuple[Path, ...]:
        """The runs that it goes back to directly: they are finished before it begins."""
        return parents(self.teachers, self.start, self.base)

    @property
    def cohort(self) -> tuple[PlannedRun, ...]:
        """The runs that are trained in one pack with it, itself among them: its peer, which lies where its step has it."""
        if not self.peer:
            return (self,)
        other = replace(self, step=self.peer, peer=self.step, at=None)
        return (self, other) if self.member == 0 else (other, self)

    @property
    def member(self) -> int:
        """Which of its cohort it is: by this each has first weights of its own."""
        return int(bool(self.peer) and self.peer < self.step)

    @property
    def drawn(self) -> int:
        """The seed of its random numbers. A student must not begin with its teacher's own weights and order."""
        return self.seed + GENERATION_STRIDE * self.generation

    @cached_property
    def folder(self) -> Path:
        """``runs/<corpus>/…/fold{k}-seed{s}``: what its numbers depend on is part of the path."""
        return self.at or self.alike / f"fold{self.fold}-seed{self.seed}"

    @cached_property
    def alike(self) -> Path:
        """The folder of the runs that differ in fold and seed only."""
        if self.is_teacher_or_student:
            slug = None if self.is_teacher else self.mix.slug
            return cell_path(places.runs(), self.corpus, self.role, self.settings, slug, self.fold, self.seed).parent
        model, preset = self.network.model, self.settings.preset
        if self.is_generation:
            about = [self.settings.features, self.settings.teacher, self.settings.student]
            digest = config.digest(*about, *self.named_firsts())
            chains = places.runs() / self.corpus / f"ban-{model}-{preset}-{digest}"
            return chains / named_in_path(self.mix.slug) / f"gen{self.generation}"
        chained = {name: str(Path(path).parent) for name, path in others(self.start, self.base).items()}
        folders = [teacher for teacher in self.teachers if not is_teacher_file(teacher)]
        teachers = [*(places.recorded(folder.parent) for folder in folders), *(digest for _, digest in self.contents)]
        seeds = [folder.name for folder in folders] if len(folders) > 1 else []
        if self.crossed:
            teachers, seeds = [*map(places.recorded, self.firsts), CROSSED], []
        members = [name.partition("-")[2] for name in seeds]
        about = [self.settings.features, self.network, str(self.mix), teachers, members]
        digest = config.digest(*about, *([chained] if chained else []), *([{"peer": self.peer}] if self.peer else []))
        name = named_in_path(f"{self.step.replace(' ', '-')}-{model}-{preset}-{digest}")
        return places.runs() / self.corpus / f"experiment-{self.experiment}" / name

    def named_firsts(self) -> list[str]:
        """The first teachers as the path has them: a folder by its place, a file by its content, wherever it lies."""
        contents = dict(self.contents)
        return [contents.get(first, places.recorded(first)) for first in self.firsts]

    @cached_property
    def identity(self) -> str:
        """What all its files carry: corpus, step, fold, seed and mix in words, and a digest of all that its numbers follow from.

        A repetition elsewhere has the same, but of records without ``firsts``, which earlier versions did not keep.
        """
        step = f"{self.experiment}/{self.step}" if self.is_step else self.role
        name = f"{step}{self.generation or ''} fold{self.fold}-seed{self.seed}"
        # What is empty is left out, so that a later field changes the identity of no run that it says nothing of.
        about = {key: value for key, value in replace(self, at=None).noted().items() if value}
        return f"{self.corpus} {name} {self.mix} {config.digest(about)}"

    @property
    def digest(self) -> str:
        """As ``Record.digest``."""
        return settings_digest(self.role, {name: getattr(self.settings, name) for name in config.KINDS})

    @property
    def home(self) -> Path:
        """The folder of all that its stage trains with the same settings: lock and checkpoints lie there."""
        return self.folder.parents[DEPTHS[self.role][0]]

    @property
    def group(self) -> Path:
        """The folder to remove where its runs are not to be mixed with others."""
        return self.folder.parents[DEPTHS[self.role][1]]

    def noted(self) -> dict[str, Any]:
        """As JSON, for the note beside a checkpoint; ``from_note`` is the way back."""
        return {
            "folder": places.recorded(self.folder),
            "role": self.role,
            "fold": self.fold,
            "seed": self.seed,
            "mix": str(self.mix),
            "teacher": recorded(self.teachers),
            "generation": self.generation,
            **(
                {"contents": {places.recorded(path): digest for path, digest in self.contents}} if self.contents else {}
            ),
            **others(self.start, self.base),
            **({"peer": self.peer} if self.peer else {}),
        }


def from_note(note: Mapping[str, Any], alike: Iterable[PlannedRun]) -> PlannedRun | None:
    """The run of a note: it differs from one of ``alike`` in fold, seed, mix, generation or the runs it goes back to. None of another's.

    ``KeyError``, ``TypeError`` and ``InputError`` where the note is not of a run.
    """
    mix, teachers = LossMix.parse(note["mix"]), as_paths(note["teacher"])
    contents = tuple((places.located(path), digest) for path, digest in note.get("contents", {}).items())
    for run in alike:
        noted = replace(
            run,
            fold=note["fold"],
            seed=note["seed"],
            mix=mix,
            teachers=teachers,
            generation=note["generation"],
            contents=contents,
            start=path_of(note, "start"),
            base=path_of(note, "base"),
        )
        if (
            run.role == note["role"]
            and (run.at is None or noted == run)
            and places.recorded(noted.folder) == note["folder"]
        ):
            return noted
    return None


def under_any_preset(corpus: str, settings: Settings) -> Settings:
    """``settings`` with the preset under whose name teachers of these very settings are finished; as they are where none are, or some
    under their own.

    The digest in the path says that the settings are the same: training them again would give the same bits.
    """
    own = cell_path(places.runs(), corpus, TEACHER, settings, None, 0, 0).parent
    model = settings.teacher.model
    ahead, behind = f"{TEACHER}-{model}-", f"-{own.name.rpartition('-')[2]}"
    if not own.parent.is_dir() or finished_in(own):
        return settings
    others = [path for path in own.parent.iterdir() if path.name.startswith(ahead) and path.name.endswith(behind)]
    counts = {path.name[len(ahead) : -len(behind)]: finished_in(path) for path in sorted(others)}
    best = max(counts, key=lambda preset: counts[preset], default="")
    return replace(settings, preset=best) if best and counts[best] else settings


def finished_in(group: Path) -> int:
    return sum(1 for _ in group.glob("fold*-seed*/result.json"))
