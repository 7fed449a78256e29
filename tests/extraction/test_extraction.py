"""Stage one as a whole: what is written, by every backend, and by real processes that are killed and stopped."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import cache, features
from pipeline.audio import changing
from pipeline.audio import reading as audio
from pipeline.config import InputError
from pipeline.corpus import open_corpus
from pipeline.extraction import workers
from pipeline.files import sha256
from pipeline.report import inspection
from tests.extracting import (
    CLASSES,
    CLI,
    SPEC,
    command,
    counts,
    extract,
    only_folds,
    same,
    started,
    wait_for_end,
    wait_for_parts,
    write_corpus,
)


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
        assert file.sha256 == sha256(clip.path)
        assert root / file.path == clip.path
    assert only_folds(tmp_path / "cache")


def test_a_fold_holds_changed_copies_behind_the_two_views(root: Path, tmp_path: Path) -> None:
    """As many as asked for, of the clip's own sound; the two views keep their bits, and the cache beside has its own place."""
    spec = dataclasses.replace(SPEC, views=3)
    extract(root)
    assert counts(extract(root, spec=spec)) == [(5, 0, 0), (5, 0, 0)]
    plain = cache.read_fold(cache.fold_path(tmp_path / "cache", "toy", SPEC, 1))
    path = cache.fold_path(tmp_path / "cache", "toy", spec, 1)
    fold = cache.read_fold(path)
    assert fold.features.shape == (5, 5, *SPEC.shape) == fold.header.shape
    np.testing.assert_array_equal(fold.features[:, :2], plain.features)
    by_name = {clip.name: clip for clip in open_corpus("urbansound8k", root).clips}
    for name, x in zip(fold.header.clips, fold.features, strict=True):
        sound = audio.read_sound(by_name[name].path, sr=16000, samples=8000, seconds=0.25)
        samples = changing.views(sound, name, spec, rate=16000, samples=8000, short="pad")
        np.testing.assert_allclose(x, features.extract(samples, spec), rtol=1e-5, atol=1e-5)
    assert "changed3" in inspection.fold_text(inspection.inspect_fold(path, verify=True))
    assert counts(extract(root, spec=spec)) == [(0, 5, 0), (0, 5, 0)]  # finished
    spoil = fold.header.clips[2]
    with h5py.File(path, "r+") as file:
        file["features"][2, 4, 0, 0, 0] += 1
    with pytest.raises(InputError, match=spoil):
        cache.read_fold(path)
    assert counts(extract(root, spec=spec))[0] == (1, 4, 0)
    np.testing.assert_array_equal(cache.read_fold(path).features, fold.features)


def test_torch_as_engine_computes_the_clips_of_a_task_at_once(tmp_path: Path) -> None:
    """The same to float32, in a cache of its own; a file that cannot be read costs only itself; never together with --plain."""
    root = write_corpus(tmp_path / "toy", folds=1, clips=5)
    bad = sorted(root.rglob("*.wav"))[2]
    bad.write_bytes(b"no sound")
    exact = dataclasses.replace(SPEC, tuning=0.0, floor=1e-5)
    spec = dataclasses.replace(exact, engine="torch")
    for settings in (exact, spec):
        (report,) = extract(root, tmp_path / "cache", settings, on_error="skip")
        assert (report.computed, [failure.clip for failure in report.failed]) == (4, [bad.name])
    ours, theirs = (
        cache.read_fold(cache.fold_path(tmp_path / "cache", "toy", each, 1)).features for each in (spec, exact)
    )
    assert ours.shape == theirs.shape and ours.tobytes() != theirs.tobytes()
    for feature, limit in enumerate((5e-3, 1e-3, 1e-5, 1e-2, 1e-5)):
        np.testing.assert_allclose(ours[:, :, feature], theirs[:, :, feature], atol=limit)
    with pytest.raises(InputError, match=r"--plain: .* features.engine = 'torch'; expected one of the two"):
        extract(root, tmp_path / "plain", spec, plain=True)


@pytest.mark.parametrize("backend", ["loky", pytest.param("dask", marks=pytest.mark.slow)])
def test_every_backend_gives_the_same_arrays_bit_for_bit(tmp_path: Path, backend: str) -> None:
    if backend == "dask":
        pytest.importorskip("distributed")
    root = write_corpus(tmp_path / "toy", folds=2, clips=24)
    extract(root, tmp_path / "one")
    extract(root, tmp_path / backend, backend=backend, jobs=2)
    same(tmp_path / "one", tmp_path / backend)
    assert all(only_folds(tmp_path / name) for name in ("one", backend))


@pytest.mark.slow
def test_a_dask_scheduler_at_an_address_is_used(tmp_path: Path, root: Path) -> None:
    distributed = pytest.importorskip("distributed")
    extract(root, tmp_path / "one")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        extract(root, tmp_path / "dask", backend="dask", scheduler=cluster.scheduler_address)
        assert len(cluster.workers) == 1, "a cluster of others is left running"
    same(tmp_path / "one", tmp_path / "dask")


@pytest.mark.slow
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
    last = command(folder, "--jobs", "1")
    assert last.returncode == 0, last.stderr
    assert f"{100 - there} computed, {there} reused" in last.stdout
    assert there >= workers.TASK_CLIPS
    same(tmp_path / "whole" / "cache", folder / "cache")
    assert only_folds(folder / "cache")
    assert "finished already, nothing to compute" in command(folder).stdout


@pytest.mark.slow
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
    code = (
        "import sys; from pathlib import Path; from pipeline.config import FeatureSpec; "
        "from pipeline.corpus import open_corpus; from pipeline.extraction.stage import extract_corpus; "
        "root = Path(sys.argv[1]); spec = FeatureSpec(seconds=0.5, sr=16000, hop_length=256, bins=12, bins_per_octave=12); "
        "print(extract_corpus(open_corpus('urbansound8k', root), spec, root.parent / 'cache')[0].reused, "
        "[m for m in ('librosa', 'torch', 'joblib', 'numba', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], cwd=CLI.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "5 []"
