"""What stage one looks at before it computes, and in what portions it computes."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.extraction import parts, stage
from pipeline.extraction import state as planning
from tests.extracting import SPEC, counts, extract


def test_what_is_not_there_yet_is_looked_at_once_and_parts_are_read_once(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, read = [], []
    seen, found = planning.seen_files, parts.found_parts
    monkeypatch.setattr(
        planning, "seen_files", lambda corpus, clips, deep: looked.append(clips[0].fold) or seen(corpus, clips, deep)
    )
    monkeypatch.setattr(parts, "found_parts", lambda folder, *, check: read.append(check) or found(folder, check=check))
    assert counts(extract(root)) == [(5, 0, 0), (5, 0, 0)]
    assert looked == [1, 2], "planned under the lock alone"
    assert read == [True, True, False, False], "checked before, and listed for each fold's file"
    extract(root)
    assert looked == [1, 2, 1, 2] and len(read) == 4 and len(computed) == 10


def test_an_unfinished_fold_with_a_file_is_looked_at_once(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found before the lock holds under it, unless the file is another by then."""
    extract(root)
    clip = min((root / "audio" / "fold1").glob("*.wav"))
    looked, seen, locked = [], planning.seen_files, stage.locked
    monkeypatch.setattr(
        planning, "seen_files", lambda corpus, clips, deep: looked.append(clips[0].fold) or seen(corpus, clips, deep)
    )
    os.utime(clip, ns=(5, 5))
    clip.write_bytes(clip.read_bytes()[:-100] + bytes(100))
    assert counts(extract(root)) == [(1, 4, 0), (0, 5, 0)]
    assert looked == [1, 2] and len(computed) == 11

    def another_is_sooner(path: Path, what: str) -> AbstractContextManager[object]:
        monkeypatch.setattr(stage, "locked", locked)
        assert counts(extract(root, folds=[1])) == [(1, 4, 0)]
        return locked(path, what)

    clip.write_bytes(clip.read_bytes()[:-200] + bytes(200))
    monkeypatch.setattr(stage, "locked", another_is_sooner)
    looked.clear()
    assert counts(extract(root)) == [(0, 5, 0), (0, 5, 0)]
    assert looked == [1, 2, 1, 1] and len(computed) == 12


def test_the_last_clips_are_computed_in_small_tasks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [
        planning.Plan(fold, root / f"fold{fold}.h5", (), {}, {}, jobs=list(range(n))) for fold, n in ((1, 100), (2, 50))
    ]
    tasks = list(stage.tasks_of(plans, SPEC, plain=False))
    sizes = [(task.fold, len(task.jobs)) for task in tasks]
    # 150 in all: 96 and then, with 54 left and fewer than 64, small ones; a fold's last task holds what is left of it.
    assert sizes == [(1, 16)] * 6 + [(1, 4)] + [(2, 4)] * 12 + [(2, 2)]
    for fold_plan in plans:
        assert [job for task in tasks if task.fold == fold_plan.fold for job in task.jobs] == fold_plan.jobs
    batches = stage.tasks_of(plans, dataclasses.replace(SPEC, engine="torch", tuning=0.0, floor=1e-5), plain=False)
    assert [len(task.jobs) for task in batches] == [16] * 6 + [4] + [16] * 3 + [2], "bits of a batch depend on its size"


def test_what_a_worker_imported_is_not_looked_through_for_garbage_and_what_a_caller_has_is() -> None:
    """In a process of its own: what is kept here would be kept for all other tests. A task without clips, as of a worker and of one's own."""
    code = (
        "import gc, os; from pathlib import Path; from pipeline.extraction import workers; from tests.extracting import SPEC\n"
        "for parent in (os.getpid(), 0, os.getppid()):\n"
        "    workers.compute(workers.Task(1, (), Path(), SPEC, True, parent))\n"
        "    print(gc.get_freeze_count(), len(gc.get_objects()))"
    )
    told = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    (here, _), (on_a_cluster, _), (kept, looked_at) = (map(int, line.split()) for line in told)
    assert here == on_a_cluster == 0
    assert kept > 10 * looked_at
