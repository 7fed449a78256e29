"""Stage one as a whole: nothing is lost, nothing is computed twice, nothing that changed is reused."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from pipeline import audio, cache, features
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import Corpus, open_corpus
from pipeline.stages import extraction, parts, planning, workers
from pipeline.stages.extraction import FoldReport, extract_corpus
from pipeline.stages.locks import locked
from pipeline.stages.progress import lines

CLI = Path(__file__).resolve().parents[1] / "cli.py"
CLASSES = ("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling", "gun_shot",
           "jackhammer", "siren", "street_music")  # fmt: skip
SPEC = FeatureSpec(seconds=0.5, sr=16000, hop_length=256, bins=12, bins_per_octave=12)


def write_clip(path: Path, seed: int, seconds: float = 0.25) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    t = np.arange(round(16000 * seconds)) / 16000
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 2000) * t)
    soundfile.write(path, (tone + 0.05 * rng.standard_normal(len(t))).astype(np.float32), 16000, "PCM_16")


def write_corpus(root: Path, folds: int = 2, clips: int = 5) -> Path:
    """UrbanSound8K's layout with short clips; names do not come in the order of the table."""
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, folds + 1):
        for i in reversed(range(clips)):
            name = f"{100 * fold + i // 2}-{i % 10}-0-{i}.wav"
            write_clip(root / "audio" / f"fold{fold}" / name, 1000 * fold + i)
            rows.append(f"{name},{100 * fold + i // 2},0.0,0.25,1,{fold},{i % 10},{CLASSES[i % 10]}")
    (root / "metadata").mkdir()
    (root / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows) + "\n")
    return root


def edit_table(root: Path, change: Callable[[str], str]) -> None:
    table = root / "metadata" / "UrbanSound8K.csv"
    table.write_text(change(table.read_text()))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "toy")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the clips that were computed, by a quick stand-in for the features that still reads the file."""
    names: list[str] = []

    def quick(job: workers.Job, spec: FeatureSpec, plain: bool) -> np.ndarray:
        clean = audio.read_clip(job.path, sr=spec.sr, samples=spec.samples, seconds=job.file.seconds)
        names.append(job.clip)
        shape = (2, *spec.shape)
        return np.resize(clean, shape).astype(np.float32) + np.float32(plain)

    monkeypatch.setattr(workers, "views", quick)
    monkeypatch.setattr(workers, "warm", lambda spec, plain: None)
    monkeypatch.setattr(workers, "TASK_CLIPS", 2)
    return names


def extract(
    root: Path, where: Path | None = None, spec: FeatureSpec = SPEC, **options: object
) -> list[FoldReport]:
    corpus = open_corpus("urbansound8k", root)
    options = {"backend": "sequential", **options}
    return extract_corpus(corpus, spec, where or root.parent / "cache", **options)  # type: ignore[arg-type]


def counts(reports: list[FoldReport]) -> list[tuple[int, int, int]]:
    return [(r.computed, r.reused, len(r.failed)) for r in reports]


def arrays(where: Path) -> dict[str, np.ndarray]:
    """Clip → features, of all folds below a folder."""
    folds = [cache.read_fold(path) for path in sorted(where.rglob("fold*.h5"))]
    return {clip: x for fold in folds for clip, x in zip(fold.header.clips, fold.features, strict=True)}


def same(one: Path, other: Path) -> None:
    ours, theirs = arrays(one), arrays(other)
    assert ours.keys() == theirs.keys() and ours
    for clip in ours:
        np.testing.assert_array_equal(ours[clip], theirs[clip], err_msg=clip)


def only_folds(where: Path) -> bool:
    """Nothing is left but the folds' files: no lock, no part, no half-written file."""
    names = {path.name for path in where.rglob("*") if path.is_file()}
    return all(name.startswith("fold") and name.endswith(".h5") for name in names)


# ---------------------------------------------------------------------------------------- what is written


def test_a_fold_holds_the_features_of_its_clips_and_of_their_noisy_copies(root: Path, tmp_path: Path) -> None:
    extract(root)
    corpus = open_corpus("urbansound8k", root)
    fold = cache.read_fold(cache.fold_path(tmp_path / "cache", "toy", SPEC, 2))
    clips = sorted((c for c in corpus.clips if c.fold == 2), key=lambda c: c.name)
    assert fold.header.clips == tuple(c.name for c in clips)
    assert fold.header.labels == tuple(c.label for c in clips)
    assert fold.header.sources == tuple(c.source for c in clips)
    assert (fold.header.fold, fold.header.corpus, fold.header.classes) == (2, "toy", CLASSES)
    for clip, x in zip(clips, fold.features, strict=True):
        clean = audio.read_clip(clip.path, sr=16000, samples=8000, seconds=0.25)
        noisy = clean + audio.noise(clip.name, 8000, std=SPEC.noise_std, seed=SPEC.noise_seed)
        np.testing.assert_allclose(x[0], features.extract(clean, SPEC), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(x[1], features.extract(noisy, SPEC), rtol=1e-5, atol=1e-5)
        assert np.abs(x[0] - x[1]).max() > 0.1
    for clip, file in zip(clips, fold.header.files, strict=True):
        state = clip.path.stat()
        assert (file.size, file.mtime_ns) == (state.st_size, state.st_mtime_ns)
        assert file.sha256 == parts.sha256(clip.path)
        assert root / file.path == clip.path
    assert only_folds(tmp_path / "cache")


def test_every_backend_gives_the_same_arrays_bit_for_bit(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    root = write_corpus(tmp_path / "toy", folds=2, clips=24)
    extract(root, tmp_path / "one")
    extract(root, tmp_path / "loky", backend="loky", jobs=2)
    extract(root, tmp_path / "dask", backend="dask", jobs=2)
    same(tmp_path / "one", tmp_path / "loky")
    same(tmp_path / "one", tmp_path / "dask")
    assert all(only_folds(tmp_path / name) for name in ("one", "loky", "dask"))


def test_a_dask_scheduler_at_an_address_is_used(tmp_path: Path, root: Path) -> None:
    distributed = pytest.importorskip("distributed")
    extract(root, tmp_path / "one")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        extract(root, tmp_path / "dask", backend="dask", scheduler=cluster.scheduler_address)
        assert len(cluster.workers) == 1, "a cluster of others is left running"
    same(tmp_path / "one", tmp_path / "dask")


# ---------------------------------------------------------------------------------------- what is reused


def test_finished_work_is_left_alone(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert counts(extract(root)) == [(5, 0, 0), (5, 0, 0)]
    before = {path: path.stat().st_mtime_ns for path in (root.parent / "cache").rglob("*.h5")}
    monkeypatch.setattr(workers, "results", None)
    monkeypatch.setattr(cache, "write_fold", None)
    for options in ({}, {"deep": True}, {"on_error": "skip"}):
        assert counts(extract(root, **options)) == [(0, 5, 0), (0, 5, 0)]
    assert before == {path: path.stat().st_mtime_ns for path in (root.parent / "cache").rglob("*.h5")}
    assert len(computed) == 10


def test_a_changed_clip_is_computed_again_and_it_alone(
    root: Path, computed: list[str], tmp_path: Path
) -> None:
    extract(root)
    changed = root / "audio" / "fold1" / "101-3-0-3.wav"
    write_clip(changed, 99, 0.3)
    computed.clear()
    assert counts(extract(root)) == [(1, 4, 0), (0, 5, 0)]
    assert computed == [changed.name]
    extract(root, tmp_path / "fresh")
    same(tmp_path / "cache", tmp_path / "fresh")


def test_content_that_changed_under_the_same_size_and_time_is_found_by_deep(
    root: Path, computed: list[str]
) -> None:
    extract(root)
    clip = root / "audio" / "fold2" / "200-0-0-0.wav"
    state = clip.stat()
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(content)
    os.utime(clip, ns=(state.st_atime_ns, state.st_mtime_ns))
    computed.clear()
    assert counts(extract(root)) == [(0, 5, 0), (0, 5, 0)]
    assert counts(extract(root, deep=True)) == [(0, 5, 0), (1, 4, 0)]
    assert computed == [clip.name]


def test_a_clip_that_was_only_touched_is_computed_again_but_not_by_deep(
    root: Path, computed: list[str]
) -> None:
    extract(root)
    clip = root / "audio" / "fold2" / "200-0-0-0.wav"
    os.utime(clip, ns=(1, 1))
    assert counts(extract(root, deep=True)) == [(0, 5, 0), (0, 5, 0)]
    assert counts(extract(root)) == [(0, 5, 0), (1, 4, 0)]


def test_added_removed_and_relabelled_clips(root: Path, computed: list[str]) -> None:
    extract(root)
    computed.clear()
    edit_table(
        root,
        lambda text: (
            "\n".join(row for row in text.splitlines() if not row.startswith("200-0-0-0.wav")) + "\n"
        ),
    )
    write_clip(root / "audio" / "fold1" / "199-1-0-9.wav", 7)
    edit_table(root, lambda text: text + "199-1-0-9.wav,199,0.0,0.25,1,1,1,car_horn\n")
    assert counts(extract(root)) == [(1, 5, 0), (0, 4, 0)]
    assert computed == ["199-1-0-9.wav"]
    edit_table(root, lambda text: text.replace("1,9,0,0.25,1,1,1,car_horn", "").replace(
        "199-1-0-9.wav,199,0.0,0.25,1,1,1,car_horn", "199-1-0-9.wav,199,0.0,0.25,1,1,8,siren"))  # fmt: skip
    assert counts(extract(root)) == [(0, 6, 0), (0, 4, 0)]
    found = cache.read_header(next((root.parent / "cache").rglob("fold1.h5")))
    assert found.labels[found.clips.index("199-1-0-9.wav")] == 8
    assert computed == ["199-1-0-9.wav"]


def test_another_annotated_length_is_another_clip(root: Path, computed: list[str]) -> None:
    extract(root)
    computed.clear()
    edit_table(root, lambda text: text.replace("200-0-0-0.wav,200,0.0,0.25", "200-0-0-0.wav,200,0.0,0.2"))
    assert counts(extract(root)) == [(0, 5, 0), (1, 4, 0)]


def test_other_settings_are_another_folder(root: Path, computed: list[str]) -> None:
    first = extract(root)
    kept = first[0].path.read_bytes()
    second = extract(root, spec=dataclasses.replace(SPEC, noise_std=0.1))
    assert counts(second) == [(5, 0, 0), (5, 0, 0)]
    assert first[0].path.parent != second[0].path.parent
    assert first[0].path.read_bytes() == kept


@pytest.mark.parametrize("library", ["librosa", "soxr"])
def test_another_library_is_never_reused_silently(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    extract(root)
    known = {**parts.versions(), library: "99.1"}
    monkeypatch.setattr(parts, "versions", lambda: known)
    reports = extract(root)
    assert counts(reports) == [(5, 0, 0), (5, 0, 0)]
    assert all(f"{library} " in report.note and "→ 99.1" in report.note for report in reports)
    assert cache.read_header(reports[0].path).versions[library] == "99.1"
    assert counts(extract(root)) == [(0, 5, 0), (0, 5, 0)]


def test_a_plain_file_serves_for_the_fast_way_but_not_the_other_way_round(
    root: Path, computed: list[str]
) -> None:
    extract(root)
    reports = extract(root, plain=True)
    assert counts(reports) == [(5, 0, 0), (5, 0, 0)]
    assert "plain" in reports[0].note and cache.read_header(reports[0].path).plain
    assert counts(extract(root)) == [(0, 5, 0), (0, 5, 0)]


def test_compressing_computes_nothing(root: Path, computed: list[str], tmp_path: Path) -> None:
    extract(root)
    shutil.copytree(tmp_path / "cache", tmp_path / "before")
    reports = extract(root, compress=True)
    assert counts(reports) == [(0, 5, 0), (0, 5, 0)]
    with h5py.File(reports[0].path) as file:
        assert file["features"].compression == "gzip"
    same(tmp_path / "cache", tmp_path / "before")


def test_a_damaged_file_is_computed_again_and_said(root: Path, computed: list[str]) -> None:
    path = extract(root)[0].path
    path.write_bytes(path.read_bytes()[:-100])
    reports = extract(root)
    assert counts(reports) == [(5, 0, 0), (0, 5, 0)]
    assert "damaged" in reports[0].note


def test_parts_of_a_stopped_run_are_taken_up_unless_damaged_or_outdated(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    extract(root, tmp_path / "unbroken")
    monkeypatch.setattr(cache, "write_fold", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extract(root, folds=[1])
    monkeypatch.undo()
    left = sorted((tmp_path / "cache").rglob("*.npz"))
    assert len(left) == 3
    content = bytearray(left[0].read_bytes())
    content[len(content) // 2] ^= 255
    left[0].write_bytes(content)
    lost = len(np.load(left[0])["keys"])
    os.utime(root / "audio" / "fold1" / "100-0-0-0.wav", ns=(5, 5))
    plan = planning.plan(open_corpus("urbansound8k", root), SPEC, tmp_path / "cache", 1, plain=False, deep=False,
                         compress=False)  # fmt: skip
    names = {job.clip for job in plan.jobs}
    assert "100-0-0-0.wav" in names and lost <= len(names) <= lost + 1
    assert not left[0].exists()


# ---------------------------------------------------------------------------------------- what goes wrong


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
    assert (
        done.stderr.splitlines()[-1].startswith("error: 2 of 5 clips failed")
        and "Traceback" not in done.stderr
    )
    assert command(tmp_path, "--jobs", "1", "--on-error", "skip").returncode == 0
    assert "2 SKIPPED" in command(tmp_path).stdout


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


def test_what_a_process_left_that_was_killed_behind_a_finished_fold_is_cleared(
    root: Path, computed: list[str]
) -> None:
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
    monkeypatch.setattr(workers, "SCHEDULER_SECONDS", 0.5)
    with pytest.raises(InputError, match=re.escape(repr(address))) as caught:
        extract(root, backend="dask", scheduler=address)
    assert "\n" not in str(caught.value) and "tcp://HOST:8786" in str(caught.value)
    assert not list(root.parent.rglob("*.h5"))


def test_without_dask_the_install_line_is_given(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(InputError) as caught:
        extract(root, backend="dask")
    assert "pip install 'audio-rkd[dask]'" in str(caught.value)


def test_a_log_gets_at_most_two_lines_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = io.StringIO()
    tell = lines("features", 1000, "clip", stream)
    for _ in range(999):
        now += 0.3
        tell(1)
    said = stream.getvalue().splitlines()
    assert len(said) == 9, "300 seconds"
    assert said[0] == "features: 100 of 1000 clips, 3.3 a second, 4 min 30 s left"


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
        "features: 336 of 400 clips, 10.0 a second, 0 min 6 s left",
    ]


# ---------------------------------------------------------------------------------------- real processes


def command(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments(*options), cwd=folder, capture_output=True, text=True, check=False)


def arguments(*options: str) -> list[str]:
    return [sys.executable, str(CLI), "features", "--dataset", "urbansound8k", "--data", "toy", *options]


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments(*options), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)  # fmt: skip


def wait_for_parts(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and len(list((folder / "cache").rglob("*.npz"))) < count:
        time.sleep(0.002)


def wait_for_end(group: int) -> None:
    """Until no process of a group is left; a worker that outlives its parent for long is an error."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("processes are left")


def test_killed_three_times_it_finishes_with_the_same_arrays(tmp_path: Path) -> None:
    """Killed with parts there: the parent alone, parent and workers, and the parent again."""
    for name in ("whole", "broken"):
        write_corpus(tmp_path / name / "toy", folds=1, clips=100)
    assert command(tmp_path / "whole", "--jobs", "1").returncode == 0
    folder, kept = tmp_path / "broken", 0
    for send in (os.kill, os.killpg, os.kill):
        process = started(folder, "--jobs", "2")
        wait_for_parts(folder, kept + 1, process)
        send(process.pid, signal.SIGKILL)
        process.communicate()
        wait_for_end(process.pid)
        assert process.returncode == -signal.SIGKILL, "it was still at work"
        assert not list(folder.rglob("*.h5"))
        kept = len(list(folder.rglob("*.npz")))
    there = sum(len(np.load(part)["keys"]) for part in folder.rglob("*.npz"))
    last = command(folder, "--jobs", "2")
    assert last.returncode == 0, last.stderr
    assert f"{100 - there} computed, {there} reused" in last.stdout
    assert there >= workers.TASK_CLIPS
    same(tmp_path / "whole" / "cache", folder / "cache")
    assert only_folds(folder / "cache")
    assert "finished already, nothing to compute" in command(folder).stdout


@pytest.mark.parametrize("group", [True, False])
def test_ctrl_c_leaves_no_process_and_says_how_to_go_on(tmp_path: Path, group: bool) -> None:
    write_corpus(tmp_path / "toy", folds=1, clips=100)
    process = started(tmp_path, "--jobs", "2")
    wait_for_parts(tmp_path, 1, process)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "clips are done and kept; the same command goes on from there" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    wait_for_end(process.pid)
    assert not list(tmp_path.rglob("*.h5")) and not list(tmp_path.rglob("*.lock"))
    assert list(tmp_path.rglob("*.npz"))


def test_a_finished_stage_imports_neither_librosa_nor_torch(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "toy", folds=1)
    extract(root)
    code = ("import sys; from pathlib import Path; from pipeline.config import FeatureSpec; "
            "from pipeline.corpus import open_corpus; from pipeline.stages.extraction import extract_corpus; "
            "root = Path(sys.argv[1]); spec = FeatureSpec(seconds=0.5, sr=16000, hop_length=256, bins=12, bins_per_octave=12); "
            "print(extract_corpus(open_corpus('urbansound8k', root), spec, root.parent / 'cache')[0].reused, "
            "[m for m in ('librosa', 'torch', 'joblib', 'numba', 'matplotlib') if m in sys.modules])")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], cwd=CLI.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "5 []"


def test_the_report_of_failed_clips_is_raised_for_callers(root: Path, computed: list[str]) -> None:
    break_two(root)
    corpus: Corpus = open_corpus("urbansound8k", root)
    with pytest.raises(extraction.ExtractionFailed, match="2 of 10 clips failed") as caught:
        extraction.run(corpus, SPEC, root.parent / "cache", backend="sequential")
    assert [len(report.failed) for report in caught.value.reports] == [2, 0]
