"""Features that stay in their files give the numbers that memory gives, and what is wrong with a file is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline import cache
from pipeline.cache import checking, loading
from pipeline.config import InputError
from tests.cache.changed import flip, made_old, wait_a_tick
from tests.extracting import extract, write_corpus


@pytest.fixture
def paths(root: Path, computed: list[str]) -> list[Path]:
    files = [report.path for report in extract(root)]
    wait_a_tick()  # what is written within a tick of the clock is never taken as checked
    return files


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folds of real features, which tests only read."""
    files = [report.path for report in extract(write_corpus(tmp_path_factory.mktemp("unchanged") / "toy"))]
    wait_a_tick()
    return files


KEYS: tuple[Any, ...] = (
    3,
    -1,
    slice(2, 9),
    slice(None),
    [4, 4, 0, 9],
    np.array([7, 5]),
    np.arange(10) % 3 == 0,
    np.zeros(10, bool),
    (slice(None), 0),
    ([9, 2, 3], 1),
    (np.arange(10) > 4, 0),
    (slice(None), 0, 2),
    (4, 1),
    (slice(1, 7), slice(0, 1)),
    (slice(None), slice(None), 3),
    ([8, 1], -1, slice(1, 3), 0),
)


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_it_is_indexed_as_an_array_is(unchanged: list[Path], key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cache.on_disk.CHUNK", 3)
    whole, there = cache.load(unchanged, "memory").features, cache.load(unchanged, "files").features
    assert isinstance(whole, np.ndarray) and isinstance(there, cache.OnDisk) and there.shape == whole.shape
    assert there[key].dtype == np.float32 and np.array_equal(there[key], whole[key])


def test_rows_are_of_all_files_in_any_order(paths: list[Path]) -> None:
    whole, there = cache.load(paths, "memory").features, cache.load(paths, "files").features
    rows = np.random.default_rng(0).integers(0, 20, 100)
    for some in (rows, np.sort(rows), np.arange(20), rows[:0]):
        assert np.array_equal(cache.rows_of(there, some), cache.rows_of(whole, some))
    there.ahead(rows)  # type: ignore[union-attr]
    for wrong in ([20], [-1]):
        with pytest.raises(IndexError):
            cache.rows_of(there, np.array(wrong))


def test_what_exceeds_half_of_the_free_memory_stays_in_its_files(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = cache.load(paths).features.nbytes  # type: ignore[union-attr]
    for free, kind in ((2 * size, np.ndarray), (2 * size - 2, cache.OnDisk)):
        monkeypatch.setattr(loading, "free_memory", lambda free=free: free)
        assert isinstance(cache.load(paths).features, kind)
        assert isinstance(cache.load(paths, "memory").features, np.ndarray)
    monkeypatch.setattr(loading, "free_memory", lambda: 0)
    assert isinstance(cache.read_fold(paths[0]).features, cache.OnDisk)


def test_compressed_features_are_refused_with_what_to_do(root: Path, computed: list[str], tmp_path: Path) -> None:
    packed = [report.path for report in extract(root, tmp_path / "packed", compress=True)]
    with pytest.raises(InputError) as caught:
        cache.load(packed, "files")
    said = str(caught.value)
    assert str(packed[0]) in said and "without --compress" in said and "make features" in said and "\n" not in said
    assert isinstance(cache.load(packed, "memory").features, np.ndarray)


def test_damage_is_met_when_a_clip_is_first_read_and_names_all_of_the_file(paths: list[Path]) -> None:
    flip(paths[1], 1, 3)
    wait_a_tick()
    there = cache.load(paths, "files")
    assert there.features[:6].shape[0] == 6  # whole clips are read
    with pytest.raises(InputError) as caught:
        there.features[[0, 8]]
    said = str(caught.value)
    assert str(paths[1]) in said and there.clips[6] in said and there.clips[8] in said
    assert "make features" in said and "\n" not in said
    with pytest.raises(InputError, match="are not what was written"):
        cache.load(paths, "files")  # now it is known


def test_an_old_file_is_checked_when_it_is_opened(paths: list[Path]) -> None:
    made_old(paths[0])
    wait_a_tick()
    assert np.array_equal(cache.load(paths, "files").features[:], cache.load(paths, "memory").features)
    flip(paths[0], 2)
    with pytest.raises(InputError, match="are not what was written"):
        cache.load(paths, "files")


def test_each_clip_is_compared_once_and_a_file_that_was_read_whole_is_known(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checking.checked.clear()
    counted: list[int] = []
    monkeypatch.setattr(
        "pipeline.cache.on_disk.clip_digest", lambda values: counted.append(1) or cache.schema.clip_digest(values)
    )
    there = cache.load(paths, "files").features
    for key in (slice(0, 3), slice(0, 4), slice(None), slice(None)):
        there[key]
    assert len(counted) == 10
    assert checking.last(paths[0]) == cache.check(paths[0]) and not cache.check(paths[0]).damaged
    cache.load(paths, "files").features[:]
    assert len(counted) == 10


def test_a_file_that_is_replaced_written_to_or_cut_short(paths: list[Path]) -> None:
    there = cache.load(paths, "files").features
    before = there[:]
    paths[1].replace(paths[1].with_name("gone"))
    assert np.array_equal(there[:], before)  # the file that was opened is read on
    with h5py.File(paths[0], "a") as file:
        file["features"][0] = 0
    with pytest.raises(InputError, match="written to while it was read"):
        there[:]
    with paths[0].open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match="ends before its features do"):
        there[:]


def test_a_fold_without_clips(paths: list[Path]) -> None:
    header = cache.read_header(paths[0])
    empty = header.__class__(
        **{**vars(header), "clips": (), "labels": (), "sources": (), "files": (), "clip_digests": (), "fold": 3}
    )
    path = paths[0].with_name("fold3.h5")
    cache.write_fold(path, empty, [])
    for order in ([path, *paths], [paths[0], path, paths[1]], [*paths, path]):
        assert np.array_equal(cache.load(order, "files").features[:], cache.load(order, "memory").features)
