"""``doctor``: all well here; and each thing broken on purpose is found, with its remedy."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import cache, config
from pipeline.config import FeatureSpec
from pipeline.corpus import opening
from pipeline.report import diagnosis
from pipeline.report import status as data
from pipeline.report.diagnosis import libraries
from tests.recorded import write_run
from tests.tiny import invoke, write_corpus


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a corpus in data/, a cache of one clip, and a run; the libraries' own checks are quick ones."""
    (tmp_path / "data").mkdir()
    write_corpus(tmp_path / "data" / "UrbanSound8K", folds=(1, 2), clips=2)
    spec = FeatureSpec(seconds=0.5)
    header = cache.Header("tiny", "folder", False, 1, ("a",), spec, (), (), (), (), units=("",) * 5, calls=("",) * 5)
    cache.write_fold(cache.fold_path(tmp_path / "cache", "tiny", spec, 1), header, [])
    write_run(tmp_path, 5)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found_by(arguments: tuple[str, ...] = ()) -> tuple[int, dict]:
    done = invoke("doctor", "--json", *arguments)
    return done.exit_code, json.loads(done.stdout)


def test_all_well(place: Path) -> None:
    code, report = found_by()
    assert code == 0, [f for f in report["findings"] if not f["ok"]]
    texts = {f["subject"]: f["text"] for f in report["findings"]}
    assert "urbansound8k: 4 clips, 10 classes, 2 folds" in texts["corpus"]
    assert "1 fold, 0 clips" in texts["cache"] and "finished × 1" in texts["runs"]
    assert {"WAV", "FLAC", "OGG"} <= set(texts["soundfile"].replace(",", "").split())
    assert report["next"] == "make features"
    assert invoke("doctor").stdout.rstrip().endswith("all well")
    # It left nothing behind.
    assert sorted(p.name for p in place.iterdir()) == ["cache", "data", "runs"]


@pytest.mark.parametrize("library", ["torch", "librosa", "h5py", "soundfile", "numba"])
def test_a_library_that_does_not_load_is_a_finding(place: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    real = importlib.import_module

    def broken(name: str):
        if name == library:
            raise OSError(f"lib{library}.so: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    done = invoke("doctor")
    assert done.exit_code == 1
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("BROKEN")]
    assert f"lib{library}.so" in line and "make setup" in done.stdout
    assert "1 of " in done.stdout.splitlines()[-1]


def spoil(place: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "cache file":
        next((place / "cache").rglob("*.h5")).write_text("not HDF5")
    elif kind == "run":
        next((place / "runs").rglob("result.json")).write_text("{")
    elif kind == "corpus":
        next((place / "data").rglob("*.wav")).unlink()
    elif kind == "folder":
        shutil.rmtree(place / "runs")
        (place / "runs").write_text("a file in its place")
    elif kind == "disk":
        full = shutil.disk_usage(place)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    elif kind == "permission":

        def refused(**_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(tempfile, "NamedTemporaryFile", refused)
    elif kind == "package":
        real = libraries.installed
        monkeypatch.setattr(libraries, "installed", lambda name: None if name == "soxr" else real(name))
        monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["click>=8.1", "soxr>=0.3.7"])
    elif kind == "version":
        monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["click>=99", 'nothing>=1; extra == "more"'])


@pytest.mark.parametrize(
    ("kind", "message", "remedy"),
    [
        ("version", ", expected >=99", "make setup"),
        ("cache file", "fold1.h5", "make features again"),
        ("run", "not JSON", "run again"),
        ("corpus", "that are not there", "make data DATASET=urbansound8k"),
        ("folder", "runs is a file", "out of the way"),
        ("disk", "0.0 GB free", "make room"),
        ("permission", "Permission denied", "chmod u+w"),
        ("package", "not installed: soxr", "make setup"),
    ],
)
def test_what_is_broken_is_named_with_its_remedy(
    place: Path, monkeypatch: pytest.MonkeyPatch, kind: str, message: str, remedy: str
) -> None:
    spoil(place, kind, monkeypatch)
    for name in ("librosa_and_numba", "torch_build"):  # seconds each, and not what this is about
        monkeypatch.setattr(diagnosis, name, lambda: "left out")
    code, report = found_by()
    broken = [f for f in report["findings"] if not f["ok"]]
    assert code == 1 and not report["ok"]
    assert any(message in f["text"] and remedy in f["remedy"] for f in broken), broken


def test_an_empty_place_is_well_and_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("librosa_and_numba", "torch_build"):
        monkeypatch.setattr(diagnosis, name, lambda: "left out")
    code, report = found_by()
    assert code == 0 and "make demo" in report["next"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("there", "asked"), [(None, "cuda"), ("12.6", "cpu")])
def test_another_build_of_torch_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, there: str | None, asked: str
) -> None:
    version = f"2.13.0+{'cu126' if there else 'cpu'}"
    torch = SimpleNamespace(__version__=version, version=SimpleNamespace(cuda=there))
    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name: torch if name == "torch" else real(name))
    done = invoke("doctor", "--torch", asked)
    assert done.exit_code == 1 and done.stderr.count("\n") == 1 and not done.stdout
    assert f"torch {version} is a {'cuda' if there else 'cpu'} build, TORCH={asked} was asked for" in done.stderr
    assert f"make setup TORCH={asked} TORCH_INDEX=ADDRESS" in done.stderr
    assert f"{sys.executable} -m pip install" in done.stderr and "--index-url ADDRESS torch==2.13.0)" in done.stderr
    other = invoke("doctor", "--torch", {"cpu": "cuda", "cuda": "cpu"}[asked])
    assert other.exit_code == 0 and "as asked" in other.stdout


@pytest.mark.parametrize(
    ("folder", "message", "remedy"),
    [
        ("nowhere", "nowhere: no such folder", "name the folder of urbansound8k: --data FOLDER"),
        ("text", "text: is a file; expected a folder", "name the folder of urbansound8k: --data FOLDER"),
        ("empty", "empty", "make verify DATASET=urbansound8k DATA=empty says more"),
    ],
)
def test_a_folder_of_ones_own_is_a_finding_beside_the_others(
    place: Path, monkeypatch: pytest.MonkeyPatch, folder: str, message: str, remedy: str
) -> None:
    for name in ("librosa_and_numba", "torch_build"):
        monkeypatch.setattr(diagnosis, name, lambda: "left out")
    (place / "text").write_text("a shopping list")
    (place / "empty").mkdir()
    code, report = found_by(("--data", folder))
    (broken,) = (f for f in report["findings"] if not f["ok"])
    assert code == 1 and len(report["findings"]) > 10
    assert broken["subject"] == "corpus" and message in broken["text"] and remedy in broken["remedy"]
    assert "fetch" not in broken["remedy"]  # it is not ours to write into


def test_what_comes_next_after_the_report_is_not_the_report(place: Path) -> None:
    """Until a run finishes after it."""
    corpus = opening.open_or_make("urbansound8k", None)[0]
    spec = config.for_corpus(config.read(), corpus.seconds).features
    for fold in corpus.folds:
        path = cache.fold_path(place / "cache", corpus.name, spec, fold)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    student = write_run(place, 5, corpus=corpus.name)
    teacher = student.parents[1] / "teacher" / student.name
    shutil.copytree(student, teacher)
    about = json.loads((teacher / "config.json").read_text()) | {"role": "teacher", "mix": "ce:1"}
    (teacher / "config.json").write_text(json.dumps(about))

    def following() -> str:
        return data.status("auto", None, config.read()).splitlines()[-1]

    assert following() == "next      make report"
    assert invoke("report", "--no-page").exit_code == 0
    assert "report" not in following().replace("reports/", "") and "make export" in following()
    os.utime(student / "result.json", (time.time() + 10, time.time() + 10))
    assert following() == "next      make report"
