"""Features are compared with the digests of their clips as they are read; files of before there were any serve, and get them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import cache
from pipeline.cache import checking
from pipeline.config import InputError
from pipeline.teacher_files.writing import write
from tests.cache.changed import flip, made_old, wait_a_tick
from tests.extracting import counts, extract
from tests.tiny import invoke

Flip = Callable[[Path, int], None]


@pytest.fixture
def paths(root: Path, computed: list[str]) -> list[Path]:
    files = [report.path for report in extract(root)]
    wait_a_tick()  # what is written within a tick of the clock is never taken as checked
    return files


def test_a_damaged_clip_is_named_and_it_alone_is_computed_again(
    root: Path, paths: list[Path], computed: list[str]
) -> None:
    whole = cache.load(paths)
    flip(paths[0], 1, 3)
    names = [whole.clips[1], whole.clips[3]]
    for read in (cache.read_fold, lambda path: cache.load([path]), lambda path: list(cache.feature_blocks(path, 2))):
        with pytest.raises(InputError) as caught:
            read(paths[0])
        assert names[0] in str(caught.value) and "make features" in str(caught.value) and "\n" not in str(caught.value)
    assert next(cache.feature_blocks(paths[0], 1)).shape[0] == 1  # the first is whole
    assert cache.check(paths[0]).damaged == tuple(names) and not cache.check(paths[1]).damaged
    computed.clear()
    (one, other) = extract(root)
    assert sorted(computed) == sorted(names) and counts([one, other]) == [(2, 3, 0), (0, 5, 0)]
    assert "2 clips are not what was written" in one.note and not other.note
    again = cache.load(paths)
    assert again.digests == whole.digests and np.array_equal(again.features, whole.features)


def test_a_flipped_bit_of_a_label_or_name_is_damage(paths: list[Path]) -> None:
    for name in ("label", "file/mtime_ns", "frame"):
        copy = Path(shutil.copy(paths[0], paths[0].with_name("copy.h5")))
        with h5py.File(copy, "a") as file:
            file[name][1] += 1
        with pytest.raises(InputError, match="what it says of its clips is not what was written"):
            cache.read_header(copy)


@pytest.mark.parametrize("damaged", [False, True])
def test_an_old_file_is_checked_once_and_gets_digests_by_clip(
    root: Path, paths: list[Path], computed: list[str], damaged: bool
) -> None:
    before = cache.read_fold(paths[0])
    made_old(paths[0])
    assert not cache.read_header(paths[0]).clip_digests and cache.load(paths).digests[1] == before.header.digest
    wait_a_tick()
    computed.clear()
    if damaged:
        flip(paths[0], 2)
        with pytest.raises(InputError, match="SHA-256 of the fold"):
            cache.load(paths)
        with pytest.raises(InputError, match="SHA-256 of the fold"):
            cache.add_clip_digests(paths[0])
    assert counts(extract(root))[0] == ((5, 0, 0) if damaged else (0, 5, 0))
    after = cache.read_fold(paths[0])
    assert after.header == before.header and after.header.clip_digests == before.header.clip_digests
    assert np.array_equal(after.features, before.features) and len(computed) == 5 * damaged
    assert not cache.add_clip_digests(paths[0])


def test_two_files_that_were_exchanged(root: Path, paths: list[Path], computed: list[str]) -> None:
    whole = cache.load(paths)
    spare = paths[0].with_name("spare")
    paths[0].rename(spare), paths[1].rename(paths[0]), spare.rename(paths[1])
    with pytest.raises(InputError, match="holds fold 2, not fold 1: files were exchanged or renamed"):
        cache.load(paths)
    assert all("exchanged" in report.note for report in extract(root))
    assert np.array_equal(cache.load(paths).features, whole.features)


def test_contents_are_read_once_for_each_state_of_a_file(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process, or by the note beside it; a copy, or a clock that was set, is another state and is checked anew."""
    digests: list[int] = []
    clip_digest = checking.clip_digest
    monkeypatch.setattr(checking, "clip_digest", lambda features: digests.append(1) or clip_digest(features))
    cache.load(paths), cache.load(paths)
    assert len(digests) == 10
    checking.checked.clear()  # another process
    assert not cache.check(paths[0]).damaged and len(digests) == 10
    assert "contents last checked 20" in checking.told(paths)
    cache.check(paths[0], again=True)
    assert len(digests) == 15
    copy = Path(shutil.copytree(paths[0].parent, paths[0].parents[1] / "copied")) / paths[0].name
    assert "not checked since" in checking.told([copy])
    assert not cache.check(copy).damaged and len(digests) == 20
    os.utime(paths[0], ns=(0, 0))  # in 1970
    assert not cache.check(paths[0]).damaged and len(digests) == 25
    (paths[0].parent / "checks.json").write_text("{")
    checking.checked.clear()
    assert not cache.check(paths[1]).damaged and len(digests) == 30


def test_deep_is_a_check_of_the_wanted_folds_read_once(
    root: Path, computed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stage = ("features", "--dataset", "urbansound8k", "--data", str(root), "--backend", "sequential")
    assert invoke(*stage).stdout.count("features: ") == 1
    (folder,) = (tmp_path / "cache" / "toy").glob("f*")
    (folder / "mine.h5").write_bytes(b"of a user")
    wait_a_tick()
    digests: list[int] = []
    clip_digest = checking.clip_digest
    monkeypatch.setattr(checking, "clip_digest", lambda features: digests.append(1) or clip_digest(features))
    checking.checked.clear()
    done = invoke(*stage, "--folds", "2", "--deep")
    assert done.exit_code == 0 and f"audio-rkd check cache/toy/{folder.name}/fold2.h5\n" in done.stderr
    assert len(digests) == 5 and "contents last checked" in done.stdout
    checking.checked.clear()
    done = invoke("inspect", *stage[1:5], "--fold", "2", "--verify")
    assert done.exit_code == 0 and len(digests) == 10


def test_a_file_of_features_named_as_clips_without_a_label(paths: list[Path]) -> None:
    copy = Path(shutil.copy(paths[1], paths[0].with_name("unlabelled.h5")))
    with pytest.raises(InputError, match=r"holds fold 2, not unlabelled clips: .*expected fold2\.h5"):
        cache.check(copy)


def test_a_teacher_file_in_the_cache_is_no_file_of_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = {"clip": np.array(["a.wav"]), "embedding": np.ones((1, 3)), "trained_on": np.array([], int)}
    for name in ("fold1.h5", "other.npz"):
        write(Path("cache/toy/teachers") / name, arrays)
    done = invoke("check")
    assert done.exit_code == 0 and done.stdout.startswith("2 teacher files")
    content = Path("cache/toy/teachers/other.npz").read_bytes()
    Path("cache/toy/teachers/other.npz").write_bytes(content[:150] + bytes([content[150] ^ 1]) + content[151:])
    assert invoke("check").exit_code == 1
