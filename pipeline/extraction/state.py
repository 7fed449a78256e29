"""What there is of a fold's features, and what is missing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline import cache
from pipeline.cache import Failure, File, Header, checking
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import Clip, Corpus, part_name
from pipeline.extraction import parts, times
from pipeline.extraction.workers import Job
from pipeline.files import sha256
from pipeline.locks import lock_of


@dataclass
class Plan:
    """What there is for a fold and what is to do."""

    fold: int
    path: Path
    clips: tuple[Clip, ...]
    files: dict[str, File]
    keys: dict[str, str]
    finished: bool = False
    stood: checking.State | None = None  # the fold's file, where there was one, as it was looked at
    skipped: tuple[Failure, ...] = ()
    """Of a file that is as wanted."""
    retried: frozenset[str] = frozenset()
    """Clips that such a file leaves out because they could not be read then, and that can be now."""
    rows: dict[str, int] = field(default_factory=dict)
    """Key → row in the file that is there."""
    hashes: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    left: int = 0
    damaged: list[Path] = field(default_factory=list)
    """Parts that ``clean`` is to delete."""
    note: str = ""
    changed: dict[str, int] = field(default_factory=dict)
    """Path → when anything of the sound's file changed (``times.settled``)."""
    same: list[times.Seen] = field(default_factory=list)
    """Sounds of another time that hold what the file says, by their SHA-256, with their time of now: for ``times`` to note."""

    def leave(self) -> None:
        """Take a file that is there, and as wanted, as it is; nothing is tried again."""
        self.finished, self.retried, self.jobs, self.failed, self.left = True, frozenset(), [], [], 0

    @property
    def parts(self) -> Path:
        return self.path.with_name(f"{self.path.name}.parts")


def plan(
    corpus: Corpus,
    spec: FeatureSpec,
    root: Path,
    fold: int,
    *,
    plain: bool,
    deep: bool,
    compress: bool,
    locked: bool = True,
) -> Plan:
    """What is there for a fold and what is missing; touches nothing.

    Not ``locked``: whether the fold is finished, and no more. What is not is planned under its lock, or goes on by ``complete``.
    """
    clips = corpus.fold_clips(fold)
    path = cache.fold_path(root, corpus.name, spec, fold)
    if not locked and not path.is_file():
        return Plan(fold, path, clips, {}, {})
    seen = seen_files(corpus, clips, deep)
    files = {clip.name: file for clip, (file, _) in zip(clips, seen, strict=True)}
    libraries = parts.versions()
    context = parts.key_context(spec, libraries, plain)
    keys = {name: parts.clip_key(name, file, context, deep) for name, file in files.items()}
    fold_plan = Plan(fold, path, clips, files, keys, changed={file.path: changed for file, changed in seen})
    if path.is_file():
        fold_plan.stood = checking.state(path)
        compare(fold_plan, corpus, spec, libraries, plain=plain, deep=deep, compress=compress)
    if locked and not fold_plan.finished:
        look_for_parts(fold_plan)
    return fold_plan


def complete(fold_plan: Plan) -> bool:
    """Whether a plan that was made without the lock still holds under it; then what is missing is in it too."""
    with suppress(OSError):
        if fold_plan.stood and fold_plan.stood == checking.state(fold_plan.path):
            look_for_parts(fold_plan)
            return True
    return False


def look_for_parts(fold_plan: Plan) -> None:
    """Note what is missing: what is neither in the fold's file, as it was compared, nor in a part."""
    kept_parts, fold_plan.damaged = parts.found_parts(fold_plan.parts, check=True)
    there, out = set(fold_plan.rows) | set(kept_parts), {failure.clip for failure in fold_plan.failed}
    keys = fold_plan.keys
    fold_plan.jobs = [
        # Not Path.resolve, which raises of a link that leads to itself; reading it costs that clip alone.
        Job(c.name, os.path.realpath(c.path), fold_plan.files[c.name], keys[c.name], c.start or 0.0)
        for c in fold_plan.clips
        if keys[c.name] not in there and c.name not in out
    ]
    fold_plan.left = len(fold_plan.jobs)


def compare(
    fold_plan: Plan,
    corpus: Corpus,
    spec: FeatureSpec,
    libraries: dict[str, str],
    *,
    plain: bool,
    deep: bool,
    compress: bool,
) -> None:
    """Note in a plan what of the fold's old file still holds.

    ``InputError`` where it is of another corpus, or in use.
    """
    try:
        old = cache.read_header(fold_plan.path)
    except cache.Unavailable:  # It may well be whole: nothing is computed in its place.
        raise
    except InputError as error:
        fold_plan.note = f"computed again: {error}"
        return
    require_same_data_set(fold_plan, old, corpus)
    damaged = damaged_clips(fold_plan, old, deep)
    if damaged == (checking.EVERY,):
        return
    context = parts.key_context(old.spec, old.versions, old.plain)
    known = [*zip(old.clips, old.files, strict=True), *((skip.clip, skip.file) for skip in old.skipped)]
    take_times_of_same_contents(fold_plan, corpus, dict(known), parts.key_context(spec, libraries, plain), deep)
    theirs = {name: parts.clip_key(name, file, context, deep) for name, file in known}
    # What librosa's own functions computed also serves where the fast way was asked for, as long as it is whole.
    context = parts.key_context(spec, libraries, plain or old.plain)
    ours = {name: parts.clip_key(name, file, context, deep) for name, file in fold_plan.files.items()}
    stored_right = old.compressed or not compress or not old.clips
    fold_plan.finished = theirs == ours and same_clips(fold_plan, old, corpus) and stored_right and not damaged
    if fold_plan.finished:
        fold_plan.skipped = old.skipped
        fold_plan.retried = given_now(fold_plan.clips, old.skipped)
        fold_plan.finished = not fold_plan.retried
    if fold_plan.finished:
        return
    fold_plan.failed = [skip for skip in fold_plan.skipped if skip.clip not in fold_plan.retried]
    for row, name in enumerate(old.clips):
        if theirs[name] == fold_plan.keys.get(name) and name not in damaged:
            fold_plan.rows[theirs[name]] = row
            fold_plan.hashes[theirs[name]] = old.files[row].sha256
    if changes := changed(old, libraries, plain):
        fold_plan.note = f"computed again: {', '.join(changes)}"


def take_times_of_same_contents(
    fold_plan: Plan, corpus: Corpus, known: dict[str, File], context: str, deep: bool
) -> None:
    """Note of sounds that have only another time than the file says, as those of a copy do, that nothing of them changed.

    What is of the same size is read, where it was not before as it stands (``times``): SHA-256 decides.
    """
    now, changed = fold_plan.files, fold_plan.changed
    if deep:  # The keys are of the contents already.
        alike = (now[name] for name, file in known.items() if name in now and touched(now[name], file, deep))
        fold_plan.same += [times.seen(file, changed[file.path]) for file in alike]
        return
    like = {
        name: replace(now[name], sha256=file.sha256)
        for name, file in known.items()
        if file.sha256 and name in now and touched(now[name], file)
    }
    read_before = times.read(fold_plan.path.parent)
    # Windows of one file are several clips.
    stamps = {name: times.seen(file, changed[file.path]) for name, file in like.items()}
    unread = sorted({like[name].path for name, stamp in stamps.items() if stamp not in read_before})
    with ThreadPoolExecutor() as pool:
        contents = dict(zip(unread, pool.map(lambda path: sha256(corpus.root / path), unread), strict=True))
    for name, file in like.items():
        if contents.get(file.path, file.sha256) == file.sha256:
            fold_plan.same.append(stamps[name])
            now[name] = replace(now[name], mtime_ns=known[name].mtime_ns)
            fold_plan.keys[name] = parts.clip_key(name, now[name], context, deep)


def touched(now: File, then: File, deep: bool = False) -> bool:
    """Whether a file differs in its time alone; ``deep``: its contents were looked at."""
    return now.mtime_ns != then.mtime_ns and now == replace(
        then, mtime_ns=now.mtime_ns, sha256=then.sha256 if deep else ""
    )


def damaged_clips(fold_plan: Plan, old: Header, deep: bool) -> tuple[str, ...]:
    """The clips of a fold's old file that are not what was written; ``EVERY`` where none of it serves. Noted in the plan."""
    if old.fold != fold_plan.fold:
        fold_plan.note = (
            f"computed again: {fold_plan.path} holds {part_name(old.fold)}: files were exchanged or renamed"
        )
        return (checking.EVERY,)
    damaged = cache.check(fold_plan.path, again=deep).damaged
    if damaged:
        fold_plan.note = f"computed again: {checking.words(damaged)}"
    return damaged


def require_same_data_set(fold_plan: Plan, old: Header, corpus: Corpus) -> None:
    """``InputError`` where a fold's file shares no clip with the corpus."""
    if old.clips and {clip.name for clip in (*corpus.clips, *corpus.unlabelled)}.isdisjoint(old.clips):
        raise InputError(
            f"{fold_plan.path} is of another data set in a folder of the same name: none of its {len(old.clips)} "
            f"clips is in {corpus.root}; expected a name for each: rename the folder, or remove "
            f"{fold_plan.path.parents[1]} if its features are not needed"
        )


def same_clips(fold_plan: Plan, old: Header, corpus: Corpus) -> bool:
    """Whether a fold's file says of its clips what the corpus says of those that it does not leave out."""
    left_out = {skip.clip for skip in old.skipped}
    kept = [clip for clip in fold_plan.clips if clip.name not in left_out]
    return (
        old.clips == tuple(clip.name for clip in kept)
        and old.labels == tuple(clip.label for clip in kept)
        and old.sources == tuple(clip.source for clip in kept)
        and (old.classes, old.label_sets) == (tuple(corpus.classes), corpus.label_sets)
        and (old.dataset, old.synthetic) == (corpus.dataset, corpus.synthetic)
    )


def changed(old: Header, libraries: dict[str, str], plain: bool) -> list[str]:
    """What decides the numbers and is another now than when a fold's file was written."""
    versions = [(name, old.versions.get(name), libraries[name]) for name in parts.DECISIVE]
    changes = [f"{name} {before} → {now}" for name, before, now in versions if before != now]
    if plain != old.plain:
        changes.append("plain" if plain else "no longer plain")
    return changes


def given_now(clips: Iterable[Clip], skipped: tuple[Failure, ...]) -> frozenset[str]:
    """Clips that were skipped because the file system refused them, or for want of an extra, and that can be read now."""
    if not skipped:
        return frozenset()
    from pipeline.audio import reading as audio  # soundfile: a finished stage does without

    passing = audio.PASSING | {audio.NEEDED}
    refused = {skip.clip: skip.reason for skip in skipped if skip.reason in passing}
    return frozenset(c.name for c in clips if c.name in refused and audio.given_now(c.path, refused[c.name]))


def seen_files(corpus: Corpus, clips: Iterable[Clip], deep: bool) -> list[tuple[File, int]]:
    """The clips' files as they stand now, and ``times.settled`` of each; a missing one has size −1, and fails when it is read."""
    before = time.time_ns()

    def seen(clip: Clip) -> tuple[File, int]:
        relative = os.path.relpath(clip.path, corpus.root)
        try:
            state = clip.path.stat()
        except OSError:
            return File(relative, -1, -1, "", clip.seconds), times.UNSETTLED
        content = sha256(clip.path) if deep else ""
        return File(relative, state.st_size, state.st_mtime_ns, content, clip.seconds), times.settled(state, before)

    if not deep:
        return [seen(clip) for clip in clips]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(seen, clips))


def clean(fold_plan: Plan) -> None:
    """Delete what killed processes left half-written, damaged parts, and of a finished fold all parts.

    Only with the fold's lock, and with a plan that was made under it.
    """
    for left in [*half_written(fold_plan), *fold_plan.damaged]:
        left.unlink(missing_ok=True)
    if fold_plan.finished:
        shutil.rmtree(fold_plan.parts, ignore_errors=True)


def left_behind(fold_plan: Plan) -> bool:
    """Whether a process that was killed just after it finished the fold left something beside it."""
    return fold_plan.parts.exists() or lock_of(fold_plan.path).exists() or bool(half_written(fold_plan))


def half_written(fold_plan: Plan) -> list[Path]:
    return [
        *fold_plan.path.parent.glob(f".{fold_plan.path.name}.*.tmp"),
        *fold_plan.parts.glob(".*.tmp"),
    ]
