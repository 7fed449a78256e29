"""Stage one run again: nothing is computed twice, nothing that changed is reused."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import cache
from pipeline.config import InputError
from pipeline.corpus import open_corpus
from pipeline.extraction import assembly, parts, workers
from pipeline.extraction import state as planning
from tests.extracting import (
    SPEC,
    counts,
    edit_table,
    extract,
    only_folds,
    same,
    write_clip,
    write_corpus,
)


def test_finished_work_is_left_alone(root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert counts(extract(root)) == [(5, 0, 0), (5, 0, 0)]
    before = {path: path.stat().st_mtime_ns for path in (root.parent / "cache").rglob("*.h5")}
    monkeypatch.setattr(workers, "results", None)
    monkeypatch.setattr(cache, "write_fold", None)
    for options in ({}, {"deep": True}, {"on_error": "skip"}):
        assert counts(extract(root, **options)) == [(0, 5, 0), (0, 5, 0)]
    assert before == {path: path.stat().st_mtime_ns for path in (root.parent / "cache").rglob("*.h5")}
    assert len(computed) == 10


def test_what_waits_for_the_last_refusal_comes_before_the_first_clip(root: Path, computed: list[str]) -> None:
    called: list[int] = []
    for _ in range(2):  # where nothing is to be computed, too
        extract(root, unrefused=lambda: called.append(len(computed)))
    assert called == [0, 10] and len(computed) == 10


def test_another_data_set_in_a_folder_of_the_same_name_is_refused(root: Path, computed: list[str]) -> None:
    extract(root)
    before = {path: path.read_bytes() for path in (root.parent / "cache").rglob("*.h5")}
    other = write_corpus(root.parent / "elsewhere" / root.name)
    for path in list(other.rglob("*.wav")):
        path.rename(path.with_name(f"9{path.name}"))
    edit_table(other, lambda text: re.sub(r"^(\d)", r"9\1", text, flags=re.MULTILINE))
    with pytest.raises(InputError, match="of another data set in a folder of the same name: none of its 5 clips"):
        extract(other, root.parent / "cache")
    assert before == {path: path.read_bytes() for path in (root.parent / "cache").rglob("*.h5")}
    moved = root.rename(root.parent / "elsewhere" / "moved").rename(root)  # the same clips, elsewhere meanwhile
    assert counts(extract(moved)) == [(0, 5, 0), (0, 5, 0)]


def test_a_changed_clip_is_computed_again_and_it_alone(root: Path, computed: list[str], tmp_path: Path) -> None:
    extract(root)
    changed = root / "audio" / "fold1" / "101-3-0-3.wav"
    write_clip(changed, 99, 0.3)
    computed.clear()
    assert counts(extract(root)) == [(1, 4, 0), (0, 5, 0)]
    assert computed == [changed.name]
    extract(root, tmp_path / "fresh")
    same(tmp_path / "cache", tmp_path / "fresh")


def test_content_that_changed_under_the_same_size_and_time_is_found_by_deep(root: Path, computed: list[str]) -> None:
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


def test_clips_that_were_only_touched_or_copied_serve_by_their_contents(root: Path, computed: list[str]) -> None:
    extract(root)
    clip = root / "audio" / "fold2" / "200-0-0-0.wav"
    os.utime(clip, ns=(1, 1))
    computed.clear()
    assert counts(extract(root, deep=True)) == [(0, 5, 0), (0, 5, 0)]
    assert counts(extract(root)) == [(0, 5, 0), (0, 5, 0)]
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(content)  # of the same size: its time alone asks for a look
    assert counts(extract(root)) == [(0, 5, 0), (1, 4, 0)]
    assert computed == [clip.name]


def test_all_sounds_of_another_machine_and_one_that_is_another(root: Path, computed: list[str], tmp_path: Path) -> None:
    extract(root)
    other = root / "audio" / "fold1" / "101-3-0-3.wav"
    write_clip(other, 99, 0.3)
    for clip in (root / "audio").rglob("*.wav"):
        os.utime(clip, ns=(7, 7))
    computed.clear()
    assert counts(extract(root)) == [(1, 4, 0), (0, 5, 0)]
    assert computed == [other.name]
    extract(root, tmp_path / "fresh")
    same(tmp_path / "cache", tmp_path / "fresh")


def test_added_removed_and_relabelled_clips(root: Path, computed: list[str]) -> None:
    extract(root)
    computed.clear()
    edit_table(
        root,
        lambda text: "\n".join(row for row in text.splitlines() if not row.startswith("200-0-0-0.wav")) + "\n",
    )
    write_clip(root / "audio" / "fold1" / "199-1-0-9.wav", 7)
    edit_table(root, lambda text: text + "199-1-0-9.wav,199,0.0,0.25,1,1,1,car_horn\n")
    assert counts(extract(root)) == [(1, 5, 0), (0, 4, 0)]
    assert computed == ["199-1-0-9.wav"]
    edit_table(
        root,
        lambda text: text.replace("1,9,0,0.25,1,1,1,car_horn", "").replace(
            "199-1-0-9.wav,199,0.0,0.25,1,1,1,car_horn", "199-1-0-9.wav,199,0.0,0.25,1,1,8,siren"
        ),
    )
    assert counts(extract(root)) == [(0, 6, 0), (0, 4, 0)]
    header = cache.read_header(next((root.parent / "cache").rglob("fold1.h5")))
    assert header.labels[header.clips.index("199-1-0-9.wav")] == 8
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


def test_a_plain_file_serves_for_the_fast_way_but_not_the_other_way_round(root: Path, computed: list[str]) -> None:
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
    plan = planned(root)
    names = {job.clip for job in plan.jobs}
    assert "100-0-0-0.wav" in names and lost <= len(names) <= lost + 1
    assert plan.damaged == [left[0]] and left[0].exists(), "a plan touches nothing"
    assert counts(extract(root, folds=[1])) == [(len(names), 5 - len(names), 0)]
    assert only_folds(tmp_path / "cache")


def planned(root: Path) -> planning.Plan:
    return planning.plan(
        open_corpus("urbansound8k", root), SPEC, root.parent / "cache", 1, plain=False, deep=False, compress=False
    )


def flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def test_a_flipped_bit_anywhere_in_a_parts_headers_is_damage_and_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    features = np.ones((2, 2, 5, 3, 4), np.float32)
    parts.write_part(path, ["a" * 24, "b" * 24], ["h", "i"], features)
    good = path.read_bytes()
    whole, damaged = parts.found_parts(tmp_path, check=True)
    assert list(whole) == ["a" * 24, "b" * 24] and not damaged
    with zipfile.ZipFile(path) as content:
        heads = [start + i for info in content.infolist() for start in [info.header_offset] for i in range(200)]
        heads += range(content.start_dir, len(good))
    rng = np.random.default_rng(0)
    kinds = set()
    for place in rng.choice(heads, 400, replace=False):
        path.write_bytes(flipped(good, place, int(rng.integers(8))))
        whole_parts, damaged = parts.found_parts(tmp_path, check=True)
        assert (damaged == [path]) == (not whole_parts) and path.exists()
        kinds.add(bool(whole_parts))
        if whole_parts:  # Of what a flip leaves unharmed (a date, say) the content is whole.
            assert {key: row.sha256 for key, row in whole_parts.items()} == {"a" * 24: "h", "b" * 24: "i"}
            np.testing.assert_array_equal(parts.part_features(path), features)
    assert kinds == {True, False}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES, errno.ENOENT])
def test_a_part_that_the_system_does_not_give_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    parts.write_part(tmp_path / "part.npz", ["k"], ["h"], np.ones((1, 2, 5, 3, 4), np.float32))

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(parts.zipfile, "ZipFile", refused)
    assert parts.found_parts(tmp_path, check=True) == ({}, [])


def test_a_part_damaged_since_it_was_found_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    parts.write_part(path, ["k"], ["h"], np.ones((1, 2, 5, 3, 4), np.float32))
    content = path.read_bytes()
    path.write_bytes(flipped(content, content.find(b"NUMPY", content.find(b"features")) + 300, 0))
    with pytest.raises(InputError, match=r"damaged .*; the same command again") as caught:
        parts.part_features(path)
    assert "\n" not in str(caught.value)


def test_rows_that_follow_each_other_in_a_file_are_written_as_one_piece() -> None:
    a, b = Path("a"), Path("b")
    rows = [(a, 0), (a, 1), (a, 3), (b, 4), (None, 5), (None, 6), (None, 2), (b, 4), (b, 3), (b, 4), (a, 5)]
    found = list(assembly.pieces(rows))
    assert [(path, row) for path, first, stop in found for row in range(first, stop)] == rows
    assert [stop - first for _, first, stop in found] == [2, 1, 1, 2, 1, 1, 2, 1]
    assert list(assembly.pieces([])) == []
    assert list(assembly.pieces([(None, 0)])) == [(None, 0, 1)]
