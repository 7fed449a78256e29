"""Kernels are compiled by one process at a time; where they all are there, nobody waits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline import features
from pipeline.config import FeatureSpec
from pipeline.features import definition, fast, kernels, tuning

ROOT = Path(__file__).resolve().parents[2]
SPEC = FeatureSpec(seconds=0.1)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.tempfile, "gettempdir", lambda: str(tmp_path))


def waiting(action: object, monkeypatch: pytest.MonkeyPatch) -> threading.Thread:
    """A thread that has found the lock taken, and has said so if it is to."""
    found, held = threading.Event(), kernels.locks.held

    def watched(lock: Path, busy: Callable[[str], None], **how: bool) -> object:
        return held(lock, lambda holder: (busy(holder), found.set()), **how)  # type: ignore[arg-type, return-value]

    monkeypatch.setattr(kernels.locks, "held", watched)
    thread = threading.Thread(target=action)  # type: ignore[arg-type]
    thread.start()
    assert found.wait(60)
    return thread


def test_with_all_kernels_there_nobody_waits_for_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "compiled", lambda plain: True)
    with kernels.alone(quiet=True):
        features.warm_up(SPEC)
        assert features.kernels_note() == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_who_has_to_wait_says_for_whom_and_looks_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], quiet: bool
) -> None:
    collected: list[bool] = []
    stamps: list[bool] = []
    monkeypatch.setattr(kernels, "compiled", lambda plain: plain in collected)
    monkeypatch.setattr(kernels, "stamp", stamps.append)
    with kernels.alone(quiet=True):
        line = features.kernels_note()
        assert line.startswith(f"waiting for process {os.getpid()} on ")
        assert line.endswith(", which compiles librosa's kernels: once on this machine, about 20 s")
        thread = waiting(lambda: features.warm_up(SPEC, quiet=quiet), monkeypatch)
        assert thread.is_alive()
        collected.append(False)  # by the process that holds the lock
    thread.join(60)
    assert not thread.is_alive() and not stamps
    assert capfd.readouterr().err.splitlines() == ([] if quiet else [line])
    collected.clear()
    assert features.kernels_note().startswith("compiling librosa's kernels")
    features.warm_up(SPEC)
    assert stamps == [False]


def test_the_stamp_holds_while_sources_and_index_files_are_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "a.nbi"
    index.write_bytes(b"")
    (tmp_path / "tuning.py").write_text("x = 1\n")
    monkeypatch.setattr(kernels, "FOLDER", tmp_path)
    monkeypatch.setattr(kernels, "index_files", lambda: [index])
    for plain in (False, True):
        assert not kernels.compiled(plain)
        kernels.stamp(plain)
        assert kernels.compiled(plain)
    (tmp_path / "tuning.py").write_text("x = 12\n")
    assert not kernels.compiled(False), "numba compiles changed sources again"
    kernels.stamp(False)
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert not kernels.compiled(False)
    monkeypatch.delenv("NUMBA_CPU_NAME")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert kernels.compiled(False), "joblib's workers have that, and nobody compiles again for it"
    index.unlink()
    assert not kernels.compiled(False), "the cache was deleted"
    monkeypatch.setattr(kernels, "index_files", list)
    kernels.stamp(False)
    assert not kernels.compiled(False), "the cache is in an unknown place"


@pytest.mark.slow
def test_warming_up_compiles_for_all_types_there_are(tmp_path: Path) -> None:
    """What is met later only would be compiled without the lock."""
    code = """
import numpy as np
from pipeline import features
from pipeline.config import FeatureSpec
from pipeline.features import definition, kernels
kernels.compiled, kernels.stamp = (lambda plain: False), (lambda plain: None)
features.warm_up(FeatureSpec(seconds=0.1, tuning=0.0))
from pipeline.features import loops
def types():
    return {n: len(f.signatures) for n, f in vars(loops).items() if hasattr(f, "signatures")}
before = types()
for changes in ({}, {"sr": 44100}, {"sr": 16000, "hop_length": 200}, {"n_fft": 1024, "hop_length": 255}):
    spec = FeatureSpec(seconds=1.0, **changes)
    t = np.arange(spec.samples) / spec.sr
    for sound in (0 * t, np.sin(2000 * t), np.sin(2000 * t) * (t < 0.3)):
        features.extract(sound.astype(np.float32), spec)
print(types() == before, all(before.values()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "True"]


def test_what_librosa_gave_is_read_again_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters of a tuning cost as much as a clip, librosa's import most of a second: both only once."""
    monkeypatch.setattr(definition, "folder", lambda: tmp_path / "kept")
    asked: list[tuple[float, ...]] = []

    @definition.kept
    def bank(size: int, tuning: float) -> dict[str, np.ndarray]:
        asked.append((size, tuning))
        return {"a": np.full((size, 2), tuning, np.float32, order="F"), "b": np.array(7)}

    first = bank(3, 0.1)
    bank.cache_clear()  # type: ignore[attr-defined]  # another process
    again = bank(3, 0.1)
    assert asked == [(3, 0.1)] and all(first[name].tobytes() == again[name].tobytes() for name in "ab")
    assert bank(3, 0.2)["a"][0, 0] == np.float32(0.2) and len(asked) == 2
    path = next((tmp_path / "kept").glob("bank-3-0.1.arrays"))
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(0.1).tobytes())] ^= 1
    whole, foreign = path.read_bytes(), path.with_name("bank-3-0.2.arrays").read_bytes()
    for damaged in (bytes(content), content[:40], b"", whole[:-1], whole + b"0", foreign):
        path.write_bytes(damaged)
        bank.cache_clear()  # type: ignore[attr-defined]
        assert (bank(3, 0.1)["a"] == np.float32(0.1)).all()
        assert path.read_bytes() == whole, "written again"
    assert len(asked) == 8 and {file.suffix for file in path.parent.iterdir()} == {".arrays"}
    path.parent.rename(tmp_path / "newer")
    monkeypatch.setattr(definition, "folder", lambda: tmp_path / "newer")
    bank.cache_clear()  # type: ignore[attr-defined]
    assert (bank(3, 0.1)["a"] == np.float32(0.1)).all() and len(asked) == 9, "a folder of other versions, copied"
    no_folder = tmp_path / "newer" / path.name / "no-folder"
    monkeypatch.setattr(definition, "folder", lambda: no_folder)
    bank.cache_clear()  # type: ignore[attr-defined]
    assert (bank(3, 0.1)["a"] == np.float32(0.1)).all() and len(asked) == 10


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_that_lie_in_no_order_are_kept_too(order: str) -> None:
    """A newer librosa may give views."""
    array = np.array(np.arange(24.0).reshape(4, 6), order=order)[::2, 1:5]  # type: ignore[call-overload]
    np.testing.assert_array_equal(definition.unpacked(definition.packed({"a": array}, "x"), "x")["a"], array)


@pytest.mark.slow
def test_a_second_process_computes_without_librosa_scipy_numba_and_torch() -> None:
    """Each of them takes most of a second to import, torch two."""
    code = """
import sys, numpy as np
from pipeline import features
from pipeline.config import FeatureSpec
features.compile_kernels()
for pitch in (0.1, 0.1012, 0.1035):  # tunings of their own
    features.extract(np.sin(np.arange(44100) * pitch).astype(np.float32), FeatureSpec(seconds=2.0))
print(*sorted({"librosa", "scipy", "numba", "torch"} & set(sys.modules)))
"""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_filters_of_every_tuning_are_kept_with_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definition, "folder", lambda: tmp_path)
    monkeypatch.setattr(tuning, "EDGES", np.array([-0.5, 0.01, 0.5]))
    for function in (definition.chroma, definition.wavelets):
        function.cache_clear()  # type: ignore[attr-defined]
    fast.keep_filters(FeatureSpec())
    names = ["chroma-22050-2048-20--0.5", "chroma-22050-2048-20-0.01"]
    names += ["wavelets-22050-512-40--0.5", "wavelets-22050-512-40-0.01"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == names
