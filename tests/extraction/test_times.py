"""Sounds of another time and the same contents: read once, and never served by a note once they are others."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pipeline.extraction import state as planning
from pipeline.extraction import times
from pipeline.files import signed
from tests.extracting import counts, extract


def test_sounds_that_were_touched_are_read_once(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extract(root)
    folder, read = first[0].path.parent, list[str]()
    clips = sorted((root / "audio").rglob("*.wav"))
    for clip in clips:
        os.utime(clip, ns=(1, 1))
    content = planning.sha256
    monkeypatch.setattr(planning, "sha256", lambda path: read.append(path.name) or content(path))
    monkeypatch.setattr(times, "JUST_NOW", 0)
    expected = [(0, 5, 0), (0, 5, 0)]
    assert counts(extract(root)) == expected and sorted(read) == [clip.name for clip in clips]
    read.clear()
    assert counts(extract(root)) == expected and not read
    os.utime(clips[0], ns=(2, 2))  # touched once more
    assert counts(extract(root)) == expected and read == [clips[0].name]
    changed = bytearray(clips[0].read_bytes())
    changed[-1] ^= 1
    clips[0].write_bytes(changed)
    os.utime(clips[0], ns=(3, 3))
    read.clear()
    assert counts(extract(root)) == [(1, 4, 0), (0, 5, 0)] and set(read) == {clips[0].name}
    notes = (folder / times.NOTES).read_bytes()
    for damaged in (b"", b"[]", notes.replace(b'"seen"', b'"been"'), notes.replace(b"100-1-0-1.wav", b"100-1-0-9.wav")):
        read.clear()
        (folder / times.NOTES).write_bytes(damaged)
        assert counts(extract(root)) == expected and len(read) == 9, "what is not as it was written says nothing"
        assert len(times.read(folder)) == 9
    read.clear()
    (folder / times.NOTES).unlink()
    assert counts(extract(root, deep=True)) == expected and read
    read.clear()
    assert counts(extract(root)) == expected and not read
    clip = clips[-1]
    soon = time.time_ns() + 10**12
    os.utime(clip, ns=(soon, soon))  # it may change again in the same tick of the clock
    extract(root)
    read.clear()
    assert counts(extract(root)) == expected and read == [clip.name]


def exchanged(clip: Path) -> None:
    """Other contents of the same size, and the time put back."""
    state, content = clip.stat(), bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(content)
    os.utime(clip, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_a_touched_sound_that_is_exchanged_under_its_time_is_read_again(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note would have it served although its time is not even the one that the fold's file says."""
    folder, clip = extract(root)[0].path.parent, root / "audio" / "fold1" / "101-3-0-3.wav"
    os.utime(clip, ns=(1, 1))
    monkeypatch.setattr(times, "JUST_NOW", 0)
    extract(root)
    assert [one[0] for one in times.read(folder)] == ["audio/fold1/101-3-0-3.wav"]
    exchanged(clip)
    computed.clear()
    assert counts(extract(root)) == [(1, 4, 0), (0, 5, 0)] and computed == [clip.name]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("ahead", "takes"), [(0, 3600), (10, 0)], ids=["read for an hour", "by a clock that is ahead"])
def test_a_sound_that_was_touched_just_before_it_was_read_is_not_noted(
    ahead: int, takes: int, deep: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have changed after it was read, in the tick in which it was touched."""
    folder, clip = extract(root)[0].path.parent, root / "audio" / "fold1" / "101-3-0-3.wav"
    clock, begun, content = time.time_ns, [0], planning.sha256
    when = clock() + ahead * 10**9
    os.utime(clip, ns=(when, when))
    monkeypatch.setattr(time, "time_ns", lambda: clock() + begun[0])
    monkeypatch.setattr(planning, "sha256", lambda path: begun.__setitem__(0, takes * 10**9) or content(path))
    assert counts(extract(root, folds=[1], deep=deep)) == [(0, 5, 0)]
    assert times.read(folder) == frozenset()


def test_what_no_note_can_say_is_left_out(tmp_path: Path) -> None:
    times.keep(tmp_path, [("caf\udce9.wav", 1, 2, 3, "a")])  # a name that is no text
    assert not list(tmp_path.iterdir())
    for row in ('["a", 1e999, 1, 1, "b"]', f'["a", 1, 1, {times.UNSETTLED}, "b"]', '["a", 1, 1, "b"]', '"abcde"'):
        (tmp_path / times.NOTES).write_text(json.dumps(signed({"seen": [json.loads(row)]})))
        assert times.read(tmp_path) == frozenset(), row
