"""Who may teach, or be started from: runs of the very data that those behind them are trained and tested on, and files that say
that they have not seen what is held out. No torch here.

A teacher's fold number says nothing by itself: of another assignment of clips to folds, a teacher of fold 1 has been
trained on the clips that its student is tested on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pipeline import runs
from pipeline.config import InputError, TrainSettings
from pipeline.engine import subsets
from pipeline.engine.source import Source
from pipeline.listed import BEST, LAST, epoch_number, kept_epochs
from pipeline.losses.library import teacher_reads
from pipeline.runs import Record, weights
from pipeline.runs.ancestry import parents
from pipeline.runs.planned import PlannedRun
from pipeline.teacher_files import fitting
from pipeline.teacher_files.reading import read as read_file
from pipeline.teacher_files.schema import digest_of, is_teacher_file

#: The output of an ensemble that holds every member's logits.
MEMBERS = "members"


def check(planned: Sequence[PlannedRun], source: Source) -> None:
    """``InputError`` for the first parent of another fold than its run's, that was trained on something else, or lacks weights.

    Parents that are not finished are left to whoever reads them.
    """
    check_files(planned, source)
    for folder, fold, without, unlike, spec in dict.fromkeys(
        (parent, run.fold, run.without, run.unlike, source.spec(run.settings))
        for run in planned
        for parent in run.parents
    ):
        if is_teacher_file(folder) or not runs.finished(folder):
            continue
        record, of = runs.read(folder), source
        require_fold(folder, record, fold, without)
        if unlike and spec is not None and record.settings.features != spec:
            spec, of = record.settings.features, source.on(record.settings.features)
        now = {int(part): digest for part, digest in of.digests.items()}
        if reason := runs.outdated(record, data=now, classes=source.classes, features=spec):
            raise InputError(
                f"{folder} {reason}, so it may have seen the clips that are held out here; expected a teacher "
                f"trained on the same data: remove {folder} and train it again with these features, or name "
                "another one"
            )
    require_logits_alone(planned)
    wanted = {(teacher, run.network.teacher_epoch) for run in planned for teacher in run.teachers}
    for folder, epoch in sorted(wanted):
        if epoch_number(epoch) and not is_teacher_file(folder) and runs.finished(folder):
            require_kept(runs.read(folder).trained_by, epoch, str(folder))


def require_kept(teacher: TrainSettings, epoch: str, name: str) -> None:
    """``InputError`` where a teacher does not keep the weights of an epoch. ``name``: the teacher's, for the message."""
    kept = list(map(str, kept_epochs(teacher.keep, teacher.epochs)))
    if epoch_number(epoch) and epoch not in kept:
        raise InputError(
            f"teacher_epoch = {epoch}: {name} keeps "
            + (f"epochs {', '.join(kept)}" if kept else "no epoch but the last")
            + f"; expected one of {', '.join([*kept, LAST, BEST])}, or a teacher with keep = [{epoch}]"
        )


def check_files(planned: Sequence[PlannedRun], source: Source) -> None:
    """``InputError`` for the first file that is not of this corpus, lacks what a term reads, or was changed since it was named."""
    if not (taught := [run for run in planned if any(map(is_teacher_file, run.teachers))]):
        return
    clips = source.clips
    asked = ((path, run.fold, subsets.chosen(run, source.classes)) for run in taught for path in run.teachers)
    for path, fold, learned in dict.fromkeys(asked):
        if is_teacher_file(path):
            fitting.check(read_file(path), fold, clips.for_students_of(learned))
    for run in taught:
        if run.network.taught_on_augmented:
            raise InputError(
                f"augment = {run.network.augment!r}: inputs change in every step, and {run.teachers[0]} holds what its teacher says "
                "of them as they are; expected augment = 'none', teacher_hears = 'views', or a run as teacher, which runs in every step"
            )
        if run.hears_mixtures:
            raise InputError(
                f"mixup = {run.network.mixup:g}: {run.teachers[0]} holds what its teacher says of clips, and mix {run.mix} learns more "
                "than logits of it, which of mixed inputs a network alone can say; expected 0, terms on logits, or a run as teacher"
            )
        if run.network.teacher_dropout:
            raise InputError(
                f"teacher_dropout = {run.network.teacher_dropout:g}: {run.teachers[0]} holds what its teacher says, and no network "
                "that could drop something; expected 0, or a run as teacher"
            )
        for path in filter(is_teacher_file, run.teachers):
            chooses = run.network.unlabelled_threshold or run.network.unlabelled_per_class
            if chooses and "logits" not in read_file(path).shapes:
                raise InputError(
                    f"{path} has no logits, by which unlabelled_threshold and unlabelled_per_class choose clips; expected a file that "
                    "has them, or 0 for both"
                )
            require_same_content(path, dict(run.contents))
            require_outputs(path, run)


def require_same_content(path: Path, contents: Mapping[Path, str]) -> None:
    """``InputError`` for a file that was changed since its digest became part of the run's path."""
    if contents.get(path, "") != digest_of(path):
        raise InputError(
            f"{path} was changed since these runs were planned; expected the file as it was: the same command again takes it as "
            "it is now, as another teacher"
        )


def require_outputs(path: Path, run: PlannedRun) -> None:
    """``InputError`` where a term reads an output that the file does not have."""
    there = read_file(path).shapes
    several = len(run.teachers) > 1
    for term in run.mix.terms:
        reads = teacher_reads(term.name, dict(term.options))
        names = [name for name in ("embedding", "logits") if reads is None] + [*(reads or ())]
        names = ["logits" if name in (MEMBERS, subsets.OWN) else name for name in names]
        stages = ["maps"] if any(name.startswith("map") for name in there) else []
        if missing := [name for name in names if name not in (*there, *stages)]:
            other = ": no chain is without soft" if run.is_generation and term.name == "soft" else ", or other terms"
            raise InputError(
                f"{path} has {', '.join(there)}, and {term.key} reads the teacher's {missing[0]}; expected a file that has it{other}"
            )
        if several and any(name.startswith("map") for name in names):
            raise InputError(
                f"{term.key} reads maps of {len(run.teachers)} teachers, of which {path} is a file; expected a single teacher"
            )


def kind(teacher: Path, apart: bool) -> object:
    """What teachers have in common whose students may lie in one pack. ``apart``: only those that were trained alike."""
    if is_teacher_file(teacher):
        return tuple(sorted(read_file(teacher).shapes.items()))
    return teacher.parent if apart else None


def require_logits_alone(planned: Sequence[PlannedRun]) -> None:
    """``InputError`` where a term of cross-fitted outputs reads more than logits, or these would have to be computed in every step:
    networks that run in the step are asked together, also those that were trained on the clip."""
    for run in planned:
        augment = [("augment", "none")] if run.network.taught_on_augmented else []
        for name, none in (*augment, ("teacher_dropout", 0.0)):
            if run.crossed and (value := getattr(run.network, name)) != none:
                raise InputError(
                    f"{name} = {value!r}: cross-fitted outputs are computed once, of each clip by the teacher that has not seen it; "
                    f"expected {name} = {none!r}, or no --cross-fitted"
                )
        for term in run.mix.terms if run.crossed else ():
            reads = teacher_reads(term.name, dict(term.options))
            if reads is None or set(reads) - {"logits"}:
                named = ", ".join(reads or ("more than logits",))
                raise InputError(
                    f"{term.key} reads the teacher's {named}, and cross-fitted outputs are of {len(run.teachers)} networks, which have "
                    "logits alone in common; expected terms on logits, such as hinton@wrong=swap, or no --cross-fitted"
                )


def unsaid(teachers: Sequence[Path]) -> bool:
    """Whether one of the teachers, or of those that it goes back to, does not say what it was trained on."""
    return any(
        read_file(teacher).trained_on is None if is_teacher_file(teacher) else runs.read(teacher).trusted
        for teacher in teachers
    )


def require_whole(missing: Sequence[PlannedRun], planned: Collection[Path]) -> None:
    """``InputError`` for a run that is to teach, or to be begun from, whose weights or predictions are not what its result names.

    Those that are ``planned`` themselves are trained again before their students.
    """
    for folder in dict.fromkeys(one for run in missing for one in parents(run.teachers, run.start, run.base)):
        if folder not in planned and runs.finished(folder) and (reason := weights.damaged_files(folder)):
            raise InputError(
                f"{folder}, from which others are to learn: {reason}; nothing was trained: {weights.REMEDY}"
            )


def require_folds(planned: Sequence[PlannedRun]) -> None:
    """``require_fold`` of every run's parents, which are finished."""
    for folder, fold, without in dict.fromkeys(
        (parent, run.fold, run.without) for run in planned for parent in run.parents
    ):
        if not is_teacher_file(folder):
            require_fold(folder, runs.read(folder), fold, without)


def require_fold(folder: Path, record: Record, wanted: int, without: int | None = None) -> None:
    """``InputError`` where a teacher was trained on the fold that its student is tested on, or is trained ``without``."""
    if without is not None and not {wanted, without} <= {record.fold, record.without}:
        raise InputError(
            f"{folder} is no teacher without the folds {wanted} and {without}, which its student does not see either; expected one "
            "that was trained on neither"
        )
    if wanted not in (record.fold, record.without):
        raise InputError(
            f"{folder} is the teacher of fold {record.fold}, wanted for fold {wanted}: it was trained on "
            f"the clips that are held out there; use the teacher of fold {wanted}"
        )


def require_members(run: PlannedRun) -> None:
    """``InputError`` where a term reads an ensemble's members, and the run's teacher is a single run or has one twice.

    Between members that are the same there is no disagreement to learn.
    """
    for term in run.mix.terms:
        if MEMBERS not in (teacher_reads(term.name, dict(term.options)) or ()):
            continue
        if len(run.teachers) == 1:
            raise InputError(
                f"{term.key} reads the members of an ensemble, and its teacher is a single run ({run.teachers[0]}); expected "
                "several, for example seeds = [0, 1, 2] of the step that teaches, in an experiment's file"
            )
        digests = [
            digest_of(folder) if is_teacher_file(folder) else runs.read(folder).result.weights or folder
            for folder in run.teachers
            if is_teacher_file(folder) or runs.finished(folder)
        ]
        if repeated(run.teachers) or repeated(digests):
            raise InputError(
                f"{term.key} reads the members of an ensemble, and two of them are the same run "
                f"({', '.join(map(str, run.teachers))}); expected runs that differ, for example of other seeds"
            )


def require_same_labels(run: PlannedRun, planned: Mapping[Path, PlannedRun]) -> None:
    """``InputError`` where a teacher, or another run that it goes back to, learned labels that are hidden from a run, or an ensemble
    has no single output layer.

    ``planned``: runs that are about to be trained, by their folder; others are asked by their records.
    """
    network = run.network
    if len(run.teachers) > 1 and network.teacher_dropout and network.teacher_dropout_at == "output":
        raise InputError(
            f"teacher_dropout_at = 'output': {run.step} has {len(run.teachers)} teachers at once, and no single output layer; "
            "expected one teacher, or 'stages'"
        )
    for folder in run.parents if network.unlabelled else ():
        if folder in planned:
            hides, seed = planned[folder].network.unlabelled, planned[folder].seed
        elif runs.finished(folder):
            record = runs.read(folder)
            hides, seed = record.trained_by.unlabelled, record.seed
        else:
            continue
        if (hides, seed) != (network.unlabelled, run.seed):
            raise InputError(
                f"{folder} learned labels that are hidden here (unlabelled = {hides:g}, seed {seed}; here {network.unlabelled:g}, "
                f"seed {run.seed}); expected one of the same share and seed, for example --set "
                f"unlabelled={network.unlabelled:g}, which is of both"
            )


def untold(run: PlannedRun) -> list[str]:
    """A line for each file of which something is not known: whether it is damaged, and whether its teacher learned the labels that
    are hidden from its student: no file says which."""
    every = [read_file(path) for path in run.teachers if is_teacher_file(path)]
    files = every if run.network.unlabelled else []
    unchecked = [
        f"note: {file.path} carries no checksum, as those do that audio-rkd teacher-file writes; not checked for damage"
        for file in every
        if file.unchecked
    ]
    return unchecked + [
        f"note: {file.path} does not say which labels its teacher learned; those that unlabelled = {run.network.unlabelled:g} hides "
        "may be among them"
        for file in files
        if file.trained_on is None or any(file.trained_on)
    ]


def other_labels(run: PlannedRun, planned: Mapping[Path, PlannedRun]) -> list[str]:
    """A line for each run that it goes back to which learned other labels than it: without the wrong ones, or with those of another
    seed. What it says may undo them."""
    share, notes = run.network.label_noise_fixed, []
    for folder in run.parents if share else ():
        if folder in planned:
            there, seed = planned[folder].network.label_noise_fixed, planned[folder].seed
        elif not is_teacher_file(folder) and runs.finished(folder):
            record = runs.read(folder)
            there, seed = record.trained_by.label_noise_fixed, record.seed
        else:
            continue
        if (there, seed) != (share, run.seed):
            notes.append(
                f"note: {folder} learned other labels (label_noise_fixed = {there:g}, seed {seed}; here {share:g}, seed {run.seed}): "
                f"what it says may undo the wrong ones; --set label_noise_fixed={share:g} is of teacher and student both"
            )
    return notes


def repeated(values: Sequence[object]) -> bool:
    return len(set(values)) < len(values)
