"""Files that somebody has open, and file systems without locks: nothing touched, nothing computed, one line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from pipeline import cache, locks
from pipeline.config import InputError
from pipeline.locks import locked
from pipeline.report.diagnosis.places import cached, locking
from tests.extracting import counts, extract, only_folds, write_clip
from tests.tiny import QUICK, ROOT, write_corpus


@contextlib.contextmanager
def opened_elsewhere(path: Path, mode: str = "r+") -> Iterator[None]:
    """Another process, a notebook, say, has the file open."""
    code = f"import h5py, sys; f = h5py.File({str(path)!r}, {mode!r}); print('open', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "open\n"
    try:
        yield
    finally:
        process.communicate()


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """A file system without locks, for Python and for HDF5: returns what it says."""
    reason, real = request.param, h5py.File

    def flock(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    def file(name: object, mode: str = "r", **options: object) -> h5py.File:
        if options.get("locking") is not False:
            raise OSError(reason, f"unable to lock file, errno = {reason}")
        return real(name, mode, **options)

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(h5py, "File", file)
    locks.TOLD.clear()
    return reason


def states(folder: Path) -> dict[Path, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


@pytest.mark.parametrize("changed", [False, True], ids=["as wanted", "a clip changed"])
def test_a_fold_that_somebody_has_open_is_neither_computed_nor_touched(
    root: Path, computed: list[str], changed: bool
) -> None:
    path = extract(root)[0].path
    if changed:
        write_clip(root / "audio" / "fold1" / "100-0-0-0.wav", 77)
    computed.clear()
    with opened_elsewhere(path):
        before = states(path.parent)
        for read in (extract, lambda _: cache.load([path]), lambda _: list(cache.feature_blocks(path))):
            with pytest.raises(cache.InUse) as caught:
                read(root)
            assert str(caught.value).startswith(f"{path}: in use by another program")
            assert "\n" not in str(caught.value) and "delete" not in str(caught.value)
        header = "remove the file that is named"
        assert [(one.text[:50], header in one.remedy) for one in cached(path.parents[2]) if one.remedy] == [
            (str(caught.value)[:50], False)
        ]
        assert states(path.parent) == before and not computed
    assert counts(extract(root))[0] == ((1, 4, 0) if changed else (0, 5, 0))


def test_a_fold_open_for_reading_is_no_hindrance(root: Path, computed: list[str]) -> None:
    path = extract(root)[0].path
    with opened_elsewhere(path, "r"):
        assert cache.read_header(path).fold == 1
        write_clip(root / "audio" / "fold1" / "100-0-0-0.wav", 77)
        assert counts(extract(root))[0] == (1, 4, 0)  # who reads keeps the file as it was


def test_a_fold_opened_while_its_clips_are_computed_is_not_replaced(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = extract(root)[0].path
    before = path.read_bytes()
    write_clip(root / "audio" / "fold1" / "100-0-0-0.wav", 77)
    header = cache.read_header(path)
    with opened_elsewhere(path), pytest.raises(cache.InUse):
        cache.write_fold(path, header, cache.feature_blocks(path))
    with opened_elsewhere(path), pytest.raises(cache.InUse):
        cache.write_fold(path, header, [cache.read_fold(extract(root)[1].path).features])
    assert path.read_bytes() == before and only_folds(path.parent)


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_what_the_system_refuses_is_no_damage(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    path = extract(root)[0].path
    before, computed[:] = states(path.parent), []
    with monkeypatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(reason, os.strerror(reason))

        patch.setattr(h5py, "File", refuse)
        with pytest.raises(cache.Unavailable) as caught:
            extract(root)
        assert "\n" not in str(caught.value) and "delete" not in str(caught.value)
    assert states(path.parent) == before and not computed


@pytest.mark.parametrize("no_locks", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], indirect=True)
def test_without_locks_stage_one_goes_on_with_one_line(
    root: Path, computed: list[str], capfd: pytest.CaptureFixture[str], no_locks: int
) -> None:
    assert counts(extract(root)) == [(5, 0, 0), (5, 0, 0)] == counts(extract(root, root.parent / "again"))
    assert cache.load([r.path for r in extract(root)]).labels.size == 10
    (line,) = capfd.readouterr().err.splitlines()
    assert "without locks" in line and os.strerror(no_locks) in line
    assert only_folds(root.parent / "cache"), "no lock is left"
    finding = locking(root)
    assert not finding.remedy and os.strerror(no_locks) in finding.text


def test_doctor_tells_in_use_damaged_and_without_locks_apart(root: Path, computed: list[str]) -> None:
    one, two = (report.path for report in extract(root))
    two.write_bytes(two.read_bytes()[:5000])
    with opened_elsewhere(one):
        in_use, damaged = cached(root.parent / "cache")
    assert str(one) in in_use.text and "in use" in in_use.text and "keep it" in in_use.remedy
    assert str(two) in damaged.text and "damaged" in damaged.text and "remove" in damaged.remedy
    assert not locking(root).remedy and "none" not in locking(root).text


@pytest.mark.slow
def test_a_system_call_that_refuses_all_locks(tmp_path: Path, reason: int = errno.ENOLCK) -> None:
    """The commands, where flock itself fails: a library in front of the C library's."""
    source, library = tmp_path / "flock.c", tmp_path / "flock.so"
    source.write_text(f"#include <errno.h>\nint flock(int fd, int op) {{ errno = {reason}; return -1; }}\n")
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no C compiler")
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    write_corpus(tmp_path / "tiny")
    common = ("--dataset", "urbansound8k", "--data", "tiny", *QUICK, "--jobs", "1")
    for arguments in (("features",), ("teacher",)):
        done = subprocess.run(
            [sys.executable, ROOT / "cli.py", *arguments, *common],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        notes = [line for line in done.stderr.splitlines() if "without locks" in line]
        assert notes and os.strerror(reason) in notes[0] and "Traceback" not in done.stderr


def test_the_lock_says_who_holds_it_and_goes_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "fold1.h5"
    program = tmp_path / "apart" / "program.py"
    program.parent.mkdir()
    program.write_text(
        "import os, sys; from pathlib import Path; from pipeline.locks import locked\n"
        "with locked(Path(sys.argv[-1]), 'fold 1'): print('held', flush=True); sys.stdin.read(1); os._exit(1)"
    )
    process = subprocess.Popen(
        [sys.executable, program, "experiment", "sur\nvey", "--data", path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    with pytest.raises(InputError) as refused, locked(path, "fold 1"):
        pass
    assert re.fullmatch(
        rf"fold 1 is being written by process {process.pid} on \S+ since [-\d]+ [:\d]+ \(program\.py experiment sur vey\); "
        rf"wait for it, or stop it, then the same command again \({re.escape(str(locks.lock_of(path)))}\)",
        str(refused.value),
    )
    assert locks.called(["-c", "code"]) == ""  # a worker, of which this says nothing
    process.communicate("x")
    shutil.rmtree(program.parent)
    assert locks.lock_of(path).exists(), "left by a process that was killed"
    with locked(path, "fold 1"):
        assert locks.holder_now(locks.lock_of(path)).startswith(f"process {os.getpid()} ")
    assert not list(tmp_path.iterdir())
