"""Stage one where something goes wrong: clips, disks, locks, arguments, schedulers; and its progress in a log."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from pipeline import cache
from pipeline.audio import reading as audio
from pipeline.config import InputError
from pipeline.corpus import Corpus, open_corpus
from pipeline.extraction import stage as extraction
from pipeline.extraction import workers
from pipeline.locks import locked
from pipeline.processes import cluster
from pipeline.progress import lines
from tests.extracting import (
    SPEC,
    command,
    counts,
    extract,
    only_folds,
    same,
    started,
    wait_for_end,
    wait_for_parts,
    write_clip,
    write_corpus,
)


def break_two(root: Path) -> None:
    (root / "audio" / "fold1" / "100-1-0-1.wav").write_text("this is no sound")
    soundfile.write(root / "audio" / "fold1" / "101-2-0-2.wav", np.zeros(800, np.float32), 16000)


def test_failed_clips_are_listed_and_the_others_kept(root: Path, computed: list[str], tmp_path: Path) -> None:
    break_two(root)
    reports = extract(root)
    assert counts(reports) == [(3, 0, 2), (5, 0, 0)]
    assert [r.written for r in reports] == [False, True]
    assert not reports[0].path.exists() and reports[1].path.is_file()
    with (reports[0].path.parent / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["clip"] for row in rows] == ["100-1-0-1.wav", "101-2-0-2.wav"]
    assert all(row["fold"] == "1" and row["reason"] and row["expected"] and row["found"] for row in rows)
    assert Path(rows[0]["path"]) == root / "audio" / "fold1" / "100-1-0-1.wav"
    # Repaired: only these are computed, and the list goes.
    write_clip(root / "audio" / "fold1" / "100-1-0-1.wav", 1)
    write_clip(root / "audio" / "fold1" / "101-2-0-2.wav", 2)
    computed.clear()
    assert counts(extract(root)) == [(2, 3, 0), (0, 5, 0)]
    assert sorted(computed) == ["100-1-0-1.wav", "101-2-0-2.wav"]
    extract(root, tmp_path / "fresh")
    same(tmp_path / "cache", tmp_path / "fresh")
    assert only_folds(tmp_path / "cache")


def test_skipped_clips_are_counted_in_the_file_and_not_tried_again(root: Path, computed: list[str]) -> None:
    break_two(root)
    reports = extract(root, on_error="skip")
    assert counts(reports) == [(3, 0, 2), (5, 0, 0)] and all(r.written for r in reports)
    data = cache.load([r.path for r in reports])
    assert data.skipped == {1: 2, 2: 0} and len(data.clips) == 8
    with h5py.File(reports[0].path) as file:
        assert file.attrs["skipped"] == 2
        assert file["skipped/clip"].asstr()[()].tolist() == ["100-1-0-1.wav", "101-2-0-2.wav"]
        assert all(file["skipped/reason"].asstr()[()])
    computed.clear()
    for mode in ("skip", "finish"):
        again = extract(root, on_error=mode)
        assert counts(again) == [(0, 3, 2), (0, 5, 0)] and all(r.written for r in again)
    assert (reports[0].path.parent / "failures.csv").is_file()
    write_clip(root / "audio" / "fold1" / "100-1-0-1.wav", 1)
    write_clip(root / "audio" / "fold1" / "101-2-0-2.wav", 2)
    assert counts(extract(root)) == [(2, 3, 0), (0, 5, 0)]
    assert cache.load([r.path for r in reports]).skipped == {1: 0, 2: 0}
    assert not (reports[0].path.parent / "failures.csv").exists()


def refuse(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A file that the file system does not let anybody read, root neither."""
    real, opened, handle = soundfile.SoundFile, Path.open, os.open

    def sound(path: object, *rest: object, **options: object) -> object:
        if str(path).endswith(name):
            raise OSError(errno.EACCES, "Permission denied")
        return real(path, *rest, **options)

    def plain(self: Path, *rest: object, **options: object) -> object:
        if self.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opened(self, *rest, **options)

    def low(path: Any, *rest: Any, **options: Any) -> int:
        if str(path).endswith(name):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return handle(path, *rest, **options)

    monkeypatch.setattr(soundfile, "SoundFile", sound)
    monkeypatch.setattr(Path, "open", plain)
    monkeypatch.setattr(os, "open", low)


@pytest.mark.parametrize("mode", ["finish", "skip"])
def test_a_clip_skipped_for_want_of_permission_is_tried_again(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    break_two(root)
    with monkeypatch.context() as patch:
        refuse(patch, "100-0-0-0.wav")
        path = extract(root, folds=[1], on_error="skip")[0].path
        before = (path.stat().st_mtime_ns, path.stat().st_ino)
        assert {s.clip: s.reason for s in cache.read_header(path).skipped}["100-0-0-0.wav"].startswith("no perm")
        computed.clear()
        again = extract(root, folds=[1], on_error=mode)
        assert counts(again) == [(0, 2, 3)] and again[0].written and again[0].finished
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == before and not computed, "the file stays as it is"
    again = extract(root, folds=[1], on_error=mode)
    assert counts(again) == [(1, 2, 2)] and again[0].written and not again[0].finished
    assert computed == ["100-0-0-0.wav"], "clips with bad content are not tried again"
    assert [s.clip for s in cache.read_header(path).skipped] == ["100-1-0-1.wav", "101-2-0-2.wav"]
    fresh = extract(root, tmp_path / "fresh", folds=[1], on_error="skip")[0].path
    assert path.read_bytes() == fresh.read_bytes()
    assert extract(root, folds=[1], on_error=mode)[0].finished


def test_a_clip_that_can_be_read_again_does_no_harm_to_a_read_only_cache(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        refuse(patch, "100-0-0-0.wav")
        extract(root, folds=[1], on_error="skip")
    monkeypatch.setattr(extraction, "locked", read_only)
    again = extract(root, folds=[1])
    assert counts(again) == [(0, 4, 1)] and again[0].finished and again[0].written
    with pytest.raises(InputError, match="Read-only"):
        extract(root, folds=[2])


@pytest.mark.parametrize("reason", ["no permission to read it", "cut off"])
def test_a_skipped_clip_that_fails_again_stays_skipped(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """It is given now, but fails when it is computed: in the same way, or in another one, of its content."""

    def failing(why: str) -> None:
        def views(job: workers.Job, spec: object, plain: object) -> np.ndarray:
            if job.clip == "100-0-0-0.wav":
                raise audio.ClipError(job.path, why, "a file", "none")
            return quick(job, spec, plain)

        monkeypatch.setattr(workers, "views", views)

    quick = workers.views
    failing("no permission to read it")
    path = extract(root, folds=[1], on_error="skip")[0].path
    before = (path.stat().st_mtime_ns, path.stat().st_ino)
    failing(reason)
    again = extract(root, folds=[1])
    assert counts(again) == [(0, 4, 1)] and again[0].written, "accepted once, accepted still"
    assert cache.read_header(path).skipped[0].reason == reason
    after = (path.stat().st_mtime_ns, path.stat().st_ino)
    assert (after == before) == (reason == "no permission to read it")
    assert not path.with_name("fold1.h5.parts").exists()
    assert extract(root, folds=[1])[0].finished == (reason == "cut off")


def test_a_clip_that_librosa_refuses_is_a_failed_clip(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from librosa import ParameterError

    from pipeline import features

    extracted = features.extract

    def refusing(samples: np.ndarray, spec: object, *, plain: bool = False) -> np.ndarray:
        if np.abs(samples).max() > 100:
            raise ParameterError("Audio buffer is not finite everywhere")
        return extracted(samples, spec, plain=plain)

    soundfile.write(root / "audio/fold1/100-0-0-0.wav", np.full(4000, 900.0), 16000, "FLOAT")
    soundfile.write(root / "audio/fold1/100-1-0-1.wav", np.full(4000, 1e19), 16000, "FLOAT")
    monkeypatch.setattr(features, "extract", refusing)
    (report,) = extract(root, folds=[1], on_error="skip")
    assert counts([report]) == [(3, 0, 2)]
    assert [f.reason for f in report.failed] == ["librosa refuses it", "samples far beyond full scale"]
    assert report.failed[0].found == "Audio buffer is not finite everywhere"


@pytest.mark.parametrize("row", ["one,b.wav,c,d,e,f", "1", "²,b.wav,c,d,e,f", "\x00"])
def test_a_list_of_failures_that_somebody_edited_is_no_traceback(root: Path, computed: list[str], row: str) -> None:
    break_two(root)
    folder = extract(root)[0].path.parent
    listed = (folder / "failures.csv").read_text()
    (folder / "failures.csv").write_text(listed + row + "\n")
    extract(root, folds=[2])
    assert (folder / "failures.csv").read_text() == listed


@pytest.mark.parametrize("look", [1, 2])
def test_a_lock_that_is_deleted_while_it_is_looked_at_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    stat, calls = Path.stat, []

    def vanished(self: Path, **options: bool) -> os.stat_result:
        if self.name.endswith(".lock"):
            calls.append(self)
            if len(calls) == look:
                self.unlink()
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", vanished)
    with locked(tmp_path / "fold1.h5", "fold 1"):
        assert [path.name for path in tmp_path.iterdir()] == [".fold1.h5.lock"]


def test_failures_of_other_folds_stay_in_the_list(root: Path, computed: list[str]) -> None:
    break_two(root)
    extract(root)
    (root / "audio" / "fold2" / "200-0-0-0.wav").write_bytes(b"")
    folder = extract(root, folds=[2])[0].path.parent
    with (folder / "failures.csv").open(newline="") as file:
        assert [row["fold"] for row in csv.DictReader(file)] == ["1", "1", "2"]


def test_the_command_line_says_what_failed_and_ends_with_1(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "toy", folds=1)
    break_two(root)
    done = command(tmp_path, "--jobs", "1")
    assert done.returncode == 1
    assert "100-1-0-1.wav: " in done.stdout and "failures.csv" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: 2 of 5 clips failed") and "Traceback" not in done.stderr
    assert command(tmp_path, "--jobs", "1", "--on-error", "skip").returncode == 0
    assert "2 SKIPPED" in command(tmp_path).stdout


def test_what_was_done_is_said_where_nothing_was_computed(
    root: Path, computed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus: Corpus = open_corpus("urbansound8k", root)

    def last_line(**options: object) -> str:
        extraction.run(corpus, SPEC, root.parent / "cache", backend="sequential", **options)  # type: ignore[arg-type]
        return capsys.readouterr().out.splitlines()[-1]

    assert ": 10 computed, 0 reused; " in last_line()
    assert ": 0 computed, 10 reused; " in last_line(compress=True)
    assert ": finished already, nothing to compute; " in last_line(compress=True)


def test_a_full_disk_is_one_line_and_nothing_is_half_made(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(InputError, match="No space left on device; what was finished is kept") as caught:
            extract(root)
        assert "\n" not in str(caught.value)
        patch.undo()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a file system of a size, where this user may."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
        ).returncode:
            pytest.skip("mounting is not permitted")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_really_full_disk(root: Path, computed: list[str], small_disk: Callable[..., Path]) -> None:
    disk = small_disk("1m")
    per_clip = 2 * 4 * int(np.prod(SPEC.shape))
    filler = disk / "filler"
    for room in (per_clip * 2, per_clip * 7):  # No room for the parts; room for them but not for the file.
        filler.write_bytes(b"x" * ((1 << 20) - room - 20480))
        with pytest.raises(InputError, match="No space left on device"):
            extract(root, disk, folds=[1])
        assert not list(disk.rglob("*.h5")) and not list(disk.rglob("*.tmp"))
    filler.unlink()
    assert extract(root, disk, folds=[1])[0].written
    assert only_folds(disk)


def test_a_read_only_cache_is_one_line_and_a_finished_one_is_fine(
    root: Path, computed: list[str], small_disk: Callable[..., Path]
) -> None:
    disk = small_disk("8m")
    extract(root, disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert counts(extract(root, disk)) == [(0, 5, 0), (0, 5, 0)]
    with pytest.raises(InputError, match="Read-only file system") as caught:
        extract(root, disk, spec=dataclasses.replace(SPEC, noise_std=0.1))
    assert "\n" not in str(caught.value)


def test_two_extractions_of_a_fold_at_once_are_refused(root: Path, computed: list[str]) -> None:
    path = cache.fold_path(root.parent / "cache", "toy", SPEC, 2)
    with locked(path, "fold 2"):
        with pytest.raises(InputError, match=f"fold 2 is being written by process {os.getpid()} on .* since"):
            extract(root)
        assert extract(root, folds=[1])[0].written, "another fold is free"
    assert extract(root)[1].written
    assert only_folds(root.parent / "cache")


def test_what_killed_processes_left_is_cleared(root: Path, computed: list[str]) -> None:
    path = cache.fold_path(root.parent / "cache", "toy", SPEC, 1)
    folder = path.with_name("fold1.h5.parts")
    folder.mkdir(parents=True)
    for name in (
        folder / ".a.npz.77.tmp",
        path.with_name(".fold1.h5.77.tmp"),
        path.with_name(".fold1.h5.lock"),
    ):
        name.write_bytes(b"half")
    extract(root)
    assert only_folds(root.parent / "cache")


def test_what_a_process_left_that_was_killed_behind_a_finished_fold_is_cleared(root: Path, computed: list[str]) -> None:
    extract(root)
    path = cache.fold_path(root.parent / "cache", "toy", SPEC, 1)
    before = path.read_bytes()
    path.with_name("fold1.h5.parts").mkdir()
    path.with_name("fold1.h5.parts").joinpath("a.npz").write_bytes(b"part")
    path.with_name(".fold1.h5.lock").write_bytes(b"process 1")
    computed.clear()
    with locked(path, "fold 1"):  # by a process that is at work on another fold: not refused, not touched
        assert counts(extract(root)) == [(0, 5, 0), (0, 5, 0)]
        assert path.with_name("fold1.h5.parts").is_dir()
    path.with_name(".fold1.h5.lock").write_bytes(b"process 1")
    extract(root)
    assert only_folds(root.parent / "cache") and path.read_bytes() == before and not computed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folds": [3]}, "fold 3: toy has the folds 1, 2"),
        ({"folds": []}, "none was asked for"),
        ({"jobs": 0}, "jobs = 0"),
        ({"backend": "threads"}, "backend threads"),
        ({"on_error": "ignore"}, "on-error ignore"),
        ({"scheduler": "tcp://x:1"}, "only --backend dask"),
        ({"spec": dataclasses.replace(SPEC, n_fft=333)}, "n_fft = 333"),
    ],
)
def test_wrong_arguments_are_one_line(root: Path, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        extract(root, **options)
    assert "\n" not in str(caught.value)
    assert not list(root.parent.rglob("*.h5"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_a_scheduler_that_does_not_answer_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(cluster, "SCHEDULER_SECONDS", 0.5)
    stored: list[None] = []
    with pytest.raises(InputError, match=re.escape(repr(address))) as caught:
        extract(root, backend="dask", scheduler=address, unrefused=lambda: stored.append(None))
    assert "\n" not in str(caught.value) and "tcp://HOST:8786" in str(caught.value)
    assert not stored and not list(root.parent.rglob("*.h5"))


def test_without_dask_the_install_line_is_given(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    stored: list[None] = []
    with pytest.raises(InputError) as caught:
        extract(root, backend="dask", unrefused=lambda: stored.append(None))
    assert "pip install 'audio-rkd[dask]'" in str(caught.value) and not stored


def test_a_log_gets_at_most_two_lines_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = io.StringIO()
    tell = lines("features", 1000, "clip", stream)
    for _ in range(999):
        now += 0.3
        tell(1)
    printed = stream.getvalue().splitlines()
    assert len(printed) == 9, "300 seconds"
    assert printed[0] == "features: 100 of 1,000 clips, 3.3 per second, 4 min 30 s left"


def test_the_rate_leaves_out_what_came_before_the_first_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = io.StringIO()
    tell = lines("features", 400, "clip", stream)
    now = 31.0  # workers started, kernels compiled
    tell(16)
    now = 63.0
    tell(320)
    assert stream.getvalue().splitlines() == [
        "features: 16 of 400 clips",
        "features: 336 of 400 clips, 10.0 per second, 0 min 6 s left",
    ]


def test_the_report_of_failed_clips_is_raised_for_callers(root: Path, computed: list[str]) -> None:
    break_two(root)
    corpus: Corpus = open_corpus("urbansound8k", root)
    with pytest.raises(extraction.ExtractionFailed, match="2 of 10 clips failed") as caught:
        extraction.run(corpus, SPEC, root.parent / "cache", backend="sequential")
    assert [len(report.failed) for report in caught.value.reports] == [2, 0]


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--backend", "sequential"), ("--jobs", "2")])
@pytest.mark.parametrize("remains", ["nothing", "an empty folder"])
def test_a_cache_that_is_taken_away_meanwhile(tmp_path: Path, options: tuple[str, ...], remains: str) -> None:
    write_corpus(tmp_path / "toy", folds=1, clips=60)
    process = started(tmp_path, *options)
    wait_for_parts(tmp_path, 2, process)
    (tmp_path / "cache").rename(tmp_path / "away")
    if remains == "an empty folder":
        (tmp_path / "cache").mkdir()
    _, errors = process.communicate(timeout=120)
    wait_for_end(process.pid)
    assert process.returncode == 1 and "Traceback" not in errors and "Warning" not in errors, errors
    last = errors.splitlines()[-1]
    assert last.startswith("error: ") and "cache/toy/" in last and "Expected it to stay where it was" in last, errors
    assert not list(tmp_path.rglob("fold*.h5"))
