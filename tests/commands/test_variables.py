"""Variables of the environment that libraries refuse: named in one line, by whichever command meets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from pipeline.commands import errors

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", errors.THREADS)
@pytest.mark.parametrize("value", ["abc", "-1", "0", "1e3", str(10**12), "2,x", "１"])
def test_numbers_of_threads(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    done = CliRunner().invoke(cli.main, ["runs"])
    assert done.exit_code == 1 and done.stderr.count("\n") == 1
    assert f"{name}={value!r}" in done.stderr and f"unset {name}" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("NUMBA_CPU_NAME", "foo", "'foo' is not a recognized processor"),
        ("NUMBA_CPU_FEATURES", "+foo", "'+foo' is not a recognized feature"),
        ("NUMBA_CPU_FEATURES", "foo", "LLVM aborts"),  # without a sign
    ],
)
def test_what_llvm_would_complain_of_at_every_kernel(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    done = CliRunner().invoke(cli.main, ["runs"])
    assert done.exit_code == 1 and done.stderr.count("\n") == 1
    assert f"{name}={value!r} is refused ({words}" in done.stderr and f"unset {name}" in done.stderr
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("driver", "code"), [("foo", 1), ("core", 1), ("", 0), ("stdio", 0)])
def test_a_driver_that_hdf5_would_crash_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: str, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDF5_DRIVER", driver)
    done = CliRunner().invoke(cli.main, ["runs"])
    assert done.exit_code == code
    assert (f"HDF5_DRIVER={driver!r}: expected one of sec2, stdio" in done.stderr) == bool(code)


def test_what_llvm_knows_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert CliRunner().invoke(cli.main, ["runs"]).exit_code == 0


@pytest.mark.parametrize("value", ["", "1", " 4 ", "4,2"])
def test_numbers_of_threads_that_are_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert CliRunner().invoke(cli.main, ["runs"]).exit_code == 0


@pytest.mark.parametrize(
    ("name", "value", "library"),
    [
        ("NUMBA_DEBUG", "abc", "numba"),
        ("NUMBA_OPT", "z", "numba"),
        ("TQDM_MININTERVAL", "abc", "tqdm"),
        ("MPLBACKEND", "abc", "matplotlib"),
        ("SOURCE_DATE_EPOCH", "abc", "matplotlib.backends.backend_pdf"),
    ],
)
def test_what_a_library_refuses_at_import(name: str, value: str, library: str) -> None:
    """In a process of its own, for a library reads its variables once."""
    code = (
        "import sys; from pipeline.commands.errors import check_variables, clear_errors\n"
        "with clear_errors():\n check_variables(); import importlib; importlib.import_module(sys.argv[1])\n"
        " if 'pdf' in sys.argv[1]:\n"
        "  import io, matplotlib.pyplot as p; p.figure().savefig(io.BytesIO(), format='pdf')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, library],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", name: value, "HOME": "/tmp"},
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: the environment variable {name}={value!r} is refused")


def test_a_worker_hands_on_what_numba_refuses(tmp_path: Path) -> None:
    """joblib's workers take no warning filters of their parent's along: numba's own text came from each of them."""
    code = (
        "import sys; from pipeline.commands.errors import check_variables, clear_errors\n"
        "from joblib import Parallel, delayed; from loaded import load\n"
        "with clear_errors():\n"
        " check_variables(); Parallel(2)(delayed(load)() for _ in range(2))"
    )
    (tmp_path / "loaded.py").write_text(
        "from pipeline.extraction import workers\nfrom pipeline.features import kernels, steps\n"
        "def load():\n kernels.compiled = lambda plain: True\n workers.warm(False)\n steps.load()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "NUMBA_DEBUG": "abc", "HOME": "/tmp", "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: the environment variable NUMBA_DEBUG='abc' is refused")


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), KeyError("x"), RuntimeError("a\nb")])
def test_what_nobody_foresaw_is_one_line_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(errors.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended, errors.clear_errors():
        raise error
    assert ended.value.code == 1
    (file,) = tmp_path.iterdir()
    assert type(error).__name__ in file.read_text() and "Traceback" in file.read_text()
    line = errors.line(error)
    assert line.startswith("this is a fault of ours: ") and "\n" not in line and str(tmp_path) in line


def test_a_link_that_leads_to_itself_is_named_wherever_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("loop", "loop.toml"):
        (tmp_path / name).symlink_to(name)
    for arguments in (
        ["status", "--data", "loop"],
        ["status", "--preset", "loop.toml"],
        ["predict", "loop", "loop"],
        ["rerun", "loop"],
        ["compare", "loop", "loop"],
        ["verify", "--dataset", "folder", "--data", "loop"],
    ):
        done = CliRunner().invoke(cli.main, arguments)
        assert done.exit_code == 1 and done.stderr.count("\n") == 1, done.stderr
        assert "loop" in done.stderr and "fault of ours" not in done.stderr, done.stderr
